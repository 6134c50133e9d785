//! TwillDB's C ABI: `libengine.so`, `libengine.a` (`.dylib`) and `engine.h`.
//!
//! Three frozen functions, `engine_open`, `engine_query` and `engine_close`, which answer JSON (docs/format/json.md);
//! beside them prepared statements, whose rows and values are packed memory (docs/format/row-batch.md), asynchronous
//! requests, callbacks, copies. The doc comments of this file and of `abi`, `settings`, `statements`, `asynchronous`, `mailbox`,
//! `callbacks` and `copying` become `include/engine.h`; the test `header_is_current` compares.
//!
//! Invariants:
//! 1. A handle is a number that is looked up, never an address that is followed: a wrong, closed or doubly closed
//!    one is an error (`table`, `connections`).
//! 2. No panic unwinds into C: every function runs under `catch_unwind` (`guard`). A handle whose call panicked
//!    answers errors until it is closed.
//! 3. A returned text stays readable for the thread that asked for it until that thread's next call, whatever
//!    other threads do meanwhile, close included (`texts`).
//! 4. Only `engine_*` symbols leave the shared library: the libSQL inside never meets another SQLite in the process.
//!
//! On a crash: nothing here is on disk; what the engine acknowledged before an answer was returned is durable.
//!
//! It refuses to run two calls of one handle at once, and to carry text that is not UTF-8.

#![expect(unsafe_code, reason = "an extern \"C\" surface: raw pointers come in, raw pointers go out")]

pub mod abi;
mod answer;
pub mod asynchronous;
mod batches;
pub mod callbacks;
mod claims;
mod connections;
mod controls;
mod copies;
pub mod copying;
mod functions;
mod hooks;
pub mod mailbox;
mod mailboxes;
mod parameters;
mod prepared;
mod process;
mod requests;
pub mod settings;
pub mod statements;
mod table;
mod telling;
mod texts;
mod tokens;
mod worker;

pub use abi::*;
pub use asynchronous::*;
pub use callbacks::*;
pub use copying::*;
pub use mailbox::*;
pub use settings::*;
pub use statements::*;

use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The version of this header's functions and of the JSON they answer. It grows only when a program
/// that was built against an older one could break.
pub const ENGINE_ABI_VERSION: u32 = 1;

/// One connection to a database, or 0 for none. It is not an address: a number that was never returned
/// by engine_open, or whose handle was closed, is recognised and refused. Numbers are not used again.
/// It fits a double without loss, so a JavaScript number can hold it.
#[expect(non_camel_case_types, reason = "its name in C")]
pub type engine_handle = usize;

/// Opens a database and connects to it.
///
/// `url` is UTF-8: `file:///abs/app.db`, `file://./app.db`, a bare path, `:memory:`, `memory://name`, with
/// parameters such as `?mode=ro|rw|rwc&synchronous=full|normal|off`.
///
/// Returns a handle for engine_close, or 0: then engine_last_error(0), on the same thread, says why.
///
/// # Safety
/// `url` is NULL or points to a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_open(url: *const c_char) -> engine_handle {
    connections::told(0, || {
        // SAFETY: the caller promises NULL or a NUL-terminated string.
        let url = unsafe { borrow(url, "url") }?;
        connections::open(url, 0)
    })
}

/// Runs SQL: one statement, or several separated by semicolons, of which the last one's result is answered
/// and the first error stops the rest. BEGIN ... COMMIT may span calls.
///
/// Returns JSON, never NULL; docs/format/json.md describes it:
///
///     {"columns":["n"],"types":["INTEGER"],"rows":[[1]],"changes":0,"last_insert_rowid":0}
///     {"error":{"code":1,"extended_code":1,"message":"no such table: t"}}
///
/// The text belongs to the library. It stays readable until the next engine_query or engine_close on this
/// handle; and, whatever other threads do, until the calling thread's own next engine_query or engine_close
/// if that is later. An answer about a handle that is not open, or is running another call, belongs to the
/// calling thread alone.
///
/// # Safety
/// `sql` is NULL or points to a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_query(handle: engine_handle, sql: *const c_char) -> *const c_char {
    let answer = caught(|| {
        // SAFETY: the caller promises NULL or a NUL-terminated string.
        let sql = unsafe { borrow(sql, "sql") };
        connections::query(handle, sql)
    });
    match answer {
        Ok(answer) => texts::lend_answer(answer),
        Err(fault) => texts::refuse(fault),
    }
}

/// Closes a handle and frees its answer. An open transaction is rolled back.
///
/// If another thread is inside a call on this handle, that call is interrupted and awaited: it returns an
/// error, or its result if it was already past interrupting, which stays readable for that thread. 0 and a
/// handle that is not open are ignored. What closing itself could not do, and what was ignored, is told by
/// engine_last_error(0).
#[unsafe(no_mangle)]
pub extern "C" fn engine_close(handle: engine_handle) {
    let closed = caught(|| {
        texts::forget_answer();
        connections::close(handle)
    });
    match closed {
        Ok(()) => texts::forget_error(),
        Err(fault) => drop(texts::settle_fault(fault)),
    }
}

/// The message of the last call on this handle if it failed, else NULL. With 0: the message of this thread's
/// last engine_open or engine_close, or of its last call that was refused because the handle was not open or
/// was running another call, if that failed, else NULL.
///
/// For a handle that is not open, or is running another thread's call, the text says so.
///
/// The text stays readable until the calling thread's next engine_last_error.
#[unsafe(no_mangle)]
pub extern "C" fn engine_last_error(handle: engine_handle) -> *const c_char {
    let failure = caught(|| Ok(telling::failure(handle)));
    texts::lend_message(failure.unwrap_or_else(|fault| Some(fault.failure)))
}

/// The library's version, such as `0.1.0`. The text is static.
#[unsafe(no_mangle)]
pub extern "C" fn engine_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// ENGINE_ABI_VERSION as the library was built with it: compare it with the header's.
#[unsafe(no_mangle)]
pub extern "C" fn engine_abi_version() -> u32 {
    ENGINE_ABI_VERSION
}

/// Why a call did not reach, or did not leave, the engine with a result.
#[derive(Debug)]
pub(crate) struct Refusal {
    /// Primary `SQLITE_*` code.
    pub(crate) code: i32,
    /// Extended `SQLITE_*` code.
    pub(crate) extended_code: i32,
    /// Byte offset in the SQL.
    pub(crate) offset: Option<usize>,
    /// For people.
    pub(crate) message: String,
}

impl Refusal {
    fn new(extended_code: i32, message: impl Into<String>) -> Self {
        Self { code: extended_code & 0xff, extended_code, offset: None, message: message.into() }
    }

    /// `SQLITE_MISUSE`: the caller broke a rule of this header.
    pub(crate) fn misuse(message: impl Into<String>) -> Self {
        Self::new(21, message)
    }

    /// `ENGINE_BUSY_ASYNC`: waiting here could be for ever.
    pub(crate) fn busy_async(message: impl Into<String>) -> Self {
        Self::new(abi::ENGINE_BUSY_ASYNC, message)
    }

    /// `SQLITE_INTERNAL`: this library broke one of its own.
    fn internal(message: impl Into<String>) -> Self {
        Self::new(2, message)
    }

    /// `SQLITE_NOMEM`: no room for one more handle.
    pub(crate) fn too_many_handles() -> Self {
        Self::new(7, "too many handles are open")
    }

    /// `SQLITE_NOMEM`: the system gives no more threads.
    pub(crate) fn no_thread(error: &std::io::Error) -> Self {
        Self::new(7, format!("no thread for asynchronous requests: {error}"))
    }

    /// `SQLITE_INTERRUPT`: it was cancelled before it ran.
    pub(crate) fn interrupted() -> Self {
        Self::new(9, "interrupted")
    }

    /// `SQLITE_TOOBIG`: a row does not fit into a batch.
    pub(crate) fn too_big() -> Self {
        Self::new(18, "a row, or what a statement that took effect returns, is longer than 4 GiB")
    }

    /// `SQLITE_RANGE`: there is no such parameter or column.
    pub(crate) fn out_of_range(message: impl Into<String>) -> Self {
        Self::new(25, message)
    }
}

impl From<twill_engine::Error> for Refusal {
    fn from(error: twill_engine::Error) -> Self {
        let mut refusal = Self::new(error.extended_code(), error.message());
        refusal.offset = error.offset();
        refusal
    }
}

/// Runs `body`; a panic in it becomes a fault that quotes it.
pub(crate) fn caught<T>(
    body: impl FnOnce() -> Result<T, connections::Fault>,
) -> Result<T, connections::Fault> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let said = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Refusal::internal(format!("internal error: {said}")).into())
    })
}

/// The text behind a pointer from C.
///
/// # Safety
/// `text` is NULL or points to a NUL-terminated string that outlives `'a`.
pub(crate) unsafe fn borrow<'a>(text: *const c_char, name: &str) -> Result<&'a str, Refusal> {
    if text.is_null() {
        return Err(Refusal::misuse(format!("{name} is NULL")));
    }
    // SAFETY: not NULL, and the caller promises a NUL-terminated string.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|error| Refusal::misuse(format!("{name} is not UTF-8: {error}")))
}

/// Bytes from C; none at NULL.
///
/// # Safety
/// `bytes` is NULL or points to `length` readable bytes that outlive `'a`.
pub(crate) unsafe fn borrow_bytes<'a>(
    bytes: *const u8,
    length: usize,
    name: &str,
) -> Result<&'a [u8], Refusal> {
    if length == 0 {
        return Ok(&[]);
    }
    if bytes.is_null() {
        return Err(Refusal::misuse(format!("{name} is NULL")));
    }
    if isize::try_from(length).is_err() {
        return Err(Refusal::misuse(format!("{name} cannot have {length} bytes")));
    }
    // SAFETY: not NULL, and the caller promises the bytes.
    Ok(unsafe { std::slice::from_raw_parts(bytes, length) })
}

/// Text of a known length from C.
///
/// # Safety
/// `text` is NULL or points to `length` readable bytes that outlive `'a`.
pub(crate) unsafe fn borrow_text<'a>(
    text: *const c_char,
    length: usize,
    name: &str,
) -> Result<&'a str, Refusal> {
    if text.is_null() {
        return Err(Refusal::misuse(format!("{name} is NULL")));
    }
    // SAFETY: the caller promises the bytes.
    let bytes = unsafe { borrow_bytes(text.cast(), length, name) }?;
    std::str::from_utf8(bytes).map_err(|error| Refusal::misuse(format!("{name} is not UTF-8: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_failure() {
        let told = |panic: fn()| {
            let body = || {
                panic();
                Ok(())
            };
            let fault = caught(body).unwrap_err();
            (fault.failure.code, fault.failure.message.to_str().unwrap().to_owned())
        };
        assert_eq!(told(|| panic!("page {}", 7)), (2, "internal error: page 7".to_owned()));
        assert_eq!(told(|| panic!("plain")), (2, "internal error: plain".to_owned()));
    }
}
