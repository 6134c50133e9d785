//! The statement functions of `engine.h`: prepare, bind, execute in batches, step, describe, finalize.
//!
//! Invariants:
//! 1. Nothing here touches a statement except inside a call of its connection (`connections::on_statement`).
//! 2. A pointer that is returned into a statement's memory lives until that statement's next call.
//!
//! On a crash: nothing is on disk here. It refuses parameters beyond the statement's own, blocks that reach out of their
//! bounds, and columns that are not there.

use std::ffi::{c_char, c_void};
use std::ptr;

use crate::abi::{
    ENGINE_ACTIVE, ENGINE_COLUMNS, ENGINE_EXPLAIN, ENGINE_OK, ENGINE_PARAMETERS, ENGINE_READONLY,
    engine_statement,
};
use crate::connections::{self, coded, pointed, told};
use crate::parameters::Block;
use crate::prepared::{Execution, Room, Values};
use crate::{Refusal, batches, borrow, borrow_bytes, borrow_text, engine_handle};
use twill_engine::CellRef;

/// Compiles the first statement of a text. `sql` is UTF-8, `length` bytes long, without a NUL byte inside.
///
/// Returns the statement, or 0: an error, which engine_failure_of tells; or, if that tells none, nothing to run in the
/// text. `*tail` becomes the offset of the first byte that was not read, if `tail` is not NULL: a text of several
/// statements is run by preparing what follows until 0.
///
/// A statement belongs to its connection, may be used from any thread, one call of the connection at a time, and
/// is finalized with it.
///
/// # Safety
/// `sql` points to `length` readable bytes; `tail` is NULL or points to a size_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_prepare(
    handle: engine_handle,
    sql: *const c_char,
    length: usize,
    tail: *mut usize,
) -> engine_statement {
    let mut read = 0;
    let statement = told(0, || {
        // SAFETY: the caller promises `length` readable bytes.
        let sql = unsafe { borrow_text(sql, length, "sql") };
        connections::prepare(handle, sql, &mut read)
    });
    if !tail.is_null() {
        // SAFETY: the caller promises a place for a size_t.
        unsafe { tail.write_unaligned(read) };
    }
    statement
}

/// Frees a statement. While a request of it is in flight, the request is ended and the statement freed after it.
/// Returns ENGINE_OK, or ENGINE_MISUSE when there is no such statement.
#[unsafe(no_mangle)]
pub extern "C" fn engine_finalize(statement: engine_statement) -> i32 {
    coded(|| connections::finalize(statement).map(|()| ENGINE_OK))
}

/// A property of a statement, by number: ENGINE_PARAMETERS, ENGINE_COLUMNS, ENGINE_READONLY, ENGINE_EXPLAIN,
/// ENGINE_ACTIVE. Returns -1 on failure.
#[unsafe(no_mangle)]
pub extern "C" fn engine_statement_property(statement: engine_statement, property: i32) -> i32 {
    told(-1, || {
        connections::on_statement(statement, |call| {
            let prepared = &mut *call.prepared;
            let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
            Ok(match property {
                ENGINE_PARAMETERS => count(prepared.look(|facts| facts.parameters())?),
                ENGINE_COLUMNS => count(prepared.look(|facts| facts.columns())?),
                ENGINE_READONLY => prepared.cursor().is_readonly().into(),
                ENGINE_EXPLAIN => prepared.look(|facts| facts.explain_level())?,
                ENGINE_ACTIVE => prepared.is_active().into(),
                _ => return Err(Refusal::misuse(format!("there is no property {property}"))),
            })
        })
    })
}

/// The SQL of a statement: as it was prepared, or, if `expanded` is not 0, with its parameters' values written in.
/// NULL on failure. Readable until the next call on this statement.
#[unsafe(no_mangle)]
pub extern "C" fn engine_sql(statement: engine_statement, expanded: i32) -> *const c_char {
    pointed(|| {
        connections::on_statement(statement, |call| {
            let text = match expanded {
                0 => call.prepared.cursor().sql().to_owned(),
                _ => call.prepared.look(|facts| facts.expanded_sql())?.ok_or_else(Refusal::too_big)?,
            };
            Ok(call.prepared.lend(text))
        })
    })
}

/// The name of a column, counted from 0; NULL if there is none. Readable until the next call on this statement.
#[unsafe(no_mangle)]
pub extern "C" fn engine_column_name(statement: engine_statement, column: i32) -> *const c_char {
    pointed(|| {
        connections::on_statement(statement, |call| {
            let column = index(column)?;
            let name = call.prepared.look(|facts| facts.column_name(column))?;
            Ok(name.map_or(ptr::null(), |text| call.prepared.lend(text)))
        })
    })
}

/// The type that the table declares for a column, as it was written there; NULL for an expression or an undeclared
/// column. Readable until the next call on this statement.
#[unsafe(no_mangle)]
pub extern "C" fn engine_column_declared_type(statement: engine_statement, column: i32) -> *const c_char {
    pointed(|| {
        connections::on_statement(statement, |call| {
            let column = index(column)?;
            let declared = call.prepared.look(|facts| facts.column_declared_type(column))?;
            Ok(declared.map_or(ptr::null(), |text| call.prepared.lend(text)))
        })
    })
}

/// The name of a parameter, counted from 1, with its prefix; NULL for a nameless one. Readable until the next call
/// on this statement.
#[unsafe(no_mangle)]
pub extern "C" fn engine_parameter_name(statement: engine_statement, parameter: i32) -> *const c_char {
    pointed(|| {
        connections::on_statement(statement, |call| {
            let parameter = index(parameter)?;
            let name = call.prepared.look(|facts| facts.parameter_name(parameter))?;
            Ok(name.map_or(ptr::null(), |text| call.prepared.lend(text)))
        })
    })
}

/// The number of a parameter by its name with the prefix, such as `:id`; 0 if there is none, -1 on failure.
///
/// # Safety
/// `name` is NULL or points to a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_parameter_index(statement: engine_statement, name: *const c_char) -> i32 {
    told(-1, || {
        // SAFETY: the caller promises NULL or a NUL-terminated string.
        let name = unsafe { borrow(name, "name") };
        connections::on_statement(statement, |call| {
            let name = name?;
            let index = call.prepared.look(|facts| facts.parameter_index(name))?;
            Ok(i32::try_from(index.unwrap_or(0)).unwrap_or(0))
        })
    })
}

/// Writes all of a statement's columns and parameters as one row batch into `out`: rows of three cells: 1 for a column
/// or 2 for a parameter, in order; its name or NULL; a column's declared type or NULL. Returns ENGINE_DONE or a code.
///
/// # Safety
/// `out` points to `capacity` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_describe(statement: engine_statement, out: *mut u8, capacity: usize) -> i32 {
    // SAFETY: the caller promises `capacity` writable bytes.
    let out = unsafe { batches::place(out, capacity) };
    batches::answered(out, |out| {
        connections::on_statement(statement, |call| Ok(call.prepared.describe(Room::Caller(out))?.code))
    })
}

/// Binds values from a parameter block (docs/format/row-batch.md): to the parameters whose numbers its cells give, or by
/// position where they give 0. Parameters that the block does not name keep their values. A statement that was stepped
/// is reset first. Returns ENGINE_OK or a code.
///
/// # Safety
/// `block` points to `length` readable bytes, and addresses in its cells to what they say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_bind(statement: engine_statement, block: *const u8, length: usize) -> i32 {
    coded(|| {
        // SAFETY: the caller promises `length` readable bytes.
        let block = unsafe { borrow_bytes(block, length, "block") };
        connections::on_statement(statement, |call| {
            // SAFETY: the caller promises that addresses in the cells lead to what they say.
            let block = unsafe { Block::new(block?) }?;
            call.prepared.bind(&block).map(|()| ENGINE_OK)
        })
    })
}

fn bind_one(statement: engine_statement, parameter: i32, value: Result<CellRef<'_>, Refusal>) -> i32 {
    coded(|| {
        connections::on_statement(statement, |call| {
            call.prepared.bind_one(index(parameter)?, value?).map(|()| ENGINE_OK)
        })
    })
}

/// Binds NULL to a parameter, counted from 1. A statement that was stepped is reset first, as by all bind functions.
/// Returns ENGINE_OK or a code.
#[unsafe(no_mangle)]
pub extern "C" fn engine_bind_null(statement: engine_statement, parameter: i32) -> i32 {
    bind_one(statement, parameter, Ok(CellRef::Null))
}

/// Binds an INTEGER.
#[unsafe(no_mangle)]
pub extern "C" fn engine_bind_integer(statement: engine_statement, parameter: i32, value: i64) -> i32 {
    bind_one(statement, parameter, Ok(CellRef::Integer(value)))
}

/// Binds a REAL; NaN becomes NULL.
#[unsafe(no_mangle)]
pub extern "C" fn engine_bind_real(statement: engine_statement, parameter: i32, value: f64) -> i32 {
    bind_one(statement, parameter, Ok(CellRef::Real(value)))
}

/// Binds a TEXT of `length` bytes of UTF-8, which is copied.
///
/// # Safety
/// `text` points to `length` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_bind_text(
    statement: engine_statement,
    parameter: i32,
    text: *const c_char,
    length: usize,
) -> i32 {
    // SAFETY: the caller promises `length` readable bytes.
    let text = unsafe { borrow_text(text, length, "text") };
    bind_one(statement, parameter, text.map(|text| CellRef::Text(text.as_bytes())))
}

/// Binds a BLOB of `length` bytes, which are copied.
///
/// # Safety
/// `bytes` points to `length` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_bind_blob(
    statement: engine_statement,
    parameter: i32,
    bytes: *const c_void,
    length: usize,
) -> i32 {
    // SAFETY: the caller promises `length` readable bytes.
    let bytes = unsafe { borrow_bytes(bytes.cast(), length, "bytes") };
    bind_one(statement, parameter, bytes.map(CellRef::Blob))
}

/// Makes every parameter NULL again. A statement that was stepped is reset first. Returns ENGINE_OK or a code.
#[unsafe(no_mangle)]
pub extern "C" fn engine_clear_bindings(statement: engine_statement) -> i32 {
    coded(|| connections::on_statement(statement, |call| call.prepared.clear_bindings().map(|()| ENGINE_OK)))
}

/// Resets a statement, binds a parameter block (NULL: keeps what is bound), runs it, and writes a row batch into `out`:
/// as many rows as fit, at most `rows_max` of them if that is not 0.
///
/// Returns ENGINE_ROW if rows remain, which engine_next gives; ENGINE_DONE if not; else a code. `out` then holds an
/// error batch, which tells what engine_failure_of would.
///
/// A statement that reads runs as far as its rows are asked for, and holds its snapshot until it is done or reset. A
/// statement that writes runs to its end, and outside a transaction until its commit is durable, before the first row
/// of a RETURNING is told.
///
/// If not even one row fits into `out`, or `out` is NULL, the batch is written to memory of the library, of 256 KiB
/// or the size of its one row, and the header in `out` says where. That memory is good until the next call on this statement;
/// engine_batch_take keeps it.
///
/// `flags`: ENGINE_EXECUTE_RESET, ENGINE_EXECUTE_DISCARD, ENGINE_EXECUTE_NAMES, or 0.
///
/// # Safety
/// `block` is NULL or points to `length` readable bytes, and addresses in its cells to what they say; `out` points to
/// `capacity` writable bytes, at least ENGINE_BATCH_HEADER of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_execute(
    statement: engine_statement,
    block: *const u8,
    length: usize,
    out: *mut u8,
    capacity: usize,
    rows_max: u32,
    flags: u32,
) -> i32 {
    // SAFETY: the caller promises `capacity` writable bytes.
    let out = unsafe { batches::place(out, capacity) };
    batches::answered(out, |out| {
        connections::on_statement(statement, |call| {
            let block = match block.is_null() {
                true => None,
                // SAFETY: the caller promises `length` readable bytes, and that addresses lead to what they say.
                false => Some(unsafe { Block::new(borrow_bytes(block, length, "block")?) }?),
            };
            call.execute(&Execution { values: block.map(Values::Block), rows_max, flags }, out)
        })
    })
}

/// The next batch of a statement that engine_execute or engine_next answered ENGINE_ROW for; see engine_execute.
/// `flags`: ENGINE_EXECUTE_RESET or 0. ENGINE_DONE with no rows if none remain.
///
/// # Safety
/// `out` points to `capacity` writable bytes, at least ENGINE_BATCH_HEADER of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_next(
    statement: engine_statement,
    out: *mut u8,
    capacity: usize,
    rows_max: u32,
    flags: u32,
) -> i32 {
    // SAFETY: the caller promises `capacity` writable bytes.
    let out = unsafe { batches::place(out, capacity) };
    batches::answered(out, |out| connections::on_statement(statement, |call| call.next(rows_max, flags, out)))
}

/// Makes the batch that the last call on this statement left in the library's memory the caller's, who frees it with
/// engine_batch_free. Returns it, or NULL if there is none.
#[unsafe(no_mangle)]
pub extern "C" fn engine_batch_take(statement: engine_statement) -> *mut u8 {
    told(ptr::null_mut(), || {
        connections::on_statement(statement, |call| {
            Ok(call.prepared.take_batch().map_or(ptr::null_mut(), batches::lend))
        })
    })
}

/// Frees memory that engine_batch_take, engine_async_take or engine_serialize gave. Anything else, NULL and what was
/// freed already included, is left alone. `unused` lets it serve as a deallocator of JavaScriptCore.
#[unsafe(no_mangle)]
pub extern "C" fn engine_batch_free(batch: *mut c_void, unused: *mut c_void) {
    let _ = unused;
    told((), || {
        batches::free(batch.cast());
        Ok(())
    });
}

/// Steps a statement by one row: ENGINE_ROW, and the engine_column functions read the row; ENGINE_DONE at the end, and
/// the next step begins again; else a code.
#[unsafe(no_mangle)]
pub extern "C" fn engine_step(statement: engine_statement) -> i32 {
    coded(|| connections::on_statement(statement, |call| call.step()))
}

/// Resets a statement, so that it begins anew; its parameters keep their values. Returns ENGINE_OK or a code.
#[unsafe(no_mangle)]
pub extern "C" fn engine_reset(statement: engine_statement) -> i32 {
    coded(|| connections::on_statement(statement, |call| call.prepared.reset().map(|()| ENGINE_OK)))
}

/// The type of a column's value in the current row: ENGINE_INTEGER, ENGINE_REAL, ENGINE_TEXT, ENGINE_BLOB or ENGINE_NULL;
/// -1 if there is no row or no such column.
#[unsafe(no_mangle)]
pub extern "C" fn engine_column_type(statement: engine_statement, column: i32) -> i32 {
    told(-1, || {
        connections::on_statement(statement, |call| Ok(call.prepared.cell(index(column)?)?.kind().into()))
    })
}

/// The value of an INTEGER or, cut towards zero, a REAL column of the current row; 0 for any other.
#[unsafe(no_mangle)]
pub extern "C" fn engine_column_integer(statement: engine_statement, column: i32) -> i64 {
    told(0, || {
        connections::on_statement(statement, |call| Ok(call.prepared.cell(index(column)?)?.to_integer()))
    })
}

/// The value of a REAL or INTEGER column of the current row; 0 for any other.
#[unsafe(no_mangle)]
pub extern "C" fn engine_column_real(statement: engine_statement, column: i32) -> f64 {
    told(0.0, || {
        connections::on_statement(statement, |call| Ok(call.prepared.cell(index(column)?)?.to_real()))
    })
}

/// The bytes of a TEXT or BLOB column of the current row, followed by a NUL byte; NULL for any other. `*length`
/// becomes how many they are, if `length` is not NULL. Readable until the next step, execute, reset or finalize of this
/// statement. TEXT is as stored: SQLite does not see to it that it is UTF-8.
///
/// # Safety
/// `length` is NULL or points to a size_t.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_column_bytes(
    statement: engine_statement,
    column: i32,
    length: *mut usize,
) -> *const u8 {
    let mut found = 0;
    let bytes = told(ptr::null(), || {
        connections::on_statement(statement, |call| {
            let cell = call.prepared.cell(index(column)?)?;
            let bytes = cell.bytes();
            found = bytes.map_or(0, <[u8]>::len);
            Ok(bytes.map_or(ptr::null(), <[u8]>::as_ptr))
        })
    });
    if !length.is_null() {
        // SAFETY: the caller promises a place for a size_t.
        unsafe { length.write_unaligned(found) };
    }
    bytes
}

fn index(number: i32) -> Result<usize, Refusal> {
    usize::try_from(number).map_err(|_| Refusal::misuse(format!("{number} is negative")))
}
