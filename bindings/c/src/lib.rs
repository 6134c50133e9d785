//! TwillDB's C ABI: `libengine.so`, `libengine.a` (`.dylib`) and `engine.h`.
//!
//! Three frozen functions, `engine_open`, `engine_query` and `engine_close`, and a few about errors and versions;
//! whatever comes later is additive. An answer is UTF-8 JSON, written in docs/format/json.md. The doc comments of
//! this file become `include/engine.h`; the test `header_is_current` compares the two.
//!
//! Invariants:
//! 1. A handle is a number that is looked up, never an address that is followed: a wrong, closed or doubly closed
//!    one is an error (`handles`).
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

mod answer;
mod handles;
mod texts;

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
    guard(
        || {
            // SAFETY: the caller promises NULL or a NUL-terminated string.
            let url = unsafe { borrow(url, "url") };
            match url.and_then(handles::open) {
                Ok(handle) => {
                    texts::forget_error();
                    handle
                }
                Err(refusal) => {
                    texts::remember(&refusal);
                    0
                }
            }
        },
        |refusal| {
            texts::remember(&refusal);
            0
        },
    )
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
    guard(
        || {
            // SAFETY: the caller promises NULL or a NUL-terminated string.
            let sql = unsafe { borrow(sql, "sql") };
            match handles::query(handle, sql) {
                Ok(answer) => texts::lend_answer(answer),
                Err(refusal) => texts::refuse(&refusal),
            }
        },
        |refusal| texts::refuse(&refusal),
    )
}

/// Closes a handle and frees its answer. An open transaction is rolled back.
///
/// If another thread is inside a call on this handle, that call is interrupted and awaited: it returns an
/// error, or its result if it was already past interrupting, which stays readable for that thread. 0 and a
/// handle that is not open are ignored. What closing itself could not do, and what was ignored, is told by
/// engine_last_error(0).
#[unsafe(no_mangle)]
pub extern "C" fn engine_close(handle: engine_handle) {
    guard(
        || {
            texts::forget_answer();
            match handles::close(handle) {
                Ok(()) => texts::forget_error(),
                Err(refusal) => {
                    texts::remember(&refusal);
                }
            }
        },
        |refusal| texts::remember(&refusal),
    );
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
    guard(
        || {
            if handle == 0 {
                return texts::lend_error();
            }
            match handles::last_error(handle) {
                Ok(message) => texts::lend_message(message),
                Err(refusal) => texts::lend_message(Some(texts::message(&refusal))),
            }
        },
        |refusal| texts::lend_message(Some(texts::message(&refusal))),
    )
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
    /// For people.
    pub(crate) message: String,
}

impl Refusal {
    /// `SQLITE_MISUSE`: the caller broke a rule of this header.
    pub(crate) fn misuse(message: impl Into<String>) -> Self {
        Self { code: 21, extended_code: 21, message: message.into() }
    }

    /// `SQLITE_INTERNAL`: this library broke one of its own.
    fn internal(message: impl Into<String>) -> Self {
        Self { code: 2, extended_code: 2, message: message.into() }
    }

    /// `SQLITE_NOMEM`: no room for one more handle.
    pub(crate) fn too_many_handles() -> Self {
        Self { code: 7, extended_code: 7, message: "too many handles are open".to_owned() }
    }
}

impl From<twill_engine::Error> for Refusal {
    fn from(error: twill_engine::Error) -> Self {
        Self { code: error.code(), extended_code: error.extended_code(), message: error.message().to_owned() }
    }
}

/// Runs `body`; a panic in it becomes what `failed` makes of a refusal that quotes it.
fn guard<T>(body: impl FnOnce() -> T, failed: impl FnOnce(Refusal) -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let said = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        failed(Refusal::internal(format!("internal error: {said}")))
    })
}

/// The text behind a pointer from C.
///
/// # Safety
/// `text` is NULL or points to a NUL-terminated string that outlives `'a`.
unsafe fn borrow<'a>(text: *const c_char, name: &str) -> Result<&'a str, Refusal> {
    if text.is_null() {
        return Err(Refusal::misuse(format!("{name} is NULL")));
    }
    // SAFETY: not NULL, and the caller promises a NUL-terminated string.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|error| Refusal::misuse(format!("{name} is not UTF-8: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_refusal() {
        let told = guard(|| panic!("page {}", 7), |refusal| (refusal.code, refusal.message));
        assert_eq!(told, (2, "internal error: page 7".to_owned()));
        let told = guard(|| panic!("plain"), |refusal| refusal.message);
        assert_eq!(told, "internal error: plain");
    }
}
