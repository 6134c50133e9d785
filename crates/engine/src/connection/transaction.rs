//! Transactions and savepoints that end with their scope.
//!
//! Invariants:
//! 1. A [`Transaction`] dropped without [`Transaction::commit`] is rolled back; a [`Savepoint`] likewise to its start.
//! 2. An error of COMMIT leaves the transaction open only where libSQL does (SQLITE_BUSY); the drop then rolls it back.
//!
//! It refuses nothing of its own: a thread that uses the same connection meanwhile runs inside the transaction.

use std::ops::Deref;
use std::sync::Arc;

use super::execute::Discard;
use super::prelock::Word;
use super::{Connection, Inner};
use crate::Error;
use crate::params::Binding;

/// When a transaction takes the writer slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransactionMode {
    /// At its first write. If others committed since its first read, that write answers SQLITE_BUSY_SNAPSHOT (517).
    #[default]
    Deferred,
    /// At its start, queueing if need be.
    Immediate,
    /// As immediate: readers are never locked out.
    Exclusive,
}

impl TransactionMode {
    const fn sql(self) -> &'static str {
        match self {
            Self::Deferred => "BEGIN DEFERRED",
            Self::Immediate => "BEGIN IMMEDIATE",
            Self::Exclusive => "BEGIN EXCLUSIVE",
        }
    }
}

/// An open transaction. Everything run on the connection runs inside it.
#[derive(Debug)]
pub struct Transaction<'c> {
    connection: &'c Connection,
    is_finished: bool,
}

impl<'c> Transaction<'c> {
    pub(super) fn begin(connection: &'c Connection, mode: TransactionMode) -> Result<Self, Error> {
        connection.execute(mode.sql(), ())?;
        Ok(Self { connection, is_finished: false })
    }

    /// Commits. Success means durable.
    ///
    /// # Errors
    /// The commit's; the transaction is then rolled back.
    pub fn commit(mut self) -> Result<(), Error> {
        self.connection.execute("COMMIT", ())?;
        self.is_finished = true;
        Ok(())
    }

    /// Rolls back.
    ///
    /// # Errors
    /// The rollback's.
    pub fn rollback(mut self) -> Result<(), Error> {
        self.is_finished = true;
        self.connection.inner.roll_back()
    }

    /// Begins a savepoint inside.
    ///
    /// # Errors
    /// SAVEPOINT's.
    pub fn savepoint(&self) -> Result<Savepoint<'_>, Error> {
        Savepoint::begin(self.connection, 1)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.is_finished
            && let Err(error) = self.connection.inner.roll_back()
        {
            tracing::warn!(%error, "a dropped transaction could not be rolled back");
        }
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

/// A savepoint, possibly inside another.
#[derive(Debug)]
pub struct Savepoint<'t> {
    connection: &'t Connection,
    depth: u32,
    is_finished: bool,
}

impl<'t> Savepoint<'t> {
    fn begin(connection: &'t Connection, depth: u32) -> Result<Self, Error> {
        connection.execute(&format!("SAVEPOINT twill_{depth}"), ())?;
        Ok(Self { connection, depth, is_finished: false })
    }

    /// Keeps what was done since its start, as part of the transaction around it.
    ///
    /// # Errors
    /// RELEASE's; what was done is then rolled back.
    pub fn release(mut self) -> Result<(), Error> {
        self.connection.execute(&format!("RELEASE twill_{}", self.depth), ())?;
        self.is_finished = true;
        Ok(())
    }

    /// Undoes what was done since its start.
    ///
    /// # Errors
    /// The rollback's.
    pub fn rollback(mut self) -> Result<(), Error> {
        self.is_finished = true;
        self.undo()
    }

    /// Begins a savepoint inside this one.
    ///
    /// # Errors
    /// SAVEPOINT's.
    pub fn savepoint(&self) -> Result<Savepoint<'_>, Error> {
        Savepoint::begin(self.connection, self.depth + 1)
    }

    fn undo(&self) -> Result<(), Error> {
        // A transaction that libSQL rolled back as a whole took the savepoint with it.
        if self.connection.is_autocommit() {
            return Ok(());
        }
        let depth = self.depth;
        self.connection.execute_batch(&format!("ROLLBACK TO twill_{depth}; RELEASE twill_{depth}"))
    }
}

impl Drop for Savepoint<'_> {
    fn drop(&mut self) {
        if !self.is_finished
            && let Err(error) = self.undo()
        {
            tracing::warn!(%error, "a dropped savepoint could not be rolled back");
        }
    }
}

impl Deref for Savepoint<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Inner {
    /// Rolls an open transaction back; without one, nothing happens.
    pub(super) fn roll_back(self: &Arc<Self>) -> Result<(), Error> {
        let mut state = self.enter()?;
        if state.idle.take_expired().is_some() || state.sqlite.is_autocommit() {
            return Ok(());
        }
        self.run(&mut state, "ROLLBACK", Word::Reshape, Binding::NONE, &mut Discard).map(drop)
    }
}
