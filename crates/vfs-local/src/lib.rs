//! `file://`: a standard SQLite database file, and its WAL, as a [`Storage`](twill_vfs_trait::Storage).
//!
//! Stock SQLite opens the file after a clean close and recovers it after a crash; we recover its. What is on disk is
//! drawn in `docs/format/file.md`. The rooms: [`disk`] is the medium, with a simulated one for crash tests; `wal` the
//! log's bytes; `open` locks and recovers; `commit` appends and syncs; `checkpoint` moves pages back; `index`, `history`
//! and `spill` say which bytes a snapshot reads; `storage` ties them to the trait.
//!
//! Invariants (beyond those of the trait):
//! 1. Everything on disk is at every moment a database that stock SQLite recovers to a state not older than the last
//!    acknowledged commit (`synchronous=full`), and to no torn one.
//! 2. One storage at a time has a file open, across processes and within one.
//! 3. The WAL stays bounded, whatever is pinned and however busy the writers are.
//!
//! What is absent: SQL, page content beyond the 100-byte header that an open checks, retries of failed syncs, threads
//! other than the one that checkpoints.

mod background;
mod checkpoint;
mod commit;
pub mod disk;
mod failpoints;
mod history;
mod index;
mod lock;
mod metrics;
mod open;
mod options;
mod spill;
mod storage;
mod turn;
mod wal;

pub use failpoints::FAILPOINTS;
pub use metrics::LocalMetrics;
pub use options::{Conversion, LocalOptions, Mode, OpenError};
pub use storage::LocalFileStorage;
