//! What the SQL suites share: backends behind URLs, clients of the engine and of plain libSQL, and the differential
//! generator.
//!
//! ```text
//! seed ─► generate ─► Step ─┬─► EngineClient ─► Answer ─┐
//!                           └─► PlainClient  ─► Answer ─┴─► compare (differences.rs excuses, narrowly)
//! ```
//!
//! Invariants:
//! 1. A suite never names a backend: it takes a [`Backend`] and asks it for places. A new backend is one constructor in
//!    `backend.rs`.
//! 2. The oracle is the same libSQL library with the same flags, on its own unix VFS and WAL.
//! 3. The same seed gives the same statements and the same verdict.
//!
//! On a crash the temporary directories of a run stay behind; nothing else does.
//! It refuses to excuse a difference that is not in the list of `differences.rs`.

mod answer;
mod backend;
mod client;
mod differences;
mod generate;
mod model;
mod run;
mod shrink;
mod world;

pub use answer::{Answer, Outcome};
pub use backend::{Backend, Place};
pub use client::{Client, EngineClient, Lie, PlainClient};
pub use differences::{DIFFERENCES, Difference};
pub use run::{Mismatch, Report, Settings, run};
pub use world::Subject;
