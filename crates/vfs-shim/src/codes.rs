//! The one table from storage errors to SQLite's result codes.

use std::ffi::c_int;

use twill_libsql::ffi;
use twill_vfs_trait::StorageError;

/// The (extended) SQLITE_* code a storage error is reported with. Source: <https://www.sqlite.org/rescode.html>.
#[must_use]
pub const fn sqlite_code(error: &StorageError) -> c_int {
    match error {
        StorageError::Busy { .. } => ffi::SQLITE_BUSY,
        StorageError::Interrupted => ffi::SQLITE_INTERRUPT,
        StorageError::Conflict { .. } => ffi::SQLITE_BUSY_SNAPSHOT,
        StorageError::Fenced { .. } => ffi::SQLITE_READONLY_DBMOVED,
        StorageError::Indeterminate { .. } => ffi::SQLITE_IOERR_FSYNC,
        StorageError::Unavailable { .. } => ffi::SQLITE_IOERR,
        StorageError::Corrupt { .. } => ffi::SQLITE_CORRUPT,
        StorageError::Full { .. } => ffi::SQLITE_FULL,
        StorageError::ReadOnly { .. } => ffi::SQLITE_READONLY,
        StorageError::SnapshotExpired => ffi::SQLITE_ERROR_SNAPSHOT,
        StorageError::Invalid { .. } => ffi::SQLITE_INTERNAL,
        StorageError::Poisoned { .. } => ffi::SQLITE_IOERR_WRITE,
    }
}
