//! Turns at the writer slot, and how a checkpoint gets one without ever being seen as another writer.
//!
//! A checkpoint needs the slot for a moment, to move the last frames and start the WAL over. It does not queue: a caller
//! that does not want to wait would then find the slot taken although nobody writes. It asks instead, and the next
//! writer whose turn ends hands its slot over; or it takes the slot while it is free. A writer that finds the slot taken
//! by a checkpoint waits for that checkpoint, which is short, whatever its timeout.
//!
//! Invariants:
//! 1. At most one checkpoint asks for or has the slot (`claimed` for as long).
//! 2. `has_slot` is true from before any other thread can find the slot taken by the checkpoint until after it is free;
//!    `ended` counts those times. Both change under the lock.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use twill_vfs_trait::{SlotGuard, StorageError, Wait};

use crate::storage::{Core, locked};

/// A writer's turn. Its end gives the slot to a checkpoint that asked, or else to the next writer.
pub(crate) struct Turn {
    guard: Option<SlotGuard>,
    core: Arc<Core>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(guard) = self.guard.take() else { return };
        let mut mailbox = self.core.handover.mailbox();
        if mailbox.wanted {
            mailbox.wanted = false;
            mailbox.has_slot = true;
            mailbox.guard = Some(guard);
            drop(mailbox);
            self.core.handover.changed.notify_all();
        }
    }
}

/// Where a slot changes hands.
#[derive(Default)]
pub(crate) struct Handover {
    mailbox: Mutex<Mailbox>,
    changed: Condvar,
}

#[derive(Default)]
struct Mailbox {
    /// A checkpoint asks for the slot or has it.
    claimed: bool,
    wanted: bool,
    has_slot: bool,
    ended: u64,
    guard: Option<SlotGuard>,
}

impl Handover {
    fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        locked(&self.mailbox)
    }

    fn sleep<'a>(
        &self,
        mailbox: MutexGuard<'a, Mailbox>,
        timeout: Option<Duration>,
    ) -> MutexGuard<'a, Mailbox> {
        match timeout {
            None => self.changed.wait(mailbox).unwrap_or_else(PoisonError::into_inner),
            Some(timeout) => {
                self.changed.wait_timeout(mailbox, timeout).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Wakes a checkpoint that waits, so that it sees the slot closed.
    pub(crate) fn wake(&self) {
        drop(self.mailbox());
        self.changed.notify_all();
    }
}

/// A checkpoint's time with the slot.
struct ResetTurn<'a> {
    handover: &'a Handover,
    guard: Option<SlotGuard>,
}

impl Drop for ResetTurn<'_> {
    fn drop(&mut self) {
        let mut mailbox = self.handover.mailbox();
        drop(self.guard.take());
        mailbox.has_slot = false;
        mailbox.claimed = false;
        mailbox.ended += 1;
        drop(mailbox);
        self.handover.changed.notify_all();
    }
}

impl Core {
    /// A writer's turn, in fair order.
    pub(crate) fn take_turn(self: &Arc<Self>, wait: &Wait) -> Result<Turn, StorageError> {
        let mut before = self.handover.mailbox().ended;
        let mut outcome = self.slot.acquire(wait);
        while let Err(StorageError::Busy { .. }) = outcome {
            let mut mailbox = self.handover.mailbox();
            if !mailbox.has_slot && mailbox.ended == before {
                break;
            }
            while mailbox.has_slot {
                mailbox = self.handover.changed.wait(mailbox).unwrap_or_else(PoisonError::into_inner);
            }
            before = mailbox.ended;
            drop(mailbox);
            outcome = self.slot.acquire(&Wait::none());
        }
        outcome.map(|guard| Turn { guard: Some(guard), core: Arc::clone(self) })
    }

    /// Runs `body` with the slot held for a checkpoint. `None` when no writer gave it back within `timeout`.
    pub(crate) fn with_reset_turn<T>(
        &self,
        timeout: Option<Duration>,
        body: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<Option<T>, StorageError> {
        let Some(guard) = self.take_reset_turn(timeout)? else { return Ok(None) };
        let _turn = ResetTurn { handover: &self.handover, guard: Some(guard) };
        body().map(Some)
    }

    fn take_reset_turn(&self, timeout: Option<Duration>) -> Result<Option<SlotGuard>, StorageError> {
        let start = self.door.now();
        let left = || timeout.map(|timeout| timeout.saturating_sub(self.door.now().saturating_sub(start)));
        let mut mailbox = self.handover.mailbox();
        while mailbox.claimed {
            if left().is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            mailbox = self.handover.sleep(mailbox, left());
        }
        mailbox.claimed = true;
        loop {
            if let Some(guard) = mailbox.guard.take() {
                return Ok(Some(guard));
            }
            let answer = match self.slot.acquire(&Wait::none()) {
                Ok(guard) => {
                    (mailbox.wanted, mailbox.has_slot) = (false, true);
                    return Ok(Some(guard));
                }
                Err(StorageError::Busy { .. }) if left().is_none_or(|left| !left.is_zero()) => {
                    mailbox.wanted = true;
                    mailbox = self.handover.sleep(mailbox, left());
                    continue;
                }
                Err(StorageError::Busy { .. }) => Ok(None),
                Err(error) => Err(error),
            };
            (mailbox.wanted, mailbox.claimed) = (false, false);
            drop(mailbox);
            self.handover.changed.notify_all();
            return answer;
        }
    }
}
