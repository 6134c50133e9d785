//! Makes the real log take the steps of the model, and compares the two after each.
//!
//! A process of the model is an [`Opening`] and then a [`Log`] of the real crate, with a client of the bucket of its
//! own. A step of the model names a request; the driver lets that request through (or loses its reply, or keeps a copy
//! for later) and then runs every future until all wait again. What the real code asks for besides, the GET by which
//! it reads back after "exists", and the GET of the branch record by which it finds out who is to blame, belongs to
//! the step.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use object_store::path::Path;
use twill_commitlog_cas::record::{self, Body};
use twill_commitlog_cas::{
    Collected, DatabaseId, Driver, Environment, Identity, Log, LogError, NewCommit, ObjectRegister, Opened,
    Opening, Options, Raise, Recovered, Register, Site, Spacing, collect, raise, recover,
};
use twill_tests_model::log::store::{Object, Position};
use twill_tests_model::log::{Action, Bounds, Late, Phase, State, writer};
use twill_types::{Lsn, TimelineId};

use crate::bucket::{Bucket, Pass, Request};

const LONG: Duration = Duration::from_secs(1_000_000);
const FOUNDER: u8 = 200;
const COLLECTORS: u8 = 100;
const IDENTITY: Identity = Identity { database: DatabaseId([1; 16]), timeline: TimelineId([2; 16]) };

/// A clock that stands still. What waits between attempts is over at once; what waits for an answer that does not
/// come waits for ever. Randomness is the process's number, so that its ids tell who it is; the collector's counts.
struct Still {
    client: u8,
    drawn: AtomicU64,
}

impl Environment for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn wall_now(&self) -> SystemTime {
        UNIX_EPOCH
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        bytes.fill(self.client);
        if self.client >= COLLECTORS {
            let drawn = self.drawn.fetch_add(1, Ordering::Relaxed).to_le_bytes();
            bytes.iter_mut().zip(drawn).for_each(|(to, byte)| *to = byte);
        }
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        if duration >= LONG / 2 { future::pending().boxed() } else { future::ready(()).boxed() }
    }
}

/// One process.
enum Process {
    Opening(BoxFuture<'static, Result<Opened, LogError>>),
    Open { log: Log, driver: Option<Driver> },
    Failed(LogError),
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The real log.
pub struct Real {
    bounds: Bounds,
    bucket: Bucket,
    collector: Arc<Still>,
    processes: BTreeMap<u8, Process>,
    collections: Vec<(u8, BoxFuture<'static, Result<Collected, LogError>>)>,
    late: Vec<(Late, Request)>,
}

pub fn root() -> Path {
    Path::from("timeline")
}

fn record_path() -> Path {
    Path::from("branch")
}

fn slot_path(epoch: u8, seq: u8) -> Path {
    Path::from(format!("timeline/log/{epoch:020}/{seq:020}"))
}

fn is_get(path: Path) -> impl Fn(&Request) -> bool {
    move |request| matches!(request, Request::Get { path: of, .. } if *of == path)
}

fn is_put(path: Path) -> impl Fn(&Request) -> bool {
    move |request| matches!(request, Request::Put { path: of, .. } if *of == path)
}

fn is_delete(path: Path) -> impl Fn(&Request) -> bool {
    move |request| matches!(request, Request::Delete { path: of } if *of == path)
}

impl Real {
    /// An empty database.
    pub fn new(bounds: Bounds) -> Self {
        let real = Self {
            bounds,
            bucket: Bucket::default(),
            collector: Arc::new(Still { client: COLLECTORS, drawn: AtomicU64::new(1) }),
            processes: BTreeMap::new(),
            collections: Vec::new(),
            late: Vec::new(),
        };
        let environment = Arc::new(Still { client: FOUNDER, drawn: AtomicU64::new(1) });
        let register = real.register(FOUNDER, environment);
        let created =
            real.at_once(FOUNDER, async move { register.create(Lsn::ZERO, bytes::Bytes::new()).await });
        created.expect("creating the branch record");
        real
    }

    fn options(&self) -> Options {
        Options {
            window: usize::from(self.bounds.window),
            spacing: Spacing::Fixed(Duration::ZERO),
            commit_deadline: LONG,
            attempt_timeout: LONG,
            backoff_first: Duration::from_millis(1),
            ..Options::default()
        }
    }

    fn register(&self, client: u8, environment: Arc<Still>) -> ObjectRegister {
        let store = Arc::new(self.bucket.client(client));
        ObjectRegister::new(store, record_path(), IDENTITY, environment, self.options())
    }

    fn site(&self, client: u8, environment: &Arc<Still>) -> Site {
        Site {
            store: Arc::new(self.bucket.client(client)),
            root: root(),
            identity: IDENTITY,
            register: Arc::new(self.register(client, Arc::clone(environment))) as Arc<dyn Register>,
            environment: Arc::clone(environment) as Arc<dyn Environment>,
            options: self.options(),
        }
    }

    /// Runs something whose requests are all answered at once.
    fn at_once<T>(&self, client: u8, work: impl Future<Output = T>) -> T {
        let mut work = Box::pin(work);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
                return done;
            }
            let next = self.bucket.find(client, |_| true).expect("it waits for nothing");
            self.bucket.pass(next, Pass::Answered);
        }
    }

    /// Polls everything until all wait for requests.
    fn run(&mut self) {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        while woken.0.swap(false, Ordering::Relaxed) {
            for process in self.processes.values_mut() {
                if let Process::Opening(opening) = process
                    && let Poll::Ready(opened) = opening.poll_unpin(&mut context)
                {
                    *process = match opened {
                        Ok(opened) => Process::Open { log: opened.log, driver: Some(opened.driver) },
                        Err(error) => Process::Failed(error),
                    };
                    woken.0.store(true, Ordering::Relaxed);
                }
                if let Process::Open { driver, .. } = process
                    && driver.as_mut().is_some_and(|driver| driver.poll_unpin(&mut context).is_ready())
                {
                    *driver = None;
                }
            }
            self.collections.retain_mut(|(_, work)| match work.poll_unpin(&mut context) {
                Poll::Ready(collected) => {
                    collected.expect("collecting");
                    false
                }
                Poll::Pending => true,
            });
            for (client, _) in &self.collections {
                let is_read = |request: &Request| !matches!(request, Request::Delete { .. });
                while let Some(read) = self.bucket.find(*client, is_read) {
                    self.bucket.pass(read, Pass::Answered);
                }
            }
        }
    }

    fn pass(&mut self, by: u8, pass: Pass, which: impl Fn(&Request) -> bool) -> Option<Request> {
        let id = self.bucket.find(by, which)?;
        let request = self.bucket.pass(id, pass);
        self.run();
        Some(request)
    }

    fn must_pass(&mut self, by: u8, pass: Pass, which: impl Fn(&Request) -> bool) -> Result<Request, String> {
        self.pass(by, pass, which)
            .ok_or_else(|| format!("opening {by} does not ask for it; waiting: {:?}", self.bucket.waiting()))
    }

    /// Whether the real log could take this step now. The model's collector deletes in any order; a real collection
    /// has an order of its own, and sees what was there when it listed.
    pub fn can(&self, action: Action) -> bool {
        match action {
            Action::Delete { epoch, seq } => self.deleting(epoch, seq).is_some(),
            _ => true,
        }
    }

    fn deleting(&self, epoch: u8, seq: u8) -> Option<u8> {
        let path = slot_path(epoch, seq);
        let waits = |client: &u8| self.bucket.find(*client, is_delete(path.clone())).is_some();
        self.collections.iter().map(|(client, _)| *client).find(waits)
    }

    /// Takes a step from `before`, to which the model says that `after` follows.
    pub fn take(&mut self, action: Action, before: &State, after: &State) -> Result<(), String> {
        self.go(action, before)?;
        for (by, process) in before.processes.iter().map(|process| (process.id, process)) {
            if process.phase != Phase::Down && after.process(by).is_none() {
                self.end(by, matches!(action, Action::Crash { .. }))?;
            }
        }
        self.compare(after)
    }

    fn go(&mut self, action: Action, before: &State) -> Result<(), String> {
        match action {
            Action::ReadRecord => {
                let by = before.spent.openings + 1;
                let environment = Arc::new(Still { client: by, drawn: AtomicU64::new(0) });
                let site = self.site(by, &environment);
                let opening = async move { Opening::begin(&site).await?.confirm().await };
                self.processes.insert(by, Process::Opening(opening.boxed()));
                self.run();
                self.must_pass(by, Pass::Answered, is_get(record_path()))?;
            }
            Action::List { by } => {
                self.must_pass(by, Pass::Answered, |request| matches!(request, Request::List { .. }))?;
            }
            Action::Get { by } => {
                let at = before.process(by).unwrap().at;
                self.must_pass(by, Pass::Answered, is_get(slot_path(at.epoch, at.seq)))?;
            }
            Action::Fence { by, nth } => self.put(by, fence_path(before, by, nth), Pass::Answered)?,
            Action::FenceReplyLost { by, nth } => {
                self.put(by, fence_path(before, by, nth), Pass::ReplyLost)?;
            }
            Action::FenceDelayed { by, nth } => {
                let request = self.must_pass(by, Pass::TimedOut, is_put(fence_path(before, by, nth)))?;
                let at = before.process(by).unwrap().at;
                let object = Object::Fence { owner: by, epoch: at.epoch + 1, base_lsn: at.lsn };
                self.late.push((Late::Slot { epoch: at.epoch, seq: at.seq + nth, object }, request));
            }
            Action::Append { by } => self.append(by, before)?,
            Action::Put { by, commit } => self.put(by, commit_path(before, by, commit), Pass::Answered)?,
            Action::PutReplyLost { by, commit } => {
                self.put(by, commit_path(before, by, commit), Pass::ReplyLost)?;
            }
            Action::PutDelayed { by, commit } => {
                let path = commit_path(before, by, commit);
                let request = self.must_pass(by, Pass::TimedOut, is_put(path))?;
                let (epoch, seq, object) = writer::slot_of(before.process(by).unwrap(), commit).unwrap();
                self.late.push((Late::Slot { epoch, seq, object }, request));
            }
            Action::Crash { by } => {
                self.processes.remove(&by);
            }
            other => return self.go_on(other, before),
        }
        Ok(())
    }

    fn go_on(&mut self, action: Action, before: &State) -> Result<(), String> {
        match action {
            Action::SwapRecord { by } => {
                while matches!(self.processes.get(&by), Some(Process::Opening(_))) {
                    self.must_pass(by, Pass::Answered, |_| true)?;
                }
            }
            Action::SwapReplyLost { by } => {
                self.pass(by, Pass::Answered, is_get(record_path()));
                self.must_pass(by, Pass::ReplyLost, is_put(record_path()))?;
            }
            Action::SwapDelayed { by } => {
                self.pass(by, Pass::Answered, is_get(record_path()));
                let request = self.must_pass(by, Pass::TimedOut, is_put(record_path()))?;
                let new = twill_tests_model::log::opener::swapped(
                    &before.store.record,
                    before.process(by).unwrap(),
                );
                self.late.push((Late::Swap { new }, request));
            }
            Action::Arrives { put } => {
                let at = self.late.iter().position(|(late, _)| *late == put).ok_or("no such late PUT")?;
                let (_, request) = self.late.remove(at);
                self.bucket.arrive(&request);
            }
            Action::RaiseFloor { to } => self.raise_floor(to)?,
            Action::Delete { epoch, seq } => {
                let collector = self.deleting(epoch, seq).ok_or("nobody deletes it")?;
                self.must_pass(collector, Pass::Answered, is_delete(slot_path(epoch, seq)))?;
            }
            other => return Err(format!("no such step of the real log: {other:?}")),
        }
        Ok(())
    }

    /// A conditional create, and the reading back if it exists.
    fn put(&mut self, by: u8, path: Path, pass: Pass) -> Result<(), String> {
        self.must_pass(by, pass, is_put(path.clone()))?;
        if pass == Pass::Answered {
            self.pass(by, Pass::Answered, is_get(path));
        }
        Ok(())
    }

    fn append(&mut self, by: u8, before: &State) -> Result<(), String> {
        let process = before.process(by).unwrap();
        let expected = u64::from(process.at.lsn + 1 + process.sent);
        let Some(Process::Open { log, .. }) = self.processes.get(&by) else {
            return Err("a writer that is not open".to_owned());
        };
        let lsn = log.append(NewCommit::new(vec![by])).map_err(|error| format!("append: {error}"))?;
        self.run();
        if lsn.get() == expected { Ok(()) } else { Err(format!("LSN {lsn}, not {expected}")) }
    }

    fn raise_floor(&mut self, to: Position) -> Result<(), String> {
        let site = self.site(COLLECTORS, &self.collector);
        let walked = self.at_once(COLLECTORS, recover(&site)).map_err(|error| format!("recover: {error}"))?;
        let is_it = |boundary: &&twill_commitlog_cas::Position| {
            (boundary.slot.epoch.0, boundary.slot.seq.0) == (u64::from(to.epoch), u64::from(to.seq))
        };
        let boundary = *walked.boundaries.iter().find(is_it).ok_or("the walk has no such place")?;
        let both = Raise { floor: Some(boundary), horizon: Some(boundary) };
        self.at_once(COLLECTORS, raise(&site, both)).map_err(|error| format!("raise: {error}"))?;
        let client = COLLECTORS + 1 + u8::try_from(self.collections.len()).unwrap();
        let site = self.site(client, &self.collector);
        self.collections.push((client, async move { collect(&site, &[]).await }.boxed()));
        self.run();
        Ok(())
    }

    /// The model's process is at its end: so must the real one be, once it has looked at the branch record.
    fn end(&mut self, by: u8, crashed: bool) -> Result<(), String> {
        while matches!(self.processes.get(&by), Some(Process::Opening(_))) {
            self.must_pass(by, Pass::Answered, |request| matches!(request, Request::Get { .. }))?;
        }
        match self.processes.remove(&by) {
            None if crashed => Ok(()),
            Some(Process::Failed(LogError::Superseded)) => Ok(()),
            Some(Process::Open { log, .. }) if matches!(log.failure(), Some(LogError::Fenced { .. })) => {
                Ok(())
            }
            Some(Process::Failed(error)) => Err(format!("opening {by} failed: {error}")),
            Some(Process::Open { log, .. }) => Err(format!("opening {by} goes on: {:?}", log.failure())),
            None | Some(Process::Opening(_)) => Err(format!("opening {by} is gone")),
        }
    }

    fn compare(&self, model: &State) -> Result<(), String> {
        let expected: Vec<(u8, u8, Object)> = model.store.objects(&self.bounds).collect();
        let found = self.slots();
        if expected != found {
            return Err(format!("slots: the model has {expected:?}, the bucket {found:?}"));
        }
        let founder = Arc::new(Still { client: FOUNDER, drawn: AtomicU64::new(0) });
        let register = self.register(FOUNDER, founder);
        let record = self.at_once(FOUNDER, register.load()).map_err(|error| format!("{error}"))?.state;
        let floor = (record.floor.slot.epoch.0, record.floor.slot.seq.0, record.floor.lsn.get());
        let at = model.store.record.floor;
        if floor != (at.epoch.into(), at.seq.into(), at.lsn.into()) {
            return Err(format!("floor: the model has {at:?}, the bucket {floor:?}"));
        }
        for process in model.processes.iter().filter(|process| process.phase != Phase::Down) {
            let by = process.id;
            match (self.processes.get(&by), process.gated) {
                (Some(Process::Opening(_)), false) => {}
                (Some(Process::Open { log, .. }), true) => {
                    let (epoch, base) = (log.epoch().0, log.base().lsn.get());
                    if (epoch, base) != (process.at.epoch.into(), process.at.lsn.into()) {
                        return Err(format!("opening {by} is in epoch {epoch} after {base}: {process:?}"));
                    }
                    let acknowledged = writer::acknowledged(&self.bounds, process);
                    for commit in 0..process.sent {
                        let lsn = Lsn::new(u64::from(process.at.lsn + 1 + commit));
                        let durable = log.outcome(lsn).is_some_and(|outcome| outcome.is_durable());
                        if durable != (acknowledged & (1 << commit) != 0) {
                            return Err(format!("opening {by} says {durable} of {lsn}: {process:?}"));
                        }
                    }
                }
                (Some(Process::Failed(error)), _) => return Err(format!("opening {by} failed: {error}")),
                (real, gated) => {
                    let open = matches!(real, Some(Process::Open { .. }));
                    return Err(format!("opening {by}: gated {gated}, open {open}"));
                }
            }
        }
        Ok(())
    }

    /// The slots of the bucket, as the model would say it.
    fn slots(&self) -> Vec<(u8, u8, Object)> {
        let small = |number: u64| u8::try_from(number).unwrap();
        let mut slots: Vec<(u8, u8, Object)> = Vec::new();
        for (path, bytes) in self.bucket.objects(&Path::from("timeline/log")) {
            let record = record::decode(path.as_ref(), &bytes).unwrap();
            let header = record.header;
            let (epoch, seq) = (small(header.slot.epoch.0), small(header.slot.seq.0));
            assert_eq!(path, slot_path(epoch, seq));
            let by = header.writer.0[0];
            let object = match record.body {
                Body::Commits(entries) => {
                    assert_eq!(entries.len(), 1, "one commit for each record");
                    Object::Record { writer: by, epoch, lsn: small(header.first.get()) }
                }
                Body::Fence(fence) => {
                    let base_lsn = small(header.first.get());
                    Object::Fence { owner: by, epoch: small(fence.next.0), base_lsn }
                }
                other => panic!("{path}: {other:?}"),
            };
            slots.push((epoch, seq, object));
        }
        slots.sort_unstable();
        slots
    }

    /// What a reader gets who opens now: the floor's LSN, and the writer of each commit after it.
    pub fn history(&self) -> (u64, Vec<u8>) {
        let site = self.site(COLLECTORS, &self.collector);
        let walked: Recovered = self.at_once(COLLECTORS, recover(&site)).expect("recovering");
        let writers = walked.commits.iter().map(|commit| commit.payload[0]).collect();
        (walked.state.floor.lsn.get(), writers)
    }
}

fn fence_path(before: &State, by: u8, nth: u8) -> Path {
    let at = before.process(by).unwrap().at;
    slot_path(at.epoch, at.seq + nth)
}

fn commit_path(before: &State, by: u8, commit: u8) -> Path {
    let (epoch, seq, _) = writer::slot_of(before.process(by).unwrap(), commit).unwrap();
    slot_path(epoch, seq)
}
