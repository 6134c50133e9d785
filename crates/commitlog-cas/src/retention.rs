//! Floor, horizon and collection: what the log gives up, and in which order.
//!
//! Invariants (rules 7, 9, 14):
//! 1. Floor and horizon are raised in the branch record by compare-and-swap before anything is deleted, so that an opener
//!    who read the older record cannot confirm itself.
//! 2. Collection deletes only what lies wholly below the horizon, and only objects whose header, read and checked just
//!    before, says that they are commits. Fences and seals are never deleted.
//! 3. A record's parts are deleted before the record, so that a crash between leaves nothing unreachable. Parts that no
//!    kept record names go when their epoch lies below the horizon.
//! 4. Pins are the caller's: it lists them *after* the horizon was raised, and passes what they keep.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use twill_types::{Epoch, Lsn, Seq};

use crate::environment::Point;
use crate::error::LogError;
use crate::name::{self, LogName};
use crate::position::{Position, Slot, Stamp};
use crate::record::{self, Body, Header, Kind, Payload, Record};
use crate::register::{LogState, Swapped};
use crate::requests;
use crate::site::Site;

/// What to raise. What is not newer than the record's own is left as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Raise {
    /// Everything before it rests elsewhere, durably.
    pub floor: Option<Position>,
    /// History before it is given up. At most the floor.
    pub horizon: Option<Position>,
}

/// Raises floor or horizon in the branch record. Deletes nothing. Sends one request when nothing is to be raised.
///
/// # Errors
/// [`LogError::Invalid`] for a horizon beyond the floor; otherwise that of the store.
pub async fn raise(site: &Site, raise: Raise) -> Result<LogState, LogError> {
    let mut attempts = site.options.open_attempts.max(1);
    loop {
        let loaded = site.register.load().await?;
        let old = loaded.state;
        let floor = newer(raise.floor, old.floor)?;
        let horizon = newer(raise.horizon, old.horizon)?;
        if horizon.slot > floor.slot || horizon.lsn > floor.lsn {
            return Err(LogError::invalid(format!(
                "a horizon at {} beyond the floor at {}",
                horizon.slot, floor.slot
            )));
        }
        if (floor, horizon) == (old.floor, old.horizon) {
            return Ok(old);
        }
        let mut stamp = Stamp::default();
        site.environment.fill_random(&mut stamp.0);
        site.environment.point(Point::BeforeRaise).await;
        match site.register.swap(loaded.version, LogState { floor, horizon, stamp, ..old }).await? {
            Swapped::Done(now) => {
                site.environment.point(Point::AfterRaise).await;
                return Ok(now.state);
            }
            Swapped::Changed if attempts == 0 => return Err(LogError::Superseded),
            Swapped::Changed => attempts -= 1,
        }
    }
}

/// The later of two positions. A later slot with an earlier commit was found by a walk that a superseded opener's fence
/// led astray: history never goes back.
fn newer(new: Option<Position>, old: Position) -> Result<Position, LogError> {
    match new {
        Some(new) if new.slot > old.slot && new.lsn < old.lsn => {
            let (new, old) = (new.lsn, old.lsn);
            Err(LogError::invalid(format!("a position after commit {new}, behind one after commit {old}")))
        }
        Some(new) if new.slot > old.slot => Ok(new),
        _ => Ok(old),
    }
}

/// Commits that a pin keeps although they are below the horizon: `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The first kept commit.
    pub first: Lsn,
    /// The last kept commit.
    pub last: Lsn,
}

/// What a collection did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Records and merged objects deleted.
    pub records: u64,
    /// Parts deleted.
    pub parts: u64,
    /// Objects kept because of a pin.
    pub kept: u64,
}

/// Deletes what lies below the horizon, but no fence, no seal, and nothing pinned. The caller lists its pins *after*
/// [`raise`] returned.
///
/// # Errors
/// That of the store, or of an object that is not what its name says. What was deleted until then stays deleted; the
/// next collection goes on.
pub async fn collect(site: &Site, pinned: &[Pinned]) -> Result<Collected, LogError> {
    collect_from(site, Position::default(), pinned).await
}

/// The same from the epoch of `from` on: the horizon of the last collection, if no pin has gone since. Fences add up
/// below it, and each is looked at by a collection that passes it.
///
/// # Errors
/// As [`collect`].
pub async fn collect_from(site: &Site, from: Position, pinned: &[Pinned]) -> Result<Collected, LogError> {
    let horizon = site.register.load().await?.state.horizon;
    let first = Slot { epoch: from.slot.epoch, seq: Seq(0) };
    let after = name::list_after(&site.root, first);
    let parse = |path: &Path| LogName::parse(&site.root, path).filter(|name| name.last() < horizon.slot);
    let mut names = requests::list(site, &name::log_folder(&site.root), Some(&after), parse).await?;
    names.sort_unstable_by_key(|name| name.last());
    let mut collected = Collected::default();
    let (mut kept_parts, mut all_seen) = (BTreeSet::new(), true);
    let mut judged = stream::iter(names)
        .map(|name| judge(site, name, horizon.lsn, pinned))
        .buffered(site.options.reads_at_once.max(1));
    while let Some(verdict) = judged.try_next().await? {
        match verdict {
            Judged::Gone => all_seen = false,
            Judged::Stays => {}
            Judged::Kept { pinned, parts } => {
                collected.kept += u64::from(pinned);
                kept_parts.extend(parts);
            }
            Judged::Goes(path, parts) => {
                for (epoch, number) in parts {
                    delete(site, &name::part_path(&site.root, epoch, number)).await?;
                    collected.parts += 1;
                }
                delete(site, &path).await?;
                collected.records += 1;
            }
        }
    }
    // What is gone may have been merged just now, and its parts be named by what was not listed.
    if all_seen {
        collected.parts += collect_orphans(site, first.epoch, horizon, &kept_parts).await?;
    }
    Ok(collected)
}

/// What is to become of an object below the horizon.
enum Judged {
    /// It is not there any more.
    Gone,
    /// A fence, or a seal.
    Stays,
    /// A pin keeps it, or that its number is above the horizon's; and these parts.
    Kept { pinned: bool, parts: Vec<(Epoch, u64)> },
    /// It goes, and these parts before it.
    Goes(Path, Vec<(Epoch, u64)>),
}

fn judge<'a>(
    site: &'a Site,
    name: LogName,
    horizon: Lsn,
    pinned: &'a [Pinned],
) -> BoxFuture<'a, Result<Judged, LogError>> {
    async move {
        let path = name.path(&site.root);
        let object = path.to_string();
        let Some(front) = requests::get_front(site, &path, record::HEADER_BYTES as u64).await? else {
            return Ok(Judged::Gone);
        };
        let header = record::decode_header(&object, &front)?;
        if header.identity != site.identity || header.slot != name.last() {
            let expected = format!("slot {} of this log", name.last());
            return Err(LogError::corrupt(&object, expected, header.slot));
        }
        if !matches!(header.kind, Kind::Commits | Kind::Merged) {
            return Ok(Judged::Stays);
        }
        let parts = match header.has_parts {
            true => parts_of(site, &path).await?,
            false => Some(Vec::new()),
        };
        let Some(parts) = parts else { return Ok(Judged::Gone) };
        let pinned = is_pinned(&header, pinned);
        // A void record may have a later number than the horizon; it goes when the horizon has passed that.
        if pinned || header.last > horizon {
            Ok(Judged::Kept { pinned, parts })
        } else {
            Ok(Judged::Goes(path, parts))
        }
    }
    .boxed()
}

fn is_pinned(header: &Header, pinned: &[Pinned]) -> bool {
    pinned.iter().any(|pin| pin.first <= header.last && header.first <= pin.last)
}

/// The parts that the records of this object name; `None` if it is not there any more.
async fn parts_of(site: &Site, path: &Path) -> Result<Option<Vec<(Epoch, u64)>>, LogError> {
    let object = path.to_string();
    let Some(bytes) = requests::get(site, path).await? else { return Ok(None) };
    let mut parts = Vec::new();
    name_parts(&record::decode(&object, &bytes)?, &object, &mut parts)?;
    Ok(Some(parts))
}

fn name_parts(record: &Record, object: &str, parts: &mut Vec<(Epoch, u64)>) -> Result<(), LogError> {
    match &record.body {
        Body::Commits(entries) => {
            for entry in entries {
                if let Payload::Parts(references) = &entry.payload {
                    parts.extend(references.iter().map(|part| (record.header.slot.epoch, part.number)));
                }
            }
        }
        Body::Merged { records, .. } => {
            for bytes in records {
                let inner: Record = record::decode(object, &Bytes::clone(bytes))?;
                // One level deep: merged records are commits, see `merge`.
                if matches!(inner.body, Body::Commits(_)) {
                    name_parts(&inner, object, parts)?;
                }
            }
        }
        Body::Fence(_) | Body::Seal(_) | Body::Part(_) => {}
    }
    Ok(())
}

/// Deletes the parts of epochs from `first` on, wholly below the horizon, that no kept record names.
fn collect_orphans<'a>(
    site: &'a Site,
    first: Epoch,
    horizon: Position,
    kept: &'a BTreeSet<(Epoch, u64)>,
) -> BoxFuture<'a, Result<u64, LogError>> {
    async move {
        let parse = |path: &Path| {
            let part = name::parse_part(&site.root, path)?;
            let below = part.0 >= first && part.0 < horizon.slot.epoch;
            (below && !kept.contains(&part)).then_some(part)
        };
        let mut orphans = requests::list(site, &name::parts_folder(&site.root), None, parse).await?;
        orphans.sort_unstable();
        for (epoch, number) in &orphans {
            delete(site, &name::part_path(&site.root, *epoch, *number)).await?;
        }
        Ok(orphans.len() as u64)
    }
    .boxed()
}

pub(crate) async fn delete(site: &Site, path: &Path) -> Result<(), LogError> {
    site.environment.point(Point::BeforeDelete).await;
    requests::delete(site, path).await?;
    site.environment.point(Point::AfterDelete).await;
    Ok(())
}
