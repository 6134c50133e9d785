//! What one run of the log's simulation does, drawn from its seed: swarm testing of faults, sizes, settings and habits.
//!
//! Invariant: a plan follows from the seed alone, so that a seed names a run.
//!
//! Crash: plain values. Refuses: nothing.

use std::time::Duration;

use twill_commitlog_cas::merge::MergeOptions;
use twill_commitlog_cas::{Compression, Options, Spacing};
use twill_types::seeded::Chance;

use crate::store::Faults;

/// What a process does, each as likely as its weight.
#[derive(Clone, Copy, Debug, Default)]
pub struct Habits {
    /// Open for writing and append.
    pub write: u64,
    /// Follow.
    pub follow: u64,
    /// Read all that is retained.
    pub read: u64,
    /// Recover without writing.
    pub recover: u64,
    /// Raise the horizon, and collect.
    pub collect: u64,
    /// Merge.
    pub merge: u64,
    /// Pin a range, read it, let it go.
    pub pin: u64,
}

/// What strikes from outside, and at points.
#[derive(Clone, Copy, Debug)]
pub struct Strikes {
    /// Processes crash at any time.
    pub crash: bool,
    /// Processes are stopped at any time.
    pub stop: bool,
    /// For how long at most.
    pub stop_at_most: Duration,
    /// Some of the stops are of the whole machine.
    pub suspend: bool,
    /// Wall clocks are skewed, and jump.
    pub clocks: bool,
    /// Processes lose their way to the store, or their rights.
    pub outages: bool,
    /// The mean time between two of these.
    pub every: Duration,
    /// Crashes at points, in 10,000 of those reached.
    pub crash_at_points: u64,
    /// Stops at points, in 10,000 of those reached.
    pub stop_at_points: u64,
    /// Short delays at points, in 10,000 of those reached.
    pub delay_at_points: u64,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many processes there are.
    pub processes: usize,
    /// How long the storm lasts.
    pub storm: Duration,
    /// What goes wrong with requests meanwhile.
    pub faults: Faults,
    /// What strikes meanwhile.
    pub strikes: Strikes,
    /// What processes do.
    pub habits: Habits,
    /// The log's settings.
    pub options: Options,
    /// The settings of merges.
    pub merge: MergeOptions,
    /// The longest pause of a client between two things it does.
    pub leisure: Duration,
    /// Commits at most that are handed in at once.
    pub batch: u64,
    /// Share of commits that are larger than a part, in a hundred.
    pub large: u64,
    /// Share of writing rounds in which the floor is raised, in a hundred.
    pub floor: u64,
    /// Share of writing rounds that seal the timeline, in 10,000.
    pub seal: u64,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::from_seed(seed).fork("plan");
        let chance = &mut chance;
        let mut faults = Faults::swarm(&mut chance.fork("faults"));
        let options = options(chance, &faults);
        // A LIST that never fits into an attempt would only mean that nothing happens.
        faults.list_takes = faults.list_takes.min(options.attempt_timeout / 2);
        let storm = chance.pick(&[3, 3, 5, 10, 30]);
        let mut plan = Self {
            processes: chance.range(2..=4_usize),
            storm: Duration::from_secs(storm),
            faults,
            strikes: strikes(chance),
            habits: habits(chance),
            options,
            merge: MergeOptions {
                target_bytes: chance.pick(&[200, 1000, 8 << 20]),
                records_min: chance.range(1..=4_usize),
                objects_max: chance.range(1..=4_u64),
            },
            leisure: Duration::from_millis(chance.pick(&[20, 200, 2000])),
            batch: chance.pick(&[1, 2, 8]),
            large: chance.pick(&[0, 0, 10, 40]),
            floor: chance.pick(&[0, 10, 40]),
            seal: chance.pick(&[0, 0, 0, 100]),
        };
        if seed.is_multiple_of(5) {
            plan.keep_house();
        }
        plan
    }

    /// Every fifth run is about collecting, merging and pinning large commits, all at once.
    fn keep_house(&mut self) {
        self.habits = Habits { write: 12, collect: 8, merge: 8, pin: 8, ..self.habits };
        self.merge.records_min = self.merge.records_min.min(2);
        (self.large, self.floor) = (40, 40);
        self.leisure = self.leisure.min(Duration::from_millis(200));
    }
}

fn strikes(chance: &mut Chance) -> Strikes {
    let share = |chance: &mut Chance, percent: u64, shares: &[u64]| {
        let share = chance.pick(shares);
        if chance.percent(percent) { share } else { 0 }
    };
    Strikes {
        crash: chance.percent(60),
        stop: chance.percent(50),
        stop_at_most: Duration::from_secs(chance.pick(&[1, 10, 60, 600])),
        suspend: chance.percent(30),
        clocks: chance.percent(40),
        outages: chance.percent(50),
        every: Duration::from_secs(chance.pick(&[2, 5, 15])),
        crash_at_points: share(chance, 60, &[20, 100, 500]),
        stop_at_points: share(chance, 50, &[20, 100, 500]),
        delay_at_points: share(chance, 50, &[100, 1000]),
    }
}

fn habits(chance: &mut Chance) -> Habits {
    let mut weight = |percent: u64, weights: &[u64]| {
        let weight = chance.pick(weights);
        if chance.percent(percent) { weight } else { 0 }
    };
    Habits {
        write: 10,
        follow: weight(70, &[2, 6]),
        read: weight(50, &[1, 3]),
        recover: weight(50, &[1, 3]),
        collect: weight(60, &[2, 8]),
        merge: weight(60, &[2, 8]),
        pin: weight(40, &[1, 4]),
    }
}

fn options(chance: &mut Chance, faults: &Faults) -> Options {
    // Less than a usual request takes would mean that nothing ever succeeds.
    let usual = faults.latency.least + faults.latency.spread;
    let attempt_timeout = Duration::from_millis(chance.pick(&[300, 2000, 5000])).max(usual * 2);
    let commit_deadline = Duration::from_secs(chance.pick(&[1, 2, 10, 30])).max(attempt_timeout);
    Options {
        window: chance.pick(&[1, 2, 4, 16]),
        spacing: chance.pick(&[
            Spacing::Share(6),
            Spacing::Fixed(Duration::ZERO),
            Spacing::Fixed(Duration::from_millis(5)),
        ]),
        commit_deadline,
        attempt_timeout,
        record_bytes: chance.pick(&[64, 300, 4 << 20]),
        part_bytes: chance.pick(&[128, 256]),
        parts_at_once: chance.range(1..=4_usize),
        reads_at_once: chance.pick(&[1, 3, 32]),
        queue_bytes: chance.pick(&[500, 64 << 20]),
        compression: chance.pick(&[Compression::None, Compression::Lz4]),
        ..Options::default()
    }
}
