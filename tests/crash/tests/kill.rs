//! Kills a few dozen processes: every failpoint once, and at random times.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    reason = "test code"
)]

use std::path::Path;
use std::time::Duration;

use twill_tests_crash::campaign::Campaign;
use twill_types::Door;
use twill_vfs_local::FAILPOINTS;

/// Far more than it takes; only a failpoint that is never reached comes so far.
const TIME_MAX: Duration = Duration::from_secs(240);

#[test]
fn nothing_acknowledged_is_lost_at_any_failpoint_or_random_time() {
    let program = Path::new(env!("CARGO_BIN_EXE_crash"));
    let directory = tempfile::tempdir().unwrap();
    let door = <dyn Door>::system();
    let started = door.now();
    let mut seed = [0; 8];
    door.fill_random(&mut seed);
    let seed =
        std::env::var("CRASH_SEED").map_or(u64::from_le_bytes(seed) >> 16, |seed| seed.parse().unwrap());
    println!("CRASH_SEED={seed}");
    let mut campaign = Campaign::new(program, directory.path(), seed);
    if !campaign.has_stock() {
        println!("SKIPPED: sqlite3 is not installed, so no copy was read by stock SQLite");
    }
    let outcome = campaign.run(|tally| {
        let reached = FAILPOINTS.iter().all(|name| tally.kills_at_failpoint.contains_key(*name));
        (reached && tally.kills >= 40) || door.now() - started > TIME_MAX
    });
    let tally = &campaign.tally;
    println!("{tally:#?}");
    if let Err(error) = outcome {
        panic!("{error:#}\nfiles: {}", directory.keep().display());
    }
    let unreached: Vec<_> =
        FAILPOINTS.iter().filter(|name| !tally.kills_at_failpoint.contains_key(**name)).collect();
    assert!(unreached.is_empty(), "never reached: {unreached:?}");
    assert!(tally.kills >= 40 && tally.acknowledged > 100, "{tally:?}");
}
