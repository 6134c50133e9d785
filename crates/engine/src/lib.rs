//! Database and Connection: a URL becomes a storage, SQL runs on it through libSQL.
//!
//! ```
//! use twill_engine::{Database, Value};
//!
//! # fn main() -> Result<(), twill_engine::Error> {
//! let database = Database::open("memory://example")?;
//! let connection = database.connect()?;
//! connection.execute("CREATE TABLE city(name TEXT, people INTEGER)", ())?;
//! connection.execute("INSERT INTO city VALUES(?1, ?2)", ("Basel", 177_000))?;
//! let result = connection.query("SELECT people FROM city WHERE name = ?1", ["Basel"])?;
//! assert_eq!(result.rows, [[Value::Integer(177_000)]]);
//! # Ok(())
//! # }
//! ```
//!
//! Invariants:
//! 1. One process, one storage: the same URL, however spelled, leads to the storage already open ([`Database::open`]).
//! 2. A statement that may write queues for the writer slot of every database it may write *before* it runs, fairly and
//!    in one global order, so autocommit writes never see SQLITE_BUSY before the busy timeout.
//! 3. A call that returns success outside a transaction has made its commit durable; rows of RETURNING are handed out
//!    only then.
//! 4. Nobody above this crate names a backend: what layers above need is re-exported here.
//!
//! On a crash the storage decides (its invariant 6); nothing of this crate's state is kept.
//! It refuses: two calls at once on one connection (the second waits, or is an error inside a callback of the first), URL
//! parameters it does not know, and a database opened before a fork.

mod backend;
mod connection;
mod database;
mod delegation;
mod error;
mod ffi;
mod metrics;
mod params;
mod registry;
mod resolver;
mod row;
mod script;
mod url;

pub use connection::{
    Action, Aggregate, Arguments, Blob, Change, CommitHook, Connection, Cursor, CursorRow, Facts,
    FunctionOptions, InterruptHandle, Ran, RollbackHook, Savepoint, Statement, Taken, Transaction,
    TransactionMode, UpdateHook, Values, Window,
};
pub use database::Database;
pub use error::Error;
pub use metrics::{Metrics, StorageMetrics};
pub use params::Params;
pub use row::{CellRef, Column, QueryResult, RowRef, ValueRef};
pub use script::{is_blank, statement_end};
pub use url::{Mode, file_url};

pub use rusqlite::backup::Progress as BackupProgress;
pub use rusqlite::limits::Limit;
pub use twill_types::{Cancel, Epoch, Lsn, Synchronous, TimelineId, Value, ValueType};
pub use twill_vfs_trait::{Checkpointed, StateId, StorageError};
