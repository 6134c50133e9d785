//! The commit log in the simulated world: a sample of the long run, and that a seed repeats exactly.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    reason = "test code"
)]

use std::collections::BTreeSet;

use twill_tests_simulation::log::oracle::Tally;
use twill_tests_simulation::log::sabotage::Sabotage;
use twill_tests_simulation::log::{Report, run};

/// Seeds of the sample; the long run begins elsewhere, so that the two do not overlap.
const SAMPLE: std::ops::Range<u64> = 1_000_000..1_000_240;

#[test]
fn nothing_is_lost_nothing_is_acknowledged_twice_and_the_sample_is_not_idle() {
    let halves: Vec<Vec<Report>> = std::thread::scope(|scope| {
        let half = |first| scope.spawn(move || SAMPLE.skip(first).step_by(2).map(sound).collect());
        let halves = [half(0), half(1)];
        halves.into_iter().map(|half| half.join().unwrap()).collect()
    });
    let (mut tally, mut points, mut strikes) = (Tally::default(), BTreeSet::new(), 0);
    for report in halves.into_iter().flatten() {
        tally.add(&report.tally);
        points.extend(report.points.into_keys());
        strikes += report.strikes;
    }
    assert!(tally.acknowledged > 3000 && tally.openings > 300, "{tally:?}");
    assert!(
        tally.indeterminate > 10 && tally.not_applied > 100 && tally.found_unacknowledged > 50,
        "{tally:?}"
    );
    assert!(
        tally.read > 10_000 && tally.raises > 200 && tally.collected > 50 && tally.merged > 20,
        "{tally:?}"
    );
    assert!(tally.pins > 10 && tally.sealed > 0 && tally.expired > 0, "{tally:?}");
    assert!(tally.verdicts.iter().all(|answered| *answered > 0), "{tally:?}");
    assert!(strikes > 500, "{strikes} strikes");
    let unreached: Vec<_> =
        twill_commitlog_cas::Point::ALL.iter().filter(|point| !points.contains(point.name())).collect();
    assert!(unreached.is_empty(), "never reached: {unreached:?}");
}

fn sound(seed: u64) -> Report {
    let report = run(seed, Sabotage::None, false);
    assert_eq!(report.breach, None, "seed {seed}: simulate log --seed {seed} --trace");
    report
}

/// Seeds that found a fault of the log once. Both: a reader of pinned commits read one record beyond the pin, whose parts
/// were collected, and called the pinned ones expired.
const ONCE_FAILED: [u64; 2] = [8895, 46_410];

#[test]
fn seeds_that_once_failed_are_sound() {
    ONCE_FAILED.into_iter().for_each(|seed| drop(sound(seed)));
}

#[test]
fn a_seed_repeats_exactly() {
    let mut hashes = BTreeSet::new();
    for seed in SAMPLE.take(25) {
        let (first, second) = (run(seed, Sabotage::None, true), run(seed, Sabotage::None, true));
        let parted = first.lines.iter().zip(&second.lines).find(|(one, other)| one != other);
        assert_eq!(parted, None, "seed {seed}");
        assert_eq!(first, second, "seed {seed}");
        hashes.insert(first.trace.0);
    }
    assert_eq!(hashes.len(), 25, "every seed is another run");
}
