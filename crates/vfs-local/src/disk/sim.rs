//! A disk that loses what was not synced, as a power loss does.
//!
//! Each file has its live bytes, which reads see, its durable bytes, and the list of writes and cuts between. A crash
//! (at a chosen operation, or by [`SimDisk::restart`]) decides by a seed, for each of those separately, whether it
//! reached the platter: whole, not at all, or torn at 512-byte sectors; and in which order they did. Directory entries
//! are kept or lost likewise. A failed sync drops some of the dirty writes for good, while reads still see them, as the
//! page cache of Linux does.
//!
//! Invariants:
//! 1. Equal seeds and equal calls give equal disks.
//! 2. A handle opened before a crash does nothing after it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use twill_types::seeded::Chance;

use super::{Access, Disk, DiskFile, FileIdentity, FileStamp, LockKind};

const SECTOR: usize = 512;

/// What goes wrong at one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes. The operation may have happened, in part.
    Crash,
    /// There is no room: a write leaves a part behind.
    NoSpace,
    /// The operation fails; a sync drops dirty writes.
    Broken,
}

/// See the module. Clones share the disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    chance: Chance,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    crashed: bool,
    /// Raised by each restart; handles of an earlier boot are dead.
    boot: u64,
    files: Vec<Inode>,
    live: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
}

#[derive(Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    dirty: Vec<Dirty>,
    changes: u64,
    /// Handles that hold a lock, and whether exclusively.
    locks: Vec<(u64, bool)>,
}

#[derive(Clone)]
enum Dirty {
    Write(usize, Vec<u8>),
    Len(usize),
}

struct SimFile {
    state: Arc<Mutex<State>>,
    inode: usize,
    boot: u64,
    handle: u64,
}

fn apply(bytes: &mut Vec<u8>, change: &Dirty) {
    match change {
        Dirty::Len(len) => bytes.resize(*len, 0),
        Dirty::Write(offset, written) => {
            let end = offset + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            if let Some(place) = bytes.get_mut(*offset..end) {
                place.copy_from_slice(written);
            }
        }
    }
}

/// What of a write reached the platter: each of its sectors does or does not, or all up to one, or all from one on.
fn tear(change: &Dirty, chance: &mut Chance) -> Vec<Dirty> {
    let Dirty::Write(offset, bytes) = change else { return vec![change.clone()] };
    let manner = chance.below(3);
    let turn = chance.below(bytes.len() + 1);
    let mut parts = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let sector_left = SECTOR - (offset + at) % SECTOR;
        let end = (at + sector_left).min(bytes.len());
        let kept = match manner {
            0 => end <= turn,
            1 => at >= turn,
            _ => chance.below(2) == 0,
        };
        if kept {
            parts.push(Dirty::Write(offset + at, bytes.get(at..end).unwrap_or_default().to_vec()));
        }
        at = end;
    }
    parts
}

impl Inode {
    /// Decides what of the dirty writes survived.
    fn lose(&mut self, chance: &mut Chance) {
        let mut dirty = std::mem::take(&mut self.dirty);
        // Some crashes lose everything, some nothing, most a mixture, out of order.
        let mood = chance.below(4);
        if mood == 2 {
            for at in (1..dirty.len()).rev() {
                let other = chance.below(at + 1);
                dirty.swap(at, other);
            }
        }
        for change in dirty {
            let fate = match mood {
                0 => 0,
                1 => 1,
                _ => chance.below(3),
            };
            match fate {
                0 => {}
                1 => apply(&mut self.durable, &change),
                _ => tear(&change, chance).iter().for_each(|part| apply(&mut self.durable, part)),
            }
        }
        self.live.clone_from(&self.durable);
        self.locks.clear();
    }

    fn change(&mut self, change: Dirty) {
        apply(&mut self.live, &change);
        self.changes += 1;
        self.dirty.push(change);
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::other(format!("injected: {what}"))
}

impl State {
    /// Counts one operation; `Err` when the disk is gone, `Ok(Some)` when this one shall fail.
    fn step(&mut self, boot: u64) -> io::Result<Option<Fault>> {
        if self.crashed || boot != self.boot {
            return Err(broken("the power is off"));
        }
        let fault = self.faults.remove(&self.operations);
        self.operations += 1;
        if fault == Some(Fault::Crash) {
            self.crashed = true;
        }
        Ok(fault)
    }

    /// An operation that either happens or fails.
    fn whole(&mut self, boot: u64) -> io::Result<()> {
        match self.step(boot)? {
            None => Ok(()),
            Some(fault) => Err(broken(&format!("{fault:?}"))),
        }
    }
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            chance: Chance::from_seed(seed),
            operations: 0,
            faults: BTreeMap::new(),
            crashed: false,
            boot: 0,
            files: Vec::new(),
            live: BTreeMap::new(),
            durable: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations so far; the next one has this number.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets operation `number` go wrong.
    pub fn fail_at(&self, number: u64, fault: Fault) {
        self.state().faults.insert(number, fault);
    }

    /// Forgets the faults that have not happened.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// Whether a [`Fault::Crash`] happened since the last restart.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.state().crashed
    }

    /// Turns the power off, if it still is on, and on again: what was not synced may be lost. Every lock and handle is
    /// gone.
    pub fn restart(&self) {
        let mut state = self.state();
        let State { chance, files, live, durable, .. } = &mut *state;
        let mut entries = BTreeMap::new();
        let paths: Vec<PathBuf> = live.keys().chain(durable.keys()).cloned().collect();
        for path in paths {
            let (now, synced) = (live.get(&path), durable.get(&path));
            let kept = if chance.below(2) == 0 { now } else { synced };
            if let Some(inode) = kept {
                entries.insert(path, *inode);
            }
        }
        files.iter_mut().for_each(|file| file.lose(chance));
        live.clone_from(&entries);
        durable.clone_from(&entries);
        state.crashed = false;
        state.boot += 1;
        state.faults.clear();
    }

    /// Kills the process, not the power: every lock and handle is gone, every write stays.
    pub fn kill(&self) {
        let mut state = self.state();
        state.files.iter_mut().for_each(|file| file.locks.clear());
        state.crashed = false;
        state.boot += 1;
        state.faults.clear();
    }

    /// A file's live bytes.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = *state.live.get(path)?;
        state.files.get(inode).map(|file| file.live.clone())
    }

    /// Puts a file there, durably.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let inode = state.files.len();
        state.files.push(Inode { live: bytes.to_vec(), durable: bytes.to_vec(), ..Inode::default() });
        state.live.insert(path.to_owned(), inode);
        state.durable.insert(path.to_owned(), inode);
    }

    fn handle(&self, state: &mut State, inode: usize) -> Arc<dyn DiskFile> {
        let handle = state.chance.next();
        Arc::new(SimFile { state: Arc::clone(&self.state), inode, boot: state.boot, handle })
    }
}

impl Disk for SimDisk {
    fn open(
        &self,
        path: &Path,
        access: Access,
        _like: Option<&dyn DiskFile>,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let boot = state.boot;
        state.whole(boot)?;
        let inode = match state.live.get(path).copied() {
            Some(inode) => inode,
            None if access == Access::Create => {
                state.files.push(Inode::default());
                let inode = state.files.len() - 1;
                state.live.insert(path.to_owned(), inode);
                inode
            }
            None => return Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        Ok(self.handle(&mut state, inode))
    }

    fn delete(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let boot = state.boot;
        state.whole(boot)?;
        state.live.remove(path);
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.state();
        let boot = state.boot;
        state.whole(boot)?;
        Ok(state.live.contains_key(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let boot = state.boot;
        state.whole(boot)?;
        let of_same = |other: &Path| other.parent() == path.parent();
        let State { live, durable, .. } = &mut *state;
        durable.retain(|other, _| !of_same(other));
        durable.extend(live.iter().filter(|(other, _)| of_same(other)).map(|(p, inode)| (p.clone(), *inode)));
        Ok(())
    }

    fn identity(&self, path: &Path) -> io::Result<FileIdentity> {
        let state = self.state();
        let inode = state.live.get(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(FileIdentity { device: 0, inode: *inode as u64 })
    }

    fn scratch(&self, _path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let boot = state.boot;
        state.whole(boot)?;
        state.files.push(Inode::default());
        let inode = state.files.len() - 1;
        Ok(self.handle(&mut state, inode))
    }
}

impl SimFile {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `body` on the inode and the chance of the disk.
    fn on<T>(&self, state: &mut State, body: impl FnOnce(&mut Inode, &mut Chance) -> T) -> io::Result<T> {
        let State { files, chance, .. } = state;
        let inode = files.get_mut(self.inode).ok_or_else(|| broken("no such file"))?;
        Ok(body(inode, chance))
    }
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

impl DiskFile for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state();
        state.whole(self.boot)?;
        let offset = position(offset)?;
        self.on(&mut state, |inode, _| {
            let found = inode.live.get(offset..).unwrap_or_default();
            let len = found.len().min(buf.len());
            if let (Some(to), Some(from)) = (buf.get_mut(..len), found.get(..len)) {
                to.copy_from_slice(from);
            }
            len
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state();
        let offset = position(offset)?;
        let fault = state.step(self.boot)?;
        self.on(&mut state, |inode, chance| match fault {
            None => inode.change(Dirty::Write(offset, bytes.to_vec())),
            // The whole of it may be there although an error is reported.
            Some(_) => {
                let len = chance.below(bytes.len() + 1);
                let len = if chance.below(4) == 0 { bytes.len() } else { len };
                inode.change(Dirty::Write(offset, bytes.get(..len).unwrap_or_default().to_vec()));
            }
        })?;
        match fault {
            None => Ok(()),
            Some(Fault::NoSpace) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            Some(fault) => Err(broken(&format!("{fault:?}"))),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        let len = position(len)?;
        let fault = state.step(self.boot)?;
        if matches!(fault, None | Some(Fault::Crash)) {
            self.on(&mut state, |inode, _| inode.change(Dirty::Len(len)))?;
        }
        fault.map_or(Ok(()), |fault| Err(broken(&format!("{fault:?}"))))
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.state();
        state.whole(self.boot)?;
        self.on(&mut state, |inode, _| inode.live.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.state();
        let fault = state.step(self.boot)?;
        self.on(&mut state, |inode, chance| match fault {
            None => {
                for change in std::mem::take(&mut inode.dirty) {
                    apply(&mut inode.durable, &change);
                }
            }
            Some(Fault::Crash) => {}
            // Linux marks the pages clean: no later sync writes them. Some had reached the platter, some not.
            Some(Fault::Broken | Fault::NoSpace) => {
                for change in std::mem::take(&mut inode.dirty) {
                    if chance.below(2) == 0 {
                        apply(&mut inode.durable, &change);
                    }
                }
            }
        })?;
        fault.map_or(Ok(()), |fault| Err(broken(&format!("{fault:?}"))))
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        let mut state = self.state();
        state.whole(self.boot)?;
        let exclusive = kind == LockKind::Exclusive;
        self.on(&mut state, |inode, _| {
            let conflict = |lock: &(u64, bool)| lock.0 != self.handle && (lock.1 || exclusive);
            if inode.locks.iter().any(conflict) {
                return false;
            }
            inode.locks.retain(|lock| lock.0 != self.handle);
            inode.locks.push((self.handle, exclusive));
            true
        })
    }

    fn is_locked_at(&self, _offset: u64) -> io::Result<bool> {
        let mut state = self.state();
        self.on(&mut state, |inode, _| inode.locks.iter().any(|lock| lock.0 != self.handle))
    }

    fn unlock(&self) -> io::Result<()> {
        let mut state = self.state();
        if self.boot == state.boot {
            self.on(&mut state, |inode, _| inode.locks.retain(|lock| lock.0 != self.handle))?;
        }
        Ok(())
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        Ok(FileIdentity { device: 0, inode: self.inode as u64 })
    }

    fn stamp(&self) -> io::Result<FileStamp> {
        let mut state = self.state();
        self.on(&mut state, |inode, _| FileStamp {
            len: inode.live.len() as u64,
            modified_ns: i128::from(inode.changes),
        })
    }

    fn permissions(&self) -> io::Result<u32> {
        Ok(0o644)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        drop(self.unlock());
    }
}
