//! The frozen trait. See the crate's documentation for the invariants.

use std::any::Any;
use std::time::Duration;

use twill_types::{Cancel, PageNo};

use crate::{Commit, Snapshot, StorageError};

/// One timeline of one database. Blocking, because libSQL is; a backend may be an async core behind this facade.
pub trait Storage: Send + Sync + 'static {
    /// The newest durable state, pinned until dropped. It includes every commit for which [`Storage::wait_durable`]
    /// has returned, on any thread, and never goes back.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] when the medium cannot be reached or the storage is closed. A poisoned storage
    /// still answers with its newest durable state.
    fn snapshot(&self) -> Result<Snapshot, StorageError>;

    /// One page as of `at`, into `buf`, whose length is the snapshot's page size. Pages within the page count that
    /// were never written since the database last reached up to them read as zeros. States in flight, that is the base
    /// of a ticket and what `append` returned, are read like any other; if they fail, they read the same bytes or an
    /// error. `buf` holds anything after an error.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] for a page beyond the count, a buffer of another length or a foreign snapshot;
    /// [`StorageError::SnapshotExpired`], [`StorageError::Unavailable`] and [`StorageError::Corrupt`] as they say.
    fn read_page(&self, at: &Snapshot, page: PageNo, buf: &mut [u8]) -> Result<(), StorageError>;

    /// Waits its turn, first come first served, for the single writer slot; an interrupt or the timeout wakes it. The
    /// ticket carries the newest appended snapshot, durable or not. Dropping it gives the slot back. This is where a
    /// backend that cannot take more makes writers wait: here they have a timeout and an interrupt.
    ///
    /// # Errors
    /// [`StorageError::Busy`] at the timeout, [`StorageError::Interrupted`], [`StorageError::ReadOnly`],
    /// [`StorageError::Poisoned`], [`StorageError::Fenced`], and [`StorageError::Unavailable`] or
    /// [`StorageError::Full`] when the medium keeps the backend from taking more.
    fn begin_write(&self, wait: Wait) -> Result<WriteTicket, StorageError>;

    /// Hands one commit to the log, in order, and gives the slot back, also when it fails. The returned snapshot is not
    /// durable yet. The bytes are copied: `commit` is free again on return. It cannot be interrupted, so it does not wait
    /// for a medium that may not answer: [`Storage::begin_write`] and [`Storage::wait_durable`] do.
    ///
    /// # Errors
    /// [`StorageError::Invalid`] for a commit that breaks the rules of [`Commit`] or a foreign ticket: nothing was
    /// applied and the storage stays usable. [`StorageError::Full`] when the medium has no room: nothing was applied.
    /// [`StorageError::Unavailable`] for a ticket from before [`Storage::close`]. Any other error follows invariants 3
    /// and 7.
    fn append(&self, ticket: WriteTicket, commit: Commit<'_>) -> Result<Snapshot, StorageError>;

    /// Returns when `at` is durable in the sense the storage was opened with (`synchronous` on `file://`), or is known
    /// not to be. Never abandoned by an interrupt. Asked again, of any clone
    /// and after [`Storage::close`] too, it says the same: success stays success, failure stays failure. A commit need
    /// not become durable before somebody waits for it, for a later one, or closes.
    ///
    /// # Errors
    /// [`StorageError::Indeterminate`] when the outcome cannot be known, [`StorageError::Poisoned`] when `at` was not
    /// applied because a commit before it failed, or the failure itself. A foreign snapshot is
    /// [`StorageError::Invalid`].
    fn wait_durable(&self, at: &Snapshot) -> Result<(), StorageError>;

    /// A hint that these pages will be read soon. Does not block on the medium and may do nothing; pages that `at` does
    /// not have are passed over.
    fn prefetch(&self, at: &Snapshot, pages: &[PageNo]);

    /// Moves durable commits to their resting place (file: backfill; s3: apply and flush). No commit: names and bytes
    /// stay as they are. Needs no ticket, runs beside readers and writers, and never waits for a ticket that is out: the
    /// caller may hold it. What it cannot move then, it leaves.
    ///
    /// # Errors
    /// [`StorageError::ReadOnly`], or that of the medium. Nothing acknowledged is lost either way.
    fn checkpoint(&self) -> Result<Checkpointed, StorageError>;

    /// Settles everything appended and releases lock or epoch. Idempotent. It does not wait for tickets that are out:
    /// they, and writers in the queue, are refused from now on. Afterwards every call answers
    /// [`StorageError::Unavailable`] (or [`StorageError::ReadOnly`], where it always did), with three exceptions: `wait_durable` tells what became of its
    /// state (nothing else could be true to invariant 7), `read_page` of a pinned snapshot may still read, and
    /// `close` succeeds again.
    ///
    /// # Errors
    /// When something in flight did not become durable, or the medium failed while settling.
    fn close(&self) -> Result<(), StorageError>;
}

/// How long a writer queues, and what ends the wait early.
#[derive(Clone, Debug, Default)]
pub struct Wait {
    /// `None` waits without end; zero does not wait. A backend may hold the slot for moments of its own work, so zero
    /// can answer [`StorageError::Busy`] although no other writer is there.
    pub timeout: Option<Duration>,
    /// Cancelling it answers [`StorageError::Interrupted`]. A backend registers its waker here when the caller has
    /// its place in the queue, not before.
    pub cancel: Option<Cancel>,
}

impl Wait {
    /// Takes the slot if it is free, otherwise answers `Busy` at once.
    #[must_use]
    pub const fn none() -> Self {
        Self { timeout: Some(Duration::ZERO), cancel: None }
    }

    /// Waits at most this long.
    #[must_use]
    pub const fn at_most(timeout: Duration) -> Self {
        Self { timeout: Some(timeout), cancel: None }
    }

    /// Waits until its turn comes.
    #[must_use]
    pub const fn forever() -> Self {
        Self { timeout: None, cancel: None }
    }
}

/// The right to append one commit. Dropping it gives the writer slot back.
pub struct WriteTicket {
    base: Snapshot,
    slot: Box<dyn Any + Send>,
}

impl WriteTicket {
    /// For backends: a ticket that starts from `base`; dropping `slot` must give the writer slot back.
    #[must_use]
    pub fn new(base: Snapshot, slot: Box<dyn Any + Send>) -> Self {
        Self { base, slot }
    }

    /// The newest appended state, which may not be durable yet.
    #[must_use]
    pub const fn base(&self) -> &Snapshot {
        &self.base
    }

    /// For backends: the parts, with the slot still held.
    #[must_use]
    pub fn into_parts(self) -> (Snapshot, Box<dyn Any + Send>) {
        (self.base, self.slot)
    }
}

impl std::fmt::Debug for WriteTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteTicket").field("base", &self.base).finish_non_exhaustive()
    }
}

/// What a checkpoint found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checkpointed {
    /// Page images that were in the log when it began.
    pub log_pages: u64,
    /// How many of those are now at their resting place.
    pub moved_pages: u64,
}
