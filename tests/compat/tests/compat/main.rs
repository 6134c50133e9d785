//! See the package's library page.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    missing_docs,
    unreachable_pub,
    reason = "test code"
)]

mod common;
mod damage;
mod export;
mod locks;
mod ours_in_stock;
mod refusals;
mod stock_in_ours;
