//! Which connections may hold a writer slot that only their thread's own next request gives back.
//!
//! A thread that calls synchronously cannot make the request that ends its asynchronous transaction. So a call of the same
//! thread, on another connection of the same database, must not wait for the slot which that transaction holds.
//!
//! Invariants:
//! 1. From the moment a request that may begin or go on with a transaction is accepted, until the transaction is known not
//!    to write and no such request is queued, its connection has a claim.
//! 2. Without claims a call pays one relaxed load.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

static COUNT: AtomicUsize = AtomicUsize::new(0);
static CLAIMS: Mutex<Vec<Claim>> = Mutex::new(Vec::new());

struct Claim {
    connection: usize,
    thread: usize,
    url: String,
}

fn claims() -> MutexGuard<'static, Vec<Claim>> {
    CLAIMS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether there are any.
#[inline]
pub(crate) fn any() -> bool {
    COUNT.load(Ordering::Relaxed) > 0
}

/// Adds or renews a connection's claim for a thread that requests.
pub(crate) fn stake(connection: usize, thread: usize, url: &str) {
    let mut claims = claims();
    match claims.iter_mut().find(|claim| claim.connection == connection) {
        Some(claim) => claim.thread = thread,
        None => {
            claims.push(Claim { connection, thread, url: url.to_owned() });
            COUNT.store(claims.len(), Ordering::Release);
        }
    }
}

/// Takes a connection's claim back.
pub(crate) fn withdraw(connection: usize) {
    if any() {
        let mut claims = claims();
        claims.retain(|claim| claim.connection != connection);
        COUNT.store(claims.len(), Ordering::Release);
    }
}

/// Whether another connection of this database has a claim that belongs to this thread.
pub(crate) fn is_claimed(url: &str, connection: usize, thread: usize) -> bool {
    claims().iter().any(|claim| claim.connection != connection && claim.thread == thread && claim.url == url)
}
