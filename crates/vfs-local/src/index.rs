//! Where each page's versions are.
//!
//! A page without an entry lies in the database file. An entry lists its versions, oldest first; a reader at LSN `n`
//! wants the last one with `lsn <= n`, and before the first one again the database file.
//!
//! Invariants:
//! 1. A place is overwritten (a database page by backfill, a frame after a reset, a spill slot) only after no entry and
//!    no pin leads there any more; entries change under their shard's write lock, and a reader keeps the read lock until
//!    it has copied the bytes. So a reader never copies bytes of another version.
//! 2. Versions ascend strictly by LSN.
//! 3. A version is dropped only when no pin, nor the durable state, nor any later state can see it.
//!
//! Nothing here is on disk; after a crash it is rebuilt from the WAL.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use twill_types::Lsn;

/// Where one version of a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this frame of the WAL.
    Wal(u32),
    /// In the database file.
    Database,
    /// In this slot of the spill.
    Spill(u32),
}

/// One version of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) lsn: Lsn,
    pub(crate) place: Place,
}

/// The versions of one page, oldest first.
pub(crate) type Versions = Vec<Version>;

/// The entries of one shard.
pub(crate) type Shard = HashMap<u32, Versions, BuildHasherDefault<PageHasher>>;

const SHARDS: usize = 64;

/// See the module.
pub(crate) struct Index {
    shards: [RwLock<Shard>; SHARDS],
}

/// Multiplies by a large odd number: page numbers are small, dense and not chosen by an adversary.
#[derive(Default)]
pub(crate) struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        let mixed = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { shards: std::array::from_fn(|_| RwLock::default()) }
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is below the array's length")]
    fn shard(&self, page: u32) -> &RwLock<Shard> {
        &self.shards[page as usize % SHARDS]
    }

    /// The shard of `page`; places read from it stay true while the guard lives.
    pub(crate) fn read(&self, page: u32) -> RwLockReadGuard<'_, Shard> {
        self.shard(page).read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shard of `page`, to change.
    pub(crate) fn write(&self, page: u32) -> RwLockWriteGuard<'_, Shard> {
        self.shard(page).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `each` with every entry; the shards are visited one after the other.
    pub(crate) fn for_each(&self, mut each: impl FnMut(u32, &Versions)) {
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            shard.iter().for_each(|(page, versions)| each(*page, versions));
        }
    }

    /// Keeps the entries for which `keep`, which may change them, says so.
    pub(crate) fn retain(&self, mut keep: impl FnMut(u32, &mut Versions) -> bool) {
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|page, versions| keep(*page, versions));
        }
    }
}

/// The version that a reader at `lsn` wants: its position, or `None` for the database file.
pub(crate) fn visible(versions: &[Version], lsn: Lsn) -> Option<(usize, Version)> {
    // The wanted version is nearly always the newest.
    let at = versions.iter().rposition(|version| version.lsn <= lsn)?;
    versions.get(at).map(|version| (at, *version))
}

/// Whether one of `lsns` (ascending) lies in `from..to`; `to == None` is without end.
pub(crate) fn any_within(lsns: &[Lsn], from: Lsn, to: Option<Lsn>) -> bool {
    let at = lsns.partition_point(|lsn| *lsn < from);
    lsns.get(at).is_some_and(|lsn| to.is_none_or(|to| *lsn < to))
}

/// Drops the versions that none of `lsns` (ascending) sees and that are not the newest; calls `dropped` for each.
/// Versions above `durable` stay.
pub(crate) fn prune(versions: &mut Versions, lsns: &[Lsn], durable: Lsn, mut dropped: impl FnMut(Version)) {
    let mut at = 0;
    while let (Some(&version), Some(next)) = (versions.get(at), versions.get(at + 1)) {
        let needed = version.lsn > durable
            || (version.lsn..next.lsn).contains(&durable)
            || any_within(lsns, version.lsn, Some(next.lsn));
        if needed {
            at += 1;
        } else {
            versions.remove(at);
            dropped(version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(lsns: &[u64]) -> Versions {
        lsns.iter().map(|&lsn| Version { lsn: Lsn::new(lsn), place: Place::Database }).collect()
    }

    fn lsns(versions: &Versions) -> Vec<u64> {
        versions.iter().map(|version| version.lsn.get()).collect()
    }

    #[test]
    fn a_reader_sees_the_last_version_at_or_before_it() {
        let versions = versions(&[3, 7]);
        assert_eq!(visible(&versions, Lsn::new(2)), None);
        assert_eq!(visible(&versions, Lsn::new(3)).unwrap().0, 0);
        assert_eq!(visible(&versions, Lsn::new(6)).unwrap().0, 0);
        assert_eq!(visible(&versions, Lsn::new(9)).unwrap().0, 1);
    }

    #[test]
    fn prune_keeps_what_pins_the_durable_state_and_flights_see() {
        let mut list = versions(&[1, 3, 5, 7, 9, 11]);
        let mut gone = Vec::new();
        prune(&mut list, &[Lsn::new(4)], Lsn::new(8), |version| gone.push(version.lsn.get()));
        assert_eq!(lsns(&list), [3, 7, 9, 11]);
        assert_eq!(gone, [1, 5]);
    }
}
