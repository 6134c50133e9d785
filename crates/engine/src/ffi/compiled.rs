//! A compiled statement that its owner keeps, steps and reads itself.
//!
//! Invariants:
//! 1. Every method that calls libSQL takes the connection the statement was compiled on, and is called inside a call of
//!    that connection, as all of this module.
//! 2. A cell's bytes are libSQL's and borrow the statement: stepping, binding and resetting take it mutably.
//! 3. The statement is finalized with [`Compiled::finalize`]; dropping it leaks it, and libSQL then does not close the
//!    connection.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::NonNull;

use rusqlite::{Connection, ffi};

use super::{check, error_of};
use crate::Error;
use crate::row::CellRef;

/// A statement.
pub(crate) struct Compiled {
    statement: NonNull<ffi::sqlite3_stmt>,
    columns: usize,
}

// SAFETY: a statement may be used from any thread, one at a time; the call lock of its connection sees to that.
unsafe impl Send for Compiled {}

impl Compiled {
    /// Compiles the first statement of `sql`, if there is one, and answers how many bytes were read.
    pub(crate) fn first_of(connection: &Connection, sql: &str) -> Result<(Option<Self>, usize), Error> {
        let length = c_int::try_from(sql.len())
            .map_err(|_| Error::new(ffi::SQLITE_TOOBIG, "the SQL is longer than 2 GiB"))?;
        let mut statement = std::ptr::null_mut();
        let mut tail: *const c_char = std::ptr::null();
        let text: *const c_char = sql.as_ptr().cast();
        // SAFETY: the handle is open, `text` has `length` bytes, and both places are written by the call.
        let code = unsafe {
            ffi::sqlite3_prepare_v3(
                connection.handle(),
                text,
                length,
                ffi::SQLITE_PREPARE_PERSISTENT.unsigned_abs(),
                &raw mut statement,
                &raw mut tail,
            )
        };
        check(connection, code)?;
        let read = if tail.is_null() { sql.len() } else { tail.addr().saturating_sub(text.addr()) };
        let compiled = NonNull::new(statement).map(|statement| {
            let mut compiled = Self { statement, columns: 0 };
            compiled.count_columns();
            compiled
        });
        Ok((compiled, read.min(sql.len())))
    }

    /// Steps it: true for a row.
    #[inline]
    pub(crate) fn step(&mut self, connection: &Connection) -> Result<bool, Error> {
        // SAFETY: the statement is not finalized.
        match unsafe { ffi::sqlite3_step(self.statement.as_ptr()) } {
            ffi::SQLITE_ROW => Ok(true),
            ffi::SQLITE_DONE => Ok(false),
            code => Err(failed(connection, code)),
        }
    }

    /// Resets it. What its last step failed with was told then.
    pub(crate) fn reset(&mut self) {
        // SAFETY: the statement is not finalized.
        unsafe { ffi::sqlite3_reset(self.statement.as_ptr()) };
    }

    /// Reads how many columns it has: stepping compiles it again when the schema is another.
    pub(crate) fn count_columns(&mut self) {
        // SAFETY: the statement is not finalized.
        let columns = unsafe { ffi::sqlite3_column_count(self.statement.as_ptr()) };
        self.columns = usize::try_from(columns).unwrap_or(0);
    }

    pub(crate) const fn columns(&self) -> usize {
        self.columns
    }

    /// A cell of the current row; NULL for a column that is not there.
    #[inline]
    pub(crate) fn cell(&self, column: usize) -> CellRef<'_> {
        if column >= self.columns {
            return CellRef::Null;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_possible_wrap,
            reason = "below the column count"
        )]
        let column = column as c_int;
        // SAFETY: the statement is not finalized, and the value is used before anything else is called on it. No other
        // thread is inside the connection, so an unprotected value may be read.
        unsafe {
            let value = ffi::sqlite3_column_value(self.statement.as_ptr(), column);
            match ffi::sqlite3_value_type(value) {
                ffi::SQLITE_INTEGER => CellRef::Integer(ffi::sqlite3_value_int64(value)),
                ffi::SQLITE_FLOAT => CellRef::Real(ffi::sqlite3_value_double(value)),
                ffi::SQLITE_TEXT => {
                    // As a blob the text is not copied to get a NUL byte after it. Another encoding is converted first.
                    let start = if ffi::sqlite3_value_encoding(value) == ffi::SQLITE_UTF8 {
                        ffi::sqlite3_value_blob(value).cast()
                    } else {
                        ffi::sqlite3_value_text(value)
                    };
                    CellRef::Text(bytes(start, ffi::sqlite3_value_bytes(value)))
                }
                ffi::SQLITE_BLOB => {
                    let start = ffi::sqlite3_value_blob(value).cast();
                    CellRef::Blob(bytes(start, ffi::sqlite3_value_bytes(value)))
                }
                _ => CellRef::Null,
            }
        }
    }

    /// Binds a value to a parameter, counted from 1. Text and blobs are copied.
    pub(crate) fn bind(
        &mut self,
        connection: &Connection,
        parameter: usize,
        value: CellRef<'_>,
    ) -> Result<(), Error> {
        let statement = self.statement.as_ptr();
        let index = c_int::try_from(parameter).unwrap_or(c_int::MAX);
        #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
        const UTF8: u8 = ffi::SQLITE_UTF8 as u8;
        // SAFETY: the statement is not finalized; the bytes are readable, and SQLITE_TRANSIENT has libSQL copy them.
        let code = unsafe {
            match value {
                CellRef::Null => ffi::sqlite3_bind_null(statement, index),
                CellRef::Integer(value) => ffi::sqlite3_bind_int64(statement, index, value),
                CellRef::Real(value) => ffi::sqlite3_bind_double(statement, index, value),
                CellRef::Text(text) => ffi::sqlite3_bind_text64(
                    statement,
                    index,
                    text.as_ptr().cast(),
                    text.len() as u64,
                    ffi::SQLITE_TRANSIENT(),
                    UTF8,
                ),
                // A null pointer would bind NULL; an empty slice's is not null.
                CellRef::Blob(blob) => ffi::sqlite3_bind_blob64(
                    statement,
                    index,
                    blob.as_ptr().cast(),
                    blob.len() as u64,
                    ffi::SQLITE_TRANSIENT(),
                ),
            }
        };
        check(connection, code)
    }

    pub(crate) fn clear_bindings(&mut self) {
        // SAFETY: the statement is not finalized. The call cannot fail.
        unsafe { ffi::sqlite3_clear_bindings(self.statement.as_ptr()) };
    }

    pub(crate) fn parameters(&self) -> usize {
        // SAFETY: the statement is not finalized.
        let count = unsafe { ffi::sqlite3_bind_parameter_count(self.statement.as_ptr()) };
        usize::try_from(count).unwrap_or(0)
    }

    pub(crate) fn parameter_name(&self, parameter: usize) -> Option<String> {
        let index = c_int::try_from(parameter).ok()?;
        // SAFETY: the statement is not finalized; the name is copied at once.
        unsafe { copied(ffi::sqlite3_bind_parameter_name(self.statement.as_ptr(), index)) }
    }

    pub(crate) fn parameter_index(&self, name: &str) -> Option<usize> {
        let name = CString::new(name).ok()?;
        // SAFETY: the statement is not finalized, the name is a C string.
        let index = unsafe { ffi::sqlite3_bind_parameter_index(self.statement.as_ptr(), name.as_ptr()) };
        usize::try_from(index).ok().filter(|index| *index > 0)
    }

    pub(crate) fn column_name(&self, column: usize) -> Option<String> {
        let column = c_int::try_from(column).ok()?;
        // SAFETY: the statement is not finalized; the name is copied at once.
        unsafe { copied(ffi::sqlite3_column_name(self.statement.as_ptr(), column)) }
    }

    pub(crate) fn column_declared_type(&self, column: usize) -> Option<String> {
        let column = c_int::try_from(column).ok()?;
        // SAFETY: the statement is not finalized; the text is copied at once.
        unsafe { copied(ffi::sqlite3_column_decltype(self.statement.as_ptr(), column)) }
    }

    pub(crate) fn is_readonly(&self) -> bool {
        // SAFETY: the statement is not finalized.
        unsafe { ffi::sqlite3_stmt_readonly(self.statement.as_ptr()) != 0 }
    }

    /// 1 for EXPLAIN, 2 for EXPLAIN QUERY PLAN.
    pub(crate) fn explain_level(&self) -> i32 {
        // SAFETY: the statement is not finalized.
        unsafe { ffi::sqlite3_stmt_isexplain(self.statement.as_ptr()) }
    }

    /// How often it was compiled anew.
    pub(crate) fn recompiled(&self) -> u32 {
        // SAFETY: the statement is not finalized; 0 leaves the counter as it is.
        let count =
            unsafe { ffi::sqlite3_stmt_status(self.statement.as_ptr(), ffi::SQLITE_STMTSTATUS_REPREPARE, 0) };
        u32::try_from(count).unwrap_or(0)
    }

    /// Its text with the parameters' values written in; `None` when that is longer than libSQL allows.
    pub(crate) fn expanded_sql(&self) -> Option<String> {
        // SAFETY: the statement is not finalized; the text is libSQL's to free, after it was copied.
        unsafe {
            let text = ffi::sqlite3_expanded_sql(self.statement.as_ptr());
            let copy = copied(text);
            ffi::sqlite3_free(text.cast());
            copy
        }
    }

    /// Frees it. What its last step failed with was told then.
    pub(crate) fn finalize(self) {
        // SAFETY: the statement is not finalized, and `self` is gone after this.
        unsafe { ffi::sqlite3_finalize(self.statement.as_ptr()) };
    }
}

/// The bytes of a value; libSQL gives null for none.
///
/// # Safety
/// `start` is null or leads to `length` bytes that live as long as `'a`.
#[inline]
unsafe fn bytes<'a>(start: *const u8, length: c_int) -> &'a [u8] {
    match usize::try_from(length) {
        // SAFETY: not null, and the caller promises the bytes.
        Ok(length) if !start.is_null() && length > 0 => unsafe { std::slice::from_raw_parts(start, length) },
        _ => &[],
    }
}

/// A copy of a C string.
///
/// # Safety
/// `text` is null or a NUL-terminated string.
unsafe fn copied(text: *const c_char) -> Option<String> {
    // SAFETY: not null, and the caller promises a C string.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

#[cold]
fn failed(connection: &Connection, code: c_int) -> Error {
    error_of(connection, code)
}
