//! One call at a time: a mutex that knows which thread holds it.
//!
//! Invariants:
//! 1. At most one guard exists.
//! 2. A thread that already holds the guard (a user function or hook that calls its own connection) gets an error, never
//!    a deadlock.
//!
//! A panic inside a section does not poison it: libSQL's state is its own, and statements are reset as they drop.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use crate::Error;

thread_local! {
    /// Its address names the thread.
    static THREAD: u8 = const { 0 };
}

fn this_thread() -> usize {
    THREAD.with(|thread| std::ptr::from_ref(thread).addr())
}

const NOBODY: usize = 0;

/// The lock.
pub(crate) struct CallLock<T> {
    holder: AtomicUsize,
    value: Mutex<T>,
}

impl<T> CallLock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { holder: AtomicUsize::new(NOBODY), value: Mutex::new(value) }
    }

    /// Waits until no other thread is inside.
    pub(crate) fn enter(&self) -> Result<CallGuard<'_, T>, Error> {
        // Only this thread itself can have stored its own name, so a relaxed look is enough.
        if self.holder.load(Ordering::Relaxed) == this_thread() {
            return Err(Error::misuse(
                "a function, hook or row callback called its own connection; use another connection there",
            ));
        }
        Ok(self.held(self.value.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// `None` when some call is inside.
    pub(crate) fn try_enter(&self) -> Option<CallGuard<'_, T>> {
        match self.value.try_lock() {
            Ok(value) => Some(self.held(value)),
            Err(TryLockError::Poisoned(poisoned)) => Some(self.held(poisoned.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn held<'a>(&'a self, value: MutexGuard<'a, T>) -> CallGuard<'a, T> {
        self.holder.store(this_thread(), Ordering::Relaxed);
        CallGuard { holder: &self.holder, value }
    }
}

/// The right to call.
pub(crate) struct CallGuard<'a, T> {
    holder: &'a AtomicUsize,
    value: MutexGuard<'a, T>,
}

impl<T> Drop for CallGuard<'_, T> {
    fn drop(&mut self) {
        self.holder.store(NOBODY, Ordering::Relaxed);
    }
}

impl<T> Deref for CallGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for CallGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_entry_of_one_thread_is_an_error_and_of_another_waits() {
        let lock = CallLock::new(0);
        std::thread::scope(|scope| {
            let mut guard = lock.enter().unwrap();
            let waiting = scope.spawn(|| *lock.enter().unwrap());
            assert!(lock.enter().is_err());
            assert!(lock.try_enter().is_none());
            *guard = 7;
            drop(guard);
            assert_eq!(waiting.join().unwrap(), 7);
        });
        assert!(lock.enter().is_ok());
    }
}
