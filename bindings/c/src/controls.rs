//! Limits, file controls, metrics: what a connection tells and refuses.
//!
//! Invariants:
//! 1. What is not honoured is an error that names it.

use std::fmt::Write as _;

use twill_engine::{Connection, Error, Limit, Metrics};

use crate::Refusal;

const SQLITE_NOTFOUND: i32 = 12;
const SQLITE_FCNTL_PERSIST_WAL: i32 = 10;
const SQLITE_FCNTL_POWERSAFE_OVERWRITE: i32 = 13;

/// Sets one of SQLite's limits.
pub(crate) fn limit(connection: &Connection, number: i32, value: i32) -> Result<i32, Refusal> {
    let limit = match number {
        0 => Limit::SQLITE_LIMIT_LENGTH,
        1 => Limit::SQLITE_LIMIT_SQL_LENGTH,
        2 => Limit::SQLITE_LIMIT_COLUMN,
        3 => Limit::SQLITE_LIMIT_EXPR_DEPTH,
        4 => Limit::SQLITE_LIMIT_COMPOUND_SELECT,
        5 => Limit::SQLITE_LIMIT_VDBE_OP,
        6 => Limit::SQLITE_LIMIT_FUNCTION_ARG,
        7 => Limit::SQLITE_LIMIT_ATTACHED,
        8 => Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH,
        9 => Limit::SQLITE_LIMIT_VARIABLE_NUMBER,
        10 => Limit::SQLITE_LIMIT_TRIGGER_DEPTH,
        11 => Limit::SQLITE_LIMIT_WORKER_THREADS,
        _ => return Err(Refusal::out_of_range(format!("there is no limit {number}"))),
    };
    Ok(connection.set_limit(limit, value))
}

/// A file control whose argument is an int.
pub(crate) fn file_control(
    connection: &Connection,
    schema: &str,
    operation: i32,
    argument: i32,
) -> Result<i32, Refusal> {
    match operation {
        // The log beside a file goes when its last handle closes, as SQLite's does by default.
        SQLITE_FCNTL_PERSIST_WAL if argument > 0 => Err(Refusal::from(Error::new(
            SQLITE_NOTFOUND,
            "SQLITE_FCNTL_PERSIST_WAL cannot be set: the storage keeps or removes its log itself",
        ))),
        SQLITE_FCNTL_PERSIST_WAL => Ok(0),
        // Sectors are never assumed to survive a torn write beside them.
        SQLITE_FCNTL_POWERSAFE_OVERWRITE if argument >= 0 => Err(Refusal::from(Error::new(
            SQLITE_NOTFOUND,
            "SQLITE_FCNTL_POWERSAFE_OVERWRITE cannot be set: the storage decides what it assumes of its medium",
        ))),
        SQLITE_FCNTL_POWERSAFE_OVERWRITE => Ok(0),
        _ => Ok(connection.file_control(schema, operation, argument)?),
    }
}

pub(crate) fn no_extensions(path: &str) -> Refusal {
    Refusal::from(Error::other(format!(
        "extensions are not loaded, so not {path}: this library has none of SQLite's loader"
    )))
}

/// Metrics as one JSON object.
pub(crate) fn metrics_json(metrics: &Metrics) -> String {
    let mut json = format!(
        "{{\"connections\":{},\"statements\":{},\"errors\":{},\"writes\":{},\"commits\":{},\"busy\":{},\
         \"writer_wait_us\":{},\"idle_rollbacks\":{},\"storage\":{{",
        metrics.connections,
        metrics.statements,
        metrics.errors,
        metrics.writes,
        metrics.commits,
        metrics.busy,
        metrics.writer_wait.as_micros(),
        metrics.idle_rollbacks,
    );
    let counts = metrics.storage.as_ref().map(|storage| storage.counts.as_slice()).unwrap_or_default();
    for (index, (name, count)) in counts.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing into a String does not fail.
        let _ = write!(json, "{comma}\"{name}\":{count}");
    }
    json.push_str("}}");
    json
}
