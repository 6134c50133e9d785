//! The harness bites: each fault that is planted is found within a stated number of seeds, and a failing seed fails again
//! in the same way.

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
use twill_tests_simulation::store::Planted;

/// Runs seeds until one ends in a breach; it must be one of the first `within`, and repeat exactly.
fn found_within(sabotage: Sabotage, within: u64) {
    let failing = (1..=within).map(|seed| run(seed, sabotage, false)).find(|report| report.breach.is_some());
    let Some(first) = failing else { panic!("{sabotage:?} is not found in {within} seeds") };
    println!("{sabotage:?}: seed {}: {}", first.seed, first.breach.as_deref().unwrap_or_default());
    let again = run(first.seed, sabotage, false);
    assert_eq!(first, again, "a failing seed repeats exactly");
}

#[test]
fn a_store_that_ignores_if_none_match() {
    found_within(Sabotage::Store(Planted::IgnoresCreate), 20);
}

#[test]
fn a_store_that_ignores_if_match() {
    found_within(Sabotage::Store(Planted::IgnoresMatch), 200);
}

#[test]
fn a_store_that_acknowledges_what_it_does_not_apply() {
    found_within(Sabotage::Store(Planted::ForgetsWrites), 20);
}

#[test]
fn a_store_that_loses_objects() {
    found_within(Sabotage::Store(Planted::LosesObjects), 20);
}

#[test]
fn a_store_whose_reads_come_late() {
    found_within(Sabotage::Store(Planted::ReadsLate), 20);
}

#[test]
fn a_record_swapped_without_comparing() {
    found_within(Sabotage::BlindSwap, 200);
}

#[test]
fn fences_deleted() {
    found_within(Sabotage::FencesDeleted, 20);
}

#[test]
fn a_floor_beyond_what_rests_elsewhere() {
    found_within(Sabotage::FloorTooFar, 20);
}

#[test]
fn a_collector_that_ignores_pins() {
    found_within(Sabotage::PinsIgnored, 100);
}

#[test]
fn doubt_taken_for_success() {
    found_within(Sabotage::DoubtIsSuccess, 50);
}

#[test]
fn doubt_taken_for_failure() {
    found_within(Sabotage::DoubtIsFailure, 50);
}
