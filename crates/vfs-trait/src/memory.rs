//! The reference storage: every version of every page that a snapshot may still read, in memory. It serves
//! `memory://` and is what other backends are compared with.
//!
//! Durability is a [`Medium`]'s word. Without one, a commit is durable as it is appended; with one, the first caller
//! of `wait_durable` persists everything appended so far in one go, so group commit, failed and indeterminate appends
//! can be rehearsed.
//!
//! Invariants:
//! 1. `durable <= appended`; versions above `durable` belong to commits in flight.
//! 2. A version is dropped only when a newer one is visible to the oldest pin and to the durable state.
//! 3. After a failed persist, versions above `durable` are gone and every later write is refused.
//!
//! On a crash everything is lost: there is nothing to reopen.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use twill_types::{Door, Epoch, Lsn, PageNo, PageSize, TimelineId};

use crate::{
    Checkpointed, Commit, SlotGuard, Snapshot, StateId, Storage, StorageError, Wait, WriteTicket, WriterSlot,
};

/// Decides when and whether commits of a [`MemoryStorage`] are durable.
pub trait Medium: Send + Sync + 'static {
    /// Makes the commits `first..=last` durable.
    ///
    /// # Errors
    /// Whatever the storage shall report; it is poisoned from then on.
    fn persist(&self, first: Lsn, last: Lsn) -> Result<(), StorageError>;
}

/// A database in memory.
pub struct MemoryStorage {
    shared: Arc<Shared>,
    slot: Arc<WriterSlot>,
    medium: Option<Box<dyn Medium>>,
    timeline: TimelineId,
    read_only: bool,
}

#[derive(Default)]
struct Shared {
    pages: RwLock<Versions>,
    history: Mutex<History>,
    changed: Condvar,
}

/// Images by page, oldest first. `None`: the page was cut off and reads as zeros.
type Versions = BTreeMap<PageNo, Vec<(Lsn, Option<Arc<[u8]>>)>>;

struct History {
    appended: Extent,
    durable: Extent,
    /// Extents of commits in flight, ascending.
    in_flight: Vec<Extent>,
    pins: BTreeMap<Lsn, usize>,
    persisting: bool,
    poisoned: Option<StorageError>,
    closed: bool,
}

#[derive(Clone, Copy)]
struct Extent {
    lsn: Lsn,
    page_count: u32,
    page_size: PageSize,
}

impl Default for History {
    fn default() -> Self {
        let empty = Extent { lsn: Lsn::ZERO, page_count: 0, page_size: PageSize::DEFAULT };
        Self {
            appended: empty,
            durable: empty,
            in_flight: Vec::new(),
            pins: BTreeMap::new(),
            persisting: false,
            poisoned: None,
            closed: false,
        }
    }
}

/// Holds one LSN's versions in place.
struct Pin {
    shared: Arc<Shared>,
    lsn: Lsn,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut history = self.shared.history();
        if let Some(count) = history.pins.get_mut(&self.lsn) {
            *count -= 1;
            if *count == 0 {
                history.pins.remove(&self.lsn);
            }
        }
    }
}

impl Shared {
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops every version above `durable`.
    fn forget_in_flight(&self, durable: Lsn) {
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        pages.retain(|_, versions| {
            versions.retain(|(lsn, _)| *lsn <= durable);
            !versions.is_empty()
        });
    }
}

impl MemoryStorage {
    /// An empty database whose commits are durable as they are appended.
    #[must_use]
    pub fn new() -> Self {
        Self::open(<dyn Door>::system(), None)
    }

    /// An empty database whose commits are durable when `medium` says so.
    #[must_use]
    pub fn with_medium(door: Arc<dyn Door>, medium: Box<dyn Medium>) -> Self {
        Self::open(door, Some(medium))
    }

    /// Refuses writes from now on, as a read-only open does.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    fn open(door: Arc<dyn Door>, medium: Option<Box<dyn Medium>>) -> Self {
        let mut timeline = [0; 16];
        door.fill_random(&mut timeline);
        Self {
            shared: Arc::default(),
            slot: WriterSlot::new(door),
            medium,
            timeline: TimelineId(timeline),
            read_only: false,
        }
    }

    fn pinned(&self, history: &mut History, extent: Extent) -> Snapshot {
        *history.pins.entry(extent.lsn).or_insert(0) += 1;
        let pin = Arc::new(Pin { shared: Arc::clone(&self.shared), lsn: extent.lsn });
        let id = StateId { timeline: self.timeline, epoch: Epoch(1), lsn: extent.lsn };
        Snapshot::new(id, extent.page_count, extent.page_size, pin)
    }

    fn own_pin<'a>(&self, at: &'a Snapshot) -> Result<&'a Pin, StorageError> {
        at.pin::<Pin>()
            .filter(|pin| Arc::ptr_eq(&pin.shared, &self.shared))
            .ok_or_else(|| StorageError::invalid("the snapshot belongs to another storage"))
    }

    /// Adds the commit's versions and drops those nobody can read any more.
    fn write_versions(&self, commit: &Commit<'_>, lsn: Lsn, base: &Snapshot, horizon: Lsn) {
        let mut pages = self.shared.pages.write().unwrap_or_else(PoisonError::into_inner);
        for image in commit.pages {
            let versions = pages.entry(image.page).or_default();
            prune(versions, horizon);
            versions.push((lsn, Some(image.bytes.into())));
        }
        if commit.page_count < base.page_count()
            && let Some(first_gone) = PageNo::new(commit.page_count + 1)
        {
            for (_, versions) in pages.range_mut(first_gone..) {
                prune(versions, horizon);
                versions.push((lsn, None));
            }
        }
    }

    /// Persists everything appended so far, on behalf of every waiter.
    fn persist_group<'a>(
        &'a self,
        medium: &dyn Medium,
        mut history: MutexGuard<'a, History>,
    ) -> MutexGuard<'a, History> {
        let group = history.appended;
        let first = history.durable.lsn.next();
        history.persisting = true;
        drop(history);
        let outcome = medium.persist(first, group.lsn);
        let mut history = self.shared.history();
        history.persisting = false;
        match outcome {
            Ok(()) => {
                history.durable = group;
                history.in_flight.retain(|extent| extent.lsn > group.lsn);
            }
            Err(error) => {
                self.slot.close(StorageError::poisoned(&error));
                history.poisoned = Some(error);
                history.in_flight.clear();
                self.shared.forget_in_flight(history.durable.lsn);
            }
        }
        self.shared.changed.notify_all();
        history
    }
}

/// Drops versions that are hidden from `horizon` by a newer one it can see.
fn prune(versions: &mut Vec<(Lsn, Option<Arc<[u8]>>)>, horizon: Lsn) {
    let visible = versions.partition_point(|(lsn, _)| *lsn <= horizon);
    if visible > 1 {
        versions.drain(..visible - 1);
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl Storage for MemoryStorage {
    fn snapshot(&self) -> Result<Snapshot, StorageError> {
        let mut history = self.shared.history();
        if history.closed {
            return Err(StorageError::closed());
        }
        let durable = history.durable;
        Ok(self.pinned(&mut history, durable))
    }

    fn read_page(&self, at: &Snapshot, page: PageNo, buf: &mut [u8]) -> Result<(), StorageError> {
        let pin = self.own_pin(at)?;
        if page.get() > at.page_count() {
            let count = at.page_count();
            return Err(StorageError::invalid(format!("page {page} lies beyond the page count {count}")));
        }
        if buf.len() != at.page_size().bytes() {
            let (len, size) = (buf.len(), at.page_size());
            return Err(StorageError::invalid(format!("a buffer of {len} bytes for a page of {size}")));
        }
        let pages = self.shared.pages.read().unwrap_or_else(PoisonError::into_inner);
        let image = pages.get(&page).and_then(|versions| {
            let visible = versions.partition_point(|(lsn, _)| *lsn <= pin.lsn);
            versions.get(visible.checked_sub(1)?)?.1.as_deref()
        });
        match image {
            Some(bytes) if bytes.len() == buf.len() => buf.copy_from_slice(bytes),
            _ => buf.fill(0),
        }
        Ok(())
    }

    fn begin_write(&self, wait: Wait) -> Result<WriteTicket, StorageError> {
        if self.read_only {
            return Err(StorageError::ReadOnly { what: "opened with mode=ro".to_owned() });
        }
        let guard = self.slot.acquire(&wait)?;
        let mut history = self.shared.history();
        let appended = history.appended;
        let base = self.pinned(&mut history, appended);
        Ok(WriteTicket::new(base, Box::new(guard)))
    }

    fn append(&self, ticket: WriteTicket, commit: Commit<'_>) -> Result<Snapshot, StorageError> {
        let (base, slot) = ticket.into_parts();
        self.own_pin(&base)?;
        if !slot.is::<SlotGuard>() {
            return Err(StorageError::invalid("the ticket belongs to another storage"));
        }
        commit.validate(&base)?;
        let mut history = self.shared.history();
        if let Some(error) = &history.poisoned {
            return Err(StorageError::poisoned(error));
        }
        let lsn = base.lsn().next();
        let extent = Extent { lsn, page_count: commit.page_count, page_size: commit.page_size };
        let oldest_pin = history.pins.keys().next().copied().unwrap_or(lsn);
        self.write_versions(&commit, lsn, &base, oldest_pin.min(history.durable.lsn));
        history.appended = extent;
        match self.medium {
            Some(_) => history.in_flight.push(extent),
            None => history.durable = extent,
        }
        let appended = self.pinned(&mut history, extent);
        drop(history);
        drop(slot);
        Ok(appended)
    }

    fn wait_durable(&self, at: &Snapshot) -> Result<(), StorageError> {
        let lsn = self.own_pin(at)?.lsn;
        let mut history = self.shared.history();
        loop {
            if history.durable.lsn >= lsn {
                return Ok(());
            }
            if let Some(error) = &history.poisoned {
                return Err(error.clone());
            }
            history = match &self.medium {
                Some(medium) if !history.persisting => self.persist_group(medium.as_ref(), history),
                _ => self.shared.changed.wait(history).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn prefetch(&self, _at: &Snapshot, _pages: &[PageNo]) {}

    fn checkpoint(&self) -> Result<Checkpointed, StorageError> {
        if self.read_only {
            return Err(StorageError::ReadOnly { what: "opened with mode=ro".to_owned() });
        }
        Ok(Checkpointed::default())
    }

    fn close(&self) -> Result<(), StorageError> {
        self.slot.close(StorageError::closed());
        let newest = {
            let mut history = self.shared.history();
            let appended = history.appended;
            let poisoned = history.poisoned.is_some() || history.closed;
            (!poisoned).then(|| self.pinned(&mut history, appended))
        };
        let settled = newest.map_or(Ok(()), |newest| self.wait_durable(&newest));
        self.shared.history().closed = true;
        settled
    }
}
