//! The seam between the SQL engine and wherever pages live: the [`Storage`] trait, its errors, the fair writer slot
//! every backend shares, and [`MemoryStorage`], the reference.
//!
//! One `Storage` value is one timeline of one database. The seven invariants that every backend keeps, and that the
//! conformance suite proves for each:
//!
//! 1. Commits are totally ordered; LSNs of durable commits are gapless per timeline. A state is named by
//!    [`StateId`] (timeline, epoch, LSN), never by its LSN alone.
//! 2. [`Storage::snapshot`] never returns a state that is not durable. A writer starts from the newest *appended* one.
//! 3. [`Storage::append`] gives the writer slot back before durability, so commits of many connections share one
//!    durable append. If one append fails or is indeterminate, so is everything built on it, and the storage is
//!    *poisoned*: reads of durable state may go on, writes answer [`StorageError::Poisoned`] or
//!    [`StorageError::Fenced`] until reopened.
//! 4. A write transaction that commits nothing still waits for its base to be durable before it reports success.
//! 5. A pinned snapshot reads the same bytes for ever. A reader that cannot pin gets
//!    [`StorageError::SnapshotExpired`], never wrong bytes.
//! 6. After a crash at any instruction, reopening yields exactly the acknowledged commits, plus possibly ones whose
//!    outcome was never reported, as a prefix of the order; never a torn commit.
//! 7. A commit's outcome is durable, not applied, or indeterminate (told as such). It is never reported as failed
//!    while it may still become durable.
//!
//! What is absent, on purpose: how a storage is opened (each backend has its own way; new abilities arrive as new ways
//! to open), branches, time travel, caches, SQL. The trait is frozen: `api.txt` beside this crate is its public API,
//! and CI compares.

mod commit;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod memory;
mod snapshot;
mod storage;
mod writer_slot;

pub use commit::{Commit, PageImage};
pub use error::{Cause, StorageError};
pub use memory::{Medium, MemoryStorage};
pub use snapshot::{Snapshot, StateId};
pub use storage::{Checkpointed, Storage, Wait, WriteTicket};
pub use writer_slot::{SlotGuard, WriterSlot};
