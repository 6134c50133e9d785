//! The settings of a log, with the reason for each default.

use std::time::Duration;

use crate::record::BODY_BYTES_MAX;

/// How the log trades latency, requests and patience. None of it is part of the format: processes with different
/// options share a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many records may be on their way at once, 1 to [`Options::WINDOW_MAX`]. More hides the tail of the store's
    /// latency behind more requests.
    pub window: usize,
    /// When the next record leaves while others are on their way.
    pub spacing: Spacing,
    /// How long a record (or a part) may stay unsettled, from its first attempt. Then its outcome is told: not applied
    /// if every attempt was refused, otherwise indeterminate. Either way the log is poisoned.
    pub commit_deadline: Duration,
    /// How long one attempt of a PUT or GET of a record may take before it is given up and repeated.
    pub attempt_timeout: Duration,
    /// The first wait before an attempt is repeated; it doubles up to `backoff_max`, and each wait is drawn between
    /// half and all of it.
    pub backoff_first: Duration,
    /// The longest wait between attempts.
    pub backoff_max: Duration,
    /// Payload bytes after which a record takes no further commit. At most 16 MiB.
    pub record_bytes: usize,
    /// A commit with a larger payload is uploaded in parts of this size. At most 16 MiB.
    pub part_bytes: usize,
    /// How many parts of one commit are uploaded at once.
    pub parts_at_once: usize,
    /// How many requests a reader has under way at once.
    pub reads_at_once: usize,
    /// Payload bytes that may wait for a slot before [`crate::Log::room`] makes callers wait.
    pub queue_bytes: usize,
    /// Whether bodies are compressed, where that saves an eighth.
    pub compression: Compression,
    /// How many times an opener starts again because the branch record changed meanwhile.
    pub open_attempts: u32,
}

/// When the next record leaves while others are on their way. With none on its way it leaves at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// This fraction of the store's usual PUT time (median of the last ones) after the record before.
    Share(u32),
    /// This long after the record before. Zero: at once, while the window has room.
    Fixed(Duration),
}

/// How bodies of records are stored. Each record says which it is, so readers take both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// LZ4 block format, where that saves at least an eighth.
    Lz4,
}

impl Options {
    /// The largest window. Behind a fence at most this many slots can hold void records.
    pub const WINDOW_MAX: usize = 64;

    /// The window, within its bounds.
    pub(crate) fn window(&self) -> usize {
        self.window.clamp(1, Self::WINDOW_MAX)
    }

    /// The part size, within what half a body holds: a record may be full when its last commit joins.
    pub(crate) fn part_bytes(&self) -> usize {
        self.part_bytes.clamp(1, BODY_BYTES_MAX / 4)
    }

    /// The record size, within the same bounds.
    pub(crate) fn record_bytes(&self) -> usize {
        self.record_bytes.clamp(1, BODY_BYTES_MAX / 4)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window: 16,
            spacing: Spacing::Share(6),
            commit_deadline: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(5),
            backoff_first: Duration::from_millis(20),
            backoff_max: Duration::from_secs(2),
            record_bytes: 4 << 20,
            part_bytes: 8 << 20,
            parts_at_once: 4,
            reads_at_once: 32,
            queue_bytes: 64 << 20,
            compression: Compression::Lz4,
            open_attempts: 8,
        }
    }
}
