//! A closure lent to another thread while its owner waits.
//!
//! Invariants:
//! 1. [`lend`] returns only after the errand has run or was dropped, so nothing it borrows is gone before.
//! 2. An errand runs at most once.
//!
//! It is for statements of a connection that calls nobody's code: a callback must find itself on its owner's thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What another thread runs. Dropping it instead gives it back.
pub(crate) struct Errand<T> {
    body: Option<Box<dyn FnOnce() -> T>>,
    returned: Arc<AtomicBool>,
}

// SAFETY: what the body borrows (a compiled statement, its values, a place for rows) is used by one thread at a time,
// since the owner waits in `lend`; libSQL is compiled with THREADSAFE=1 and ties a connection to no thread; and nothing
// in it has thread-local parts.
unsafe impl<T> Send for Errand<T> {}

impl<T> Errand<T> {
    /// Runs it on this thread.
    pub(crate) fn run(mut self) -> Option<T> {
        self.body.take().map(|body| body())
    }
}

impl<T> Drop for Errand<T> {
    fn drop(&mut self) {
        // What the body borrowed goes before its owner may go on.
        drop(self.body.take());
        self.returned.store(true, Ordering::Release);
    }
}

/// Waits for the errand even when the owner unwinds.
struct Return(Arc<AtomicBool>);

impl Drop for Return {
    fn drop(&mut self) {
        while !self.0.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    }
}

/// Gives `body` to `hand_over` as something that another thread may run; returns when it has run or was dropped.
pub(crate) fn lend<T: Send + 'static, R>(
    body: impl FnOnce() -> T,
    hand_over: impl FnOnce(Errand<T>) -> R,
) -> R {
    let returned = Arc::new(AtomicBool::new(false));
    let body: Box<dyn FnOnce() -> T + '_> = Box::new(body);
    // SAFETY: only the lifetime changes. `Return` keeps this frame, and so all that `body` borrows, until the errand is
    // consumed or dropped, either of which drops the body first.
    let body =
        unsafe { std::mem::transmute::<Box<dyn FnOnce() -> T + '_>, Box<dyn FnOnce() -> T + 'static>>(body) };
    let _return = Return(Arc::clone(&returned));
    hand_over(Errand { body: Some(body), returned })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errand_runs_elsewhere_and_its_owner_sees_what_it_did() {
        let mut places = Vec::new();
        let here = std::thread::current().id();
        lend(
            || places.push(std::thread::current().id()),
            |errand| std::thread::scope(|scope| scope.spawn(|| errand.run()).join().unwrap()),
        );
        assert_eq!(places.len(), 1);
        assert_ne!(places, [here]);
    }

    #[test]
    fn a_dropped_errand_is_not_run_and_its_owner_goes_on() {
        let mut ran = false;
        lend(|| ran = true, drop);
        assert!(!ran);
    }

    #[test]
    fn the_owner_waits_for_an_errand_that_it_left_behind() {
        let mut ran = false;
        let (sender, receiver) = std::sync::mpsc::channel::<Errand<()>>();
        std::thread::scope(|scope| {
            scope.spawn(move || receiver.recv().unwrap().run());
            lend(|| ran = true, |errand| sender.send(errand).unwrap());
            assert!(ran);
        });
    }
}
