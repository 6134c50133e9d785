//! Opening: lock, look, recover.
//!
//! ```text
//! open file ── lock ── same file still? ── hot journal? ── read WAL ── whose page 1? ── [write: rewrite WAL, fdatasync
//! WAL and database file and directory, delete a stale -shm] ── index ── first snapshot
//! ```
//!
//! Invariants:
//! 1. Nothing is written before the lock is held and the file is known to be a database or empty; a read-only open
//!    writes nothing at all.
//! 2. A writer's open syncs what it recovered before anyone can read it, so no state is shown that a power loss takes
//!    away again; and it rewrites the log first, because after a failed fdatasync the system may serve bytes that are
//!    not on the disk.
//! 3. The size of a database is that of its last commit frame, or else of its file, as in SQLite.
//!
//! Refused: a rollback-mode file or a hot journal when writing (stock libSQL converts it first), a file that is no
//! database, a WAL of another version or page size, a file somebody else has open.
//!
//! A read-only open of a file that may not be opened for writing cannot exclude a stock WAL-mode writer that comes
//! later. It then compares the files' lengths and modification times around each read, and answers
//! [`StorageError::SnapshotExpired`] from the first difference on.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwapOption;
use twill_types::{Door, Lsn, PageSize, Synchronous, TimelineId};
use twill_vfs_trait::{StorageError, WriterSlot};

use crate::background::Signal;
use crate::checkpoint::Progress;
use crate::commit::Tail;
use crate::disk::{Access, Disk, DiskFile, FileStamp, LockKind, OsDisk};
use crate::failpoints::reach;
use crate::history::{Extent, History};
use crate::index::{Index, Place, Version};
use crate::lock::SHM_DEAD_MAN_SWITCH;
use crate::metrics::Counters;
use crate::options::{Conversion, LocalOptions, Mode, OpenError};
use crate::spill::Spill;
use crate::storage::{Core, LocalFileStorage, medium_failed};
use crate::turn::Handover;
use crate::wal::format::{Checksum, FRAME_HEADER_LEN, WalHeader, be32};
use crate::wal::recover::{RecoverError, Recovered, recover, rewrite};

const DB_MAGIC: &[u8; 16] = b"SQLite format 3\0";
const DB_HEADER_LEN: usize = 100;

/// Files that somebody else may change under a read-only storage, and what they looked like.
pub(crate) struct Watched {
    files: Vec<(Arc<dyn DiskFile>, FileStamp)>,
    /// The WAL, when it did not exist.
    absent: Option<PathBuf>,
}

/// What the database's first page says.
struct DbHeader {
    page_size: PageSize,
    rollback_mode: bool,
    /// Pages, when the header's own count is to be believed.
    page_count: Option<u32>,
}

struct Opening {
    disk: Arc<dyn Disk>,
    options: LocalOptions,
    path: PathBuf,
    wal_path: PathBuf,
    db: Arc<dyn DiskFile>,
    /// Whether only a shared lock could be taken.
    shared: bool,
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

impl LocalFileStorage {
    /// Opens a database file of the operating system.
    ///
    /// # Errors
    /// See [`OpenError`]. Whatever the error, nothing that the file held is lost.
    pub fn open(path: &Path, options: LocalOptions, door: Arc<dyn Door>) -> Result<Arc<Self>, OpenError> {
        // As in SQLite, the WAL lies beside the file that a symbolic link leads to.
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Self::open_on(Arc::new(OsDisk), &real, options, door)
    }

    /// Opens a database file of any disk.
    ///
    /// # Errors
    /// As [`LocalFileStorage::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        path: &Path,
        options: LocalOptions,
        door: Arc<dyn Door>,
    ) -> Result<Arc<Self>, OpenError> {
        crate::failpoints::arm();
        let opening = Opening::lock(disk, path, options)?;
        let opened = opening.recover(&door);
        if opened.is_err() {
            // Pins of nobody: the handle alone may keep the lock alive.
            drop(opening.db.unlock());
        }
        Ok(Arc::new(Self { core: Arc::new(opened?), background: OnceLock::new() }))
    }
}

fn open_error(path: &Path, error: io::Error) -> OpenError {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
    let (kind, path) = (error.kind(), path.to_owned());
    if matches!(kind, NotFound | NotADirectory) {
        OpenError::NotFound { path }
    } else if matches!(kind, PermissionDenied | ReadOnlyFilesystem) {
        OpenError::PermissionDenied { path, source: error }
    } else if kind == IsADirectory {
        OpenError::IsDirectory { path }
    } else {
        OpenError::Storage(medium_failed(format!("opening {}: {error}", path.display()), error))
    }
}

impl Opening {
    fn lock(disk: Arc<dyn Disk>, path: &Path, options: LocalOptions) -> Result<Self, OpenError> {
        let refused = |error| open_error(path, error);
        for _ in 0..8 {
            let (db, shared) = match options.mode {
                Mode::ReadWriteCreate => (disk.open(path, Access::Create, None).map_err(refused)?, false),
                Mode::ReadWrite => (disk.open(path, Access::ReadWrite, None).map_err(refused)?, false),
                Mode::ReadOnly => match disk.open(path, Access::ReadWrite, None) {
                    Ok(db) => (db, false),
                    Err(_) => (disk.open(path, Access::Read, None).map_err(refused)?, true),
                },
            };
            let kind = if shared { LockKind::Shared } else { LockKind::Exclusive };
            if !db.try_lock(kind).map_err(refused)? {
                return Err(OpenError::Locked { path: path.to_owned() });
            }
            // Between open and lock another process may have put another file there.
            if disk.identity(path).ok() == Some(db.identity().map_err(refused)?) {
                let (path, wal_path) = (path.to_owned(), beside(path, "-wal"));
                return Ok(Self { disk, options, path, wal_path, db, shared });
            }
        }
        Err(OpenError::Locked { path: path.to_owned() })
    }

    fn writes(&self) -> bool {
        self.options.mode != Mode::ReadOnly
    }

    fn recover(&self, door: &Arc<dyn Door>) -> Result<Core, OpenError> {
        let db_len = self.db.len().map_err(|e| open_error(&self.path, e))?;
        self.check_journal(db_len)?;
        let wal = self.open_wal()?;
        let mut log = match &wal {
            Some(wal) => recover(wal).map_err(|error| self.unreadable(error))?,
            None => None,
        };
        // A log beside an empty file is of a database that was deleted, or of a first commit that was never acknowledged;
        // stock SQLite, too, takes it for a leftover.
        log = log.filter(|log| log.frames > 0 && db_len > 0);
        let header = self.check_header(db_len, wal.as_ref(), log.as_ref())?;
        self.check_shared_memory()?;
        let wal = self.prepare_wal(wal, log.as_ref())?;
        let db_len = self.anchor_file(db_len, wal.as_ref(), log.as_ref())?;
        let extent = self.extent(db_len, header.as_ref(), log.as_ref());
        // A header in the log counts pages that the log has; an interrupted checkpoint may have copied it already.
        let in_log = log.as_ref().is_some_and(|log| log.newest.contains_key(&1));
        let claimed = header.filter(|_| !in_log).and_then(|header| header.page_count).unwrap_or(0);
        Ok(self.core(door, wal, log, extent, db_len, claimed))
    }

    /// A journal that holds pages must be rolled back before anyone reads the file.
    fn check_journal(&self, db_len: u64) -> Result<(), OpenError> {
        let journal = beside(&self.path, "-journal");
        let refused = |error| open_error(&journal, error);
        if !self.disk.exists(&journal).map_err(refused)? {
            return Ok(());
        }
        let mut first = [0];
        let file = self.disk.open(&journal, Access::Read, None).map_err(refused)?;
        let hot = file.read_at(&mut first, 0).map_err(refused)? == 1 && first != [0];
        if hot && db_len > 0 {
            return Err(OpenError::NeedsConversion {
                path: self.path.clone(),
                reason: Conversion::HotJournal,
            });
        }
        if db_len == 0 && self.writes() {
            // SQLite, too, takes a journal beside an empty file for a leftover; it must not outlive our first commit.
            self.disk.delete(&journal).and_then(|()| self.disk.sync_dir(&self.path)).map_err(refused)?;
        }
        Ok(())
    }

    /// With the exclusive lock held nobody uses the `-shm`; with a shared one, somebody may.
    fn check_shared_memory(&self) -> Result<(), OpenError> {
        let path = beside(&self.path, "-shm");
        let refused = |error| open_error(&path, error);
        if self.writes() {
            return self.disk.delete(&path).map_err(refused);
        }
        if self.shared && self.disk.exists(&path).map_err(refused)? {
            let file = self.disk.open(&path, Access::Read, None).map_err(refused)?;
            if file.is_locked_at(SHM_DEAD_MAN_SWITCH).map_err(refused)? {
                return Err(OpenError::Locked { path: self.path.clone() });
            }
        }
        Ok(())
    }

    fn open_wal(&self) -> Result<Option<Arc<dyn DiskFile>>, OpenError> {
        let refused = |error| open_error(&self.wal_path, error);
        if !self.disk.exists(&self.wal_path).map_err(refused)? {
            return Ok(None);
        }
        let (access, lock) = match self.writes() {
            true => (Access::ReadWrite, LockKind::Exclusive),
            false => (Access::Read, LockKind::Shared),
        };
        let wal = self.disk.open(&self.wal_path, access, None).map_err(refused)?;
        // The lock on the database file covers its log, unless the file was replaced while another process had it open:
        // that process still writes to this log.
        if !wal.try_lock(lock).map_err(refused)? {
            return Err(OpenError::Locked { path: self.path.clone() });
        }
        Ok(Some(wal))
    }

    fn unreadable(&self, error: RecoverError) -> OpenError {
        match error {
            RecoverError::Io(error) => open_error(&self.wal_path, error),
            RecoverError::OtherVersion(version) => OpenError::Storage(StorageError::Corrupt {
                object: self.wal_path.display().to_string(),
                expected: format!("WAL version {}", crate::wal::format::VERSION),
                found: format!("version {version}"),
            }),
        }
    }

    /// Checks page 1, in the log if it is there. `None` for an empty database.
    fn check_header(
        &self,
        db_len: u64,
        wal: Option<&Arc<dyn DiskFile>>,
        log: Option<&Recovered>,
    ) -> Result<Option<DbHeader>, OpenError> {
        let mut head = [0; DB_HEADER_LEN];
        let in_log = log.and_then(|log| Some((log, *log.newest.get(&1)?)));
        let read = match (in_log, wal) {
            (Some((log, frame)), Some(wal)) => {
                let offset = WalHeader::frame_offset(log.header.page_size, frame) + FRAME_HEADER_LEN as u64;
                wal.read_at(&mut head, offset).map_err(|e| open_error(&self.wal_path, e))?
            }
            _ if db_len == 0 => return Ok(None),
            _ => self.db.read_at(&mut head, 0).map_err(|e| open_error(&self.path, e))?,
        };
        let header = parse_header(head.get(..read).unwrap_or_default())
            .map_err(|found| OpenError::NotADatabase { path: self.path.clone(), found })?;
        if let Some(log) = log
            && log.header.page_size != header.page_size
        {
            return Err(OpenError::Storage(StorageError::Corrupt {
                object: self.wal_path.display().to_string(),
                expected: format!("pages of {} bytes, as the database header says", header.page_size),
                found: format!("{}", log.header.page_size),
            }));
        }
        if header.rollback_mode && self.writes() {
            let reason = Conversion::RollbackMode;
            return Err(OpenError::NeedsConversion { path: self.path.clone(), reason });
        }
        Ok(Some(header))
    }

    /// Makes the log what it was taken for, durably. Only for a writer; see invariant 2.
    fn prepare_wal(
        &self,
        wal: Option<Arc<dyn DiskFile>>,
        log: Option<&Recovered>,
    ) -> Result<Option<Arc<dyn DiskFile>>, OpenError> {
        let wal = match wal {
            Some(wal) if self.writes() => wal,
            // Nothing to recover: whoever removed the log synced the database file first. The first commit makes one.
            None if self.writes() => {
                self.disk.check_beside(&self.path).map_err(|error| open_error(&self.path, error))?;
                return Ok(None);
            }
            other => return Ok(other),
        };
        let refused = |error| open_error(&self.wal_path, error);
        match log {
            Some(log) => {
                let page_size = log.header.page_size;
                rewrite(&wal, page_size, log.frames).map_err(refused)?;
                wal.set_len(WalHeader::frame_offset(page_size, log.frames + 1)).map_err(refused)?;
                reach("recovery_rewritten");
            }
            None if wal.is_empty().map_err(refused)? => {}
            None => wal.set_len(0).map_err(refused)?,
        }
        if self.options.synchronous != Synchronous::Off {
            wal.sync_data().map_err(refused)?;
            self.db.sync_data().map_err(|error| open_error(&self.path, error))?;
            self.disk.sync_dir(&self.path).map_err(refused)?;
            reach("recovery_synced");
        }
        Ok(Some(wal))
    }

    /// The file may only seem not to be empty, after a failed sync of the first commit; and stock SQLite would delete the
    /// log of an empty file. So the log's page 1, when it has one, is written into the file again. Returns the file's
    /// length then.
    fn anchor_file(
        &self,
        db_len: u64,
        wal: Option<&Arc<dyn DiskFile>>,
        log: Option<&Recovered>,
    ) -> Result<u64, OpenError> {
        let (Some(wal), Some(log), true) = (wal, log, self.writes()) else { return Ok(db_len) };
        let Some(frame) = log.newest.get(&1).copied() else { return Ok(db_len) };
        let page_size = log.header.page_size;
        let mut image = vec![0; page_size.bytes()];
        wal.read_at(&mut image, WalHeader::frame_offset(page_size, frame) + FRAME_HEADER_LEN as u64)
            .map_err(|error| open_error(&self.wal_path, error))?;
        let len = db_len.max(u64::from(page_size.get()));
        let refused = |error| open_error(&self.path, error);
        self.db.set_len(len).and_then(|()| self.db.write_at(&image, 0)).map_err(refused)?;
        if self.options.synchronous != Synchronous::Off {
            self.db.sync_data().map_err(refused)?;
        }
        Ok(len)
    }

    fn extent(&self, db_len: u64, header: Option<&DbHeader>, log: Option<&Recovered>) -> Extent {
        let page_size = match (log, header) {
            (Some(log), _) => log.header.page_size,
            (None, Some(header)) => header.page_size,
            (None, None) => PageSize::DEFAULT,
        };
        let in_file = pages_of(db_len, page_size);
        let page_count = log.map_or(in_file, |log| log.page_count);
        let lsn = if page_count == 0 { Lsn::ZERO } else { Lsn::ZERO.next() };
        let frames_ever = log.map_or(0, |log| u64::from(log.frames));
        Extent { lsn, page_count, page_size, frames_ever }
    }

    fn core(
        &self,
        door: &Arc<dyn Door>,
        wal: Option<Arc<dyn DiskFile>>,
        log: Option<Recovered>,
        extent: Extent,
        db_len: u64,
        claimed: u32,
    ) -> Core {
        let mut timeline = [0; 16];
        door.fill_random(&mut timeline);
        let in_file = pages_of(db_len, extent.page_size);
        let claimed = claimed.min(extent.page_count);
        let counters = Counters::default();
        let (mut tail, mut newest) = (Tail::empty(), HashMap::new());
        if let Some(log) = log {
            let wal_bytes = WalHeader::frame_offset(extent.page_size, log.frames + 1);
            counters.wal_frames.set(u64::from(log.frames));
            counters.wal_bytes.set(wal_bytes);
            counters.wal_bytes_max.set(wal_bytes);
            (tail.header, tail.frames, tail.checksum) = (Some(log.header), log.frames, log.checksum);
            newest = log.newest;
        }
        // A log without frames starts over with a header of its own.
        let index = Index::new();
        for (page, frame) in &newest {
            index.write(*page).insert(*page, vec![Version { lsn: extent.lsn, place: Place::Wal(*frame) }]);
        }
        let backfilled = if newest.is_empty() { extent.lsn } else { Lsn::ZERO };
        let watched = self.shared.then(|| self.watch(wal.as_ref()));
        Core {
            disk: Arc::clone(&self.disk),
            door: Arc::clone(door),
            options: self.options.clone(),
            path: self.path.clone(),
            wal_path: self.wal_path.clone(),
            db: Arc::clone(&self.db),
            wal: wal.map_or_else(OnceLock::new, OnceLock::from),
            timeline: TimelineId(timeline),
            slot: WriterSlot::new(Arc::clone(door)),
            handover: Handover::default(),
            checkpointing: Mutex::new(Progress { backfilled, frames_ever: 0 }),
            tail: Mutex::new(tail),
            history: Mutex::new(History::new(extent)),
            newest: ArcSwapOption::empty(),
            synced: Default::default(),
            append_ended: Default::default(),
            index,
            spill: Mutex::new(Spill::new(Arc::clone(&self.disk), self.path.clone())),
            spill_end: AtomicU64::new(0),
            db_pages: AtomicU32::new(in_file),
            indexed_pages: AtomicU32::new(newest.keys().copied().max().unwrap_or(0)),
            lost: (in_file < claimed).then(|| (in_file.saturating_add(1), claimed)),
            closed: AtomicBool::new(false),
            signal: Arc::new(Signal::default()),
            watched,
            counters,
        }
    }

    fn watch(&self, wal: Option<&Arc<dyn DiskFile>>) -> Watched {
        let files = [Some(&self.db), wal].into_iter().flatten();
        let stamped = files.filter_map(|file| Some((Arc::clone(file), file.stamp().ok()?))).collect();
        Watched { files: stamped, absent: wal.is_none().then(|| self.wal_path.clone()) }
    }
}

impl Tail {
    /// The tail of an empty log.
    fn empty() -> Self {
        Self { header: None, frames: 0, frames_before: 0, checksum: Checksum::default(), buffer: Vec::new() }
    }
}

impl Core {
    /// For a read-only storage that could not exclude writers: whether one came.
    pub(crate) fn check_unchanged(&self) -> Result<(), StorageError> {
        let Some(watched) = &self.watched else { return Ok(()) };
        let same = watched.files.iter().all(|(file, stamp)| file.stamp().is_ok_and(|now| now == *stamp));
        let appeared = watched.absent.as_ref().is_some_and(|path| self.disk.exists(path).unwrap_or(true));
        if same && !appeared { Ok(()) } else { Err(StorageError::SnapshotExpired) }
    }
}

fn pages_of(len: u64, page_size: PageSize) -> u32 {
    u32::try_from(len.div_ceil(u64::from(page_size.get()))).unwrap_or(u32::MAX)
}

/// Reads the database header; the error says what is there instead.
fn parse_header(head: &[u8]) -> Result<DbHeader, String> {
    if head.len() < DB_HEADER_LEN {
        return Err(format!("{} bytes, fewer than a header", head.len()));
    }
    if !head.starts_with(DB_MAGIC) {
        return Err("it does not begin with \"SQLite format 3\"".to_owned());
    }
    let [high, low] = *head.get(16..).and_then(<[u8]>::first_chunk).unwrap_or(&[0; 2]);
    let page_size =
        PageSize::from_header(u16::from_be_bytes([high, low])).map_err(|error| error.to_string())?;
    let [_write_version, read_version] = *head.get(18..).and_then(<[u8]>::first_chunk).unwrap_or(&[0; 2]);
    if read_version > 2 {
        return Err(format!("file format version {read_version}, which no SQLite so far reads"));
    }
    let counted = be32(head, 24) == be32(head, 92);
    Ok(DbHeader { page_size, rollback_mode: read_version < 2, page_count: counted.then(|| be32(head, 28)) })
}
