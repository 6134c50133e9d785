//! The engine from outside, on every backend that a URL can name.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    missing_docs,
    reason = "test code"
)]

mod api;
mod callbacks;
mod concurrency;
mod copies;
mod crowd;
mod cursors;
mod features;
mod place;
mod sharing;
