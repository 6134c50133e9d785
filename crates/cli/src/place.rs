//! Opening databases, and files that are complete or not there.
//!
//! ```text
//! DIR/.twill-XXXXXX/name   written ─► synced ─► renamed to DIR/name ─► DIR synced
//! ```
//!
//! Invariants:
//! 1. A target holds what it held before until the rename, and the whole new content after it.
//! 2. A database that did not exist, and to which nothing was written, does not exist afterwards.
//! 3. Nothing is overwritten unless that was asked for; never a database that has a log or journal beside it, whose
//!    content would be taken for the new file's.

use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use twill_engine::{Connection, Database, Error, Mode, Value};

use crate::failure::Failure;

/// A database and one connection to it. Dropping it closes both.
pub(crate) struct Opened(Option<Both>);

/// What is open.
pub(crate) struct Both {
    pub(crate) database: Database,
    pub(crate) connection: Connection,
    is_new: bool,
}

impl Opened {
    /// Opens a database, in this mode whatever the URL says.
    pub(crate) fn with_mode(url: &str, mode: Mode) -> Result<Self, Failure> {
        Self::new(url, Database::open_with_mode(url, mode), false)
    }

    /// Opens a database as the URL says.
    pub(crate) fn as_url_says(url: &str) -> Result<Self, Failure> {
        const SQLITE_CANTOPEN: i32 = 14;
        // Whether it exists is asked by opening it: what a URL means is the engine's to say.
        let existing = Database::open_with_mode(url, Mode::ReadWrite);
        let is_absent = existing.as_ref().is_err_and(|error| error.code() == SQLITE_CANTOPEN);
        Self::new(url, Database::open(url), is_absent)
    }

    fn new(url: &str, database: Result<Database, Error>, is_new: bool) -> Result<Self, Failure> {
        let refused = |error| Failure::Open { url: url.to_owned(), error };
        let database = database.map_err(refused)?;
        let connection = database.connect().map_err(refused)?;
        Ok(Self(Some(Both { database, connection, is_new })))
    }

    /// Closes it; what was in flight is durable afterwards.
    pub(crate) fn close(mut self) -> Result<(), Failure> {
        let Some(both) = self.0.take() else { return Ok(()) };
        both.remove_if_empty();
        let Both { database, connection, .. } = both;
        connection.close().map_err(|error| Failure::statement(error, ""))?;
        database.close().map_err(|error| Failure::statement(error, ""))
    }
}

impl Deref for Opened {
    type Target = Both;

    #[expect(clippy::expect_used, reason = "taken only by close, which consumes it")]
    fn deref(&self) -> &Both {
        self.0.as_ref().expect("an open database is there until it is closed")
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(both) = &self.0 {
            both.remove_if_empty();
        }
    }
}

impl Both {
    /// Removes the file that opening has just made, if nothing came of it. It is still locked, so nobody else uses it.
    fn remove_if_empty(&self) {
        if !self.is_new {
            return;
        }
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute("ROLLBACK", ());
        }
        let pages = self.connection.query("PRAGMA page_count", ());
        let is_empty = pages.is_ok_and(|pages| pages.rows == [[Value::Integer(0)]]);
        if let Some(path) = self.database.path().filter(|_| is_empty) {
            for suffix in ["", "-wal"] {
                let mut name = path.as_os_str().to_owned();
                name.push(suffix);
                // What cannot be removed is an empty file.
                let _ = fs::remove_file(name);
            }
        }
    }
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
