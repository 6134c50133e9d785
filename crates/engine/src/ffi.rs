//! The few calls of libSQL that libsql-rusqlite does not offer. All unsafe code of this crate is here.
//!
//! Invariants:
//! 1. Every function takes the `rusqlite::Connection` its handle belongs to, and callers hold the connection's call
//!    lock, so no handle is used by two threads at once.

#![expect(unsafe_code, reason = "the one module of this crate that calls libSQL's C interface itself")]

mod compiled;
mod errand;
mod kept;

pub(crate) use compiled::Compiled;
pub(crate) use errand::{Errand, lend};
pub(crate) use kept::Sqlite;

use std::ffi::{CStr, CString, c_int};
use std::ptr::NonNull;

use rusqlite::{Connection, ffi};
use twill_vfs_shim::Session;

use crate::Error;

/// Tells the session its connection.
pub(crate) fn attach_session(session: &Session, connection: &Connection) {
    // SAFETY: the connection was opened with this session's WAL manager, and the engine keeps both in one value, which
    // drops the connection only when no more calls can come.
    unsafe { session.attach(connection.handle()) }
}

/// Whether ATTACH added a database. Two lookups in an array.
pub(crate) fn has_attached(connection: &Connection) -> bool {
    const FIRST_ATTACHED: c_int = 2;
    // SAFETY: the handle is open; the answer is only compared with null.
    unsafe { !ffi::sqlite3_db_name(connection.handle(), FIRST_ATTACHED).is_null() }
}

/// The name of a schema by its index: 0 is main, 1 temp, then the attached ones.
pub(crate) fn schema_name(connection: &Connection, index: i32) -> Option<String> {
    // SAFETY: the handle is open; the name lives until the schema is detached, and is copied here.
    unsafe {
        let name = ffi::sqlite3_db_name(connection.handle(), index);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

/// Whether a transaction that writes `main` is open.
pub(crate) fn writes_main(connection: &Connection) -> bool {
    // SAFETY: the handle is open, the name is a C string.
    unsafe { ffi::sqlite3_txn_state(connection.handle(), c"main".as_ptr()) == ffi::SQLITE_TXN_WRITE }
}

/// Whether a transaction that writes any schema is open.
pub(crate) fn writes_any(connection: &Connection) -> bool {
    // SAFETY: the handle is open; no name asks for the highest state of all schemas.
    unsafe { ffi::sqlite3_txn_state(connection.handle(), std::ptr::null()) == ffi::SQLITE_TXN_WRITE }
}

/// Whether a transaction that reads or writes any schema is open, be it of a cursor that stands or a blob handle.
pub(crate) fn reads_any(connection: &Connection) -> bool {
    // SAFETY: the handle is open; no name asks for the highest state of all schemas.
    unsafe { ffi::sqlite3_txn_state(connection.handle(), std::ptr::null()) != ffi::SQLITE_TXN_NONE }
}

/// Rows changed since the connection was opened.
pub(crate) fn total_changes(connection: &Connection) -> u64 {
    // SAFETY: the handle is open.
    let changes = unsafe { ffi::sqlite3_total_changes64(connection.handle()) };
    u64::try_from(changes).unwrap_or(0)
}

/// Which value a blob handle opens.
pub(crate) struct BlobPlace<'a> {
    pub(crate) schema: &'a str,
    pub(crate) table: &'a str,
    pub(crate) column: &'a str,
    pub(crate) rowid: i64,
    pub(crate) writable: bool,
}

/// An open blob handle. It must be closed with [`RawBlob::close`]; dropping it leaks the handle, and SQLite then keeps
/// the connection open.
pub(crate) struct RawBlob(NonNull<ffi::sqlite3_blob>);

// SAFETY: a blob handle may be used from any thread, one at a time; the call lock of its connection sees to that.
unsafe impl Send for RawBlob {}

impl RawBlob {
    pub(crate) fn open(connection: &Connection, place: &BlobPlace<'_>) -> Result<Self, Error> {
        let c_string =
            |text: &str| CString::new(text).map_err(|_| Error::misuse("a name contains a NUL byte"));
        let (schema, table, column) =
            (c_string(place.schema)?, c_string(place.table)?, c_string(place.column)?);
        let mut blob = std::ptr::null_mut();
        // SAFETY: the handle is open, the strings outlive the call, and `blob` is written by it.
        let code = unsafe {
            ffi::sqlite3_blob_open(
                connection.handle(),
                schema.as_ptr(),
                table.as_ptr(),
                column.as_ptr(),
                place.rowid,
                c_int::from(place.writable),
                &raw mut blob,
            )
        };
        check(connection, code)?;
        NonNull::new(blob).map(Self).ok_or_else(|| Error::other("libSQL gave no blob handle"))
    }

    pub(crate) fn len(&self) -> usize {
        // SAFETY: the handle is open.
        let length = unsafe { ffi::sqlite3_blob_bytes(self.0.as_ptr()) };
        usize::try_from(length).unwrap_or(0)
    }

    pub(crate) fn read(&mut self, connection: &Connection, at: usize, into: &mut [u8]) -> Result<(), Error> {
        let (length, at) = extent(into.len(), at)?;
        // SAFETY: the handle is open, and `into` has room for `length` bytes.
        let code = unsafe { ffi::sqlite3_blob_read(self.0.as_ptr(), into.as_mut_ptr().cast(), length, at) };
        check(connection, code)
    }

    pub(crate) fn write(&mut self, connection: &Connection, at: usize, from: &[u8]) -> Result<(), Error> {
        let (length, at) = extent(from.len(), at)?;
        // SAFETY: the handle is open, and `from` holds `length` bytes.
        let code = unsafe { ffi::sqlite3_blob_write(self.0.as_ptr(), from.as_ptr().cast(), length, at) };
        check(connection, code)
    }

    pub(crate) fn reopen(&mut self, connection: &Connection, rowid: i64) -> Result<(), Error> {
        // SAFETY: the handle is open.
        let code = unsafe { ffi::sqlite3_blob_reopen(self.0.as_ptr(), rowid) };
        check(connection, code)
    }

    /// Closes the handle. Outside a transaction this commits what was written.
    pub(crate) fn close(self, connection: &Connection) -> Result<(), Error> {
        // SAFETY: the handle is open, and `self` is gone after this.
        let code = unsafe { ffi::sqlite3_blob_close(self.0.as_ptr()) };
        check(connection, code)
    }
}

fn extent(length: usize, at: usize) -> Result<(c_int, c_int), Error> {
    match (c_int::try_from(length), c_int::try_from(at)) {
        (Ok(length), Ok(at)) => Ok((length, at)),
        _ => Err(Error::new(ffi::SQLITE_TOOBIG, "blobs end at 2 GiB")),
    }
}

fn check(connection: &Connection, code: c_int) -> Result<(), Error> {
    if code == ffi::SQLITE_OK { Ok(()) } else { Err(error_of(connection, code)) }
}

/// The connection's error: its message, and where in the SQL it is.
#[cold]
fn error_of(connection: &Connection, code: c_int) -> Error {
    // SAFETY: the handle is open; the message lives until the next call on it, and is copied here.
    let (message, offset) = unsafe {
        let message = CStr::from_ptr(ffi::sqlite3_errmsg(connection.handle())).to_string_lossy().into_owned();
        (message, ffi::sqlite3_error_offset(connection.handle()))
    };
    Error::new(code, message).at_offset(usize::try_from(offset).ok())
}

/// The image of a schema's database as the connection sees it; empty for an empty database.
pub(crate) fn serialize(connection: &Connection, schema: &str) -> Result<Vec<u8>, Error> {
    let name = CString::new(schema).map_err(|_| Error::misuse("a name contains a NUL byte"))?;
    if !schema_exists(connection, schema) {
        return Err(Error::other(format!("unknown database {schema}")));
    }
    let mut length: i64 = 0;
    // SAFETY: the handle is open; the image is libSQL's to free, after it was copied.
    unsafe {
        let image = ffi::sqlite3_serialize(connection.handle(), name.as_ptr(), &raw mut length, 0);
        if image.is_null() {
            // An empty database has no image; a negative length says that reading failed.
            return match length {
                0 => Ok(Vec::new()),
                _ => match ffi::sqlite3_extended_errcode(connection.handle()) {
                    ffi::SQLITE_OK => {
                        Err(Error::new(ffi::SQLITE_NOMEM, "the image does not fit into memory"))
                    }
                    code => Err(error_of(connection, code)),
                },
            };
        }
        let bytes = std::slice::from_raw_parts(image, usize::try_from(length).unwrap_or(0)).to_vec();
        ffi::sqlite3_free(image.cast());
        Ok(bytes)
    }
}

/// Whether a schema of this name is attached.
pub(crate) fn schema_exists(connection: &Connection, schema: &str) -> bool {
    (0..).map_while(|index| schema_name(connection, index)).any(|name| name.eq_ignore_ascii_case(schema))
}

/// Makes an image the content of a connection of plain libSQL's own, read-only.
pub(crate) fn deserialize(connection: &Connection, image: &[u8]) -> Result<(), Error> {
    let too_big = || Error::new(ffi::SQLITE_TOOBIG, "the image is too large");
    let length = i64::try_from(image.len()).map_err(|_| too_big())?;
    // SAFETY: the handle is open; the copy is libSQL's from here on, which frees it also when this fails.
    let code = unsafe {
        let copy: *mut u8 = ffi::sqlite3_malloc64(image.len().max(1) as u64).cast();
        if copy.is_null() {
            return Err(Error::new(ffi::SQLITE_NOMEM, "the image does not fit into memory"));
        }
        std::ptr::copy_nonoverlapping(image.as_ptr(), copy, image.len());
        let flags = ffi::SQLITE_DESERIALIZE_FREEONCLOSE | ffi::SQLITE_DESERIALIZE_READONLY;
        ffi::sqlite3_deserialize(
            connection.handle(),
            c"main".as_ptr(),
            copy,
            length,
            length,
            flags.unsigned_abs(),
        )
    };
    check(connection, code)
}

/// A file control of a schema whose argument is an int.
pub(crate) fn file_control(
    connection: &Connection,
    schema: &str,
    operation: i32,
    argument: i32,
) -> Result<i32, Error> {
    let schema = CString::new(schema).map_err(|_| Error::misuse("a name contains a NUL byte"))?;
    let mut argument: c_int = argument;
    // SAFETY: the handle is open, the name is a C string; callers pass only operations whose argument is an int.
    let code = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            schema.as_ptr(),
            operation,
            (&raw mut argument).cast::<std::ffi::c_void>(),
        )
    };
    match code {
        ffi::SQLITE_OK => Ok(argument),
        // The connection's message is of another call: this one sets none.
        code => Err(Error::new(code, ffi::code_to_str(code))),
    }
}
