//! What a statement answered, in a form that can be compared and printed.
//!
//! Invariants:
//! 1. Equality is exact: storage classes, bits of reals, bytes of text, order of rows.
//! 2. Paths are removed from messages, since each side has its own.

use std::fmt;

use twill_engine::{Error, QueryResult, Value};

/// A statement's outcome and what the connection says of itself afterwards.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Rows or an error.
    pub outcome: Outcome,
    /// `sqlite3_changes`
    pub changes: u64,
    /// `sqlite3_last_insert_rowid`
    pub last_insert_rowid: i64,
    /// `sqlite3_get_autocommit`
    pub autocommit: bool,
}

/// Rows or an error.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Column names and rows.
    Rows(Vec<String>, Vec<Vec<Value>>),
    /// What failed.
    Failed {
        /// The extended SQLITE_* code.
        code: i32,
        /// The message, with paths removed.
        message: String,
    },
}

/// Codes whose message the engine words itself: it says what to do, where libSQL has one fixed sentence.
const OWN_WORDS: &[i32] = &[5, 8, 10, 13, 14, 26];

impl PartialEq for Outcome {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Rows(names, rows), Self::Rows(other_names, other_rows)) => {
                names == other_names
                    && rows.len() == other_rows.len()
                    && rows.iter().zip(other_rows).all(|(row, other)| same_row(row, other))
            }
            (Self::Failed { code, message }, Self::Failed { code: other_code, message: other_message }) => {
                code == other_code && (OWN_WORDS.contains(&(code & 0xff)) || message == other_message)
            }
            (Self::Rows(..), Self::Failed { .. }) | (Self::Failed { .. }, Self::Rows(..)) => false,
        }
    }
}

fn same_row(row: &[Value], other: &[Value]) -> bool {
    row.len() == other.len() && row.iter().zip(other).all(|(one, two)| same_value(one, two))
}

fn same_value(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Real(one), Value::Real(two)) => one.to_bits() == two.to_bits(),
        _ => one == two,
    }
}

impl Outcome {
    /// The outcome of an engine call.
    #[must_use]
    pub fn of_engine(result: Result<QueryResult, Error>) -> Self {
        match result {
            Ok(result) => {
                Self::Rows(result.columns.into_iter().map(|column| column.name).collect(), result.rows)
            }
            Err(error) => {
                Self::Failed { code: error.extended_code(), message: without_paths(error.message()) }
            }
        }
    }

    /// The error's extended code; 0 for rows.
    #[must_use]
    pub const fn code(&self) -> i32 {
        match self {
            Self::Rows(..) => 0,
            Self::Failed { code, .. } => *code,
        }
    }
}

/// A message without the words that hold a path or URL.
pub(crate) fn without_paths(message: &str) -> String {
    let words = message.split(' ').map(|word| if word.contains('/') { "<path>" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ROWS_MAX: usize = 12;
        match &self.outcome {
            Outcome::Failed { code, message } => write!(f, "error {code}: {message}")?,
            Outcome::Rows(names, rows) => {
                write!(f, "{} rows ({})", rows.len(), names.join(", "))?;
                for row in rows.iter().take(ROWS_MAX) {
                    write!(f, "\n    {}", row.iter().map(shown).collect::<Vec<_>>().join(" | "))?;
                }
                if rows.len() > ROWS_MAX {
                    write!(f, "\n    ...")?;
                }
            }
        }
        let Self { changes, last_insert_rowid, autocommit, .. } = self;
        write!(f, "\n    changes {changes}, last_insert_rowid {last_insert_rowid}, autocommit {autocommit}")
    }
}

/// Values as a repro shows them.
pub(crate) fn shown_values(values: &[Value]) -> String {
    values.iter().map(shown).collect::<Vec<_>>().join(", ")
}

fn shown(value: &Value) -> String {
    const LENGTH_MAX: usize = 60;
    let full = match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(value) => value.to_string(),
        Value::Real(value) => format!("{value:?}"),
        Value::Text(value) => format!("{value:?}"),
        Value::Blob(value) => {
            let bytes = value.iter().take(LENGTH_MAX).map(|byte| format!("{byte:02x}")).collect::<String>();
            format!("x'{bytes}' ({} bytes)", value.len())
        }
    };
    if full.chars().count() > LENGTH_MAX * 2 {
        format!("{}... ({} bytes)", full.chars().take(LENGTH_MAX).collect::<String>(), full.len())
    } else {
        full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: Vec<Value>) -> Outcome {
        Outcome::Rows(vec!["a".to_owned()], values.into_iter().map(|value| vec![value]).collect())
    }

    fn failed(code: i32, message: &str) -> Outcome {
        Outcome::Failed { code, message: message.to_owned() }
    }

    #[test]
    fn every_kind_of_wrong_answer_is_unequal() {
        let right = rows(vec![Value::Integer(1), Value::Real(0.0), Value::Text("x".to_owned())]);
        assert_eq!(right, right.clone());
        for wrong in [
            rows(vec![Value::Real(1.0), Value::Real(0.0), Value::Text("x".to_owned())]),
            rows(vec![Value::Integer(1), Value::Real(-0.0), Value::Text("x".to_owned())]),
            rows(vec![Value::Integer(1), Value::Real(0.0), Value::Blob(b"x".to_vec())]),
            rows(vec![Value::Real(0.0), Value::Integer(1), Value::Text("x".to_owned())]),
            rows(vec![Value::Integer(1), Value::Real(0.0)]),
            rows(vec![Value::Integer(1), Value::Real(0.0), Value::Null]),
            failed(1, "x"),
        ] {
            assert_ne!(right, wrong);
        }
        let Outcome::Rows(_, values) = right.clone() else { unreachable!() };
        assert_ne!(right, Outcome::Rows(vec!["b".to_owned()], values));
    }

    #[test]
    fn errors_differ_by_extended_code_and_by_message_unless_the_engine_words_it() {
        assert_ne!(failed(5, "locked"), failed(517, "locked"));
        assert_ne!(failed(1, "no such table: a"), failed(1, "no such table: b"));
        assert_eq!(failed(5, "database is locked"), failed(5, "another writer is at work"));
    }

    #[test]
    fn what_the_connection_says_counts() {
        let answer = Answer { outcome: rows(vec![]), changes: 1, last_insert_rowid: 2, autocommit: true };
        assert_ne!(answer, Answer { changes: 0, ..answer.clone() });
        assert_ne!(answer, Answer { last_insert_rowid: 3, ..answer.clone() });
        assert_ne!(answer, Answer { autocommit: false, ..answer.clone() });
    }

    #[test]
    fn paths_are_left_out_of_messages() {
        assert_eq!(without_paths("unable to open database: /tmp/a/b.db"), "unable to open database: <path>");
    }
}
