//! Two backends over [`MemoryStorage`]: the reference itself, and one that survives being closed.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};

use twill_types::{Door, Lsn, PageNo, PageSize};
use twill_vfs_trait::conformance::{Ability, Backend, Fault};
use twill_vfs_trait::{
    Checkpointed, Commit, Medium, MemoryStorage, PageImage, Snapshot, Storage, StorageError, Wait,
    WriteTicket,
};

/// The medium of one place: holds back, counts and fails.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    held: bool,
    persists: u64,
    fault: Option<Fault>,
    full: bool,
    /// Commits appended and not persisted, and those persisted, in order.
    pending: BTreeMap<Lsn, Kept>,
    durable: Vec<Kept>,
    /// How often the place was opened for writing; only the last one may persist.
    owner: u64,
    expired: bool,
    /// An indeterminate append was applied every other time.
    applied_last: bool,
}

/// A commit, kept.
pub(crate) struct Kept {
    page_size: PageSize,
    page_count: u32,
    pub(crate) pages: Vec<(PageNo, Vec<u8>)>,
}

impl Kept {
    fn of(commit: &Commit<'_>) -> Self {
        let pages = commit.pages.iter().map(|image| (image.page, image.bytes.to_vec())).collect();
        Self { page_size: commit.page_size, page_count: commit.page_count, pages }
    }
}

impl Gate {
    pub(crate) fn hold(&self) {
        self.state.lock().unwrap().held = true;
    }

    pub(crate) fn release(&self) {
        self.state.lock().unwrap().held = false;
        self.changed.notify_all();
    }

    pub(crate) fn persists(&self) -> u64 {
        self.state.lock().unwrap().persists
    }

    pub(crate) fn persisted_commits(&self) -> u64 {
        self.state.lock().unwrap().durable.len() as u64
    }

    pub(crate) fn fail_next(&self, fault: Fault) {
        let mut state = self.state.lock().unwrap();
        match fault {
            Fault::Full => state.full = true,
            Fault::NotApplied | Fault::Indeterminate => state.fault = Some(fault),
        }
    }

    /// Whether a reader's snapshot is gone; the next one is a new one.
    fn expire(&self, expired: bool) {
        self.state.lock().unwrap().expired = expired;
    }

    /// Lets a mutant change what the next open finds.
    pub(crate) fn spoil(&self, change: impl FnOnce(&mut Vec<Kept>)) {
        change(&mut self.state.lock().unwrap().durable);
    }

    fn persist(&self, owner: u64, last: Lsn) -> Result<(), StorageError> {
        let mut state = self.state.lock().unwrap();
        while state.held {
            state = self.changed.wait(state).unwrap();
        }
        if state.owner != owner {
            return Err(StorageError::Fenced { what: format!("owner {} took over", state.owner) });
        }
        state.persists += 1;
        let fault = state.fault.take();
        let applied = match fault {
            None => true,
            Some(Fault::Indeterminate) => {
                state.applied_last = !state.applied_last;
                state.applied_last
            }
            Some(_) => false,
        };
        if applied {
            let later = state.pending.split_off(&last.next());
            let group = std::mem::replace(&mut state.pending, later);
            state.durable.extend(group.into_values());
        }
        let what = "the gate fails this append".to_owned();
        match fault {
            None => Ok(()),
            Some(Fault::Indeterminate) => Err(StorageError::Indeterminate { what, source: None }),
            Some(_) => Err(StorageError::Unavailable { what, source: None }),
        }
    }
}

struct Through {
    gate: Arc<Gate>,
    owner: u64,
}

impl Medium for Through {
    fn persist(&self, first: Lsn, last: Lsn) -> Result<(), StorageError> {
        assert!(first <= last, "an empty group");
        self.gate.persist(self.owner, last)
    }
}

fn storage_over(gate: &Arc<Gate>) -> MemoryStorage {
    let owner = {
        let mut state = gate.state.lock().unwrap();
        state.owner += 1;
        state.expired = false;
        state.owner
    };
    let medium = Through { gate: Arc::clone(gate), owner };
    MemoryStorage::with_medium(<dyn Door>::system(), Box::new(medium))
}

/// [`MemoryStorage`] as it is.
pub(crate) struct Memory;

impl Backend for Memory {
    type Place = Arc<Gate>;

    fn name(&self) -> String {
        "MemoryStorage".to_owned()
    }

    fn abilities(&self) -> &[Ability] {
        &[
            Ability::ReadOnly,
            Ability::Hold,
            Ability::CountPersists,
            Ability::Fail(Fault::NotApplied),
            Ability::Fail(Fault::Indeterminate),
        ]
    }

    fn create(&self) -> Arc<Gate> {
        Arc::default()
    }

    fn open(&self, gate: &Arc<Gate>) -> Arc<dyn Storage> {
        Arc::new(storage_over(gate))
    }

    fn open_read_only(&self, gate: &Arc<Gate>) -> Arc<dyn Storage> {
        Arc::new(storage_over(gate).read_only())
    }

    fn hold(&self, gate: &Arc<Gate>) {
        gate.hold();
    }

    fn release(&self, gate: &Arc<Gate>) {
        gate.release();
    }

    fn persists(&self, gate: &Arc<Gate>) -> u64 {
        gate.persists()
    }

    fn fail_next(&self, gate: &Arc<Gate>, fault: Fault) {
        gate.fail_next(fault);
    }
}

/// [`MemoryStorage`] whose persisted commits outlive it in its place.
pub(crate) struct Journaled;

impl Journaled {
    /// Replays what is durable into a new storage.
    pub(crate) fn replay(gate: &Arc<Gate>) -> JournaledStorage {
        let storage = storage_over(gate);
        let durable = {
            let mut state = gate.state.lock().unwrap();
            state.pending.clear();
            state.fault = None;
            std::mem::take(&mut state.durable)
        };
        let storage = JournaledStorage { storage, gate: Arc::clone(gate), read_only: false };
        for kept in durable {
            let pages: Vec<_> =
                kept.pages.iter().map(|(page, bytes)| PageImage { page: *page, bytes }).collect();
            let commit = Commit { page_size: kept.page_size, page_count: kept.page_count, pages: &pages };
            let at = storage.append(storage.begin_write(Wait::none()).unwrap(), commit).unwrap();
            storage.wait_durable(&at).unwrap();
        }
        storage
    }
}

impl Journaled {
    pub(crate) fn replay_read_only(gate: &Arc<Gate>) -> JournaledStorage {
        let JournaledStorage { storage, gate, .. } = Self::replay(gate);
        JournaledStorage { storage: storage.read_only(), gate, read_only: true }
    }
}

impl Backend for Journaled {
    type Place = Arc<Gate>;

    fn name(&self) -> String {
        "MemoryStorage, journaled".to_owned()
    }

    fn abilities(&self) -> &[Ability] {
        &[
            Ability::Reopen,
            Ability::Crash,
            Ability::ReadOnly,
            Ability::Fence,
            Ability::Expire,
            Ability::Hold,
            Ability::CountPersists,
            Ability::Fail(Fault::NotApplied),
            Ability::Fail(Fault::Indeterminate),
            Ability::Fail(Fault::Full),
        ]
    }

    fn create(&self) -> Arc<Gate> {
        Arc::default()
    }

    fn open(&self, gate: &Arc<Gate>) -> Arc<dyn Storage> {
        Arc::new(Self::replay(gate))
    }

    fn open_read_only(&self, gate: &Arc<Gate>) -> Arc<dyn Storage> {
        Arc::new(Self::replay_read_only(gate))
    }

    fn usurp(&self, gate: &Arc<Gate>) -> Arc<dyn Storage> {
        self.open(gate)
    }

    fn expire(&self, gate: &Arc<Gate>) {
        gate.expire(true);
    }

    fn crash(&self, _gate: &Arc<Gate>, storage: Arc<dyn Storage>) {
        drop(storage);
    }

    fn hold(&self, gate: &Arc<Gate>) {
        gate.hold();
    }

    fn release(&self, gate: &Arc<Gate>) {
        gate.release();
    }

    fn persists(&self, gate: &Arc<Gate>) -> u64 {
        gate.persists()
    }

    fn fail_next(&self, gate: &Arc<Gate>, fault: Fault) {
        gate.fail_next(fault);
    }
}

/// Writes every append down before the medium is asked to persist it.
pub(crate) struct JournaledStorage {
    storage: MemoryStorage,
    gate: Arc<Gate>,
    read_only: bool,
}

impl Storage for JournaledStorage {
    fn snapshot(&self) -> Result<Snapshot, StorageError> {
        self.gate.expire(false);
        self.storage.snapshot()
    }

    fn read_page(&self, at: &Snapshot, page: PageNo, buf: &mut [u8]) -> Result<(), StorageError> {
        if self.read_only && self.gate.state.lock().unwrap().expired {
            return Err(StorageError::SnapshotExpired);
        }
        self.storage.read_page(at, page, buf)
    }

    fn begin_write(&self, wait: Wait) -> Result<WriteTicket, StorageError> {
        self.storage.begin_write(wait)
    }

    fn append(&self, ticket: WriteTicket, commit: Commit<'_>) -> Result<Snapshot, StorageError> {
        // Locked across the append: nobody persists it before it is written down.
        let mut state = self.gate.state.lock().unwrap();
        if std::mem::take(&mut state.full) {
            return Err(StorageError::Full { what: "the gate".to_owned(), source: None });
        }
        let kept = Kept::of(&commit);
        let at = self.storage.append(ticket, commit)?;
        state.pending.insert(at.lsn(), kept);
        Ok(at)
    }

    fn wait_durable(&self, at: &Snapshot) -> Result<(), StorageError> {
        self.storage.wait_durable(at)
    }

    fn prefetch(&self, at: &Snapshot, pages: &[PageNo]) {
        self.storage.prefetch(at, pages);
    }

    fn checkpoint(&self) -> Result<Checkpointed, StorageError> {
        self.storage.checkpoint()
    }

    fn close(&self) -> Result<(), StorageError> {
        self.storage.close()
    }
}
