//! A few hundred simulated crashes under SQL.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    reason = "test code"
)]

use twill_tests_crash::sim;
use twill_types::Door;

#[test]
fn sql_survives_simulated_crashes() {
    let mut seed = [0; 8];
    <dyn Door>::system().fill_random(&mut seed);
    let seed =
        std::env::var("CRASH_SEED").map_or(u64::from_le_bytes(seed) >> 16, |seed| seed.parse().unwrap());
    println!("CRASH_SEED={seed}");
    let tally = sim::run(seed, 400, |_| {}).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{tally:#?}");
    assert!(tally.acknowledged > 400 && tally.crashes_in_recovery > 0 && tally.kills > 0, "{tally:?}");
    assert!(
        tally.found_unacknowledged > 0,
        "no crash came between a commit's durability and its return: {tally:?}"
    );
}

#[test]
fn a_seed_repeats_a_run_to_the_last_operation() {
    let once = sim::run(77, 40, |_| {}).unwrap();
    assert_eq!(once, sim::run(77, 40, |_| {}).unwrap());
    assert_ne!(once, sim::run(78, 40, |_| {}).unwrap());
}
