//! The functions of `engine.h` for runtimes with an event loop and a garbage collector, JavaScript's above all: mailboxes
//! instead of completion callbacks, and endings that a collector may call.
//!
//! Invariants:
//! 1. No function here waits for the engine, for a call that runs, or for another thread of the program.
//! 2. The `_drop` functions may be called from any thread at any moment, inside a callback of the very connection too,
//!    and with numbers that name nothing any more.
//!
//! On a crash: nothing here is on disk. It refuses numbers that are no mailbox's.

use std::cell::UnsafeCell;
use std::ffi::{c_char, c_void};

use crate::abi::ENGINE_OK;
use crate::connections::{self, coded, told};
use crate::worker::Completion;
use crate::{Refusal, borrow_text, engine_handle, mailboxes};

/// A mailbox, or 0 for none. Numbers are as those of engine_handle.
#[expect(non_camel_case_types, reason = "its name in C")]
pub type engine_mailbox = usize;

/// Makes a mailbox: completions of requests wait in it for one reader, who is woken by a byte on a socket. `*reader`
/// becomes the socket's descriptor (non-blocking, closed on exec), which is the caller's, to be read from and closed. After
/// each byte take completions until there are none. Returns 0 on failure: engine_failure_of(0, ...) says why.
///
/// # Safety
/// `reader` points to an int.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_mailbox_new(reader: *mut i32) -> engine_mailbox {
    told(0, || {
        if reader.is_null() {
            return Err(Refusal::misuse("reader is NULL").into());
        }
        let (mailbox, descriptor) = mailboxes::open()?;
        // SAFETY: the caller promises an int there.
        unsafe { reader.write(descriptor) };
        Ok(mailbox)
    })
}

/// Takes at most `pairs` completions: for each the connection's handle and the request. Returns how many, 0 if there are
/// none, -1 on failure.
///
/// # Safety
/// `out` points to `2 * pairs` writable numbers of 64 bits.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_mailbox_take(mailbox: engine_mailbox, out: *mut u64, pairs: usize) -> i32 {
    told(-1, || {
        if out.is_null() {
            return Err(Refusal::misuse("out is NULL").into());
        }
        let length = pairs.min(i32::MAX as usize).saturating_mul(2);
        // SAFETY: the caller promises that many writable numbers.
        let out = unsafe { std::slice::from_raw_parts_mut(out, length) };
        let taken = mailboxes::take(mailbox, out)?;
        Ok(i32::try_from(taken).unwrap_or(i32::MAX))
    })
}

/// As engine_async_open, with completions that go to a mailbox. Several connections may share one.
///
/// # Safety
/// `url` points to `length` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_async_open_mailbox(
    url: *const c_char,
    length: usize,
    flags: u32,
    mailbox: engine_mailbox,
) -> engine_handle {
    told(0, || {
        // SAFETY: the caller promises `length` readable bytes.
        let url = unsafe { borrow_text(url, length, "url") }?;
        connections::open_later(url, flags, Completion::mailed(mailboxes::find(mailbox)?))
    })
}

/// As engine_async_start, with completions that go to a mailbox.
#[unsafe(no_mangle)]
pub extern "C" fn engine_async_start_mailbox(handle: engine_handle, mailbox: engine_mailbox) -> i32 {
    coded(|| connections::start(handle, Completion::mailed(mailboxes::find(mailbox)?)).map(|()| ENGINE_OK))
}

/// Ends a mailbox. As the other `_drop` functions it has the signature of a deallocator of JavaScriptCore, and may be
/// called from any thread at any moment; `number` is the number of what ends, and one that names nothing is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn engine_mailbox_drop(_unused: *mut c_void, number: *mut c_void) {
    drop(crate::caught(|| {
        mailboxes::abandon(number.addr());
        Ok(())
    }));
}

/// Lets a statement go: its connection's next call frees it, or its close.
#[unsafe(no_mangle)]
pub extern "C" fn engine_statement_drop(_unused: *mut c_void, number: *mut c_void) {
    drop(crate::caught(|| connections::let_go(number.addr())));
}

/// Closes a connection on a thread of the library: what runs is interrupted, and an open transaction rolled back.
#[unsafe(no_mangle)]
pub extern "C" fn engine_connection_drop(_unused: *mut c_void, number: *mut c_void) {
    drop(crate::caught(|| {
        mailboxes::close_soon(number.addr());
        Ok(())
    }));
}

/// Memory that a collector may be told to look after in the place of what a number stands for.
struct Anchor(UnsafeCell<[u8; ANCHOR_BYTES]>);

// SAFETY: nothing in this library reads or writes it.
unsafe impl Sync for Anchor {}

const ANCHOR_BYTES: usize = 65_536;
static ANCHOR: Anchor = Anchor(UnsafeCell::new([0; ANCHOR_BYTES]));

/// 65536 bytes that stay as long as the process and that nobody uses: buffers over them, with a `_drop` function as their
/// deallocator, let a collector end connections and statements.
#[unsafe(no_mangle)]
pub extern "C" fn engine_anchor() -> *mut c_void {
    ANCHOR.0.get().cast()
}
