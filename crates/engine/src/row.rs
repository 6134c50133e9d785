//! Rows and results.
//!
//! Invariants:
//! 1. Text handed out is valid UTF-8; a column whose text is not gives an error that names it, never replacement
//!    characters.

use rusqlite::types::ValueRef as SqlRef;
use twill_types::Value;

use crate::Error;

/// A column of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The column's name, or the expression.
    pub name: String,
    /// The type a table declares for it; `None` for expressions.
    pub decl_type: Option<String>,
}

/// All rows of a statement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryResult {
    /// The columns; none for a statement that gives no rows.
    pub columns: Vec<Column>,
    /// The rows, each as long as `columns`.
    pub rows: Vec<Vec<Value>>,
    /// Rows that an INSERT, UPDATE, DELETE or REPLACE changed; 0 for every other statement.
    pub changes: u64,
    /// The connection's last inserted rowid after the statement; 0 before the first.
    pub last_insert_rowid: i64,
}

/// One value of a row, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// SQL NULL.
    Null,
    /// A signed 64-bit integer.
    Integer(i64),
    /// An IEEE 754 double.
    Real(f64),
    /// UTF-8 text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

impl ValueRef<'_> {
    /// A copy that owns its bytes.
    #[must_use]
    pub fn to_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Integer(value) => Value::Integer(value),
            Self::Real(value) => Value::Real(value),
            Self::Text(value) => Value::Text(value.to_owned()),
            Self::Blob(value) => Value::Blob(value.to_vec()),
        }
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(value) => Self::Integer(*value),
            Value::Real(value) => Self::Real(*value),
            Value::Text(value) => Self::Text(value),
            Value::Blob(value) => Self::Blob(value),
        }
    }
}

/// One value as libSQL holds it, borrowed. Unlike in [`ValueRef`], text is bytes: SQLite does not see to it that they
/// are UTF-8.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CellRef<'a> {
    /// SQL NULL.
    Null,
    /// A signed 64-bit integer.
    Integer(i64),
    /// An IEEE 754 double.
    Real(f64),
    /// Text in what should be UTF-8.
    Text(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
}

impl<'a> From<ValueRef<'a>> for CellRef<'a> {
    fn from(value: ValueRef<'a>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(value) => Self::Integer(value),
            ValueRef::Real(value) => Self::Real(value),
            ValueRef::Text(value) => Self::Text(value.as_bytes()),
            ValueRef::Blob(value) => Self::Blob(value),
        }
    }
}

/// One row, valid during the call it is given to.
#[derive(Clone, Copy)]
pub struct RowRef<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    Live(&'a rusqlite::Row<'a>),
    Buffered(&'a [Value]),
}

impl<'a> RowRef<'a> {
    pub(crate) const fn live(row: &'a rusqlite::Row<'a>) -> Self {
        Self(Source::Live(row))
    }

    pub(crate) const fn buffered(values: &'a [Value]) -> Self {
        Self(Source::Buffered(values))
    }

    /// How many columns the row has.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.0 {
            Source::Live(row) => row.as_ref().column_count(),
            Source::Buffered(values) => values.len(),
        }
    }

    /// Whether the row has no columns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value in a column, counted from 0.
    ///
    /// # Errors
    /// SQLITE_RANGE when there is no such column; SQLITE_MISMATCH when its text is not UTF-8.
    pub fn get(&self, column: usize) -> Result<ValueRef<'a>, Error> {
        match self.0 {
            Source::Live(row) => match row.get_ref(column) {
                Ok(value) => borrowed(row, column, value),
                Err(_) => Err(no_column(column)),
            },
            Source::Buffered(values) => values.get(column).map(Into::into).ok_or_else(|| no_column(column)),
        }
    }

    /// The bytes of the text or blob in a column, counted from 0, also of text that is not UTF-8; `None` for NULL and
    /// numbers.
    ///
    /// # Errors
    /// SQLITE_RANGE when there is no such column.
    pub fn bytes(&self, column: usize) -> Result<Option<&'a [u8]>, Error> {
        Ok(match self.0 {
            Source::Live(row) => match row.get_ref(column).map_err(|_| no_column(column))? {
                SqlRef::Text(bytes) | SqlRef::Blob(bytes) => Some(bytes),
                SqlRef::Null | SqlRef::Integer(_) | SqlRef::Real(_) => None,
            },
            Source::Buffered(values) => match values.get(column).ok_or_else(|| no_column(column))? {
                Value::Text(text) => Some(text.as_bytes()),
                Value::Blob(bytes) => Some(bytes),
                Value::Null | Value::Integer(_) | Value::Real(_) => None,
            },
        })
    }

    /// All values, owned.
    ///
    /// # Errors
    /// See [`RowRef::get`].
    pub fn to_values(&self) -> Result<Vec<Value>, Error> {
        match self.0 {
            Source::Buffered(values) => Ok(values.to_vec()),
            Source::Live(_) => {
                let columns = self.len();
                let mut values = Vec::with_capacity(columns);
                for column in 0..columns {
                    values.push(self.get(column)?.to_value());
                }
                Ok(values)
            }
        }
    }
}

fn borrowed<'a>(row: &'a rusqlite::Row<'a>, column: usize, value: SqlRef<'a>) -> Result<ValueRef<'a>, Error> {
    Ok(match value {
        SqlRef::Null => ValueRef::Null,
        SqlRef::Integer(value) => ValueRef::Integer(value),
        SqlRef::Real(value) => ValueRef::Real(value),
        SqlRef::Blob(value) => ValueRef::Blob(value),
        SqlRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => ValueRef::Text(text),
            Err(error) => return Err(not_utf8(row, column).with_source(error)),
        },
    })
}

#[cold]
fn not_utf8(row: &rusqlite::Row<'_>, column: usize) -> Error {
    let name = row.as_ref().column_name(column).unwrap_or("?");
    Error::new(
        rusqlite::ffi::SQLITE_MISMATCH,
        format!("the column {name:?} holds text that is not UTF-8; read its bytes with CAST({name} AS BLOB)"),
    )
}

#[cold]
fn no_column(column: usize) -> Error {
    Error::new(rusqlite::ffi::SQLITE_RANGE, format!("the row has no column {column}, counted from 0"))
}
