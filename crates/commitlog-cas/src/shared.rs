//! What handle and driver of a log share: the queue, the watermarks, the outcomes, and who waits for them.
//!
//! Invariants (rules 4, 5, 19):
//! 1. LSNs are given in the order of [`Shared::append`], without gaps.
//! 2. The durable watermark is published before anybody is woken, and never goes back.
//! 3. An outcome once told is told for ever: of two failures that concern a commit, the one that came first counts.
//! 4. Wakers are called outside the lock. A wait that is dropped leaves nothing behind.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use twill_types::{Lsn, TimelineId};

use crate::commit::NewCommit;
use crate::error::{LogError, Outcome};
use crate::position::{CommitTime, Position, Token};
use crate::record::ENTRY_BYTES;
use crate::recover::Recovered;
use crate::site::Site;

/// The most parts one commit may have: their references fill a third of a body.
const PARTS_MAX: usize = 1 << 20;

/// A commit that waits for a slot.
#[derive(Debug)]
pub(crate) struct Queued {
    pub time: CommitTime,
    pub token: Token,
    pub payload: Bytes,
}

impl Queued {
    fn bytes(&self) -> usize {
        self.payload.len() + ENTRY_BYTES
    }
}

/// Commits that go into one record.
#[derive(Debug)]
pub(crate) struct Batch {
    pub first: Lsn,
    pub last: Lsn,
    pub commits: Vec<Queued>,
}

/// What the timeline's seal is to say, and what became of it.
#[derive(Clone, Debug)]
pub(crate) enum Sealing {
    Asked(Option<TimelineId>),
    Done(Result<(), LogError>),
}

pub(crate) struct Shared {
    pub site: Arc<Site>,
    /// Where this writer's epoch begins.
    pub base: Position,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Queued>,
    queue_bytes: usize,
    appended: Lsn,
    /// The last commit that was given to a record.
    taken: Lsn,
    durable: Position,
    time: CommitTime,
    boundaries: VecDeque<Position>,
    /// In the order they were found: from which commit on, and what.
    failures: Vec<(Lsn, Outcome)>,
    refusal: Option<LogError>,
    sealing: Option<Sealing>,
    closing: bool,
    finished: bool,
    notified: bool,
    driver: Option<Waker>,
    waits: u64,
    durable_waits: BTreeMap<(Lsn, u64), Waker>,
    other_waits: BTreeMap<u64, Waker>,
}

impl State {
    fn outcome(&self, lsn: Lsn) -> Option<Outcome> {
        if lsn <= self.durable.lsn {
            return Some(Outcome::Durable);
        }
        let failure = self.failures.iter().find(|(from, _)| lsn >= *from);
        if let Some((_, outcome)) = failure {
            return Some(outcome.clone());
        }
        let never = || LogError::invalid(format!("commit {lsn} was never appended"));
        (lsn > self.appended).then(|| Outcome::NotApplied(Arc::new(never())))
    }

    fn all_waits(&mut self) -> Vec<Waker> {
        let durable = std::mem::take(&mut self.durable_waits).into_values();
        durable.chain(std::mem::take(&mut self.other_waits).into_values()).collect()
    }

    fn notify(&mut self) -> Option<Waker> {
        self.notified = true;
        self.driver.take()
    }
}

impl Shared {
    pub(crate) fn new(site: Arc<Site>, recovered: &Recovered) -> Arc<Self> {
        let base = recovered.end;
        let floor = recovered.state.floor;
        let later = recovered.boundaries.iter().copied().filter(|boundary| boundary.slot > floor.slot);
        let state = State {
            appended: base.lsn,
            taken: base.lsn,
            durable: base,
            time: base.time,
            boundaries: std::iter::once(floor).chain(later).collect(),
            ..State::default()
        };
        Arc::new(Self { site, base, state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn append(&self, commit: NewCommit) -> Result<Lsn, LogError> {
        let parts = commit.payload.len().div_ceil(self.site.options.part_bytes());
        if parts > PARTS_MAX {
            return Err(LogError::invalid(format!("a commit in {parts} parts; at most {PARTS_MAX}")));
        }
        let now = CommitTime::from_wall(self.site.environment.wall_now());
        let (lsn, driver) = {
            let mut state = self.lock();
            if let Some(error) = &state.refusal {
                return Err(error.clone());
            }
            if state.closing || state.finished || state.sealing.is_some() {
                return Err(LogError::Closed);
            }
            state.time = state.time.max(now);
            state.appended = state.appended.next();
            let queued = Queued { time: state.time, token: commit.token, payload: commit.payload };
            state.queue_bytes += queued.bytes();
            state.queue.push_back(queued);
            (state.appended, state.notify())
        };
        driver.into_iter().for_each(Waker::wake);
        Ok(lsn)
    }

    /// Takes the commits of the next record from the queue: a large one alone, small ones up to `record_bytes`.
    pub(crate) fn take(&self, part_bytes: usize, record_bytes: usize) -> Option<Batch> {
        let (batch, waits) = {
            let mut state = self.lock();
            let first = state.taken.next();
            let (mut commits, mut bytes) = (Vec::new(), 0);
            while let Some(next) = state.queue.front() {
                let large = next.payload.len() > part_bytes;
                let fits = bytes + next.bytes() <= record_bytes && !large;
                if !commits.is_empty() && !fits {
                    break;
                }
                bytes += next.bytes();
                commits.extend(state.queue.pop_front());
                state.taken = state.taken.next();
                if large {
                    break;
                }
            }
            state.queue_bytes -= bytes;
            if commits.is_empty() {
                return None;
            }
            let waits: Vec<Waker> = std::mem::take(&mut state.other_waits).into_values().collect();
            (Batch { first, last: state.taken, commits }, waits)
        };
        waits.into_iter().for_each(Waker::wake);
        Some(batch)
    }

    /// Publishes that everything up to the last of `boundaries` is durable, then wakes who waited for it.
    pub(crate) fn acknowledge(&self, boundaries: &[Position]) {
        let Some(durable) = boundaries.last() else { return };
        let waits = {
            let mut state = self.lock();
            state.durable = *durable;
            state.boundaries.extend(boundaries);
            let later = state.durable_waits.split_off(&(durable.lsn.next(), 0));
            std::mem::replace(&mut state.durable_waits, later)
        };
        waits.into_values().for_each(Waker::wake);
    }

    /// Everything from `from` on became of `outcome`; what was never sent is not applied. No commits from now on.
    pub(crate) fn fail(&self, from: Lsn, outcome: Outcome) {
        let waits = {
            let mut state = self.lock();
            let unsent = state.taken.next();
            let refusal = match &outcome {
                Outcome::Fenced(error) => LogError::clone(error),
                Outcome::NotApplied(error) | Outcome::Indeterminate(error) => LogError::poisoned(error),
                Outcome::Durable => return,
            };
            if matches!(outcome, Outcome::Indeterminate(_)) {
                state.failures.push((unsent, Outcome::NotApplied(Arc::new(refusal.clone()))));
            }
            state.failures.push((from, outcome));
            state.refuse(refusal);
            state.all_waits()
        };
        waits.into_iter().for_each(Waker::wake);
    }

    /// The seal is in its slot, or is not.
    pub(crate) fn sealed(&self, result: Result<(), LogError>, refusal: LogError) {
        let waits = {
            let mut state = self.lock();
            state.sealing = Some(Sealing::Done(result));
            state.refuse(refusal);
            state.all_waits()
        };
        waits.into_iter().for_each(Waker::wake);
    }

    /// The driver is done, or was dropped: what it had not settled is indeterminate.
    pub(crate) fn finish(&self) {
        let waits = {
            let mut state = self.lock();
            if state.finished {
                return;
            }
            state.finished = true;
            let (unsent, unsettled, last) = (state.taken.next(), state.durable.lsn.next(), state.appended);
            let closed = || Arc::new(LogError::Closed);
            if unsettled <= last && state.failures.iter().all(|(from, _)| *from > unsettled) {
                state.failures.push((unsent, Outcome::NotApplied(closed())));
                state.failures.push((unsettled, Outcome::Indeterminate(closed())));
            }
            state.refuse(LogError::Closed);
            state.all_waits()
        };
        waits.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn close(&self) {
        let driver = {
            let mut state = self.lock();
            state.closing = true;
            state.notify()
        };
        driver.into_iter().for_each(Waker::wake);
    }

    /// Asks the driver for a seal behind everything appended.
    pub(crate) fn ask_seal(&self, redirect: Option<TimelineId>) -> Result<(), LogError> {
        let driver = {
            let mut state = self.lock();
            if let Some(error) = &state.refusal {
                return Err(error.clone());
            }
            if state.closing || state.sealing.is_some() {
                return Err(LogError::Closed);
            }
            state.sealing = Some(Sealing::Asked(redirect));
            state.notify()
        };
        driver.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// The seal to write, once nothing waits for a slot any more.
    pub(crate) fn seal_to_write(&self) -> Option<Option<TimelineId>> {
        let state = self.lock();
        match state.sealing {
            Some(Sealing::Asked(redirect)) if state.queue.is_empty() => Some(redirect),
            _ => None,
        }
    }

    /// The clock, or the time of the last commit where the clock is behind it.
    pub(crate) fn time(&self) -> CommitTime {
        self.lock().time.max(CommitTime::from_wall(self.site.environment.wall_now()))
    }

    pub(crate) fn has_queued(&self) -> bool {
        !self.lock().queue.is_empty()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    pub(crate) fn outcome(&self, lsn: Lsn) -> Option<Outcome> {
        self.lock().outcome(lsn)
    }

    pub(crate) fn appended(&self) -> Lsn {
        self.lock().appended
    }

    pub(crate) fn durable(&self) -> Position {
        self.lock().durable
    }

    pub(crate) fn refusal(&self) -> Option<LogError> {
        self.lock().refusal.clone()
    }

    /// The newest known boundary at or before `lsn`.
    pub(crate) fn boundary_at(&self, lsn: Lsn) -> Option<Position> {
        let state = self.lock();
        let behind = state.boundaries.partition_point(|boundary| boundary.lsn <= lsn);
        state.boundaries.get(behind.checked_sub(1)?).copied()
    }

    /// Forgets the boundaries before `floor`.
    pub(crate) fn forget_before(&self, floor: &Position) {
        let mut state = self.lock();
        let behind = state.boundaries.partition_point(|boundary| boundary.slot < floor.slot);
        state.boundaries.drain(..behind);
    }

    /// Whether something was asked of the driver since it last looked; if not, `context` is woken when it is.
    pub(crate) fn poll_notified(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if std::mem::take(&mut state.notified) {
            return Poll::Ready(());
        }
        state.driver = Some(context.waker().clone());
        Poll::Pending
    }

    /// Completes with the commit's outcome.
    pub(crate) fn wait_outcome(&self, lsn: Lsn) -> impl Future<Output = Outcome> + Send + '_ {
        Waiting { shared: self, lsn: Some(lsn), key: None, check: move |state: &State| state.outcome(lsn) }
    }

    /// Completes when there is room in the queue, or no use in waiting.
    pub(crate) fn wait_room(&self) -> impl Future<Output = ()> + Send + '_ {
        let limit = self.site.options.queue_bytes;
        let check = move |state: &State| {
            (state.queue_bytes < limit || state.refusal.is_some() || state.closing).then_some(())
        };
        Waiting { shared: self, lsn: None, key: None, check }
    }

    /// Completes when the driver is done; with the first failure, if there was one.
    pub(crate) fn wait_finished(&self) -> impl Future<Output = Result<(), LogError>> + Send + '_ {
        let check = |state: &State| {
            let failure = state.failures.last().and_then(|(_, outcome)| outcome.error().cloned());
            state.finished.then(|| failure.map_or(Ok(()), Err))
        };
        Waiting { shared: self, lsn: None, key: None, check }
    }

    /// Completes when it is known what became of the seal.
    pub(crate) fn wait_sealed(&self) -> impl Future<Output = Result<(), LogError>> + Send + '_ {
        let check = |state: &State| match &state.sealing {
            Some(Sealing::Done(result)) => Some(result.clone()),
            _ => state.refusal.clone().map(Err),
        };
        Waiting { shared: self, lsn: None, key: None, check }
    }
}

impl State {
    fn refuse(&mut self, error: LogError) {
        self.refusal.get_or_insert(error);
        self.queue.clear();
        self.queue_bytes = 0;
    }
}

/// A wait for `check` to answer. Registered while it is pending; dropping it takes the registration back.
struct Waiting<'a, F> {
    shared: &'a Shared,
    /// The commit waited for, if it is one.
    lsn: Option<Lsn>,
    key: Option<u64>,
    check: F,
}

impl<T, F: Fn(&State) -> Option<T> + Unpin> Future for Waiting<'_, F> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let shared = self.shared;
        let mut state = shared.lock();
        if let Some(answer) = (self.check)(&state) {
            return Poll::Ready(answer);
        }
        let key = *self.key.get_or_insert_with(|| {
            state.waits += 1;
            state.waits
        });
        let waker = context.waker().clone();
        match self.lsn {
            Some(lsn) => state.durable_waits.insert((lsn, key), waker),
            None => state.other_waits.insert(key, waker),
        };
        Poll::Pending
    }
}

impl<F> Drop for Waiting<'_, F> {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut state = self.shared.lock();
        match self.lsn {
            Some(lsn) => state.durable_waits.remove(&(lsn, key)),
            None => state.other_waits.remove(&key),
        };
    }
}
