//! The end of transactions that hold the writer slot and idle.
//!
//! Invariants:
//! 1. Only a transaction that writes is ended, and only when no call came for the whole timeout: every call has a number,
//!    and the watchdog acts only if the number is still the one it was told.
//! 2. The watchdog never waits for a call: it looks, and leaves a busy connection alone. The end of that call tells it
//!    again.
//! 3. The thread exists only while some transaction is watched.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rusqlite::ffi;
use twill_types::Door;

use super::{Inner, State};
use crate::{Error, ffi as libsql, script};
use std::sync::atomic::Ordering;

/// A connection's side: which call was the last, and whether its transaction was ended.
#[derive(Default)]
pub(super) struct Idle {
    call: u64,
    expired: Option<Expired>,
}

/// A transaction was rolled back behind its user's back.
#[derive(Clone, Copy)]
pub(super) struct Expired {
    after: Duration,
}

impl Idle {
    pub(super) fn call_begins(&mut self) {
        self.call += 1;
    }

    pub(super) fn take_expired(&mut self) -> Option<Expired> {
        self.expired.take()
    }
}

impl Expired {
    /// What the next statement is told. A ROLLBACK gets what it wants.
    pub(super) fn answer(self, sql: &str) -> Result<(), Error> {
        if script::first_word(sql).eq_ignore_ascii_case("rollback") && !script::mentions(sql, " to ") {
            return Ok(());
        }
        Err(Error::new(
            ffi::SQLITE_ABORT_ROLLBACK,
            format!(
                "the transaction was rolled back because it held the writer slot and no statement came for {:?}; begin \
                 it again",
                self.after
            ),
        ))
    }
}

impl Inner {
    /// At the end of a call: watches a transaction that now idles.
    pub(super) fn idle_begins(self: &Arc<Self>, state: &State) {
        let milliseconds = self.idle_timeout_ms.load(Ordering::Relaxed);
        if milliseconds > 0 && !state.sqlite.is_autocommit() && libsql::writes_any(&state.sqlite) {
            let after = Duration::from_millis(milliseconds);
            self.shared.watchdog.watch(Watched {
                connection: Arc::downgrade(self),
                call: state.idle.call,
                after,
            });
        }
    }

    /// Ends the transaction if no call came since `call`.
    fn expire(&self, call: u64, after: Duration) {
        let Some(mut state) = self.state.try_enter() else { return };
        if state.idle.call != call || state.sqlite.is_autocommit() {
            return;
        }
        tracing::warn!(?after, url = %self.shared.url, "rolling back a transaction that held the writer slot and idled");
        match state.sqlite.execute_batch("ROLLBACK") {
            Ok(()) => {
                self.counters.idle_rollback();
                state.idle.expired = Some(Expired { after });
            }
            Err(error) => tracing::warn!(%error, "the idle transaction could not be rolled back"),
        }
        if let Err(error) = self.session.settle() {
            tracing::warn!(%error, "the idle transaction's base did not become durable");
        }
    }
}

/// One idle transaction.
struct Watched {
    connection: Weak<Inner>,
    call: u64,
    after: Duration,
}

/// A database's watch over idle transactions.
pub(crate) struct Watchdog {
    door: Arc<dyn Door>,
    watch: Mutex<Watch>,
    changed: Condvar,
}

#[derive(Default)]
struct Watch {
    /// With the time each is due.
    watched: Vec<(Duration, Watched)>,
    is_running: bool,
}

impl Watchdog {
    pub(crate) fn new(door: Arc<dyn Door>) -> Arc<Self> {
        Arc::new(Self { door, watch: Mutex::default(), changed: Condvar::new() })
    }

    /// Watches a transaction in place of what it knew of that connection.
    fn watch(self: &Arc<Self>, watched: Watched) {
        let due = self.door.now() + watched.after;
        let mut watch = self.lock();
        watch.watched.retain(|(_, other)| !other.connection.ptr_eq(&watched.connection));
        watch.watched.push((due, watched));
        if !watch.is_running {
            let this = Arc::clone(self);
            match self.door.spawn("twill-idle", Box::new(move || this.run())) {
                Ok(_detached) => watch.is_running = true,
                Err(error) => tracing::warn!(%error, "no thread to watch an idle transaction"),
            }
        }
        drop(watch);
        self.changed.notify_one();
    }

    fn run(&self) {
        while let Some(Watched { connection, call, after }) = self.next_due() {
            if let Some(connection) = connection.upgrade() {
                connection.expire(call, after);
            }
        }
    }

    /// Waits for the next transaction that is due; `None` when none is left, and then the thread ends.
    fn next_due(&self) -> Option<Watched> {
        let mut watch = self.lock();
        loop {
            watch.watched.retain(|(_, watched)| watched.connection.strong_count() > 0);
            let next = watch.watched.iter().enumerate().min_by_key(|(_, (due, _))| *due);
            let Some((index, due)) = next.map(|(index, (due, _))| (index, *due)) else {
                watch.is_running = false;
                return None;
            };
            let now = self.door.now();
            if due <= now {
                return Some(watch.watched.swap_remove(index).1);
            }
            watch = self
                .changed
                .wait_timeout(watch, due - now)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(watch, _)| watch);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
