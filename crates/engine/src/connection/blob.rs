//! Reading and writing one value in place.
//!
//! Invariants:
//! 1. A handle is used inside calls of its connection only, and keeps the connection open.
//! 2. What was written outside a transaction is committed, and durable, when [`Blob::close`] returns; dropping the handle
//!    does the same and logs an error.
//! 3. A handle dropped inside a callback of its connection is closed by the next call.
//!
//! A writing handle outside a transaction holds the writer slot until it is closed. It refuses to change the value's
//! length, as SQLite does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Connection, Inner};
use crate::Error;
use crate::ffi::{BlobPlace, RawBlob};

/// An open blob or text value of one row.
pub struct Blob {
    inner: Arc<Inner>,
    raw: Option<RawBlob>,
    length: usize,
}

impl Connection {
    /// Opens the value in `schema`.`table`.`column` of one row, for reading or also for writing.
    ///
    /// # Errors
    /// SQLITE_ERROR when there is no such row or column, or it holds no blob or text; SQLITE_BUSY when the writer slot did
    /// not come free in time.
    pub fn blob_open(
        &self,
        schema: &str,
        table: &str,
        column: &str,
        rowid: i64,
        writable: bool,
    ) -> Result<Blob, Error> {
        let place = BlobPlace { schema, table, column, rowid, writable };
        self.inner.blob_call(|state| {
            if writable {
                let waited = self.inner.queue(&[schema])?;
                self.inner.counters.write(waited);
            }
            let raw = RawBlob::open(&state.sqlite, &place)?;
            Ok(Blob { inner: Arc::clone(&self.inner), length: raw.len(), raw: Some(raw) })
        })
    }
}

impl Blob {
    /// Its length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Reads exactly `into.len()` bytes from `at`.
    ///
    /// # Errors
    /// SQLITE_ERROR beyond the end; SQLITE_ABORT when the row was changed by a statement meanwhile.
    pub fn read_at(&mut self, at: usize, into: &mut [u8]) -> Result<(), Error> {
        self.check_extent(at, into.len())?;
        let Self { inner, raw, .. } = self;
        inner.blob_call(|state| open(raw)?.read(&state.sqlite, at, into))
    }

    /// Writes all of `from` at `at`.
    ///
    /// # Errors
    /// SQLITE_ERROR beyond the end; SQLITE_READONLY for a reading handle; SQLITE_ABORT when the row was changed by a
    /// statement meanwhile.
    pub fn write_at(&mut self, at: usize, from: &[u8]) -> Result<(), Error> {
        self.check_extent(at, from.len())?;
        let Self { inner, raw, .. } = self;
        inner.blob_call(|state| open(raw)?.write(&state.sqlite, at, from))
    }

    /// Moves the handle to the same column of another row.
    ///
    /// # Errors
    /// SQLITE_ERROR when there is no such row; the handle is then of no more use.
    pub fn reopen(&mut self, rowid: i64) -> Result<(), Error> {
        let Self { inner, raw, length } = self;
        inner.blob_call(|state| {
            let raw = open(raw)?;
            raw.reopen(&state.sqlite, rowid)?;
            *length = raw.len();
            Ok(())
        })
    }

    /// Closes the handle. Outside a transaction this commits what was written.
    ///
    /// # Errors
    /// The commit's.
    pub fn close(mut self) -> Result<(), Error> {
        self.close_now()
    }

    fn close_now(&mut self) -> Result<(), Error> {
        let Some(raw) = self.raw.take() else { return Ok(()) };
        let mut raw = Some(raw);
        let outcome = self.inner.blob_call(|state| match raw.take() {
            Some(raw) => raw.close(&state.sqlite),
            None => Ok(()),
        });
        if let Some(raw) = raw {
            // The call was refused: this thread is inside a callback of the connection.
            self.inner.orphans.add(raw);
            return Ok(());
        }
        outcome
    }

    fn check_extent(&self, at: usize, length: usize) -> Result<(), Error> {
        match at.checked_add(length) {
            Some(end) if end <= self.length => Ok(()),
            _ => Err(Error::other(format!(
                "{length} bytes at {at} lie beyond the blob's {} bytes",
                self.length
            ))),
        }
    }
}

fn open(raw: &mut Option<RawBlob>) -> Result<&mut RawBlob, Error> {
    raw.as_mut().ok_or_else(|| Error::misuse("the blob is closed"))
}

impl Drop for Blob {
    fn drop(&mut self) {
        if let Err(error) = self.close_now() {
            tracing::warn!(%error, "a dropped blob handle did not close cleanly");
        }
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blob").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Inner {
    /// One call on a blob handle.
    fn blob_call<R>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut super::State) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let mut state = self.enter()?;
        // Closing a handle whose transaction is gone must still close it.
        let expired = state.idle.take_expired();
        let outcome = work(&mut state);
        let settled = self.session.settle();
        let super::State { last_commit, .. } = &mut *state;
        self.note_commit(last_commit);
        self.idle_begins(&state);
        // From here on a handle that is dropped, since its caller is told of the expiry, can close itself.
        drop(state);
        if let Some(expired) = expired {
            expired.answer("")?;
        }
        let outcome = outcome.map_err(|error| error.explained_by(&self.session))?;
        settled?;
        Ok(outcome)
    }
}

/// Blob handles that were dropped where no call could be made.
#[derive(Default)]
pub(super) struct Orphans {
    any: AtomicBool,
    handles: Mutex<Vec<RawBlob>>,
}

impl Orphans {
    fn add(&self, raw: RawBlob) {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner).push(raw);
        self.any.store(true, Ordering::Release);
    }

    /// Closes them all.
    pub(super) fn close_all(&self, sqlite: &rusqlite::Connection) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let handles = std::mem::take(&mut *self.handles.lock().unwrap_or_else(PoisonError::into_inner));
        self.any.store(false, Ordering::Release);
        for raw in handles {
            if let Err(error) = raw.close(sqlite) {
                tracing::warn!(%error, "a dropped blob handle did not close cleanly");
            }
        }
    }
}
