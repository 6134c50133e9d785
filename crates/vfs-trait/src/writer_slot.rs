//! The single writer slot: first come, first served.
//!
//! Invariants:
//! 1. At most one [`SlotGuard`] exists per slot.
//! 2. The slot is handed to the longest waiting caller; a newcomer never overtakes the queue, even in the moment
//!    between release and wake-up (ownership passes under the lock).
//! 3. A waiter that leaves (timeout, interrupt, closed) either leaves the queue or passes the slot on; it is never lost.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

use twill_types::Door;

use crate::{StorageError, Wait};

/// A fair lock for one writer at a time.
pub struct WriterSlot {
    door: Arc<dyn Door>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    held: bool,
    closed: Option<StorageError>,
    waiting: VecDeque<Arc<Waiter>>,
}

/// One queued caller. `granted` is written under the queue's lock, then announced.
#[derive(Default)]
struct Waiter {
    state: Mutex<Granted>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Granted {
    granted: bool,
    poked: bool,
}

impl Wake for Waiter {
    fn wake(self: Arc<Self>) {
        self.announce(|state| state.poked = true);
    }
}

impl Waiter {
    fn announce(&self, change: impl FnOnce(&mut Granted)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// Sleeps until granted or poked, at most `timeout`. Returns what it found; a poke is consumed.
    fn sleep(&self, timeout: Option<Duration>) -> Granted {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |state: &mut Granted| !state.granted && !state.poked;
        let mut state = match timeout {
            None => self.changed.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                self.changed
                    .wait_timeout_while(state, timeout, idle)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        let found = *state;
        state.poked = false;
        found
    }
}

impl WriterSlot {
    /// A free slot.
    #[must_use]
    pub fn new(door: Arc<dyn Door>) -> Arc<Self> {
        Arc::new(Self { door, queue: Mutex::default() })
    }

    /// Queues for the slot.
    ///
    /// # Errors
    /// [`StorageError::Busy`] at the timeout, [`StorageError::Interrupted`], or what [`WriterSlot::close`] was given.
    pub fn acquire(self: &Arc<Self>, wait: &Wait) -> Result<SlotGuard, StorageError> {
        let waiter = {
            let mut queue = self.lock();
            if let Some(error) = &queue.closed {
                return Err(error.clone());
            }
            if !queue.held {
                queue.held = true;
                return Ok(SlotGuard { slot: Arc::clone(self) });
            }
            if wait.timeout == Some(Duration::ZERO) {
                return Err(StorageError::Busy { waited: Duration::ZERO });
            }
            let waiter = Arc::new(Waiter::default());
            queue.waiting.push_back(Arc::clone(&waiter));
            waiter
        };
        self.wait_turn(&waiter, wait)
    }

    fn wait_turn(self: &Arc<Self>, waiter: &Arc<Waiter>, wait: &Wait) -> Result<SlotGuard, StorageError> {
        let start = self.door.now();
        // Registered before the flag is looked at, so no cancellation is missed.
        let _registration =
            wait.cancel.as_ref().map(|cancel| cancel.register(Waker::from(Arc::clone(waiter))));
        loop {
            if wait.cancel.as_ref().is_some_and(twill_types::Cancel::is_cancelled) {
                return self.leave(waiter, StorageError::Interrupted);
            }
            let waited = self.door.now().saturating_sub(start);
            let left = match wait.timeout {
                Some(timeout) if waited >= timeout => {
                    return self.leave(waiter, StorageError::Busy { waited });
                }
                Some(timeout) => Some(timeout - waited),
                None => None,
            };
            let granted = waiter.sleep(left).granted;
            let closed = self.lock().closed.clone();
            match closed {
                // Whether it was granted meanwhile or not: nobody in the queue gets a closed slot.
                Some(error) => return self.leave(waiter, error),
                None if granted => return Ok(SlotGuard { slot: Arc::clone(self) }),
                None => {}
            }
        }
    }

    /// Leaves the queue with `error`. Was the slot granted meanwhile, a timeout is forgotten and the caller has it
    /// after all; an interrupted or refused caller passes it on.
    fn leave(self: &Arc<Self>, waiter: &Arc<Waiter>, error: StorageError) -> Result<SlotGuard, StorageError> {
        let mut queue = self.lock();
        let before = queue.waiting.len();
        queue.waiting.retain(|other| !Arc::ptr_eq(other, waiter));
        let granted = queue.waiting.len() == before;
        drop(queue);
        if !granted {
            return Err(error);
        }
        let guard = SlotGuard { slot: Arc::clone(self) };
        if matches!(error, StorageError::Busy { .. }) { Ok(guard) } else { Err(error) }
    }

    /// Refuses everyone from now on, those in the queue included. Who holds the slot keeps it.
    pub fn close(&self, error: StorageError) {
        let waiting: Vec<_> = {
            let mut queue = self.lock();
            queue.closed.get_or_insert(error);
            queue.waiting.iter().cloned().collect()
        };
        for waiter in waiting {
            waiter.wake();
        }
    }

    fn release(&self) {
        let next = {
            let mut queue = self.lock();
            let next = queue.waiting.pop_front();
            queue.held = next.is_some();
            next
        };
        // It owns the slot from the moment it left the queue; waking it takes a system call, so outside the lock.
        if let Some(next) = next {
            next.announce(|state| state.granted = true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds the slot; dropping it passes the slot to the longest waiting caller.
pub struct SlotGuard {
    slot: Arc<WriterSlot>,
}

impl SlotGuard {
    /// Whether this guard holds that slot.
    pub(crate) fn is_of(&self, slot: &Arc<WriterSlot>) -> bool {
        Arc::ptr_eq(&self.slot, slot)
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        self.slot.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use twill_types::Cancel;

    fn slot() -> Arc<WriterSlot> {
        WriterSlot::new(<dyn Door>::system())
    }

    fn queued(slot: &WriterSlot) -> usize {
        slot.lock().waiting.len()
    }

    fn until(mut condition: impl FnMut() -> bool) {
        while !condition() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn is_handed_over_in_order_of_arrival() {
        let slot = slot();
        let held = slot.acquire(&Wait::none()).unwrap();
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            for index in 0..8 {
                let (slot, sender) = (&slot, sender.clone());
                scope.spawn(move || {
                    let guard = slot.acquire(&Wait::forever()).unwrap();
                    sender.send(index).unwrap();
                    drop(guard);
                });
                until(|| queued(slot) == index + 1);
            }
            assert!(matches!(slot.acquire(&Wait::none()), Err(StorageError::Busy { .. })));
            drop(held);
        });
        drop(sender);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn an_interrupt_a_timeout_and_a_close_each_end_the_wait_and_leave_the_queue() {
        let slot = slot();
        let held = slot.acquire(&Wait::none()).unwrap();
        let timed = slot.acquire(&Wait::at_most(Duration::from_millis(5)));
        assert!(matches!(timed, Err(StorageError::Busy { waited }) if waited >= Duration::from_millis(5)));
        let cancel = Cancel::new();
        std::thread::scope(|scope| {
            let wait = Wait { timeout: None, cancel: Some(cancel.clone()) };
            let waiting = scope.spawn({
                let slot = &slot;
                move || slot.acquire(&wait).map(drop)
            });
            until(|| queued(&slot) == 1);
            cancel.cancel();
            assert!(matches!(waiting.join().unwrap(), Err(StorageError::Interrupted)));
            let waiting = scope.spawn(|| slot.acquire(&Wait::forever()).map(drop));
            until(|| queued(&slot) == 1);
            slot.close(StorageError::closed());
            assert!(matches!(waiting.join().unwrap(), Err(StorageError::Unavailable { .. })));
        });
        assert_eq!(queued(&slot), 0);
        drop(held);
    }

    #[test]
    fn a_thousand_racing_leavers_never_lose_the_slot() {
        let slot = slot();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let slot = &slot;
                scope.spawn(move || {
                    for turn in 0..250_u64 {
                        let wait = Wait::at_most(Duration::from_micros((thread * 7 + turn) % 40));
                        drop(slot.acquire(&wait));
                    }
                });
            }
        });
        assert!(slot.acquire(&Wait::none()).is_ok());
    }
}
