//! Named places at which a harness stops the process: before and after every durable step.
//!
//! They do nothing unless the crate is built with the feature `failpoints`. Then the environment variable `FAILPOINTS`,
//! read at the first open, arms them: `name=action;name=action`, in the words of the `fail` crate. The action `return`
//! aborts the process on the spot: `FAILPOINTS="before_wal_sync=5*off->return"` aborts at the sixth WAL sync,
//! `"backfill_page=2%return"` at a random backfilled page.

/// Every name, in the order a commit and its checkpoint pass them.
pub const FAILPOINTS: &[&str] = &[
    "wal_made",
    "before_frames",
    "frames_written",
    "before_wal_sync",
    "after_wal_sync",
    "before_first_backfill",
    "after_first_backfill",
    "before_dir_sync",
    "after_dir_sync",
    "before_backfill",
    "backfill_page",
    "before_truncate",
    "after_truncate",
    "before_db_sync",
    "after_db_sync",
    "before_reset",
    "wal_header_written",
    "after_reset_header",
    "before_wal_delete",
    "after_wal_delete",
    "recovery_rewritten",
    "recovery_synced",
];

/// Aborts here when a harness armed `name` so.
#[inline]
pub(crate) fn reach(name: &'static str) {
    debug_assert!(FAILPOINTS.contains(&name), "{name} is not listed");
    fail::fail_point!(name, |_| std::process::abort());
}

/// Arms what `FAILPOINTS` in the environment asks for, once per process.
#[cfg(feature = "failpoints")]
pub(crate) fn arm() {
    static ARMED: std::sync::Once = std::sync::Once::new();
    ARMED.call_once(|| {
        let asked = std::env::var("FAILPOINTS").unwrap_or_default();
        for (name, action) in asked.split(';').filter_map(|one| one.split_once('=')) {
            if let Err(error) = fail::cfg(name.trim(), action.trim()) {
                tracing::error!(name, action, error, "a failpoint could not be armed");
            }
        }
    });
}

/// Without the feature there is nothing to arm.
#[cfg(not(feature = "failpoints"))]
pub(crate) fn arm() {}
