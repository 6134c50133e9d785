//! The one place that names the libSQL build below TwillDB: its version, its compile flags, and the check of both.
//!
//! `libsql-ffi` compiles libSQL's C amalgamation and takes extra flags from the environment variable
//! `LIBSQLITE3_FLAGS`. This workspace sets it in `.cargo/config.toml`, which Cargo reads for builds *in this
//! workspace only*: a program of another workspace that depends on the engine gets other flags unless it sets them
//! too. A wrong flag is silent until a query fails or every page cache shares one mutex, so [`check_build`] looks at
//! the library that was really linked.
//!
//! Invariants:
//! 1. Everything above uses libSQL through [`ffi`] of this crate, or through `libsql-rusqlite`, which links the same.
//! 2. [`check_build`] judges the linked library, not the headers: another SQLite linked in its place is found by its
//!    source id.
//! 3. What changes answers or safety is an error ([`BuildError`]); what only costs time is a warning
//!    ([`BuildReport::performance_warnings`]), with which benchmarks refuse to run.
//!
//! On a crash: nothing here is kept. The probes open a private database in memory and close it.
//!
//! Refuses: any library but the pinned one, even a newer one. Raising the pin is a change of this crate.

mod observed;
mod report;

pub use libsql_ffi as ffi;
pub use observed::check_build;
pub use report::{BuildError, BuildReport, FlagFinding};
