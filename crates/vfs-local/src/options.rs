//! How a file is opened, and why it cannot be.

use std::io;
use std::path::PathBuf;

use twill_types::Synchronous;
use twill_vfs_trait::StorageError;

/// Who may do what with the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is written, not even a lock file. The file must exist.
    ReadOnly,
    /// The file must exist.
    ReadWrite,
    /// The file is created when it does not exist.
    #[default]
    ReadWriteCreate,
}

/// How a file is opened.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Who may do what.
    pub mode: Mode,
    /// When a commit is acknowledged.
    pub synchronous: Synchronous,
    /// Frames in the WAL from which the background checkpoint runs; SQLite's default is 1000.
    pub checkpoint_frames: u32,
    /// Frames in the WAL at which a writer checkpoints before it starts. A single commit may exceed it.
    pub wal_frames_max: u32,
    /// Whether a thread checkpoints in the background. Without it writers do, at `wal_frames_max`.
    pub background: bool,
}

impl Default for LocalOptions {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            synchronous: Synchronous::default(),
            checkpoint_frames: 1000,
            wal_frames_max: 16_000,
            background: true,
        }
    }
}

/// Why stock libSQL has to open the file first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conversion {
    /// Its header says that it is in rollback-journal mode.
    RollbackMode,
    /// A `-journal` beside it holds the pages of an unfinished transaction.
    HotJournal,
}

impl std::fmt::Display for Conversion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::RollbackMode => "it is in rollback-journal mode",
            Self::HotJournal => "a hot -journal beside it must be rolled back",
        })
    }
}

/// Why a file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such file, or no such directory.
    #[error("unable to open database file: {} does not exist", path.display())]
    NotFound {
        /// Which file.
        path: PathBuf,
    },
    /// Another process, or another handle in this one, has it open.
    #[error("database is locked: {} is open in another process or by another SQLite library", path.display())]
    Locked {
        /// Which file.
        path: PathBuf,
    },
    /// The file is not a SQLite database. It was not touched.
    #[error("file is not a database: {}: {found}", path.display())]
    NotADatabase {
        /// Which file.
        path: PathBuf,
        /// What was found instead.
        found: String,
    },
    /// The file or its directory may not be read or written as the mode asks.
    #[error("unable to open database file: permission denied on {}", path.display())]
    PermissionDenied {
        /// Which file or directory.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The path names a directory.
    #[error("unable to open database file: {} is a directory", path.display())]
    IsDirectory {
        /// Which path.
        path: PathBuf,
    },
    /// Stock libSQL must bring the file into WAL mode first.
    #[error("{} needs conversion before it can be opened: {reason}", path.display())]
    NeedsConversion {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: Conversion,
    },
    /// The storage could not read or repair what it found.
    #[error(transparent)]
    Storage(#[from] StorageError),
}
