//! A world of its own for each test: virtual time, tasks polled one after another, and an object store whose requests
//! are counted, delayed, and spoiled as the test asks.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use twill_commitlog_cas::{
    DatabaseId, Driver, Environment, Identity, Log, LogError, NewCommit, ObjectRegister, Opened, Options,
    Point, Register, Site, reply::HttpStatus,
};
use twill_types::seeded::Chance;
use twill_types::{Lsn, TimelineId};

pub const MS: Duration = Duration::from_millis(1);
pub const PUT_TIME: Duration = Duration::from_millis(24);

pub const IDENTITY: Identity =
    Identity { database: DatabaseId([0xdb; 16]), timeline: TimelineId([0x71; 16]) };

/// Which kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Put,
    Get,
    List,
    Delete,
}

/// What happens to a request that a test picked.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It is lost: not applied, and never answered.
    Lost,
    /// It is applied, but the answer never comes.
    ReplyLost,
    /// It is not applied now but this much later, and answered with a reset at once.
    Late(Duration),
    /// It is answered, and applied a second time this much later.
    Twice(Duration),
    /// It is not applied, and answered with this status.
    Status(u16),
    /// It is applied, and answered with this status all the same.
    AppliedStatus(u16),
    /// It takes this long.
    Slow(Duration),
    /// The object's body is cut to this length.
    Cut(usize),
}

type Picks = Box<dyn Fn(Kind, &str) -> bool + Send>;
type Hook = Box<dyn FnMut(Point) -> Option<BoxFuture<'static, ()>> + Send>;

struct Rule {
    picks: Picks,
    times: usize,
    fault: Fault,
}

/// Time, tasks and the store.
#[derive(Clone)]
pub struct World(Arc<Inner>);

struct Inner {
    now: Mutex<Duration>,
    timers: Mutex<BTreeMap<(Duration, u64), Waker>>,
    spawned: Mutex<Vec<(BoxFuture<'static, ()>, Arc<Ready>)>>,
    chance: Mutex<Chance>,
    wall: Mutex<Duration>,
    hook: Mutex<Option<Hook>>,
    bucket: InMemory,
    rules: Mutex<Vec<Rule>>,
    requests: Mutex<Vec<(Kind, String)>>,
    latency: Mutex<Duration>,
    /// With it, requests are slow and spoiled by chance: one in this many.
    chaos: Mutex<Option<u64>>,
}

#[derive(Default)]
struct Ready(AtomicBool);

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

struct Sleep {
    world: World,
    until: Duration,
    key: Option<u64>,
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if *self.world.0.now.lock().unwrap() >= self.until {
            return Poll::Ready(());
        }
        let mut timers = self.world.0.timers.lock().unwrap();
        let key = self.key.unwrap_or_else(|| timers.last_key_value().map_or(0, |((_, key), _)| *key) + 1);
        let key =
            (key..).find(|key| self.key == Some(*key) || !timers.contains_key(&(self.until, *key))).unwrap();
        timers.insert((self.until, key), context.waker().clone());
        drop(timers);
        self.key = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.world.0.timers.lock().unwrap().remove(&(self.until, key));
        }
    }
}

impl Environment for World {
    fn now(&self) -> Duration {
        *self.0.now.lock().unwrap()
    }

    fn wall_now(&self) -> SystemTime {
        UNIX_EPOCH + *self.0.wall.lock().unwrap() + self.now()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        let mut chance = self.0.chance.lock().unwrap();
        for byte in bytes {
            *byte = chance.next().to_le_bytes()[0];
        }
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Sleep { world: self.clone(), until: self.now() + duration, key: None }.boxed()
    }

    fn point(&self, point: Point) -> BoxFuture<'static, ()> {
        let held = self.0.hook.lock().unwrap().as_mut().and_then(|hook| hook(point));
        held.unwrap_or_else(|| futures_util::future::ready(()).boxed())
    }
}

impl World {
    pub fn new() -> Self {
        Self::from_seed(7)
    }

    pub fn from_seed(seed: u64) -> Self {
        Self(Arc::new(Inner {
            now: Mutex::new(Duration::from_secs(1)),
            timers: Mutex::default(),
            spawned: Mutex::default(),
            chance: Mutex::new(Chance::from_seed(seed)),
            wall: Mutex::new(Duration::from_secs(1_700_000_000)),
            hook: Mutex::new(None),
            bucket: InMemory::new(),
            rules: Mutex::default(),
            requests: Mutex::default(),
            latency: Mutex::new(Duration::ZERO),
            chaos: Mutex::new(None),
        }))
    }

    /// Polls `main` and all spawned tasks until `main` completes, moving time on when nothing else is left to do.
    pub fn run<T>(&self, main: impl Future<Output = T>) -> T {
        let mut main = Box::pin(main);
        let main_ready = Arc::new(Ready(AtomicBool::new(true)));
        let mut tasks: VecDeque<(BoxFuture<'static, ()>, Arc<Ready>)> = VecDeque::new();
        let done = loop {
            if main_ready.0.swap(false, Ordering::SeqCst) {
                let waker = Waker::from(Arc::clone(&main_ready));
                if let Poll::Ready(done) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                    break done;
                }
            }
            tasks.extend(self.0.spawned.lock().unwrap().drain(..));
            let mut worked = false;
            for _ in 0..tasks.len() {
                let (mut task, ready) = tasks.pop_front().unwrap();
                if ready.0.swap(false, Ordering::SeqCst) {
                    worked = true;
                    let waker = Waker::from(Arc::clone(&ready));
                    if task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                        continue;
                    }
                }
                tasks.push_back((task, ready));
            }
            if worked || main_ready.0.load(Ordering::SeqCst) || !self.0.spawned.lock().unwrap().is_empty() {
                continue;
            }
            let first = self.0.timers.lock().unwrap().pop_first();
            let ((until, _), waker) = first.expect("nothing will ever happen again");
            let mut now = self.0.now.lock().unwrap();
            *now = (*now).max(until);
            drop(now);
            waker.wake();
        };
        // What still runs goes on at the next call.
        self.0.spawned.lock().unwrap().extend(tasks);
        done
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawned.lock().unwrap().push((task.boxed(), Arc::new(Ready(AtomicBool::new(true)))));
    }

    /// Lets time pass.
    pub fn pass(&self, duration: Duration) {
        self.run(self.sleep(duration));
    }

    /// Every request takes this long.
    pub fn latency(&self, latency: Duration) {
        *self.0.latency.lock().unwrap() = latency;
    }

    /// Sets the wall clock back or forth.
    pub fn set_wall(&self, since_1970: Duration) {
        *self.0.wall.lock().unwrap() = since_1970;
    }

    /// The next `times` requests of a kind whose key contains `key` meet this fault.
    pub fn spoil(&self, kind: Kind, key: &str, times: usize, fault: Fault) {
        let key = key.to_owned();
        let picks: Picks = Box::new(move |of, path| of == kind && path.contains(&key));
        self.0.rules.lock().unwrap().push(Rule { picks, times, fault });
    }

    /// No request meets a fault any more.
    pub fn heal(&self) {
        self.0.rules.lock().unwrap().clear();
    }

    /// At this point, once, the process that comes by stops for ever.
    pub fn stop_at(&self, at: Point) {
        let mut armed = true;
        self.hook(move |point| {
            let stops = std::mem::take(&mut armed) && point == at;
            armed = armed || !stops && point != at;
            stops.then(|| futures_util::future::pending().boxed())
        });
    }

    /// Calls `hook` at every point.
    pub fn hook(&self, hook: impl FnMut(Point) -> Option<BoxFuture<'static, ()>> + Send + 'static) {
        *self.0.hook.lock().unwrap() = Some(Box::new(hook));
    }

    pub fn unhook(&self) {
        *self.0.hook.lock().unwrap() = None;
    }

    /// The requests since the last call, by kind.
    pub fn count(&self) -> BTreeMap<Kind, usize> {
        let mut count = BTreeMap::new();
        for (kind, _) in self.0.requests.lock().unwrap().drain(..) {
            *count.entry(kind).or_default() += 1;
        }
        count
    }

    /// The requests since the last call.
    pub fn requests(&self) -> Vec<(Kind, String)> {
        std::mem::take(&mut *self.0.requests.lock().unwrap())
    }

    /// The bucket itself: no counting, no fault.
    pub fn bucket(&self) -> &InMemory {
        &self.0.bucket
    }

    /// The keys in the bucket below the log's folder, without it.
    pub fn keys(&self) -> Vec<String> {
        let list = self.0.bucket.list(None).map(|object| object.unwrap().location.to_string());
        let mut keys: Vec<String> = self.run(list.collect());
        keys.sort();
        keys.iter().map(|key| shorten(key)).collect()
    }

    pub fn put_raw(&self, key: &str, bytes: Bytes) {
        self.run(self.0.bucket.put(&Path::from(key), bytes.into())).unwrap();
    }

    pub fn get_raw(&self, key: &str) -> Option<Bytes> {
        let found = self.run(self.0.bucket.get(&Path::from(key))).ok()?;
        Some(self.run(found.bytes()).unwrap())
    }

    pub fn delete_raw(&self, key: &str) {
        self.run(self.0.bucket.delete(&Path::from(key))).unwrap();
    }

    /// What a process needs to work with the log.
    pub fn site(&self) -> Site {
        self.site_with(Options::default())
    }

    pub fn site_with(&self, options: Options) -> Site {
        let store: Arc<dyn ObjectStore> = Arc::new(Store(self.clone()));
        let environment: Arc<dyn Environment> = Arc::new(self.clone());
        let path = Path::from("branches/main");
        let register = ObjectRegister::new(
            Arc::clone(&store),
            path,
            IDENTITY,
            Arc::clone(&environment),
            options.clone(),
        );
        Site {
            store,
            root: Path::from("t"),
            identity: IDENTITY,
            register: Arc::new(register),
            environment,
            options,
        }
    }

    /// A register like the site's own, with all that it can do.
    pub fn register(&self) -> ObjectRegister {
        let site = self.site();
        ObjectRegister::new(site.store, Path::from("branches/main"), IDENTITY, site.environment, site.options)
    }

    /// From now on one request in `one_in` is spoiled, and each takes its time; zero ends it.
    pub fn chaos(&self, one_in: u64) {
        *self.0.chaos.lock().unwrap() = (one_in > 0).then_some(one_in);
    }

    /// A number below `bound`.
    pub fn below(&self, bound: u64) -> u64 {
        self.0.chance.lock().unwrap().next() % bound
    }

    /// A world with a timeline.
    pub fn with_timeline() -> Self {
        Self::new().begin()
    }

    /// Creates the timeline.
    pub fn begin(self) -> Self {
        let world = self;
        world.run(world.register().create(Lsn::ZERO, Bytes::new())).unwrap();
        world.requests();
        world
    }

    /// Opens the log for writing and lets its driver run.
    pub fn open(&self, site: &Site) -> Result<(Log, twill_commitlog_cas::Recovered), LogError> {
        let Opened { log, driver, recovered } = self.run(Log::open(site))?;
        self.drive(driver);
        Ok((log, recovered))
    }

    pub fn drive(&self, driver: Driver) {
        self.spawn(driver);
    }

    /// Appends each payload and waits until it is durable.
    pub fn commit(&self, log: &Log, payloads: &[&str]) -> Lsn {
        let mut last = Lsn::ZERO;
        for payload in payloads {
            last = log.append(NewCommit::new(payload.to_string())).unwrap();
            let outcome = self.run(log.wait_durable(last));
            assert!(outcome.is_durable(), "{payload}: {outcome:?}");
        }
        last
    }

    /// The payloads of the history from the floor, as a reader sees it.
    pub fn history(&self) -> Vec<String> {
        let site = self.site();
        let recovered = self.run(twill_commitlog_cas::recover(&site)).unwrap();
        recovered.commits.iter().map(|commit| String::from_utf8(commit.payload.to_vec()).unwrap()).collect()
    }

    pub fn state(&self) -> twill_commitlog_cas::LogState {
        self.run(self.register().load()).unwrap().state
    }
}

/// "t/log/00000000000000000001/00000000000000000002" as "log/1/2".
pub fn shorten(key: &str) -> String {
    let number = |part: &str| {
        let short = part.trim_start_matches('0');
        if part.starts_with('0') && short.is_empty() { "0".to_owned() } else { short.to_owned() }
    };
    let key = key.strip_prefix("t/").unwrap_or(key);
    let parts = key.split('/').map(|part| part.split('.').map(number).collect::<Vec<_>>().join("."));
    parts.collect::<Vec<_>>().join("/")
}

/// "log/1/2" as the key it stands for.
pub fn lengthen(short: &str) -> String {
    let mut parts = short.split('/');
    let folder = parts.next().unwrap();
    let numbers = parts.map(|part| {
        part.split('.')
            .map(|number| format!("{:020}", number.parse::<u64>().unwrap()))
            .collect::<Vec<_>>()
            .join(".")
    });
    format!("t/{folder}/{}", numbers.collect::<Vec<_>>().join("/"))
}

/// The bucket as one process sees it.
struct Store(World);

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

fn failed(status: u16, path: &Path) -> Error {
    let (path, source) = (path.to_string(), Box::new(HttpStatus(status)));
    match status {
        401 => Error::Unauthenticated { path, source },
        403 => Error::PermissionDenied { path, source },
        404 => Error::NotFound { path, source },
        409 => Error::AlreadyExists { path, source },
        0 => Error::Generic {
            store: "test",
            source: Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
        },
        1 => {
            let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            Error::Generic { store: "test", source: Box::new(refused) }
        }
        _ => Error::Generic { store: "test", source },
    }
}

impl Store {
    /// Notes the request, waits as long as it takes, and says what happens to it.
    async fn arrive(&self, kind: Kind, path: &Path) -> Option<Fault> {
        let world = &self.0.0;
        world.requests.lock().unwrap().push((kind, shorten(path.as_ref())));
        let fault = {
            let mut rules = world.rules.lock().unwrap();
            let name = shorten(path.as_ref());
            let rule = rules.iter_mut().find(|rule| rule.times > 0 && (rule.picks)(kind, &name));
            rule.map(|rule| {
                rule.times -= 1;
                rule.fault
            })
        };
        let chaos = *world.chaos.lock().unwrap();
        let fault = fault.or_else(|| chaos.and_then(|one_in| self.by_chance(kind, one_in)));
        let mut latency = *world.latency.lock().unwrap();
        if chaos.is_some() {
            latency += MS * u32::try_from(1 + self.0.below(50)).unwrap();
        }
        let latency = if let Some(Fault::Slow(slow)) = fault { latency + slow } else { latency };
        if !latency.is_zero() {
            self.0.sleep(latency).await;
        }
        fault
    }

    fn by_chance(&self, kind: Kind, one_in: u64) -> Option<Fault> {
        let below = |bound| self.0.below(bound);
        if below(one_in) > 0 {
            return None;
        }
        let long = MS * u32::try_from(1 + below(60_000)).unwrap();
        let status = [500, 503, 429, 409, 0, 1][usize::try_from(below(6)).unwrap()];
        Some(match (kind, below(8)) {
            (Kind::Put, 0) => Fault::ReplyLost,
            (Kind::Put, 1) => Fault::Late(long),
            (Kind::Put, 2) => Fault::Twice(long),
            (Kind::Put, 3) => Fault::AppliedStatus(500),
            (Kind::Put, 4) | (Kind::Get | Kind::List, 0) => Fault::Lost,
            (Kind::Get | Kind::List | Kind::Delete, 1..=4) if status == 409 => Fault::Status(500),
            (_, 5) => Fault::Slow(long),
            _ if kind != Kind::Put && status == 409 => Fault::Status(503),
            _ => Fault::Status(status),
        })
    }

    /// Walks the keys in order, some at a time, while others write and delete.
    fn list_slowly(&self, prefix: Path) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let world = self.0.clone();
        stream::unfold(Path::default(), move |after| {
            let (world, prefix) = (world.clone(), prefix.clone());
            async move {
                world.sleep(MS * u32::try_from(world.below(20)).unwrap()).await;
                let page = usize::try_from(1 + world.below(4)).unwrap();
                let objects: Vec<ObjectMeta> =
                    world.bucket().list(Some(&prefix)).map(|object| object.unwrap()).collect().await;
                let mut objects: Vec<_> =
                    objects.into_iter().filter(|object| object.location > after).collect();
                objects.sort_by(|a, b| a.location.cmp(&b.location));
                objects.truncate(page);
                let last = objects.last()?.location.clone();
                Some((stream::iter(objects.into_iter().map(Ok)), last))
            }
        })
        .flatten()
        .boxed()
    }

    fn later(&self, after: Duration, path: &Path, payload: PutPayload, options: PutOptions) {
        let (world, path) = (self.0.clone(), path.clone());
        let task = async move {
            world.sleep(after).await;
            drop(world.bucket().put_opts(&path, payload, options).await);
        };
        self.0.spawn(task);
    }
}

#[async_trait]
impl ObjectStore for Store {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let fault = self.arrive(Kind::Put, path).await;
        let put = || self.0.bucket().put_opts(path, payload.clone(), options.clone());
        match fault {
            None | Some(Fault::Slow(_) | Fault::Cut(_)) => put().await,
            Some(Fault::Lost) => futures_util::future::pending().await,
            Some(Fault::ReplyLost) => {
                drop(put().await);
                futures_util::future::pending().await
            }
            Some(Fault::Late(after)) => {
                self.later(after, path, payload, options);
                Err(failed(0, path))
            }
            Some(Fault::Twice(after)) => {
                let answer = put().await;
                self.later(after, path, payload, options);
                answer
            }
            Some(Fault::Status(status)) => Err(failed(status, path)),
            Some(Fault::AppliedStatus(status)) => {
                drop(put().await);
                Err(failed(status, path))
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        Err(failed(400, &Path::default()))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        match self.arrive(Kind::Get, path).await {
            Some(Fault::Lost | Fault::ReplyLost) => futures_util::future::pending().await,
            Some(Fault::Status(status) | Fault::AppliedStatus(status)) => Err(failed(status, path)),
            Some(Fault::Cut(length)) => {
                let range = Some(object_store::GetRange::Bounded(0..length as u64));
                self.0.bucket().get_opts(path, GetOptions { range, ..options }).await
            }
            _ => self.0.bucket().get_opts(path, options).await,
        }
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let store = Self(self.0.clone());
        paths
            .then(move |path| {
                let store = Self(store.0.clone());
                async move {
                    let path = path?;
                    match store.arrive(Kind::Delete, &path).await {
                        Some(Fault::Status(status)) => Err(failed(status, &path)),
                        _ => {
                            store.0.bucket().delete(&path).await?;
                            Ok(path)
                        }
                    }
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let store = Self(self.0.clone());
        let prefix = prefix.cloned().unwrap_or_default();
        let listed = async move {
            match store.arrive(Kind::List, &prefix).await {
                Some(Fault::Status(status)) => stream::iter(vec![Err(failed(status, &prefix))]).boxed(),
                Some(Fault::Lost) => stream::pending().boxed(),
                _ if store.0.0.chaos.lock().unwrap().is_some() => store.list_slowly(prefix),
                _ => store.0.bucket().list(Some(&prefix)),
            }
        };
        stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.0.bucket().list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> object_store::Result<()> {
        Err(failed(400, &Path::default()))
    }
}
