//! The commit log in the simulated world: a sample of the long run, and that a seed repeats exactly.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    reason = "test code"
)]

use twill_tests_simulation::log::run;
use twill_tests_simulation::log::sabotage::Sabotage;

/// Seeds of the sample; the long run begins elsewhere, so that the two do not overlap for long.
const SAMPLE: std::ops::Range<u64> = 1_000_000..1_000_300;

#[test]
fn nothing_is_lost_and_nothing_acknowledged_twice() {
    let halves = [(SAMPLE.start, 0), (SAMPLE.start, 1)];
    std::thread::scope(|scope| {
        for (first, half) in halves {
            scope.spawn(move || {
                for seed in (first + half..SAMPLE.end).step_by(2) {
                    let report = run(seed, Sabotage::None, false);
                    assert_eq!(report.breach, None, "seed {seed}: simulate log --seed {seed} --trace");
                }
            });
        }
    });
}

#[test]
fn the_sample_is_not_idle() {
    let mut tally = twill_tests_simulation::log::oracle::Tally::default();
    let mut points = std::collections::BTreeSet::new();
    let mut strikes = 0;
    for seed in SAMPLE.take(60) {
        let report = run(seed, Sabotage::None, false);
        tally.add(&report.tally);
        points.extend(report.points.into_keys());
        strikes += report.strikes;
    }
    assert!(tally.acknowledged > 1000 && tally.openings > 200, "{tally:?}");
    assert!(
        tally.indeterminate > 20 && tally.not_applied > 20 && tally.found_unacknowledged > 20,
        "{tally:?}"
    );
    assert!(tally.read > 1000 && tally.raises > 50 && tally.collected > 20 && tally.merged > 20, "{tally:?}");
    assert!(tally.pins > 10 && tally.sealed > 0 && tally.expired > 0, "{tally:?}");
    assert!(tally.verdicts.iter().all(|answered| *answered > 0), "{tally:?}");
    assert!(strikes > 300, "{strikes} strikes");
    let unreached: Vec<_> =
        twill_commitlog_cas::Point::ALL.iter().filter(|point| !points.contains(point.name())).collect();
    assert!(unreached.is_empty(), "never reached: {unreached:?}");
}

#[test]
fn a_seed_repeats_exactly() {
    let mut hashes = std::collections::BTreeSet::new();
    for seed in SAMPLE.take(25) {
        let (first, second) = (run(seed, Sabotage::None, true), run(seed, Sabotage::None, true));
        let parted = first.lines.iter().zip(&second.lines).find(|(one, other)| one != other);
        assert_eq!(parted, None, "seed {seed}");
        assert_eq!(first, second, "seed {seed}");
        hashes.insert(first.trace.0);
    }
    assert_eq!(hashes.len(), 25, "every seed is another run");
}
