//! Turns at the writer slot, and how a checkpoint gets one without ever being seen as another writer.
//!
//! A checkpoint needs the slot for a moment, to move the last frames and start the WAL over. It does not queue: a caller
//! that does not want to wait would then find the slot taken although nobody writes. It asks instead, and the next
//! writer whose turn ends hands its slot over; or it takes the slot while it is free. A writer that finds the slot taken
//! by a checkpoint waits for that checkpoint, which is short, whatever its timeout.
//!
//! Invariants:
//! 1. At most one checkpoint asks for or has the slot (`resets` is locked for as long).
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
    /// Held by the one checkpoint that asks for or has the slot.
    resets: Mutex<()>,
}

#[derive(Default)]
struct Mailbox {
    wanted: bool,
    has_slot: bool,
    ended: u64,
    guard: Option<SlotGuard>,
}

impl Handover {
    fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        locked(&self.mailbox)
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
        let _one = locked(&self.handover.resets);
        let Some(guard) = self.take_reset_turn(timeout)? else { return Ok(None) };
        let _turn = ResetTurn { handover: &self.handover, guard: Some(guard) };
        body().map(Some)
    }

    fn take_reset_turn(&self, timeout: Option<Duration>) -> Result<Option<SlotGuard>, StorageError> {
        let start = self.door.now();
        let mut mailbox = self.handover.mailbox();
        loop {
            if let Some(guard) = mailbox.guard.take() {
                return Ok(Some(guard));
            }
            match self.slot.acquire(&Wait::none()) {
                Ok(guard) => {
                    (mailbox.wanted, mailbox.has_slot) = (false, true);
                    return Ok(Some(guard));
                }
                Err(StorageError::Busy { .. }) => {}
                Err(error) => {
                    mailbox.wanted = false;
                    return Err(error);
                }
            }
            let waited = self.door.now().saturating_sub(start);
            let left = timeout.map(|timeout| timeout.saturating_sub(waited));
            if left.is_some_and(|left| left.is_zero()) {
                mailbox.wanted = false;
                return Ok(None);
            }
            mailbox.wanted = true;
            mailbox = match left {
                None => self.handover.changed.wait(mailbox).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.handover.changed.wait_timeout(mailbox, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}
