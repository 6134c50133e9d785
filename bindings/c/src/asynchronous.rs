//! The asynchronous functions of `engine.h`: requests that a connection's own thread runs, in the order they come.
//!
//! Invariants:
//! 1. No function here but `engine_async_wait` waits for the engine.
//! 2. Every request that was accepted completes exactly once, also when the connection is closed or cancelled.
//! 3. After `engine_close` returned, the completion callback is not called, and is not running, unless it is the caller.
//!
//! On a crash: nothing is on disk here; a request whose completion said so is durable.
//! It refuses requests without a callback thread of their own being started (`engine_async_start`), and more than
//! `REQUESTS_MAX` that were not taken.

use std::ffi::{c_char, c_void};

use crate::abi::{ENGINE_OK, engine_completion, engine_request, engine_statement, engine_token};
use crate::connections::{self, coded, told};
use crate::requests;
use crate::worker::{self, Limits, Task};
use crate::{batches, borrow_text, copies, engine_handle, tokens};

/// Opens a database as engine_open_with does, on a thread of the new connection's own: returns its handle at once, and
/// request 1 completes when the database is open or could not be opened. The handle must be closed either way.
/// Returns 0 if there is no thread or no handle left.
///
/// # Safety
/// `url` points to `length` readable bytes; `callback` may be called with `context` until the handle is closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_async_open(
    url: *const c_char,
    length: usize,
    flags: u32,
    callback: engine_completion,
    context: *mut c_void,
) -> engine_handle {
    told(0, || {
        // SAFETY: the caller promises `length` readable bytes.
        let url = unsafe { borrow_text(url, length, "url") }?;
        connections::open_later(url, flags, worker::Completion::new(callback, context))
    })
}

/// Starts an open connection's own thread, so that it takes requests. `callback` may be NULL: then completions are learnt
/// from engine_async_wait or engine_async_poll. Called again it replaces the callback; the old one is not running
/// any more when this returns. Returns ENGINE_OK or a code.
///
/// # Safety
/// `callback` may be called with `context` until it is replaced or the handle is closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_async_start(
    handle: engine_handle,
    callback: engine_completion,
    context: *mut c_void,
) -> i32 {
    coded(|| connections::start(handle, worker::Completion::new(callback, context)).map(|()| ENGINE_OK))
}

/// Requests what engine_prepare, engine_execute and engine_finalize do: runs the first statement of `sql` with the values
/// of `block` (NULL: none; copied, also what its addresses lead to). If rows remain, the batch's header names the
/// statement, for engine_async_next, and the caller finalizes it; otherwise it is finalized already. With `rows_max`
/// 0 a batch ends at `bytes_max`, or 0: at 256 KiB; one that is longer holds one row.
///
/// Returns the request, or 0: engine_failure_of says why. `flags` as for engine_execute; `token` may be 0.
///
/// # Safety
/// `sql` and `block` point to as many readable bytes as said, and addresses in the cells to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_async_query(
    handle: engine_handle,
    sql: *const c_char,
    sql_length: usize,
    block: *const u8,
    block_length: usize,
    bytes_max: usize,
    rows_max: u32,
    flags: u32,
    token: engine_token,
) -> engine_request {
    told(0, || {
        // SAFETY: the caller promises readable bytes.
        let sql = unsafe { borrow_text(sql, sql_length, "sql") }?.to_owned();
        // SAFETY: the caller promises readable bytes, here and behind addresses.
        let block = unsafe { worker::copied(block, block_length) }?;
        let limits = Limits { bytes_max, rows_max, flags };
        requests::request(handle, tokens::find(token)?, Task::Query { sql, block, limits })
    })
}

/// Requests what engine_prepare does: the result's header names the statement (0 if there is nothing to run), and the
/// batch is that of engine_describe. `tail` as for engine_prepare is the header's `changes`.
///
/// # Safety
/// `sql` points to `length` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_async_prepare(
    handle: engine_handle,
    sql: *const c_char,
    length: usize,
    token: engine_token,
) -> engine_request {
    told(0, || {
        // SAFETY: the caller promises readable bytes.
        let sql = unsafe { borrow_text(sql, length, "sql") }?.to_owned();
        requests::request(handle, tokens::find(token)?, Task::Prepare { sql })
    })
}

/// Requests what engine_execute does. The block is copied, also what its addresses lead to.
///
/// # Safety
/// `block` is NULL or points to `length` readable bytes, and addresses in its cells to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_async_execute(
    statement: engine_statement,
    block: *const u8,
    length: usize,
    bytes_max: usize,
    rows_max: u32,
    flags: u32,
    token: engine_token,
) -> engine_request {
    told(0, || {
        // SAFETY: the caller promises readable bytes, here and behind addresses.
        let block = unsafe { worker::copied(block, length) }?;
        let limits = Limits { bytes_max, rows_max, flags };
        let token = tokens::find(token)?;
        requests::request_on(statement, token, |statement| Task::Execute { statement, block, limits })
    })
}

/// Requests what engine_next does.
#[unsafe(no_mangle)]
pub extern "C" fn engine_async_next(
    statement: engine_statement,
    bytes_max: usize,
    rows_max: u32,
    flags: u32,
    token: engine_token,
) -> engine_request {
    told(0, || {
        let limits = Limits { bytes_max, rows_max, flags };
        let token = tokens::find(token)?;
        requests::request_on(statement, token, |statement| Task::Next { statement, limits })
    })
}

/// Requests to run every statement of a text, dropping rows, up to the first that fails. The batch tells the counts.
///
/// # Safety
/// `sql` points to `length` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_async_script(
    handle: engine_handle,
    sql: *const c_char,
    length: usize,
    token: engine_token,
) -> engine_request {
    told(0, || {
        // SAFETY: the caller promises readable bytes.
        let sql = unsafe { borrow_text(sql, length, "sql") }?.to_owned();
        requests::request(handle, tokens::find(token)?, Task::Script { sql })
    })
}

/// Requests what engine_backup_to_url does. `progress` is called on the connection's thread.
///
/// # Safety
/// `url` points to `length` readable bytes; `progress` may be called with `context` until the request is complete.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_async_backup(
    handle: engine_handle,
    url: *const c_char,
    length: usize,
    pages_per_step: i32,
    progress: crate::abi::engine_progress,
    context: *mut c_void,
    token: engine_token,
) -> engine_request {
    told(0, || {
        // SAFETY: the caller promises readable bytes.
        let url = unsafe { borrow_text(url, length, "url") }?.to_owned();
        let progress = copies::Progress::new(progress, context);
        requests::request(handle, tokens::find(token)?, Task::Backup { url, pages_per_step, progress })
    })
}

/// Requests what engine_serialize does: the image is the one BLOB cell of the result's one row.
///
/// # Safety
/// `schema` is NULL (`main`) or points to a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_async_serialize(
    handle: engine_handle,
    schema: *const c_char,
    token: engine_token,
) -> engine_request {
    told(0, || {
        // SAFETY: the caller promises NULL or a NUL-terminated string.
        let schema = unsafe { copies::schema(schema) }?.to_owned();
        requests::request(handle, tokens::find(token)?, Task::Serialize { schema })
    })
}

/// Requests that the connection be closed when all requests before this one are complete. Until engine_close the handle
/// only answers engine_async_take, engine_async_wait and engine_async_poll.
#[unsafe(no_mangle)]
pub extern "C" fn engine_async_close(handle: engine_handle) -> engine_request {
    told(0, || requests::request(handle, None, Task::Close))
}

/// Cancels one request: it completes with SQLITE_INTERRUPT if it is still queued, or running and not past interrupting;
/// a commit on its way to the medium is awaited. Returns ENGINE_OK, also when it is complete, or ENGINE_MISUSE.
#[unsafe(no_mangle)]
pub extern "C" fn engine_async_cancel(handle: engine_handle, request: engine_request) -> i32 {
    coded(|| requests::cancel(handle, request).map(|()| ENGINE_OK))
}

/// Waits until a request is complete, at most `timeout_ms`, or without end if that is negative. Returns ENGINE_OK,
/// ENGINE_PENDING, or ENGINE_MISUSE when there is no such request, or it was taken.
#[unsafe(no_mangle)]
pub extern "C" fn engine_async_wait(handle: engine_handle, request: engine_request, timeout_ms: i64) -> i32 {
    coded(|| requests::wait(handle, request, timeout_ms))
}

/// A request that is complete and was not taken, the one that was complete first; 0 if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn engine_async_poll(handle: engine_handle) -> engine_request {
    told(0, || requests::poll(handle))
}

/// Takes a complete request's result: a row batch, or an error batch. It is copied into `out` if it fits; if not, the
/// header there says where it is, and the caller frees it with engine_batch_free. Returns what the function that was
/// requested would have returned; ENGINE_PENDING if the request is not complete; ENGINE_MISUSE if there is no such
/// request, or it was taken.
///
/// # Safety
/// `out` points to `capacity` writable bytes, at least ENGINE_BATCH_HEADER of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_async_take(
    handle: engine_handle,
    request: engine_request,
    out: *mut u8,
    capacity: usize,
) -> i32 {
    // SAFETY: the caller promises `capacity` writable bytes.
    let out = unsafe { batches::place(out, capacity) };
    batches::answered(out, |out| requests::take(handle, request, out))
}

/// A new cancellation token, for any number of requests of any connections; 0 if there are too many handles.
#[unsafe(no_mangle)]
pub extern "C" fn engine_token_new() -> engine_token {
    told(0, tokens::create)
}

/// Cancels every request that was made with the token, and every one that will be. Returns ENGINE_OK or ENGINE_MISUSE.
#[unsafe(no_mangle)]
pub extern "C" fn engine_token_cancel(token: engine_token) -> i32 {
    coded(|| tokens::cancel(token).map(|()| ENGINE_OK))
}

/// Frees a token. Requests that were made with it go on. Returns ENGINE_OK or ENGINE_MISUSE.
#[unsafe(no_mangle)]
pub extern "C" fn engine_token_free(token: engine_token) -> i32 {
    coded(|| tokens::free(token).map(|()| ENGINE_OK))
}
