//! The process that is killed: writers, a reader and checkpoints on one database, told line by line.
//!
//! ```text
//! open            the database is open
//! found <json>    what it holds, when asked with --examine
//! schema          the tables are there, durably
//! ack <worker> <seq>   after the commit returned, never before
//! fault <words>   something that must not happen; the process ends
//! closed          after "stop" on its input, or its end: everything was closed cleanly
//! ```
//!
//! Invariants:
//! 1. A line is written in one call, unbuffered, so the pipe holds every acknowledgement given before the kill.
//! 2. Each worker numbers its commits without a gap; what is rolled back is marked `doomed` and uses no number.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use twill_engine::{Connection, Database, TransactionMode, Value};
use twill_types::Door;
use twill_types::seeded::Chance;

use crate::examine::examine;
use crate::ledger::{ACCOUNTS, SCHEMA, body};

/// SQLITE_BUSY_SNAPSHOT: a deferred transaction came too late, as SQLite has it.
const BUSY_SNAPSHOT: i32 = 517;
/// From so many writers on, most commits are single statements that come at once, as from the clients of a server.
pub const CROWD: i64 = 12;
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The database.
    pub url: String,
    /// Number of the first commit of each worker.
    pub first: i64,
    /// How many writers.
    pub workers: i64,
    /// Their choices.
    pub seed: u64,
    /// Of a new database.
    pub page_size: u32,
    /// Of a new database: 0, 1 or 2.
    pub auto_vacuum: u32,
    /// Whether to tell what the database holds, first.
    pub examine: bool,
    /// Whether to shrink and checkpoint far more often than anyone would.
    pub restless: bool,
}

impl Options {
    /// The command line that means these options.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let Self { url, first, workers, seed, page_size, auto_vacuum, examine, restless } = self;
        let fields = [
            format!("url={url}"),
            format!("first={first}"),
            format!("workers={workers}"),
            format!("seed={seed}"),
            format!("page_size={page_size}"),
            format!("auto_vacuum={auto_vacuum}"),
            format!("examine={examine}"),
            format!("restless={restless}"),
        ];
        fields.into()
    }

    /// Reads what [`Options::arguments`] wrote.
    ///
    /// # Errors
    /// When it did not.
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let field = |name: &str| {
            arguments
                .iter()
                .filter_map(|argument| argument.split_once('='))
                .find_map(|(key, value)| (key == name).then_some(value))
                .with_context(|| format!("{name}=… is missing"))
        };
        Ok(Self {
            url: field("url")?.to_owned(),
            first: field("first")?.parse()?,
            workers: field("workers")?.parse()?,
            seed: field("seed")?.parse()?,
            page_size: field("page_size")?.parse()?,
            auto_vacuum: field("auto_vacuum")?.parse()?,
            examine: field("examine")?.parse()?,
            restless: field("restless")?.parse()?,
        })
    }
}

/// Tells the driver something.
fn say(line: &str) {
    let mut line = line.to_owned();
    line.push('\n');
    let mut out = std::io::stdout().lock();
    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
        // Nobody listens any more.
        std::process::exit(4);
    }
}

/// Works until told to stop, or killed.
///
/// # Errors
/// When anything fails: nothing here should.
pub fn run(options: &Options) -> Result<()> {
    let outcome = work(options);
    if let Err(error) = &outcome {
        say(&format!("fault {error:#}").replace('\n', " "));
    }
    outcome
}

fn work(options: &Options) -> Result<()> {
    let database = Database::open(&options.url).context("opening")?;
    say("open");
    let connection = database.connect().context("connecting")?;
    if options.examine {
        say(&format!("found {}", serde_json::to_string(&examine(&connection)?)?));
    }
    create(&connection, options).context("creating the schema")?;
    connection.close()?;
    say("schema");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..options.workers)
            .map(|worker| {
                let (database, stop) = (&database, &stop);
                scope.spawn(move || guarded(|| Writer::new(database, options, worker)?.write_until(stop)))
            })
            .chain(std::iter::once(scope.spawn(|| guarded(|| watch(&database, options, &stop)))))
            .collect();
        let mut line = String::new();
        // An error is an end too: the driver has gone.
        let _ = std::io::stdin().lock().read_line(&mut line);
        stop.store(true, Ordering::Release);
        threads.into_iter().for_each(|thread| drop(thread.join()));
    });
    database.close().context("closing")?;
    say("closed");
    Ok(())
}

/// Ends the process on an error in one of its threads.
fn guarded(body: impl FnOnce() -> Result<()>) {
    if let Err(error) = body() {
        say(&format!("fault {error:#}").replace('\n', " "));
        std::process::exit(3);
    }
}

fn create(connection: &Connection, options: &Options) -> Result<()> {
    let tables = connection.query("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", ())?;
    if tables.rows != [[Value::Integer(0)]] {
        return Ok(());
    }
    connection.run_script(&format!("PRAGMA page_size = {}", options.page_size))?;
    connection.run_script(&format!("PRAGMA auto_vacuum = {}", options.auto_vacuum))?;
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {SCHEMA} COMMIT"))?;
    Ok(())
}

/// A reader whose snapshots must stand still.
fn watch(database: &Database, options: &Options, stop: &AtomicBool) -> Result<()> {
    const QUESTION: &str = "SELECT (SELECT sum(balance) FROM account), (SELECT count(*) FROM txn), \
        (SELECT count(*) FROM entry), (SELECT total(length(body)) FROM entry)";
    let door = <dyn Door>::system();
    let connection = database.connect()?;
    let mut chance = Chance::from_seeds(&[options.seed, 99]);
    while !stop.load(Ordering::Acquire) {
        let transaction = connection.transaction(TransactionMode::Deferred)?;
        let first = connection.query(QUESTION, ())?.rows;
        door.sleep(Duration::from_millis(chance.range(0..=40)));
        let second = connection.query(QUESTION, ())?.rows;
        transaction.commit()?;
        ensure!(first == second, "a snapshot moved from {first:?} to {second:?}");
        let sum = first.first().and_then(|row| row.first());
        ensure!(sum == Some(&Value::Integer(ACCOUNTS * 1000)), "a reader saw the sum {sum:?}");
    }
    Ok(())
}

/// One writing thread.
struct Writer<'d> {
    database: &'d Database,
    connection: Arc<Connection>,
    worker: i64,
    next: i64,
    chance: Chance,
    restless: bool,
    crowded: bool,
}

impl<'d> Writer<'d> {
    fn new(database: &'d Database, options: &Options, worker: i64) -> Result<Self> {
        let connection = database.connect()?;
        connection.set_busy_timeout(BUSY_TIMEOUT)?;
        if worker == 1 {
            // So small that large transactions spill before they commit.
            connection.run_script("PRAGMA cache_size = 6")?;
        }
        let chance = Chance::from_seeds(&[options.seed, worker.cast_unsigned()]);
        let (restless, crowded) = (options.restless, options.workers >= CROWD);
        let connection = Arc::new(connection);
        Ok(Self { database, connection, worker, next: options.first, chance, restless, crowded })
    }

    fn write_until(mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Acquire) {
            if self.crowded && !self.chance.percent(2) {
                self.write_one_row()?;
                continue;
            }
            let kind = self.chance.below(if self.restless { 60 } else { 100 });
            match kind {
                0..=7 => self.roll_back()?,
                8..=13 => self.prune()?,
                14..=17 => self.checkpoint()?,
                18..=19 if self.worker == 0 => self.shrink()?,
                20..=29 => self.write_one_row()?,
                30..=39 => self.write_deferred()?,
                40..=49 => self.write_around_savepoint()?,
                _ => self.write()?,
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self) {
        say(&format!("ack {} {}", self.worker, self.next));
        self.next += 1;
    }

    /// Inserts a transaction's rows and moves its amount.
    fn put(&mut self, seq: i64, doomed: bool) -> Result<(), twill_engine::Error> {
        let parts: i64 = if self.chance.percent(4) { 30 } else { self.chance.below(6) };
        let (payer, payee) = (self.chance.range(1..=ACCOUNTS), self.chance.range(1..=ACCOUNTS));
        let amount: i64 = self.chance.below(100);
        self.connection.execute(
            "INSERT INTO txn(worker, seq, parts, payer, payee, amount, doomed) VALUES(?, ?, ?, ?, ?, ?, ?)",
            (self.worker, seq, parts, payer, payee, amount, doomed),
        )?;
        for part in 0..parts {
            let bytes = body(self.worker, seq, part);
            self.connection.execute(
                "INSERT INTO entry(worker, seq, part, body) VALUES(?, ?, ?, ?)",
                (self.worker, seq, part, bytes),
            )?;
        }
        let transfer = "UPDATE account SET balance = balance + ? WHERE id = ?";
        self.connection.execute(transfer, (-amount, payer))?;
        self.connection.execute(transfer, (amount, payee))?;
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let connection = Arc::clone(&self.connection);
        let transaction = connection.transaction(TransactionMode::Immediate)?;
        self.put(self.next, false)?;
        transaction.commit().context("committing")?;
        self.acknowledge();
        Ok(())
    }

    /// In autocommit: one statement is one transaction.
    fn write_one_row(&mut self) -> Result<()> {
        self.connection
            .execute("INSERT INTO txn VALUES(?, ?, 0, 1, 2, 0, 0)", (self.worker, self.next))
            .context("inserting one row")?;
        self.acknowledge();
        Ok(())
    }

    /// Reads first, and gives up if another writer came in between.
    fn write_deferred(&mut self) -> Result<()> {
        let connection = Arc::clone(&self.connection);
        let transaction = connection.transaction(TransactionMode::Deferred)?;
        connection.query("SELECT max(seq) FROM txn WHERE worker = ?", [self.worker])?;
        match self.put(self.next, false) {
            Ok(()) => {}
            Err(error) if error.extended_code() == BUSY_SNAPSHOT => return Ok(()),
            Err(error) => bail!("writing in a deferred transaction: {error}"),
        }
        transaction.commit().context("committing a deferred transaction")?;
        self.acknowledge();
        Ok(())
    }

    fn write_around_savepoint(&mut self) -> Result<()> {
        let connection = Arc::clone(&self.connection);
        let transaction = connection.transaction(TransactionMode::Immediate)?;
        connection.execute_batch("SAVEPOINT doomed")?;
        self.put(self.next + 500_000, true)?;
        connection.execute_batch("ROLLBACK TO doomed; RELEASE doomed")?;
        self.put(self.next, false)?;
        transaction.commit().context("committing around a savepoint")?;
        self.acknowledge();
        Ok(())
    }

    fn roll_back(&mut self) -> Result<()> {
        let connection = Arc::clone(&self.connection);
        let transaction = connection.transaction(TransactionMode::Immediate)?;
        self.put(self.next + 500_000, true)?;
        drop(transaction);
        Ok(())
    }

    /// Deletes the entries of earlier transactions of this worker.
    fn prune(&mut self) -> Result<()> {
        let connection = Arc::clone(&self.connection);
        let transaction = connection.transaction(TransactionMode::Immediate)?;
        let upto = self.next - 1 - self.chance.below(20);
        connection.execute(
            "INSERT INTO pruned VALUES(?1, ?2) ON CONFLICT(worker) DO UPDATE SET seq = max(seq, ?2)",
            (self.worker, upto),
        )?;
        connection.execute(
            "DELETE FROM entry WHERE worker = ?1 AND seq <= (SELECT seq FROM pruned WHERE worker = ?1)",
            [self.worker],
        )?;
        self.put(self.next, false)?;
        transaction.commit().context("committing a prune")?;
        self.acknowledge();
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<()> {
        let mode = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"];
        match self.chance.below(8) {
            at @ 0..=3 => {
                let mode = mode.get(usize::try_from(at)?).copied().unwrap_or_default();
                self.connection.run_script(&format!("PRAGMA wal_checkpoint({mode})")).context(mode)?;
            }
            _ => drop(self.database.checkpoint().context("checkpointing")?),
        }
        Ok(())
    }

    fn shrink(&mut self) -> Result<()> {
        let sql = if self.chance.percent(50) { "VACUUM" } else { "PRAGMA incremental_vacuum" };
        self.connection.run_script(sql).context(sql)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_read_back_equal() {
        let options = Options {
            url: "file:///a=b.db?synchronous=off".to_owned(),
            first: 7,
            workers: 3,
            seed: u64::MAX,
            page_size: 512,
            auto_vacuum: 2,
            examine: true,
            restless: false,
        };
        assert_eq!(Options::parse(&options.arguments()).unwrap(), options);
        assert!(Options::parse(&[]).is_err());
    }
}
