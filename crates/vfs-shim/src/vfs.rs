//! The VFS: main databases lead to storages, everything else (temporary files, clock, extensions) to the platform's VFS.

#![expect(unsafe_code, reason = "every function here is called from C or reads what C handed over")]

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::Arc;

use twill_libsql::ffi;

use crate::file::{self, ShimFile};
use crate::guard::guard;
use crate::resolver::{OpenFailure, Resolver};

const TEMPORARY: c_int = ffi::SQLITE_OPEN_TEMP_DB
    | ffi::SQLITE_OPEN_TRANSIENT_DB
    | ffi::SQLITE_OPEN_SUBJOURNAL
    | ffi::SQLITE_OPEN_TEMP_JOURNAL;

thread_local! {
    static OPEN_FAILURE: RefCell<Option<OpenFailure>> = const { RefCell::new(None) };
    /// Set by `xSleep`, which only libSQL's busy loop calls: the next begin-write is a retry.
    static RETRYING: Cell<bool> = const { Cell::new(false) };
}

/// The failure behind the last SQLITE_CANTOPEN (or the like) of this thread; libSQL keeps only the code.
#[must_use]
pub fn take_open_failure() -> Option<OpenFailure> {
    OPEN_FAILURE.take()
}

/// Whether the busy loop of this thread is repeating a call. Asking clears it.
pub(crate) fn take_retrying() -> bool {
    RETRYING.take()
}

/// The VFS could not be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The name holds a NUL byte.
    #[error("a VFS name cannot hold a NUL byte")]
    Name,
    /// libSQL has no VFS of its own on this platform.
    #[error("libSQL has no default VFS on this platform")]
    NoDefault,
    /// libSQL refused.
    #[error("libSQL refused to register the VFS: code {0}")]
    Refused(c_int),
}

/// What `pAppData` points to; lives for ever, as a registered VFS must.
struct Context {
    base: *mut ffi::sqlite3_vfs,
    resolver: Arc<dyn Resolver>,
}

/// Registers a VFS under `name`, for the life of the process.
///
/// # Errors
/// See [`RegisterError`].
pub fn register_vfs(name: &str, resolver: Arc<dyn Resolver>) -> Result<(), RegisterError> {
    let name = CString::new(name).map_err(|_| RegisterError::Name)?;
    // SAFETY: null asks for the default VFS; the answer is null or lives as long as libSQL.
    let base = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) };
    // SAFETY: as above.
    let Some(platform) = (unsafe { base.as_ref() }) else { return Err(RegisterError::NoDefault) };
    let ours = c_int::try_from(size_of::<ShimFile>()).unwrap_or(c_int::MAX);
    let context = Box::leak(Box::new(Context { base, resolver }));
    let vfs = Box::leak(Box::new(ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: platform.szOsFile.max(ours),
        mxPathname: platform.mxPathname.max(4096),
        pNext: std::ptr::null_mut(),
        zName: name.into_raw(),
        pAppData: std::ptr::from_mut(context).cast(),
        xOpen: Some(x_open),
        xDelete: Some(x_delete),
        xAccess: Some(x_access),
        xFullPathname: Some(x_full_pathname),
        xDlOpen: Some(x_dl_open),
        xDlError: Some(x_dl_error),
        xDlSym: Some(x_dl_sym),
        xDlClose: Some(x_dl_close),
        xRandomness: Some(x_randomness),
        xSleep: Some(x_sleep),
        xCurrentTime: Some(x_current_time),
        xGetLastError: None,
        xCurrentTimeInt64: Some(x_current_time_int64),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }));
    // SAFETY: the VFS, its name and its context live for ever.
    match unsafe { ffi::sqlite3_vfs_register(vfs, 0) } {
        ffi::SQLITE_OK => Ok(()),
        code => Err(RegisterError::Refused(code)),
    }
}

/// # Safety
/// `vfs` must be one that [`register_vfs`] made.
unsafe fn context<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a Context {
    // SAFETY: `register_vfs` stored a leaked Context there.
    unsafe { &*(*vfs).pAppData.cast::<Context>() }
}

fn fail(failure: OpenFailure) -> c_int {
    tracing::debug!(%failure, "open failed");
    let code = failure.code;
    OPEN_FAILURE.set(Some(failure));
    code
}

unsafe extern "C" fn x_open(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    guard("xOpen", ffi::SQLITE_CANTOPEN, || {
        // SAFETY: libSQL passes our VFS and an allocation of szOsFile bytes. Null methods tell it that nothing is open.
        let context = unsafe {
            (*file).pMethods = std::ptr::null();
            context(vfs)
        };
        if flags & TEMPORARY != 0 || name.is_null() {
            // SAFETY: the platform's VFS is called with itself and an allocation at least as large as it asks for.
            return unsafe {
                (*context.base)
                    .xOpen
                    .map_or(ffi::SQLITE_CANTOPEN, |open| open(context.base, name, file, flags, out_flags))
            };
        }
        if flags & ffi::SQLITE_OPEN_MAIN_DB == 0 {
            tracing::error!(flags, "libSQL asked for a journal, which the virtual WAL replaces");
            return ffi::SQLITE_CANTOPEN;
        }
        // SAFETY: a main database's name is a file name libSQL made, so its URI parameters can be asked for.
        let (path, params) = unsafe { (CStr::from_ptr(name).to_string_lossy(), parameters(name)) };
        let read_only = flags & ffi::SQLITE_OPEN_READONLY != 0;
        let create = flags & ffi::SQLITE_OPEN_CREATE != 0;
        match context.resolver.open(&path, &params, read_only, create) {
            Ok(opened) => {
                // SAFETY: `out_flags` is null or a place for the flags; `file` is the allocation to fill.
                unsafe {
                    if let Some(out) = out_flags.as_mut() {
                        *out = if opened.read_only {
                            flags & !(ffi::SQLITE_OPEN_READWRITE | ffi::SQLITE_OPEN_CREATE)
                                | ffi::SQLITE_OPEN_READONLY
                        } else {
                            flags
                        };
                    }
                    file::init(file, opened);
                }
                ffi::SQLITE_OK
            }
            Err(failure) => fail(failure),
        }
    })
}

/// # Safety
/// `name` must be a file name that libSQL passed to `xOpen` for a main database.
unsafe fn parameters(name: *const c_char) -> Vec<(String, String)> {
    (0..)
        .map_while(|index| {
            // SAFETY: as the caller vouches; keys and values live with the name.
            unsafe {
                let key = ffi::sqlite3_uri_key(name, index);
                if key.is_null() {
                    return None;
                }
                let value = ffi::sqlite3_uri_parameter(name, key);
                let text = |text: *const c_char| CStr::from_ptr(text).to_string_lossy().into_owned();
                Some((text(key), if value.is_null() { String::new() } else { text(value) }))
            }
        })
        .collect()
}

/// Nothing to delete: journals do not exist, and the platform deletes its temporary files itself.
unsafe extern "C" fn x_delete(_: *mut ffi::sqlite3_vfs, _: *const c_char, _: c_int) -> c_int {
    ffi::SQLITE_OK
}

/// No journal ever exists beside a database of ours.
unsafe extern "C" fn x_access(
    _: *mut ffi::sqlite3_vfs,
    _: *const c_char,
    _: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: libSQL gives a place for the answer.
    unsafe { *out = 0 };
    ffi::SQLITE_OK
}

unsafe extern "C" fn x_full_pathname(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    capacity: c_int,
    out: *mut c_char,
) -> c_int {
    guard("xFullPathname", ffi::SQLITE_CANTOPEN_FULLPATH, || {
        // SAFETY: our VFS and a null-terminated name.
        let (context, name) = unsafe { (context(vfs), CStr::from_ptr(name).to_string_lossy()) };
        let full = match context.resolver.canonicalize(&name) {
            Ok(full) => full,
            Err(failure) => return fail(failure),
        };
        let (Ok(full), Ok(capacity)) = (CString::new(full), usize::try_from(capacity)) else {
            return ffi::SQLITE_CANTOPEN_FULLPATH;
        };
        let bytes = full.as_bytes_with_nul();
        if bytes.len() > capacity {
            let message = format!("the database name is longer than {capacity} bytes");
            return fail(OpenFailure { code: ffi::SQLITE_CANTOPEN_FULLPATH, message });
        }
        // SAFETY: `out` has `capacity` bytes, which was just checked to be enough.
        unsafe { out.cast::<u8>().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        ffi::SQLITE_OK
    })
}

/// Never sleeps: whoever gets SQLITE_BUSY from us has already waited its turn in the fair queue.
unsafe extern "C" fn x_sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    RETRYING.set(true);
    microseconds
}

/// Forwards a callback to the platform's VFS.
macro_rules! forward {
    ($(fn $name:ident => $method:ident($($arg:ident: $type:ty),*) -> $result:ty, $missing:expr;)*) => {$(
        unsafe extern "C" fn $name(vfs: *mut ffi::sqlite3_vfs, $($arg: $type),*) -> $result {
            // SAFETY: our VFS; the platform's VFS lives for ever and gets itself and libSQL's own arguments.
            unsafe {
                let base = context(vfs).base;
                match (*base).$method {
                    Some(method) => method(base, $($arg),*),
                    None => $missing,
                }
            }
        }
    )*};
}

type Symbol = Option<unsafe extern "C" fn(*mut ffi::sqlite3_vfs, *mut c_void, *const c_char)>;

forward! {
    fn x_dl_open => xDlOpen(path: *const c_char) -> *mut c_void, std::ptr::null_mut();
    fn x_dl_error => xDlError(capacity: c_int, message: *mut c_char) -> (), ();
    fn x_dl_sym => xDlSym(library: *mut c_void, symbol: *const c_char) -> Symbol, None;
    fn x_dl_close => xDlClose(library: *mut c_void) -> (), ();
    fn x_randomness => xRandomness(count: c_int, out: *mut c_char) -> c_int, 0;
    fn x_current_time => xCurrentTime(out: *mut f64) -> c_int, ffi::SQLITE_ERROR;
    fn x_current_time_int64 => xCurrentTimeInt64(out: *mut i64) -> c_int, ffi::SQLITE_ERROR;
}
