//! Whole databases as bytes.
//!
//! Invariants:
//! 1. An image is what the connection sees, its open transaction included, at one moment.
//! 2. An image is a database file in rollback-journal mode, whatever the storage: there is no log beside it, so any SQLite
//!    opens it.
//!
//! On a crash nothing is left: images and what is made of them are in memory. It refuses images that libSQL cannot read.

use std::ops::ControlFlow;

use super::Connection;
use crate::{Database, Error, ffi};

/// Where a database file says which journal mode writes and which reads it; 1 is a rollback journal, 2 a write-ahead log.
const JOURNAL_MODES: std::ops::Range<usize> = 18..20;

impl Connection {
    /// The image of a schema's database: `main`, `temp`, or what ATTACH called it. Empty for an empty database.
    ///
    /// # Errors
    /// SQLITE_ERROR for an unknown schema; SQLITE_NOMEM when the image does not fit into memory; otherwise those of
    /// reading.
    pub fn serialize(&self, schema: &str) -> Result<Vec<u8>, Error> {
        let state = self.inner.enter()?;
        let image = ffi::serialize(&state.sqlite, schema);
        let settled = self.inner.session.settle();
        let mut image = image.map_err(|error| error.explained_by(&self.inner.session))?;
        settled?;
        with_journal_modes(&mut image);
        Ok(image)
    }

    /// A file control of a schema whose argument is an int; see `sqlite3_file_control`. Only what a storage answers:
    /// SQLITE_FCNTL_HAS_MOVED (20), SQLITE_FCNTL_DATA_VERSION (35), SQLITE_FCNTL_RESERVE_BYTES (38).
    ///
    /// # Errors
    /// SQLITE_NOTFOUND names any other.
    pub fn file_control(&self, schema: &str, operation: i32, argument: i32) -> Result<i32, Error> {
        const ANSWERED: [i32; 3] = [20, 35, 38];
        if !ANSWERED.contains(&operation) {
            return Err(Error::new(
                rusqlite::ffi::SQLITE_NOTFOUND,
                format!("the file control {operation} has no meaning for a database behind a URL"),
            ));
        }
        let state = self.inner.enter()?;
        if !ffi::schema_exists(&state.sqlite, schema) {
            return Err(Error::other(format!("unknown database {schema}")));
        }
        ffi::file_control(&state.sqlite, schema, operation, argument)
    }
}

impl Database {
    /// A private database in memory with the content of an image.
    ///
    /// # Errors
    /// SQLITE_NOTADB or SQLITE_CORRUPT when the image is no database; SQLITE_NOMEM when it does not fit into memory.
    pub fn from_image(image: &[u8]) -> Result<Self, Error> {
        const PAGES_PER_STEP: i32 = 1024;
        let database = Self::open(":memory:")?;
        if image.is_empty() {
            return Ok(database);
        }
        let mut image = image.to_vec();
        with_journal_modes(&mut image);
        let source = rusqlite::Connection::open_in_memory()?;
        ffi::deserialize(&source, &image)?;
        drop(image);
        database.connect()?.copy_from(&source, PAGES_PER_STEP, |_| ControlFlow::Continue(()))?;
        Ok(database)
    }

    /// Another handle to the same storage, whose connections refuse writes.
    #[must_use]
    pub fn read_only(&self) -> Self {
        let mut handle = self.clone();
        handle.refuse_writes();
        handle
    }
}

fn with_journal_modes(image: &mut [u8]) {
    if let Some(modes) = image.get_mut(JOURNAL_MODES) {
        modes.fill(1);
    }
}
