//! One connection of either side: the engine's, or plain libSQL's.
//!
//! Invariants:
//! 1. Both sides prepare and step exactly one statement a call, with the same parameters.
//! 2. The oracle knows nothing of the engine: libSQL's unix VFS, its own WAL.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef as SqlRef};
use rusqlite::{DatabaseName, OpenFlags, TransactionState};
use twill_engine::{Connection, Database, Error, Params, Value};
use twill_libsql::ffi;

use crate::answer::{Answer, Outcome, without_paths};

/// A connection that answers statements.
pub trait Client {
    /// Runs one statement.
    fn run(&mut self, sql: &str, params: &[Value]) -> Answer;
}

/// A connection of the engine.
pub struct EngineClient(Connection);

/// A connection of plain libSQL.
pub struct PlainClient(rusqlite::Connection);

impl EngineClient {
    /// Connects, not waiting for other writers: the interleaving is single-threaded.
    ///
    /// # Errors
    /// The engine's.
    pub fn connect(database: &Database) -> Result<Self, Error> {
        let connection = database.connect()?;
        connection.set_busy_timeout(Duration::ZERO)?;
        Ok(Self(connection))
    }
}

impl Client for EngineClient {
    fn run(&mut self, sql: &str, params: &[Value]) -> Answer {
        let outcome = Outcome::of_engine(self.0.query(sql, Params::Positional(params.to_vec())));
        Answer {
            outcome,
            changes: self.0.changes(),
            last_insert_rowid: self.0.last_insert_rowid(),
            autocommit: self.0.is_autocommit(),
        }
    }
}

/// Plain libSQL that answers wrongly now and then: shows that the comparison finds it.
pub(crate) struct LyingClient {
    truthful: PlainClient,
    lie: Lie,
    calls: u32,
}

/// How it lies.
#[derive(Clone, Copy, Debug)]
pub enum Lie {
    /// Loses the last row of a result.
    DropRow,
    /// Reports success of an INSERT that it did not run.
    LoseInsert,
    /// Reports another code for an error.
    OtherCode,
    /// Keeps what a ROLLBACK TO should undo.
    KeepSavepoint,
}

impl LyingClient {
    pub(crate) const fn new(truthful: PlainClient, lie: Lie) -> Self {
        Self { truthful, lie, calls: 0 }
    }
}

impl Client for LyingClient {
    fn run(&mut self, sql: &str, params: &[Value]) -> Answer {
        const TRUTHFUL_CALLS: u32 = 60;
        self.calls += 1;
        let lies = self.calls > TRUTHFUL_CALLS;
        let asked = match self.lie {
            Lie::LoseInsert if lies && sql.starts_with("INSERT INTO") => "SELECT 1 WHERE 0",
            Lie::KeepSavepoint if lies && sql.starts_with("ROLLBACK TO") => "SELECT 1 WHERE 0",
            Lie::LoseInsert | Lie::KeepSavepoint | Lie::DropRow | Lie::OtherCode => sql,
        };
        let params = if asked == sql { params } else { &[] };
        let mut answer = self.truthful.run(asked, params);
        match (&mut answer.outcome, self.lie) {
            (Outcome::Rows(names, _), Lie::LoseInsert | Lie::KeepSavepoint) if asked != sql => names.clear(),
            (Outcome::Rows(_, rows), Lie::DropRow) if lies => drop(rows.pop()),
            (Outcome::Failed { code, .. }, Lie::OtherCode) if lies => *code += 256,
            (Outcome::Rows(..) | Outcome::Failed { .. }, _) => {}
        }
        answer
    }
}

impl PlainClient {
    /// Opens a file on libSQL's own VFS; `None` is a private database in memory.
    ///
    /// # Errors
    /// libSQL's.
    pub fn open(path: Option<&Path>) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI;
        let connection = match path {
            Some(path) => rusqlite::Connection::open_with_flags_and_vfs(path, flags, "unix")?,
            None => rusqlite::Connection::open_in_memory()?,
        };
        connection.busy_timeout(Duration::ZERO)?;
        // Durability is not what is compared.
        connection.pragma_update(None, "synchronous", "off")?;
        Ok(Self(connection))
    }

    /// Whether reading now cannot change what later statements see: no transaction is open, or one that has read already.
    #[must_use]
    pub fn may_peek(&self) -> bool {
        let began = |schema| match self.0.transaction_state(Some(schema)) {
            Ok(state) => state != TransactionState::None,
            // Nothing is attached.
            Err(_) => true,
        };
        self.0.is_autocommit() || (began(DatabaseName::Main) && began(DatabaseName::Attached("aux")))
    }

    fn step(&self, sql: &str, params: &[Value]) -> rusqlite::Result<Outcome> {
        let mut statement = self.0.prepare(sql)?;
        for (index, value) in params.iter().enumerate() {
            statement.raw_bind_parameter(index + 1, ToSqlOutput::Borrowed(borrowed(value)))?;
        }
        let mut answered = Vec::new();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let values = (0..row.as_ref().column_count()).map(|column| row.get_ref(column).map(owned));
            answered.push(values.collect::<rusqlite::Result<Vec<_>>>()?);
        }
        drop(rows);
        // Only now: stepping compiles a statement again when the schema is another than when it was prepared.
        let names = statement.column_names().into_iter().map(str::to_owned).collect();
        Ok(Outcome::Rows(names, answered))
    }
}

impl Client for PlainClient {
    fn run(&mut self, sql: &str, params: &[Value]) -> Answer {
        let outcome = self.step(sql, params).unwrap_or_else(|error| failed(&error));
        Answer {
            outcome,
            changes: self.0.changes(),
            last_insert_rowid: self.0.last_insert_rowid(),
            autocommit: self.0.is_autocommit(),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all others are misuse of the binding")]
fn failed(error: &rusqlite::Error) -> Outcome {
    let (code, message) = match error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            let fixed = ffi::code_to_str(failure.extended_code);
            (failure.extended_code, message.clone().unwrap_or_else(|| fixed.to_owned()))
        }
        rusqlite::Error::SqlInputError { error, msg, .. } => (error.extended_code, msg.clone()),
        other => (ffi::SQLITE_MISUSE, other.to_string()),
    };
    Outcome::Failed { code, message: without_paths(&message) }
}

fn borrowed(value: &Value) -> SqlRef<'_> {
    match value {
        Value::Null => SqlRef::Null,
        Value::Integer(value) => SqlRef::Integer(*value),
        Value::Real(value) => SqlRef::Real(*value),
        Value::Text(value) => SqlRef::Text(value.as_bytes()),
        Value::Blob(value) => SqlRef::Blob(value),
    }
}

fn owned(value: SqlRef<'_>) -> Value {
    match value {
        SqlRef::Null => Value::Null,
        SqlRef::Integer(value) => Value::Integer(value),
        SqlRef::Real(value) => Value::Real(value),
        SqlRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        SqlRef::Blob(value) => Value::Blob(value.to_vec()),
    }
}
