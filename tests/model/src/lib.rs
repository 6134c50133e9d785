//! The protocol of the commit log on conditional writes, as models that are explored state by state.
//!
//! | model | what it explores |
//! |---|---|
//! | [`log`] | slots, fences, the window, ambiguous PUTs, racing openers, the branch record's gate, collection, a follower |
//! | [`branch`] | branch records, pins, seals, deletion, reset, clones, collection beside them |
//! | [`layers`] | the log's fence and SlateDB's as two registers: apply, flush, compaction, floor, boundary files |
//!
//! Each is clean within the bounds that `tests/sound.rs` (in CI) and `results/` (the long runs) record. Each rule of
//! the protocol that a model knows can be broken alone ([`variants`]), and `tests/broken.rs` asks that this is found
//! out, with the shortest trace. `tests/replay.rs` walks the model of the log at random and makes the real log take
//! the same steps over a store whose every request waits to be let through.
//!
//! Invariants:
//! 1. A model's states hold nothing that the process or the bucket in question could not know, except what is named
//!    as remembered by the properties.
//! 2. A model that is clean also shows that what it is about happens: commits are acknowledged, writers are fenced,
//!    slots are deleted. What must happen is a property like what must not.
//! 3. Symmetry is used where it is exact: processes without a name of their own are kept in order.
//!
//! What no model here covers: liveness, time, bytes (checksums, compression, parts), S3's status codes other than
//! "created", "exists" and "no answer", and what is said at the head of each model.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each part of a model takes its own steps and leaves every other to its neighbours"
)]

pub mod branch;
pub mod check;
pub mod layers;
pub mod log;
pub mod variants;
