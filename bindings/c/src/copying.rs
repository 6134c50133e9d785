//! Backup, serialize and deserialize of `engine.h`.
//!
//! Invariants:
//! 1. A copy is one snapshot of its source. A destination keeps its old content until the copy's commit is durable.
//!
//! On a crash a destination is as it was, or whole. It refuses to copy a connection onto itself.

use std::ffi::{c_char, c_void};

use crate::abi::{ENGINE_OK, engine_progress};
use crate::connections::{self, coded, told};
use crate::copies::{self, Progress};
use crate::{batches, borrow_bytes, borrow_text, engine_handle};

/// Copies the database of `from` over that of `to`, both handles' `main`, `pages_per_step` pages (-1: all) at a
/// time. `progress`, which may be NULL, is called after each step and may end the copy. Both handles are in use
/// meanwhile. Returns ENGINE_OK or a code; `to` then keeps its old content.
///
/// # Safety
/// `progress` may be called with `context` until this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_backup(
    from: engine_handle,
    to: engine_handle,
    pages_per_step: i32,
    progress: engine_progress,
    context: *mut c_void,
) -> i32 {
    coded(|| copies::backup(from, to, pages_per_step, &Progress::new(progress, context)).map(|()| ENGINE_OK))
}

/// As engine_backup, to the database behind a URL, which is created if it does not exist, and closed after.
///
/// # Safety
/// `url` points to `length` readable bytes; `progress` may be called with `context` until this returns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_backup_to_url(
    from: engine_handle,
    url: *const c_char,
    length: usize,
    pages_per_step: i32,
    progress: engine_progress,
    context: *mut c_void,
) -> i32 {
    coded(|| {
        // SAFETY: the caller promises readable bytes.
        let url = unsafe { borrow_text(url, length, "url") };
        let progress = Progress::new(progress, context);
        connections::on_connection(from, |call| {
            copies::to_url(call.connection, url?, pages_per_step, &progress).map(|()| ENGINE_OK)
        })
    })
}

/// The image of a database, as the connection sees it now: the bytes of a database file in rollback-journal mode, which
/// any SQLite opens or deserializes. `schema` NULL is `main`. Returns memory of `*length` bytes that the caller
/// frees with engine_batch_free, or NULL. An empty database has an empty image: a pointer, and 0 bytes.
///
/// # Safety
/// `schema` is NULL or points to a NUL-terminated string, `length` to a size_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_serialize(
    handle: engine_handle,
    schema: *const c_char,
    length: *mut usize,
) -> *mut u8 {
    told(std::ptr::null_mut(), || {
        if length.is_null() {
            return Err(crate::Refusal::misuse("length is NULL").into());
        }
        // SAFETY: the caller promises NULL or a NUL-terminated string.
        let schema = unsafe { copies::schema(schema) };
        let image = connections::on_connection(handle, |call| copies::image(call.connection, schema?))?;
        // SAFETY: not NULL, and the caller promises a place for a size_t.
        unsafe { length.write_unaligned(image.len()) };
        Ok(batches::lend(batches::Owned::from_bytes(&image)))
    })
}

/// Opens a private database in memory with the content of an image, which is copied. `flags`: ENGINE_OPEN_READONLY or 0.
/// Returns a handle, or 0: engine_failure_of(0, ...) says why.
///
/// # Safety
/// `image` points to `length` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_deserialize(image: *const u8, length: usize, flags: u32) -> engine_handle {
    told(0, || {
        // SAFETY: the caller promises readable bytes.
        let image = unsafe { borrow_bytes(image, length, "image") }?;
        connections::deserialize(image, flags)
    })
}
