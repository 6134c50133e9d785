//! Writers in a crowd: their statements run on one thread, and their commits are awaited by another.
//!
//! When many connections write at once, waking each for its turn at the writer slot costs more than its statement does.
//! So a statement that finds a crowd is *delegated*: its connection's thread sleeps once, until the commit is durable.
//!
//! ```text
//! owner: queue ── sleep ──────────────────────────────────────────────► wake, settle, result
//!           │                                                             ▲
//! runner:   └─► slot, statement, append ─► slot, statement, append ─► …   │
//!                          │                                              │
//! settler:                 └─► wait until the newest one is durable ──────┘   (one sync for all that ran meanwhile)
//! ```
//!
//! Invariants:
//! 1. Delegated statements run in the order in which they queued.
//! 2. An owner is woken only when its statement's state is durable or known not to be, and asks itself which: nobody is
//!    told an outcome that is not its own.
//! 3. A statement that nobody took yet leaves the queue at its deadline or on an interrupt; one that was taken is awaited.
//! 4. While a writer that cannot be delegated (a transaction, a connection with callbacks) waits for the slot, nobody
//!    delegates, and those who queue here are sent to queue there: neither kind overtakes the other for long.
//! 5. Neither thread outlives its work by more than [`IDLE`], and neither keeps a storage open.
//!
//! A crash ends all of this; what was not durable was not told.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Duration;

use twill_types::{Cancel, Door};
use twill_vfs_shim::Opened;
use twill_vfs_trait::{Snapshot, StorageError};

use crate::ffi::Errand;

/// How many writers must wait before the next one delegates.
const CROWD: usize = 4;
/// How long a thread without work stays.
const IDLE: Duration = Duration::from_secs(1);

/// The state that a statement left, to be durable before its owner is told.
pub(crate) type Left = Option<(Opened, Snapshot)>;

/// The delegation of one storage's writers.
pub(crate) struct Delegation {
    door: Arc<dyn Door>,
    /// Writers that wait for the slot themselves and could have delegated.
    here: AtomicUsize,
    /// Writers that wait for the slot and cannot delegate.
    strangers: AtomicUsize,
    /// Length of `queue`, to be read without the lock.
    queued: AtomicUsize,
    /// Statements that the runner took.
    delegated: AtomicU64,
    state: Mutex<State>,
    to_run: Condvar,
    to_settle: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<Job>>,
    unsettled: Vec<Ran>,
    runner: Thread,
    settler: Thread,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Thread {
    #[default]
    Absent,
    Works,
    Waits,
}

struct Ran {
    job: Arc<Job>,
    left: Left,
}

/// One delegated statement.
struct Job {
    errand: Mutex<Option<Errand<Left>>>,
    phase: Mutex<Phase>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Queued,
    Ended(Ended),
}

/// How a delegated statement ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It ran.
    Ran,
    /// It did not; its owner is to run it itself.
    Refused,
}

impl Wake for Job {
    fn wake(self: Arc<Self>) {
        drop(locked(&self.phase));
        self.changed.notify_one();
    }
}

impl Job {
    fn end(&self, ended: Ended) {
        *locked(&self.phase) = Phase::Ended(ended);
        self.changed.notify_one();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a writer that waits for the slot itself.
pub(crate) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(counter: &'a AtomicUsize) -> Self {
        counter.fetch_add(1, Ordering::SeqCst);
        Self(counter)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Delegation {
    pub(crate) fn new(door: Arc<dyn Door>) -> Arc<Self> {
        Arc::new(Self {
            door,
            here: AtomicUsize::new(0),
            strangers: AtomicUsize::new(0),
            queued: AtomicUsize::new(0),
            delegated: AtomicU64::new(0),
            state: Mutex::default(),
            to_run: Condvar::new(),
            to_settle: Condvar::new(),
        })
    }

    /// For a writer that could delegate: `None` says it should, otherwise it waits for the slot itself while it keeps
    /// what is answered.
    pub(crate) fn wait_here(&self) -> Option<Waiting<'_>> {
        let waiting = self.here.load(Ordering::SeqCst) + self.queued.load(Ordering::SeqCst);
        let crowded = waiting >= CROWD && self.strangers.load(Ordering::SeqCst) == 0;
        (!crowded).then(|| Waiting::begin(&self.here))
    }

    /// For a writer that cannot delegate, while it waits for the slot.
    pub(crate) fn wait_as_stranger(&self) -> Waiting<'_> {
        Waiting::begin(&self.strangers)
    }

    /// Statements that ran on the writer thread.
    pub(crate) fn delegated(&self) -> u64 {
        self.delegated.load(Ordering::Relaxed)
    }

    /// Queues an errand and sleeps until it ended.
    ///
    /// # Errors
    /// [`StorageError::Busy`] at the deadline and [`StorageError::Interrupted`], both only while it was not taken.
    pub(crate) fn run(
        self: &Arc<Self>,
        errand: Errand<Left>,
        timeout: Duration,
        cancel: &Cancel,
    ) -> Result<Ended, StorageError> {
        let job = Arc::new(Job {
            errand: Mutex::new(Some(errand)),
            phase: Mutex::new(Phase::Queued),
            changed: Condvar::new(),
        });
        let began = self.door.now();
        // Registered before the flag is looked at, so no cancellation is missed.
        let _registration = cancel.register(Waker::from(Arc::clone(&job)));
        self.enqueue(&job);
        let mut leaves = true;
        let mut phase = locked(&job.phase);
        loop {
            if let Phase::Ended(ended) = *phase {
                return Ok(ended);
            }
            let waited = self.door.now().saturating_sub(began);
            let reason = if !leaves {
                None
            } else if cancel.is_cancelled() {
                Some(StorageError::Interrupted)
            } else {
                (waited >= timeout).then_some(StorageError::Busy { waited })
            };
            if let Some(reason) = reason {
                drop(phase);
                if self.withdraw(&job) {
                    return Err(reason);
                }
                leaves = false;
                phase = locked(&job.phase);
            } else if leaves {
                let left = timeout.saturating_sub(waited);
                phase = job.changed.wait_timeout(phase, left).unwrap_or_else(PoisonError::into_inner).0;
            } else {
                phase = job.changed.wait(phase).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Puts the job into the queue, and sees to a runner.
    fn enqueue(self: &Arc<Self>, job: &Arc<Job>) {
        let mut state = locked(&self.state);
        state.queue.push_back(Arc::clone(job));
        self.queued.store(state.queue.len(), Ordering::SeqCst);
        match state.runner {
            Thread::Works => {}
            Thread::Waits => self.to_run.notify_one(),
            Thread::Absent => {
                state.runner = Thread::Works;
                drop(state);
                if !self.start("twill-writer", Self::run_all) {
                    locked(&self.state).runner = Thread::Absent;
                    self.refuse_all();
                }
            }
        }
    }

    /// Takes the job out of the queue; `false` if it is there no more.
    fn withdraw(&self, job: &Arc<Job>) -> bool {
        let mut state = locked(&self.state);
        let Some(at) = state.queue.iter().position(|other| Arc::ptr_eq(other, job)) else { return false };
        state.queue.remove(at);
        self.queued.store(state.queue.len(), Ordering::SeqCst);
        drop(state);
        drop(locked(&job.errand).take());
        true
    }

    /// Sends everyone in the queue to wait for the slot themselves.
    fn refuse_all(&self) {
        let mut state = locked(&self.state);
        let queue = std::mem::take(&mut state.queue);
        self.queued.store(0, Ordering::SeqCst);
        drop(state);
        for job in queue {
            drop(locked(&job.errand).take());
            job.end(Ended::Refused);
        }
    }

    fn start(self: &Arc<Self>, name: &str, body: impl FnOnce(&Arc<Self>) + Send + 'static) -> bool {
        let this = Arc::clone(self);
        match self.door.spawn(name, Box::new(move || body(&this))) {
            Ok(_detached) => true,
            Err(error) => {
                tracing::warn!(%error, name, "no thread for a crowd of writers; each waits by itself");
                false
            }
        }
    }

    fn run_all(self: &Arc<Self>) {
        while let Some(job) = self.next_job() {
            self.delegated.fetch_add(1, Ordering::Relaxed);
            let errand = locked(&job.errand).take();
            // A panic ends one statement, whose owner finds nothing done, not the thread that all wait for.
            let run = || errand.and_then(Errand::run).flatten();
            let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_default();
            if left.is_none() {
                job.end(Ended::Ran);
            } else {
                self.settle_later(Ran { job, left });
            }
        }
    }

    /// The next job to run; `None` ends the runner.
    fn next_job(&self) -> Option<Arc<Job>> {
        let mut state = locked(&self.state);
        loop {
            if self.strangers.load(Ordering::SeqCst) > 0 {
                drop(state);
                self.refuse_all();
                state = locked(&self.state);
            }
            if let Some(job) = state.queue.pop_front() {
                self.queued.store(state.queue.len(), Ordering::SeqCst);
                return Some(job);
            }
            state.runner = Thread::Waits;
            let (after, timeout) =
                self.to_run.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = after;
            if timeout.timed_out() && state.queue.is_empty() {
                state.runner = Thread::Absent;
                return None;
            }
            state.runner = Thread::Works;
        }
    }

    fn settle_later(self: &Arc<Self>, ran: Ran) {
        let mut state = locked(&self.state);
        state.unsettled.push(ran);
        match state.settler {
            Thread::Works => {}
            Thread::Waits => {
                state.settler = Thread::Works;
                self.to_settle.notify_one();
            }
            Thread::Absent => {
                state.settler = Thread::Works;
                drop(state);
                if !self.start("twill-settler", Self::settle_all) {
                    let mut state = locked(&self.state);
                    state.settler = Thread::Absent;
                    let batch = std::mem::take(&mut state.unsettled);
                    drop(state);
                    settle(batch);
                }
            }
        }
    }

    fn settle_all(self: &Arc<Self>) {
        while let Some(batch) = self.next_batch() {
            settle(batch);
        }
    }

    /// All that ran meanwhile; `None` ends the settler.
    fn next_batch(&self) -> Option<Vec<Ran>> {
        let mut state = locked(&self.state);
        loop {
            if !state.unsettled.is_empty() {
                return Some(std::mem::take(&mut state.unsettled));
            }
            state.settler = Thread::Waits;
            let (after, timeout) =
                self.to_settle.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = after;
            if timeout.timed_out() && state.unsettled.is_empty() {
                state.settler = Thread::Absent;
                return None;
            }
            state.settler = Thread::Works;
        }
    }
}

/// Waits for the newest state, which is durable after all the others, and wakes the owners.
fn settle(mut batch: Vec<Ran>) {
    if let Some((opened, snapshot)) = batch.last_mut().and_then(|ran| ran.left.take()) {
        // Each owner asks for its own state and is told what became of that; it meets a panic, too.
        let wait = || opened.storage.wait_durable(&snapshot);
        let _each_asks_itself = std::panic::catch_unwind(std::panic::AssertUnwindSafe(wait));
    }
    for Ran { job, left } in batch {
        // First: an owner may close the database as soon as it is woken.
        drop(left);
        job.end(Ended::Ran);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::lend;

    const FOREVER: Duration = Duration::from_secs(60);

    fn delegation() -> Arc<Delegation> {
        Delegation::new(<dyn Door>::system())
    }

    fn until(mut condition: impl FnMut() -> bool) {
        while !condition() {
            std::thread::yield_now();
        }
    }

    /// Delegates `body` on a thread of its own, and returns once it is in the queue as number `position`.
    fn queue<'s, 'e>(
        scope: &'s std::thread::Scope<'s, 'e>,
        delegation: &'e Arc<Delegation>,
        (timeout, cancel): (Duration, &'e Cancel),
        position: usize,
        body: impl FnOnce() + Send + 's,
    ) -> std::thread::ScopedJoinHandle<'s, Result<Ended, StorageError>> {
        let handle = scope.spawn(move || {
            let body = || {
                body();
                None
            };
            lend(body, |errand| delegation.run(errand, timeout, cancel))
        });
        until(|| delegation.queued.load(Ordering::SeqCst) == position || handle.is_finished());
        handle
    }

    /// Runs `with` while the runner is busy with a statement.
    fn beside_a_running_one(delegation: &Arc<Delegation>, with: impl FnOnce()) {
        let (started, ends) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
        let cancel = Cancel::new();
        std::thread::scope(|scope| {
            let running = scope.spawn(|| {
                let body = || {
                    started.wait();
                    ends.wait();
                    None
                };
                lend(body, |errand| delegation.run(errand, FOREVER, &cancel))
            });
            started.wait();
            with();
            ends.wait();
            assert_eq!(running.join().unwrap().unwrap(), Ended::Ran);
        });
    }

    #[test]
    fn statements_run_in_the_order_in_which_they_queued_and_on_one_thread() {
        let delegation = delegation();
        let ran = Mutex::new(Vec::new());
        let cancel = Cancel::new();
        std::thread::scope(|scope| {
            let mut owners = Vec::new();
            beside_a_running_one(&delegation, || {
                for index in 0..6 {
                    let ran = &ran;
                    let body = move || locked(ran).push((index, std::thread::current().id()));
                    owners.push(queue(scope, &delegation, (FOREVER, &cancel), index + 1, body));
                }
            });
            for owner in owners {
                assert_eq!(owner.join().unwrap().unwrap(), Ended::Ran);
            }
        });
        let ran = ran.into_inner().unwrap();
        let runner = ran.first().unwrap().1;
        assert_ne!(runner, std::thread::current().id());
        assert_eq!(ran, (0..6).map(|index| (index, runner)).collect::<Vec<_>>());
    }

    #[test]
    fn a_deadline_and_an_interrupt_end_the_wait_of_a_statement_that_nobody_took() {
        let delegation = delegation();
        let (patient, cancelled) = (Cancel::new(), Cancel::new());
        std::thread::scope(|scope| {
            beside_a_running_one(&delegation, || {
                let short = Duration::from_millis(5);
                let timed = queue(scope, &delegation, (short, &patient), 1, || panic!("never taken"));
                let waited = timed.join().unwrap();
                assert!(matches!(waited, Err(StorageError::Busy { waited }) if waited >= short));
                let stopped = queue(scope, &delegation, (FOREVER, &cancelled), 1, || panic!("never taken"));
                cancelled.cancel();
                assert!(matches!(stopped.join().unwrap(), Err(StorageError::Interrupted)));
                assert_eq!(delegation.queued.load(Ordering::SeqCst), 0);
            });
        });
    }

    #[test]
    fn a_statement_that_was_taken_is_awaited_whatever_the_deadline_and_the_interrupt() {
        let delegation = delegation();
        let cancel = Cancel::new();
        let mut ran = false;
        let body = || {
            cancel.cancel();
            delegation.door.sleep(Duration::from_millis(20));
            ran = true;
            None
        };
        let ended = lend(body, |errand| delegation.run(errand, Duration::from_millis(10), &cancel));
        // Either it was taken in time, and then it ran to its end; or it never ran.
        assert_eq!(ended.is_ok(), ran);
    }

    #[test]
    fn while_a_stranger_waits_nobody_delegates_and_the_queue_is_sent_away() {
        let delegation = delegation();
        let cancel = Cancel::new();
        let here: Vec<_> = (0..CROWD).map(|_| delegation.wait_here().unwrap()).collect();
        assert!(delegation.wait_here().is_none(), "a crowd");
        std::thread::scope(|scope| {
            let mut owner = None;
            beside_a_running_one(&delegation, || {
                owner = Some(queue(scope, &delegation, (FOREVER, &cancel), 1, || panic!("sent away")));
                let stranger = delegation.wait_as_stranger();
                assert!(delegation.wait_here().is_some(), "as everybody while a stranger waits");
                std::mem::drop(here);
                // Until the runner has looked.
                let door = Arc::clone(&delegation.door);
                scope.spawn(move || {
                    door.sleep(Duration::from_millis(50));
                    drop(stranger);
                });
            });
            assert_eq!(owner.unwrap().join().unwrap().unwrap(), Ended::Refused);
        });
    }

    #[test]
    fn a_panic_ends_one_statement_and_not_the_runner() {
        let delegation = delegation();
        let cancel = Cancel::new();
        for body in [|| panic!("of one statement"), || None] {
            let ended = lend(body, |errand| delegation.run(errand, FOREVER, &cancel));
            assert_eq!(ended.unwrap(), Ended::Ran);
        }
    }

    /// A door through which no thread comes.
    struct Threadless(Arc<dyn Door>);

    impl Door for Threadless {
        fn now(&self) -> Duration {
            self.0.now()
        }
        fn wall_now(&self) -> std::time::SystemTime {
            self.0.wall_now()
        }
        fn fill_random(&self, bytes: &mut [u8]) {
            self.0.fill_random(bytes);
        }
        fn sleep(&self, duration: Duration) {
            self.0.sleep(duration);
        }
        fn spawn(
            &self,
            _: &str,
            _: Box<dyn FnOnce() + Send>,
        ) -> std::io::Result<std::thread::JoinHandle<()>> {
            Err(std::io::ErrorKind::WouldBlock.into())
        }
    }

    #[test]
    fn without_a_thread_each_is_sent_away_to_run_its_statement_itself() {
        let delegation = Delegation::new(Arc::new(Threadless(<dyn Door>::system())));
        let cancel = Cancel::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let ended = lend(|| None, |errand| delegation.run(errand, FOREVER, &cancel));
                        assert_eq!(ended.unwrap(), Ended::Refused);
                    }
                });
            }
        });
        assert_eq!(delegation.queued.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn an_idle_runner_goes_and_comes_back() {
        let delegation = delegation();
        let cancel = Cancel::new();
        for _ in 0..2 {
            let ended = lend(|| None, |errand| delegation.run(errand, FOREVER, &cancel));
            assert_eq!(ended.unwrap(), Ended::Ran);
            until(|| locked(&delegation.state).runner == Thread::Absent);
        }
    }
}
