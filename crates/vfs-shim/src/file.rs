//! The database "file" libSQL holds: a handle on a storage. Reads serve the header at open; writes never come.
//!
//! ```text
//! ShimFile { sqlite3_file { pMethods → METHODS }, shared → Arc<Shared> }      owned by libSQL, freed by xClose
//! ```
//!
//! An empty database must look non-empty for one moment: only then does libSQL open the virtual WAL instead of deleting
//! it, and so creates the database through it, with no rollback journal. Hence [`Shared::size`].

#![expect(unsafe_code, reason = "every function here is called from C or reads what C handed over")]

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use twill_libsql::ffi;
use twill_types::PageNo;
use twill_vfs_trait::StorageError;

use crate::codes::sqlite_code;
use crate::guard::guard;
use crate::pragma;
use crate::resolver::Opened;
use crate::session::Session;

/// What libSQL allocates for each of our main database files.
#[repr(C)]
pub(crate) struct ShimFile {
    base: ffi::sqlite3_file,
    shared: *const Shared,
}

/// One open database file, shared with the virtual WAL on top of it.
pub(crate) struct Shared {
    opened: Opened,
    lock: AtomicI32,
    wal_open: AtomicBool,
    /// A read transaction is open on a snapshot without pages.
    reads_empty: AtomicBool,
    session: Mutex<Weak<Session>>,
    /// A `PRAGMA busy_timeout` from before the virtual WAL told us the session.
    early_busy_timeout: Mutex<Option<Duration>>,
}

impl Shared {
    pub(crate) fn opened(&self) -> &Opened {
        &self.opened
    }

    /// Called when a virtual WAL opens on this file (`Some`) and when it closes.
    pub(crate) fn set_wal(&self, session: Option<&Arc<Session>>) {
        self.wal_open.store(session.is_some(), Ordering::Relaxed);
        self.set_reads_empty(false);
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) =
            session.map_or_else(Weak::new, Arc::downgrade);
        let early = self.early_busy_timeout.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(session), Some(timeout)) = (session, early) {
            session.set_busy_timeout(timeout);
        }
    }

    /// Sets the connection's busy timeout, now or as soon as the connection's session is known.
    pub(crate) fn set_busy_timeout(&self, timeout: Duration) {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        match session {
            Some(session) => session.set_busy_timeout(timeout),
            None => {
                *self.early_busy_timeout.lock().unwrap_or_else(PoisonError::into_inner) = Some(timeout);
            }
        }
    }

    /// Bytes in the file, as libSQL is to see it (see the module's documentation). A reader whose snapshot is empty asks
    /// for it, too, and must not be told of a first commit that came later.
    fn size(&self) -> Result<i64, StorageError> {
        if self.reads_empty.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let snapshot = self.opened.storage.snapshot()?;
        let bytes = i64::from(snapshot.page_count()) * i64::from(snapshot.page_size().get());
        let opening = !self.wal_open.load(Ordering::Relaxed) && self.lock.load(Ordering::Relaxed) != 0;
        Ok(if bytes == 0 && opening { 1 } else { bytes })
    }

    /// Told by the virtual WAL when a read transaction begins and ends.
    pub(crate) fn set_reads_empty(&self, reads_empty: bool) {
        self.reads_empty.store(reads_empty, Ordering::Relaxed);
    }

    /// Reads `buf` at `offset` from the newest durable state; returns whether all of it exists.
    fn read(&self, buf: &mut [u8], offset: u64) -> Result<bool, StorageError> {
        buf.fill(0);
        let snapshot = self.opened.storage.snapshot()?;
        let size = snapshot.page_size();
        let mut page = vec![0; size.bytes()];
        let mut filled = 0;
        while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let position = offset + filled as u64;
            let number = u32::try_from(position / u64::from(size.get()) + 1).ok().and_then(PageNo::new);
            let Some(number) = number.filter(|number| number.get() <= snapshot.page_count()) else {
                return Ok(false);
            };
            self.opened.storage.read_page(&snapshot, number, &mut page)?;
            let within = usize::try_from(position % u64::from(size.get())).unwrap_or(0);
            let part = page.get(within..).unwrap_or_default();
            let len = part.len().min(rest.len());
            if let (Some(to), Some(from)) = (rest.get_mut(..len), part.get(..len)) {
                to.copy_from_slice(from);
            }
            filled += len;
        }
        Ok(true)
    }
}

/// Makes libSQL's allocation one of our files.
///
/// # Safety
/// `file` must be the allocation libSQL passed to `xOpen`, at least `size_of::<ShimFile>()` bytes.
pub(crate) unsafe fn init(file: *mut ffi::sqlite3_file, opened: Opened) {
    let shared = Arc::new(Shared {
        opened,
        lock: AtomicI32::new(0),
        wal_open: AtomicBool::new(false),
        reads_empty: AtomicBool::new(false),
        session: Mutex::default(),
        early_busy_timeout: Mutex::default(),
    });
    // SAFETY: the caller vouches for size and ownership; the methods live for ever.
    unsafe {
        file.cast::<ShimFile>().write(ShimFile {
            base: ffi::sqlite3_file { pMethods: &raw const METHODS },
            shared: Arc::into_raw(shared),
        });
    }
}

/// Our side of a file, if it is one of ours.
///
/// # Safety
/// `file` must be null or a `sqlite3_file` that libSQL holds.
pub(crate) unsafe fn shared(file: *mut ffi::sqlite3_file) -> Option<Arc<Shared>> {
    // SAFETY: null or valid, as the caller vouches.
    let base = unsafe { file.as_ref() }?;
    if !std::ptr::eq(base.pMethods, &raw const METHODS) {
        return None;
    }
    // SAFETY: our methods are set only by `init`, which wrote a whole ShimFile holding one strong count.
    unsafe {
        let shared = (*file.cast::<ShimFile>()).shared;
        Arc::increment_strong_count(shared);
        Some(Arc::from_raw(shared))
    }
}

/// Borrows our side of a file within one callback.
///
/// # Safety
/// `file` must be one of ours (a callback of `METHODS` got it) and must not be closed while the borrow lives.
unsafe fn borrow<'a>(file: *mut ffi::sqlite3_file) -> &'a Shared {
    // SAFETY: as the caller vouches; `init` stored a valid pointer with one strong count.
    unsafe { &*(*file.cast::<ShimFile>()).shared }
}

fn answer(outcome: Result<c_int, StorageError>) -> c_int {
    outcome.unwrap_or_else(|error| {
        tracing::debug!(%error, "file access failed");
        sqlite_code(&error)
    })
}

unsafe extern "C" fn x_close(file: *mut ffi::sqlite3_file) -> c_int {
    guard("xClose", ffi::SQLITE_IOERR, || {
        // SAFETY: libSQL closes a file once; afterwards null methods mark it closed. `init` stored this pointer.
        unsafe {
            let shared = (*file.cast::<ShimFile>()).shared;
            (*file).pMethods = std::ptr::null();
            drop(Arc::from_raw(shared));
        }
        ffi::SQLITE_OK
    })
}

unsafe extern "C" fn x_read(
    file: *mut ffi::sqlite3_file,
    buf: *mut c_void,
    len: c_int,
    offset: i64,
) -> c_int {
    guard("xRead", ffi::SQLITE_IOERR_READ, || {
        let (Ok(len), Ok(offset)) = (usize::try_from(len), u64::try_from(offset)) else {
            return ffi::SQLITE_IOERR_READ;
        };
        // SAFETY: libSQL gives `len` writable bytes and one of our files.
        let (buf, shared) = unsafe { (std::slice::from_raw_parts_mut(buf.cast::<u8>(), len), borrow(file)) };
        answer(
            shared.read(buf, offset).map(
                |whole| {
                    if whole { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHORT_READ }
                },
            ),
        )
    })
}

unsafe extern "C" fn x_write(_: *mut ffi::sqlite3_file, _: *const c_void, _: c_int, _: i64) -> c_int {
    tracing::error!("libSQL tried to write the database file past the virtual WAL");
    ffi::SQLITE_IOERR_WRITE
}

unsafe extern "C" fn x_truncate(_: *mut ffi::sqlite3_file, _: i64) -> c_int {
    tracing::error!("libSQL tried to truncate the database file past the virtual WAL");
    ffi::SQLITE_IOERR_TRUNCATE
}

unsafe extern "C" fn x_sync(_: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_file_size(file: *mut ffi::sqlite3_file, size: *mut i64) -> c_int {
    guard("xFileSize", ffi::SQLITE_IOERR_FSTAT, || {
        // SAFETY: one of our files, within a callback.
        let shared = unsafe { borrow(file) };
        answer(shared.size().map(|bytes| {
            // SAFETY: libSQL gives a place for the size.
            unsafe { *size = bytes };
            ffi::SQLITE_OK
        }))
    })
}

unsafe extern "C" fn x_lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    guard("xLock", ffi::SQLITE_IOERR_LOCK, || {
        if level > ffi::SQLITE_LOCK_SHARED {
            return ffi::SQLITE_BUSY;
        }
        // SAFETY: one of our files, within a callback.
        unsafe { borrow(file) }.lock.fetch_max(level, Ordering::Relaxed);
        ffi::SQLITE_OK
    })
}

unsafe extern "C" fn x_unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    guard("xUnlock", ffi::SQLITE_IOERR_UNLOCK, || {
        // SAFETY: one of our files, within a callback.
        unsafe { borrow(file) }.lock.fetch_min(level, Ordering::Relaxed);
        ffi::SQLITE_OK
    })
}

unsafe extern "C" fn x_check_reserved_lock(_: *mut ffi::sqlite3_file, reserved: *mut c_int) -> c_int {
    // SAFETY: libSQL gives a place for the answer.
    unsafe { *reserved = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_file_control(file: *mut ffi::sqlite3_file, op: c_int, argument: *mut c_void) -> c_int {
    guard("xFileControl", ffi::SQLITE_ERROR, || match op {
        ffi::SQLITE_FCNTL_PRAGMA => {
            // SAFETY: one of our files; for this operation the argument is libSQL's array of strings.
            unsafe { pragma::intercept(borrow(file), argument.cast()) }
        }
        ffi::SQLITE_FCNTL_MMAP_SIZE => {
            // SAFETY: for this operation the argument is a 64-bit integer; 0 says that nothing is mapped.
            unsafe { *argument.cast::<i64>() = 0 };
            ffi::SQLITE_OK
        }
        ffi::SQLITE_FCNTL_HAS_MOVED => {
            // SAFETY: for this operation the argument is an int.
            unsafe { *argument.cast::<c_int>() = 0 };
            ffi::SQLITE_OK
        }
        _ => ffi::SQLITE_NOTFOUND,
    })
}

unsafe extern "C" fn x_sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    4096
}

unsafe extern "C" fn x_device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

/// Version 1: no shared memory and no memory-mapped pages.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(x_close),
    xRead: Some(x_read),
    xWrite: Some(x_write),
    xTruncate: Some(x_truncate),
    xSync: Some(x_sync),
    xFileSize: Some(x_file_size),
    xLock: Some(x_lock),
    xUnlock: Some(x_unlock),
    xCheckReservedLock: Some(x_check_reserved_lock),
    xFileControl: Some(x_file_control),
    xSectorSize: Some(x_sector_size),
    xDeviceCharacteristics: Some(x_device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};
