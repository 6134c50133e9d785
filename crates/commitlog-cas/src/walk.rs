//! Reading records in the order of the history: which object holds the next slot, and whether the record found there
//! may follow the one before.
//!
//! Invariants (rules 2, 3, 6):
//! 1. A position advances over a record only if the record is of this log, of this slot, continues the LSNs, repeats
//!    the checksum of the record before, and goes not back in time.
//! 2. A fence counts by its place alone. The first one in an epoch ends it, whatever its writer believed: one who was
//!    superseded may have fenced what it thought was the end, but never commits (rule 8).
//! 3. The walk does not step over a seal, so that no floor can be raised over one.
//! 4. A merged object comes before a slot it holds. Where both exist, the slot is about to be deleted, or was and holds
//!    what a superseded opener put into the empty place.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use twill_types::{Epoch, Seq};

use crate::commit::Commit;
use crate::error::LogError;
use crate::name::{self, LogName};
use crate::position::{Identity, Position, Slot};
use crate::record::{self, Body, Entry, PartReference, Payload, Record, Seal};
use crate::requests;
use crate::site::Site;

/// The names that a LIST gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    slots: BTreeSet<Slot>,
    /// By epoch and first slot; none holds another, so the last slots ascend as well.
    merged: Vec<(Epoch, Seq, Seq)>,
}

impl Listing {
    /// One LIST of everything that holds `from` or lies behind it.
    pub(crate) fn load<'a>(site: &'a Site, from: Slot) -> BoxFuture<'a, Result<Self, LogError>> {
        async move {
            let after = name::list_after(&site.root, from);
            let parse = |path: &_| LogName::parse(&site.root, path);
            let names = requests::list(site, &name::log_folder(&site.root), Some(&after), parse).await?;
            Ok(Self::of(names))
        }
        .boxed()
    }

    /// The same, of this epoch alone.
    pub(crate) async fn load_epoch(site: &Site, from: Slot) -> Result<Self, LogError> {
        let after = name::list_after(&site.root, from);
        let parse = |path: &_| LogName::parse(&site.root, path);
        let names =
            requests::list(site, &name::epoch_folder(&site.root, from.epoch), Some(&after), parse).await?;
        Ok(Self::of(names))
    }

    pub(crate) fn of(names: Vec<LogName>) -> Self {
        let mut listing = Self::default();
        let mut merged = Vec::new();
        for name in names {
            match name {
                LogName::Slot(slot) => drop(listing.slots.insert(slot)),
                LogName::Merged { first, last } => merged.push((last.epoch, first, last.seq)),
            }
        }
        // The widest of those that begin together comes first; what reaches no further than the one before is in it.
        merged.sort_unstable_by_key(|&(epoch, first, last)| (epoch, first, std::cmp::Reverse(last)));
        for (epoch, first, last) in merged {
            let held =
                listing.merged.last().is_some_and(|&(before, _, reached)| before == epoch && reached >= last);
            if !held {
                listing.merged.push((epoch, first, last));
            }
        }
        listing
    }

    /// The slots that are objects of their own.
    pub(crate) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.slots.iter().copied()
    }

    /// The merged object that holds `slot`.
    pub(crate) fn merged_over(&self, slot: Slot) -> Option<LogName> {
        let behind =
            self.merged.partition_point(|&(epoch, first, _)| (epoch, first) <= (slot.epoch, slot.seq));
        let &(epoch, first, last) = self.merged.get(behind.checked_sub(1)?)?;
        let holds = epoch == slot.epoch && last >= slot.seq;
        holds.then_some(LogName::Merged { first, last: Slot { epoch, seq: last } })
    }

    /// The objects that hold the slots from `from` on, up to the first that none holds.
    pub(crate) fn plan(&self, from: Slot) -> VecDeque<LogName> {
        let mut plan = VecDeque::new();
        let mut next = from;
        loop {
            let name = match self.merged_over(next) {
                Some(merged) => merged,
                None if self.slots.contains(&next) => LogName::Slot(next),
                None => return plan,
            };
            plan.push_back(name);
            next = name.last().next();
        }
    }

    /// Whether there is anything behind `slot`.
    pub(crate) fn reaches_behind(&self, slot: Slot) -> bool {
        let merged = self.merged.last().is_some_and(|&(epoch, _, last)| Slot { epoch, seq: last } > slot);
        merged || self.slots.last().is_some_and(|last| *last > slot)
    }

    /// Whether there is anything in a later epoch.
    pub(crate) fn reaches_beyond(&self, epoch: Epoch) -> bool {
        let slots = self.slots.last().is_some_and(|slot| slot.epoch > epoch);
        slots || self.merged.last().is_some_and(|&(last, ..)| last > epoch)
    }
}

/// What a record in its place does to the history.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Commits are added; their payloads may be in parts.
    Commits(Vec<Entry>),
    /// The epoch ends.
    Fence,
    /// The timeline ends.
    Seal(Seal),
}

/// Advances over `record` if it may follow.
pub(crate) fn step(
    position: &mut Position,
    identity: &Identity,
    object: &str,
    record: &Record,
) -> Result<Step, LogError> {
    let header = &record.header;
    if header.identity != *identity {
        let Identity { database, timeline } = identity;
        let expected = format!("a record of database {database}, timeline {timeline}");
        let found = format!("one of {}, {}", header.identity.database, header.identity.timeline);
        return Err(LogError::corrupt(object, expected, found));
    }
    if header.slot != position.slot {
        return Err(LogError::corrupt(object, format!("slot {}", position.slot), header.slot));
    }
    let chained = header.previous == position.previous;
    match &record.body {
        Body::Fence(_) => {
            *position = Position { slot: position.slot.next_epoch(), previous: record.checksum, ..*position };
            Ok(Step::Fence)
        }
        Body::Commits(_) | Body::Seal(_) if !chained => {
            let expected = format!("a record after checksum {}", position.previous);
            Err(LogError::corrupt(object, expected, format!("one after {}", header.previous)))
        }
        // No position lies behind a seal: a floor there would hide it.
        Body::Seal(seal) => Ok(Step::Seal(*seal)),
        Body::Commits(entries) => {
            let first_time = entries.first().map(|entry| entry.time).unwrap_or_default();
            if header.first != position.lsn.next() || first_time < position.time {
                let expected = format!("commit {} at {} or later", position.lsn.next(), position.time.0);
                return Err(LogError::corrupt(
                    object,
                    expected,
                    format!("{} at {}", header.first, first_time.0),
                ));
            }
            *position = Position {
                slot: position.slot.next(),
                lsn: header.last,
                previous: record.checksum,
                time: entries.last().map(|entry| entry.time).unwrap_or_default(),
            };
            Ok(Step::Commits(entries.clone()))
        }
        Body::Part(_) | Body::Merged { .. } => {
            Err(LogError::corrupt(object, "a record of a slot", format!("{:?}", header.kind)))
        }
    }
}

/// A record that was read and stepped over.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// The object it came from.
    pub name: LogName,
    /// Its slot.
    pub slot: Slot,
    /// Its bytes.
    pub raw: Bytes,
    /// Its header.
    pub header: record::Header,
    /// What it does.
    pub step: Step,
    /// The position after it.
    pub after: Position,
}

/// What a walk met.
#[derive(Debug)]
pub(crate) enum Met {
    /// Records, in order; at least one.
    Pieces(Vec<Piece>),
    /// The listing holds nothing more in this place.
    End,
    /// A listed object is not there any more.
    Vanished(LogName),
}

/// A walk along a listing.
pub(crate) struct Walker {
    pub site: Arc<Site>,
    pub position: Position,
    listing: Listing,
    plan: VecDeque<LogName>,
    seal: Option<Seal>,
}

impl Walker {
    pub(crate) fn new(site: &Arc<Site>, position: Position) -> Self {
        let (listing, plan) = (Listing::default(), VecDeque::new());
        Self { site: Arc::clone(site), position, listing, plan, seal: None }
    }

    /// Lists anew from here.
    pub(crate) async fn list(&mut self) -> Result<(), LogError> {
        self.listing = Listing::load(&self.site, self.position.slot).await?;
        self.plan.clear();
        Ok(())
    }

    pub(crate) const fn listing(&self) -> &Listing {
        &self.listing
    }

    /// The seal, if the walk has stepped on it.
    pub(crate) const fn seal(&self) -> Option<Seal> {
        self.seal
    }

    /// Reads the next records: as many objects as may be read at once.
    pub(crate) fn advance<'a>(&'a mut self) -> BoxFuture<'a, Result<Met, LogError>> {
        async move {
            if self.seal.is_some() {
                return Ok(Met::End);
            }
            if self.plan.is_empty() {
                self.plan = self.listing.plan(self.position.slot);
            }
            let names: Vec<LogName> =
                self.plan.iter().take(self.site.options.reads_at_once.max(1)).copied().collect();
            if names.is_empty() {
                return Ok(Met::End);
            }
            let site = Arc::clone(&self.site);
            let mut objects = stream::iter(names)
                .map(|name| {
                    let site = &site;
                    async move { Ok((name, requests::get(site, &name.path(&site.root)).await?)) }
                })
                .buffered(site.options.reads_at_once.max(1));
            let mut pieces = Vec::new();
            while let Some((name, bytes)) = objects.try_next().await? {
                let Some(bytes) = bytes else {
                    // What was read before it is given first; the next call meets it again.
                    return Ok(if pieces.is_empty() { Met::Vanished(name) } else { Met::Pieces(pieces) });
                };
                self.plan.pop_front();
                if !self.take(name, &bytes, &mut pieces)? {
                    break;
                }
            }
            Ok(Met::Pieces(pieces))
        }
        .boxed()
    }

    /// Steps over the records of one object. `false` after a fence or a seal: what was planned behind it is void.
    pub(crate) fn take(
        &mut self,
        name: LogName,
        bytes: &Bytes,
        pieces: &mut Vec<Piece>,
    ) -> Result<bool, LogError> {
        let object = name.path(&self.site.root).to_string();
        for raw in self.records(name, &object, bytes)? {
            let record = record::decode(&object, &raw)?;
            let slot = self.position.slot;
            let step = step(&mut self.position, &self.site.identity, &object, &record)?;
            let ends = !matches!(step, Step::Commits(_));
            if let Step::Seal(seal) = &step {
                self.seal = Some(*seal);
            }
            pieces.push(Piece { name, slot, raw, header: record.header, step, after: self.position });
            if ends {
                self.plan.clear();
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The records an object holds, from this walk's slot on.
    fn records(&self, name: LogName, object: &str, bytes: &Bytes) -> Result<Vec<Bytes>, LogError> {
        let LogName::Merged { first, last } = name else { return Ok(vec![bytes.clone()]) };
        let record = record::decode(object, bytes)?;
        match record.body {
            Body::Merged { first: stored, records }
                if stored == first
                    && record.header.slot == last
                    && record.header.identity == self.site.identity =>
            {
                let skip = self.position.slot.seq.0.saturating_sub(first.0);
                Ok(records.into_iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)).collect())
            }
            Body::Merged { .. } | Body::Commits(_) | Body::Fence(_) | Body::Seal(_) | Body::Part(_) => {
                let expected = format!("the merged records of slots {} to {last}", first.0);
                Err(LogError::corrupt(
                    object,
                    expected,
                    format!("{:?} of {}", record.header.kind, record.header.slot),
                ))
            }
        }
    }
}

/// The commits of a piece, with their payloads read from parts where they are there.
pub(crate) fn commits<'a>(site: &'a Site, piece: &'a Piece) -> BoxFuture<'a, Result<Vec<Commit>, LogError>> {
    async move {
        let Step::Commits(entries) = &piece.step else { return Ok(Vec::new()) };
        let mut commits = Vec::with_capacity(entries.len());
        let mut lsn = piece.header.first;
        for entry in entries {
            let payload = match &entry.payload {
                Payload::Inline(bytes) => bytes.clone(),
                Payload::Parts(parts) => read_parts(site, piece.slot.epoch, parts).await?,
            };
            commits.push(Commit { lsn, slot: piece.slot, time: entry.time, token: entry.token, payload });
            lsn = lsn.next();
        }
        Ok(commits)
    }
    .boxed()
}

async fn read_parts(site: &Site, epoch: Epoch, parts: &[PartReference]) -> Result<Bytes, LogError> {
    let mut read = stream::iter(parts.to_vec())
        .map(|part| read_part(site, epoch, part))
        .buffered(site.options.parts_at_once.max(1));
    let mut payload = BytesMut::new();
    while let Some(bytes) = read.try_next().await? {
        if parts.len() == 1 {
            return Ok(bytes);
        }
        payload.extend_from_slice(&bytes);
    }
    Ok(payload.freeze())
}

async fn read_part(site: &Site, epoch: Epoch, part: PartReference) -> Result<Bytes, LogError> {
    let path = name::part_path(&site.root, epoch, part.number);
    let object = path.to_string();
    let Some(bytes) = requests::get(site, &path).await? else { return Err(LogError::Missing { object }) };
    let record = record::decode(&object, &bytes)?;
    let place = Slot { epoch, seq: Seq(part.number) };
    let header = &record.header;
    match record.body {
        Body::Part(bytes)
            if header.slot == place
                && header.identity == site.identity
                && bytes.len() == part.bytes as usize
                && record::checksum(&bytes) == part.checksum =>
        {
            Ok(bytes)
        }
        Body::Part(_) | Body::Commits(_) | Body::Fence(_) | Body::Seal(_) | Body::Merged { .. } => {
            let expected = format!("part {place} of {} bytes, checksum {}", part.bytes, part.checksum);
            Err(LogError::corrupt(&object, expected, format!("{:?} {}", header.kind, header.slot)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(slots: &[(u64, u64)], merged: &[(u64, u64, u64)]) -> Listing {
        let slots = slots.iter().map(|&(epoch, seq)| LogName::Slot(Slot::new(epoch, seq)));
        let merged = merged
            .iter()
            .map(|&(epoch, first, last)| LogName::Merged { first: Seq(first), last: Slot::new(epoch, last) });
        Listing::of(slots.chain(merged).collect())
    }

    fn plan(listing: &Listing, epoch: u64, seq: u64) -> Vec<(u64, u64)> {
        let plan = listing.plan(Slot::new(epoch, seq));
        plan.iter().map(|name| (name.first().seq.0, name.last().seq.0)).collect()
    }

    #[test]
    fn a_plan_goes_to_the_first_gap_of_the_epoch() {
        let listing = listing(&[(1, 0), (1, 1), (1, 3), (2, 0)], &[]);
        assert_eq!(plan(&listing, 1, 0), [(0, 0), (1, 1)]);
        assert_eq!(plan(&listing, 1, 2), []);
        assert_eq!(plan(&listing, 2, 0), [(0, 0)]);
        assert!(listing.reaches_beyond(Epoch(1)) && !listing.reaches_beyond(Epoch(2)));
    }

    #[test]
    fn rule_9_a_merged_object_comes_before_the_slots_it_holds_however_they_overlap() {
        let listing =
            listing(&[(1, 0), (1, 4), (1, 9), (1, 10)], &[(1, 0, 3), (1, 1, 2), (1, 2, 8), (1, 4, 4)]);
        assert_eq!(plan(&listing, 1, 0), [(0, 3), (2, 8), (9, 9), (10, 10)]);
        assert_eq!(plan(&listing, 1, 5), [(2, 8), (9, 9), (10, 10)]);
        assert_eq!(listing.merged_over(Slot::new(2, 2)), None);
    }

    #[test]
    fn the_widest_merged_object_holds_what_begins_later_and_ends_earlier() {
        let listing = listing(&[], &[(1, 0, 9), (1, 3, 5), (1, 0, 2)]);
        assert_eq!(plan(&listing, 1, 6), [(0, 9)]);
        assert_eq!(plan(&listing, 1, 4), [(0, 9)]);
    }
}
