//! Copies of whole databases.
//!
//! Invariants:
//! 1. A progress callback is called on the thread that copies, while both connections are in use.

use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;
use std::sync::Arc;

use twill_engine::{Connection, Database};

use crate::abi::engine_progress;
use crate::connections::{Fault, find, not_open, refused};
use crate::{Refusal, texts};

/// Who is told how far a copy is.
pub(crate) struct Progress {
    callback: engine_progress,
    context: *mut c_void,
}

// SAFETY: whoever gives a progress callback to a request promises that the connection's thread may call it.
unsafe impl Send for Progress {}

impl Progress {
    pub(crate) const fn new(callback: engine_progress, context: *mut c_void) -> Self {
        Self { callback, context }
    }

    fn tell(&self, left: i32, pages: i32) -> ControlFlow<()> {
        let Some(callback) = self.callback else { return ControlFlow::Continue(()) };
        // SAFETY: the callback was promised to be callable with its context while the copy runs.
        match unsafe { callback(self.context, left, pages) } {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }
}

/// Copies `main` of one connection over that of another.
pub(crate) fn copy(
    from: &Connection,
    to: &Connection,
    pages_per_step: i32,
    progress: &Progress,
) -> Result<(), Refusal> {
    let pages_per_step = if pages_per_step == -1 { i32::MAX } else { pages_per_step };
    Ok(from.backup_to(to, pages_per_step, |told| progress.tell(told.remaining, told.pagecount))?)
}

/// Copies one connection's database over another's.
pub(crate) fn backup(from: usize, to: usize, pages_per_step: i32, progress: &Progress) -> Result<(), Fault> {
    let (source, destination) = (find(from)?, find(to)?);
    if Arc::ptr_eq(&source, &destination) {
        return Err(refused(from)(Refusal::misuse("a connection cannot be copied onto itself")));
    }
    let mut from_guard = source.enter().map_err(refused(from))?;
    let to_guard = destination.enter().map_err(refused(to))?;
    texts::let_in();
    let outcome = match (from_guard.connection(), to_guard.connection()) {
        (Some(source), Some(destination)) => copy(source, destination, pages_per_step, progress),
        _ => Err(not_open()),
    };
    drop(to_guard);
    from_guard.settle(outcome)
}

/// Copies `main` of a connection over the database behind a URL.
pub(crate) fn to_url(
    from: &Connection,
    url: &str,
    pages_per_step: i32,
    progress: &Progress,
) -> Result<(), Refusal> {
    let database = Database::open(url)?;
    let to = database.connect()?;
    let copied = copy(from, &to, pages_per_step, progress);
    drop(to);
    let closed = database.close();
    copied?;
    Ok(closed?)
}

/// The image of a schema's database.
pub(crate) fn image(connection: &Connection, schema: &str) -> Result<Vec<u8>, Refusal> {
    Ok(connection.serialize(schema)?)
}

/// A schema's name from C; NULL is `main`.
///
/// # Safety
/// `schema` is NULL or points to a NUL-terminated string that outlives `'a`.
pub(crate) unsafe fn schema<'a>(schema: *const c_char) -> Result<&'a str, Refusal> {
    if schema.is_null() {
        return Ok("main");
    }
    // SAFETY: the caller promises a NUL-terminated string.
    unsafe { crate::borrow(schema, "schema") }
}
