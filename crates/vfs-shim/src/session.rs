//! What all databases of one connection share: the busy timeout, the interrupt, reserved writer slots, the last error.
//!
//! Invariants:
//! 1. A reservation belongs to one storage key; at most one exists per key.
//! 2. After [`Session::settle`] there are none, and every state that was read under one is durable.

#![expect(unsafe_code, reason = "asks libSQL about the connection")]

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use twill_libsql::ffi;
use twill_types::Cancel;
use twill_vfs_trait::{Snapshot, StateId, StorageError, Wait, WriteTicket};

use crate::file;
use crate::resolver::Opened;
use crate::{vfs, wal};

/// One connection's side of the shim. Create it, open the connection with [`Session::wal_manager`], then
/// [`Session::attach`] the handle.
pub struct Session {
    db: AtomicPtr<ffi::sqlite3>,
    cancel: Cancel,
    busy_timeout_ms: AtomicU64,
    /// Whether commits are awaited by [`Session::settle`], not by the statement.
    settles_later: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reserved: Vec<(String, WriteTicket)>,
    /// States that the call read or made and that are perhaps not durable.
    provisional: Vec<Provisional>,
    last_error: Option<StorageError>,
    last_commit: Option<StateId>,
}

/// A state that is perhaps not durable.
struct Provisional {
    opened: Opened,
    snapshot: Snapshot,
    /// Whether this connection committed it.
    is_commit: bool,
}

impl Session {
    /// What a connection waits for the writer slot unless told otherwise.
    pub const DEFAULT_BUSY_TIMEOUT: Duration = Duration::from_secs(5);

    /// A session for one connection.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let session = Self {
            db: AtomicPtr::default(),
            cancel: Cancel::new(),
            busy_timeout_ms: AtomicU64::new(0),
            settles_later: AtomicBool::new(false),
            state: Mutex::default(),
        };
        session.set_busy_timeout(Self::DEFAULT_BUSY_TIMEOUT);
        Arc::new(session)
    }

    /// The WAL manager to open the connection with. libSQL destroys it with the connection, or when opening fails.
    #[must_use]
    pub fn wal_manager(self: &Arc<Self>) -> ffi::libsql_wal_manager {
        wal::manager(Arc::clone(self))
    }

    /// Tells the session its connection, right after open.
    ///
    /// # Safety
    /// `db` must be the open connection this session's WAL manager was given to, and must stay open while methods of
    /// this session are called.
    pub unsafe fn attach(&self, db: *mut ffi::sqlite3) {
        self.db.store(db, Ordering::Release);
    }

    /// Ends a wait for the writer slot. Whoever interrupts the connection cancels this too, and whoever starts a call
    /// resets it.
    #[must_use]
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// How long a writer queues.
    #[must_use]
    pub fn busy_timeout(&self) -> Duration {
        Duration::from_millis(self.busy_timeout_ms.load(Ordering::Relaxed))
    }

    /// Sets how long a writer queues; zero does not wait. `PRAGMA busy_timeout` does the same.
    pub fn set_busy_timeout(&self, timeout: Duration) {
        let milliseconds = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.busy_timeout_ms.store(milliseconds, Ordering::Relaxed);
    }

    /// Queues for the writer slot of every named schema, in the order of their canonical URLs. Schemas that are unknown,
    /// temporary, read-only, or already in a transaction are skipped: the write itself decides about those.
    ///
    /// # Errors
    /// Those of [`twill_vfs_trait::Storage::begin_write`]; nothing stays reserved then.
    pub fn prelock(&self, schemas: &[&str]) -> Result<(), StorageError> {
        self.prelock_within(schemas, self.busy_timeout())
    }

    /// [`Session::prelock`] with a timeout of its own for each slot.
    ///
    /// # Errors
    /// See there.
    pub fn prelock_within(&self, schemas: &[&str], timeout: Duration) -> Result<(), StorageError> {
        // A new call is no retry, whatever became of the last one on this thread.
        let _stale = vfs::take_retrying();
        let mut wanted: Vec<Opened> = schemas
            .iter()
            .filter(|schema| self.transaction_state(schema) == ffi::SQLITE_TXN_NONE)
            .filter_map(|schema| self.opened(schema))
            .filter(|opened| !opened.read_only)
            .collect();
        wanted.sort_by(|one, other| one.key.cmp(&other.key));
        wanted.dedup_by(|one, other| one.key == other.key);
        for opened in wanted {
            if self.state().reserved.iter().any(|(key, _)| *key == opened.key) {
                continue;
            }
            let wait = Wait { timeout: Some(timeout), cancel: Some(self.cancel.clone()) };
            match opened.storage.begin_write(wait) {
                Ok(ticket) => self.reserve(&opened, ticket),
                Err(error) => {
                    self.give_back();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Runs `body`, whose statements do not wait for their commits: [`Session::settle`] does, and must be called before
    /// anyone is told. Answers the newest state that it will wait for.
    ///
    /// Beside a statement that stands, commits are awaited all the same: libSQL lets it go on from the new state, and one
    /// that does not become durable must not be read.
    pub fn settling_later<T>(&self, body: impl FnOnce() -> T) -> (T, Option<(Opened, Snapshot)>) {
        /// Ends it even if the body panics.
        struct Later<'a>(&'a AtomicBool);
        impl Drop for Later<'_> {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Relaxed);
            }
        }
        self.settles_later.store(!self.reads_any(), Ordering::Relaxed);
        let later = Later(&self.settles_later);
        let done = body();
        drop(later);
        self.give_back();
        let newest = self.state().provisional.last().map(|last| (last.opened.clone(), last.snapshot.clone()));
        (done, newest)
    }

    /// Ends a call: gives reserved slots that no write used back, and waits for what the call read or committed and is
    /// perhaps not durable yet.
    ///
    /// # Errors
    /// When such a state did not become durable.
    pub fn settle(&self) -> Result<(), StorageError> {
        self.give_back();
        let provisional = std::mem::take(&mut self.state().provisional);
        provisional.iter().try_for_each(|Provisional { opened, snapshot, is_commit }| {
            opened.storage.wait_durable(snapshot)?;
            if *is_commit {
                self.set_last_commit(snapshot.id());
            }
            Ok(())
        })
    }

    /// Waits until a state of the running statement is durable; or leaves that to [`Session::settle`].
    pub(crate) fn await_durable(
        &self,
        opened: &Opened,
        snapshot: &Snapshot,
        is_commit: bool,
    ) -> Result<(), StorageError> {
        if self.settles_later.load(Ordering::Relaxed) {
            let (opened, snapshot) = (opened.clone(), snapshot.clone());
            self.state().provisional.push(Provisional { opened, snapshot, is_commit });
            return Ok(());
        }
        opened.storage.wait_durable(snapshot)?;
        if is_commit {
            self.set_last_commit(snapshot.id());
        }
        Ok(())
    }

    fn give_back(&self) {
        // Tickets are dropped outside the lock: giving a slot back wakes others.
        let reserved = std::mem::take(&mut self.state().reserved);
        drop(reserved);
    }

    /// The storage error behind the last SQLITE_* code that a callback returned.
    #[must_use]
    pub fn take_error(&self) -> Option<StorageError> {
        self.state().last_error.take()
    }

    /// The storage behind a schema of this connection; `None` for temporary and unknown ones.
    #[must_use]
    pub fn opened(&self, schema: &str) -> Option<Opened> {
        let schema = schema_name(schema)?;
        let mut pointer: *mut ffi::sqlite3_file = std::ptr::null_mut();
        // SAFETY: `db` is open (see `attach`); for this operation libSQL stores the schema's file in what we point to.
        let code = unsafe {
            ffi::sqlite3_file_control(
                self.db()?,
                schema.as_ptr(),
                ffi::SQLITE_FCNTL_FILE_POINTER,
                (&raw mut pointer).cast::<c_void>(),
            )
        };
        if code != ffi::SQLITE_OK {
            return None;
        }
        // SAFETY: the pointer comes from libSQL, so it is null or an open file of some VFS.
        let shared = unsafe { file::shared(pointer) }?;
        Some(shared.opened().clone())
    }

    /// The state that the connection's last commit produced.
    #[must_use]
    pub fn last_commit(&self) -> Option<StateId> {
        self.state().last_commit
    }

    fn set_last_commit(&self, id: StateId) {
        self.state().last_commit = Some(id);
    }

    pub(crate) fn set_error(&self, error: StorageError) {
        self.state().last_error = Some(error);
    }

    pub(crate) fn reserve(&self, opened: &Opened, ticket: WriteTicket) {
        self.state().reserved.push((opened.key.clone(), ticket));
    }

    pub(crate) fn reserved_base(&self, opened: &Opened) -> Option<Snapshot> {
        let mut state = self.state();
        let base = state.reserved.iter().find(|(key, _)| *key == opened.key)?.1.base().clone();
        let (opened, snapshot) = (opened.clone(), base.clone());
        state.provisional.push(Provisional { opened, snapshot, is_commit: false });
        Some(base)
    }

    /// The snapshot, or a newer one of the same storage that this call has read or made. A call never goes back: a
    /// statement that meets a schema that is appended and not durable yet compiles itself again, and must find it again.
    pub(crate) fn not_before(&self, opened: &Opened, durable: Snapshot) -> Snapshot {
        let state = self.state();
        let seen = state.provisional.iter().filter(|seen| seen.opened.key == opened.key);
        seen.map(|seen| &seen.snapshot)
            .filter(|seen| seen.lsn() > durable.lsn())
            .max_by_key(|seen| seen.lsn())
            .cloned()
            .unwrap_or(durable)
    }

    pub(crate) fn take_reserved(&self, opened: &Opened) -> Option<WriteTicket> {
        let mut state = self.state();
        let position = state.reserved.iter().position(|(key, _)| *key == opened.key)?;
        // From here on the write transaction itself waits for its base.
        state.provisional.retain(|other| other.is_commit || other.opened.key != opened.key);
        Some(state.reserved.swap_remove(position).1)
    }

    /// Whether some schema over this storage is inside a read transaction, so that libSQL will not retry a write.
    pub(crate) fn reads_only_now(&self, opened: &Opened) -> bool {
        let Some(db) = self.db() else { return false };
        (0..)
            .map_while(|index| {
                // SAFETY: `db` is open (see `attach`); the name lives until the schema is detached.
                let name = unsafe {
                    let name = ffi::sqlite3_db_name(db, index);
                    (!name.is_null()).then(|| CStr::from_ptr(name))
                };
                name?.to_str().ok()
            })
            .filter(|schema| self.opened(schema).is_some_and(|other| other.key == opened.key))
            .any(|schema| self.transaction_state(schema) == ffi::SQLITE_TXN_READ)
    }

    /// Whether some schema is inside a transaction.
    fn reads_any(&self) -> bool {
        // SAFETY: `db` is open (see `attach`); no name asks for the highest state of all schemas.
        self.db()
            .is_some_and(|db| unsafe { ffi::sqlite3_txn_state(db, std::ptr::null()) != ffi::SQLITE_TXN_NONE })
    }

    fn transaction_state(&self, schema: &str) -> c_int {
        let (Some(db), Some(schema)) = (self.db(), schema_name(schema)) else { return -1 };
        // SAFETY: `db` is open (see `attach`). libSQL takes no lock of ours in this call.
        unsafe { ffi::sqlite3_txn_state(db, schema.as_ptr()) }
    }

    fn db(&self) -> Option<*mut ffi::sqlite3> {
        let db = self.db.load(Ordering::Acquire);
        (!db.is_null()).then_some(db)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A schema's name for C; `None` if it holds a NUL byte, so names nothing. Allocates only for attached databases.
fn schema_name(schema: &str) -> Option<Cow<'static, CStr>> {
    match schema {
        "main" => Some(Cow::Borrowed(c"main")),
        other => CString::new(other).ok().map(Cow::Owned),
    }
}
