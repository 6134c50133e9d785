//! Cancellation of a wait: the shared flag behind `interrupt`.
//!
//! Invariants:
//! 1. A wait that registers its waker *before* it looks at [`Cancel::is_cancelled`] misses no cancellation.
//! 2. Wakers are called outside the lock, so a waker may register again.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

/// A flag that wakes whoever waits under it. Clones share one flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    cancelled: bool,
    next_key: u64,
    wakers: Vec<(u64, Waker)>,
}

impl Cancel {
    /// A flag that is not set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the flag and wakes every registered wait.
    pub fn cancel(&self) {
        let wakers: Vec<Waker> = {
            let mut shared = self.lock();
            shared.cancelled = true;
            shared.wakers.iter().map(|(_, waker)| waker.clone()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Clears the flag, so that the next operation starts afresh.
    pub fn reset(&self) {
        self.lock().cancelled = false;
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Calls `waker` on cancellation until the registration is dropped.
    #[must_use]
    pub fn register(&self, waker: Waker) -> Registration {
        let mut shared = self.lock();
        let key = shared.next_key;
        shared.next_key += 1;
        shared.wakers.push((key, waker));
        Registration { cancel: self.clone(), key }
    }

    /// How many waits are registered now. Tests learn from it that a wait has begun, without a clock.
    #[must_use]
    pub fn registered(&self) -> usize {
        self.lock().wakers.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a waker registered; dropping it takes the waker back.
#[derive(Debug)]
pub struct Registration {
    cancel: Cancel,
    key: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let key = self.key;
        self.cancel.lock().wakers.retain(|(other, _)| *other != key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_cancel_wakes_only_whoever_is_registered() {
        let cancel = Cancel::new();
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let registration = cancel.register(Waker::from(Arc::clone(&count)));
        cancel.cancel();
        assert!(cancel.is_cancelled());
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(cancel.registered(), 1);
        drop(registration);
        assert_eq!(cancel.registered(), 0);
        cancel.reset();
        cancel.cancel();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }
}
