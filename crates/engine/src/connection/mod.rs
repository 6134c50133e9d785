//! A connection: one libSQL handle over the shim, usable from any thread, by one call at a time.
//!
//! ```text
//! call ─► lock.rs ─► execute.rs ─► prelock.rs (writes only) ─► libSQL steps ─► settle ─► result
//! ```
//!
//! Invariants:
//! 1. libSQL is called only inside a [`lock::CallLock`] section.
//! 2. After a call, no writer slot is reserved that no transaction uses.
//! 3. The libSQL handle is closed before its session and its storage are let go.

mod backup;
mod blob;
mod cursor;
mod execute;
mod functions;
mod hooks;
mod idle;
mod image;
mod lock;
mod prelock;
mod recent;
mod statement;
mod transaction;

pub use blob::Blob;
pub use cursor::{Cursor, CursorRow, Facts, Ran, Taken, Values};
pub use functions::{Aggregate, Arguments, FunctionOptions, Window};
pub use hooks::{Action, Change, CommitHook, RollbackHook, UpdateHook};
pub(crate) use idle::Watchdog;
pub use statement::Statement;
pub use transaction::{Savepoint, Transaction, TransactionMode};

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rusqlite::OpenFlags;
use rusqlite::limits::Limit;
use twill_types::Cancel;
use twill_vfs_shim::Session;
use twill_vfs_trait::StateId;

use crate::Error;
use crate::database::Settings;
use crate::ffi::{self, Sqlite};
use crate::metrics::Counters;
use crate::params::{Binding, Params};
use crate::registry::Shared;
use crate::resolver::VFS_NAME;
use crate::row::{QueryResult, RowRef};
use execute::{Collect, Discard, Each};
use idle::Idle;
use lock::CallLock;
use prelock::WriteSets;
use recent::Recent;

/// A connection to a database. Calls from several threads take turns.
pub struct Connection {
    inner: Arc<Inner>,
}

/// What a connection, its statements and its blob handles share.
pub(crate) struct Inner {
    state: CallLock<State>,
    orphans: blob::Orphans,
    unfinalized: cursor::Unfinalized,
    interrupt: Arc<Interrupt>,
    session: Arc<Session>,
    counters: Arc<Counters>,
    raised: functions::Raised,
    /// 0: off.
    idle_timeout_ms: AtomicU64,
    /// Whether a statement may call code of the connection's user.
    calls_out: AtomicBool,
    shared: Arc<Shared>,
}

/// What a call owns while it runs.
pub(crate) struct State {
    sqlite: Sqlite,
    write_sets: WriteSets,
    recent: Recent,
    last_commit: Option<StateId>,
    idle: Idle,
}

struct Interrupt {
    sqlite: rusqlite::InterruptHandle,
    cancel: Cancel,
    /// Set after `cancel`, so that whoever finds it set knows that `cancel` needs a reset.
    requested: AtomicBool,
    /// Whether running statements look at `requested` themselves.
    is_precise: AtomicBool,
    /// Whether `requested` outlives the call it was meant for.
    keeps: AtomicBool,
}

/// Interrupts a connection from another thread.
#[derive(Clone)]
pub struct InterruptHandle(Arc<Interrupt>);

impl InterruptHandle {
    /// Ends the call that is running now, also while it queues for the writer slot, with SQLITE_INTERRUPT. A commit that
    /// is already on its way to the medium is awaited: its outcome is told as it is. Without a running call nothing
    /// happens.
    pub fn interrupt(&self) {
        self.0.cancel.cancel();
        self.0.requested.store(true, Ordering::Release);
        if !self.0.is_precise.load(Ordering::Acquire) {
            self.0.sqlite.interrupt();
        }
    }
}

impl Connection {
    pub(crate) fn open(shared: &Arc<Shared>, settings: Settings) -> Result<Self, Error> {
        shared.check_process()?;
        let session = Session::new();
        let access = match settings {
            Settings { read_only: true, .. } => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Settings { creates: true, .. } => {
                OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
            }
            _ => OpenFlags::SQLITE_OPEN_READ_WRITE,
        };
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let sqlite = rusqlite::Connection::open_with_flags_vfs_and_wal(
            &shared.name,
            flags,
            VFS_NAME,
            session.wal_manager(),
        )
        .map_err(|error| Error::from(error).explained_by(&session))?;
        ffi::attach_session(&session, &sqlite);
        let sqlite = Sqlite::new(sqlite);
        sqlite.set_capacity(Self::STATEMENT_CACHE_DEFAULT);
        sqlite
            .execute_batch(&format!("PRAGMA synchronous={}", shared.synchronous.level()))
            .map_err(|error| Error::from(error).explained_by(&session))?;
        let interrupt = Interrupt {
            sqlite: sqlite.get_interrupt_handle(),
            cancel: session.cancel().clone(),
            requested: AtomicBool::new(false),
            is_precise: AtomicBool::new(false),
            keeps: AtomicBool::new(false),
        };
        let state = State {
            sqlite,
            write_sets: WriteSets::default(),
            recent: Recent::default(),
            last_commit: None,
            idle: Idle::default(),
        };
        let connection = Self {
            inner: Arc::new(Inner {
                state: CallLock::new(state),
                orphans: blob::Orphans::default(),
                unfinalized: cursor::Unfinalized::default(),
                interrupt: Arc::new(interrupt),
                session,
                counters: shared.census.enrol(),
                raised: functions::Raised::default(),
                idle_timeout_ms: AtomicU64::new(0),
                calls_out: AtomicBool::new(false),
                shared: Arc::clone(shared),
            }),
        };
        if let Some(timeout) = settings.busy_timeout {
            connection.set_busy_timeout(timeout)?;
        }
        connection.set_idle_transaction_timeout(settings.idle_transaction_timeout);
        Ok(connection)
    }

    /// Prepared statements a connection keeps unless told otherwise.
    pub const STATEMENT_CACHE_DEFAULT: usize = 64;

    /// Runs one statement and answers how many rows it changed; 0 for anything but INSERT, UPDATE, DELETE and REPLACE.
    /// Rows it gives are dropped.
    ///
    /// # Errors
    /// SQLITE_MISUSE when there are several statements, or a parameter and its value do not match; otherwise the
    /// statement's own.
    pub fn execute(&self, sql: &str, params: impl Into<Params>) -> Result<u64, Error> {
        self.inner.run_one(sql, Binding::Owned(&params.into()), &mut Discard).map(|outcome| outcome.changes)
    }

    /// Runs one statement and answers all its rows.
    ///
    /// # Errors
    /// See [`Connection::execute`].
    pub fn query(&self, sql: &str, params: impl Into<Params>) -> Result<QueryResult, Error> {
        let mut collect = Collect::default();
        let outcome = self.inner.run_one(sql, Binding::Owned(&params.into()), &mut collect)?;
        Ok(collect.finish(outcome))
    }

    /// Runs one statement and gives each row to `each` until that breaks or fails. Rows of a statement that writes are
    /// held back until its commit is durable. `each` must not call this connection.
    ///
    /// # Errors
    /// See [`Connection::execute`]; and whatever `each` returns.
    pub fn query_each(
        &self,
        sql: &str,
        params: impl Into<Params>,
        each: impl FnMut(RowRef<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        self.inner.run_one(sql, Binding::Owned(&params.into()), &mut Each(each)).map(drop)
    }

    /// Runs several statements without parameters, dropping their rows. Stops at the first that fails; what ran before is
    /// kept, unless inside a transaction that is then rolled back.
    ///
    /// # Errors
    /// That of the first statement that fails.
    pub fn execute_batch(&self, sql: &str) -> Result<(), Error> {
        self.inner.run_script(sql, |_| Ok(()))
    }

    /// Runs several statements without parameters and answers the last one's result. Empty text answers an empty result.
    ///
    /// # Errors
    /// That of the first statement that fails.
    pub fn run_script(&self, sql: &str) -> Result<QueryResult, Error> {
        let mut last = QueryResult { last_insert_rowid: self.last_insert_rowid(), ..QueryResult::default() };
        self.inner.run_script(sql, |result| {
            last = result;
            Ok(())
        })?;
        Ok(last)
    }

    /// Prepares one statement for repeated use.
    ///
    /// # Errors
    /// SQLITE_MISUSE when the text holds no statement or several; otherwise what libSQL says of the SQL.
    pub fn prepare(&self, sql: &str) -> Result<Statement, Error> {
        Statement::prepare(&self.inner, sql)
    }

    /// A handle to interrupt this connection from another thread.
    #[must_use]
    pub fn interrupt_handle(&self) -> InterruptHandle {
        InterruptHandle(Arc::clone(&self.inner.interrupt))
    }

    /// How long a writer queues before it answers SQLITE_BUSY; zero does not wait. `PRAGMA busy_timeout` does the same.
    ///
    /// # Errors
    /// SQLITE_MISUSE inside a callback of this connection.
    pub fn set_busy_timeout(&self, timeout: Duration) -> Result<(), Error> {
        let state = self.inner.enter()?;
        // libSQL counts milliseconds in an int, and its busy handler must agree with the session.
        let timeout = timeout.min(Duration::from_millis(i32::MAX.unsigned_abs().into()));
        state.sqlite.busy_timeout(timeout)?;
        self.inner.session.set_busy_timeout(timeout);
        Ok(())
    }

    /// How long a writer queues.
    #[must_use]
    pub fn busy_timeout(&self) -> Duration {
        self.inner.session.busy_timeout()
    }

    /// Rolls a transaction that holds the writer slot back when no call came for this long; the next statement then
    /// answers SQLITE_ABORT_ROLLBACK. `None`, the default, never does.
    pub fn set_idle_transaction_timeout(&self, timeout: Option<Duration>) {
        let milliseconds =
            timeout.map_or(0, |timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1));
        self.inner.idle_timeout_ms.store(milliseconds, Ordering::Relaxed);
    }

    /// How many prepared statements are kept for the next call with the same text.
    ///
    /// # Errors
    /// SQLITE_MISUSE inside a callback of this connection.
    pub fn set_statement_cache_capacity(&self, capacity: usize) -> Result<(), Error> {
        self.inner.enter()?.sqlite.set_capacity(capacity);
        Ok(())
    }

    /// Rows changed by the last INSERT, UPDATE, DELETE or REPLACE.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.inner.peek(rusqlite::Connection::changes)
    }

    /// Rows changed since the connection was opened, by triggers and foreign keys too.
    #[must_use]
    pub fn total_changes(&self) -> u64 {
        self.inner.peek(ffi::total_changes)
    }

    /// The rowid of the last row inserted; 0 before the first.
    #[must_use]
    pub fn last_insert_rowid(&self) -> i64 {
        self.inner.peek(rusqlite::Connection::last_insert_rowid)
    }

    /// Whether no transaction is open.
    #[must_use]
    pub fn is_autocommit(&self) -> bool {
        self.inner.peek(rusqlite::Connection::is_autocommit)
    }

    /// A limit of this connection.
    #[must_use]
    pub fn limit(&self, limit: Limit) -> i32 {
        self.inner.peek(|sqlite| sqlite.limit(limit))
    }

    /// Sets a limit and answers the old one. libSQL caps it at the limit it was compiled with; a negative value changes
    /// nothing.
    pub fn set_limit(&self, limit: Limit, value: i32) -> i32 {
        self.inner.peek(|sqlite| sqlite.set_limit(limit, value))
    }

    /// The state that this connection's last commit produced.
    #[must_use]
    pub fn last_commit(&self) -> Option<StateId> {
        self.inner.session.last_commit()
    }

    /// Begins a transaction that is rolled back when dropped without a commit.
    ///
    /// # Errors
    /// SQLITE_ERROR inside another transaction; SQLITE_BUSY when the writer slot did not come free in time.
    pub fn transaction(&self, mode: TransactionMode) -> Result<Transaction<'_>, Error> {
        Transaction::begin(self, mode)
    }

    /// Closes the connection, rolling an open transaction back. Dropping it does the same. Its statements and blob handles
    /// keep what is below open until they go, too.
    ///
    /// # Errors
    /// That of the rollback.
    pub fn close(self) -> Result<(), Error> {
        self.inner.roll_back()
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("url", &self.inner.shared.url).finish_non_exhaustive()
    }
}

impl Inner {
    /// Begins a call: the lock, a fresh interrupt flag, and the blob handles that callbacks dropped.
    fn enter(&self) -> Result<lock::CallGuard<'_, State>, Error> {
        let mut state = self.state.enter()?;
        let interrupt = &self.interrupt;
        if interrupt.requested.load(Ordering::Relaxed)
            && !interrupt.keeps.load(Ordering::Relaxed)
            && interrupt.requested.swap(false, Ordering::AcqRel)
        {
            interrupt.cancel.reset();
        }
        state.idle.call_begins();
        self.orphans.close_all(&state.sqlite);
        self.unfinalized.finalize_all();
        Ok(state)
    }

    /// Reads something off the connection; inside a callback of the same connection, the type's default.
    fn peek<T: Default>(&self, read: impl FnOnce(&rusqlite::Connection) -> T) -> T {
        self.state.enter().map(|state| read(&state.sqlite)).unwrap_or_default()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The last one out closes libSQL's handle, which rolls back.
        if Arc::strong_count(&self.inner) > 1
            && self.inner.shared.check_process().is_ok()
            && let Err(error) = self.inner.roll_back()
        {
            tracing::warn!(%error, "a dropped connection could not roll its transaction back");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Ok(state) = self.state.enter() {
            // libSQL does not close a connection that has open handles.
            self.orphans.close_all(&state.sqlite);
            self.unfinalized.finalize_all();
        }
        self.shared.census.retire(&self.counters);
    }
}
