//! The two sides of the comparison behind one trait, so that every line runs the same code on both.
//!
//! Invariants:
//! 1. A workload is generic over [`Side`]; nothing but this module and its two files knows which side it drives.
//! 2. Each side reads every column of every row it is asked for.

use std::path::Path;

use anyhow::Result;

mod plain;
mod twill;

pub(crate) use plain::Plain;
pub(crate) use twill::Twill;

/// A database that is open.
pub(crate) trait Side: Sized + Sync {
    type Session: Session;

    /// How the side is called in results and in file names.
    const NAME: &'static str;

    /// Opens or creates a database.
    fn open(path: &Path) -> Result<Self>;

    /// A new connection, durable at every commit, that waits for other writers as long as it takes.
    fn connect(&self) -> Result<Self::Session>;

    /// Times the files were synced since the open, where the side counts them.
    fn syncs(&self) -> Option<u64>;

    /// Closes the database after its connections.
    fn close(self) -> Result<()>;
}

/// A connection.
pub(crate) trait Session: Send {
    type Prepared<'a>: Prepared
    where
        Self: 'a;

    /// Runs statements without parameters.
    fn batch(&self, sql: &str) -> Result<()>;

    /// Prepares one statement.
    fn prepare(&self, sql: &str) -> Result<Self::Prepared<'_>>;
}

/// A prepared statement.
pub(crate) trait Prepared {
    /// Runs it for its effect.
    fn execute(&mut self, arguments: &[Argument<'_>]) -> Result<()>;

    /// Runs it and reads all its rows.
    fn read(&mut self, arguments: &[Argument<'_>]) -> Result<Reading>;
}

/// A value to bind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Argument<'a> {
    Integer(i64),
    Text(&'a str),
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) rows: u64,
    /// The sum of all integers and of the lengths of all texts.
    pub(crate) sum: i64,
}

/// The length of a text as it goes into [`Reading::sum`].
fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}
