//! Parameters of a statement, by position or by name, and their binding.
//!
//! Invariants:
//! 1. A statement runs only when every parameter it has got a value and every value had a parameter; otherwise the
//!    error names the parameter. (SQLite itself reads a missing one as NULL.)
//!
//! It refuses names for nameless parameters (`?`), and values for gaps in `?NNN` numbering are still required by
//! position, as SQLite counts them.

use rusqlite::Statement;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef as SqlRef};
use twill_types::Value;

use crate::Error;
use crate::row::ValueRef;

/// Values for a statement's parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Params {
    /// The statement has none.
    #[default]
    None,
    /// By position: the first value goes to parameter 1.
    Positional(Vec<Value>),
    /// By name, with or without the prefix: `:a`, `@a`, `$a`, or `a` for any of them.
    Named(Vec<(String, Value)>),
}

impl Params {
    /// Parameters by name.
    pub fn named<N: Into<String>, V: Into<Value>>(values: impl IntoIterator<Item = (N, V)>) -> Self {
        Self::Named(values.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// Parameters by position.
    pub fn positional<V: Into<Value>>(values: impl IntoIterator<Item = V>) -> Self {
        Self::Positional(values.into_iter().map(Into::into).collect())
    }
}

impl From<()> for Params {
    fn from((): ()) -> Self {
        Self::None
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Params {
    fn from(values: [T; N]) -> Self {
        Self::positional(values)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Params {
    fn from(values: Vec<T>) -> Self {
        Self::positional(values)
    }
}

impl From<&[Value]> for Params {
    fn from(values: &[Value]) -> Self {
        Self::Positional(values.to_vec())
    }
}

impl From<&[(&str, Value)]> for Params {
    fn from(values: &[(&str, Value)]) -> Self {
        Self::named(values.iter().cloned())
    }
}

impl<const N: usize> From<&[(&str, Value); N]> for Params {
    fn from(values: &[(&str, Value); N]) -> Self {
        Self::named(values.iter().cloned())
    }
}

macro_rules! from_tuple {
    ($($name:ident: $index:tt),+) => {
        impl<$($name: Into<Value>),+> From<($($name,)+)> for Params {
            fn from(values: ($($name,)+)) -> Self {
                Self::Positional(vec![$(values.$index.into()),+])
            }
        }
    };
}
from_tuple!(A: 0);
from_tuple!(A: 0, B: 1);
from_tuple!(A: 0, B: 1, C: 2);
from_tuple!(A: 0, B: 1, C: 2, D: 3);
from_tuple!(A: 0, B: 1, C: 2, D: 3, E: 4);
from_tuple!(A: 0, B: 1, C: 2, D: 3, E: 4, F: 5);
from_tuple!(A: 0, B: 1, C: 2, D: 3, E: 4, F: 5, G: 6);
from_tuple!(A: 0, B: 1, C: 2, D: 3, E: 4, F: 5, G: 6, H: 7);

/// A value on its way into SQLite, borrowed.
pub(crate) struct Bound<'a>(pub(crate) ValueRef<'a>);

/// The values of one call, owned by the caller or borrowed from it.
#[derive(Clone, Copy)]
pub(crate) enum Binding<'a> {
    Owned(&'a Params),
    Borrowed(&'a [ValueRef<'a>]),
}

impl Binding<'_> {
    pub(crate) const NONE: Self = Self::Borrowed(&[]);
}

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            ValueRef::Null => SqlRef::Null,
            ValueRef::Integer(value) => SqlRef::Integer(value),
            ValueRef::Real(value) => SqlRef::Real(value),
            ValueRef::Text(value) => SqlRef::Text(value.as_bytes()),
            ValueRef::Blob(value) => SqlRef::Blob(value),
        }))
    }
}

/// Binds every parameter of a statement.
pub(crate) fn bind(statement: &mut Statement<'_>, params: Binding<'_>) -> Result<(), Error> {
    match params {
        Binding::Borrowed(values) => bind_positional(statement, values.iter().copied()),
        Binding::Owned(Params::None) => bind_positional(statement, std::iter::empty()),
        Binding::Owned(Params::Positional(values)) => {
            bind_positional(statement, values.iter().map(ValueRef::from))
        }
        Binding::Owned(Params::Named(values)) => bind_named(statement, values),
    }
}

fn bind_positional<'v>(
    statement: &mut Statement<'_>,
    values: impl ExactSizeIterator<Item = ValueRef<'v>>,
) -> Result<(), Error> {
    let expected = statement.parameter_count();
    if values.len() < expected {
        let missing = values.len() + 1;
        return Err(Error::misuse(format!(
            "parameter {} has no value: {} given, {expected} needed",
            described(statement, missing),
            values.len()
        )));
    }
    if values.len() > expected {
        return Err(Error::misuse(format!(
            "value {} has no parameter: {} given, {expected} needed",
            expected + 1,
            values.len()
        )));
    }
    for (index, value) in values.enumerate() {
        statement.raw_bind_parameter(index + 1, Bound(value))?;
    }
    Ok(())
}

fn bind_named(statement: &mut Statement<'_>, values: &[(String, Value)]) -> Result<(), Error> {
    let count = statement.parameter_count();
    let mut bound = vec![false; count];
    for (name, value) in values {
        let index = index_of(statement, name)?
            .ok_or_else(|| Error::misuse(format!("the statement has no parameter {name}")))?;
        if let Some(flag) = bound.get_mut(index - 1)
            && std::mem::replace(flag, true)
        {
            return Err(Error::misuse(format!("parameter {name} is given twice")));
        }
        statement.raw_bind_parameter(index, Bound(value.into()))?;
    }
    match bound.iter().position(|bound| !bound) {
        None => Ok(()),
        Some(missing) => {
            Err(Error::misuse(format!("parameter {} has no value", described(statement, missing + 1))))
        }
    }
}

fn index_of(statement: &Statement<'_>, name: &str) -> Result<Option<usize>, Error> {
    if name.starts_with([':', '@', '$', '?']) {
        return Ok(statement.parameter_index(name)?);
    }
    for prefix in [':', '@', '$'] {
        if let Some(index) = statement.parameter_index(&format!("{prefix}{name}"))? {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

/// A parameter as an error names it: `2`, or `2 (:name)`.
fn described(statement: &Statement<'_>, index: usize) -> String {
    match statement.parameter_name(index) {
        Some(name) => format!("{index} ({name})"),
        None => index.to_string(),
    }
}
