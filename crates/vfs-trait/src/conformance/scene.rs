//! What the properties are told with: databases, drafts of commits, pages that know who wrote them.
//!
//! Invariants:
//! 1. A page's bytes are a function of page number and stamp, different in every word; a mix of two commits or of two
//!    pages is recognised as such.
//! 2. Stamp 0 is the page of zeros; every commit of a run has a stamp of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use twill_types::seeded::{Chance, mix};
use twill_types::{Door, PageNo, PageSize};

use super::{Ability, Backend, Fault};
use crate::{Commit, MemoryStorage, PageImage, Snapshot, StateId, Storage, StorageError, Wait, WriteTicket};

/// Longer than any correct backend needs, so that a broken one fails instead of hanging.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits long enough for any turn that comes at all.
pub(super) fn patiently() -> Wait {
    Wait::at_most(PATIENCE)
}

/// Polls until `condition` holds.
pub(super) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let door = <dyn Door>::system();
    let start = door.now();
    while !condition() {
        assert!(door.now().saturating_sub(start) < PATIENCE, "gave up waiting until {what}");
        door.sleep(Duration::from_micros(200));
    }
}

/// Gives a wrong answer time to show itself. A right one comes later, however long this takes.
pub(super) fn linger() {
    <dyn Door>::system().sleep(Duration::from_millis(20));
}

/// A number no other commit of this process has.
pub(super) fn stamp() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(super) fn page_no(number: u32) -> PageNo {
    PageNo::new(number).expect("pages count from 1")
}

pub(super) fn size(bytes: u32) -> PageSize {
    PageSize::new(bytes).expect("a page size")
}

/// The bytes that `stamp` gives to a page. The stamp itself comes first.
pub(super) fn bytes_of(size: PageSize, page: u32, stamp: u64) -> Vec<u8> {
    let mut bytes = vec![0; size.bytes()];
    if stamp != 0 {
        let start = mix(stamp ^ (u64::from(page) << 40));
        for (word, index) in bytes.chunks_exact_mut(8).zip(0_u64..) {
            let value = if index == 0 { stamp } else { start.wrapping_add(index) };
            word.copy_from_slice(&value.to_le_bytes());
        }
    }
    bytes
}

/// The stamp a page carries, as of `at`, or the error of reading it.
pub(super) fn try_read(storage: &dyn Storage, at: &Snapshot, page: u32) -> Result<u64, StorageError> {
    let size = at.page_size();
    let mut bytes = vec![0xA5; size.bytes()];
    storage.read_page(at, page_no(page), &mut bytes)?;
    let stamp = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    assert!(
        bytes == bytes_of(size, page, stamp),
        "page {page} of {:?} holds bytes that no commit wrote (stamp {stamp})",
        at.id()
    );
    Ok(stamp)
}

/// The stamp a page carries, as of `at`.
pub(super) fn read(storage: &dyn Storage, at: &Snapshot, page: u32) -> u64 {
    try_read(storage, at, page).unwrap_or_else(|error| panic!("page {page} of {:?}: {error}", at.id()))
}

/// A whole state: page count, page size and the stamp of every page that is not zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) size: PageSize,
    pub(super) count: u32,
    pub(super) stamps: BTreeMap<u32, u64>,
}

impl Content {
    /// A database that was never written.
    pub(super) fn empty() -> Self {
        Self { size: PageSize::DEFAULT, count: 0, stamps: BTreeMap::new() }
    }

    /// Everything that `at` shows.
    pub(super) fn read(storage: &dyn Storage, at: &Snapshot) -> Self {
        let stamps = (1..=at.page_count())
            .map(|page| (page, read(storage, at, page)))
            .filter(|(_, stamp)| *stamp != 0)
            .collect();
        Self { size: at.page_size(), count: at.page_count(), stamps }
    }

    /// This state after `draft`.
    pub(super) fn after(&self, draft: &Draft) -> Self {
        let mut stamps = self.stamps.clone();
        stamps.extend(draft.pages.iter().map(|page| (*page, draft.stamp)));
        stamps.retain(|page, stamp| *page <= draft.count && *stamp != 0);
        Self { size: draft.size, count: draft.count, stamps }
    }

    /// Fails unless `at` shows exactly this.
    pub(super) fn assert_is(&self, storage: &dyn Storage, at: &Snapshot, what: &str) {
        let found = Self::read(storage, at);
        let same = found.count == self.count
            && found.stamps == self.stamps
            && (self.count == 0 || found.size == self.size);
        assert!(same, "{what}: {:?} shows {found:?}, expected {self:?}", at.id());
    }
}

/// A commit to be: the same stamp on each of its pages.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) size: PageSize,
    pub(super) count: u32,
    pub(super) stamp: u64,
    pub(super) pages: Vec<u32>,
}

impl Draft {
    /// These pages, under a new stamp, in a database of `count` small pages.
    pub(super) fn new(count: u32, pages: impl IntoIterator<Item = u32>) -> Self {
        Self { size: size(512), count, stamp: stamp(), pages: pages.into_iter().collect() }
    }

    pub(super) fn of_size(mut self, size: PageSize) -> Self {
        self.size = size;
        self
    }

    /// Hands the commit to `take`.
    pub(super) fn commit<T>(&self, take: impl FnOnce(Commit<'_>) -> T) -> T {
        let bytes: Vec<_> = self.pages.iter().map(|page| bytes_of(self.size, *page, self.stamp)).collect();
        let pages: Vec<_> = self
            .pages
            .iter()
            .zip(&bytes)
            .map(|(page, bytes)| PageImage { page: page_no(*page), bytes })
            .collect();
        take(Commit { page_size: self.size, page_count: self.count, pages: &pages })
    }

    pub(super) fn append(
        &self,
        storage: &dyn Storage,
        ticket: WriteTicket,
    ) -> Result<Snapshot, StorageError> {
        self.commit(|commit| storage.append(ticket, commit))
    }
}

/// A database of the backend under test, open.
pub(super) struct Db<'b, B: Backend> {
    pub(super) backend: &'b B,
    pub(super) place: Arc<B::Place>,
    pub(super) storage: Arc<dyn Storage>,
}

/// How a storage comes to its end before the place is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// `close` succeeds.
    Closed,
    /// `close` is called; what it says does not matter.
    Failed,
    /// The process dies.
    Crashed,
}

impl<'b, B: Backend> Db<'b, B> {
    pub(super) fn new(backend: &'b B) -> Self {
        let place = Arc::new(backend.create());
        let storage = backend.open(&place);
        Self { backend, place, storage }
    }

    pub(super) fn offers(&self, ability: Ability) -> bool {
        self.backend.offers(ability)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.storage.snapshot().expect("a snapshot")
    }

    /// The slot, which no writer holds.
    pub(super) fn begin(&self) -> WriteTicket {
        self.try_begin().unwrap_or_else(|error| panic!("no writer holds the slot, and yet: {error}"))
    }

    /// The slot, which no writer holds, if writes are not refused.
    pub(super) fn try_begin(&self) -> Result<WriteTicket, StorageError> {
        self.storage.begin_write(Wait::at_most(self.backend.patience()))
    }

    pub(super) fn append(&self, draft: &Draft) -> Snapshot {
        draft.append(&*self.storage, self.begin()).expect("an append")
    }

    /// A commit, acknowledged.
    pub(super) fn commit(&self, draft: &Draft) -> Snapshot {
        let at = self.append(draft);
        self.storage.wait_durable(&at).expect("the commit becomes durable");
        at
    }

    /// A commit, or the first error on the way.
    pub(super) fn try_commit(&self, draft: &Draft) -> Result<Snapshot, StorageError> {
        let ticket = self.try_begin()?;
        let at = draft.append(&*self.storage, ticket)?;
        self.storage.wait_durable(&at)?;
        Ok(at)
    }

    pub(super) fn read(&self, at: &Snapshot, page: u32) -> u64 {
        read(&*self.storage, at, page)
    }

    pub(super) fn assert_shows(&self, at: &Snapshot, content: &Content, what: &str) {
        content.assert_is(&*self.storage, at, what);
    }

    /// Closes cleanly and opens again.
    pub(super) fn reopen(mut self) -> Self {
        self.open_again(End::Closed);
        self
    }

    /// Opens again after a close whose outcome does not matter.
    pub(super) fn reopen_after_failure(mut self) -> Self {
        self.open_again(End::Failed);
        self
    }

    /// Dies and opens again.
    pub(super) fn crash(mut self) -> Self {
        self.open_again(End::Crashed);
        self
    }

    pub(super) fn open_again(&mut self, end: End) {
        // The old storage is gone before the new one opens; something has to stand in its place meanwhile.
        let storage = std::mem::replace(&mut self.storage, Arc::new(MemoryStorage::new()));
        match end {
            End::Closed => storage.close().expect("a clean close"),
            End::Failed => drop(storage.close()),
            End::Crashed => return self.storage = self.crashed(storage),
        }
        drop(storage);
        self.storage = self.backend.open(&self.place);
    }

    fn crashed(&self, storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
        self.backend.crash(&self.place, storage);
        self.backend.open(&self.place)
    }

    pub(super) fn fail_next(&self, fault: Fault) {
        self.backend.fail_next(&self.place, fault);
    }

    /// Holds durability back until the answer is dropped.
    pub(super) fn hold(&self) -> Held<'b, B> {
        self.backend.hold(&self.place);
        Held { backend: self.backend, place: Arc::clone(&self.place) }
    }
}

/// Durability is held back; dropping this lets it go on, also on the way out of a failed property, so that threads
/// which wait for it end.
pub(super) struct Held<'b, B: Backend> {
    backend: &'b B,
    place: Arc<B::Place>,
}

impl<B: Backend> Drop for Held<'_, B> {
    fn drop(&mut self) {
        self.backend.release(&self.place);
    }
}

/// Every state name met so far and what it held.
#[derive(Default)]
pub(super) struct Names(HashMap<StateId, Content>);

impl Names {
    /// Fails when this name was met with other bytes.
    pub(super) fn meet(&mut self, id: StateId, content: &Content) {
        let known = self.0.entry(id).or_insert_with(|| content.clone());
        assert!(
            known.count == 0 && content.count == 0 || known == content,
            "{id:?} names two states: {known:?} and {content:?}"
        );
    }
}

/// A random choice of pages up to `count`, ascending, at least one.
pub(super) fn pages(chance: &mut Chance, count: u32) -> Vec<u32> {
    let share = 1 + chance.below(6);
    let mut pages: Vec<u32> = (1..=count).filter(|_| chance.one_in(share)).collect();
    if pages.is_empty() {
        pages.push(1 + chance.below(count));
    }
    pages
}

/// The seed and the number of steps: from `TWILL_SEED` and `TWILL_STEPS`, or chance and `steps`. Prints the seed when
/// the property fails.
pub(super) struct Seeded {
    pub(super) seed: u64,
    pub(super) steps: u32,
    property: &'static str,
}

impl Seeded {
    pub(super) fn new(property: &'static str, steps: u32) -> Self {
        let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
        let seed = number("TWILL_SEED").unwrap_or_else(|| {
            let mut bytes = [0; 8];
            <dyn Door>::system().fill_random(&mut bytes);
            u64::from_le_bytes(bytes)
        });
        let steps = number("TWILL_STEPS").map_or(steps, |steps| u32::try_from(steps).expect("TWILL_STEPS"));
        Self { seed, steps, property }
    }
}

impl Drop for Seeded {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, steps, property } = self;
            eprintln!("{property} failed; repeat with TWILL_SEED={seed} TWILL_STEPS={steps}");
        }
    }
}
