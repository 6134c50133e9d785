//! The way back: durable images from the WAL into the database file, then the WAL starts over.
//!
//! ```text
//! backfill (writers go on)                      reset (holds the writer slot, for the last frames)
//!   fdatasync WAL up to T                         backfill what is left
//!   spill what pins need of the pages below       spill what pins need of the frames
//!   extend the file; write pages as of T          write a header with new salts
//!   cut the file to T's page count                fdatasync WAL
//!   fdatasync database file
//! ```
//!
//! Invariants:
//! 1. Only images at or below the durable LSN, in a synced WAL, reach the database file.
//! 2. The WAL is reset only when the database file holds its every page, synced; and nothing is appended after a reset
//!    before the new header is synced, else frames of the old round could replay over a newer database.
//! 3. What a pinned snapshot needs is in the spill, and the index says so, before it is overwritten or cut off.
//! 4. One checkpoint runs at a time.
//!
//! A crash anywhere before the reset leaves a WAL that still has every page; a crash in the reset leaves either the old
//! header, over the same pages that the database file has, or the new one, over nothing. A failed write is not
//! retried on its own: nothing has been forgotten, and the next checkpoint starts over. A failed sync, and a failed
//! write of the new header, poison.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use twill_types::{Lsn, PageNo, Synchronous};
use twill_vfs_trait::{Checkpointed, StorageError};

use crate::disk::DiskFile;
use crate::failpoints::reach;
use crate::history::Extent;
use crate::index::{Place, Version, Versions, any_within, visible};
use crate::storage::{Core, locked};
use crate::wal::format::WalHeader;

/// How far checkpoints came. Locked while one runs.
pub(crate) struct Progress {
    /// Every image at or below this is in the database file, synced.
    pub(crate) backfilled: Lsn,
    /// The last frame of that state, counted over all rounds since open.
    pub(crate) frames_ever: u64,
}

/// What a checkpoint works towards: the durable state, and who is pinned below it.
struct Goal {
    extent: Extent,
    /// Pinned LSNs below, ascending, with their page counts.
    pins: Vec<(Lsn, u32)>,
}

impl Goal {
    /// Whether a pin that has `page` lies in `from..to`.
    fn needs(&self, page: u32, from: Lsn, to: Lsn) -> bool {
        let at = self.pins.partition_point(|(lsn, _)| *lsn < from);
        let pins = self.pins.get(at..).unwrap_or_default();
        pins.iter().take_while(|(lsn, _)| *lsn < to).any(|(_, count)| page <= *count)
    }
}

/// How long an explicit checkpoint waits for the writer slot before it leaves the WAL as it is.
const SLOT_WAIT: Duration = Duration::from_millis(500);

impl Core {
    /// Does everything possible now. Takes the writer slot for a moment; when a transaction keeps it, the pages are
    /// moved and the WAL is left as it is.
    pub(crate) fn checkpoint(&self) -> Result<Checkpointed, StorageError> {
        self.settle_log()?;
        let log_pages = u64::from(self.wal_frames());
        let moved = self.backfill_durable(&mut locked(&self.checkpointing))?;
        let moved_pages = match self.with_reset_turn(Some(SLOT_WAIT), || self.reset())? {
            Some(()) => log_pages,
            None => moved.min(log_pages),
        };
        Ok(Checkpointed { log_pages, moved_pages })
    }

    /// What the background thread does: most of the work beside the writers, the rest in the slot.
    pub(crate) fn background_checkpoint(&self) -> Result<(), StorageError> {
        if self.wal_frames() < self.options.checkpoint_frames {
            return Ok(());
        }
        self.settle_log()?;
        self.backfill_durable(&mut locked(&self.checkpointing))?;
        self.with_reset_turn(None, || self.reset()).map(|_| ())
    }

    /// Keeps the WAL bounded when the background does not: the writer that finds it too long does the work.
    pub(crate) fn bound_wal(&self) -> Result<(), StorageError> {
        if self.wal_frames() < self.options.wal_frames_max {
            return Ok(());
        }
        self.reset()
    }

    /// Syncs everything appended so far, however the storage acknowledges.
    fn settle_log(&self) -> Result<(), StorageError> {
        let appended = self.history().appended.lsn;
        match self.options.synchronous {
            Synchronous::Off => Ok(()),
            Synchronous::Full | Synchronous::Normal => self.sync_to(appended),
        }
    }

    fn goal(&self) -> Result<Goal, StorageError> {
        let history = self.history();
        if let Some(error) = &history.poisoned {
            return Err(StorageError::poisoned(error));
        }
        let extent = match self.options.synchronous {
            Synchronous::Full | Synchronous::Off => history.durable,
            // Commits are durable in name before they are synced.
            Synchronous::Normal => history.synced,
        };
        let below = history.pins.range(..extent.lsn);
        let pins = below.map(|(lsn, (_, page_count))| (*lsn, *page_count)).collect();
        Ok(Goal { extent, pins })
    }

    /// Moves the durable state into the database file. Returns how many frames of this round of the log are covered.
    fn backfill_durable(&self, progress: &mut Progress) -> Result<u64, StorageError> {
        if self.closed.load(Ordering::Acquire) {
            // The file lock is gone, or about to be, and with it the right to write.
            return Err(StorageError::closed());
        }
        let goal = self.goal()?;
        let before = locked(&self.tail).frames_before;
        if goal.extent.lsn > progress.backfilled && goal.extent.page_count > 0 {
            self.check_nothing_lost()?;
            reach("before_backfill");
            self.backfill(&goal, progress.backfilled)?;
            progress.backfilled = goal.extent.lsn;
            progress.frames_ever = goal.extent.frames_ever;
            self.counters.checkpoints.add(1);
        }
        Ok(progress.frames_ever.saturating_sub(before))
    }

    /// A file that lost pages is not written to: extending it would turn the lost pages into zeros.
    fn check_nothing_lost(&self) -> Result<(), StorageError> {
        let Some((first, last)) = self.lost else { return Ok(()) };
        match (first..=last).find(|page| !self.index.read(*page).contains_key(page)) {
            None => Ok(()),
            Some(page) => Err(StorageError::Corrupt {
                object: self.path.display().to_string(),
                expected: format!("{last} pages, as its header says"),
                found: format!("no page {page}"),
            }),
        }
    }

    fn backfill(&self, goal: &Goal, done: Lsn) -> Result<(), StorageError> {
        let extent = goal.extent;
        let failed = |error| self.failed("writing", &self.path, error);
        let page_size = u64::from(extent.page_size.get());
        let len = u64::from(extent.page_count) * page_size;
        self.db_pages.fetch_max(extent.page_count, Ordering::AcqRel);
        if self.db.len().map_err(failed)? <= len {
            // Also when it has that length: it may be one that a failed sync of an earlier open never wrote.
            self.db.set_len(len).map_err(failed)?;
        }
        let mut moves = Vec::new();
        self.index.for_each(|page, versions| {
            if page <= extent.page_count
                && let Some((_, version)) = visible(versions, extent.lsn)
                && version.lsn > done
                && let Place::Wal(_) = version.place
            {
                moves.push((page, version.place));
            }
        });
        moves.sort_unstable_by_key(|(page, _)| *page);
        let mut image = vec![0; extent.page_size.bytes()];
        for (page, place) in moves {
            let Some(page) = PageNo::new(page) else { continue };
            self.spill_below(goal, page, &mut image)?;
            self.read_place(extent, page, place, &mut image)?;
            reach("backfill_page");
            self.db.write_at(&image, page.offset(extent.page_size)).map_err(failed)?;
            self.counters.backfilled_pages.add(1);
            self.counters.bytes_written.add(page_size);
        }
        self.cut_database(goal, len, &mut image)?;
        if self.options.synchronous != Synchronous::Off {
            reach("before_db_sync");
            self.sync_db().map_err(|error| self.poison(error))?;
            reach("after_db_sync");
        }
        self.db_pages.store(extent.page_count, Ordering::Release);
        Ok(())
    }

    /// Cuts the database file to `len`, which is the goal's.
    fn cut_database(&self, goal: &Goal, len: u64, image: &mut [u8]) -> Result<(), StorageError> {
        let failed = |error| self.failed("cutting", &self.path, error);
        let file_len = self.db.len().map_err(failed)?;
        if file_len <= len {
            return Ok(());
        }
        let page_size = u64::from(goal.extent.page_size.get());
        let in_file = u32::try_from(file_len.div_ceil(page_size)).unwrap_or(u32::MAX);
        let needed = goal.pins.iter().map(|(_, count)| *count).max().unwrap_or(0);
        for page in goal.extent.page_count.saturating_add(1)..=in_file.min(needed) {
            if let Some(page) = PageNo::new(page) {
                self.spill_below(goal, page, image)?;
            }
        }
        reach("before_truncate");
        self.db.set_len(len).map_err(failed)?;
        reach("after_truncate");
        Ok(())
    }

    /// Moves the database file's image of `page` to the spill if a pin still reads it there.
    fn spill_below(&self, goal: &Goal, page: PageNo, image: &mut [u8]) -> Result<(), StorageError> {
        let number = page.get();
        let wanted = {
            let shard = self.index.read(number);
            database_range(shard.get(&number), goal.extent.lsn)
                .filter(|(from, to)| goal.needs(number, *from, *to))
        };
        let Some((from, _)) = wanted else { return Ok(()) };
        self.read_place(goal.extent, page, Place::Database, image)?;
        let place = Place::Spill(self.keep(image, goal.extent.lsn)?);
        let mut shard = self.index.write(number);
        if !move_to_spill(shard.entry(number).or_default(), from, place) {
            self.forget(Version { lsn: from, place });
        }
        self.indexed_pages.fetch_max(number, Ordering::AcqRel);
        Ok(())
    }

    /// Keeps an image for pins below `end`.
    fn keep(&self, image: &[u8], end: Lsn) -> Result<u32, StorageError> {
        self.spill_end.fetch_max(end.get(), Ordering::AcqRel);
        let mut spill = locked(&self.spill);
        let slot = spill.keep(image)?;
        self.counters.spilled_pages.add(1);
        self.counters.spill_pages_now.set(spill.used());
        Ok(slot)
    }

    /// Moves the last frames and starts the WAL over. The caller holds the writer slot.
    pub(crate) fn reset(&self) -> Result<(), StorageError> {
        self.settle_log()?;
        let mut progress = locked(&self.checkpointing);
        self.backfill_durable(&mut progress)?;
        let Some(page_size) = self.leave_frames(&progress)? else { return Ok(()) };
        reach("before_reset");
        let wal = self.wal()?;
        let mut tail = locked(&self.tail);
        let header = self.fresh_header(page_size, tail.header.as_ref());
        let (bytes, checksum) = header.encode();
        let failed = |error| self.failed("resetting", &self.wal_path, error);
        wal.write_at(&bytes, 0).map_err(failed).map_err(|error| self.poison(error))?;
        reach("wal_header_written");
        if self.options.synchronous != Synchronous::Off {
            wal.sync_data().map_err(failed).map_err(|error| self.poison(error))?;
            self.counters.wal_syncs.add(1);
        }
        reach("after_reset_header");
        let long = tail.frames > self.options.wal_frames_max;
        tail.frames_before += u64::from(tail.frames);
        (tail.header, tail.frames, tail.checksum) = (Some(header), 0, checksum);
        self.counters.wal_resets.add(1);
        self.counters.wal_frames.set(0);
        self.counters.wal_bytes.set(WalHeader::frame_offset(page_size, 1));
        if long {
            // One huge commit shall not keep its room for ever. What is cut off is of an old round.
            let keep = WalHeader::frame_offset(page_size, self.options.checkpoint_frames);
            if let Err(error) = wal.set_len(keep) {
                tracing::warn!(%error, path = %self.wal_path.display(), "the log keeps its room");
            }
        }
        Ok(())
    }

    /// Makes the index independent of the WAL's frames. `None` when there is nothing to reset: the log is empty.
    fn leave_frames(&self, progress: &Progress) -> Result<Option<twill_types::PageSize>, StorageError> {
        if self.wal_frames() == 0 {
            return Ok(None);
        }
        let goal = self.goal()?;
        if progress.backfilled != goal.extent.lsn {
            return Err(StorageError::invalid("the log moved on while the writer slot was held"));
        }
        let pins: Vec<Lsn> = goal.pins.iter().map(|(lsn, _)| *lsn).collect();
        self.spill_frames(&goal, &pins)?;
        let (newest, count) = (goal.extent.lsn, goal.extent.page_count);
        self.index.retain(|page, versions| {
            keep_off_log(page, versions, &pins, newest, count, |version| self.forget(version))
        });
        Ok(Some(goal.extent.page_size))
    }

    /// Copies the frames that pins need to the spill. The index changes entry by entry, readers go on.
    fn spill_frames(&self, goal: &Goal, pins: &[Lsn]) -> Result<(), StorageError> {
        if pins.is_empty() {
            return Ok(());
        }
        let mut needed = Vec::new();
        self.index.for_each(|page, versions| {
            for (at, version) in versions.iter().enumerate() {
                let next = versions.get(at + 1).map_or(goal.extent.lsn, |next| next.lsn);
                let newest = at + 1 == versions.len() && page <= goal.extent.page_count;
                if let Place::Wal(_) = version.place
                    && !newest
                    && goal.needs(page, version.lsn, next)
                {
                    needed.push((page, *version));
                }
            }
        });
        let mut image = vec![0; goal.extent.page_size.bytes()];
        for (number, version) in needed {
            let Some(page) = PageNo::new(number) else { continue };
            self.read_place(goal.extent, page, version.place, &mut image)?;
            let place = Place::Spill(self.keep(&image, goal.extent.lsn)?);
            let mut shard = self.index.write(number);
            let entry =
                shard.get_mut(&number).and_then(|versions| versions.iter_mut().find(|v| **v == version));
            match entry {
                Some(entry) => entry.place = place,
                None => self.forget(Version { lsn: version.lsn, place }),
            }
        }
        Ok(())
    }

    /// Drops what no pin needs any more, when something was spilled.
    pub(crate) fn sweep(&self) {
        // New entries come only from the holder of the slot or of `checkpointing`.
        let _progress = locked(&self.checkpointing);
        if self.counters.spill_pages_now.get() == 0 {
            return;
        }
        let (pins, durable) = {
            let history = self.history();
            (history.pinned(), history.durable.lsn)
        };
        self.index.retain(|_, versions| {
            crate::index::prune(versions, &pins, durable, |version| self.forget(version));
            // A newest version in the spill is of a page that was cut off since.
            if let Some(last @ Version { place: Place::Spill(_), .. }) = versions.last().copied()
                && !any_within(&pins, last.lsn, Some(durable))
            {
                versions.pop();
                self.forget(last);
            }
            !versions.is_empty() && !matches!(versions.as_slice(), [Version { place: Place::Database, .. }])
        });
    }
}

/// Says that the database file's image, of the version `from` on, is in the spill now. `false`: the version was pruned
/// meanwhile, so nobody needs the image; entered again it would come out of order, and hide that an older one is kept.
fn move_to_spill(versions: &mut Versions, from: Lsn, place: Place) -> bool {
    match versions.iter_mut().find(|version| version.lsn == from) {
        Some(version) => version.place = place,
        None if from > Lsn::ZERO => return false,
        None => versions.insert(0, Version { lsn: from, place }),
    }
    true
}

/// The LSNs whose readers find `page` in the database file, up to `newest`; `None` when there are none.
fn database_range(versions: Option<&Versions>, newest: Lsn) -> Option<(Lsn, Lsn)> {
    let versions = versions.map(Vec::as_slice).unwrap_or_default();
    if let Some(at) = versions.iter().rposition(|version| version.place == Place::Database) {
        let from = versions.get(at)?.lsn;
        return Some((from, versions.get(at + 1).map_or(newest, |next| next.lsn)));
    }
    let to = versions.first().map_or(newest, |first| first.lsn.min(newest));
    (to > Lsn::ZERO).then_some((Lsn::ZERO, to))
}

/// Rewrites an entry for a log that starts over at `newest`: its frames are either in the database file, in the spill,
/// or needed by nobody. Returns whether the entry is still needed.
fn keep_off_log(
    page: u32,
    versions: &mut Versions,
    pins: &[Lsn],
    newest: Lsn,
    page_count: u32,
    mut dropped: impl FnMut(Version),
) -> bool {
    let list = std::mem::take(versions);
    for (at, version) in list.iter().enumerate() {
        let next = list.get(at + 1).map(|next| next.lsn);
        let last_in_file = next.is_none() && page <= page_count;
        let place = match version.place {
            Place::Wal(_) if last_in_file => Place::Database,
            Place::Wal(_) | Place::Database | Place::Spill(_) => version.place,
        };
        let pinned = any_within(pins, version.lsn, Some(next.unwrap_or(newest)));
        if (last_in_file || pinned) && !matches!(place, Place::Wal(_)) {
            versions.push(Version { lsn: version.lsn, place });
        } else {
            dropped(*version);
        }
    }
    !matches!(versions.as_slice(), [] | [Version { place: Place::Database, .. }])
}

/// Used by `close`: the WAL goes away.
impl Core {
    /// Settles, checkpoints, deletes the WAL, gives the lock back.
    pub(crate) fn close(self: &Arc<Self>) -> Result<(), StorageError> {
        {
            let mut history = self.history();
            if history.closed {
                return Ok(());
            }
            history.closed = true;
            let appending = |history: &mut crate::history::History| history.appending;
            drop(self.append_ended.wait_while(history, appending).unwrap_or_else(PoisonError::into_inner));
        }
        drop(self.newest.swap(None));
        self.slot.close(StorageError::closed());
        self.handover.wake();
        let outcome = match self.read_only() {
            Ok(()) => self.close_log(),
            Err(_) => Ok(()),
        };
        self.release_lock();
        outcome
    }

    fn close_log(&self) -> Result<(), StorageError> {
        if let Some(error) = &self.history().poisoned {
            return Err(error.clone());
        }
        self.settle_log()?;
        let mut progress = locked(&self.checkpointing);
        self.backfill_durable(&mut progress)?;
        let goal = self.goal()?;
        if progress.backfilled != goal.extent.lsn {
            return Ok(());
        }
        self.bar_readers();
        if self.wal.get().is_none() {
            return Ok(());
        }
        if !self.owns_paths() {
            tracing::warn!(path = %self.path.display(), "the database was moved while open; its log stays");
            return Ok(());
        }
        reach("before_wal_delete");
        self.disk
            .delete(&self.wal_path)
            .and_then(|()| match self.options.synchronous {
                Synchronous::Off => Ok(()),
                Synchronous::Full | Synchronous::Normal => self.disk.sync_dir(&self.path),
            })
            .map_err(|error| self.failed("deleting", &self.wal_path, error))?;
        reach("after_wal_delete");
        Ok(())
    }

    /// Whether database file and log are still what their paths name. A file that was moved while open may have been
    /// replaced by another database, whose log is not ours to delete; ours holds nothing that the file does not.
    fn owns_paths(&self) -> bool {
        let is = |path, file: &Arc<dyn DiskFile>| match (self.disk.identity(path), file.identity()) {
            (Ok(named), Ok(ours)) => named == ours,
            _ => false,
        };
        is(&self.path, &self.db) && self.wal.get().is_some_and(|wal| is(&self.wal_path, wal))
    }

    /// From now on no page is read; waits for reads under way.
    fn bar_readers(&self) {
        self.closed.store(true, Ordering::Release);
        self.index.retain(|_, _| true);
    }

    /// Gives the file lock back.
    pub(crate) fn release_lock(&self) {
        self.bar_readers();
        // A checkpoint under way still writes; one that begins later finds the storage closed.
        let _progress = locked(&self.checkpointing);
        for file in [Some(&self.db), self.wal.get()].into_iter().flatten() {
            if let Err(error) = file.unlock() {
                tracing::warn!(%error, path = %self.path.display(), "a file lock could not be given back");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(lsn: u64, place: Place) -> Version {
        Version { lsn: Lsn::new(lsn), place }
    }

    #[test]
    fn an_image_whose_version_was_pruned_meanwhile_is_not_entered_again() {
        let (old, new) = (Place::Spill(0), Place::Spill(1));
        let mut versions = vec![version(0, old), version(41, Place::Database), version(42, Place::Wal(7))];
        let (from, _) = database_range(Some(&versions), Lsn::new(42)).unwrap();
        assert_eq!(from, Lsn::new(41));
        versions.remove(1);
        assert!(!move_to_spill(&mut versions, from, new));
        assert_eq!(versions, [version(0, old), version(42, Place::Wal(7))]);
        assert_eq!(
            database_range(Some(&versions), Lsn::new(43)),
            None,
            "the oldest image is in the spill already"
        );
    }

    #[test]
    fn the_image_below_the_first_version_is_entered_before_it() {
        let place = Place::Spill(0);
        let mut versions = vec![version(42, Place::Wal(7))];
        assert!(move_to_spill(&mut versions, Lsn::ZERO, place));
        assert_eq!(versions, [version(0, place), version(42, Place::Wal(7))]);
    }
}
