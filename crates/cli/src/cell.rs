//! One value of a row, with the one case more that a command line must not lose: text that is not UTF-8.

use twill_engine::{Error, RowRef, Value, ValueRef};

/// A borrowed value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'a str),
    /// Text whose bytes are not UTF-8, which SQL can make with `CAST(x'ff' AS TEXT)`.
    Garbled(&'a [u8]),
    Blob(&'a [u8]),
}

impl<'a> Cell<'a> {
    /// The value in a column, counted from 0.
    pub(crate) fn of(row: &RowRef<'a>, column: usize) -> Result<Self, Error> {
        match row.get(column) {
            Ok(value) => Ok(value.into()),
            // The only value that cannot be told as it is.
            Err(error) => match row.bytes(column) {
                Ok(Some(bytes)) => Ok(Self::Garbled(bytes)),
                _ => Err(error),
            },
        }
    }

    /// All values of a row.
    pub(crate) fn all(row: &RowRef<'a>) -> Result<Vec<Self>, Error> {
        (0..row.len()).map(|column| Self::of(row, column)).collect()
    }
}

impl<'a> From<ValueRef<'a>> for Cell<'a> {
    fn from(value: ValueRef<'a>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(value) => Self::Integer(value),
            ValueRef::Real(value) => Self::Real(value),
            ValueRef::Text(value) => Self::Text(value),
            ValueRef::Blob(value) => Self::Blob(value),
        }
    }
}

impl<'a> From<&'a Value> for Cell<'a> {
    fn from(value: &'a Value) -> Self {
        ValueRef::from(value).into()
    }
}
