//! A connection's own thread: requests in, results out.
//!
//! ```text
//! submit ─► jobs ─► (the thread) ─► results ─► take
//!                       │
//!                       └─► completion callback, once per request, in the order of completion
//! ```
//!
//! Invariants:
//! 1. A request that was accepted completes exactly once; it runs after those accepted before it, and alone.
//! 2. A result is kept until it is taken or the connection closed. At most `UNTAKEN_MAX` requests are accepted that were
//!    not taken, so that memory is bounded.
//! 3. A request that is cancelled before it runs does not run; one that runs is interrupted from its first instruction on.
//! 4. When `stop` has returned, the thread has ended, or is the caller's own and calls back no more.
//!
//! On a crash the process is gone with its thread; what a completion said is durable is so.

use std::collections::{HashMap, VecDeque};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use twill_engine::{Mode, Value};
use twill_types::Door;

use crate::abi::{ENGINE_DONE, ENGINE_OK, ENGINE_PENDING, engine_completion};
use crate::batches::{self, Finished, Header, Owned, Writer};
use crate::connections::{self, Connection, Statement};
use crate::copies::{self, Progress};
use crate::mailboxes::Mailbox;
use crate::parameters::Block;
use crate::prepared::{Answer, Execution, LIBRARY_BYTES, Room, Values};
use crate::process::this_thread;
use crate::tokens::Token;
use crate::{Refusal, claims};

/// Requests of a connection that may be in flight or untaken.
const UNTAKEN_MAX: usize = 65_536;
/// Between two looks whether a thread that is to end has.
const STOP_INTERVAL: Duration = Duration::from_millis(1);

/// How much of a result a request wants at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) bytes_max: usize,
    pub(crate) rows_max: u32,
    pub(crate) flags: u32,
}

impl Limits {
    const fn room<'a>(self) -> Room<'a> {
        Room::Library { bytes_max: if self.bytes_max == 0 { LIBRARY_BYTES } else { self.bytes_max } }
    }

    const fn execution(self, block: Option<&[(usize, Value)]>) -> Execution<'_> {
        let values = match block {
            Some(values) => Some(Values::Copied(values)),
            None => None,
        };
        Execution { values, rows_max: self.rows_max, flags: self.flags }
    }
}

/// A parameter block, copied.
pub(crate) type CopiedBlock = Option<Vec<(usize, Value)>>;

/// Copies a parameter block; NULL is none.
///
/// # Safety
/// `block` is NULL or points to `length` readable bytes, and addresses in its cells to what they say.
pub(crate) unsafe fn copied(block: *const u8, length: usize) -> Result<CopiedBlock, Refusal> {
    if block.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller promises readable bytes, and that addresses lead to what they say.
    let block = unsafe { Block::new(crate::borrow_bytes(block, length, "block")?) }?;
    Ok(Some(block.to_values()))
}

/// What a request asks for.
pub(crate) enum Task {
    Open { url: String, mode: Option<Mode> },
    Query { sql: String, block: CopiedBlock, limits: Limits },
    Prepare { sql: String },
    Execute { statement: Arc<Statement>, block: CopiedBlock, limits: Limits },
    Next { statement: Arc<Statement>, limits: Limits },
    Script { sql: String },
    Backup { url: String, pages_per_step: i32, progress: Progress },
    Serialize { schema: String },
    Close,
}

impl Task {
    fn statement(&self) -> Option<&Arc<Statement>> {
        match self {
            Self::Execute { statement, .. } | Self::Next { statement, .. } => Some(statement),
            Self::Open { .. }
            | Self::Query { .. }
            | Self::Prepare { .. }
            | Self::Script { .. }
            | Self::Backup { .. }
            | Self::Serialize { .. }
            | Self::Close => None,
        }
    }

    /// Whether it may begin a transaction that outlives it.
    fn may_begin(&self) -> bool {
        let begins = |sql: &str| {
            let bytes = sql.as_bytes();
            let mentions =
                |word: &[u8]| bytes.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word));
            mentions(b"begin") || mentions(b"savepoint")
        };
        match self {
            Self::Query { sql, .. } | Self::Script { sql } => begins(sql),
            Self::Execute { statement, .. } => {
                let prepared = statement.prepared.try_lock();
                prepared.is_ok_and(|prepared| prepared.as_ref().is_some_and(|p| begins(p.cursor().sql())))
            }
            Self::Open { .. }
            | Self::Prepare { .. }
            | Self::Next { .. }
            | Self::Backup { .. }
            | Self::Serialize { .. }
            | Self::Close => false,
        }
    }
}

struct Job {
    request: usize,
    token: Option<Arc<Token>>,
    task: Task,
    is_cancelled: bool,
}

/// The job that runs.
struct Running {
    request: usize,
    token: Option<Arc<Token>>,
    statement: usize,
    is_cancelled: bool,
}

#[derive(Default)]
struct Desk {
    jobs: VecDeque<Job>,
    running: Option<Running>,
    results: HashMap<usize, Owned>,
    /// Complete requests that were not polled, in order.
    complete: VecDeque<usize>,
    last: usize,
    /// A close was requested, or done: no more requests.
    is_closed: bool,
    /// The thread shall end.
    is_stopping: bool,
    has_ended: bool,
}

/// A connection's thread.
pub(crate) struct Worker {
    desk: Mutex<Desk>,
    /// A job came, or the end.
    work: Condvar,
    /// A result came, or the end.
    done: Condvar,
    completion: Mutex<Completion>,
    is_muted: AtomicBool,
    thread: AtomicUsize,
}

/// Who is told of completions.
pub(crate) struct Completion {
    callback: engine_completion,
    context: *mut c_void,
    mailbox: Option<Arc<Mailbox>>,
}

// SAFETY: whoever registers a completion promises that any thread may call it with its context.
unsafe impl Send for Completion {}

impl Completion {
    pub(crate) const fn new(callback: engine_completion, context: *mut c_void) -> Self {
        Self { callback, context, mailbox: None }
    }

    pub(crate) const fn mailed(mailbox: Arc<Mailbox>) -> Self {
        Self { callback: None, context: std::ptr::null_mut(), mailbox: Some(mailbox) }
    }

    fn tell(&self, connection: usize, request: usize) {
        if let Some(mailbox) = &self.mailbox {
            mailbox.post(connection, request);
        }
        if let Some(callback) = self.callback {
            // SAFETY: it was promised to be callable with its context until it is replaced, for which `Worker::replace` and
            // `Worker::stop` take the lock that is held here.
            unsafe { callback(self.context, request) }
        }
    }
}

impl Worker {
    pub(crate) fn start(connection: &Arc<Connection>, completion: Completion) -> Result<Arc<Self>, Refusal> {
        let worker = Arc::new(Self {
            desk: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            completion: Mutex::new(completion),
            is_muted: AtomicBool::new(false),
            thread: AtomicUsize::new(0),
        });
        let (connection, this) = (Arc::clone(connection), Arc::clone(&worker));
        <dyn Door>::system()
            .spawn("twill-async", Box::new(move || this.run(&connection)))
            .map(|_detached| worker)
            .map_err(|error| Refusal::no_thread(&error))
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a request.
    pub(crate) fn submit(
        &self,
        connection: &Arc<Connection>,
        token: Option<Arc<Token>>,
        task: Task,
    ) -> Result<usize, Refusal> {
        if connection.hook_thread.load(Ordering::Relaxed) != 0 {
            return Err(Refusal::misuse(
                "the connection has a hook that only the thread that set it may call: set it with ENGINE_ANY_THREAD, \
                 or make requests on another connection",
            ));
        }
        let claims_slot = connection.is_in_async_transaction() || task.may_begin();
        if let Some(token) = &token {
            token.enrol(connection);
        }
        let mut desk = self.desk();
        if desk.is_closed || desk.is_stopping {
            return Err(Refusal::misuse("the connection is closed, or its close was requested"));
        }
        if desk.jobs.len() + desk.results.len() >= UNTAKEN_MAX {
            return Err(Refusal::misuse(format!("{UNTAKEN_MAX} requests are not taken: take some first")));
        }
        desk.is_closed = matches!(task, Task::Close);
        desk.last += 1;
        let request = desk.last;
        desk.jobs.push_back(Job { request, token, task, is_cancelled: false });
        // Under the desk's lock, so that the worker's end of a job comes after.
        connection.pending.fetch_add(1, Ordering::AcqRel);
        if claims_slot && let Some(url) = connection.url.get() {
            claims::stake(connection.number, this_thread(), url);
        }
        drop(desk);
        self.work.notify_one();
        Ok(request)
    }

    /// Cancels one request.
    pub(crate) fn cancel(&self, connection: &Connection, request: usize) -> Result<(), Refusal> {
        if request == 0 || request > self.desk().last {
            return Err(no_request(request));
        }
        self.cancel_where(connection, |other, _, _| other == request);
        Ok(())
    }

    /// Cancels what was requested with a token.
    pub(crate) fn cancel_token(&self, connection: &Connection, token: &Arc<Token>) {
        self.cancel_where(connection, |_, other, _| other.is_some_and(|other| Arc::ptr_eq(other, token)));
    }

    /// Cancels what was requested of a statement.
    pub(crate) fn cancel_statement(&self, connection: &Connection, statement: usize) {
        self.cancel_where(connection, |_, _, other| other == statement);
    }

    fn cancel_where(
        &self,
        connection: &Connection,
        matches: impl Fn(usize, Option<&Arc<Token>>, usize) -> bool,
    ) {
        let mut desk = self.desk();
        for job in &mut desk.jobs {
            let statement = job.task.statement().map_or(0, |statement| statement.number);
            job.is_cancelled |= matches(job.request, job.token.as_ref(), statement);
        }
        let Some(running) = &mut desk.running else { return };
        if matches(running.request, running.token.as_ref(), running.statement) {
            running.is_cancelled = true;
            // Under the desk's lock: what runs is still this request.
            if let Some(interrupt) = connection.interrupt.get() {
                interrupt.interrupt();
            }
        }
    }

    /// Waits for a request.
    pub(crate) fn wait(&self, request: usize, timeout: Option<Duration>) -> Result<i32, Refusal> {
        let door = <dyn Door>::system();
        let deadline = timeout.map(|timeout| door.now() + timeout);
        let mut desk = self.desk();
        loop {
            if desk.results.contains_key(&request) {
                return Ok(ENGINE_OK);
            }
            let is_coming = desk.running.as_ref().is_some_and(|running| running.request == request)
                || desk.jobs.iter().any(|job| job.request == request);
            if !is_coming || desk.is_stopping {
                return Err(no_request(request));
            }
            let left = match deadline {
                None => None,
                Some(deadline) => match deadline.checked_sub(door.now()) {
                    Some(left) if !left.is_zero() => Some(left),
                    _ => return Ok(ENGINE_PENDING),
                },
            };
            desk = match left {
                None => self.done.wait(desk).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self
                    .done
                    .wait_timeout(desk, left)
                    .map_or_else(|error| error.into_inner().0, |(desk, _)| desk),
            };
        }
    }

    /// The request that was complete first and not taken; 0 for none.
    pub(crate) fn poll(&self) -> usize {
        let mut desk = self.desk();
        let Desk { complete, results, .. } = &mut *desk;
        while complete.front().is_some_and(|request| !results.contains_key(request)) {
            complete.pop_front();
        }
        complete.front().copied().unwrap_or(0)
    }

    /// Gives a request's result away.
    pub(crate) fn take(&self, request: usize, out: &mut [u8]) -> Result<i32, Refusal> {
        let mut desk = self.desk();
        let Some(result) = desk.results.remove(&request) else {
            let is_coming = desk.running.as_ref().is_some_and(|running| running.request == request)
                || desk.jobs.iter().any(|job| job.request == request);
            return if is_coming { Ok(ENGINE_PENDING) } else { Err(no_request(request)) };
        };
        if desk.complete.front() == Some(&request) {
            desk.complete.pop_front();
        } else if desk.complete.len() > 2 * desk.results.len() + 64 {
            let Desk { complete, results, .. } = &mut *desk;
            complete.retain(|request| results.contains_key(request));
        }
        drop(desk);
        let code = batches::code(result.bytes());
        batches::hand_over(result, out);
        Ok(code)
    }

    /// Replaces who is told.
    pub(crate) fn replace(&self, completion: Completion) -> Result<(), Refusal> {
        if self.thread.load(Ordering::Acquire) == this_thread() {
            return Err(Refusal::misuse("a completion cannot replace itself"));
        }
        *self.completion.lock().unwrap_or_else(PoisonError::into_inner) = completion;
        Ok(())
    }

    /// Ends the thread: nobody is told of what was in flight. Waits for it, unless it is the caller.
    pub(crate) fn stop(&self, connection: &Connection) {
        let is_own = self.thread.load(Ordering::Acquire) == this_thread();
        self.is_muted.store(true, Ordering::Release);
        {
            let mut desk = self.desk();
            desk.is_stopping = true;
            let dropped = std::mem::take(&mut desk.jobs);
            drop(desk);
            // Dropping a job may free what needs other locks.
            connection.pending.fetch_sub(u32::try_from(dropped.len()).unwrap_or(u32::MAX), Ordering::AcqRel);
            drop(dropped);
        }
        self.work.notify_all();
        self.done.notify_all();
        if is_own {
            return;
        }
        // A callback that runs now is awaited, and none comes after it.
        drop(self.completion.lock().unwrap_or_else(PoisonError::into_inner));
        let mut desk = self.desk();
        while !desk.has_ended {
            if let Some(running) = &mut desk.running {
                running.is_cancelled = true;
                if let Some(interrupt) = connection.interrupt.get() {
                    interrupt.interrupt();
                }
            }
            desk = self
                .done
                .wait_timeout(desk, STOP_INTERVAL)
                .map_or_else(|error| error.into_inner().0, |(desk, _)| desk);
        }
    }

    fn run(&self, connection: &Arc<Connection>) {
        self.thread.store(this_thread(), Ordering::Release);
        while let Some(job) = self.next_job() {
            let request = job.request;
            let result = self.result_of(connection, job);
            {
                let mut desk = self.desk();
                desk.running = None;
                desk.results.insert(request, result);
                desk.complete.push_back(request);
                // A transaction that only reads holds nothing that others wait for; its next request stakes again.
                if desk.jobs.is_empty() && !connection.is_async_writing.load(Ordering::Acquire) {
                    claims::withdraw(connection.number);
                }
                connection.pending.fetch_sub(1, Ordering::AcqRel);
            }
            self.done.notify_all();
            let completion = self.completion.lock().unwrap_or_else(PoisonError::into_inner);
            if !self.is_muted.load(Ordering::Acquire) {
                completion.tell(connection.number, request);
            }
        }
        self.desk().has_ended = true;
        self.done.notify_all();
    }

    fn next_job(&self) -> Option<Job> {
        let mut desk = self.desk();
        loop {
            if desk.is_stopping {
                return None;
            }
            if let Some(job) = desk.jobs.pop_front() {
                desk.running = Some(Running {
                    request: job.request,
                    token: job.token.clone(),
                    statement: job.task.statement().map_or(0, |statement| statement.number),
                    is_cancelled: job.is_cancelled,
                });
                return Some(job);
            }
            desk = self.work.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn result_of(&self, connection: &Arc<Connection>, job: Job) -> Owned {
        let is_cancelled = || {
            let is_running_cancelled =
                self.desk().running.as_ref().is_some_and(|running| running.is_cancelled);
            is_running_cancelled
                || job.token.as_ref().is_some_and(|token| token.is_cancelled())
                || job
                    .task
                    .statement()
                    .is_some_and(|statement| statement.is_finalized.load(Ordering::Acquire))
        };
        let outcome = crate::caught(|| Ok(perform(connection, &job.task, &is_cancelled)?));
        outcome.unwrap_or_else(|fault| batches::of_failure(&fault.failure))
    }
}

/// Runs one request on its connection.
fn perform(
    connection: &Arc<Connection>,
    task: &Task,
    is_cancelled: &dyn Fn() -> bool,
) -> Result<Owned, Refusal> {
    let mut guard = connection.enter_as_worker()?;
    if let Some(open) = guard.connection() {
        // From here on an interrupt is kept for the calls to come; what was cancelled before is seen below.
        open.keep_interrupts(true)?;
    }
    let outcome = if is_cancelled() && !matches!(task, Task::Close) {
        Err(Refusal::interrupted())
    } else {
        perform_task(connection, &mut guard, task)
    };
    if let Some(open) = guard.connection() {
        open.keep_interrupts(false)?;
        let in_transaction = !open.is_autocommit();
        connection.note_transaction(in_transaction, true);
        connection.is_async_writing.store(in_transaction && open.is_writing(), Ordering::Release);
    }
    outcome
}

fn perform_task(
    connection: &Arc<Connection>,
    guard: &mut connections::Guard<'_>,
    task: &Task,
) -> Result<Owned, Refusal> {
    match task {
        Task::Open { url, mode } => {
            let database = connections::open_database(url, *mode)?;
            let opened = database.connect()?;
            connection.set_open(guard.state()?, opened, database);
            Ok(counts(&Header { code: ENGINE_DONE, ..Header::default() }))
        }
        Task::Query { sql, block, limits } => {
            let Some(statement) = connection.prepare(guard.state()?, sql, &mut 0)? else {
                return Ok(counts(&Header { code: ENGINE_DONE, ..Header::default() }));
            };
            let outcome = execute(&statement, block.as_deref(), *limits);
            let is_active = outcome.is_ok()
                && statement.prepared.lock().is_ok_and(|p| p.as_ref().is_some_and(|p| p.is_active()));
            if is_active {
                return outcome;
            }
            connection.discard(guard.state()?, &statement);
            outcome.map(batches::without_statement)
        }
        Task::Prepare { sql } => {
            let mut read = 0;
            let Some(statement) = connection.prepare(guard.state()?, sql, &mut read)? else {
                let changes = i64::try_from(read).unwrap_or(i64::MAX);
                return Ok(counts(&Header { code: ENGINE_DONE, changes, ..Header::default() }));
            };
            let described = on_prepared(&statement, |prepared| {
                prepared.describe(Room::Library { bytes_max: usize::MAX })
            })?;
            Ok(batches::with_changes(described, read))
        }
        Task::Execute { statement, block, limits } => execute(statement, block.as_deref(), *limits),
        Task::Next { statement, limits } => {
            on_prepared(statement, |prepared| prepared.next(limits.rows_max, limits.flags, limits.room()))
        }
        Task::Script { sql } => script(guard, sql),
        Task::Backup { url, pages_per_step, progress } => {
            let open = guard.connection().ok_or_else(connections::not_open)?;
            copies::to_url(open, url, *pages_per_step, progress)?;
            Ok(counts(&Header { code: ENGINE_DONE, ..Header::default() }))
        }
        Task::Serialize { schema } => {
            let open = guard.connection().ok_or_else(connections::not_open)?;
            let image = copies::image(open, schema)?;
            let mut heap = Vec::new();
            let mut writer = Writer::into_library(Owned::default(), usize::MAX, &mut heap);
            if !writer.push(&[twill_engine::CellRef::Blob(&image)].as_slice()) {
                return Err(Refusal::too_big());
            }
            Ok(finished(writer, &Header { code: ENGINE_DONE, ..Header::default() }))
        }
        Task::Close => {
            connection.shut(guard.state()?)?;
            Ok(counts(&Header { code: ENGINE_DONE, ..Header::default() }))
        }
    }
}

fn execute(
    statement: &Statement,
    block: Option<&[(usize, Value)]>,
    limits: Limits,
) -> Result<Owned, Refusal> {
    on_prepared(statement, |prepared| prepared.execute(&limits.execution(block), limits.room()))
}

fn on_prepared(
    statement: &Statement,
    body: impl FnOnce(&mut crate::prepared::Prepared) -> Result<Answer, Refusal>,
) -> Result<Owned, Refusal> {
    let mut prepared = statement.prepared.lock().unwrap_or_else(PoisonError::into_inner);
    let prepared = prepared.as_mut().ok_or_else(Refusal::interrupted)?;
    Ok(body(prepared)?.batch.unwrap_or_default())
}

fn script(guard: &connections::Guard<'_>, sql: &str) -> Result<Owned, Refusal> {
    let open = guard.connection().ok_or_else(connections::not_open)?;
    let before = open.total_changes();
    open.execute_batch(sql)?;
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    Ok(counts(&Header {
        code: ENGINE_DONE,
        flags: if open.is_autocommit() { 0 } else { crate::abi::ENGINE_BATCH_IN_TRANSACTION },
        changes: count(open.changes()),
        total_changes: count(open.total_changes().saturating_sub(before)),
        last_insert_rowid: open.last_insert_rowid(),
        ..Header::default()
    }))
}

/// A batch without rows.
fn counts(header: &Header) -> Owned {
    let mut heap = Vec::new();
    finished(Writer::into_library(Owned::default(), usize::MAX, &mut heap), header)
}

fn finished(writer: Writer<'_>, header: &Header) -> Owned {
    match writer.finish(header) {
        Finished::Library(batch) => batch,
        Finished::InPlace => Owned::default(),
    }
}

fn no_request(request: usize) -> Refusal {
    Refusal::misuse(format!("there is no request {request}, or it was taken"))
}
