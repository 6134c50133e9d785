//! The command as it is run: arguments in; stdout, stderr, exit code and files out.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    reason = "test code"
)]

mod check;
mod dump;
mod guide;
mod harness;
mod interrupt;
mod shell;
mod sql;
mod terminal;
mod transfer;
