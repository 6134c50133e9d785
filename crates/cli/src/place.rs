//! Opening databases, and files that are complete or not there.
//!
//! ```text
//! DIR/.twill-XXXXXX/name   written ─► synced ─► renamed to DIR/name ─► DIR synced
//! ```
//!
//! Invariants:
//! 1. A target holds what it held before until the rename, and the whole new content after it.
//! 2. Nothing is overwritten unless that was asked for; never a database that has a log or journal beside it, whose
//!    content would be taken for the new file's.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use twill_engine::{Connection, Database, Mode};

use crate::failure::Failure;

/// Opens a database and one connection.
pub(crate) fn open(url: &str, mode: Option<Mode>) -> Result<(Database, Connection), Failure> {
    let refused = |error| Failure::Open { url: url.to_owned(), error };
    let database = match mode {
        Some(mode) => Database::open_with_mode(url, mode),
        None => Database::open(url),
    }
    .map_err(refused)?;
    let connection = database.connect().map_err(refused)?;
    Ok((database, connection))
}

/// Closes a database; what was in flight is durable afterwards.
pub(crate) fn close(database: Database, connection: Connection) -> Result<(), Failure> {
    connection.close().map_err(|error| Failure::statement(error, ""))?;
    database.close().map_err(|error| Failure::statement(error, ""))
}

/// A file, or a directory, on its way to its name.
pub(crate) struct NewFile {
    target: PathBuf,
    directory: tempfile::TempDir,
}

impl NewFile {
    /// Checks that the target may be written, and makes the hidden directory beside it.
    pub(crate) fn beside(target: &Path, overwrites: bool) -> Result<Self, Failure> {
        if target.file_name().is_none() {
            return Err(Failure::Usage(format!("{} names no file", target.display())));
        }
        for suffix in ["-wal", "-journal"] {
            let mut leftover = target.as_os_str().to_owned();
            leftover.push(suffix);
            if fs::metadata(&leftover).is_ok_and(|found| found.len() > 0) {
                return Err(Failure::Refused(format!(
                    "{} is in use or was not closed: {} holds changes of it. Close or delete that database first",
                    target.display(),
                    Path::new(&leftover).display()
                )));
            }
        }
        if target.is_dir() || (!overwrites && fs::symlink_metadata(target).is_ok()) {
            return Err(exists(target));
        }
        let parent = parent_of(target);
        let directory = tempfile::Builder::new()
            .prefix(".twill-")
            .tempdir_in(parent)
            .map_err(|error| Failure::File { path: parent.display().to_string(), error })?;
        Ok(Self { target: target.to_owned(), directory })
    }

    /// Where to write meanwhile.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("new")
    }

    /// Gives the finished file, or directory, its name.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let failed = |error| Failure::io(format!("writing {}", self.target.display()), error);
        let made = self.path();
        if made.is_dir() {
            for entry in fs::read_dir(&made).map_err(failed)? {
                sync(&entry.map_err(failed)?.path()).map_err(failed)?;
            }
        }
        sync(&made).map_err(failed)?;
        fs::rename(&made, &self.target).map_err(failed)?;
        sync(parent_of(&self.target)).map_err(failed)
    }
}

fn exists(target: &Path) -> Failure {
    Failure::Refused(match target.is_dir() {
        true => format!("{} is a directory that exists; choose another name", target.display()),
        false => format!("{} exists; --force overwrites it", target.display()),
    })
}

fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The directory a file lies in.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Opens a file to read.
pub(crate) fn read(path: &Path) -> Result<File, Failure> {
    let refused = |error| Failure::File { path: path.display().to_string(), error };
    let file = File::open(path).map_err(refused)?;
    match file.metadata().map_err(refused)?.is_dir() {
        true => Err(refused(io::Error::from(io::ErrorKind::IsADirectory))),
        false => Ok(file),
    }
}
