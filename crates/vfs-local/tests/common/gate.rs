//! A disk whose syncs of the WAL can be held back and made to fail, around any other disk; and a storage that keeps
//! page 1 for a database header, since the suite writes what it likes into its own page 1.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use twill_types::PageNo;
use twill_vfs_local::LocalFileStorage;
use twill_vfs_local::disk::{Access, Disk, DiskFile, FileIdentity, FileStamp, LockKind};
use twill_vfs_trait::{Checkpointed, Commit, PageImage, Snapshot, Storage, StorageError, Wait, WriteTicket};

#[derive(Default)]
pub(crate) struct Gate {
    held: Mutex<bool>,
    changed: Condvar,
    pub(crate) fail_sync: AtomicBool,
    pub(crate) fail_write: AtomicBool,
    pub(crate) fail_set_len: AtomicBool,
    /// No file may be opened for writing.
    pub(crate) unwritable: AtomicBool,
    pub(crate) syncs: AtomicU64,
}

impl Gate {
    pub(crate) fn hold(&self, held: bool) {
        *self.held.lock().unwrap() = held;
        self.changed.notify_all();
    }

    fn pass(&self) {
        drop(self.changed.wait_while(self.held.lock().unwrap(), |held| *held).unwrap());
    }
}

pub(crate) struct GateDisk {
    pub(crate) inner: Arc<dyn Disk>,
    pub(crate) gate: Arc<Gate>,
}

struct GateFile {
    inner: Arc<dyn DiskFile>,
    gate: Arc<Gate>,
}

impl Disk for GateDisk {
    fn open(
        &self,
        path: &Path,
        access: Access,
        like: Option<&dyn DiskFile>,
    ) -> io::Result<Arc<dyn DiskFile>> {
        if access != Access::Read && self.gate.unwritable.load(Ordering::SeqCst) {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        let inner = self.inner.open(path, access, like)?;
        if path.to_string_lossy().ends_with("-wal") {
            return Ok(Arc::new(GateFile { inner, gate: Arc::clone(&self.gate) }));
        }
        Ok(inner)
    }

    fn delete(&self, path: &Path) -> io::Result<()> {
        self.inner.delete(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn identity(&self, path: &Path) -> io::Result<FileIdentity> {
        self.inner.identity(path)
    }

    fn scratch(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.scratch(path)
    }
}

impl DiskFile for GateFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.gate.fail_write.swap(false, Ordering::SeqCst) {
            let (part, _) = bytes.split_at(bytes.len() / 2);
            self.inner.write_at(part, offset)?;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.inner.write_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.gate.fail_set_len.swap(false, Ordering::SeqCst) {
            return Err(io::Error::other("injected: the file could not be cut"));
        }
        self.inner.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        self.gate.syncs.fetch_add(1, Ordering::SeqCst);
        if self.gate.fail_sync.swap(false, Ordering::SeqCst) {
            return Err(io::Error::other("injected: the sync failed"));
        }
        self.inner.sync_data()
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        self.inner.try_lock(kind)
    }

    fn is_locked_at(&self, offset: u64) -> io::Result<bool> {
        self.inner.is_locked_at(offset)
    }

    fn unlock(&self) -> io::Result<()> {
        self.inner.unlock()
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        self.inner.identity()
    }

    fn stamp(&self) -> io::Result<FileStamp> {
        self.inner.stamp()
    }

    fn permissions(&self) -> io::Result<u32> {
        self.inner.permissions()
    }
}

/// Page `n` of this storage is page `n + 1` of the file.
pub(crate) struct Headered(pub(crate) Arc<LocalFileStorage>);

/// The pin of a shifted snapshot.
struct Shifted(Snapshot);

fn shift(inner: Snapshot) -> Snapshot {
    let (id, count, size) = (inner.id(), inner.page_count(), inner.page_size());
    Snapshot::new(id, count.saturating_sub(1), size, Arc::new(Shifted(inner)))
}

fn unshift(at: &Snapshot) -> Result<&Snapshot, StorageError> {
    let foreign = || StorageError::invalid("the snapshot belongs to another storage");
    at.pin::<Shifted>().map(|shifted| &shifted.0).ok_or_else(foreign)
}

fn shift_page(page: PageNo) -> PageNo {
    PageNo::new(page.get().saturating_add(1)).unwrap()
}

fn header(commit: &Commit<'_>) -> Vec<u8> {
    let mut bytes = vec![0; commit.page_size.bytes()];
    bytes[..16].copy_from_slice(b"SQLite format 3\0");
    let field = u16::try_from(commit.page_size.get()).unwrap_or(1);
    bytes[16..18].copy_from_slice(&field.to_be_bytes());
    bytes[18..20].copy_from_slice(&[2, 2]);
    bytes
}

impl Storage for Headered {
    fn snapshot(&self) -> Result<Snapshot, StorageError> {
        self.0.snapshot().map(shift)
    }

    fn read_page(&self, at: &Snapshot, page: PageNo, buf: &mut [u8]) -> Result<(), StorageError> {
        self.0.read_page(unshift(at)?, shift_page(page), buf)
    }

    fn begin_write(&self, wait: Wait) -> Result<WriteTicket, StorageError> {
        let ticket = self.0.begin_write(wait)?;
        Ok(WriteTicket::new(shift(ticket.base().clone()), Box::new(ticket)))
    }

    fn append(&self, ticket: WriteTicket, commit: Commit<'_>) -> Result<Snapshot, StorageError> {
        let (base, inner) = ticket.into_parts();
        let inner = inner
            .downcast::<WriteTicket>()
            .map_err(|_| StorageError::invalid("the ticket belongs to another storage"))?;
        if commit.pages.is_empty() {
            commit.validate(&base)?;
        }
        let first = header(&commit);
        let mut pages = vec![PageImage { page: PageNo::FIRST, bytes: &first }];
        pages.extend(commit.pages.iter().map(|image| PageImage { page: shift_page(image.page), ..*image }));
        let page_count = commit.page_count.saturating_add(1);
        self.0.append(*inner, Commit { page_count, pages: &pages, ..commit }).map(shift)
    }

    fn wait_durable(&self, at: &Snapshot) -> Result<(), StorageError> {
        self.0.wait_durable(unshift(at)?)
    }

    fn prefetch(&self, at: &Snapshot, _pages: &[PageNo]) {
        if let Ok(at) = unshift(at) {
            self.0.prefetch(at, &[]);
        }
    }

    fn checkpoint(&self) -> Result<Checkpointed, StorageError> {
        self.0.checkpoint()
    }

    fn close(&self) -> Result<(), StorageError> {
        self.0.close()
    }
}
