//! Connections, their statements, and who may call them when.
//!
//! ```text
//! number ─► table ─► Connection ◄── Statement          a call: look up, enter the connection, work, leave
//!                       │
//!                       └── Worker: its own thread, which enters like everybody else, but waits for its turn
//! ```
//!
//! Invariants:
//! 1. A connection runs one call at a time: a second one is refused, not queued. Only its own worker, and closing, wait.
//! 2. A call is refused at once, never left waiting, where only this thread itself could end the wait: inside a callback of
//!    the connection, while its requests are in flight or their transaction is open, and for a writer slot that such a
//!    transaction of this thread holds or is about to get on another connection.
//! 3. A handle that fork() copied into a child is refused there, and never closed.
//! 4. A panic inside a call poisons its connection, which answers errors until it is closed.
//! 5. Locks are taken in the order: a connection's state, a statement, the worker's desk, the claims. None is held while a
//!    completion is told.

use std::collections::HashSet;
use std::ffi::{CString, c_char};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::time::Duration;

use twill_engine::{Connection as EngineConnection, Database, InterruptHandle, Mode};
use twill_types::Door;

use crate::abi::{ENGINE_OPEN_CREATE, ENGINE_OPEN_READONLY, ENGINE_OPEN_READWRITE, ENGINE_OPEN_THREAD};
use crate::prepared::{Answer, Execution, Prepared, Room};
use crate::process::this_thread;
use crate::table::Table;
use crate::texts::{self, Failure};
use crate::tokens::Token;
use crate::worker::{Completion, Task, Worker};
use crate::{Refusal, answer, claims, process};

/// Between two interrupts of a call that closing waits for.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(1);
const SQLITE_BUSY: i32 = 5;
const SQLITE_BUSY_SNAPSHOT: i32 = 517;

pub(crate) static TABLE: Table<Held> = Table::new();

/// What a number stands for.
#[derive(Clone)]
pub(crate) enum Held {
    Connection(Arc<Connection>),
    Statement(Arc<Statement>),
    Token(Arc<Token>),
}

/// A failure and who owns it.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) failure: Arc<Failure>,
    pub(crate) owner: Owner,
}

/// Whose failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The handle keeps it already.
    Handle,
    /// No handle's: the thread's.
    Thread,
    /// The thread's, which was not let in to this handle.
    Refused(usize),
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self { failure: Arc::new(refusal.into()), owner: Owner::Thread }
    }
}

impl From<twill_engine::Error> for Fault {
    fn from(error: twill_engine::Error) -> Self {
        Refusal::from(error).into()
    }
}

pub(crate) fn refused(handle: usize) -> impl FnOnce(Refusal) -> Fault {
    move |refusal| Fault { failure: Arc::new(refusal.into()), owner: Owner::Refused(handle) }
}

/// A connection.
pub(crate) struct Connection {
    pub(crate) number: usize,
    generation: u32,
    /// The thread inside, or 0.
    holder: AtomicUsize,
    pub(crate) state: Mutex<State>,
    pub(crate) interrupt: OnceLock<InterruptHandle>,
    /// None once closed, and until opened.
    pub(crate) database: Mutex<Option<Database>>,
    pub(crate) url: OnceLock<String>,
    pub(crate) in_transaction: AtomicBool,
    is_async_transaction: AtomicBool,
    /// Whether that transaction writes, so holds the writer slot.
    pub(crate) is_async_writing: AtomicBool,
    /// Requests that are not complete.
    pub(crate) pending: AtomicU32,
    /// The only thread that may call a hook of this connection, or 0.
    pub(crate) hook_thread: AtomicUsize,
    /// Statements that were finalized while a call ran.
    doomed: Mutex<Vec<Arc<Statement>>>,
    has_doomed: AtomicBool,
    worker: Mutex<Option<Arc<Worker>>>,
}

/// What a call owns while it runs.
pub(crate) struct State {
    /// None once closed, and until opened.
    pub(crate) connection: Option<EngineConnection>,
    answer: Option<Arc<CString>>,
    /// That of the last call.
    pub(crate) failure: Option<Arc<Failure>>,
    pub(crate) statements: HashSet<usize>,
}

/// A statement of a connection.
pub(crate) struct Statement {
    pub(crate) connection: Arc<Connection>,
    pub(crate) number: usize,
    pub(crate) is_finalized: AtomicBool,
    /// None once freed.
    pub(crate) prepared: Mutex<Option<Prepared>>,
}

/// The right to call a connection.
pub(crate) struct Guard<'a> {
    connection: &'a Connection,
    pub(crate) state: Option<MutexGuard<'a, State>>,
    /// What to set the busy timeout back to.
    busy_timeout: Option<Duration>,
}

/// A call on a connection.
pub(crate) struct ConnectionCall<'a> {
    pub(crate) connection: &'a EngineConnection,
    pub(crate) held: &'a Connection,
}

/// A call on a statement.
pub(crate) struct StatementCall<'a> {
    pub(crate) prepared: &'a mut Prepared,
    held: &'a Connection,
}

impl StatementCall<'_> {
    pub(crate) fn execute(&mut self, execution: &Execution<'_>, out: &mut [u8]) -> Result<i32, Refusal> {
        let answer = self.prepared.execute(execution, Room::Caller(out))?;
        Ok(self.told(&answer))
    }

    pub(crate) fn next(&mut self, rows_max: u32, flags: u32, out: &mut [u8]) -> Result<i32, Refusal> {
        let answer = self.prepared.next(rows_max, flags, Room::Caller(out))?;
        Ok(self.told(&answer))
    }

    pub(crate) fn step(&mut self) -> Result<i32, Refusal> {
        let answer = self.prepared.step()?;
        Ok(self.told(&answer))
    }

    fn told(&self, answer: &Answer) -> i32 {
        self.held.note_transaction(answer.in_transaction, false);
        answer.code
    }
}

impl Connection {
    fn new(number: usize, opened: Option<(EngineConnection, Database)>) -> Self {
        let this = Self {
            number,
            generation: process::generation(),
            holder: AtomicUsize::new(0),
            state: Mutex::new(State {
                connection: None,
                answer: None,
                failure: None,
                statements: HashSet::new(),
            }),
            interrupt: OnceLock::new(),
            database: Mutex::new(None),
            url: OnceLock::new(),
            in_transaction: AtomicBool::new(false),
            is_async_transaction: AtomicBool::new(false),
            is_async_writing: AtomicBool::new(false),
            pending: AtomicU32::new(0),
            hook_thread: AtomicUsize::new(0),
            doomed: Mutex::default(),
            has_doomed: AtomicBool::new(false),
            worker: Mutex::new(None),
        };
        if let Some((connection, database)) = opened {
            let mut state = this.state.lock().unwrap_or_else(PoisonError::into_inner);
            this.set_open(&mut state, connection, database);
            drop(state);
        }
        this
    }

    /// Makes it an open one.
    pub(crate) fn set_open(&self, state: &mut State, connection: EngineConnection, database: Database) {
        let _ = self.interrupt.set(connection.interrupt_handle());
        let _ = self.url.set(database.url().to_owned());
        state.connection = Some(connection);
        *self.database.lock().unwrap_or_else(PoisonError::into_inner) = Some(database);
    }

    pub(crate) fn check_process(&self) -> Result<(), Refusal> {
        if self.generation == process::generation() {
            return Ok(());
        }
        Err(Refusal::misuse("the handle was opened before fork(): it belongs to the parent process"))
    }

    /// Begins a call of a program's thread.
    #[inline]
    pub(crate) fn enter(&self) -> Result<Guard<'_>, Refusal> {
        self.check_process()?;
        let this_thread = this_thread();
        if self.holder.load(Ordering::Relaxed) == this_thread {
            return Err(inside());
        }
        if self.pending.load(Ordering::Acquire) > 0 || self.is_async_transaction.load(Ordering::Acquire) {
            return Err(Refusal::busy_async(
                "asynchronous requests of this connection are in flight, or their transaction is open: make \
                 this call a request, too, or use another connection",
            ));
        }
        let hook_thread = self.hook_thread.load(Ordering::Relaxed);
        if hook_thread != 0 && hook_thread != this_thread {
            return Err(Refusal::misuse(
                "the connection has a hook that only the thread that set it may call",
            ));
        }
        let state = match self.state.try_lock() {
            Ok(state) => state,
            Err(TryLockError::WouldBlock) => return Err(running()),
            Err(TryLockError::Poisoned(_)) => return Err(broken()),
        };
        Ok(self.entered(state, this_thread))
    }

    /// Begins a call of its own worker, which waits for its turn.
    pub(crate) fn enter_as_worker(&self) -> Result<Guard<'_>, Refusal> {
        let state = self.state.lock().map_err(|_| broken())?;
        self.holder.store(this_thread(), Ordering::Relaxed);
        Ok(Guard { connection: self, state: Some(state), busy_timeout: None })
    }

    fn entered<'a>(&'a self, state: MutexGuard<'a, State>, this_thread: usize) -> Guard<'a> {
        self.holder.store(this_thread, Ordering::Relaxed);
        let mut guard = Guard { connection: self, state: Some(state), busy_timeout: None };
        if claims::any()
            && self.url.get().is_some_and(|url| claims::is_claimed(url, self.number, this_thread))
            && let Some(connection) = guard.connection()
        {
            let timeout = connection.busy_timeout();
            if connection.set_busy_timeout(Duration::ZERO).is_ok() {
                guard.busy_timeout = Some(timeout);
            }
        }
        guard
    }

    /// What is known of the connection's transaction after a call.
    pub(crate) fn note_transaction(&self, in_transaction: bool, by_worker: bool) {
        if !in_transaction {
            if self.in_transaction.load(Ordering::Relaxed) {
                self.in_transaction.store(false, Ordering::Release);
                self.is_async_transaction.store(false, Ordering::Release);
            }
        } else if !self.in_transaction.swap(true, Ordering::AcqRel) && by_worker {
            self.is_async_transaction.store(true, Ordering::Release);
        }
    }

    /// Whether a transaction that requests began is open.
    pub(crate) fn is_in_async_transaction(&self) -> bool {
        self.is_async_transaction.load(Ordering::Acquire)
    }

    fn doom(&self, statement: Arc<Statement>) {
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner).push(statement);
        self.has_doomed.store(true, Ordering::Release);
    }

    /// Frees the statements that were finalized while a call ran, inside a call.
    fn free_doomed(&self, state: &mut State) {
        if self.has_doomed.swap(false, Ordering::AcqRel) {
            let doomed = std::mem::take(&mut *self.doomed.lock().unwrap_or_else(PoisonError::into_inner));
            for statement in doomed {
                state.statements.remove(&statement.number);
                statement.free();
            }
        }
    }

    pub(crate) fn worker(&self) -> Option<Arc<Worker>> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Compiles a statement, inside a call.
    pub(crate) fn prepare(
        self: &Arc<Self>,
        state: &mut State,
        sql: &str,
        read: &mut usize,
    ) -> Result<Option<Arc<Statement>>, Refusal> {
        if sql.as_bytes().contains(&0) {
            return Err(Refusal::misuse("the SQL contains a NUL byte"));
        }
        let connection = state.connection.as_ref().ok_or_else(not_open)?;
        let (cursor, length) = connection.cursor(sql)?;
        *read = length;
        let Some(cursor) = cursor else { return Ok(None) };
        let mut prepared = Some(Prepared::new(cursor)?);
        let mut made = None;
        let number = TABLE.insert(|number| {
            if let Some(prepared) = &mut prepared {
                prepared.number = number;
            }
            let statement = Arc::new(Statement {
                connection: Arc::clone(self),
                number,
                is_finalized: AtomicBool::new(false),
                prepared: Mutex::new(prepared.take()),
            });
            made = Some(Arc::clone(&statement));
            Held::Statement(statement)
        });
        state.statements.insert(number.ok_or_else(Refusal::too_many_handles)?);
        Ok(made)
    }

    /// Frees a statement that nobody else knows of, inside a call.
    pub(crate) fn discard(&self, state: &mut State, statement: &Statement) {
        TABLE.remove(statement.number, |_| true);
        state.statements.remove(&statement.number);
        statement.free();
    }

    /// Frees every statement, and closes what is open, inside a call.
    pub(crate) fn shut(&self, state: &mut State) -> Result<(), Refusal> {
        for number in std::mem::take(&mut state.statements) {
            if let Some(Held::Statement(statement)) = TABLE.remove(number, |_| true) {
                statement.free();
            }
        }
        self.free_doomed(state);
        state.answer = None;
        let connection = state.connection.take();
        drop(connection);
        self.note_transaction(false, true);
        claims::withdraw(self.number);
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner).take();
        match database {
            Some(database) => Ok(database.close()?),
            None => Ok(()),
        }
    }

    /// Interrupts until no call runs. Once is not enough: an interrupt that arrives before the engine has begun the call, or
    /// between two statements of a script, finds nothing to stop.
    fn stop(&self) -> MutexGuard<'_, State> {
        let door = <dyn Door>::system();
        loop {
            match self.state.try_lock() {
                Ok(state) => return state,
                Err(TryLockError::Poisoned(broken)) => return broken.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    if let Some(interrupt) = self.interrupt.get() {
                        interrupt.interrupt();
                    }
                    door.sleep(INTERRUPT_INTERVAL);
                }
            }
        }
    }
}

impl Statement {
    /// Frees it, inside a call of its connection.
    fn free(&self) {
        self.is_finalized.store(true, Ordering::Release);
        let prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(prepared);
    }
}

impl Guard<'_> {
    pub(crate) fn connection(&self) -> Option<&EngineConnection> {
        self.state.as_ref()?.connection.as_ref()
    }

    pub(crate) fn state(&mut self) -> Result<&mut State, Refusal> {
        self.state.as_deref_mut().ok_or_else(not_open)
    }

    /// Keeps a call's failure.
    #[inline]
    pub(crate) fn settle<T>(&mut self, outcome: Result<T, Refusal>) -> Result<T, Fault> {
        let is_unwaited = self.busy_timeout.is_some();
        let Some(state) = self.state.as_deref_mut() else { return Err(not_open().into()) };
        match outcome {
            Ok(value) => {
                if state.failure.is_some() {
                    state.failure = None;
                }
                Ok(value)
            }
            Err(refusal) => {
                let is_busy = refusal.code == SQLITE_BUSY && refusal.extended_code != SQLITE_BUSY_SNAPSHOT;
                let refusal = if is_unwaited && is_busy {
                    Refusal::busy_async(
                        "a transaction of this thread's own asynchronous requests holds the writer slot: waiting for it \
                         here would keep it from ending",
                    )
                } else {
                    refusal
                };
                let failure = Arc::new(Failure::from(refusal));
                state.failure = Some(Arc::clone(&failure));
                Err(Fault { failure, owner: Owner::Handle })
            }
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let (Some(timeout), Some(connection)) = (self.busy_timeout, self.connection()) {
            // Refused only inside a callback, where no guard is dropped.
            let _ = connection.set_busy_timeout(timeout);
        }
        if self.connection.has_doomed.load(Ordering::Acquire)
            && let Some(state) = self.state.as_deref_mut()
        {
            self.connection.free_doomed(state);
        }
        self.connection.holder.store(0, Ordering::Relaxed);
    }
}

/// Runs `body` and answers its code; a panic or failure is kept and becomes its own code.
pub(crate) fn coded(body: impl FnOnce() -> Result<i32, Fault>) -> i32 {
    crate::caught(body).unwrap_or_else(|fault| texts::settle_fault(fault).extended_code)
}

/// Runs `body`; a panic or failure is kept and becomes `otherwise`.
pub(crate) fn told<T>(otherwise: T, body: impl FnOnce() -> Result<T, Fault>) -> T {
    crate::caught(body).unwrap_or_else(|fault| {
        texts::settle_fault(fault);
        otherwise
    })
}

/// As [`told`], with NULL.
pub(crate) fn pointed(body: impl FnOnce() -> Result<*const c_char, Fault>) -> *const c_char {
    told(std::ptr::null(), body)
}

/// The connection of a number.
pub(crate) fn find(number: usize) -> Result<Arc<Connection>, Fault> {
    match TABLE.get(number) {
        Some(Held::Connection(connection)) => {
            connection.check_process().map_err(refused(number))?;
            Ok(connection)
        }
        Some(Held::Statement(_)) => Err(refused(number)(wrong_kind("a statement"))),
        Some(Held::Token(_)) => Err(refused(number)(wrong_kind("a token"))),
        None => Err(refused(number)(not_open())),
    }
}

/// The statement of a number.
pub(crate) fn find_statement(number: usize) -> Result<Arc<Statement>, Fault> {
    match TABLE.get(number) {
        Some(Held::Statement(statement)) => {
            statement.connection.check_process().map_err(refused(number))?;
            Ok(statement)
        }
        Some(Held::Connection(_)) => Err(refused(number)(wrong_kind("a connection"))),
        Some(Held::Token(_)) => Err(refused(number)(wrong_kind("a token"))),
        None => Err(refused(number)(Refusal::misuse(
            "not a statement: it was finalized, or its connection closed",
        ))),
    }
}

/// A call on a connection.
pub(crate) fn on_connection<T>(
    number: usize,
    body: impl FnOnce(&ConnectionCall<'_>) -> Result<T, Refusal>,
) -> Result<T, Fault> {
    let held = find(number)?;
    let mut guard = held.enter().map_err(refused(number))?;
    texts::let_in();
    let outcome = match guard.connection() {
        Some(connection) => body(&ConnectionCall { connection, held: &held }),
        None => Err(not_open()),
    };
    guard.settle(outcome)
}

/// A call on a statement.
#[inline]
pub(crate) fn on_statement<T>(
    number: usize,
    body: impl FnOnce(&mut StatementCall<'_>) -> Result<T, Refusal>,
) -> Result<T, Fault> {
    let statement = find_statement(number)?;
    let held = &*statement.connection;
    let mut guard = held.enter().map_err(refused(number))?;
    texts::let_in();
    let mut prepared = statement.prepared.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = match prepared.as_mut() {
        Some(prepared) => body(&mut StatementCall { prepared, held }),
        None => Err(not_open()),
    };
    drop(prepared);
    guard.settle(outcome)
}

/// Opens `url` and connects.
pub(crate) fn open(url: &str, flags: u32) -> Result<usize, Fault> {
    let mode = mode_of(flags)?;
    let handle = register(open_database(url, mode)?)?;
    if flags & ENGINE_OPEN_THREAD != 0 {
        process::close_with_this_thread(handle);
    }
    texts::forget_error();
    Ok(handle)
}

/// Opens a private database with the content of an image.
pub(crate) fn deserialize(image: &[u8], flags: u32) -> Result<usize, Fault> {
    let database = Database::from_image(image)?;
    let database = if flags & ENGINE_OPEN_READONLY != 0 { database.read_only() } else { database };
    let handle = register(database)?;
    if flags & ENGINE_OPEN_THREAD != 0 {
        process::close_with_this_thread(handle);
    }
    texts::forget_error();
    Ok(handle)
}

pub(crate) fn open_database(url: &str, mode: Option<Mode>) -> Result<Database, Refusal> {
    Ok(match mode {
        Some(mode) => Database::open_with_mode(url, mode)?,
        None => Database::open(url)?,
    })
}

fn register(database: Database) -> Result<usize, Fault> {
    process::watch_forks();
    let connection = database.connect()?;
    let number = TABLE
        .insert(|number| Held::Connection(Arc::new(Connection::new(number, Some((connection, database))))));
    Ok(number.ok_or_else(Refusal::too_many_handles)?)
}

/// What flags say about a mode.
pub(crate) fn mode_of(flags: u32) -> Result<Option<Mode>, Refusal> {
    const READWRITE_CREATE: u32 = ENGINE_OPEN_READWRITE | ENGINE_OPEN_CREATE;
    match flags & !ENGINE_OPEN_THREAD {
        0 => Ok(None),
        ENGINE_OPEN_READONLY => Ok(Some(Mode::ReadOnly)),
        ENGINE_OPEN_READWRITE => Ok(Some(Mode::ReadWrite)),
        READWRITE_CREATE => Ok(Some(Mode::ReadWriteCreate)),
        _ => Err(Refusal::misuse(format!(
            "the open flags {flags:#x} are neither 0 nor ENGINE_OPEN_READONLY nor ENGINE_OPEN_READWRITE with or \
             without ENGINE_OPEN_CREATE"
        ))),
    }
}

/// A connection whose own thread opens `url` as its first request.
pub(crate) fn open_later(url: &str, flags: u32, completion: Completion) -> Result<usize, Fault> {
    process::watch_forks();
    let mode = mode_of(flags)?;
    let mut made = None;
    let number = TABLE.insert(|number| {
        let connection = Arc::new(Connection::new(number, None));
        made = Some(Arc::clone(&connection));
        Held::Connection(connection)
    });
    let (Some(number), Some(connection)) = (number, made) else {
        return Err(Refusal::too_many_handles().into());
    };
    let outcome = start_worker(&connection, completion)
        .and_then(|worker| worker.submit(&connection, None, Task::Open { url: url.to_owned(), mode }));
    if let Err(refusal) = outcome {
        TABLE.remove(number, |_| true);
        return Err(refusal.into());
    }
    if flags & ENGINE_OPEN_THREAD != 0 {
        process::close_with_this_thread(number);
    }
    texts::forget_error();
    Ok(number)
}

/// Starts a connection's own thread, or replaces its completion.
pub(crate) fn start(number: usize, completion: Completion) -> Result<(), Fault> {
    let connection = find(number)?;
    match connection.worker() {
        Some(worker) => worker.replace(completion).map_err(refused(number))?,
        None => drop(start_worker(&connection, completion).map_err(refused(number))?),
    }
    Ok(())
}

fn start_worker(connection: &Arc<Connection>, completion: Completion) -> Result<Arc<Worker>, Refusal> {
    let mut slot = connection.worker.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(worker) = &*slot {
        return Ok(Arc::clone(worker));
    }
    // Closing takes the connection out of the table first, and its worker after that.
    if TABLE.get(connection.number).is_none() {
        return Err(not_open());
    }
    let worker = Worker::start(connection, completion)?;
    *slot = Some(Arc::clone(&worker));
    Ok(worker)
}

/// Compiles the first statement of a text: its number, or 0 for none.
pub(crate) fn prepare(number: usize, sql: Result<&str, Refusal>, read: &mut usize) -> Result<usize, Fault> {
    let held = find(number)?;
    let mut guard = held.enter().map_err(refused(number))?;
    texts::let_in();
    let outcome = sql.and_then(|sql| {
        let statement = held.prepare(guard.state()?, sql, read)?;
        Ok(statement.map_or(0, |statement| statement.number))
    });
    guard.settle(outcome)
}

/// Frees a statement, now or when the call that runs is over.
pub(crate) fn finalize(number: usize) -> Result<(), Fault> {
    let statement = find_statement(number)?;
    if TABLE.remove(number, |held| matches!(held, Held::Statement(_))).is_none() {
        return Err(refused(number)(not_open()));
    }
    statement.is_finalized.store(true, Ordering::Release);
    let connection = Arc::clone(&statement.connection);
    if let Some(worker) = connection.worker() {
        worker.cancel_statement(&connection, number);
    }
    if connection.holder.load(Ordering::Relaxed) != this_thread()
        && let Ok(mut state) = connection.state.try_lock()
    {
        connection.holder.store(this_thread(), Ordering::Relaxed);
        state.statements.remove(&number);
        statement.free();
        connection.holder.store(0, Ordering::Relaxed);
        return Ok(());
    }
    connection.doom(statement);
    // The call may have ended before it could see that.
    if connection.holder.load(Ordering::Relaxed) != this_thread()
        && let Ok(mut state) = connection.state.try_lock()
    {
        connection.free_doomed(&mut state);
    }
    Ok(())
}

/// Lets a statement go without freeing it here: the connection's next call does, on its own thread. A collector's thread may
/// neither hold the connection, whose call would be refused meanwhile, nor run the end of a function that it calls out to.
pub(crate) fn let_go(number: usize) -> Result<(), Fault> {
    let statement = find_statement(number)?;
    if TABLE.remove(number, |held| matches!(held, Held::Statement(_))).is_none() {
        return Err(refused(number)(not_open()));
    }
    statement.is_finalized.store(true, Ordering::Release);
    let connection = Arc::clone(&statement.connection);
    if let Some(worker) = connection.worker() {
        worker.cancel_statement(&connection, number);
    }
    connection.doom(statement);
    Ok(())
}

/// Runs SQL, or answers why it could not be read. An error of the engine is an answer.
pub(crate) fn query(number: usize, sql: Result<&str, Refusal>) -> Result<Arc<CString>, Fault> {
    let held = find(number)?;
    let mut guard = held.enter().map_err(refused(number))?;
    texts::let_in();
    let Some(connection) = guard.connection() else { return Err(refused(number)(not_open())) };
    let outcome = sql.and_then(|sql| connection.run_script(sql).map_err(Refusal::from));
    let in_transaction = !connection.is_autocommit();
    let answer = match guard.settle(outcome) {
        Ok(result) => answer::of_result(&result),
        Err(fault) => answer::of_failure(&fault.failure),
    };
    held.note_transaction(in_transaction, false);
    let answer = Arc::new(answer);
    if let Ok(state) = guard.state() {
        state.answer = Some(Arc::clone(&answer));
    }
    Ok(answer)
}

/// Takes the connection out of the table, ends what runs, waits for it, and closes.
pub(crate) fn close(number: usize) -> Result<(), Fault> {
    if number == 0 {
        return Ok(());
    }
    // A copy that fork() made is left alone: closing it would work on the parent's file.
    let connection = find(number)?;
    if connection.holder.load(Ordering::Relaxed) == this_thread() {
        return Err(refused(number)(Refusal::misuse(
            "a callback of this connection cannot close it: close it when the call is over",
        )));
    }
    if TABLE.remove(number, |held| matches!(held, Held::Connection(_))).is_none() {
        return Err(refused(number)(not_open()));
    }
    process::closed(number);
    let worker = connection.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(worker) = worker {
        worker.stop(&connection);
    }
    let mut state = connection.stop();
    connection.holder.store(this_thread(), Ordering::Relaxed);
    let closed = connection.shut(&mut state);
    connection.holder.store(0, Ordering::Relaxed);
    Ok(closed?)
}

pub(crate) fn not_open() -> Refusal {
    Refusal::misuse("not an open handle")
}

pub(crate) fn wrong_kind(kind: &str) -> Refusal {
    Refusal::misuse(format!("not an open handle of the kind that this function takes: it is {kind}"))
}

pub(crate) fn running() -> Refusal {
    Refusal::misuse("the handle is running another call: open one handle for each thread")
}

pub(crate) fn broken() -> Refusal {
    Refusal::misuse("an internal error broke this handle: close it and open another")
}

fn inside() -> Refusal {
    Refusal::misuse("a function or hook called its own connection; use another connection there")
}
