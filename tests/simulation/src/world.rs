//! The simulated world: virtual time, and tasks of processes that one seed schedules on one thread.
//!
//! A *process* is a group of tasks that live and die together. It can be crashed (its tasks are dropped at once), stopped
//! (as by SIGSTOP: nothing of it runs, and what it has already sent goes on its way), resumed much later, and booted
//! again. Things that belong to nobody, such as a request on its way to a store, are *events*: they happen at their
//! time whatever becomes of the process that caused them.
//!
//! Invariants:
//! 1. Everything that happens follows from the seed. Which ready task is polled next is drawn from it; timers of one
//!    instant fire in the order in which they were set; no real clock, thread or randomness is consulted.
//! 2. Time passes only when no task can run, and then to the next timer or event exactly.
//! 3. After a crash no code of the process runs again: the task that was being polled is dropped when that poll
//!    returns, and a [`Process`] of a past life can neither spawn nor send.
//! 4. A stopped process runs nothing. What would have woken it wakes it when it is resumed, in the same order.
//! 5. Each happening that is noted goes into one running hash, the *trace*: two runs of one seed have equal hashes, or
//!    the world is not deterministic.
//!
//! Crash: the world has no durable state. Refuses: to run for ever; a budget of polls ends a world that spins.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use twill_types::seeded::Chance;

use crate::process::{Boot, Process, ProcessId, Residence, Status};

/// What a task runs.
pub type TaskFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What an event does.
type Effect = Box<dyn FnOnce() + Send>;

/// Locks without a thought for poisoning: a panic ends the whole run anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A handle to the simulated world; clones are the same world.
#[derive(Clone)]
pub struct World(Arc<Shared>);

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("now", &self.now()).finish_non_exhaustive()
    }
}

struct Shared {
    state: Mutex<State>,
    /// Tasks that were woken since the scheduler last looked. Apart from `state`, because wakers are called anywhere.
    woken: Arc<Mutex<Vec<u64>>>,
}

pub(crate) struct State {
    now: Duration,
    chance: Chance,
    first_in_first_out: bool,
    next_number: u64,
    polls: u64,
    tasks: BTreeMap<u64, Task>,
    ready: Vec<u64>,
    /// Futures of crashed tasks, to be dropped when nothing is locked and nothing is being polled.
    dropped: Vec<TaskFuture>,
    agenda: BTreeMap<(Duration, u64), Due>,
    pub(crate) processes: Vec<Residence>,
    trace: Trace,
    pub(crate) points: BTreeMap<&'static str, u64>,
    pub(crate) strikes: u64,
}

struct Task {
    /// The process and its life; `None` is the outside, which neither crashes nor stops.
    owner: Option<(ProcessId, u32)>,
    future: Option<TaskFuture>,
    waker: Waker,
    queued: bool,
}

enum Due {
    Wake(Waker),
    Happen(Effect),
}

struct Trace {
    hash: DefaultHasher,
    happenings: u64,
    /// Whether lines are kept; their texts do not count for the hash, the fields do.
    lines: Option<Vec<String>>,
}

struct TaskWaker {
    number: u64,
    woken: Arc<Mutex<Vec<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        lock(&self.woken).push(self.number);
    }
}

/// How a stretch of the world's life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The awaited task is done.
    Done,
    /// Nothing can happen any more, and the awaited task is not done.
    Stuck,
    /// The time limit was reached.
    OutOfTime,
    /// The budget of polls is spent: something spins.
    OutOfPolls,
}

impl World {
    /// A world without processes at time 0. `keep_lines` keeps the trace's lines for printing.
    #[must_use]
    pub fn new(seed: u64, keep_lines: bool) -> Self {
        let mut chance = Chance::from_seed(seed).fork("world");
        let first_in_first_out = chance.percent(30);
        let trace = Trace { hash: DefaultHasher::new(), happenings: 0, lines: keep_lines.then(Vec::new) };
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                now: Duration::ZERO,
                chance,
                first_in_first_out,
                next_number: 0,
                polls: 0,
                tasks: BTreeMap::new(),
                ready: Vec::new(),
                dropped: Vec::new(),
                agenda: BTreeMap::new(),
                processes: Vec::new(),
                trace,
                points: BTreeMap::new(),
                strikes: 0,
            }),
            woken: Arc::default(),
        }))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// The true time, which no process sees.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.state().now
    }

    /// Adds a process that is not running. `boot` starts each of its lives.
    pub fn add_process(&self, name: &str, seed: u64, boot: Boot) -> ProcessId {
        let mut state = self.state();
        state.processes.push(Residence::new(name, seed, boot));
        ProcessId(state.processes.len() - 1)
    }

    /// Starts a life of a process that is not running; does nothing to one that is.
    pub fn boot(&self, id: ProcessId) {
        let Some((boot, life)) = self.state().residence(id).and_then(Residence::begin_life) else { return };
        self.note("boot", Some(id), "", u64::from(life));
        boot(Process::new(self.clone(), id, life));
    }

    /// Drops all of a process at once. What it has sent is on its way all the same.
    pub fn crash(&self, id: ProcessId) {
        if !self.state().residence(id).is_some_and(Residence::end_life) {
            return;
        }
        self.note("crash", Some(id), "", 0);
        self.state().strikes += 1;
        let mut state = self.state();
        let state = &mut *state;
        let dead: Vec<u64> = state
            .tasks
            .iter()
            .filter(|(_, task)| task.owner.is_some_and(|(owner, _)| owner == id))
            .map(|(number, _)| *number)
            .collect();
        for number in dead {
            if let Some(Task { future: Some(future), .. }) = state.tasks.remove(&number) {
                state.dropped.push(future);
            }
        }
    }

    /// Stops a running process, as SIGSTOP does; its monotonic clock goes on, unless the whole machine is `suspended`.
    pub fn stop(&self, id: ProcessId, suspended: bool) {
        let now = self.now();
        if self.state().residence(id).is_some_and(|process| process.stop(now, suspended)) {
            self.note("stop", Some(id), "", u64::from(suspended));
            self.state().strikes += 1;
        }
    }

    /// Lets a stopped process go on.
    pub fn resume(&self, id: ProcessId) {
        let now = self.now();
        let mut state = self.state();
        let Some(held) = state.residence(id).and_then(|process| process.resume(now)) else { return };
        state.ready.extend(held);
        drop(state);
        self.note("resume", Some(id), "", 0);
    }

    /// Does `effect` after `delay`, whatever becomes of anybody.
    pub fn after(&self, delay: Duration, effect: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        let key = (state.now.saturating_add(delay), state.number());
        state.agenda.insert(key, Due::Happen(Box::new(effect)));
    }

    /// Starts a task of the outside, which neither crashes nor stops.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn_owned(None, Box::pin(future));
    }

    pub(crate) fn spawn_owned(&self, owner: Option<(ProcessId, u32)>, future: TaskFuture) {
        let mut state = self.state();
        let alive = owner.is_none_or(|(id, life)| state.is_alive(id, life));
        if !alive {
            state.dropped.push(future);
            return;
        }
        let number = state.number();
        let waker = Waker::from(Arc::new(TaskWaker { number, woken: self.0.woken.clone() }));
        state.tasks.insert(number, Task { owner, future: Some(future), waker, queued: true });
        state.ready.push(number);
    }

    /// A future that is ready after `delay` of true time, for the outside.
    #[must_use]
    pub fn sleep(&self, delay: Duration) -> Alarm {
        Alarm { world: self.clone(), deadline: self.now().saturating_add(delay), set: None }
    }

    /// Enters one happening into the trace.
    pub fn note(&self, what: &'static str, who: Option<ProcessId>, subject: &str, number: u64) {
        let mut state = self.state();
        let now = state.now;
        let trace = &mut state.trace;
        trace.happenings += 1;
        (now, what, who.map(|id| id.0), subject, number).hash(&mut trace.hash);
        if trace.lines.is_some() {
            let name = who.and_then(|id| state.residence(id).map(|process| process.name.clone()));
            let line = format!(
                "{:>14.6} {:<8} {what:<12} {subject} {number}",
                now.as_secs_f64(),
                name.unwrap_or_default()
            );
            state.trace.lines.get_or_insert_default().push(line);
        }
    }

    /// The hash of all happenings so far, and how many there were.
    #[must_use]
    pub fn trace_hash(&self) -> (u64, u64) {
        let state = self.state();
        (state.trace.hash.finish(), state.trace.happenings)
    }

    /// The trace's lines, if they were kept.
    #[must_use]
    pub fn trace_lines(&self) -> Vec<String> {
        self.state().trace.lines.clone().unwrap_or_default()
    }

    /// How often each named point was reached.
    #[must_use]
    pub fn points(&self) -> BTreeMap<&'static str, u64> {
        self.state().points.clone()
    }

    /// How many crashes, stops and clock jumps there were.
    #[must_use]
    pub fn strikes(&self) -> u64 {
        self.state().strikes
    }

    /// Runs until the outside's `root` is done, at most for `limit` of virtual time and `polls` polls from now on.
    pub fn run(&self, root: impl Future<Output = ()> + Send + 'static, limit: Duration, polls: u64) -> Ended {
        let done = Arc::new(Mutex::new(false));
        let finish = done.clone();
        self.spawn(async move {
            root.await;
            *lock(&finish) = true;
        });
        let (until, budget) = {
            let state = self.state();
            (state.now.saturating_add(limit), state.polls.saturating_add(polls))
        };
        loop {
            if *lock(&done) {
                return Ended::Done;
            }
            self.bury();
            if self.state().polls >= budget {
                return Ended::OutOfPolls;
            }
            if self.poll_one() {
                continue;
            }
            match self.pass_time(until) {
                Some(ended) => return ended,
                None => continue,
            }
        }
    }

    /// Drops everything: processes, events and tasks. Needed because tasks hold the world that holds them.
    pub fn end(&self) {
        let (tasks, agenda) = {
            let mut state = self.state();
            (std::mem::take(&mut state.tasks), std::mem::take(&mut state.agenda))
        };
        drop(tasks);
        drop(agenda);
        self.bury();
        let boots: Vec<_> = std::mem::take(&mut self.state().processes);
        drop(boots);
        // What was dropped may have set timers or spawned in turn.
        let (tasks, agenda) = {
            let mut state = self.state();
            (std::mem::take(&mut state.tasks), std::mem::take(&mut state.agenda))
        };
        drop(tasks);
        drop(agenda);
    }

    fn bury(&self) {
        loop {
            let dropped = std::mem::take(&mut self.state().dropped);
            if dropped.is_empty() {
                return;
            }
        }
    }

    /// Polls one ready task, if there is one.
    fn poll_one(&self) -> bool {
        let woken = std::mem::take(&mut *lock(&self.0.woken));
        let (number, mut future, waker) = {
            let mut state = self.state();
            for number in woken {
                state.enqueue(number);
            }
            let Some((number, future, waker)) = state.next_ready() else { return false };
            state.polls += 1;
            (number, future, waker)
        };
        let outcome = future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut state = self.state();
        match (outcome, state.tasks.get_mut(&number)) {
            (Poll::Pending, Some(task)) => task.future = Some(future),
            (Poll::Pending, None) => state.dropped.push(future),
            (Poll::Ready(()), _) => {
                state.tasks.remove(&number);
                state.dropped.push(future);
            }
        }
        true
    }

    /// Moves to the next entry of the agenda and lets it happen.
    fn pass_time(&self, until: Duration) -> Option<Ended> {
        let due = {
            let mut state = self.state();
            let Some(entry) = state.agenda.first_entry() else { return Some(Ended::Stuck) };
            let at = entry.key().0;
            if at > until {
                state.now = until;
                return Some(Ended::OutOfTime);
            }
            let due = entry.remove();
            state.now = state.now.max(at);
            due
        };
        match due {
            Due::Wake(waker) => waker.wake(),
            Due::Happen(effect) => effect(),
        }
        None
    }
}

impl State {
    pub(crate) fn residence(&mut self, id: ProcessId) -> Option<&mut Residence> {
        self.processes.get_mut(id.0)
    }

    pub(crate) fn is_alive(&self, id: ProcessId, life: u32) -> bool {
        self.processes.get(id.0).is_some_and(|process| process.is_alive(life))
    }

    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn enqueue(&mut self, number: u64) {
        if let Some(task) = self.tasks.get_mut(&number)
            && !task.queued
        {
            task.queued = true;
            self.ready.push(number);
        }
    }

    /// Takes a ready task that may run; tasks of stopped processes are put aside until it resumes.
    fn next_ready(&mut self) -> Option<(u64, TaskFuture, Waker)> {
        while !self.ready.is_empty() {
            let number = if self.first_in_first_out {
                self.ready.remove(0)
            } else {
                let index = self.chance.index(self.ready.len());
                self.ready.swap_remove(index)
            };
            let Some(task) = self.tasks.get_mut(&number) else { continue };
            let held = task.owner.and_then(|(id, _)| self.processes.get_mut(id.0)).and_then(Residence::held);
            if let Some(held) = held {
                held.push(number);
                continue;
            }
            task.queued = false;
            if let Some(future) = task.future.take() {
                return Some((number, future, task.waker.clone()));
            }
        }
        None
    }
}

/// A future that is ready at an instant of true time.
#[derive(Debug)]
pub struct Alarm {
    world: World,
    deadline: Duration,
    set: Option<(Duration, u64)>,
}

impl Alarm {
    fn clear(&mut self, state: &mut State) {
        if let Some(key) = self.set.take() {
            state.agenda.remove(&key);
        }
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let world = self.world.clone();
        let mut state = world.state();
        self.clear(&mut state);
        if state.now >= self.deadline {
            return Poll::Ready(());
        }
        let key = (self.deadline, state.number());
        state.agenda.insert(key, Due::Wake(context.waker().clone()));
        self.set = Some(key);
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let world = self.world.clone();
        self.clear(&mut world.state());
    }
}

/// Whether a process runs, for those who watch from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// What the process does now.
    pub status: Status,
    /// Which of its lives this is, counted from 1.
    pub life: u32,
}

impl World {
    /// What a process does now.
    #[must_use]
    pub fn watch(&self, id: ProcessId) -> Watched {
        self.state()
            .residence(id)
            .map_or(Watched { status: Status::Down, life: 0 }, |process| process.watched())
    }
}
