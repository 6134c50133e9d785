//! Which process and which thread this is, cheaply.
//!
//! Invariants:
//! 1. A child made by fork() has another generation than its parent. (Asking the kernel for the process's number costs more
//!    than the rest of a call.)
//! 2. A thread's number is never another's.
//! 3. What a thread is to close when it ends is closed then, if it was not before.

use std::cell::{Cell, RefCell};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(1);
static WATCH: Once = Once::new();

/// How often this process was forked since its first handle.
pub(crate) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Notices forks from now on.
pub(crate) fn watch_forks() {
    WATCH.call_once(|| {
        extern "C" fn in_child() {
            GENERATION.fetch_add(1, Ordering::Relaxed);
        }
        #[cfg(unix)]
        // SAFETY: the function only adds to an atomic, which a child may do before it calls exec.
        unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        }
    });
}

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
    static LEFT_TO_CLOSE: RefCell<LeftToClose> = const { RefCell::new(LeftToClose(Vec::new())) };
}

/// This thread's number; not 0.
#[inline]
pub(crate) fn this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    NUMBER.with(|number| match number.get() {
        0 => {
            let own = NEXT.fetch_add(1, Ordering::Relaxed);
            number.set(own);
            own
        }
        own => own,
    })
}

struct LeftToClose(Vec<usize>);

impl Drop for LeftToClose {
    fn drop(&mut self) {
        for handle in std::mem::take(&mut self.0) {
            // It may have been closed; and nobody is left to be told what closing it could not do.
            let _ = crate::caught(|| crate::connections::close(handle));
        }
    }
}

/// Closes the handle when this thread ends.
pub(crate) fn close_with_this_thread(handle: usize) {
    let _ = LEFT_TO_CLOSE.try_with(|left| left.borrow_mut().0.push(handle));
}

/// The handle was closed.
pub(crate) fn closed(handle: usize) {
    let _ = LEFT_TO_CLOSE.try_with(|left| {
        if let Ok(mut left) = left.try_borrow_mut() {
            left.0.retain(|other| *other != handle);
        }
    });
}
