//! When the next record leaves.
//!
//! With nothing on its way a commit leaves at once. Otherwise records leave a fraction of the store's PUT time apart,
//! so that commits gather into groups without waiting a whole round trip. The PUT time is the median of the last ones:
//! it follows the store, and a few slow answers do not move it.
//!
//! Invariant: pacing decides when bytes leave, never what they are or whether they count.

use std::collections::VecDeque;
use std::time::Duration;

use crate::options::Spacing;

/// How many PUTs the median is taken over.
const SAMPLES_MAX: usize = 15;

/// The rhythm of one log.
pub(crate) struct Pace {
    spacing: Spacing,
    took: VecDeque<Duration>,
    left_at: Option<Duration>,
}

impl Pace {
    pub(crate) const fn new(spacing: Spacing) -> Self {
        Self { spacing, took: VecDeque::new(), left_at: None }
    }

    /// A PUT was answered at its first attempt, after `took`.
    pub(crate) fn learn(&mut self, took: Duration) {
        if self.took.len() == SAMPLES_MAX {
            self.took.pop_front();
        }
        self.took.push_back(took);
    }

    /// A record left.
    pub(crate) const fn left(&mut self, now: Duration) {
        self.left_at = Some(now);
    }

    /// How long the next record has to wait while others are on their way.
    pub(crate) fn wait(&self, now: Duration) -> Duration {
        let Some(left_at) = self.left_at else { return Duration::ZERO };
        (left_at + self.spacing()).saturating_sub(now)
    }

    fn spacing(&self) -> Duration {
        match self.spacing {
            Spacing::Fixed(spacing) => spacing,
            Spacing::Share(share) => self.median() / share.max(1),
        }
    }

    fn median(&self) -> Duration {
        let mut took: Vec<_> = self.took.iter().copied().collect();
        took.sort_unstable();
        took.get(took.len() / 2).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_spacing_is_a_share_of_the_median_and_forgets() {
        let mut pace = Pace::new(Spacing::Share(6));
        pace.left(10 * MS);
        assert_eq!(pace.wait(10 * MS), Duration::ZERO, "nothing is known of the store yet");
        [30, 30, 900].into_iter().for_each(|took| pace.learn(took * MS));
        assert_eq!(pace.wait(10 * MS), 5 * MS);
        assert_eq!(pace.wait(12 * MS), 3 * MS);
        assert_eq!(pace.wait(99 * MS), Duration::ZERO);
        (0..SAMPLES_MAX).for_each(|_| pace.learn(60 * MS));
        assert_eq!(pace.wait(10 * MS), 10 * MS);
    }

    #[test]
    fn a_fixed_spacing_is_kept_and_the_first_record_leaves_at_once() {
        let mut pace = Pace::new(Spacing::Fixed(7 * MS));
        pace.learn(600 * MS);
        assert_eq!(pace.wait(5 * MS), Duration::ZERO);
        pace.left(5 * MS);
        assert_eq!(pace.wait(5 * MS), 7 * MS);
    }
}
