//! Hooks: what a program wants to hear of its own connection.
//!
//! Invariants:
//! 1. A panic in a hook does not reach libSQL: it is logged, and a commit hook that panics refuses the commit.
//! 2. A hook that calls its own connection gets SQLITE_MISUSE there.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Connection;
use crate::Error;

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was inserted.
    Insert,
    /// It was updated.
    Update,
    /// It was deleted.
    Delete,
}

/// One changed row of a rowid table. The transaction it is part of may still roll back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// What happened.
    pub action: Action,
    /// The schema: `main`, `temp`, or what ATTACH called it.
    pub schema: &'a str,
    /// The table.
    pub table: &'a str,
    /// The row, after an update of the rowid its new one.
    pub rowid: i64,
}

/// Hears of every changed row. Not of rows of WITHOUT ROWID tables, nor of a DELETE without WHERE, as in SQLite.
pub type UpdateHook = Box<dyn FnMut(Change<'_>) + Send>;
/// Asked before each commit of a write; `false` turns it into a rollback, and the statement fails.
pub type CommitHook = Box<dyn FnMut() -> bool + Send>;
/// Hears of every rollback.
pub type RollbackHook = Box<dyn FnMut() + Send>;

impl Connection {
    /// Sets, replaces or (with `None`) removes the update hook.
    ///
    /// # Errors
    /// SQLITE_MISUSE inside a callback of this connection.
    pub fn set_update_hook(&self, hook: Option<UpdateHook>) -> Result<(), Error> {
        let state = self.inner.enter()?;
        self.inner.will_call_out();
        state.sqlite.update_hook(hook.map(|mut hook| {
            move |action: rusqlite::hooks::Action, schema: &str, table: &str, rowid: i64| {
                use rusqlite::hooks::Action as Sql;
                let action = match action {
                    Sql::SQLITE_INSERT => Action::Insert,
                    Sql::SQLITE_DELETE => Action::Delete,
                    Sql::SQLITE_UPDATE | Sql::UNKNOWN | _ => Action::Update,
                };
                guarded("update", (), || hook(Change { action, schema, table, rowid }));
            }
        }));
        Ok(())
    }

    /// Sets, replaces or (with `None`) removes the commit hook.
    ///
    /// # Errors
    /// SQLITE_MISUSE inside a callback of this connection.
    pub fn set_commit_hook(&self, hook: Option<CommitHook>) -> Result<(), Error> {
        let state = self.inner.enter()?;
        self.inner.will_call_out();
        // libSQL's answer is the other way round: true refuses.
        state.sqlite.commit_hook(hook.map(|mut hook| move || !guarded("commit", false, &mut hook)));
        Ok(())
    }

    /// Sets, replaces or (with `None`) removes the rollback hook.
    ///
    /// # Errors
    /// SQLITE_MISUSE inside a callback of this connection.
    pub fn set_rollback_hook(&self, hook: Option<RollbackHook>) -> Result<(), Error> {
        let state = self.inner.enter()?;
        self.inner.will_call_out();
        state.sqlite.rollback_hook(hook.map(|mut hook| move || guarded("rollback", (), &mut hook)));
        Ok(())
    }
}

fn guarded<T>(kind: &str, otherwise: T, hook: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(hook)).unwrap_or_else(|_| {
        tracing::error!(kind, "a hook panicked");
        otherwise
    })
}
