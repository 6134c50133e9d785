//! Requests of a connection by its number: made, cancelled, awaited, taken.
//!
//! Invariants:
//! 1. Nothing here enters the connection: only its worker does.

use std::sync::Arc;
use std::time::Duration;

use crate::Refusal;
use crate::connections::{Connection, Fault, Statement, find, find_statement, refused};
use crate::texts;
use crate::tokens::Token;
use crate::worker::{Task, Worker};

fn worker_of(connection: &Connection) -> Result<Arc<Worker>, Refusal> {
    connection
        .worker()
        .ok_or_else(|| Refusal::misuse("the connection takes no requests: call engine_async_start first"))
}

/// Makes a request.
pub(crate) fn request(number: usize, token: Option<Arc<Token>>, task: Task) -> Result<usize, Fault> {
    let connection = find(number)?;
    worker_of(&connection)
        .and_then(|worker| worker.submit(&connection, token, task))
        .inspect(|_| texts::let_in())
        .map_err(refused(number))
}

/// Makes a request on a statement.
pub(crate) fn request_on(
    number: usize,
    token: Option<Arc<Token>>,
    task: impl FnOnce(Arc<Statement>) -> Task,
) -> Result<usize, Fault> {
    let statement = find_statement(number)?;
    let connection = Arc::clone(&statement.connection);
    worker_of(&connection)
        .and_then(|worker| worker.submit(&connection, token, task(statement)))
        .inspect(|_| texts::let_in())
        .map_err(refused(number))
}

/// Cancels a request.
pub(crate) fn cancel(number: usize, request: usize) -> Result<(), Fault> {
    let connection = find(number)?;
    worker_of(&connection).and_then(|worker| worker.cancel(&connection, request)).map_err(refused(number))
}

/// Waits for a request.
pub(crate) fn wait(number: usize, request: usize, timeout_ms: i64) -> Result<i32, Fault> {
    let connection = find(number)?;
    let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
    worker_of(&connection).and_then(|worker| worker.wait(request, timeout)).map_err(refused(number))
}

/// The complete request that was complete first.
pub(crate) fn poll(number: usize) -> Result<usize, Fault> {
    let connection = find(number)?;
    Ok(worker_of(&connection).map_err(refused(number))?.poll())
}

/// Takes a request's result.
pub(crate) fn take(number: usize, request: usize, out: &mut [u8]) -> Result<i32, Fault> {
    let connection = find(number)?;
    worker_of(&connection).and_then(|worker| worker.take(request, out)).map_err(refused(number))
}
