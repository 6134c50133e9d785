//! One process's way to the simulated bucket: an [`ObjectStore`] whose requests travel.
//!
//! ```text
//!  sent ── out ──► arrives (takes effect) ── back ──► answered
//!    │                                                   │
//!    └───────────────── timeout ────────► given up ◄─────┘ whichever is first
//! ```
//!
//! Invariants:
//! 1. What will become of a request is drawn when it is sent, in one place (`Client::send`); only outages are looked at
//!    again, when it arrives and when it is answered.
//! 2. Dropping the future of a request does not call the request back.
//! 3. A request whose answer is lost ends in a time-out or a reset, never in silence for ever.
//!
//! Crash: a request of a process that dies goes on; its answer meets nobody. Refuses: see [`super`].

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use super::error::Refusal;
use super::faults::{Outage, up_to};
use super::shelf::{Condition, Listed, Shelf};
use super::{Bucket, Request, State, Verb};
use crate::process::{Process, WALL_ORIGIN};
use crate::world::lock;

/// One process's way to the bucket.
#[derive(Clone)]
pub struct Client {
    bucket: Bucket,
    process: Process,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client of {:?}", self.process)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("simulated S3")
    }
}

/// Where an answer is left for the task that waits.
struct Answer<T> {
    outcome: Option<Result<T, Refusal>>,
    waiting: Option<Waker>,
}

type Mailbox<T> = Arc<Mutex<Answer<T>>>;

fn leave<T>(mailbox: &Mailbox<T>, outcome: Result<T, Refusal>) {
    let waiting = {
        let mut answer = lock(mailbox);
        if answer.outcome.is_none() {
            answer.outcome = Some(outcome);
        }
        answer.waiting.take()
    };
    if let Some(waker) = waiting {
        waker.wake();
    }
}

/// What will become of a request.
struct Journey {
    out: Duration,
    back: Duration,
    /// It arrives at all.
    arrives: bool,
    /// A second arrival, so long after the first, and whether its answer is the one that gets through.
    again: Option<(Duration, bool)>,
    /// A refusal instead of, or after, taking effect.
    refused: Option<(u16, bool)>,
    answered: bool,
    /// No answer: the connection is reset so long after sending, or else the client gives up at its time-out.
    reset: Option<Duration>,
    timeout: Duration,
}

impl Journey {
    fn draw(state: &mut State, verb: Verb) -> Self {
        let State { faults, chance, .. } = state;
        let mut happens = |share: u64| share > 0 && chance.below(10_000_u64) < share;
        let (lost, unanswered) = (happens(faults.request_lost), happens(faults.answer_lost));
        let (late, twice) = (happens(faults.late), happens(faults.twice));
        let conflict = happens(faults.conflict) && matches!(verb, Verb::Create | Verb::Update);
        let (throttled, broken) = (happens(faults.throttled), happens(faults.broken));
        let latency = faults.latency.draw(chance);
        let out = latency.mul_f64(f64::from(chance.range(10..=90_u32)) / 100.0);
        let refused = if throttled {
            Some((chance.pick(&[429, 503, 503]), false))
        } else if broken {
            Some((500, chance.percent(50)))
        } else {
            conflict.then_some((409, false))
        };
        let again = twice.then(|| {
            let after = if chance.percent(50) { Duration::ZERO } else { up_to(chance, faults.late_by) };
            (after, chance.percent(50))
        });
        let reset = chance.percent(50).then(|| latency + up_to(chance, Duration::from_millis(200)));
        Self {
            out: if late { out + up_to(chance, faults.late_by) } else { out },
            back: latency.saturating_sub(out),
            arrives: !lost,
            again,
            refused,
            answered: !unanswered,
            reset,
            timeout: faults.timeout,
        }
    }
}

impl Client {
    pub(super) fn new(bucket: Bucket, process: Process) -> Self {
        Self { bucket, process }
    }

    /// Sends one request. `apply` is what it does when it arrives, each time.
    async fn send<T, A>(&self, verb: Verb, key: &str, apply: A) -> Result<T>
    where
        T: Send + Clone + 'static,
        A: FnMut(&mut Shelf, Duration) -> Result<T, Refusal> + Send + 'static,
    {
        if !self.process.is_alive() {
            std::future::pending::<()>().await;
        }
        let mailbox: Mailbox<T> = Arc::new(Mutex::new(Answer { outcome: None, waiting: None }));
        let timeout = self.dispatch(verb, key, apply, &mailbox);
        let mut given_up = pin!(self.process.sleep(timeout));
        let outcome = poll_fn(|context| {
            let mut answer = lock(&mailbox);
            if let Some(outcome) = answer.outcome.take() {
                return Poll::Ready(outcome);
            }
            answer.waiting = Some(context.waker().clone());
            drop(answer);
            given_up.as_mut().poll(context).map(|()| Err(Refusal::TimedOut))
        })
        .await;
        let number = outcome.as_ref().err().map_or(200, |refusal| refusal.number());
        self.bucket.world().note("answered", Some(self.process.id()), key, number);
        outcome.map_err(|refusal| refusal.into_error(verb, key, self.tells_status()))
    }

    fn tells_status(&self) -> bool {
        self.bucket.state().faults.tells_status
    }

    /// Puts a request on its way, and answers after how long its sender gives up.
    fn dispatch<T, A>(&self, verb: Verb, key: &str, apply: A, mailbox: &Mailbox<T>) -> Duration
    where
        T: Send + Clone + 'static,
        A: FnMut(&mut Shelf, Duration) -> Result<T, Refusal> + Send + 'static,
    {
        let world = self.bucket.world().clone();
        let (journey, number) = {
            let mut state = self.bucket.state();
            let journey = Journey::draw(&mut state, verb);
            state.history.push(Request {
                sender: (self.process.id(), self.process.life()),
                verb,
                key: key.to_owned(),
                sent: world.now(),
                arrived: Vec::new(),
                answered: None,
            });
            (journey, state.history.len() - 1)
        };
        world.note(verb.name(), Some(self.process.id()), key, number as u64);
        let timeout = journey.timeout;
        if let Some(after) = journey.reset
            && (!journey.answered || !journey.arrives)
        {
            let mailbox = mailbox.clone();
            world.after(after, move || leave(&mailbox, Err(Refusal::Reset)));
        }
        if journey.arrives {
            let arrival = Arrival {
                client: self.clone(),
                verb,
                number,
                refused: journey.refused,
                turned_away: Arc::default(),
                apply: Arc::new(Mutex::new(apply)),
                mailbox: mailbox.clone(),
            };
            let second_answers = journey.again.is_some_and(|(_, answers)| answers);
            let back = journey.answered.then_some(journey.back);
            arrival.plan(journey.out, false, if second_answers { None } else { back });
            if let Some((after, _)) = journey.again {
                arrival.plan(journey.out + after, true, if second_answers { back } else { None });
            }
        }
        timeout
    }
}

/// A request on its way in.
struct Arrival<T, A> {
    client: Client,
    verb: Verb,
    number: usize,
    refused: Option<(u16, bool)>,
    /// How the first arrival was turned away, and so is every other: who is told 403 is told the truth.
    turned_away: Arc<Mutex<Option<u16>>>,
    apply: Arc<Mutex<A>>,
    mailbox: Mailbox<T>,
}

impl<T, A> Clone for Arrival<T, A> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            turned_away: self.turned_away.clone(),
            apply: self.apply.clone(),
            mailbox: self.mailbox.clone(),
            ..*self
        }
    }
}

impl<T, A> Arrival<T, A>
where
    T: Send + Clone + 'static,
    A: FnMut(&mut Shelf, Duration) -> Result<T, Refusal> + Send + 'static,
{
    /// Arrives after `out`, and is answered `back` later, if at all.
    fn plan(&self, out: Duration, again: bool, back: Option<Duration>) {
        let arrival = self.clone();
        self.client.bucket.world().after(out, move || arrival.arrive(again, back));
    }

    fn outage(&self) -> Outage {
        let outages = &self.client.bucket.state().outages;
        outages.get(&self.client.process.id()).copied().unwrap_or(Outage::None)
    }

    fn arrive(self, again: bool, back: Option<Duration>) {
        let world = self.client.bucket.world().clone();
        let outage = self.outage();
        if outage == Outage::Partition {
            return;
        }
        let outcome = {
            let mut state = self.client.bucket.state();
            let State { shelf, chance, history, .. } = &mut *state;
            let turned_away = {
                let mut before = lock(&self.turned_away);
                let now = refused_by(outage, self.verb, chance);
                *before = before.or(if again { None } else { now });
                before.or(now)
            };
            let outcome = match (turned_away, self.refused) {
                (Some(status), _) => Err(Refusal::Status(status)),
                (None, Some((status, applied))) => {
                    if applied {
                        let _unseen = (*lock(&self.apply))(shelf, world.now());
                    }
                    Err(Refusal::Status(status))
                }
                (None, None) => (*lock(&self.apply))(shelf, world.now()),
            };
            if let Some(request) = history.get_mut(self.number) {
                request.arrived.push((world.now(), outcome.as_ref().map(drop).map_err(|refusal| *refusal)));
            }
            outcome
        };
        let number = outcome.as_ref().err().map_or(200, |refusal| refusal.number());
        world.note("arrived", Some(self.client.process.id()), self.verb.name(), number);
        // A repetition that is turned away says nothing of the first arrival; whoever repeats for a client knows that, and
        // does not pass the refusal on as the answer to the whole. (One that did would make every 403 a doubt.)
        let misleading = again && outage != Outage::None;
        if let Some(back) = back.filter(|_| !misleading) {
            world.after(back, move || self.answer(outcome));
        }
    }

    fn answer(self, outcome: Result<T, Refusal>) {
        if matches!(self.outage(), Outage::Partition | Outage::Deaf) {
            return;
        }
        let now = self.client.bucket.world().now();
        if let Some(request) = self.client.bucket.state().history.get_mut(self.number) {
            request.answered = Some(now);
        }
        leave(&self.mailbox, outcome);
    }
}

fn refused_by(outage: Outage, verb: Verb, chance: &mut twill_types::seeded::Chance) -> Option<u16> {
    match outage {
        Outage::Forbidden => Some(403),
        Outage::Unauthorized => Some(401),
        Outage::ReadOnly if verb.writes() => Some(403),
        Outage::Throttled if chance.percent(90) => Some(503),
        Outage::None | Outage::Partition | Outage::Deaf | Outage::ReadOnly | Outage::Throttled => None,
    }
}

fn wall(written: Duration) -> DateTime<Utc> {
    let seconds = (WALL_ORIGIN + written).as_secs();
    DateTime::from_timestamp(i64::try_from(seconds).unwrap_or(i64::MAX), 0).unwrap_or_default()
}

fn not_implemented(operation: &str) -> object_store::Error {
    object_store::Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "simulated S3".to_owned(),
    }
}

fn put_result(etag: String) -> PutResult {
    PutResult { e_tag: Some(etag), version: None, extensions: Default::default() }
}

#[async_trait]
impl ObjectStore for Client {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let bytes = Bytes::from(payload);
        let (verb, condition) = match options.mode {
            PutMode::Overwrite => (Verb::Put, Condition::Always),
            PutMode::Create => (Verb::Create, Condition::Absent),
            PutMode::Update(version) => {
                let etag = version.e_tag.ok_or_else(|| not_implemented("update without an ETag"))?;
                (Verb::Update, Condition::Matches(etag))
            }
        };
        let key = location.to_string();
        let apply = {
            let key = key.clone();
            move |shelf: &mut Shelf, now| shelf.write(now, &key, bytes.clone(), &condition)
        };
        self.send(verb, &key, apply).await.map(put_result)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let key = location.to_string();
        let upload = self.send(Verb::Upload, &key, |shelf: &mut Shelf, _| Ok(shelf.begin_upload())).await?;
        Ok(Box::new(Upload { client: self.clone(), key, upload, parts: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let key = location.to_string();
        let verb = if options.head { Verb::Head } else { Verb::Get };
        let stored = {
            let sought = key.clone();
            self.send(verb, &key, move |shelf: &mut Shelf, now| shelf.read(now, &sought)).await?
        };
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: wall(stored.written),
            size: stored.bytes.len() as u64,
            e_tag: Some(stored.etag),
            version: None,
        };
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            None => 0..meta.size,
            Some(range) => {
                range.as_range(meta.size).map_err(|_| Refusal::Status(416).into_error(verb, &key, false))?
            }
        };
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let bytes = if options.head {
            Bytes::new()
        } else {
            stored.bytes.slice(index(range.start)..index(range.end))
        };
        let payload = GetResultPayload::Stream(self.body(bytes, verb, &key));
        Ok(GetResult { payload, meta, range, attributes: Default::default(), extensions: Default::default() })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let client = self.clone();
        // S3 deletes up to 1,000 keys with one request.
        locations
            .ready_chunks(1000)
            .then(move |batch| {
                let client = client.clone();
                async move { stream::iter(client.delete_batch(batch).await) }
            })
            .flatten()
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_after(prefix, String::new())
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_after(prefix, offset.to_string())
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let prefix_text = directory(prefix);
        let all: Vec<Result<ObjectMeta>> = self.list_after(prefix, String::new()).collect().await;
        let (mut objects, mut folders) = (Vec::new(), BTreeMap::new());
        for meta in all {
            let meta = meta?;
            let rest = meta.location.as_ref().strip_prefix(&prefix_text).unwrap_or_default();
            match rest.split_once('/') {
                Some((folder, _)) => {
                    folders.insert(Path::from(format!("{prefix_text}{folder}")), ());
                }
                None => objects.push(meta),
            }
        }
        let common_prefixes = folders.into_keys().collect();
        Ok(ListResult { common_prefixes, objects, extensions: Default::default() })
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        if options.mode != CopyMode::Overwrite {
            return Err(not_implemented("conditional copy"));
        }
        let (from, to) = (from.to_string(), to.to_string());
        let target = to.clone();
        let apply = move |shelf: &mut Shelf, now| {
            let stored = shelf.read(now, &from)?;
            shelf.write(now, &target, stored.bytes, &Condition::Always).map(drop)
        };
        self.send(Verb::Put, &to, apply).await
    }
}

/// The text with which every key under `prefix` begins: prefixes are of whole segments.
fn directory(prefix: Option<&Path>) -> String {
    prefix.filter(|prefix| !prefix.as_ref().is_empty()).map(|prefix| format!("{prefix}/")).unwrap_or_default()
}

impl Client {
    /// The body of an answer, which may break off.
    fn body(&self, bytes: Bytes, verb: Verb, key: &str) -> BoxStream<'static, Result<Bytes>> {
        let cut_at = {
            let mut state = self.bucket.state();
            let State { faults, chance, .. } = &mut *state;
            let cut = faults.cut > 0 && chance.below(10_000_u64) < faults.cut;
            cut.then(|| chance.index(bytes.len()))
        };
        let chunks = match cut_at {
            None => vec![Ok(bytes)],
            Some(at) => vec![Ok(bytes.slice(..at)), Err(Refusal::Reset.into_error(verb, key, false))],
        };
        stream::iter(chunks).boxed()
    }

    async fn delete_batch(&self, batch: Vec<Result<Path>>) -> Vec<Result<Path>> {
        let keys: Vec<String> = batch.iter().flatten().map(Path::to_string).collect();
        let first = keys.first().cloned().unwrap_or_default();
        let kept: Vec<bool> = {
            let mut state = self.bucket.state();
            let State { faults, chance, .. } = &mut *state;
            let partial = faults.partial_delete > 0
                && keys.len() > 1
                && chance.below(10_000_u64) < faults.partial_delete;
            keys.iter().map(|_| partial && chance.percent(50)).collect()
        };
        let spared = kept.clone();
        let apply = move |shelf: &mut Shelf, _| {
            for (key, kept) in keys.iter().zip(&spared) {
                if !kept {
                    shelf.delete(key);
                }
            }
            Ok(())
        };
        let outcome = self.send(Verb::Delete, &first, apply).await;
        let mut kept = kept.into_iter();
        let failed = outcome.err();
        batch
            .into_iter()
            .map(|location| {
                let location = location?;
                let refusal = match (&failed, kept.next()) {
                    (Some(object_store::Error::PermissionDenied { .. }), _) => Refusal::Status(403),
                    (Some(object_store::Error::Unauthenticated { .. }), _) => Refusal::Status(401),
                    (Some(_), _) => Refusal::TimedOut,
                    (None, Some(true)) => Refusal::Status(500),
                    (None, Some(false) | None) => return Ok(location),
                };
                Err(refusal.into_error(Verb::Delete, location.as_ref(), false))
            })
            .collect()
    }

    fn list_after(&self, prefix: Option<&Path>, after: String) -> BoxStream<'static, Result<ObjectMeta>> {
        let (client, prefix) = (self.clone(), directory(prefix));
        stream::unfold(Some(after), move |after| {
            let (client, prefix) = (client.clone(), prefix.clone());
            async move {
                let page = client.list_page(&prefix, &after?).await;
                Some(match page {
                    Ok((metas, next)) => (metas.into_iter().map(Ok).collect::<Vec<_>>(), next),
                    Err(error) => (vec![Err(error)], None),
                })
            }
        })
        .flat_map(stream::iter)
        .boxed()
    }

    /// One page of a LIST, and the key after which the next begins.
    async fn list_page(&self, prefix: &str, after: &str) -> Result<(Vec<ObjectMeta>, Option<String>)> {
        let (page, takes, torn_by) = {
            let mut state = self.bucket.state();
            let State { faults, chance, .. } = &mut *state;
            (faults.list_page, up_to(chance, faults.list_takes), chance.fork("torn list"))
        };
        let begun: Arc<Mutex<Option<BTreeMap<String, Listed>>>> = Arc::default();
        if !takes.is_zero() {
            let (bucket, begun) = (self.bucket.clone(), begun.clone());
            let (prefix, after) = (prefix.to_owned(), after.to_owned());
            self.bucket.world().after(Duration::ZERO, move || {
                let now = bucket.world().now();
                *lock(&begun) = Some(bucket.state().shelf.list(now, &prefix, &after, usize::MAX));
            });
            self.process.sleep(takes).await;
        }
        let apply = {
            let (prefix, after) = (prefix.to_owned(), after.to_owned());
            move |shelf: &mut Shelf, now| {
                Ok(match lock(&begun).as_ref() {
                    Some(begun) => {
                        let ended = shelf.list(now, &prefix, &after, usize::MAX);
                        torn(begun, ended, &mut torn_by.clone())
                    }
                    // One more than a page, to know whether there is a next one.
                    None => shelf.list(now, &prefix, &after, page.saturating_add(1)),
                })
            }
        };
        let listed = self.send(Verb::List, prefix, apply).await?;
        let more = listed.len() > page;
        let metas: Vec<ObjectMeta> = listed
            .into_iter()
            .take(page)
            .map(|(key, listed)| ObjectMeta {
                location: Path::from(key),
                last_modified: wall(listed.written),
                size: listed.size,
                e_tag: Some(listed.etag),
                version: None,
            })
            .collect();
        let next = metas.last().filter(|_| more).map(|meta| meta.location.to_string());
        Ok((metas, next))
    }
}

/// What a LIST sees that began with one state of the bucket and ended with another.
fn torn(
    begun: &BTreeMap<String, Listed>,
    mut ended: BTreeMap<String, Listed>,
    chance: &mut twill_types::seeded::Chance,
) -> BTreeMap<String, Listed> {
    ended.retain(|key, _| begun.contains_key(key) || chance.percent(50));
    for (key, listed) in begun {
        if !ended.contains_key(key) && chance.percent(50) {
            ended.insert(key.clone(), listed.clone());
        }
    }
    ended
}

/// A multipart upload under way.
struct Upload {
    client: Client,
    key: String,
    upload: String,
    parts: usize,
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upload of {}", self.key)
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let (part, bytes) = (self.parts, Bytes::from(payload));
        self.parts += 1;
        let (client, key, upload) = (self.client.clone(), self.key.clone(), self.upload.clone());
        Box::pin(async move {
            let apply = move |shelf: &mut Shelf, _| shelf.upload_part(&upload, part, bytes.clone());
            client.send(Verb::Upload, &key, apply).await
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (key, upload, parts) = (self.key.clone(), self.upload.clone(), self.parts);
        let apply = move |shelf: &mut Shelf, now| shelf.complete_upload(now, &key, &upload, parts);
        self.client.send(Verb::Upload, &self.key, apply).await.map(put_result)
    }

    async fn abort(&mut self) -> Result<()> {
        let upload = self.upload.clone();
        let apply = move |shelf: &mut Shelf, _| {
            shelf.abort_upload(&upload);
            Ok(())
        };
        self.client.send(Verb::Upload, &self.key, apply).await
    }
}
