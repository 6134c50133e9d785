//! [`LocalFileStorage`]: the parts of an open database file, and the trait's calls over them.
//!
//! Locks are taken in this order, each optional: writer slot, `checkpointing`, `tail`, `history`, a shard of the index,
//! `spill`. The commit path is in [`crate::commit`], the way back into the database file in [`crate::checkpoint`],
//! opening and recovery in [`crate::open`].
//!
//! On a crash nothing of this survives but the two files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use arc_swap::ArcSwapOption;
use twill_types::{Door, Epoch, Lsn, PageNo, Synchronous, TimelineId};
use twill_vfs_trait::{
    Checkpointed, Commit, Snapshot, StateId, Storage, StorageError, Wait, WriteTicket, WriterSlot,
};

use crate::background::Background;
use crate::checkpoint::Progress;
use crate::commit::Tail;
use crate::disk::{Access, Disk, DiskFile, LockKind};
use crate::failpoints::reach;
use crate::history::{Extent, History, Pin};
use crate::index::{Index, Place, visible};
use crate::metrics::{Counters, LocalMetrics};
use crate::options::LocalOptions;
use crate::spill::Spill;
use crate::turn::{Handover, Turn};
use crate::wal::format::{FRAME_HEADER_LEN, WalHeader};

/// A SQLite database file and its WAL as a [`Storage`].
///
/// Dropping it without [`Storage::close`] gives the file lock back and stops the background thread, and is otherwise
/// like a crash: the next open recovers from the WAL.
pub struct LocalFileStorage {
    pub(crate) core: Arc<Core>,
    /// Started by the first commit: a storage that is only read needs no thread.
    pub(crate) background: OnceLock<Option<Background>>,
}

/// Everything that pins and the background thread share with the storage.
pub(crate) struct Core {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) door: Arc<dyn Door>,
    pub(crate) options: LocalOptions,
    pub(crate) path: PathBuf,
    pub(crate) wal_path: PathBuf,
    pub(crate) db: Arc<dyn DiskFile>,
    /// Missing until the first commit makes one; always, for a read-only storage of a file without a WAL.
    pub(crate) wal: OnceLock<Arc<dyn DiskFile>>,
    pub(crate) timeline: TimelineId,
    pub(crate) slot: Arc<WriterSlot>,
    pub(crate) handover: Handover,
    pub(crate) checkpointing: Mutex<Progress>,
    pub(crate) tail: Mutex<Tail>,
    pub(crate) history: Mutex<History>,
    /// A pin of the durable state, for every reader to share without a lock. The first reader of a state leaves it here,
    /// and it goes when the durable state moves, both under the lock of `history`; and when the storage closes, since it
    /// keeps the core alive.
    pub(crate) newest: ArcSwapOption<Pin>,
    /// Waiters of even and of odd syncs.
    pub(crate) synced: [Condvar; 2],
    /// Announces that no append is under way.
    pub(crate) append_ended: Condvar,
    pub(crate) index: Index,
    pub(crate) spill: Mutex<Spill>,
    /// Pins at or above this LSN need nothing in the spill.
    pub(crate) spill_end: AtomicU64,
    /// Pages the database file may hold on disk: never less than it does, even after a crash.
    pub(crate) db_pages: AtomicU32,
    /// The highest page that ever had an entry in the index.
    pub(crate) indexed_pages: AtomicU32,
    /// Pages that the file's own header claims and the file does not have: first and last. Reading one is an error.
    pub(crate) lost: Option<(u32, u32)>,
    pub(crate) closed: AtomicBool,
    pub(crate) signal: Arc<crate::background::Signal>,
    /// Of a read-only storage that could not exclude writers: what the files looked like.
    pub(crate) watched: Option<crate::open::Watched>,
    pub(crate) counters: Counters,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The medium refused: for want of room, or otherwise.
pub(crate) fn medium_failed(what: String, error: io::Error) -> StorageError {
    if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        StorageError::Full { what, source: Some(Arc::new(error)) }
    } else {
        StorageError::Unavailable { what, source: Some(Arc::new(error)) }
    }
}

impl Core {
    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        locked(&self.history)
    }

    /// Pins the durable state and leaves the pin for the next reader.
    fn pin_newest(self: &Arc<Self>) -> Result<Arc<Pin>, StorageError> {
        let mut history = self.history();
        if history.closed {
            return Err(StorageError::closed());
        }
        if let Some(pin) = self.newest.load_full() {
            return Ok(pin);
        }
        let durable = history.durable;
        let pin = history.pin(self, durable);
        self.newest.store(Some(Arc::clone(&pin)));
        Ok(pin)
    }

    pub(crate) fn snapshot_of(&self, pin: Arc<Pin>) -> Snapshot {
        let extent = pin.extent;
        Snapshot::new(self.state_id(extent), extent.page_count, extent.page_size, pin)
    }

    fn state_id(&self, extent: Extent) -> StateId {
        StateId { timeline: self.timeline, epoch: Epoch(1), lsn: extent.lsn }
    }

    pub(crate) fn wal(&self) -> Result<&Arc<dyn DiskFile>, StorageError> {
        self.wal.get().ok_or_else(|| StorageError::invalid("there is no log yet"))
    }

    /// The WAL, made if there is none. For the holder of the writer slot.
    pub(crate) fn wal_to_write(&self) -> Result<&Arc<dyn DiskFile>, StorageError> {
        if let Some(wal) = self.wal.get() {
            return Ok(wal);
        }
        self.read_only()?;
        let failed = |error: io::Error| {
            if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
                let path = self.wal_path.display();
                return StorageError::ReadOnly {
                    what: format!("{path} cannot be made: {error}; allow writing there"),
                };
            }
            self.failed("making", &self.wal_path, error)
        };
        let wal = self.disk.open(&self.wal_path, Access::Create, Some(self.db.as_ref())).map_err(failed)?;
        if !wal.try_lock(LockKind::Exclusive).map_err(failed)? {
            let what = format!("{} belongs to another open database", self.wal_path.display());
            return Err(StorageError::Unavailable { what, source: None });
        }
        if self.options.synchronous != Synchronous::Off {
            // No commit is acknowledged whose log a power loss could unlink.
            self.disk.sync_dir(&self.path).map_err(failed)?;
        }
        reach("wal_made");
        Ok(self.wal.get_or_init(|| wal))
    }

    pub(crate) fn read_only(&self) -> Result<(), StorageError> {
        match self.options.mode {
            crate::Mode::ReadOnly => Err(StorageError::ReadOnly { what: "opened with mode=ro".to_owned() }),
            crate::Mode::ReadWrite | crate::Mode::ReadWriteCreate => Ok(()),
        }
    }

    /// Whether the storage is open, and for writing.
    fn open_for_writing(&self) -> Result<(), StorageError> {
        if self.history().closed { Err(StorageError::closed()) } else { self.read_only() }
    }

    /// A failed read, write or sync of the database file or its WAL.
    pub(crate) fn failed(&self, what: &str, path: &Path, error: io::Error) -> StorageError {
        medium_failed(format!("{what} {}: {error}", path.display()), error)
    }

    /// Called after the last pin of the state `lsn` went.
    pub(crate) fn pin_released(&self, lsn: Lsn) {
        // A later state needs nothing that was spilled so far.
        if lsn < self.spilled_below() && self.counters.spill_pages_now.get() > 0 {
            self.signal.sweep();
        }
    }

    fn spilled_below(&self) -> Lsn {
        Lsn::new(self.spill_end.load(Ordering::Acquire))
    }

    /// Copies a page as of `extent`.
    pub(crate) fn read_page(&self, extent: Extent, page: PageNo, buf: &mut [u8]) -> Result<(), StorageError> {
        let shard = self.index.read(page.get());
        if self.closed.load(Ordering::Acquire) {
            return Err(StorageError::closed());
        }
        let place = shard
            .get(&page.get())
            .and_then(|versions| visible(versions, extent.lsn))
            .map_or(Place::Database, |(_, version)| version.place);
        self.read_place(extent, page, place, buf)
    }

    /// Copies a page from a place that cannot be overwritten meanwhile.
    pub(crate) fn read_place(
        &self,
        extent: Extent,
        page: PageNo,
        place: Place,
        buf: &mut [u8],
    ) -> Result<(), StorageError> {
        let (file, offset, path) = match place {
            Place::Spill(slot) => return locked(&self.spill).read(slot, buf),
            Place::Wal(frame) => {
                let offset = WalHeader::frame_offset(extent.page_size, frame) + FRAME_HEADER_LEN as u64;
                (self.wal()?, offset, &self.wal_path)
            }
            Place::Database => (&self.db, page.offset(extent.page_size), &self.path),
        };
        let read = file.read_at(buf, offset).map_err(|error| self.failed("reading", path, error))?;
        match buf.get_mut(read..) {
            Some([]) | None => Ok(()),
            Some(missing) => {
                missing.fill(0);
                self.check_short_read(page, place, offset + read as u64)
            }
        }
    }

    /// A page that the file does not have is zeros, unless it must have been there.
    fn check_short_read(&self, page: PageNo, place: Place, end: u64) -> Result<(), StorageError> {
        let lost = self.lost.is_some_and(|(first, last)| (first..=last).contains(&page.get()));
        match place {
            Place::Database if !lost => Ok(()),
            Place::Database | Place::Wal(_) | Place::Spill(_) => Err(StorageError::Corrupt {
                object: self.path.display().to_string(),
                expected: format!("page {page}"),
                found: format!("the end of the file at byte {end}"),
            }),
        }
    }
}

impl LocalFileStorage {
    /// What this storage did since it was opened.
    #[must_use]
    pub fn metrics(&self) -> LocalMetrics {
        self.core.counters.read()
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.core.path
    }

    /// Starts the background thread, once. Without one (the system refuses), writers bound the log themselves.
    fn start_background(&self) {
        self.background.get_or_init(|| {
            let core = &self.core;
            let start = core.options.background.then(|| Background::start(core, &core.door));
            start.transpose().unwrap_or_else(|error| {
                tracing::warn!(%error, path = %core.path.display(), "no thread for checkpoints");
                None
            })
        });
    }

    fn own_pin<'a>(&self, at: &'a Snapshot) -> Result<&'a Pin, StorageError> {
        at.pin::<Pin>()
            .filter(|pin| Arc::ptr_eq(&pin.core, &self.core))
            .ok_or_else(|| StorageError::invalid("the snapshot belongs to another storage"))
    }
}

impl Storage for LocalFileStorage {
    fn snapshot(&self) -> Result<Snapshot, StorageError> {
        self.core.check_unchanged()?;
        let pin = match self.core.newest.load_full() {
            Some(pin) => pin,
            None => self.core.pin_newest()?,
        };
        Ok(self.core.snapshot_of(pin))
    }

    fn read_page(&self, at: &Snapshot, page: PageNo, buf: &mut [u8]) -> Result<(), StorageError> {
        let extent = self.own_pin(at)?.extent;
        if page.get() > extent.page_count {
            let count = extent.page_count;
            return Err(StorageError::invalid(format!("page {page} lies beyond the page count {count}")));
        }
        if buf.len() != extent.page_size.bytes() {
            let (len, size) = (buf.len(), extent.page_size);
            return Err(StorageError::invalid(format!("a buffer of {len} bytes for a page of {size}")));
        }
        self.core.read_page(extent, page, buf)?;
        self.core.check_unchanged()
    }

    fn begin_write(&self, wait: Wait) -> Result<WriteTicket, StorageError> {
        self.core.open_for_writing()?;
        let turn = self.core.take_turn(&wait)?;
        self.core.bound_wal()?;
        let mut history = self.core.history();
        if let Some(error) = &history.poisoned {
            return Err(StorageError::poisoned(error));
        }
        let appended = history.appended;
        let pin = history.pin(&self.core, appended);
        drop(history);
        Ok(WriteTicket::new(self.core.snapshot_of(pin), Box::new(turn)))
    }

    fn append(&self, ticket: WriteTicket, commit: Commit<'_>) -> Result<Snapshot, StorageError> {
        let (base, slot) = ticket.into_parts();
        let extent = self.own_pin(&base)?.extent;
        let turn = slot
            .downcast::<Turn>()
            .map_err(|_| StorageError::invalid("the ticket belongs to another storage"))?;
        commit.validate(&base)?;
        let appended = self.core.append(*turn, extent, &commit);
        self.start_background();
        appended
    }

    fn wait_durable(&self, at: &Snapshot) -> Result<(), StorageError> {
        let lsn = self.own_pin(at)?.extent.lsn;
        self.core.wait_durable(lsn)
    }

    fn prefetch(&self, _at: &Snapshot, _pages: &[PageNo]) {}

    fn checkpoint(&self) -> Result<Checkpointed, StorageError> {
        self.core.open_for_writing()?;
        self.core.checkpoint()
    }

    fn close(&self) -> Result<(), StorageError> {
        let outcome = self.core.close();
        if let Some(Some(background)) = self.background.get() {
            background.stop();
        }
        outcome
    }
}

impl Drop for LocalFileStorage {
    fn drop(&mut self) {
        drop(self.core.newest.swap(None));
        self.core.slot.close(StorageError::closed());
        self.core.handover.wake();
        if let Some(Some(background)) = self.background.get() {
            background.stop();
        }
        self.core.release_lock();
    }
}
