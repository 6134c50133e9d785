//! What the engine counts.
//!
//! Counters live in the connection that moves them, so that threads reading points do not share a cache line; a
//! database sums its connections when asked.
//!
//! Invariants:
//! 1. A counter never goes back: a closed connection's counts move into the database's retired sum.
//!
//! It refuses to read a clock on the path of a read-only statement.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// A database's counts since this process opened it. Sums over all its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Connections now open.
    pub connections: u64,
    /// Statements run to their end or failure.
    pub statements: u64,
    /// Statements that failed.
    pub errors: u64,
    /// Statements that could write.
    pub writes: u64,
    /// Statements that ran on the database's writer thread, because many connections wrote at once.
    pub delegated: u64,
    /// Commits that changed the database and were acknowledged.
    pub commits: u64,
    /// Failures with SQLITE_BUSY, SQLITE_BUSY_SNAPSHOT included.
    pub busy: u64,
    /// Time spent queueing for the writer slot.
    pub writer_wait: Duration,
    /// Write transactions rolled back because they idled.
    pub idle_rollbacks: u64,
    /// What the storage itself counts, where it counts.
    pub storage: Option<StorageMetrics>,
}

/// A storage's own counts, whatever the backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorageMetrics {
    /// Name and value of each count, in the backend's order.
    pub counts: Vec<(&'static str, u64)>,
}

/// One connection's counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    statements: AtomicU64,
    errors: AtomicU64,
    writes: AtomicU64,
    commits: AtomicU64,
    busy: AtomicU64,
    writer_wait_ns: AtomicU64,
    idle_rollbacks: AtomicU64,
}

impl Counters {
    pub(crate) fn statement(&self) {
        add(&self.statements, 1);
    }

    pub(crate) fn error(&self, is_busy: bool) {
        add(&self.errors, 1);
        if is_busy {
            add(&self.busy, 1);
        }
    }

    pub(crate) fn write(&self, waited: Duration) {
        add(&self.writes, 1);
        add(&self.writer_wait_ns, u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn commit(&self) {
        add(&self.commits, 1);
    }

    pub(crate) fn idle_rollback(&self) {
        add(&self.idle_rollbacks, 1);
    }

    fn add_to(&self, metrics: &mut Metrics) {
        metrics.statements += self.statements.load(Ordering::Relaxed);
        metrics.errors += self.errors.load(Ordering::Relaxed);
        metrics.writes += self.writes.load(Ordering::Relaxed);
        metrics.commits += self.commits.load(Ordering::Relaxed);
        metrics.busy += self.busy.load(Ordering::Relaxed);
        metrics.writer_wait += Duration::from_nanos(self.writer_wait_ns.load(Ordering::Relaxed));
        metrics.idle_rollbacks += self.idle_rollbacks.load(Ordering::Relaxed);
    }
}

/// Only the thread inside the connection's call writes, so a load and a store are enough and cheaper than a locked add.
/// (The watchdog writes inside such a call too.)
fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}

/// The counters of all connections of one database.
#[derive(Debug, Default)]
pub(crate) struct Census {
    rolls: Mutex<Rolls>,
}

#[derive(Debug, Default)]
struct Rolls {
    live: Vec<Weak<Counters>>,
    retired: Metrics,
}

impl Census {
    /// Counters for a new connection.
    pub(crate) fn enrol(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        self.rolls().live.push(Arc::downgrade(&counters));
        counters
    }

    /// Keeps the sum of a connection that closes.
    pub(crate) fn retire(&self, counters: &Arc<Counters>) {
        let mut rolls = self.rolls();
        let before = rolls.live.len();
        rolls.live.retain(|live| !std::ptr::eq(live.as_ptr(), Arc::as_ptr(counters)));
        if rolls.live.len() < before {
            counters.add_to(&mut rolls.retired);
        }
    }

    pub(crate) fn sum(&self) -> Metrics {
        let rolls = self.rolls();
        let mut metrics = rolls.retired.clone();
        for counters in rolls.live.iter().filter_map(Weak::upgrade) {
            metrics.connections += 1;
            counters.add_to(&mut metrics);
        }
        metrics
    }

    fn rolls(&self) -> MutexGuard<'_, Rolls> {
        self.rolls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
