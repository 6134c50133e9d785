//! The write-ahead log, byte for byte SQLite's.

pub(crate) mod format;
pub(crate) mod recover;
