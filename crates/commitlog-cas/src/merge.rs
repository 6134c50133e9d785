//! Merging of small objects below the floor, so that a week of single commits is not a million objects.
//!
//! Invariants (rule 9):
//! 1. Only records wholly below the floor are merged: openers walk from the floor, and the floor was raised, by
//!    compare-and-swap, before anything below it is deleted.
//! 2. A merged object holds the records of consecutive slots byte for byte, read and checked in their place in the
//!    history, commits only. It is in the store, and read back where there is doubt, before one of them is deleted.
//! 3. Who merges the same slots writes the same bytes under the same name, so two mergers do not disturb each other.
//! 4. Fences and seals are neither merged nor deleted.
//!
//! A crash leaves slots beside the merged object that holds them; readers take the merged one, and the next merge
//! deletes them.

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use twill_types::Lsn;

use crate::environment::Point;
use crate::error::LogError;
use crate::name::LogName;
use crate::options::Compression;
use crate::position::{Checksum, Position, Slot, WriterId};
use crate::read::Reader;
use crate::record::{self, BODY_BYTES_MAX, Body, Header, Kind};
use crate::retention::delete;
use crate::settle::{Settled, settle};
use crate::site::Site;
use crate::walk::{Listing, Piece, Step};

/// How to merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeOptions {
    /// A merged object takes no further record once it has this many bytes. At most 32 MiB.
    pub target_bytes: usize,
    /// Fewer records than this in a row are left alone.
    pub records_min: usize,
    /// At most this many merged objects are made by one call.
    pub objects_max: u64,
}

impl Default for MergeOptions {
    fn default() -> Self {
        Self { target_bytes: 8 << 20, records_min: 16, objects_max: 16 }
    }
}

/// What a merge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Merged objects published.
    pub objects: u64,
    /// Records that are now in them, and deleted as objects of their own.
    pub records: u64,
    /// Slots deleted that an earlier merge had left behind.
    pub leftovers: u64,
    /// Where the next merge may begin, so that it need not read what this one has seen.
    pub next: Position,
}

/// Consecutive records of one epoch that are to become one object.
#[derive(Default)]
struct Run {
    records: Vec<Bytes>,
    slots: Vec<Slot>,
    bytes: usize,
    previous: Checksum,
    first: Lsn,
    last: Lsn,
}

/// Merges records from `from` (at or after the horizon) up to the floor: publishes, then deletes.
///
/// # Errors
/// That of the store, or of what was read. Whatever was published or deleted until then is in order.
pub async fn merge(site: &Site, from: Position, options: &MergeOptions) -> Result<Merged, LogError> {
    let state = site.register.load().await?.state;
    let from = if from.slot < state.horizon.slot { state.horizon } else { from };
    let mut merged =
        Merged { next: from, leftovers: sweep(site, from, state.floor).await?, ..Merged::default() };
    let mut reader = Reader::new(site, from);
    let mut run = Run::default();
    let mut before = from;
    'reading: loop {
        let pieces = reader.pieces().await?;
        if pieces.is_empty() {
            break;
        }
        for piece in pieces {
            if piece.slot >= state.floor.slot {
                break 'reading;
            }
            let joins = joins(&run, &piece, options);
            if !joins {
                run.publish(site, options, &mut merged).await?;
                if merged.objects >= options.objects_max {
                    break 'reading;
                }
                merged.next = before;
            }
            run.add(&piece, before.previous);
            before = piece.after;
        }
    }
    if merged.objects < options.objects_max {
        run.publish(site, options, &mut merged).await?;
    }
    Ok(merged)
}

/// Whether the run goes on with this piece.
fn joins(run: &Run, piece: &Piece, options: &MergeOptions) -> bool {
    let small = run.bytes + piece.raw.len() <= options.target_bytes.min(BODY_BYTES_MAX / 2);
    let follows = run.slots.last().is_none_or(|last| last.next() == piece.slot);
    is_small_record(piece) && small && follows
}

/// Whether the piece is commits in an object of their own.
fn is_small_record(piece: &Piece) -> bool {
    matches!((&piece.step, piece.name), (Step::Commits(_), LogName::Slot(_)))
}

impl Run {
    fn add(&mut self, piece: &Piece, previous: Checksum) {
        if !is_small_record(piece) {
            return;
        }
        if self.records.is_empty() {
            (self.previous, self.first) = (previous, piece.header.first);
        }
        self.last = piece.header.last;
        self.bytes += piece.raw.len();
        self.records.push(piece.raw.clone());
        self.slots.push(piece.slot);
    }

    /// Makes the run an object, deletes what it holds, and begins anew.
    fn publish<'a>(
        &'a mut self,
        site: &'a Site,
        options: &'a MergeOptions,
        merged: &'a mut Merged,
    ) -> BoxFuture<'a, Result<(), LogError>> {
        async move {
            let run = std::mem::take(self);
            let (Some(first), Some(last)) = (run.slots.first().copied(), run.slots.last().copied()) else {
                return Ok(());
            };
            if run.slots.len() < options.records_min.max(2) {
                return Ok(());
            }
            let header = Header {
                kind: Kind::Merged,
                has_parts: false,
                identity: site.identity,
                writer: WriterId::default(),
                slot: last,
                first: run.first,
                last: run.last,
                previous: run.previous,
                count: 0,
            };
            let body = Body::Merged { first: first.seq, records: run.records };
            let (bytes, _) = record::encode(&header, &body, Compression::None)?;
            let path = LogName::Merged { first: first.seq, last }.path(&site.root);
            site.environment.point(Point::BeforeMergedPut).await;
            match settle(site, &path, &bytes).await {
                Settled::Own { .. } => {}
                Settled::Taken(_) => {
                    return Err(LogError::corrupt(path.as_ref(), "the same merged records", "others"));
                }
                Settled::Failed { error, .. } => return Err(error),
            }
            site.environment.point(Point::AfterMergedPut).await;
            delete_slots(site, &run.slots).await?;
            merged.objects += 1;
            merged.records += run.slots.len() as u64;
            Ok(())
        }
        .boxed()
    }
}

/// Deletes slots whose records a merged object holds.
fn delete_slots<'a>(site: &'a Site, slots: &'a [Slot]) -> BoxFuture<'a, Result<(), LogError>> {
    async move {
        stream::iter(slots.to_vec())
            .map(|slot| async move { delete(site, &LogName::Slot(slot).path(&site.root)).await })
            .buffer_unordered(site.options.reads_at_once.max(1))
            .try_collect::<()>()
            .await
    }
    .boxed()
}

/// Deletes the slots, from `from` to the floor, that a merge published but did not come to delete.
async fn sweep(site: &Site, from: Position, floor: Position) -> Result<u64, LogError> {
    let listing = Listing::load(site, from.slot).await?;
    let mut swept = Vec::new();
    for slot in listing.slots().filter(|slot| *slot < floor.slot && listing.merged_over(*slot).is_some()) {
        let path = LogName::Slot(slot).path(&site.root);
        // A superseded opener may have fenced the empty place; fences stay.
        let front = crate::requests::get_front(site, &path, record::HEADER_BYTES as u64).await?;
        let Some(front) = front else { continue };
        if record::decode_header(path.as_ref(), &front)?.kind == Kind::Commits {
            swept.push(slot);
        }
    }
    delete_slots(site, &swept).await?;
    Ok(swept.len() as u64)
}
