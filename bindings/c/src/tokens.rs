//! Cancellation tokens.
//!
//! Invariants:
//! 1. A token that was cancelled stays so; a request made with it afterwards ends without running.
//! 2. A token does not keep a connection open, nor a connection a token.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::Refusal;
use crate::connections::{Connection, Fault, Held, TABLE};

/// A token.
#[derive(Default)]
pub(crate) struct Token {
    is_cancelled: AtomicBool,
    /// Connections with requests made with it.
    connections: Mutex<Vec<Weak<Connection>>>,
}

impl Token {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Acquire)
    }

    /// Remembers where its requests are.
    pub(crate) fn enrol(&self, connection: &Arc<Connection>) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|known| known.strong_count() > 0);
        if !connections.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(connection))) {
            connections.push(Arc::downgrade(connection));
        }
    }
}

pub(crate) fn create() -> Result<usize, Fault> {
    let number = TABLE.insert(|_| Held::Token(Arc::default()));
    Ok(number.ok_or_else(Refusal::too_many_handles)?)
}

/// The token of a number; 0 is none.
pub(crate) fn find(number: usize) -> Result<Option<Arc<Token>>, Fault> {
    match (number, TABLE.get(number)) {
        (0, _) => Ok(None),
        (_, Some(Held::Token(token))) => Ok(Some(token)),
        _ => Err(not_a_token().into()),
    }
}

pub(crate) fn cancel(number: usize) -> Result<(), Fault> {
    let token = find(number)?.ok_or_else(not_a_token)?;
    token.is_cancelled.store(true, Ordering::Release);
    let connections = std::mem::take(&mut *token.connections.lock().unwrap_or_else(PoisonError::into_inner));
    for connection in connections.iter().filter_map(Weak::upgrade) {
        if let Some(worker) = connection.worker() {
            worker.cancel_token(&connection, &token);
        }
    }
    Ok(())
}

pub(crate) fn free(number: usize) -> Result<(), Fault> {
    match TABLE.remove(number, |held| matches!(held, Held::Token(_))) {
        Some(_) => Ok(()),
        None => Err(not_a_token().into()),
    }
}

fn not_a_token() -> Refusal {
    Refusal::misuse("not a token: it was freed, or never was one")
}
