//! The types and numbers of `engine.h` beyond the frozen three functions.
//!
//! Invariants:
//! 1. Every struct is `repr(C)` without padding that a reader could see, and only ever grows at its end under a new name.
//! 2. A number that has been given a meaning keeps it.

use std::ffi::{c_char, c_void};

/// One compiled statement of a connection, or 0 for none. Numbers are as those of engine_handle.
#[expect(non_camel_case_types, reason = "its name in C")]
pub type engine_statement = usize;

/// A cancellation token, or 0 for none. Numbers are as those of engine_handle.
#[expect(non_camel_case_types, reason = "its name in C")]
pub type engine_token = usize;

/// One asynchronous request of a connection, or 0 for none. Requests of one connection are numbered from 1, upwards.
#[expect(non_camel_case_types, reason = "its name in C")]
pub type engine_request = usize;

/// One call of a user function, valid until that function returns.
#[expect(non_camel_case_types, reason = "its name in C")]
pub type engine_call = usize;

/// Success.
pub const ENGINE_OK: i32 = 0;
/// A row is ready, or more rows follow.
pub const ENGINE_ROW: i32 = 100;
/// The statement is done: there are no more rows, and what it wrote outside a transaction is durable.
pub const ENGINE_DONE: i32 = 101;
/// The request is not complete yet. Not an error.
pub const ENGINE_PENDING: i32 = 102;
/// SQLITE_MISUSE: a rule of this header was broken: a handle that is not open, of another kind, or in use by another
/// thread; NULL; a bad block. Every other code is SQLite's extended result code.
pub const ENGINE_MISUSE: i32 = 21;
/// A call that would wait for asynchronous work was made instead of a request: a request of this connection is in
/// flight, or a transaction that requests began is open on it; or a transaction that this thread's requests began, on
/// another connection, holds the writer slot that the call needs. Waiting could be for ever, so nothing is waited
/// for. The primary code is SQLITE_MISUSE.
pub const ENGINE_BUSY_ASYNC: i32 = 277;

/// engine_open_with: read only; the database must exist.
pub const ENGINE_OPEN_READONLY: u32 = 1;
/// engine_open_with: read and write; the database must exist.
pub const ENGINE_OPEN_READWRITE: u32 = 2;
/// engine_open_with: with ENGINE_OPEN_READWRITE, create the database if it does not exist.
pub const ENGINE_OPEN_CREATE: u32 = 4;

/// engine_open_with, engine_async_open and engine_deserialize: close the handle when the calling thread ends, if it is
/// still open then.
pub const ENGINE_OPEN_THREAD: u32 = 8;

/// The types of a cell, in the low four bits of its tag; the numbers are SQLite's.
pub const ENGINE_INTEGER: u8 = 1;
/// See ENGINE_INTEGER.
pub const ENGINE_REAL: u8 = 2;
/// See ENGINE_INTEGER. In a parameter's cell: text inside the block.
pub const ENGINE_TEXT: u8 = 3;
/// See ENGINE_INTEGER. In a parameter's cell: bytes inside the block.
pub const ENGINE_BLOB: u8 = 4;
/// See ENGINE_INTEGER.
pub const ENGINE_NULL: u8 = 5;
/// The tag of an INTEGER from -(2^53 - 1) to 2^53 - 1, whose payload is that number as a double.
pub const ENGINE_INTEGER_AS_DOUBLE: u8 = 0x11;
/// The tag of a TEXT of ASCII characters only.
pub const ENGINE_TEXT_ASCII: u8 = 0x13;
/// In a parameter's cell: text elsewhere, the payload is its address.
pub const ENGINE_TEXT_AT: u8 = 0x23;
/// In a parameter's cell: bytes elsewhere, the payload is their address.
pub const ENGINE_BLOB_AT: u8 = 0x24;

/// engine_execute: after the batch reset the statement, also if rows remain.
pub const ENGINE_EXECUTE_RESET: u32 = 1;
/// engine_execute: run to the end, drop the rows, tell the counts alone.
pub const ENGINE_EXECUTE_DISCARD: u32 = 2;
/// engine_execute: the batch's first row is the columns' names.
pub const ENGINE_EXECUTE_NAMES: u32 = 4;

/// Bytes of a batch's header.
pub const ENGINE_BATCH_HEADER: usize = 88;
/// A batch's flag: rows remain; engine_next gives them.
pub const ENGINE_BATCH_MORE: u32 = 1;
/// A batch's flag: every byte of the heap is ASCII.
pub const ENGINE_BATCH_ASCII: u32 = 2;
/// A batch's flag: some INTEGER is beyond 2^53 - 1, so tagged ENGINE_INTEGER.
pub const ENGINE_BATCH_WIDE: u32 = 4;
/// A batch's flag: only the header is here; the batch is at the header's address.
pub const ENGINE_BATCH_ELSEWHERE: u32 = 8;
/// A batch's flag: the first row is the columns' names.
pub const ENGINE_BATCH_NAMES: u32 = 16;
/// A batch's flag: a transaction is open on the connection.
pub const ENGINE_BATCH_IN_TRANSACTION: u32 = 32;

/// A user function or hook: the same arguments always give the same result.
pub const ENGINE_FUNCTION_DETERMINISTIC: u32 = 1;
/// A user function: not from views, triggers, CHECK constraints, indexes and generated columns.
pub const ENGINE_FUNCTION_DIRECTONLY: u32 = 2;
/// A user function: it has no side effects and tells nothing but its arguments.
pub const ENGINE_FUNCTION_INNOCUOUS: u32 = 4;
/// A user function or hook: any thread may call it, so it also works in asynchronous requests. Without this flag
/// only the thread that registered it may.
pub const ENGINE_ANY_THREAD: u32 = 8;

/// engine_statement_property: how many parameters there are.
pub const ENGINE_PARAMETERS: i32 = 1;
/// engine_statement_property: how many columns there are.
pub const ENGINE_COLUMNS: i32 = 2;
/// engine_statement_property: 1 if it surely writes nothing to a database.
pub const ENGINE_READONLY: i32 = 3;
/// engine_statement_property: 1 for EXPLAIN, 2 for EXPLAIN QUERY PLAN, else 0.
pub const ENGINE_EXPLAIN: i32 = 4;
/// engine_statement_property: 1 while rows remain to be stepped through, else 0.
pub const ENGINE_ACTIVE: i32 = 5;

/// What went wrong last.
#[repr(C)]
#[derive(Debug)]
pub struct engine_failure {
    /// SQLite's primary result code; 0 if the last call went well.
    pub code: i32,
    /// SQLite's extended result code, or ENGINE_BUSY_ASYNC.
    pub extended_code: i32,
    /// Byte offset of the offending token in the SQL, or -1.
    pub offset: i64,
    /// For people: UTF-8, NUL-terminated; NULL if the last call went well. Readable until the calling thread's next
    /// engine_failure_of or engine_last_error.
    pub message: *const c_char,
    /// Bytes of the message.
    pub message_bytes: usize,
}

/// A connection's counts.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub struct engine_status {
    /// Rows changed by the last INSERT, UPDATE, DELETE or REPLACE.
    pub changes: i64,
    /// Rows changed since the connection was opened, by triggers and foreign keys too.
    pub total_changes: i64,
    /// The rowid of the last row inserted; 0 before the first.
    pub last_insert_rowid: i64,
    /// 1 inside a transaction, else 0.
    pub in_transaction: i32,
    /// Requests that are not complete yet.
    pub in_flight: u32,
    /// How long a writer waits for its turn, in milliseconds.
    pub busy_timeout_ms: u32,
    /// Statements that are not finalized.
    pub statements: u32,
}

/// Told that a request is complete, on the connection's own thread, in the order in which requests complete. It must
/// not call back into the library except for engine_async_take, engine_async_poll and engine_batch_free, and must not
/// wait for a thread that is closing the connection.
#[expect(non_camel_case_types, reason = "its name in C")]
pub type engine_completion = Option<unsafe extern "C" fn(context: *mut c_void, request: engine_request)>;

/// Told how far a backup is; any answer but 0 ends it, with SQLITE_INTERRUPT.
#[expect(non_camel_case_types, reason = "its name in C")]
pub type engine_progress =
    Option<unsafe extern "C" fn(context: *mut c_void, pages_left: i32, pages: i32) -> i32>;

/// A user function. `arguments` is a row batch of one row, `length` bytes long. It answers by engine_call_result or
/// engine_call_error on `call`; without either, NULL.
#[expect(non_camel_case_types, reason = "its name in C")]
pub type engine_function = Option<
    unsafe extern "C" fn(context: *mut c_void, call: engine_call, arguments: *const u8, length: usize),
>;

/// One more row of a group. Groups have numbers; a number that is new starts a group. It may answer engine_call_error.
#[expect(non_camel_case_types, reason = "its name in C")]
pub type engine_aggregate_step = Option<
    unsafe extern "C" fn(
        context: *mut c_void,
        group: usize,
        call: engine_call,
        arguments: *const u8,
        length: usize,
    ),
>;

/// The end of a group, exactly once for each number that a step was called with, also if the statement failed; then what
/// it answers is dropped. A group without rows ends without a step, under a number of its own.
#[expect(non_camel_case_types, reason = "its name in C")]
pub type engine_aggregate_final =
    Option<unsafe extern "C" fn(context: *mut c_void, group: usize, call: engine_call)>;

/// Hears that a context is not needed any more.
#[expect(non_camel_case_types, reason = "its name in C")]
pub type engine_release = Option<unsafe extern "C" fn(context: *mut c_void)>;

/// Hears of a changed row: `action` is SQLite's 18 for INSERT, 23 for UPDATE, 9 for DELETE. Not of rows of WITHOUT ROWID
/// tables, nor of a DELETE without WHERE, as in SQLite.
#[expect(non_camel_case_types, reason = "its name in C")]
pub type engine_update_hook = Option<
    unsafe extern "C" fn(
        context: *mut c_void,
        action: i32,
        schema: *const c_char,
        table: *const c_char,
        rowid: i64,
    ),
>;

/// Asked before each commit of a write; any answer but 0 turns it into a rollback, and the statement fails.
#[expect(non_camel_case_types, reason = "its name in C")]
pub type engine_commit_hook = Option<unsafe extern "C" fn(context: *mut c_void) -> i32>;

/// Hears of every rollback.
#[expect(non_camel_case_types, reason = "its name in C")]
pub type engine_rollback_hook = Option<unsafe extern "C" fn(context: *mut c_void)>;
