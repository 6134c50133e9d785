//! What `engine.h` tells of and changes about a connection as a whole.
//!
//! Invariants:
//! 1. `engine_interrupt` and `engine_in_transaction` answer at once, whatever the connection is doing.
//!
//! It refuses, by name, to load extensions and every file control that a storage behind a URL cannot answer.

use std::ffi::{c_char, c_void};
use std::ptr;

use crate::abi::{ENGINE_OK, engine_failure, engine_status};
use crate::connections::{self, coded, pointed, told};
use crate::telling;
use crate::{Refusal, borrow_text, controls, engine_handle, texts};

/// Opens a database as engine_open does. `url` is `length` bytes of UTF-8. `flags`: 0, which leaves it to the URL and
/// creates what does not exist; or ENGINE_OPEN_READONLY; or ENGINE_OPEN_READWRITE, possibly with ENGINE_OPEN_CREATE.
/// They override the URL's own `mode`. With ENGINE_OPEN_THREAD the handle is closed when the calling thread ends.
///
/// # Safety
/// `url` points to `length` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_open_with(url: *const c_char, length: usize, flags: u32) -> engine_handle {
    told(0, || {
        // SAFETY: the caller promises `length` readable bytes.
        let url = unsafe { borrow_text(url, length, "url") }?;
        connections::open(url, flags)
    })
}

/// Tells of the last call on a handle, which may be a connection or a statement (then of its connection's last call), or
/// 0: of this thread's last call that no handle owns, as engine_last_error(0). Returns the extended code it writes.
///
/// # Safety
/// `out` points to a struct engine_failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_failure_of(handle: usize, out: *mut engine_failure) -> i32 {
    let failure = crate::caught(|| Ok(telling::failure(handle))).unwrap_or_else(|fault| Some(fault.failure));
    let code = failure.as_ref().map_or(0, |failure| failure.extended_code);
    if !out.is_null() {
        // SAFETY: not NULL, and the caller promises room for the struct.
        unsafe { out.write_unaligned(texts::lend_failure(failure)) };
    }
    code
}

/// Writes a connection's counts. Returns ENGINE_OK or a code.
///
/// # Safety
/// `out` points to a struct engine_status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_status_of(handle: engine_handle, out: *mut engine_status) -> i32 {
    coded(|| {
        let status = telling::status(handle)?;
        if out.is_null() {
            return Err(Refusal::misuse("out is NULL").into());
        }
        // SAFETY: not NULL, and the caller promises room for the struct.
        unsafe { out.write_unaligned(status) };
        Ok(ENGINE_OK)
    })
}

/// 1 if a transaction is open on the connection, 0 if not, -1 on failure. While another call runs it tells how things
/// were before.
#[unsafe(no_mangle)]
pub extern "C" fn engine_in_transaction(handle: engine_handle) -> i32 {
    told(-1, || telling::in_transaction(handle).map(i32::from))
}

/// Ends the call or request that runs on this connection now, with SQLITE_INTERRUPT; a commit on its way to the medium is
/// awaited. If none runs, nothing happens. Returns ENGINE_OK or ENGINE_MISUSE.
#[unsafe(no_mangle)]
pub extern "C" fn engine_interrupt(handle: engine_handle) -> i32 {
    coded(|| telling::interrupt(handle).map(|()| ENGINE_OK))
}

/// Sets how long a writer waits for its turn, in milliseconds; 0 does not wait. Returns ENGINE_OK or a code.
#[unsafe(no_mangle)]
pub extern "C" fn engine_set_busy_timeout(handle: engine_handle, milliseconds: u32) -> i32 {
    coded(|| {
        connections::on_connection(handle, |call| {
            call.connection.set_busy_timeout(std::time::Duration::from_millis(milliseconds.into()))?;
            Ok(ENGINE_OK)
        })
    })
}

/// Rolls a transaction that holds the writer slot back when no call came for this long; 0 never does. Returns ENGINE_OK or
/// a code.
#[unsafe(no_mangle)]
pub extern "C" fn engine_set_idle_timeout(handle: engine_handle, milliseconds: u32) -> i32 {
    coded(|| {
        connections::on_connection(handle, |call| {
            let timeout = std::time::Duration::from_millis(milliseconds.into());
            call.connection.set_idle_transaction_timeout((milliseconds > 0).then_some(timeout));
            Ok(ENGINE_OK)
        })
    })
}

/// Sets one of SQLite's limits (SQLITE_LIMIT_*, by number) and returns what it was; a negative value changes nothing. Returns
/// -1 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn engine_limit(handle: engine_handle, limit: i32, value: i32) -> i32 {
    told(-1, || connections::on_connection(handle, |call| controls::limit(call.connection, limit, value)))
}

/// SQLite's sqlite3_file_control, of what a storage can answer: SQLITE_FCNTL_PERSIST_WAL (10; reads 0, and setting it
/// to anything else is refused), SQLITE_FCNTL_POWERSAFE_OVERWRITE (13), SQLITE_FCNTL_HAS_MOVED (20), SQLITE_FCNTL_DATA_VERSION
/// (35), SQLITE_FCNTL_RESERVE_BYTES (38). `argument` points to an int. Anything else is refused by name with
/// SQLITE_NOTFOUND. `schema` NULL is `main`.
///
/// # Safety
/// `schema` is NULL or points to a NUL-terminated string; `argument` is NULL or points to an int.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_file_control(
    handle: engine_handle,
    schema: *const c_char,
    operation: i32,
    argument: *mut c_void,
) -> i32 {
    coded(|| {
        // SAFETY: the caller promises NULL or a NUL-terminated string.
        let schema = unsafe { crate::copies::schema(schema) };
        connections::on_connection(handle, |call| {
            let argument: *mut i32 = argument.cast();
            if argument.is_null() {
                return Err(Refusal::misuse("argument is NULL"));
            }
            // SAFETY: not NULL, and the caller promises an int.
            let given = unsafe { argument.read_unaligned() };
            let answer = controls::file_control(call.connection, schema?, operation, given)?;
            // SAFETY: as above.
            unsafe { argument.write_unaligned(answer) };
            Ok(ENGINE_OK)
        })
    })
}

/// Always refused: this library loads no extensions. The message names the path.
///
/// # Safety
/// `path` is NULL or points to a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_load_extension(handle: engine_handle, path: *const c_char) -> i32 {
    coded(|| {
        // SAFETY: the caller promises NULL or a NUL-terminated string.
        let path = unsafe { crate::borrow(path, "path") };
        connections::on_connection(handle, |_| Err(controls::no_extensions(path?)))
    })
}

/// What was counted since the database was opened, over all its connections in this process, as one JSON object. NULL on
/// failure. Readable until the calling thread's next engine_metrics.
#[unsafe(no_mangle)]
pub extern "C" fn engine_metrics(handle: engine_handle) -> *const c_char {
    pointed(|| {
        let json = telling::metrics(handle)?;
        Ok(texts::lend_metrics(json))
    })
}

/// The canonical URL of the connection's database, without parameters. NULL on failure. Readable until the calling thread's
/// next engine_url.
#[unsafe(no_mangle)]
pub extern "C" fn engine_url(handle: engine_handle) -> *const c_char {
    pointed(|| {
        let url = telling::url(handle)?;
        Ok(if url.is_empty() { ptr::null() } else { texts::lend_url(&url) })
    })
}
