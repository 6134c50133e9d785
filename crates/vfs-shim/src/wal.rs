//! The virtual WAL: libSQL's table of WAL methods over a [`Transaction`]. Only translation happens here.
//!
//! Ownership: the manager owns one `Arc<Session>` (`xDestroy` drops it); each WAL owns one `Wal` (`xClose` drops it).

#![expect(unsafe_code, reason = "every function here is called from C or reads what C handed over")]

use std::ffi::{c_int, c_longlong, c_uchar, c_uint, c_void};
use std::sync::Arc;

use twill_libsql::ffi;
use twill_types::{PageNo, PageSize};
use twill_vfs_trait::{PageImage, StorageError};

use crate::codes::sqlite_code;
use crate::file::{self, Shared};
use crate::guard::guard;
use crate::session::Session;
use crate::transaction::{NotBegun, Transaction};
use crate::vfs;

/// What `wal_impl` stands for.
struct Wal {
    transaction: Transaction,
    file: Arc<Shared>,
}

impl Wal {
    /// Turns an outcome into a code and keeps the error for whoever reports it.
    fn answer(&self, outcome: Result<(), StorageError>) -> c_int {
        match outcome {
            Ok(()) => ffi::SQLITE_OK,
            Err(error) => {
                let code = sqlite_code(&error);
                self.transaction.session().set_error(error);
                code
            }
        }
    }
}

/// A manager that opens virtual WALs for `session`'s connection.
pub(crate) fn manager(session: Arc<Session>) -> ffi::libsql_wal_manager {
    ffi::libsql_wal_manager {
        bUsesShm: 0,
        xOpen: Some(x_open),
        xClose: Some(x_close),
        xLogDestroy: Some(x_log_destroy),
        xLogExists: Some(x_log_exists),
        xDestroy: Some(x_destroy),
        pData: Arc::into_raw(session).cast_mut().cast(),
    }
}

type ManagerPointer = *mut ffi::wal_manager_impl;
type WalPointer = *mut ffi::wal_impl;

/// # Safety
/// `wal` must be what `x_open` put into `libsql_wal.pData`, not closed, and not borrowed elsewhere: libSQL calls the
/// methods of one WAL from one thread at a time and never from within another of them.
unsafe fn wal<'a>(wal: WalPointer) -> &'a mut Wal {
    // SAFETY: as the caller vouches.
    unsafe { &mut *wal.cast::<Wal>() }
}

unsafe extern "C" fn x_open(
    manager: ManagerPointer,
    _vfs: *mut ffi::sqlite3_vfs,
    file: *mut ffi::sqlite3_file,
    _no_shm: c_int,
    _max_size: c_longlong,
    _name: *const std::ffi::c_char,
    out: *mut ffi::libsql_wal,
) -> c_int {
    guard("WAL xOpen", ffi::SQLITE_CANTOPEN, || {
        // SAFETY: the manager's data is the Arc<Session> of `manager`; it stays owned by the manager.
        let session = unsafe {
            let session = manager.cast::<Session>().cast_const();
            Arc::increment_strong_count(session);
            Arc::from_raw(session)
        };
        // SAFETY: libSQL passes the open database file.
        let Some(file) = (unsafe { file::shared(file) }) else {
            tracing::error!("a database of another VFS was attached to a connection of ours");
            return ffi::SQLITE_CANTOPEN;
        };
        file.set_wal(Some(&session));
        let transaction = Transaction::new(session, file.opened().clone());
        let wal = Box::new(Wal { transaction, file });
        // SAFETY: libSQL gives a place for the WAL.
        unsafe { *out = ffi::libsql_wal { methods: METHODS, pData: Box::into_raw(wal).cast() } };
        ffi::SQLITE_OK
    })
}

unsafe extern "C" fn x_close(
    _manager: ManagerPointer,
    wal: WalPointer,
    _db: *mut ffi::sqlite3,
    _sync_flags: c_int,
    _len: c_int,
    _buf: *mut c_uchar,
) -> c_int {
    guard("WAL xClose", ffi::SQLITE_IOERR, || {
        // SAFETY: libSQL closes a WAL once; the box is from `x_open`.
        let wal = unsafe { Box::from_raw(wal.cast::<Wal>()) };
        wal.file.set_wal(None);
        ffi::SQLITE_OK
    })
}

unsafe extern "C" fn x_log_destroy(
    _: ManagerPointer,
    _: *mut ffi::sqlite3_vfs,
    _: *const std::ffi::c_char,
) -> c_int {
    ffi::SQLITE_OK
}

/// Always there: so libSQL never falls back to a rollback journal.
unsafe extern "C" fn x_log_exists(
    _: ManagerPointer,
    _: *mut ffi::sqlite3_vfs,
    _: *const std::ffi::c_char,
    exists: *mut c_int,
) -> c_int {
    // SAFETY: libSQL gives a place for the answer.
    unsafe { *exists = 1 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_destroy(manager: ManagerPointer) {
    guard("WAL xDestroy", (), || {
        // SAFETY: libSQL destroys a manager once; the data is the Arc<Session> of `manager`.
        drop(unsafe { Arc::from_raw(manager.cast::<Session>().cast_const()) });
    });
}

unsafe extern "C" fn x_begin_read(pointer: WalPointer, changed: *mut c_int) -> c_int {
    guard("xBeginReadTransaction", ffi::SQLITE_IOERR, || {
        // SAFETY: see `wal`.
        let wal = unsafe { wal(pointer) };
        let outcome = wal.transaction.begin_read().map(|reset| {
            // SAFETY: libSQL gives a place for the answer.
            unsafe { *changed = c_int::from(reset) };
        });
        wal.file.set_reads_empty(outcome.is_ok() && wal.transaction.page_count() == 0);
        wal.answer(outcome)
    })
}

unsafe extern "C" fn x_end_read(pointer: WalPointer) {
    guard("xEndReadTransaction", (), || {
        // SAFETY: see `wal`.
        let wal = unsafe { wal(pointer) };
        wal.transaction.end_read();
        wal.file.set_reads_empty(false);
    });
}

/// Every page is "in the log", under its own number.
unsafe extern "C" fn x_find_frame(_: WalPointer, page: c_uint, frame: *mut c_uint) -> c_int {
    // SAFETY: libSQL gives a place for the answer.
    unsafe { *frame = page };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_read_frame(
    pointer: WalPointer,
    frame: c_uint,
    len: c_int,
    out: *mut c_uchar,
) -> c_int {
    guard("xReadFrame", ffi::SQLITE_IOERR_READ, || {
        let (Some(page), Ok(len)) = (PageNo::new(frame), usize::try_from(len)) else {
            return ffi::SQLITE_CORRUPT;
        };
        // SAFETY: see `wal`; libSQL gives `len` writable bytes.
        let (wal, buf) = unsafe { (wal(pointer), std::slice::from_raw_parts_mut(out, len)) };
        let outcome = wal.transaction.read_page(page, buf);
        wal.answer(outcome)
    })
}

unsafe extern "C" fn x_dbsize(pointer: WalPointer) -> c_uint {
    // SAFETY: see `wal`.
    guard("xDbsize", 0, || unsafe { wal(pointer) }.transaction.page_count())
}

unsafe extern "C" fn x_begin_write(pointer: WalPointer) -> c_int {
    guard("xBeginWriteTransaction", ffi::SQLITE_IOERR, || {
        let retrying = vfs::take_retrying();
        // SAFETY: see `wal`.
        let wal = unsafe { wal(pointer) };
        match wal.transaction.begin_write(retrying) {
            Ok(()) => ffi::SQLITE_OK,
            Err(NotBegun::StaleSnapshot) => ffi::SQLITE_BUSY_SNAPSHOT,
            Err(NotBegun::Storage(error)) => wal.answer(Err(error)),
        }
    })
}

unsafe extern "C" fn x_end_write(pointer: WalPointer) -> c_int {
    guard("xEndWriteTransaction", ffi::SQLITE_IOERR, || {
        // SAFETY: see `wal`.
        let wal = unsafe { wal(pointer) };
        let outcome = wal.transaction.end_write();
        wal.answer(outcome)
    })
}

unsafe extern "C" fn x_undo(
    pointer: WalPointer,
    reread: Option<unsafe extern "C" fn(*mut c_void, c_uint) -> c_int>,
    context: *mut c_void,
) -> c_int {
    guard("xUndo", ffi::SQLITE_IOERR, || {
        // The frames go first and the borrow ends: the callback reads pages again through this very WAL.
        // SAFETY: see `wal`.
        let pages = unsafe { wal(pointer) }.transaction.undo();
        let Some(reread) = reread else { return ffi::SQLITE_OK };
        pages
            .into_iter()
            // SAFETY: libSQL's callback with libSQL's context.
            .map(|page| unsafe { reread(context, page.get()) })
            .find(|code| *code != ffi::SQLITE_OK)
            .unwrap_or(ffi::SQLITE_OK)
    })
}

/// libSQL keeps four words for us; the first holds how many frames there were.
unsafe extern "C" fn x_savepoint(pointer: WalPointer, words: *mut c_uint) {
    guard("xSavepoint", (), || {
        // SAFETY: see `wal`; `words` has WAL_SAVEPOINT_NDATA (4) entries.
        unsafe { *words = c_uint::try_from(wal(pointer).transaction.savepoint()).unwrap_or(c_uint::MAX) };
    });
}

unsafe extern "C" fn x_savepoint_undo(pointer: WalPointer, words: *mut c_uint) -> c_int {
    guard("xSavepointUndo", ffi::SQLITE_IOERR, || {
        // SAFETY: see `wal`; `words` is what `x_savepoint` filled.
        unsafe { wal(pointer).transaction.undo_to(*words as usize) };
        ffi::SQLITE_OK
    })
}

unsafe extern "C" fn x_frame_count(_: WalPointer, _locked: c_int, out: *mut c_uint) -> c_int {
    // SAFETY: libSQL gives a place for the answer.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_frames(
    pointer: WalPointer,
    page_size: c_int,
    list: *mut ffi::libsql_pghdr,
    page_count: c_uint,
    is_commit: c_int,
    _sync_flags: c_int,
    written: *mut c_int,
) -> c_int {
    guard("xFrames", ffi::SQLITE_IOERR_WRITE, || {
        // SAFETY: see `wal`.
        let wal = unsafe { wal(pointer) };
        let Some(size) = u32::try_from(page_size).ok().and_then(|size| PageSize::new(size).ok()) else {
            return wal.answer(Err(StorageError::invalid(format!("a commit of {page_size}-byte pages"))));
        };
        // SAFETY: `list` is libSQL's dirty list with pages of this size, unchanged during the call.
        let images = unsafe { dirty_pages(list, size) };
        let outcome = if is_commit == 0 {
            images.iter().try_for_each(|image| wal.transaction.spill(image.page, image.bytes))
        } else {
            wal.transaction.commit(size, page_count, &images)
        };
        // SAFETY: null or a place for the number of frames.
        if let Some(written) = unsafe { written.as_mut() } {
            *written = c_int::try_from(images.len()).unwrap_or(c_int::MAX);
        }
        wal.answer(outcome)
    })
}

/// # Safety
/// `list` must be a dirty list of pages of `size` that stays unchanged while the images live.
unsafe fn dirty_pages<'a>(list: *mut ffi::libsql_pghdr, size: PageSize) -> Vec<PageImage<'a>> {
    let mut images = Vec::new();
    let mut next = list.cast_const();
    // SAFETY: each entry is null or a live page header, as the caller vouches.
    while let Some(header) = unsafe { next.as_ref() } {
        if let Some(page) = PageNo::new(header.pgno) {
            // SAFETY: a page header's bytes are one page long.
            let bytes =
                unsafe { std::slice::from_raw_parts(header.pData.cast::<u8>().cast_const(), size.bytes()) };
            images.push(PageImage { page, bytes });
        }
        next = header.pDirty.cast::<ffi::libsql_pghdr>().cast_const();
    }
    images
}

unsafe extern "C" fn x_checkpoint(
    pointer: WalPointer,
    _db: *mut ffi::sqlite3,
    _mode: c_int,
    _busy: Option<unsafe extern "C" fn(*mut c_void) -> c_int>,
    _busy_context: *mut c_void,
    _sync_flags: c_int,
    _len: c_int,
    _buf: *mut c_uchar,
    log: *mut c_int,
    moved: *mut c_int,
    _page: Option<unsafe extern "C" fn(*mut c_void, c_int, *const c_uchar, c_int, c_int, c_int) -> c_int>,
    _page_context: *mut c_void,
) -> c_int {
    guard("xCheckpoint", ffi::SQLITE_IOERR, || {
        // SAFETY: see `wal`.
        let wal = unsafe { wal(pointer) };
        let outcome = wal.transaction.opened().storage.checkpoint().map(|done| {
            let count = |pages: u64| c_int::try_from(pages).unwrap_or(c_int::MAX);
            // SAFETY: both are null or places for the counts.
            unsafe {
                if let Some(log) = log.as_mut() {
                    *log = count(done.log_pages);
                }
                if let Some(moved) = moved.as_mut() {
                    *moved = count(done.moved_pages);
                }
            }
        });
        wal.answer(outcome)
    })
}

/// No frames to report to a WAL hook, so libSQL never starts a checkpoint by itself.
unsafe extern "C" fn x_callback(_: WalPointer) -> c_int {
    0
}

unsafe extern "C" fn x_exclusive_mode(_: WalPointer, _: c_int) -> c_int {
    0
}

unsafe extern "C" fn x_heap_memory(_: WalPointer) -> c_int {
    0
}

unsafe extern "C" fn x_limit(_: WalPointer, _: c_longlong) {}

unsafe extern "C" fn x_savepoint_forget(_: WalPointer, _: *mut c_uint) {}

/// There is no log file to point at.
unsafe extern "C" fn x_file(_: WalPointer) -> *mut ffi::sqlite3_file {
    std::ptr::null_mut()
}

unsafe extern "C" fn x_write_lock(_: WalPointer, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_db(_: WalPointer, _: *mut ffi::sqlite3) {}

unsafe extern "C" fn x_frame_size(_: WalPointer) -> c_int {
    0
}

/// The snapshot methods belong to SQLITE_ENABLE_SNAPSHOT, which is off.
const METHODS: ffi::libsql_wal_methods = ffi::libsql_wal_methods {
    iVersion: 2,
    xLimit: Some(x_limit),
    xBeginReadTransaction: Some(x_begin_read),
    xEndReadTransaction: Some(x_end_read),
    xFindFrame: Some(x_find_frame),
    xReadFrame: Some(x_read_frame),
    xReadFrameRaw: Some(x_read_frame),
    xDbsize: Some(x_dbsize),
    xBeginWriteTransaction: Some(x_begin_write),
    xEndWriteTransaction: Some(x_end_write),
    xUndo: Some(x_undo),
    xSavepoint: Some(x_savepoint),
    xSavepointUndo: Some(x_savepoint_undo),
    xFrameCount: Some(x_frame_count),
    xFrames: Some(x_frames),
    xCheckpoint: Some(x_checkpoint),
    xCallback: Some(x_callback),
    xExclusiveMode: Some(x_exclusive_mode),
    xHeapMemory: Some(x_heap_memory),
    xSnapshotGet: None,
    xSnapshotOpen: None,
    xSnapshotRecover: None,
    xSnapshotCheck: None,
    xSnapshotUnlock: None,
    xFramesize: Some(x_frame_size),
    xFile: Some(x_file),
    xWriteLock: Some(x_write_lock),
    xDb: Some(x_db),
    xSavepointForget: Some(x_savepoint_forget),
};
