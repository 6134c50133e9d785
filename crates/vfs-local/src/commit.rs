//! The commit path: append frames, then share one fdatasync with whoever else is waiting.
//!
//! ```text
//! begin_write ── slot ──> append: frames into the WAL, entries into the index, slot given back
//!                             └──> wait_durable: leader: fdatasync WAL [first commit: page 1 into the database file]
//!                                                followers: sleep until the sync that covers them is done
//! ```
//!
//! Invariants:
//! 1. Frames are written only by the holder of the writer slot, at the tail; the tail moves only after all of a commit's
//!    frames are written. A commit whose write failed is cut off, and the cut is synced, before the failure is reported;
//!    where that fails too the storage is poisoned.
//! 2. A sync covers what was appended before it began, never more.
//! 3. The sync of the first commit of an empty file also writes page 1 into the database file, extends it, and syncs it
//!    and the directory: stock SQLite deletes a WAL whose database file is empty.
//! 4. Growing over pages that were once cut off writes them as zeros into the WAL, so no reader, and no recovery, sees
//!    their old bytes.
//!
//! On a crash before the sync any prefix of the frames may be there; recovery drops those of an unfinished commit.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use twill_types::{Lsn, PageNo, Synchronous};
use twill_vfs_trait::{Commit, Snapshot, StorageError};

use crate::disk::DiskFile;
use crate::failpoints::reach;
use crate::history::{Extent, History, Pin};
use crate::index::{Place, Version, prune};
use crate::storage::{Core, locked};
use crate::turn::Turn;
use crate::wal::format::{Checksum, WalHeader, WordOrder};

/// Where the next frame goes. Touched only by the holder of the writer slot, and while opening.
pub(crate) struct Tail {
    /// `None`: the next commit writes the header first.
    pub(crate) header: Option<WalHeader>,
    /// Frames in the log.
    pub(crate) frames: u32,
    /// Frames of earlier rounds of the log since open.
    pub(crate) frames_before: u64,
    /// The chain at its end.
    pub(crate) checksum: Checksum,
    /// Reused for building frames.
    pub(crate) buffer: Vec<u8>,
}

/// Frames are handed to the system in pieces of about this size.
const WRITE_BYTES: usize = 1 << 20;

/// Lets `close` wait for an append under way.
struct Appending<'a>(&'a Core);

impl Drop for Appending<'_> {
    fn drop(&mut self) {
        let mut history = self.0.history();
        history.appending = false;
        // Only a close waits for this, and it marks the history first.
        let closing = history.closed;
        drop(history);
        if closing {
            self.0.append_ended.notify_all();
        }
    }
}

impl Core {
    /// Appends a commit on top of `base`, and gives the slot back.
    pub(crate) fn append(
        self: &Arc<Self>,
        turn: Turn,
        base: Extent,
        commit: &Commit<'_>,
    ) -> Result<Snapshot, StorageError> {
        let appending = {
            let mut history = self.history();
            if let Some(error) = &history.poisoned {
                return Err(StorageError::poisoned(error));
            }
            if history.closed {
                return Err(StorageError::closed());
            }
            if base.lsn != history.appended.lsn {
                let what =
                    format!("the commit builds on {}, the newest is {}", base.lsn, history.appended.lsn);
                return Err(StorageError::Conflict { what });
            }
            history.appending = true;
            Appending(self)
        };
        let lsn = base.lsn.next();
        let zeros = self.pages_to_clear(base, commit);
        let first_frame = locked(&self.tail).frames + 1;
        let frames_ever = self.write_frames(commit, &zeros)?;
        let extent = Extent { lsn, page_count: commit.page_count, page_size: commit.page_size, frames_ever };
        self.enter(commit, &zeros, lsn, first_frame);
        let full = self.options.synchronous == Synchronous::Full;
        if !full && base.page_count == 0 && self.db_pages.load(Ordering::Acquire) == 0 {
            self.first_unwaited_commit(extent).map_err(|error| self.poison(error))?;
        }
        let (pin, outdated) = {
            let mut history = self.history();
            history.appended = extent;
            let outdated = if full { None } else { self.move_durable(&mut history, extent) };
            (history.pin(self, extent), outdated)
        };
        // In this order: the next writer's mark must not be taken back, or `close` would not wait for its append.
        drop(appending);
        drop(outdated);
        drop(turn);
        if self.wal_frames() >= self.options.checkpoint_frames {
            self.signal.checkpoint();
        }
        Ok(self.snapshot_of(pin))
    }

    /// Invariant 3 for a storage whose commits do not wait for a sync.
    fn first_unwaited_commit(&self, extent: Extent) -> Result<(), StorageError> {
        if self.options.synchronous == Synchronous::Normal {
            // The log before the database file, always.
            self.sync_alone(self.wal()?).map_err(|error| self.failed("syncing", &self.wal_path, error))?;
        }
        self.first_backfill(extent)
    }

    pub(crate) fn wal_frames(&self) -> u32 {
        u32::try_from(self.counters.wal_frames.get()).unwrap_or(u32::MAX)
    }

    /// Pages that the commit grows over, does not write, and that have old bytes somewhere.
    fn pages_to_clear(&self, base: Extent, commit: &Commit<'_>) -> Vec<u32> {
        let known = self.db_pages.load(Ordering::Acquire).max(self.indexed_pages.load(Ordering::Acquire));
        let grown = base.page_count.saturating_add(1)..=commit.page_count.min(known);
        let in_file = self.db_pages.load(Ordering::Acquire);
        grown
            .filter(|page| {
                let written = commit.pages.binary_search_by_key(page, |image| image.page.get()).is_ok();
                !written && (*page <= in_file || self.index.read(*page).contains_key(page))
            })
            .collect()
    }

    /// Writes the commit's frames at the tail and moves it. Returns the frames ever written.
    fn write_frames(&self, commit: &Commit<'_>, zeros: &[u32]) -> Result<u64, StorageError> {
        let wal = self.wal_to_write()?;
        let mut tail = locked(&self.tail);
        let tail = &mut *tail;
        tail.buffer.clear();
        let header = tail.header.unwrap_or_else(|| self.fresh_header(commit.page_size, None));
        let (mut chain, mut offset) = match tail.header {
            Some(_) => (tail.checksum, WalHeader::frame_offset(header.page_size, tail.frames + 1)),
            None => {
                let (bytes, chain) = header.encode();
                tail.buffer.extend_from_slice(&bytes);
                (chain, 0)
            }
        };
        let start = offset;
        reach("before_frames");
        let blank = vec![0; if zeros.is_empty() { 0 } else { header.page_size.bytes() }];
        let cleared = zeros.iter().map(|page| (*page, blank.as_slice()));
        let images = cleared.chain(commit.pages.iter().map(|image| (image.page.get(), image.bytes)));
        let count = zeros.len() + commit.pages.len();
        for (at, (page, bytes)) in images.enumerate() {
            let page_count = if at + 1 == count { commit.page_count } else { 0 };
            chain = header.encode_frame(chain, page, page_count, bytes, &mut tail.buffer);
            if tail.buffer.len() >= WRITE_BYTES || at + 1 == count {
                if let Err(error) = wal.write_at(&tail.buffer, offset) {
                    return Err(self.cut_off(wal, start, error));
                }
                offset += tail.buffer.len() as u64;
                tail.buffer.clear();
            }
        }
        reach("frames_written");
        tail.buffer.shrink_to(2 * WRITE_BYTES);
        let added =
            u32::try_from(count).map_err(|_| StorageError::invalid("too many pages in one commit"))?;
        (tail.header, tail.frames, tail.checksum) = (Some(header), tail.frames + added, chain);
        self.count_append(u64::from(added), offset - start, offset, tail.frames);
        Ok(tail.frames_before + u64::from(tail.frames))
    }

    fn count_append(&self, frames: u64, bytes: u64, wal_bytes: u64, wal_frames: u32) {
        self.counters.commits.add(1);
        self.counters.frames.add(frames);
        self.counters.bytes_written.add(bytes);
        self.counters.wal_bytes.set(wal_bytes);
        self.counters.wal_bytes_max.raise_to(wal_bytes);
        self.counters.wal_frames.set(u64::from(wal_frames));
    }

    /// A header for a new round of the log.
    pub(crate) fn fresh_header(
        &self,
        page_size: twill_types::PageSize,
        before: Option<&WalHeader>,
    ) -> WalHeader {
        let mut salts = [0; 8];
        self.door.fill_random(&mut salts);
        if let Some(before) = before {
            let salt = crate::wal::format::be32(&before.salts, 0).wrapping_add(1);
            for (to, from) in salts.iter_mut().zip(salt.to_be_bytes()) {
                *to = from;
            }
        }
        let checkpoint_seq = before.map_or(0, |before| before.checkpoint_seq.wrapping_add(1));
        WalHeader { order: WordOrder::Little, page_size, checkpoint_seq, salts }
    }

    /// Takes back what a failed write may have left behind the tail. Returns the error to report.
    fn cut_off(&self, wal: &Arc<dyn DiskFile>, end: u64, error: std::io::Error) -> StorageError {
        let error = self.failed("appending to", &self.wal_path, error);
        let cut = wal.set_len(end).and_then(|()| match self.options.synchronous {
            // Without the sync a power loss could bring a whole commit back.
            Synchronous::Full | Synchronous::Normal => self.sync_alone(wal),
            Synchronous::Off => Ok(()),
        });
        match cut {
            Ok(()) => error,
            Err(cut) => {
                tracing::error!(%cut, path = %self.wal_path.display(), "a failed append could not be cut off");
                self.poison(error)
            }
        }
    }

    /// One fdatasync of the WAL while no other runs.
    fn sync_alone(&self, wal: &Arc<dyn DiskFile>) -> std::io::Result<()> {
        let mut history = self.history();
        while history.syncing {
            let generation = history.generation;
            history = self.wait_for_sync(history, generation);
        }
        self.start_sync(&mut history);
        // It covers nothing that anyone waits for.
        drop(history);
        let outcome = wal.sync_data();
        self.counters.wal_syncs.add(1);
        let mut history = self.history();
        self.end_sync(&mut history);
        outcome
    }

    /// Poisons and returns what the commits in flight are told.
    pub(crate) fn poison(&self, cause: StorageError) -> StorageError {
        let what = cause.to_string();
        let told = StorageError::Indeterminate { what, source: Some(Arc::new(cause)) };
        self.history().poison(told.clone());
        self.slot.close(StorageError::poisoned(&told));
        self.handover.wake();
        self.synced.iter().for_each(std::sync::Condvar::notify_all);
        told
    }

    /// Makes the commit's versions visible to readers at or after `lsn`.
    fn enter(&self, commit: &Commit<'_>, zeros: &[u32], lsn: Lsn, first_frame: u32) {
        let (pins, durable) = {
            let history = self.history();
            (history.pinned(), history.durable.lsn)
        };
        let pages = zeros.iter().copied().chain(commit.pages.iter().map(|image| image.page.get()));
        let mut highest = 0;
        for (page, frame) in pages.zip(first_frame..) {
            highest = highest.max(page);
            let mut shard = self.index.write(page);
            let versions = shard.entry(page).or_default();
            versions.push(Version { lsn, place: Place::Wal(frame) });
            prune(versions, &pins, durable, |version| self.forget(version));
        }
        self.indexed_pages.fetch_max(highest, Ordering::AcqRel);
    }

    /// Gives a dropped version's room back.
    pub(crate) fn forget(&self, version: Version) {
        if let Place::Spill(slot) = version.place {
            let now = locked(&self.spill).free(slot);
            self.counters.spill_pages_now.set(now);
        }
    }

    /// Returns when the state is durable in the sense of the storage's `synchronous`, or is known not to be.
    pub(crate) fn wait_durable(&self, lsn: Lsn) -> Result<(), StorageError> {
        match self.options.synchronous {
            Synchronous::Full => self.sync_to(lsn),
            Synchronous::Normal | Synchronous::Off => {
                let history = self.history();
                match &history.poisoned {
                    Some(error) if history.durable.lsn < lsn => Err(error.clone()),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Sleeps until a sync of this generation may have ended.
    fn wait_for_sync<'a>(
        &'a self,
        mut history: MutexGuard<'a, History>,
        generation: u64,
    ) -> MutexGuard<'a, History> {
        *history.sleepers(generation) += 1;
        let mut history =
            self.generation_cv(generation).wait(history).unwrap_or_else(PoisonError::into_inner);
        *history.sleepers(generation) -= 1;
        history
    }

    fn generation_cv(&self, generation: u64) -> &std::sync::Condvar {
        let [even, odd] = &self.synced;
        if generation.is_multiple_of(2) { even } else { odd }
    }

    /// Readers see `extent` from now on. Returns the pin of the state before, to be dropped without the lock.
    fn move_durable(&self, history: &mut History, extent: Extent) -> Option<Arc<Pin>> {
        history.durable = extent;
        self.newest.swap(None)
    }

    fn start_sync(&self, history: &mut History) {
        history.syncing = true;
        history.generation += 1;
    }

    /// Wakes the sync's own waiters, and one of the next sync's to lead it.
    fn end_sync(&self, history: &mut History) {
        history.syncing = false;
        let (this, next) = (history.generation, history.generation + 1);
        // Waking nobody takes a system call all the same.
        if *history.sleepers(this) > 0 {
            self.generation_cv(this).notify_all();
        }
        if *history.sleepers(next) == 0 {
            return;
        }
        if history.poisoned.is_some() {
            self.generation_cv(next).notify_all();
        } else {
            self.generation_cv(next).notify_one();
        }
    }

    /// Syncs the WAL up to `lsn`, as leader or as follower.
    pub(crate) fn sync_to(&self, lsn: Lsn) -> Result<(), StorageError> {
        let mut history = self.history();
        loop {
            if history.synced.lsn >= lsn {
                return Ok(());
            }
            if let Some(error) = &history.poisoned {
                return Err(error.clone());
            }
            if history.syncing {
                let generation = history.generation + u64::from(lsn > history.sync_target);
                history = self.wait_for_sync(history, generation);
                continue;
            }
            let target = history.appended;
            history.sync_target = target.lsn;
            self.start_sync(&mut history);
            drop(history);
            let outcome = self.sync_group(target).map_err(|error| self.poison(error));
            history = self.history();
            let mut outdated = None;
            if outcome.is_ok() && history.poisoned.is_none() {
                history.synced = target;
                if self.options.synchronous == Synchronous::Full {
                    outdated = self.move_durable(&mut history, target);
                }
            }
            self.end_sync(&mut history);
            if outdated.is_some() {
                drop(history);
                drop(outdated);
                history = self.history();
            }
        }
    }

    fn sync_group(&self, target: Extent) -> Result<(), StorageError> {
        reach("before_wal_sync");
        self.wal()?.sync_data().map_err(|error| self.failed("syncing", &self.wal_path, error))?;
        self.counters.wal_syncs.add(1);
        reach("after_wal_sync");
        if target.page_count > 0 && self.db_pages.load(Ordering::Acquire) == 0 {
            self.first_backfill(target)?;
        }
        Ok(())
    }

    /// Invariant 3.
    fn first_backfill(&self, target: Extent) -> Result<(), StorageError> {
        let failed = |error| self.failed("writing", &self.path, error);
        reach("before_first_backfill");
        let mut image = vec![0; target.page_size.bytes()];
        self.read_page(target, PageNo::FIRST, &mut image)?;
        self.db_pages.fetch_max(target.page_count, Ordering::AcqRel);
        let len = u64::from(target.page_count) * u64::from(target.page_size.get());
        self.db.set_len(len).map_err(failed)?;
        self.db.write_at(&image, 0).map_err(failed)?;
        self.counters.bytes_written.add(image.len() as u64);
        if self.options.synchronous != Synchronous::Off {
            self.sync_db()?;
            reach("before_dir_sync");
            self.disk.sync_dir(&self.path).map_err(failed)?;
            reach("after_dir_sync");
        }
        reach("after_first_backfill");
        Ok(())
    }

    pub(crate) fn sync_db(&self) -> Result<(), StorageError> {
        self.db.sync_data().map_err(|error| self.failed("syncing", &self.path, error))?;
        self.counters.db_syncs.add(1);
        Ok(())
    }
}
