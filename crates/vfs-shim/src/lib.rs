//! libSQL on our own storage: a VFS and a virtual WAL over any [`Storage`](twill_vfs_trait::Storage).
//!
//! libSQL keeps its SQL engine, B-trees and page cache. Every page it reads and every commit it makes goes through the
//! virtual WAL of this crate: the WAL claims to hold every page, so the database "file" is never read (but for one
//! 100-byte header at open) and never written.
//!
//! ```text
//! libSQL pager ── xFindFrame/xReadFrame ──► wal.rs ──► transaction.rs ──► Storage::read_page(snapshot)
//!              ── xBeginWriteTransaction ─►        ──►  ticket (fair queue, or reserved by prelock)
//!              ── xFrames(spill) ─────────►        ──►  frames.rs, private to the transaction
//!              ── xFrames(commit) ────────►        ──►  Storage::append, then wait_durable
//! ```
//!
//! Invariants:
//! 1. A commit returns SQLITE_OK only after `wait_durable` returned Ok for it; a write transaction that commits nothing
//!    returns SQLITE_OK only after its base is durable. Inside [`Session::settling_later`] both return at once, and
//!    [`Session::settle`] waits, before anyone is told.
//! 2. Within one read transaction every page comes from one snapshot.
//! 3. libSQL's page cache is kept between transactions only when the state's full name is unchanged.
//! 4. No panic crosses into C; a panic answers SQLITE_IOERR or SQLITE_INTERNAL.
//! 5. Nobody polls: waiting for the writer slot happens in the storage's fair queue, and the VFS's `xSleep`, which only
//!    libSQL's busy loop calls, returns at once.
//! 6. A slot reserved for a retry or by [`Session::prelock`] is used by the next write or given back by
//!    [`Session::settle`].
//!
//! On a crash nothing of this crate's state matters: it is all private to a connection.
//! It refuses: rollback journals, shared cache, memory-mapped reads, exclusive locking mode, and a two-database commit
//! as one atom (each database's commit is atomic by itself).

mod codes;
mod file;
mod frames;
mod guard;
mod pragma;
mod resolver;
mod session;
mod transaction;
mod vfs;
mod wal;

pub use codes::sqlite_code;
pub use resolver::{OpenFailure, Opened, Resolver};
pub use session::Session;
pub use vfs::{RegisterError, register_vfs, take_open_failure};
