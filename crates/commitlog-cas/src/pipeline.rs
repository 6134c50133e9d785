//! The driver's work: records leave, settle and are acknowledged in the order of their slots.
//!
//! ```text
//!   queue ─► freeze (LSNs, checksum chain, bytes) ─► slot s, s+1, … in flight, each settled by itself
//!                                                        │ owned
//!              acknowledge ◄── all slots before owned ◄──┘
//! ```
//!
//! Invariants (rules 1, 4, 5, 7):
//! 1. Slots are given in order, one record each; its bytes are frozen before its first attempt.
//! 2. A slot is acknowledged when it and every slot before it are owned.
//! 3. When a slot fails, nothing more leaves. The slots before it are settled still; it and those behind it have the
//!    outcome of the first failure that concerned them: fenced or refused for good means that the history never gets
//!    past this slot with our records, so those behind it are not applied either; indeterminate means they are too.
//! 4. The parts of a large commit are all in the store before its record is attempted. If they are not, the record
//!    never is, so the commit is not applied.
//! 5. A seal leaves when nothing else is in flight or waiting, and nothing leaves after it.
//!
//! A crash leaves records in a prefix of the slots given, perhaps with gaps; those behind the first gap are void once
//! the next opener fences there.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use twill_types::{Lsn, TimelineId};

use crate::environment::Point;
use crate::error::{LogError, Outcome};
use crate::name::LogName;
use crate::options::Compression;
use crate::pace::Pace;
use crate::parts::{Parts, Upload};
use crate::position::{Position, Slot, WriterId};
use crate::record::{self, Body, Entry, Header, Kind, Payload, Seal};
use crate::settle::{Settled, settle};
use crate::shared::{Batch, Shared};
use crate::site::Site;

pub(crate) struct Pipeline {
    shared: Arc<Shared>,
    site: Arc<Site>,
    writer: WriterId,
    /// Where the next record goes.
    next: Position,
    window: VecDeque<Flight>,
    flying: FuturesUnordered<BoxFuture<'static, Landed>>,
    pace: Pace,
    timer: Option<BoxFuture<'static, ()>>,
    /// The next record has waited for company, so it may leave as soon as the rhythm lets it.
    gathered: bool,
    parts: Parts,
    halted: bool,
}

/// Lets every task run that is ready now.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A slot that is given and not acknowledged.
struct Flight {
    slot: Slot,
    first: Lsn,
    after: Position,
    owned: bool,
    seals: Option<Option<TimelineId>>,
    abort: AbortHandle,
}

/// What became of a slot; `None` of one that was given up.
struct Landed(Option<(Slot, Settled)>);

enum Event {
    Landed(Landed),
    Asked,
    Time,
}

impl Pipeline {
    pub(crate) fn new(shared: &Arc<Shared>, writer: WriterId, put_took: Option<Duration>) -> Self {
        let site = Arc::clone(&shared.site);
        let mut pace = Pace::new(site.options.spacing);
        put_took.into_iter().for_each(|took| pace.learn(took));
        Self {
            shared: Arc::clone(shared),
            writer,
            next: shared.base,
            window: VecDeque::new(),
            flying: FuturesUnordered::new(),
            pace,
            timer: None,
            gathered: false,
            parts: Parts::new(),
            halted: false,
            site,
        }
    }

    /// Works until there is nothing left to do for ever.
    pub(crate) async fn run(mut self) {
        loop {
            self.dispatch();
            let idle = self.window.is_empty();
            if idle && (self.halted || (self.shared.is_closing() && !self.shared.has_queued())) {
                break;
            }
            match poll_fn(|context| self.poll_event(context)).await {
                Event::Landed(Landed(Some((slot, settled)))) => self.landed(slot, settled).await,
                Event::Landed(Landed(None)) | Event::Asked | Event::Time => {}
            }
        }
        self.shared.finish();
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        // Settled slots first: they make room, and tell a failure before more is sent.
        if let Poll::Ready(Some(landed)) = self.flying.poll_next_unpin(context) {
            return Poll::Ready(Event::Landed(landed));
        }
        if self.shared.poll_notified(context).is_ready() {
            return Poll::Ready(Event::Asked);
        }
        if let Some(timer) = &mut self.timer
            && timer.poll_unpin(context).is_ready()
        {
            self.timer = None;
            self.gathered = true;
            return Poll::Ready(Event::Time);
        }
        Poll::Pending
    }

    /// Sends what may leave now.
    fn dispatch(&mut self) {
        let window = self.site.options.window();
        while !self.halted && self.window.len() < window && self.shared.has_queued() && self.may_leave() {
            let options = &self.site.options;
            let Some(batch) = self.shared.take(options.part_bytes(), options.record_bytes()) else { break };
            self.gathered = false;
            self.launch(batch);
        }
        if !self.halted
            && self.window.is_empty()
            && let Some(redirect) = self.shared.seal_to_write()
        {
            self.launch_seal(redirect);
        }
    }

    /// Whether the rhythm lets a record leave; if not, a timer is set for when it does.
    ///
    /// An acknowledgement wakes a whole group of waiters at once, and the first that appends again wakes this task. If
    /// it left alone the others would wait for the next turn; so it first lets whoever is ready run.
    fn may_leave(&mut self) -> bool {
        let flying = self.window.iter().any(|flight| !flight.owned);
        let wait = self.pace.wait(self.site.environment.now());
        if !flying || (wait.is_zero() && self.gathered) {
            return true;
        }
        if wait.is_zero() {
            self.timer = Some(yield_once().boxed());
        } else {
            self.timer.get_or_insert_with(|| self.site.environment.sleep(wait));
        }
        false
    }

    fn launch(&mut self, batch: Batch) {
        let mut uploads = Vec::new();
        let part_bytes = self.site.options.part_bytes();
        let mut entries = Vec::with_capacity(batch.commits.len());
        for commit in batch.commits {
            let payload = if commit.payload.len() > part_bytes {
                Payload::Parts(self.parts.split(&commit.payload, part_bytes, &mut uploads))
            } else {
                Payload::Inline(commit.payload)
            };
            entries.push(Entry { time: commit.time, token: commit.token, payload });
        }
        let time = entries.last().map(|entry| entry.time).unwrap_or_default();
        let header = self.header(Kind::Commits, batch.first, batch.last);
        match record::encode(&header, &Body::Commits(entries), self.site.options.compression) {
            Ok((bytes, previous)) => {
                let after = Position { slot: self.next.slot.next(), lsn: batch.last, previous, time };
                self.fly(bytes, uploads, header, after, None);
            }
            Err(error) => {
                self.fail_from(self.window.len(), batch.first, Outcome::NotApplied(Arc::new(error)))
            }
        }
    }

    fn launch_seal(&mut self, redirect: Option<TimelineId>) {
        let lsn = self.next.lsn;
        let header = self.header(Kind::Seal, lsn, lsn);
        let body = Body::Seal(Seal { redirect, time: self.shared.time() });
        match record::encode(&header, &body, Compression::None) {
            // Nothing lies behind a seal, no boundary either: a floor there would hide it.
            Ok((bytes, _)) => self.fly(bytes, Vec::new(), header, self.next, Some(redirect)),
            Err(error) => self.shared.sealed(Err(error.clone()), LogError::poisoned(&error)),
        }
    }

    fn header(&self, kind: Kind, first: Lsn, last: Lsn) -> Header {
        Header {
            kind,
            has_parts: false,
            identity: self.site.identity,
            writer: self.writer,
            slot: self.next.slot,
            first,
            last,
            previous: self.next.previous,
            count: 0,
        }
    }

    /// Gives the next slot to these bytes, for ever.
    fn fly(
        &mut self,
        bytes: Bytes,
        uploads: Vec<Upload>,
        header: Header,
        after: Position,
        seals: Option<Option<TimelineId>>,
    ) {
        let (slot, site) = (header.slot, Arc::clone(&self.site));
        let (before, settled) = match seals {
            None => (Point::BeforeSlotPut, Point::AfterSlotPut),
            Some(_) => (Point::BeforeSealPut, Point::AfterSealPut),
        };
        let flight = async move {
            if let Err(error) = crate::parts::upload(&site, &header, uploads).await {
                return (slot, Settled::Failed { ambiguous: false, error });
            }
            site.environment.point(before).await;
            let outcome = settle(&site, &LogName::Slot(slot).path(&site.root), &bytes).await;
            if matches!(outcome, Settled::Own { .. }) {
                site.environment.point(settled).await;
            }
            (slot, outcome)
        };
        let (abort, registration) = AbortHandle::new_pair();
        self.flying.push(Abortable::new(flight, registration).map(|landed| Landed(landed.ok())).boxed());
        let first = if seals.is_some() { header.last.next() } else { header.first };
        self.window.push_back(Flight { slot, first, after, owned: false, seals, abort });
        self.next = after;
        self.pace.left(self.site.environment.now());
    }

    async fn landed(&mut self, slot: Slot, settled: Settled) {
        let Some(index) = self.window.iter().position(|flight| flight.slot == slot) else { return };
        let outcome = match settled {
            Settled::Own { took } => {
                took.into_iter().for_each(|took| self.pace.learn(took));
                self.window
                    .iter_mut()
                    .filter(|flight| flight.slot == slot)
                    .for_each(|flight| flight.owned = true);
                return self.acknowledge().await;
            }
            Settled::Taken(bytes) => taken(&self.site, slot, &bytes),
            Settled::Failed { ambiguous: true, error } => Outcome::Indeterminate(Arc::new(error)),
            Settled::Failed { ambiguous: false, error } => Outcome::NotApplied(Arc::new(error)),
        };
        let first = self.window.get(index).map_or(self.next.lsn.next(), |flight| flight.first);
        self.fail_from(index, first, outcome);
    }

    /// Acknowledges the owned slots at the front of the window.
    async fn acknowledge(&mut self) {
        let owned = self.window.iter().take_while(|flight| flight.owned).count();
        if owned == 0 {
            return;
        }
        self.site.environment.point(Point::BeforeAcknowledge).await;
        let flights: Vec<Flight> = self.window.drain(..owned).collect();
        let boundaries: Vec<Position> = flights.iter().map(|flight| flight.after).collect();
        self.shared.acknowledge(&boundaries);
        if let Some(redirect) = flights.iter().find_map(|flight| flight.seals) {
            self.halted = true;
            self.shared.sealed(Ok(()), LogError::Sealed { redirect });
        }
    }

    /// The slot at `index` and all behind it have this outcome, and nothing more leaves.
    fn fail_from(&mut self, index: usize, first: Lsn, outcome: Outcome) {
        self.halted = true;
        for flight in self.window.drain(index..) {
            flight.abort.abort();
            if let (Some(_), Some(error)) = (flight.seals, outcome.error()) {
                self.shared.sealed(Err(error.clone()), LogError::poisoned(error));
            }
        }
        self.shared.fail(first, outcome);
    }
}

/// What it means that somebody else's bytes are in this writer's slot.
fn taken(site: &Site, slot: Slot, bytes: &Bytes) -> Outcome {
    let object = LogName::Slot(slot).path(&site.root).to_string();
    let found = match record::decode(&object, bytes) {
        Ok(found) if found.header.slot == slot && found.header.identity == site.identity => found,
        Ok(found) => {
            let (expected, found) = (format!("slot {slot} of this log"), found.header.slot);
            return Outcome::Indeterminate(Arc::new(LogError::corrupt(&object, expected, found)));
        }
        Err(error) => return Outcome::Indeterminate(Arc::new(error)),
    };
    match found.body {
        Body::Fence(fence) => {
            let by = found.header.writer;
            Outcome::Fenced(Arc::new(LogError::Fenced { slot, epoch: fence.next, by }))
        }
        Body::Seal(seal) => Outcome::NotApplied(Arc::new(LogError::Sealed { redirect: seal.redirect })),
        Body::Commits(_) | Body::Part(_) | Body::Merged { .. } => {
            let found = format!("other commits, of writer {}", found.header.writer);
            Outcome::Indeterminate(Arc::new(LogError::corrupt(
                &object,
                "this writer's record or a fence",
                found,
            )))
        }
    }
}
