//! Parameter blocks, as docs/format/row-batch.md draws them.
//!
//! Invariants:
//! 1. A block is checked as a whole before a value of it is used: tags, bounds, UTF-8.
//!
//! It refuses what that page does not list.

use twill_engine::{CellRef, Value};

use crate::Refusal;
use crate::abi::{
    ENGINE_BLOB, ENGINE_BLOB_AT, ENGINE_INTEGER, ENGINE_INTEGER_AS_DOUBLE, ENGINE_NULL, ENGINE_REAL,
    ENGINE_TEXT, ENGINE_TEXT_ASCII, ENGINE_TEXT_AT,
};

const HEADER_BYTES: usize = 8;
const CELL_BYTES: usize = 16;
/// Integers up to this size have no neighbour that reads as the same double.
const EXACT_MAX: f64 = 9_007_199_254_740_991.0;

/// A checked block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    bytes: &'a [u8],
    cells: &'a [u8],
}

impl<'a> Block<'a> {
    /// # Safety
    /// The addresses in its cells lead to as many readable bytes as they say, which outlive `'a`.
    pub(crate) unsafe fn new(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let count = bytes.first_chunk::<4>().map(|count| u32::from_le_bytes(*count) as usize);
        let cells = count
            .and_then(|count| count.checked_mul(CELL_BYTES)?.checked_add(HEADER_BYTES))
            .and_then(|end| bytes.get(HEADER_BYTES..end));
        let Some(cells) = cells else {
            return Err(Refusal::misuse("the block is shorter than its cells"));
        };
        let block = Self { bytes, cells };
        for (position, cell) in block.raw().enumerate() {
            block.check(position, cell)?;
        }
        Ok(block)
    }

    fn raw(&self) -> impl Iterator<Item = Raw> + use<'a> {
        self.cells.chunks_exact(CELL_BYTES).map(Raw::of)
    }

    fn check(&self, position: usize, cell: Raw) -> Result<(), Refusal> {
        let refused = |what: &str| Err(Refusal::misuse(format!("cell {} of the block {what}", position + 1)));
        match (cell.tag, self.value(cell)) {
            (ENGINE_INTEGER_AS_DOUBLE, Some(_)) => {
                let double = f64::from_bits(cell.payload);
                if double.fract() != 0.0 || double.abs() > EXACT_MAX || double.is_nan() {
                    return refused("is no integer that a double holds");
                }
                Ok(())
            }
            (_, Some(CellRef::Text(bytes))) if std::str::from_utf8(bytes).is_err() => {
                refused("is text that is not UTF-8")
            }
            (_, Some(_)) => Ok(()),
            (ENGINE_TEXT | ENGINE_TEXT_ASCII | ENGINE_BLOB, None) => refused("reaches beyond the block"),
            (ENGINE_TEXT_AT | ENGINE_BLOB_AT, None) => refused("has the address NULL"),
            (tag, None) => refused(&format!("has the tag {tag:#04x}")),
        }
    }

    fn value(&self, cell: Raw) -> Option<CellRef<'a>> {
        Some(match cell.tag {
            ENGINE_INTEGER => CellRef::Integer(cell.payload.cast_signed()),
            #[expect(clippy::cast_possible_truncation, reason = "checked to be integral and below 2^53")]
            ENGINE_INTEGER_AS_DOUBLE => CellRef::Integer(f64::from_bits(cell.payload) as i64),
            ENGINE_REAL => CellRef::Real(f64::from_bits(cell.payload)),
            ENGINE_NULL => CellRef::Null,
            ENGINE_TEXT | ENGINE_TEXT_ASCII => CellRef::Text(self.inside(cell)?),
            ENGINE_BLOB => CellRef::Blob(self.inside(cell)?),
            ENGINE_TEXT_AT => CellRef::Text(Self::elsewhere(cell)?),
            ENGINE_BLOB_AT => CellRef::Blob(Self::elsewhere(cell)?),
            _ => return None,
        })
    }

    fn inside(&self, cell: Raw) -> Option<&'a [u8]> {
        let offset = usize::try_from(cell.payload).ok()?;
        self.bytes.get(offset..offset.checked_add(cell.length)?)
    }

    fn elsewhere(cell: Raw) -> Option<&'a [u8]> {
        if cell.length == 0 {
            return Some(&[]);
        }
        let address = usize::try_from(cell.payload).ok().filter(|address| *address != 0)?;
        // SAFETY: not NULL, and whoever made the block promised the bytes.
        Some(unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(address), cell.length) })
    }

    /// The values with their parameters' numbers, counted from 1.
    pub(crate) fn values(&self) -> impl Iterator<Item = (usize, CellRef<'a>)> + use<'a> {
        let block = *self;
        self.raw().enumerate().map(move |(position, cell)| {
            let parameter = if cell.parameter == 0 { position + 1 } else { cell.parameter };
            (parameter, block.value(cell).unwrap_or(CellRef::Null))
        })
    }

    /// A copy of all values.
    pub(crate) fn to_values(self) -> Vec<(usize, Value)> {
        self.values().map(|(parameter, value)| (parameter, to_value(value))).collect()
    }
}

/// A copy of a value whose text is UTF-8.
pub(crate) fn to_value(cell: CellRef<'_>) -> Value {
    match cell {
        CellRef::Null => Value::Null,
        CellRef::Integer(value) => Value::Integer(value),
        CellRef::Real(value) => Value::Real(value),
        CellRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        CellRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

/// One cell's fields.
#[derive(Clone, Copy)]
struct Raw {
    tag: u8,
    parameter: usize,
    length: usize,
    payload: u64,
}

impl Raw {
    fn of(bytes: &[u8]) -> Self {
        let field = |at: usize, size: usize| {
            bytes
                .get(at..at + size)
                .unwrap_or_default()
                .iter()
                .rev()
                .fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
        };
        #[expect(clippy::cast_possible_truncation, reason = "fields of 1, 2 and 4 bytes")]
        Self {
            tag: field(0, 1) as u8,
            parameter: field(2, 2) as usize,
            length: field(4, 4) as usize,
            payload: field(8, 8),
        }
    }
}
