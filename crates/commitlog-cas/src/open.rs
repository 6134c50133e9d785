//! Opening for writing: read, fence, confirm.
//!
//! ```text
//!   branch record (keeps its version) ─► LIST from the floor ─► read to the first free slot
//!        ▲                                                          │
//!        │ changed                     create a fence there ◄───────┤
//!        │                              │ taken: a commit ─► read it, and on
//!        │                              │ taken: a fence ──► the next epoch
//!        └── swap the branch record ◄───┘ own: this writer owns the next epoch
//!                     │ done: it may acknowledge
//! ```
//!
//! Invariants (rules 2, 3, 4, 8, 15):
//! 1. A fence is created in the first free slot, found by trying: every slot before it was read and is not a fence.
//!    Where a busy writer keeps ahead, several slots in a row are tried at once; then all of them are settled, and the
//!    first fence among them counts. Fences behind it are void, as everything is.
//! 2. The branch record is swapped, against the version the walk began with, before the log exists as a [`Log`]; so
//!    before anything is sent to the new epoch, let alone acknowledged. A stalled opener that comes back and fences a
//!    place that was merged and deleted meanwhile fails here, because the floor was raised before.
//! 3. An opener that fails here has written a fence at most; that is always allowed.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future;
use twill_types::Epoch;

use crate::environment::Point;
use crate::error::LogError;
use crate::log::{Log, Opened};
use crate::name::LogName;
use crate::options::Compression;
use crate::position::{CommitTime, Position, Slot, Stamp, WriterId};
use crate::record::{self, Body, Fence, Header, Kind};
use crate::recover::{Recovered, Walk};
use crate::register::{Loaded, LogState, Swapped};
use crate::settle::{Settled, settle};
use crate::site::Site;

/// How many slots in a row an opener tries at once, at most, when a busy writer keeps ahead of it.
const FENCES_AT_ONCE_MAX: u64 = 64;

/// A log that is fenced but not confirmed: what it recovered may be read, nothing may be acknowledged.
pub struct Opening {
    site: Arc<Site>,
    writer: WriterId,
    loaded: Loaded,
    recovered: Recovered,
    put_took: Option<std::time::Duration>,
}

impl Opening {
    /// Reads the branch record, lists the log from its floor, reads the tail and fences the epoch before.
    ///
    /// # Errors
    /// [`LogError::Sealed`] for a timeline that ended; [`LogError::Superseded`] when the log moved on below the walk,
    /// begin again; otherwise that of the store or of what was read.
    pub async fn begin(site: &Site) -> Result<Self, LogError> {
        let site = Arc::new(site.clone());
        let mut writer = WriterId::default();
        site.environment.fill_random(&mut writer.0);
        let mut walk = Walk::begin(&site).await?;
        let mut width = 1;
        let put_took = loop {
            if let Some(seal) = walk.walker.seal() {
                return Err(LogError::Sealed { redirect: seal.redirect });
            }
            site.environment.point(Point::BeforeFencePut).await;
            let epoch = walk.walker.position.slot.epoch;
            if let Some(took) = fence(&site, &mut walk, writer, width).await? {
                break took;
            }
            width =
                if walk.walker.position.slot.epoch > epoch { 1 } else { (width * 2).min(FENCES_AT_ONCE_MAX) };
            walk.list().await?;
            walk.walk_on().await?;
        };
        site.environment.point(Point::AfterFencePut).await;
        let loaded = walk.loaded.clone();
        Ok(Self { site, writer, loaded, recovered: walk.finish(), put_took })
    }

    /// The history from the floor to the fence.
    #[must_use]
    pub const fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// The epoch that the fence opened for this writer.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.recovered.end.slot.epoch
    }

    /// Replaces the branch record this opening began with. From here on commits may be acknowledged.
    ///
    /// # Errors
    /// [`LogError::Superseded`] if the record changed meanwhile: throw away all that was recovered and begin again.
    /// Otherwise that of the store; then, too, only a new beginning goes on.
    pub async fn confirm(self) -> Result<Opened, LogError> {
        let Self { site, writer, loaded, recovered, put_took } = self;
        site.environment.point(Point::BeforeRecordPut).await;
        let mut stamp = Stamp::default();
        site.environment.fill_random(&mut stamp.0);
        let old = loaded.state;
        // With nothing to replay the floor moves over the fences, so that openings in vain do not add up to a walk.
        let floor = if old.floor.lsn == recovered.end.lsn { recovered.end } else { old.floor };
        let state = LogState { floor, epoch: recovered.end.slot.epoch, writer, stamp, ..old };
        match site.register.swap(loaded.version, state).await? {
            Swapped::Changed => Err(LogError::Superseded),
            Swapped::Done(now) => {
                site.environment.point(Point::AfterRecordPut).await;
                let recovered = Recovered { state: now.state, ..recovered };
                let (log, driver) = Log::start(site, writer, &recovered, put_took);
                Ok(Opened { log, driver, recovered })
            }
        }
    }
}

/// Tries to create a fence in the walk's next `width` slots. `Some` when the first free one is now this writer's, and
/// the walk stands behind it; `None` when all were taken, and the walk has read them (or those up to another's fence).
async fn fence(
    site: &Arc<Site>,
    walk: &mut Walk,
    writer: WriterId,
    width: u64,
) -> Result<Option<Option<std::time::Duration>>, LogError> {
    let from = walk.walker.position;
    let mut fences = Vec::new();
    let mut slot = from.slot;
    for _ in 0..width {
        fences.push((LogName::Slot(slot), encode_fence(site, slot, &from, writer)?));
        slot = slot.next();
    }
    let tries = fences.iter().map(|(name, bytes)| {
        let site = Arc::clone(site);
        async move { settle(&site, &name.path(&site.root), bytes).await }
    });
    for (settled, (name, own)) in future::join_all(tries).await.into_iter().zip(&fences) {
        let (bytes, took) = match settled {
            Settled::Own { took } => (own.clone(), Some(took)),
            Settled::Taken(bytes) => (bytes, None),
            Settled::Failed { error, .. } => return Err(error),
        };
        let mut pieces = Vec::new();
        let goes_on = match walk.walker.take(*name, &bytes, &mut pieces) {
            Ok(goes_on) => goes_on,
            Err(error @ LogError::Corrupt { .. }) => return Err(walk.blame(error).await),
            Err(error) => return Err(error),
        };
        for piece in &pieces {
            walk.add(piece).await?;
        }
        if took.is_some() || !goes_on {
            return Ok(took);
        }
    }
    Ok(None)
}

fn encode_fence(site: &Site, slot: Slot, from: &Position, writer: WriterId) -> Result<Bytes, LogError> {
    let header = Header {
        kind: Kind::Fence,
        has_parts: false,
        identity: site.identity,
        writer,
        slot,
        first: from.lsn,
        last: from.lsn,
        previous: from.previous,
        count: 0,
    };
    let time = CommitTime::from_wall(site.environment.wall_now());
    let body = Body::Fence(Fence { next: slot.next_epoch().epoch, time });
    Ok(record::encode(&header, &body, Compression::None)?.0)
}
