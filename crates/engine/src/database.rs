//! A database: one storage, shared by everyone in the process who opened the same URL.
//!
//! Invariants:
//! 1. Handles and connections keep the storage open; it closes when the last of them goes.
//! 2. [`Database::close`] of the last handle returns only after everything in flight is settled, and reports what failed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use twill_vfs_trait::{Checkpointed, StateId};

use crate::connection::Connection;
use crate::metrics::Metrics;
use crate::registry::{self, Place, Shared};
use crate::url::{Location, Mode, Options};
use crate::{Error, resolver};

/// An open database. Clones are further handles to the same storage.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
    settings: Settings,
}

/// What a handle's URL says about its connections.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) read_only: bool,
    /// Whether ATTACH creates databases that do not exist.
    pub(crate) creates: bool,
    pub(crate) busy_timeout: Option<Duration>,
    pub(crate) idle_transaction_timeout: Option<Duration>,
}

impl Database {
    /// Opens the database behind a URL, or another handle to it if this process has it open.
    ///
    /// | URL | leads to |
    /// |---|---|
    /// | `app.db`, `file:app.db`, `file://./app.db` | a file, relative to the working directory |
    /// | `file:///abs/app.db?mode=ro&synchronous=full` | a file; `mode` is `ro`, `rw` or `rwc` (the default), `synchronous` is `full` (the default), `normal` or `off` |
    /// | `:memory:` | a database of this handle alone |
    /// | `memory://name` | a database shared in the process, gone with its last handle |
    ///
    /// Every URL but a bare path takes `busy_timeout` and `idle_transaction_timeout`, in milliseconds.
    ///
    /// # Errors
    /// SQLITE_CANTOPEN names what is wrong with the URL, the file or the options; SQLITE_BUSY means another process has
    /// the file open; SQLITE_NOTADB that it is not a database.
    pub fn open(url: &str) -> Result<Self, Error> {
        Self::open_location(Location::parse(url)?)
    }

    /// As [`Database::open`], but in this mode whatever the URL says; a bare path, which takes no parameters, gets one so.
    ///
    /// # Errors
    /// See [`Database::open`].
    pub fn open_with_mode(url: &str, mode: Mode) -> Result<Self, Error> {
        let mut location = Location::parse(url)?;
        location.options.mode = Some(mode);
        Self::open_location(location)
    }

    fn open_location(Location { target, options }: Location) -> Result<Self, Error> {
        resolver::register()?;
        let shared = registry::open(Place::of(&target)?, &options)?;
        let Options { mode, synchronous: _, busy_timeout, idle_transaction_timeout } = options;
        let settings = Settings {
            read_only: shared.read_only || mode == Some(Mode::ReadOnly),
            creates: mode.is_none_or(|mode| mode == Mode::ReadWriteCreate),
            busy_timeout,
            idle_transaction_timeout,
        };
        Ok(Self { shared, settings })
    }

    /// A new connection.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn connect(&self) -> Result<Connection, Error> {
        Connection::open(&self.shared, self.settings)
    }

    /// The canonical URL, without parameters.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// The real path of the file; `None` in memory.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.shared.path.as_deref()
    }

    pub(crate) fn refuse_writes(&mut self) {
        self.settings.read_only = true;
    }

    /// Whether connections of this handle refuse writes.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.settings.read_only
    }

    /// The newest durable state.
    ///
    /// # Errors
    /// Those of the storage.
    pub fn state(&self) -> Result<StateId, Error> {
        Ok(self.shared.storage.snapshot()?.id())
    }

    /// Moves durable commits to their resting place: for a file, out of the `-wal` into the database file.
    ///
    /// # Errors
    /// Those of the storage. Nothing acknowledged is lost.
    pub fn checkpoint(&self) -> Result<Checkpointed, Error> {
        let span = tracing::debug_span!("checkpoint", url = %self.shared.url);
        let _entered = span.enter();
        self.shared.check_process()?;
        let done = self.shared.storage.checkpoint()?;
        tracing::debug!(log_pages = done.log_pages, moved_pages = done.moved_pages, "checkpointed");
        Ok(done)
    }

    /// What was counted since the storage was opened, over all handles and connections of the process.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let mut metrics = self.shared.census.sum();
        metrics.delegated = self.shared.delegation.delegated();
        metrics.storage = self.shared.backend.metrics();
        metrics
    }

    /// Gives this handle back. The last one out, connections included, settles what is in flight and closes the storage.
    ///
    /// # Errors
    /// When something in flight did not become durable, or the medium failed. The database is closed all the same.
    pub fn close(self) -> Result<(), Error> {
        match Arc::into_inner(self.shared) {
            Some(shared) => shared.close(),
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("url", &self.shared.url)
            .field("read_only", &self.settings.read_only)
            .finish_non_exhaustive()
    }
}
