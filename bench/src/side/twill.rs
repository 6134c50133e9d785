//! TwillDB on `file://`, through the API that programs use.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use twill_engine::{Connection, Database, Statement, ValueRef};

use super::{Argument, Prepared, Reading, Session, Side, length};

/// How long a writer queues before it gives up: longer than any measurement.
const BUSY_TIMEOUT: Duration = Duration::from_secs(600);
/// What the file backend calls its counts of fdatasync.
const SYNCS: &[&str] = &["wal_syncs", "db_syncs"];

/// A database of TwillDB.
pub(crate) struct Twill {
    database: Database,
}

impl Side for Twill {
    type Session = Connection;

    const NAME: &'static str = "twill";

    fn open(path: &Path) -> Result<Self> {
        let path = path.to_str().context("the path is not UTF-8")?;
        let database = Database::open(&format!("file://{path}?synchronous=full")).context("TwillDB: open")?;
        Ok(Self { database })
    }

    fn connect(&self) -> Result<Connection> {
        let connection = self.database.connect().context("TwillDB: connect")?;
        connection.set_busy_timeout(BUSY_TIMEOUT)?;
        Ok(connection)
    }

    fn syncs(&self) -> Option<u64> {
        let storage = self.database.metrics().storage?;
        Some(storage.counts.iter().filter(|(name, _)| SYNCS.contains(name)).map(|(_, count)| count).sum())
    }

    fn close(self) -> Result<()> {
        self.database.close().context("TwillDB: close")
    }
}

impl Session for Connection {
    type Prepared<'a> = Statement;

    fn batch(&self, sql: &str) -> Result<()> {
        self.execute_batch(sql).with_context(|| format!("TwillDB: {sql}"))
    }

    fn prepare(&self, sql: &str) -> Result<Statement> {
        self.prepare(sql).with_context(|| format!("TwillDB: {sql}"))
    }
}

impl Prepared for Statement {
    fn execute(&mut self, arguments: &[Argument<'_>]) -> Result<()> {
        self.execute_ref(&arguments.iter().map(value).collect::<Vec<_>>())?;
        Ok(())
    }

    fn read(&mut self, arguments: &[Argument<'_>]) -> Result<Reading> {
        let mut reading = Reading::default();
        self.query_each_ref(&arguments.iter().map(value).collect::<Vec<_>>(), |row| {
            reading.rows += 1;
            for column in 0..row.len() {
                reading.sum += match row.get(column)? {
                    ValueRef::Integer(value) => value,
                    ValueRef::Text(value) => length(value),
                    ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => 0,
                };
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(reading)
    }
}

fn value<'a>(argument: &Argument<'a>) -> ValueRef<'a> {
    match argument {
        Argument::Integer(value) => ValueRef::Integer(*value),
        Argument::Text(value) => ValueRef::Text(value),
    }
}
