//! What has been appended, what is durable, who is pinned: the storage's small shared state.
//!
//! Invariants:
//! 1. `durable <= appended`; `synced <= appended`. With `synchronous=full`, `durable == synced`; otherwise
//!    `durable == appended`.
//! 2. Neither moves back. Once `poisoned`, neither moves at all.
//! 3. At most one thread syncs the WAL at a time (`syncing`): the system reports a failed write-back to one caller of
//!    fdatasync only.
//! 4. No [`Snapshot`](twill_vfs_trait::Snapshot) is dropped while the lock of [`History`] is held, since its pin takes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use twill_types::{Lsn, PageSize};
use twill_vfs_trait::StorageError;

use crate::storage::Core;

/// A state's size, and where it ends in the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) lsn: Lsn,
    pub(crate) page_count: u32,
    pub(crate) page_size: PageSize,
    /// Its last frame, counted over all rounds of the WAL since open.
    pub(crate) frames_ever: u64,
}

/// See the module.
pub(crate) struct History {
    pub(crate) appended: Extent,
    pub(crate) durable: Extent,
    /// Up to where the WAL was synced.
    pub(crate) synced: Extent,
    /// Pinned states: how many pins, and the state's page count.
    pub(crate) pins: BTreeMap<Lsn, (usize, u32)>,
    pub(crate) syncing: bool,
    /// What the running, or else the last, sync covers.
    pub(crate) sync_target: Lsn,
    /// Counts syncs; waiters of odd and even ones sleep apart.
    pub(crate) generation: u64,
    /// Who sleeps until a sync of an even, and of an odd, generation ends.
    asleep: [u32; 2],
    pub(crate) poisoned: Option<StorageError>,
    pub(crate) closed: bool,
    /// Whether the holder of the slot is between its check of `closed` and the end of its append.
    pub(crate) appending: bool,
}

impl History {
    pub(crate) fn new(extent: Extent) -> Self {
        Self {
            appended: extent,
            durable: extent,
            synced: extent,
            pins: BTreeMap::new(),
            syncing: false,
            sync_target: extent.lsn,
            generation: 0,
            asleep: [0; 2],
            poisoned: None,
            closed: false,
            appending: false,
        }
    }

    /// How many sleep until a sync of this generation ends.
    pub(crate) fn sleepers(&mut self, generation: u64) -> &mut u32 {
        let [even, odd] = &mut self.asleep;
        if generation.is_multiple_of(2) { even } else { odd }
    }

    /// The pinned LSNs, ascending.
    pub(crate) fn pinned(&self) -> Vec<Lsn> {
        self.pins.keys().copied().collect()
    }

    pub(crate) fn pin(&mut self, core: &Arc<Core>, extent: Extent) -> Arc<Pin> {
        self.pins.entry(extent.lsn).or_insert((0, extent.page_count)).0 += 1;
        Arc::new(Pin { core: Arc::clone(core), extent })
    }

    /// Refuses writes from now on. The first cause stays.
    pub(crate) fn poison(&mut self, cause: StorageError) {
        self.poisoned.get_or_insert(cause);
    }
}

/// Keeps one state's pages readable.
pub(crate) struct Pin {
    pub(crate) core: Arc<Core>,
    pub(crate) extent: Extent,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut history = self.core.history();
        let last = match history.pins.get_mut(&self.extent.lsn) {
            Some((count, _)) if *count > 1 => {
                *count -= 1;
                false
            }
            _ => history.pins.remove(&self.extent.lsn).is_some(),
        };
        drop(history);
        if last {
            self.core.pin_released(self.extent.lsn);
        }
    }
}
