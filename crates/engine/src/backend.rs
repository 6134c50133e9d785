//! The backends behind URLs. The one place that names them.
//!
//! A file that SQLite left in rollback-journal mode, or with a hot journal, is first recovered and brought into WAL mode
//! by libSQL on its own VFS: it alone knows that format.
//!
//! Invariants:
//! 1. A file is converted only by an open for writing; a read-only open changes nothing and says what to do.
//!
//! On a crash during conversion, libSQL's own journal protects the file, and the next open converts again.

use std::path::Path;
use std::sync::Arc;

use rusqlite::{OpenFlags, ffi};
use twill_types::{Door, Synchronous};
use twill_vfs_local::{LocalFileStorage, LocalOptions, OpenError};
use twill_vfs_trait::{MemoryStorage, Storage};

use crate::Error;
use crate::metrics::StorageMetrics;
use crate::url::Mode;

/// What a storage offers beyond the trait.
pub(crate) enum Backend {
    Memory,
    File(Arc<LocalFileStorage>),
}

impl Backend {
    pub(crate) fn metrics(&self) -> Option<StorageMetrics> {
        match self {
            Self::Memory => None,
            Self::File(file) => Some(file_metrics(file)),
        }
    }
}

fn file_metrics(file: &LocalFileStorage) -> StorageMetrics {
    let counted = file.metrics();
    let counts = vec![
        ("commits", counted.commits),
        ("frames", counted.frames),
        ("wal_syncs", counted.wal_syncs),
        ("db_syncs", counted.db_syncs),
        ("checkpoints", counted.checkpoints),
        ("wal_resets", counted.wal_resets),
        ("spilled_pages", counted.spilled_pages),
        ("spill_pages_now", counted.spill_pages_now),
        ("wal_bytes", counted.wal_bytes),
        ("wal_bytes_max", counted.wal_bytes_max),
        ("bytes_written", counted.bytes_written),
        ("backfilled_pages", counted.backfilled_pages),
    ];
    StorageMetrics { counts }
}

pub(crate) fn open_memory() -> (Arc<dyn Storage>, Backend) {
    (Arc::new(MemoryStorage::new()), Backend::Memory)
}

pub(crate) fn open_file(
    path: &Path,
    mode: Mode,
    synchronous: Synchronous,
    door: &Arc<dyn Door>,
) -> Result<(Arc<dyn Storage>, Backend), Error> {
    let open = || {
        let mode = match mode {
            Mode::ReadOnly => twill_vfs_local::Mode::ReadOnly,
            Mode::ReadWrite => twill_vfs_local::Mode::ReadWrite,
            Mode::ReadWriteCreate => twill_vfs_local::Mode::ReadWriteCreate,
        };
        LocalFileStorage::open(
            path,
            LocalOptions { mode, synchronous, ..LocalOptions::default() },
            Arc::clone(door),
        )
    };
    let file = match open() {
        Err(OpenError::NeedsConversion { reason, .. }) if mode != Mode::ReadOnly => {
            tracing::info!(path = %path.display(), %reason, "converting to WAL mode");
            convert(path)?;
            open()
        }
        outcome => outcome,
    }
    .map_err(|error| refusal(error, mode))?;
    Ok((Arc::clone(&file) as Arc<dyn Storage>, Backend::File(file)))
}

/// Recovers a file and brings it into WAL mode, with libSQL's own VFS and journal.
fn convert(path: &Path) -> Result<(), Error> {
    let explain = |error: rusqlite::Error| {
        let error = Error::from(error);
        if error.is_busy() {
            return Error::new(
                ffi::SQLITE_BUSY,
                format!("database is locked: {} is open in another process", path.display()),
            );
        }
        Error::new(error.extended_code(), format!("cannot convert {} to WAL mode: {error}", path.display()))
            .with_source(error)
    };
    // No URI flag, but libSQL is compiled to read URIs: a canonical path starts with a slash and is none.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(path, flags).map_err(explain)?;
    let mode: String =
        connection.query_row("PRAGMA journal_mode=WAL", (), |row| row.get(0)).map_err(explain)?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(Error::cannot_open(format!(
            "cannot convert {} to WAL mode: it stays in {mode} mode",
            path.display()
        )));
    }
    connection.close().map_err(|(_, error)| explain(error))
}

/// The table from a file's refusals to SQLite's codes.
fn refusal(error: OpenError, mode: Mode) -> Error {
    let (code, hint) = match &error {
        OpenError::NotFound { .. } if mode == Mode::ReadWriteCreate => {
            (ffi::SQLITE_CANTOPEN, "create the directory")
        }
        OpenError::NotFound { .. } => (ffi::SQLITE_CANTOPEN, "open it with mode=rwc to create it"),
        OpenError::Locked { .. } => (ffi::SQLITE_BUSY, ""),
        OpenError::NotADatabase { .. } => (ffi::SQLITE_NOTADB, ""),
        OpenError::PermissionDenied { .. } if mode == Mode::ReadOnly => (ffi::SQLITE_CANTOPEN, ""),
        OpenError::PermissionDenied { .. } => {
            (ffi::SQLITE_CANTOPEN, "open it with mode=ro if it shall only be read")
        }
        OpenError::IsDirectory { .. } => (ffi::SQLITE_CANTOPEN_ISDIR, ""),
        OpenError::NeedsConversion { .. } => {
            (ffi::SQLITE_CANTOPEN, "open it once for writing, which converts it")
        }
        OpenError::Storage(storage) => return Error::from(storage.clone()),
    };
    let message = if hint.is_empty() { error.to_string() } else { format!("{error}; {hint}") };
    Error::new(code, message).with_source(error)
}
