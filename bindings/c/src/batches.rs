//! Writing and reading row batches, and the memory they are in. docs/format/row-batch.md draws the bytes.
//!
//! Invariants:
//! 1. A row is written whole or not at all.
//! 2. Cells go to their place, the heap to scratch memory and behind the rows at the end, so nothing is allocated for a row
//!    once the scratch has grown.
//! 3. Lent memory is found by its address: freeing another address, or one twice, does nothing.
//!
//! It refuses batches of 4 GiB and more.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use twill_engine::{CellRef, CursorRow};

use crate::abi::{
    ENGINE_BATCH_ASCII, ENGINE_BATCH_ELSEWHERE, ENGINE_BATCH_HEADER, ENGINE_BATCH_WIDE, ENGINE_BLOB,
    ENGINE_INTEGER, ENGINE_INTEGER_AS_DOUBLE, ENGINE_NULL, ENGINE_REAL, ENGINE_TEXT, ENGINE_TEXT_ASCII,
};
use crate::connections::Fault;
use crate::texts::Failure;
use crate::{Refusal, texts};

const MAGIC: u32 = u32::from_le_bytes(*b"TWRB");
/// Integers up to this size have no neighbour that reads as the same double.
const EXACT_MAX: u64 = (1 << 53) - 1;
/// Library memory that a batch starts with.
const GROWN_BYTES_MIN: usize = 1024;
const BATCH_BYTES_MAX: usize = u32::MAX as usize;

/// Memory of the library for one batch, aligned for its numbers.
#[derive(Default)]
pub(crate) struct Owned {
    words: Vec<u64>,
    length: usize,
}

impl Owned {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let mut owned = Self::default();
        owned.grow(bytes.len());
        owned.bytes_mut().copy_from_slice(bytes);
        owned
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: any bytes are bytes; `length` is within the words.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.length) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and words may hold any bytes.
        unsafe { std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), self.length) }
    }

    /// Makes it `length` bytes long; new ones are zeros.
    fn grow(&mut self, length: usize) {
        self.words.resize(length.div_ceil(size_of::<u64>()), 0);
        self.length = length;
    }

    fn address(&self) -> usize {
        self.words.as_ptr().addr()
    }
}

/// A row that can be written.
pub(crate) trait Cells {
    fn columns(&self) -> usize;
    fn cell(&self, column: usize) -> CellRef<'_>;
}

impl Cells for CursorRow<'_> {
    #[inline]
    fn columns(&self) -> usize {
        CursorRow::columns(self)
    }

    #[inline]
    fn cell(&self, column: usize) -> CellRef<'_> {
        CursorRow::cell(self, column)
    }
}

impl Cells for &[CellRef<'_>] {
    fn columns(&self) -> usize {
        self.len()
    }

    fn cell(&self, column: usize) -> CellRef<'_> {
        self.get(column).copied().unwrap_or(CellRef::Null)
    }
}

/// The header's fields that a writer does not know itself.
#[derive(Clone, Copy, Default)]
pub(crate) struct Header {
    pub(crate) flags: u32,
    pub(crate) code: i32,
    pub(crate) changes: i64,
    pub(crate) total_changes: i64,
    pub(crate) last_insert_rowid: i64,
    pub(crate) statement: u64,
    pub(crate) compiled: u32,
    pub(crate) parameters: u32,
}

enum Memory<'a> {
    Fixed(&'a mut [u8]),
    Grown { owned: Owned, bytes_max: usize },
}

impl Memory<'_> {
    /// The memory if it has, or can get, that many bytes.
    #[inline]
    fn with(&mut self, length: usize) -> Option<&mut [u8]> {
        match self {
            Self::Fixed(memory) => (length <= memory.len()).then_some(&mut **memory),
            Self::Grown { owned, bytes_max } => {
                if length > *bytes_max {
                    return None;
                }
                if length > owned.length {
                    owned.grow(length.next_power_of_two().max(GROWN_BYTES_MIN).min(*bytes_max));
                }
                Some(owned.bytes_mut())
            }
        }
    }
}

/// Writes one batch.
pub(crate) struct Writer<'a> {
    memory: Memory<'a>,
    heap: &'a mut Vec<u8>,
    rows: u32,
    columns: usize,
    stride: usize,
    /// Where the next row goes.
    end: usize,
    is_ascii: bool,
    is_wide: bool,
}

/// Where a finished batch is.
pub(crate) enum Finished {
    InPlace,
    Library(Owned),
}

impl<'a> Writer<'a> {
    /// A batch in the caller's memory, if that holds more than a header; otherwise in the library's.
    pub(crate) fn into_place(out: &'a mut [u8], heap: &'a mut Vec<u8>) -> Self {
        Self::new(Memory::Fixed(out), heap)
    }

    /// A batch in the library's memory, at most so long.
    pub(crate) fn into_library(owned: Owned, bytes_max: usize, heap: &'a mut Vec<u8>) -> Self {
        let bytes_max = bytes_max.clamp(GROWN_BYTES_MIN, BATCH_BYTES_MAX);
        Self::new(Memory::Grown { owned, bytes_max }, heap)
    }

    fn new(memory: Memory<'a>, heap: &'a mut Vec<u8>) -> Self {
        heap.clear();
        let end = ENGINE_BATCH_HEADER;
        Self { memory, heap, rows: 0, columns: 0, stride: 0, end, is_ascii: true, is_wide: false }
    }

    pub(crate) const fn rows(&self) -> u32 {
        self.rows
    }

    /// Says how many columns rows have, before the first one.
    pub(crate) fn set_columns(&mut self, columns: usize) {
        if self.rows == 0 {
            self.columns = columns;
            self.stride = 8 * columns + columns.next_multiple_of(8);
        }
    }

    /// Writes a row if there is room.
    #[inline]
    pub(crate) fn push(&mut self, row: &impl Cells) -> bool {
        if self.rows == 0 {
            self.set_columns(row.columns());
        }
        let heap_before = self.heap.len();
        let (was_ascii, was_wide) = (self.is_ascii, self.is_wide);
        let end = self.end + self.stride;
        if end + heap_before <= BATCH_BYTES_MAX
            && let Some(memory) = self.memory.with(end + heap_before)
            && let Some(place) = memory.get_mut(self.end..end)
        {
            let (payloads, tags) = place.split_at_mut(8 * self.columns);
            for (column, payload) in payloads.chunks_exact_mut(8).enumerate() {
                let (tag, bits) = encode(row.cell(column), self.heap, &mut self.is_ascii, &mut self.is_wide);
                payload.copy_from_slice(&bits.to_le_bytes());
                if let Some(place) = tags.get_mut(column) {
                    *place = tag;
                }
            }
            tags.get_mut(self.columns..).unwrap_or_default().fill(0);
            let length = end + self.heap.len();
            if length <= BATCH_BYTES_MAX && self.memory.with(length).is_some() {
                self.end = end;
                self.rows += 1;
                return true;
            }
        }
        self.heap.truncate(heap_before);
        (self.is_ascii, self.is_wide) = (was_ascii, was_wide);
        false
    }

    /// Goes on in the library's memory, which may become so long, with the rows there are.
    pub(crate) fn move_to_library(&mut self, mut owned: Owned, bytes_max: usize) {
        let bytes_max = bytes_max.min(BATCH_BYTES_MAX);
        if let Memory::Fixed(memory) = &self.memory {
            let end = self.end.min(memory.len());
            owned.grow(self.end);
            if let (Some(to), Some(from)) = (owned.bytes_mut().get_mut(..end), memory.get(..end)) {
                to.copy_from_slice(from);
            }
            self.memory = Memory::Grown { owned, bytes_max };
        } else if let Memory::Grown { bytes_max: before, .. } = &mut self.memory {
            *before = bytes_max;
        }
    }

    /// How long the batch would be now.
    pub(crate) const fn length(&self) -> usize {
        self.end + self.heap.len()
    }

    pub(crate) const fn is_in_place(&self) -> bool {
        matches!(self.memory, Memory::Fixed(_))
    }

    /// How long the batch would be with this row.
    pub(crate) fn length_with(&self, row: &impl Cells) -> usize {
        let columns = row.columns();
        let bytes = |column| match row.cell(column) {
            CellRef::Text(bytes) | CellRef::Blob(bytes) => bytes.len() + 1,
            CellRef::Null | CellRef::Integer(_) | CellRef::Real(_) => 0,
        };
        let stride = 8 * columns + columns.next_multiple_of(8);
        self.end + stride + self.heap.len() + (0..columns).map(bytes).sum::<usize>()
    }

    /// Puts the heap behind the rows and writes the header. A batch in the library's memory is returned; what is in place
    /// then says where.
    pub(crate) fn finish(mut self, header: &Header) -> Finished {
        let length = self.end + self.heap.len();
        let mut flags = header.flags;
        if self.is_ascii {
            flags |= ENGINE_BATCH_ASCII;
        }
        if self.is_wide {
            flags |= ENGINE_BATCH_WIDE;
        }
        let fields = Fields {
            flags,
            rows: self.rows,
            columns: self.columns,
            stride: self.stride,
            heap: self.end,
            heap_bytes: self.heap.len(),
            address: 0,
            length,
        };
        if let Some(memory) = self.memory.with(length) {
            if let Some(place) = memory.get_mut(self.end..length) {
                place.copy_from_slice(self.heap);
            }
            write_header(memory, &fields, header);
        }
        match self.memory {
            Memory::Fixed(_) => Finished::InPlace,
            Memory::Grown { mut owned, .. } => {
                owned.grow(length);
                Finished::Library(owned)
            }
        }
    }
}

/// A header alone, which says that the batch is elsewhere.
pub(crate) fn point_to(out: &mut [u8], batch: &Owned) {
    if let (Some(to), Some(from)) =
        (out.get_mut(..ENGINE_BATCH_HEADER), batch.bytes().get(..ENGINE_BATCH_HEADER))
    {
        to.copy_from_slice(from);
        let flags = read_u32(to, 4) | ENGINE_BATCH_ELSEWHERE;
        put(to, 4, &flags.to_le_bytes());
        put(to, 56, &(batch.address() as u64).to_le_bytes());
    }
}

/// What [`write_header`] writes besides a [`Header`].
struct Fields {
    flags: u32,
    rows: u32,
    columns: usize,
    stride: usize,
    heap: usize,
    heap_bytes: usize,
    address: u64,
    length: usize,
}

#[expect(clippy::cast_possible_truncation, reason = "a batch is shorter than 4 GiB")]
fn write_header(out: &mut [u8], fields: &Fields, header: &Header) {
    let Some(out) = out.get_mut(..ENGINE_BATCH_HEADER) else { return };
    let words = [
        MAGIC,
        fields.flags,
        fields.rows,
        fields.columns as u32,
        fields.stride as u32,
        fields.heap as u32,
        fields.heap_bytes as u32,
    ];
    for (index, word) in words.iter().enumerate() {
        put(out, 4 * index, &word.to_le_bytes());
    }
    put(out, 28, &header.code.to_le_bytes());
    put(out, 32, &header.changes.to_le_bytes());
    put(out, 40, &header.total_changes.to_le_bytes());
    put(out, 48, &header.last_insert_rowid.to_le_bytes());
    put(out, 56, &fields.address.to_le_bytes());
    put(out, 64, &(fields.length as u64).to_le_bytes());
    put(out, 72, &header.statement.to_le_bytes());
    put(out, 80, &header.compiled.to_le_bytes());
    put(out, 84, &header.parameters.to_le_bytes());
}

#[inline]
fn put<const N: usize>(out: &mut [u8], at: usize, bytes: &[u8; N]) {
    if let Some(place) = out.get_mut(at..at + N) {
        place.copy_from_slice(bytes);
    }
}

#[inline]
fn encode(cell: CellRef<'_>, heap: &mut Vec<u8>, is_ascii: &mut bool, is_wide: &mut bool) -> (u8, u64) {
    match cell {
        CellRef::Null => (ENGINE_NULL, 0),
        CellRef::Integer(value) if value.unsigned_abs() <= EXACT_MAX =>
        {
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
            (ENGINE_INTEGER_AS_DOUBLE, (value as f64).to_bits())
        }
        CellRef::Integer(value) => {
            *is_wide = true;
            (ENGINE_INTEGER, value.cast_unsigned())
        }
        CellRef::Real(value) => (ENGINE_REAL, value.to_bits()),
        CellRef::Text(bytes) => {
            let tag = if bytes.is_ascii() { ENGINE_TEXT_ASCII } else { ENGINE_TEXT };
            *is_ascii &= tag == ENGINE_TEXT_ASCII;
            (tag, lay(heap, bytes))
        }
        CellRef::Blob(bytes) => {
            *is_ascii = *is_ascii && bytes.is_ascii();
            (ENGINE_BLOB, lay(heap, bytes))
        }
    }
}

/// Puts bytes and their NUL into the heap: offset and length as a payload.
#[inline]
fn lay(heap: &mut Vec<u8>, bytes: &[u8]) -> u64 {
    let offset = heap.len() as u64;
    heap.reserve(bytes.len() + 1);
    heap.extend_from_slice(bytes);
    heap.push(0);
    offset | (bytes.len() as u64) << 32
}

/// A batch's row.
#[derive(Clone, Copy)]
pub(crate) struct BatchRow<'a> {
    payloads: &'a [u8],
    tags: &'a [u8],
    heap: &'a [u8],
}

/// A row of a batch that this library wrote.
pub(crate) fn row(batch: &[u8], row: u32) -> Option<BatchRow<'_>> {
    let (rows, columns) = (read_u32(batch, 8), read_u32(batch, 12) as usize);
    if row >= rows {
        return None;
    }
    let stride = read_u32(batch, 16) as usize;
    let start = ENGINE_BATCH_HEADER + stride * row as usize;
    let place = batch.get(start..start + stride)?;
    let (payloads, tags) = place.split_at_checked(8 * columns)?;
    Some(BatchRow { payloads, tags: tags.get(..columns)?, heap: batch.get(read_u32(batch, 20) as usize..)? })
}

/// How many rows a batch has.
pub(crate) fn rows(batch: &[u8]) -> u32 {
    read_u32(batch, 8)
}

/// A batch's code.
pub(crate) fn code(batch: &[u8]) -> i32 {
    read_u32(batch, 28).cast_signed()
}

impl<'a> BatchRow<'a> {
    /// A cell of the row, as long as the batch.
    pub(crate) fn get(&self, column: usize) -> Option<CellRef<'a>> {
        let tag = *self.tags.get(column)?;
        let payload = self.payloads.get(8 * column..8 * column + 8)?;
        let bits = u64::from_le_bytes(payload.try_into().ok()?);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of the payload")]
        let bytes = || {
            let (offset, length) = (bits as u32 as usize, (bits >> 32) as usize);
            self.heap.get(offset..offset + length)
        };
        Some(match tag {
            ENGINE_INTEGER => CellRef::Integer(bits.cast_signed()),
            #[expect(clippy::cast_possible_truncation, reason = "integral and below 2^53")]
            ENGINE_INTEGER_AS_DOUBLE => CellRef::Integer(f64::from_bits(bits) as i64),
            ENGINE_REAL => CellRef::Real(f64::from_bits(bits)),
            ENGINE_TEXT | ENGINE_TEXT_ASCII => CellRef::Text(bytes()?),
            ENGINE_BLOB => CellRef::Blob(bytes()?),
            _ => CellRef::Null,
        })
    }
}

impl Cells for BatchRow<'_> {
    fn columns(&self) -> usize {
        self.tags.len()
    }

    fn cell(&self, column: usize) -> CellRef<'_> {
        self.get(column).unwrap_or(CellRef::Null)
    }
}

#[inline]
fn read_u32(batch: &[u8], at: usize) -> u32 {
    batch.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// A batch that tells a failure.
pub(crate) fn of_failure(failure: &Failure) -> Owned {
    let mut heap = Vec::new();
    let writer = Writer::into_library(Owned::default(), BATCH_BYTES_MAX, &mut heap);
    writer.heap.extend_from_slice(failure.message.as_bytes_with_nul());
    let mut writer = writer;
    writer.is_ascii = failure.message.as_bytes().is_ascii();
    let header = Header { code: failure.extended_code, changes: failure.offset, ..Header::default() };
    match writer.finish(&header) {
        Finished::Library(owned) => owned,
        Finished::InPlace => Owned::default(),
    }
}

/// The batch, of a statement that is finalized.
pub(crate) fn without_statement(mut batch: Owned) -> Owned {
    put(batch.bytes_mut(), 72, &0_u64.to_le_bytes());
    batch
}

/// The batch, with this number in place of the changes.
pub(crate) fn with_changes(mut batch: Owned, changes: usize) -> Owned {
    put(batch.bytes_mut(), 32, &(changes as u64).to_le_bytes());
    batch
}

/// Copies a batch into `out` if it fits; otherwise lends it.
pub(crate) fn hand_over(batch: Owned, out: &mut [u8]) {
    match out.get_mut(..batch.bytes().len()) {
        Some(place) => place.copy_from_slice(batch.bytes()),
        None => {
            point_to(out, &batch);
            lend(batch);
        }
    }
}

/// The caller's memory for a batch.
///
/// # Safety
/// `out` is NULL or points to `capacity` writable bytes that outlive `'a` and that nobody else uses meanwhile.
pub(crate) unsafe fn place<'a>(out: *mut u8, capacity: usize) -> Result<&'a mut [u8], Refusal> {
    if out.is_null() {
        return Err(Refusal::misuse("out is NULL"));
    }
    if capacity < ENGINE_BATCH_HEADER {
        return Err(Refusal::misuse(format!("out has {capacity} bytes; a header has {ENGINE_BATCH_HEADER}")));
    }
    // SAFETY: not NULL, and the caller promises the bytes.
    Ok(unsafe { std::slice::from_raw_parts_mut(out, capacity) })
}

/// Runs `body`, which writes a batch and answers its code; a failure is written as an error batch.
pub(crate) fn answered(
    out: Result<&mut [u8], Refusal>,
    body: impl FnOnce(&mut [u8]) -> Result<i32, Fault>,
) -> i32 {
    let out = match out {
        Ok(out) => out,
        Err(refusal) => return texts::settle_fault(Fault::from(refusal)).extended_code,
    };
    let outcome = crate::caught(|| body(out));
    match outcome {
        Ok(code) => code,
        Err(fault) => {
            let failure = texts::settle_fault(fault);
            let batch = of_failure(&failure);
            let room = out.len().min(batch.bytes().len());
            // A message that does not fit is cut; engine_failure_of has it all.
            if let (Some(to), Some(from)) = (out.get_mut(..room), batch.bytes().get(..room)) {
                to.copy_from_slice(from);
            }
            #[expect(clippy::cast_possible_truncation, reason = "a message is short")]
            let fits = (room - ENGINE_BATCH_HEADER) as u32;
            put(out, 24, &fits.to_le_bytes());
            put(out, 64, &(room as u64).to_le_bytes());
            failure.extended_code
        }
    }
}

static LENT: LazyLock<Mutex<HashMap<usize, Owned>>> = LazyLock::new(Mutex::default);

/// Gives memory to the caller until it is freed by its address.
pub(crate) fn lend(owned: Owned) -> *mut u8 {
    let mut owned = owned;
    if owned.words.is_empty() {
        // Every lent piece has an address of its own, also an empty one.
        owned.words.reserve(1);
    }
    let pointer = owned.words.as_mut_ptr().cast();
    LENT.lock().unwrap_or_else(PoisonError::into_inner).insert(owned.address(), owned);
    pointer
}

/// Frees lent memory.
pub(crate) fn free(pointer: *const u8) {
    let freed = LENT.lock().unwrap_or_else(PoisonError::into_inner).remove(&pointer.addr());
    drop(freed);
}

#[cfg(test)]
mod tests;
