//! The seam between the storage and the medium: files and directories as the commit protocol needs them.
//!
//! Invariants of an implementation:
//! 1. Bytes are durable only after [`DiskFile::sync_data`] returned `Ok`; a directory entry (created, deleted) only
//!    after [`Disk::sync_dir`] did. Between, a crash may keep any part of them, in any order.
//! 2. A failed `sync_data` says nothing about the bytes, and a later success does not make up for it.
//! 3. A lock belongs to the open file, not to the process: closing another handle of the same file keeps it.
//!
//! What is absent: buffering, retries, knowledge of pages.

mod os;
#[cfg(feature = "sim")]
mod sim;

use std::io;
use std::path::Path;
use std::sync::Arc;

pub use os::OsDisk;
#[cfg(feature = "sim")]
pub use sim::{Fault, SimDisk};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// For reading; the file must exist.
    Read,
    /// For reading and writing; the file must exist.
    ReadWrite,
    /// For reading and writing; created, empty, when it does not exist.
    Create,
}

/// How a database file is locked against other processes and other SQLite libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Excludes writers that take SQLite's exclusive lock.
    Shared,
    /// Excludes everybody.
    Exclusive,
}

/// What names a file behind its path, so that a replaced file is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// The device.
    pub device: u64,
    /// The inode on it.
    pub inode: u64,
}

/// A file's stamp: two reads of an unchanged file give equal stamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp {
    /// Length in bytes.
    pub len: u64,
    /// Last modification, nanoseconds.
    pub modified_ns: i128,
}

/// A medium with files and directories.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file. A file created here gets the permissions of `like`, when given.
    ///
    /// # Errors
    /// Those of the medium; `IsADirectory` for a directory.
    fn open(&self, path: &Path, access: Access, like: Option<&dyn DiskFile>)
    -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file; one that is not there is no error.
    ///
    /// # Errors
    /// Those of the medium.
    fn delete(&self, path: &Path) -> io::Result<()>;

    /// Whether a file is there.
    ///
    /// # Errors
    /// Those of the medium.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Makes the entries of the directory that holds `path` durable.
    ///
    /// # Errors
    /// Those of the medium.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Whether files can be made beside `path`.
    ///
    /// # Errors
    /// When they cannot.
    fn check_beside(&self, path: &Path) -> io::Result<()> {
        let _ = path;
        Ok(())
    }

    /// What `path` names now.
    ///
    /// # Errors
    /// Those of the medium.
    fn identity(&self, path: &Path) -> io::Result<FileIdentity>;

    /// A nameless file on the medium that holds `path`, gone with its handle or the process.
    ///
    /// # Errors
    /// Those of the medium.
    fn scratch(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
}

/// An open file.
pub trait DiskFile: Send + Sync + 'static {
    /// Fills `buf` from `offset` as far as the file goes; returns how far.
    ///
    /// # Errors
    /// Those of the medium.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`. After an error any part of it may be there.
    ///
    /// # Errors
    /// Those of the medium.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file, or extends it with zeros.
    ///
    /// # Errors
    /// Those of the medium.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Those of the medium.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// Those of the medium.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Makes bytes and length durable.
    ///
    /// # Errors
    /// Those of the medium; see invariant 2.
    fn sync_data(&self) -> io::Result<()>;

    /// Takes the lock of SQLite's lock bytes without waiting; `false` when somebody else has one that conflicts.
    ///
    /// # Errors
    /// Those of the medium.
    fn try_lock(&self, kind: LockKind) -> io::Result<bool>;

    /// Whether another open file holds a lock on this byte.
    ///
    /// # Errors
    /// Those of the medium.
    fn is_locked_at(&self, offset: u64) -> io::Result<bool>;

    /// Gives the lock back.
    ///
    /// # Errors
    /// Those of the medium.
    fn unlock(&self) -> io::Result<()>;

    /// What this handle is open on.
    ///
    /// # Errors
    /// Those of the medium.
    fn identity(&self) -> io::Result<FileIdentity>;

    /// Length and modification time.
    ///
    /// # Errors
    /// Those of the medium.
    fn stamp(&self) -> io::Result<FileStamp>;

    /// Permission bits, for files created beside this one.
    ///
    /// # Errors
    /// Those of the medium.
    fn permissions(&self) -> io::Result<u32>;
}
