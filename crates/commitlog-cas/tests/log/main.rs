//! The log over an object store in memory, on virtual time: each rule of `docs/format/commit-log.md` by its number,
//! what the log costs in requests, and what each failure is told as.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    unreachable_pub,
    reason = "test code"
)]

mod chaos;
mod costs;
mod failures;
mod keeping;
mod opening;
mod records;
mod settling;
mod world;
