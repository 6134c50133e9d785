//! The ordered, fenced commit log on an object store with conditional writes: append, fence, read, recover, seal,
//! merge and collect. It knows payloads, not pages.
//!
//! One log is one timeline. Its history is a sequence of *records* in *slots* `log/<epoch>/<seq>`, each created once
//! by a conditional PUT and never overwritten; `docs/format/commit-log.md` draws the bytes. Exactly one writer owns an
//! epoch; who wants to write *fences* the epoch before by creating a fence in its first free slot. Safety rests on the
//! store's create-if-absent and on nothing else: no clock, no lease, no lock.
//!
//! ```text
//!   log/3/0  commits 41..44     the history: 41..49, the fence's place, 50..
//!   log/3/1  commits 45..49
//!   log/3/2  fence -> epoch 4   created by the owner of epoch 4
//!   log/3/3  commits 50..53     void: behind a fence; its writer never acknowledged it and never will
//!   log/4/0  commits 50..50     the same LSN, another commit: a state is (timeline, epoch, LSN)
//! ```
//!
//! Invariants (each has tests of its name; the numbers in parentheses are those of the rules in
//! `docs/format/commit-log.md`):
//! 1. A slot is created once and its bytes are frozen at the first attempt (1). Nothing moves to another slot (5).
//! 2. The history of an epoch ends at its first fence, whatever lies behind (2). The epoch is derived by walking (3).
//! 3. A commit is acknowledged when its slot and every slot before it are owned (4).
//! 4. An opener acknowledges nothing before it has replaced the branch record it began with (8).
//! 5. What is deleted lies below a floor that was raised before, is no fence and no seal, and was published merged
//!    before, or is below the horizon (9).
//!
//! A crash at any instruction loses no acknowledged commit; a reopening finds them, and possibly a prefix of those
//! whose outcome was never told. Dropping any future is safe: [`Log::append`] is not one, and waiting changes nothing.
//!
//! What is absent: clocks in the rules, threads, a runtime, retries by the client below, and any look into payloads.

pub mod commit;
pub mod environment;
pub mod error;
pub mod follow;
mod log;
pub mod merge;
mod name;
mod object_register;
mod open;
pub mod options;
mod pace;
mod parts;
mod pipeline;
pub mod position;
mod proof;
pub mod read;
pub mod record;
pub mod recover;
pub mod register;
pub mod reply;
mod requests;
pub mod retention;
mod settle;
mod shared;
mod site;
mod walk;

pub use commit::{Commit, CommitId, NewCommit, Verdict};
#[cfg(feature = "tokio")]
pub use environment::TokioEnvironment;
pub use environment::{Environment, Point};
pub use error::{LogError, Outcome};
pub use follow::{Follower, Polling};
pub use log::{Driver, Log, Opened};
pub use merge::{MergeOptions, Merged, merge};
pub use object_register::ObjectRegister;
pub use open::Opening;
pub use options::{Compression, Options, Spacing};
pub use position::{Checksum, CommitTime, DatabaseId, Identity, Position, Slot, Stamp, Token, WriterId};
pub use proof::{Proof, Race, Refusal, prove_conditional_writes};
pub use read::Reader;
pub use recover::{Recovered, recover};
pub use register::{Loaded, LogState, Register, Swapped, Version};
pub use retention::{Collected, Pinned, Raise, collect, collect_from, raise};
pub use site::Site;
