//! SQL values with SQLite's five storage classes.

/// One SQL value. Text is UTF-8 and may contain NUL.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A signed 64-bit integer.
    Integer(i64),
    /// An IEEE 754 double. SQLite stores NaN as NULL, so it never comes back.
    Real(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// The storage class of a [`Value`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// SQL NULL.
    Null,
    /// A signed 64-bit integer.
    Integer,
    /// An IEEE 754 double.
    Real,
    /// UTF-8 text.
    Text,
    /// Bytes.
    Blob,
}

impl Value {
    /// The storage class.
    #[must_use]
    pub const fn value_type(&self) -> ValueType {
        match self {
            Self::Null => ValueType::Null,
            Self::Integer(_) => ValueType::Integer,
            Self::Real(_) => ValueType::Real,
            Self::Text(_) => ValueType::Text,
            Self::Blob(_) => ValueType::Blob,
        }
    }
}

macro_rules! from {
    ($($source:ty => $build:expr),* $(,)?) => {$(
        impl From<$source> for Value {
            fn from(value: $source) -> Self {
                ($build)(value)
            }
        }
    )*};
}

from! {
    i64 => Value::Integer,
    i32 => |v: i32| Value::Integer(v.into()),
    u32 => |v: u32| Value::Integer(v.into()),
    bool => |v: bool| Value::Integer(v.into()),
    f64 => Value::Real,
    String => Value::Text,
    &str => |v: &str| Value::Text(v.to_owned()),
    Vec<u8> => Value::Blob,
    &[u8] => |v: &[u8]| Value::Blob(v.to_vec()),
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
