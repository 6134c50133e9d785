//! The reference storage: every version of every page that a snapshot may still read, in memory. It serves
//! `memory://` and is what other backends are compared with.
//!
//! Durability is a [`Medium`]'s word. Without one, a commit is durable as it is appended; with one, the first caller
//! of `wait_durable` persists everything appended so far in one go, so group commit, failed and indeterminate appends
//! can be rehearsed.
//!
//! Invariants:
//! 1. `durable <= appended`; versions above `durable` belong to commits in flight.
//! 2. A version is dropped only when no pin, present or future, can see it: new pins are made of the durable state or
//!    of newer ones, so everything a version older than that needs to live is a pin that already exists. A page
//!    therefore keeps at most one version per pin, one durable and those in flight, however long a reader lasts.
//! 3. After a failed persist nothing above `durable` is ever shown to a new reader, and every later write is refused.
//!    Whoever pinned such a state, as the base of a ticket, goes on reading the same bytes.
//! 4. From `closing` on nothing is appended, so what `close` settled is everything.
//!
//! Locks are taken in this order: `history`, then `pages` or the slot's own.
//!
//! On a crash everything is lost: there is nothing to reopen. A [`Medium`] must not panic.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use twill_types::{Door, Epoch, Lsn, PageNo, PageSize, TimelineId};

use crate::{
    Checkpointed, Commit, SlotGuard, Snapshot, StateId, Storage, StorageError, Wait, WriteTicket, WriterSlot,
};

/// Decides when and whether commits of a [`MemoryStorage`] are durable.
pub trait Medium: Send + Sync + 'static {
    /// Makes the commits `first..=last` durable. Called by one thread at a time, in order, without gaps.
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
    pages: RwLock<BTreeMap<PageNo, Versions>>,
    history: Mutex<History>,
    changed: Condvar,
}

/// One page's images, oldest first. `None`: the page was cut off and reads as zeros.
type Versions = Vec<(Lsn, Option<Arc<[u8]>>)>;

struct History {
    appended: Extent,
    durable: Extent,
    /// How many snapshots hold each LSN.
    pins: BTreeMap<Lsn, usize>,
    persisting: bool,
    poisoned: Option<StorageError>,
    closing: bool,
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
            pins: BTreeMap::new(),
            persisting: false,
            poisoned: None,
            closing: false,
            closed: false,
        }
    }
}

impl History {
    /// Refuses a write that would come too late.
    fn writable(&self) -> Result<(), StorageError> {
        if self.closing {
            return Err(StorageError::closed());
        }
        self.poisoned.as_ref().map_or(Ok(()), |error| Err(StorageError::poisoned(error)))
    }

    /// Drops versions that no snapshot, present or future, can see.
    fn prune(&self, versions: &mut Versions) {
        let mut newer = None;
        for index in (0..versions.len()).rev() {
            let Some(&(lsn, _)) = versions.get(index) else { continue };
            let hidden = newer.is_some_and(|newer| {
                newer <= self.durable.lsn && self.pins.range(lsn..newer).next().is_none()
            });
            newer = Some(lsn);
            if hidden {
                versions.remove(index);
            }
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

    /// Refuses what a closed or read-only storage does not do.
    fn refuse_write(&self) -> Result<(), StorageError> {
        if self.shared.history().closed {
            return Err(StorageError::closed());
        }
        if self.read_only {
            return Err(StorageError::ReadOnly { what: "opened with mode=ro".to_owned() });
        }
        Ok(())
    }

    fn own_pin<'a>(&self, at: &'a Snapshot) -> Result<&'a Pin, StorageError> {
        at.pin::<Pin>()
            .filter(|pin| Arc::ptr_eq(&pin.shared, &self.shared))
            .ok_or_else(|| StorageError::invalid("the snapshot belongs to another storage"))
    }

    /// Adds the commit's versions and drops those nobody can read any more.
    fn write_versions(&self, commit: &Commit<'_>, images: Vec<Arc<[u8]>>, lsn: Lsn, history: &History) {
        let mut pages = self.shared.pages.write().unwrap_or_else(PoisonError::into_inner);
        for (page, image) in commit.pages.iter().map(|image| image.page).zip(images) {
            let versions = pages.entry(page).or_default();
            history.prune(versions);
            versions.push((lsn, Some(image)));
        }
        if commit.page_count < history.appended.page_count
            && let Some(first_gone) = PageNo::new(commit.page_count + 1)
        {
            for (_, versions) in pages.range_mut(first_gone..) {
                history.prune(versions);
                if versions.last().is_some_and(|(_, image)| image.is_some()) {
                    versions.push((lsn, None));
                }
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
            }
            Err(error) => {
                self.slot.close(StorageError::poisoned(&error));
                history.poisoned = Some(error);
            }
        }
        self.shared.changed.notify_all();
        history
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
        self.refuse_write()?;
        let guard = self.slot.acquire(&wait)?;
        let mut history = self.shared.history();
        history.writable()?;
        let appended = history.appended;
        let base = self.pinned(&mut history, appended);
        Ok(WriteTicket::new(base, Box::new(guard)))
    }

    fn append(&self, ticket: WriteTicket, commit: Commit<'_>) -> Result<Snapshot, StorageError> {
        // Bound in this order, so that every way out lets go of the base before the slot.
        let (base, slot) = ticket.into_parts();
        let (slot, base) = (slot, base);
        self.own_pin(&base)?;
        if !slot.downcast_ref::<SlotGuard>().is_some_and(|guard| guard.is_of(&self.slot)) {
            return Err(StorageError::invalid("the ticket belongs to another storage"));
        }
        commit.validate(&base)?;
        let images = commit.pages.iter().map(|image| image.bytes.into()).collect();
        let mut history = self.shared.history();
        history.writable()?;
        if base.lsn() != history.appended.lsn {
            let (base, newest) = (base.lsn(), history.appended.lsn);
            let what = format!("the ticket starts from commit {base}, but {newest} is appended");
            return Err(StorageError::Conflict { what });
        }
        let lsn = base.lsn().next();
        let extent = Extent { lsn, page_count: commit.page_count, page_size: commit.page_size };
        self.write_versions(&commit, images, lsn, &history);
        history.appended = extent;
        if self.medium.is_none() {
            history.durable = extent;
        }
        let appended = self.pinned(&mut history, extent);
        drop(history);
        drop(base);
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

    /// Versions have no other resting place; those kept for pins that are gone are dropped.
    fn checkpoint(&self) -> Result<Checkpointed, StorageError> {
        self.refuse_write()?;
        let history = self.shared.history();
        let mut pages = self.shared.pages.write().unwrap_or_else(PoisonError::into_inner);
        pages.retain(|_, versions| {
            history.prune(versions);
            !matches!(versions.as_slice(), [] | [(_, None)])
        });
        Ok(Checkpointed::default())
    }

    fn close(&self) -> Result<(), StorageError> {
        self.slot.close(StorageError::closed());
        let newest = {
            let mut history = self.shared.history();
            history.closing = true;
            let appended = history.appended;
            let settle = history.poisoned.is_none() && !history.closed;
            settle.then(|| self.pinned(&mut history, appended))
        };
        let settled = newest.map_or(Ok(()), |newest| self.wait_durable(&newest));
        self.shared.history().closed = true;
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PageImage;

    fn commit(storage: &MemoryStorage, page_count: u32, pages: &[u32]) -> Snapshot {
        let image = |page: &u32| PageImage { page: PageNo::new(*page).unwrap(), bytes: &[7; 512] };
        let pages: Vec<_> = pages.iter().map(image).collect();
        let commit = Commit { page_size: PageSize::new(512).unwrap(), page_count, pages: &pages };
        let at = storage.append(storage.begin_write(Wait::none()).unwrap(), commit).unwrap();
        storage.wait_durable(&at).unwrap();
        at
    }

    fn versions(storage: &MemoryStorage) -> usize {
        storage.shared.pages.read().unwrap().values().map(Vec::len).sum()
    }

    #[test]
    fn a_long_reader_costs_one_version_per_page() {
        let storage = MemoryStorage::new();
        let first = commit(&storage, 3, &[1, 2, 3]);
        let middle = (0..100).map(|_| commit(&storage, 3, &[1, 2, 3])).nth(50).unwrap();
        for _ in 0..100 {
            commit(&storage, 3, &[1, 2, 3]);
        }
        // First, middle, the newest and, until the next write looks, the one before it.
        assert_eq!(versions(&storage), 3 * 4);
        storage.checkpoint().unwrap();
        assert_eq!(versions(&storage), 3 * 3);
        drop((first, middle));
        storage.checkpoint().unwrap();
        assert_eq!(versions(&storage), 3);
    }

    #[test]
    fn pages_cut_off_leave_nothing_behind() {
        let storage = MemoryStorage::new();
        drop(commit(&storage, 50, &(1..=50).collect::<Vec<_>>()));
        for _ in 0..3 {
            drop(commit(&storage, 1, &[1]));
            drop(commit(&storage, 50, &[1]));
        }
        storage.checkpoint().unwrap();
        assert_eq!(versions(&storage), 1);
    }

    #[test]
    fn every_pin_is_given_back() {
        let storage = MemoryStorage::new();
        let at = commit(&storage, 1, &[1]);
        let clones = [at.clone(), storage.snapshot().unwrap(), at];
        assert_eq!(storage.shared.history().pins.values().sum::<usize>(), 2);
        drop(clones);
        drop(storage.begin_write(Wait::none()).unwrap());
        assert!(storage.shared.history().pins.is_empty());
    }
}
