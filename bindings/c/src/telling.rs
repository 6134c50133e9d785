//! What is told of a connection by its number: failures, counts, metrics.
//!
//! Invariants:
//! 1. What can be told while a call runs does not wait for it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, TryLockError};

use crate::abi::engine_status;
use crate::connections::{Fault, Held, TABLE, broken, find, not_open, refused, running, wrong_kind};
use crate::texts::{self, Failure};

/// A connection's counts.
pub(crate) fn status(number: usize) -> Result<engine_status, Fault> {
    let held = find(number)?;
    let mut guard = held.enter().map_err(refused(number))?;
    let outcome = match &guard.state {
        Some(state) => match &state.connection {
            Some(connection) => {
                let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
                let in_transaction = !connection.is_autocommit();
                held.note_transaction(in_transaction, false);
                Ok(engine_status {
                    changes: count(connection.changes()),
                    total_changes: count(connection.total_changes()),
                    last_insert_rowid: connection.last_insert_rowid(),
                    in_transaction: in_transaction.into(),
                    in_flight: held.pending.load(Ordering::Acquire),
                    busy_timeout_ms: u32::try_from(connection.busy_timeout().as_millis()).unwrap_or(u32::MAX),
                    statements: u32::try_from(state.statements.len()).unwrap_or(u32::MAX),
                })
            }
            None => Err(not_open()),
        },
        None => Err(not_open()),
    };
    guard.settle(outcome)
}

/// Whether a transaction is open.
pub(crate) fn in_transaction(number: usize) -> Result<bool, Fault> {
    Ok(find(number)?.in_transaction.load(Ordering::Acquire))
}

/// Ends the running call.
pub(crate) fn interrupt(number: usize) -> Result<(), Fault> {
    if let Some(interrupt) = find(number)?.interrupt.get() {
        interrupt.interrupt();
    }
    Ok(())
}

/// The database's metrics as JSON.
pub(crate) fn metrics(number: usize) -> Result<String, Fault> {
    let connection = find(number)?;
    let database = connection.database.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let database = database.ok_or_else(not_open)?;
    Ok(crate::controls::metrics_json(&database.metrics()))
}

/// The database's canonical URL.
pub(crate) fn url(number: usize) -> Result<String, Fault> {
    Ok(find(number)?.url.get().cloned().unwrap_or_default())
}

/// The failure of the last call on a connection or a statement's connection; 0: this thread's own.
pub(crate) fn failure(number: usize) -> Option<Arc<Failure>> {
    if number == 0 {
        return texts::own_error();
    }
    if let Some(failure) = texts::refused(number) {
        return Some(failure);
    }
    let connection = match TABLE.get(number) {
        Some(Held::Connection(connection)) => connection,
        Some(Held::Statement(statement)) => Arc::clone(&statement.connection),
        Some(Held::Token(_)) => return Some(Arc::new(wrong_kind("a token").into())),
        None => return Some(Arc::new(not_open().into())),
    };
    if let Err(refusal) = connection.check_process() {
        return Some(Arc::new(refusal.into()));
    }
    let refusal = match connection.state.try_lock() {
        Ok(state) => return state.failure.clone(),
        Err(TryLockError::WouldBlock) => running(),
        Err(TryLockError::Poisoned(_)) => broken(),
    };
    Some(Arc::new(refusal.into()))
}
