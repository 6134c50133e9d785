//! What a round is to be: how its process ends, and in which circumstances.
//!
//! Invariants:
//! 1. A plan follows from the seed alone.
//! 2. Every named failpoint gets its turn before any gets a second one.

use std::time::Duration;

use twill_types::seeded::Chance;
use twill_vfs_local::FAILPOINTS;

/// How a round's process ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGKILL, this long after it was started.
    Kill(Duration),
    /// By its own hand, when it comes to a failpoint after passing it `passes` times.
    Failpoint {
        /// Which.
        name: &'static str,
        /// How often it goes on.
        passes: u64,
    },
    /// As it should.
    Close(Duration),
}

/// What a failpoint needs to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Commits.
    Writing,
    /// The first commit of a database.
    NewDatabase,
    /// A hot WAL.
    Recovery,
    /// Checkpoints, and a database that shrinks.
    Restlessness,
    /// A clean close.
    Closing,
}

/// What must happen for a failpoint to be reached.
#[must_use]
pub fn needs(failpoint: &str) -> Needs {
    match failpoint {
        name if name.contains("first_backfill") || name.contains("dir_sync") => Needs::NewDatabase,
        name if name.starts_with("recovery") => Needs::Recovery,
        name if name.contains("wal_delete") => Needs::Closing,
        "before_frames" | "frames_written" | "before_wal_sync" | "after_wal_sync" => Needs::Writing,
        _ => Needs::Restlessness,
    }
}

/// The `FAILPOINTS` that end a process so.
#[must_use]
pub fn arming(name: &str, passes: u64) -> String {
    if passes == 0 { format!("{name}=return") } else { format!("{name}={passes}*off->return") }
}

/// Chooses the ends of rounds.
#[derive(Clone, Debug)]
pub struct Planner {
    next_failpoint: usize,
    again: Vec<&'static str>,
}

impl Planner {
    /// Begins at a failpoint that the seed chooses.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let next_failpoint = Chance::from_seeds(&[seed, 5]).index(FAILPOINTS.len());
        Self { next_failpoint, again: Vec::new() }
    }

    /// The next round's end.
    pub fn choose(&mut self, chance: &mut Chance) -> End {
        match chance.below(100) {
            0..=5 => End::Close(Duration::from_millis(chance.range(20..=120))),
            6..=44 => End::Kill(Duration::from_millis(chance.range(1..=250))),
            _ => self.failpoint(chance),
        }
    }

    fn failpoint(&mut self, chance: &mut Chance) -> End {
        let name = match self.again.pop() {
            Some(name) => name,
            None => {
                self.next_failpoint += 1;
                FAILPOINTS.get(self.next_failpoint % FAILPOINTS.len()).copied().unwrap_or_default()
            }
        };
        let passes = match needs(name) {
            Needs::Writing => chance.below(60),
            Needs::Restlessness if name == "backfill_page" => chance.below(80),
            Needs::Restlessness if name.contains("truncate") => 0,
            Needs::Restlessness => chance.below(4),
            Needs::NewDatabase | Needs::Recovery | Needs::Closing => 0,
        };
        End::Failpoint { name, passes }
    }

    /// A failpoint was not reached: it gets another turn.
    pub fn retry(&mut self, name: &'static str) {
        self.again.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failpoint_has_its_turn_before_any_has_two() {
        let mut planner = Planner::new(4);
        let mut chance = Chance::from_seed(4);
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < FAILPOINTS.len() {
            if let End::Failpoint { name, .. } = planner.choose(&mut chance) {
                assert!(seen.insert(name), "{name} twice");
            }
        }
    }

    #[test]
    fn arming_speaks_the_words_of_the_fail_crate() {
        assert_eq!(arming("a", 0), "a=return");
        assert_eq!(arming("a", 3), "a=3*off->return");
    }
}
