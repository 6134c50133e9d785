//! SQLite's lock bytes, and what we do with them.
//!
//! SQLite locks one page's worth of bytes at 1 GiB, which never hold content: PENDING, RESERVED and 510 SHARED bytes.
//!
//! ```text
//! 0x40000000   PENDING    a connection about to read locks it for a moment
//! 0x40000001   RESERVED   a rollback-mode writer
//! 0x40000002   SHARED     510 bytes; every connection that reads holds a read lock here, in WAL mode for as long as it
//!              ...        is open
//! 0x40000200   (first byte after)
//! ```
//!
//! Rules:
//! 1. A storage that may write, and a read-only one whenever the file's permissions let it, holds the *exclusive* lock
//!    of all 512 bytes from open to close. Stock SQLite then finds SHARED taken and answers "database is locked", and
//!    its open connections keep us out alike.
//! 2. A read-only storage on a file it may not open for writing can only take a *shared* lock. It excludes
//!    rollback-mode writers; WAL-mode users are refused when their `-shm` shows them to be there, and one that comes
//!    later is noticed by the files' stamps (see [`crate::open`]).
//! 3. Locks are of the open file description, so no other handle's close drops them.

/// First of SQLite's lock bytes (PENDING).
pub(crate) const LOCK_BYTES_START: u64 = 0x4000_0000;
/// PENDING, RESERVED and the SHARED range.
pub(crate) const LOCK_BYTES_LEN: u64 = 512;
/// The byte of a `-shm` that each stock WAL connection read-locks while it is open (the "dead man's switch").
pub(crate) const SHM_DEAD_MAN_SWITCH: u64 = 128;
