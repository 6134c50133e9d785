//! Plain libSQL: its own unix VFS and its own WAL, `journal_mode=WAL`, `synchronous=FULL`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, Statement};

use super::{Argument, Prepared, Reading, Session, Side, length};

/// libSQL's own VFS.
const VFS: &str = "unix";
/// How long a writer retries before it gives up: longer than any measurement.
const BUSY_TIMEOUT: Duration = Duration::from_secs(600);

/// A database of plain libSQL.
pub(crate) struct Plain {
    path: PathBuf,
}

impl Side for Plain {
    type Session = Connection;

    const NAME: &'static str = "libsql";

    fn open(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_owned() })
    }

    fn connect(&self) -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags_and_vfs(&self.path, flags, VFS).context("libSQL: open")?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
        ensure!(mode == "wal", "libSQL keeps journal mode {mode}");
        connection.execute_batch("PRAGMA synchronous=FULL")?;
        let level: i64 = connection.query_row("PRAGMA synchronous", [], |row| row.get(0))?;
        ensure!(level == 2, "libSQL keeps synchronous {level}");
        Ok(connection)
    }

    fn syncs(&self) -> Option<u64> {
        None
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Session for Connection {
    type Prepared<'a> = Statement<'a>;

    fn batch(&self, sql: &str) -> Result<()> {
        self.execute_batch(sql).with_context(|| format!("libSQL: {sql}"))
    }

    fn prepare(&self, sql: &str) -> Result<Statement<'_>> {
        self.prepare(sql).with_context(|| format!("libSQL: {sql}"))
    }
}

impl Prepared for Statement<'_> {
    fn execute(&mut self, arguments: &[Argument<'_>]) -> Result<()> {
        bind(self, arguments)?;
        self.raw_execute()?;
        Ok(())
    }

    fn read(&mut self, arguments: &[Argument<'_>]) -> Result<Reading> {
        bind(self, arguments)?;
        let mut reading = Reading::default();
        let columns = self.column_count();
        let mut rows = self.raw_query();
        while let Some(row) = rows.next()? {
            reading.rows += 1;
            for column in 0..columns {
                reading.sum += match row.get_ref(column)? {
                    ValueRef::Integer(value) => value,
                    ValueRef::Text(_) => length(row.get_ref(column)?.as_str()?),
                    ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => 0,
                };
            }
        }
        Ok(reading)
    }
}

fn bind(statement: &mut Statement<'_>, arguments: &[Argument<'_>]) -> Result<()> {
    for (index, argument) in arguments.iter().enumerate() {
        statement.raw_bind_parameter(index + 1, argument)?;
    }
    Ok(())
}

impl ToSql for Argument<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Integer(value) => ValueRef::Integer(*value),
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
        }))
    }
}
