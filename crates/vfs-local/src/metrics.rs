//! Counters of one open storage. They count from its open, are read without a lock and may run ahead of each other.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What a storage did since it was opened.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct LocalMetrics {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) fn read(&self) -> LocalMetrics {
                LocalMetrics { $($name: self.$name.get(),)* }
            }
        }
    };
}

metrics! {
    /// Commits appended.
    commits,
    /// Frames appended.
    frames,
    /// fdatasyncs of the WAL.
    wal_syncs,
    /// fdatasyncs of the database file.
    db_syncs,
    /// Checkpoints that moved something.
    checkpoints,
    /// Times the WAL was started over.
    wal_resets,
    /// Pages copied to the spill for a pinned snapshot.
    spilled_pages,
    /// Pages in the spill now.
    spill_pages_now,
    /// Frames in the WAL now.
    wal_frames,
    /// Bytes of the WAL in use now.
    wal_bytes,
    /// The most `wal_bytes` ever was.
    wal_bytes_max,
    /// Bytes written to the WAL and the database file.
    bytes_written,
    /// Pages written to the database file.
    backfilled_pages,
}

/// One number that many threads raise.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn raise_to(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
