//! Which databases a statement may write, so that their writer slots are taken before it runs.
//!
//! Most statements write `main`, and that is known from their first word. Where a temporary or attached database is in
//! play, libSQL itself is asked: of INSERT, UPDATE and DELETE as it compiles them, through its authorizer, which is told
//! of every table that they and the triggers they fire write; of other statements by their program (`EXPLAIN`), which
//! names every database it opens for writing in an `OP_Transaction`.
//!
//! Invariants:
//! 1. A guess that is too small costs fairness, never safety: the shim takes a slot that was not taken before.
//! 2. A statement that writes temporary tables alone takes no slot.
//! 3. Asking changes nothing that SQL can see. Therefore no EXPLAIN of a statement that counts its changes: libSQL sets
//!    `sqlite3_changes` to zero at the end of the EXPLAIN too, before a statement that may use `changes()`, or fail and
//!    leave the count as it was.
//!
//! It asks nothing about read-only statements.

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use twill_vfs_trait::StorageError;

use super::Inner;
use crate::delegation::Ended;
use crate::{Error, ffi, script};

const MAIN_INDEX: i64 = 0;
const TEMP_INDEX: i64 = 1;

/// The schemas a statement may write.
#[derive(Clone, Debug, PartialEq, Eq)]
enum WriteSet {
    Nothing,
    Main,
    Schemas(Arc<[String]>),
}

/// What is known of a connection's schemas and statements.
#[derive(Default)]
pub(super) struct WriteSets {
    /// Whether a temporary object may exist. Creating one takes a CREATE that says TEMP; nothing else can.
    temp_in_use: bool,
    known: HashMap<Box<str>, WriteSet>,
}

/// How a statement that writes came by its writer slots.
pub(super) enum Slots {
    /// The transaction it runs in holds the only one it needs.
    Held,
    /// It queued this long.
    Queued(Duration),
}

/// Whether running a statement, apart from what it may call, touches nothing that belongs to the calling thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Movable {
    Yes,
    No,
}

/// How a statement touches what is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Word {
    /// Writes rows.
    Rows,
    /// Writes a schema.
    Schema,
    Begin,
    Explain,
    /// Writes nothing, but may change what others write: ATTACH, DETACH, ROLLBACK.
    Reshape,
    #[default]
    Other,
}

/// What a statement begins with.
pub(super) fn word_of(sql: &str) -> Word {
    let word = script::first_word(sql);
    let is = |candidates: &[&str]| candidates.iter().any(|candidate| word.eq_ignore_ascii_case(candidate));
    if is(&["insert", "update", "delete", "replace", "with"]) {
        Word::Rows
    } else if is(&["create", "drop", "alter"]) {
        Word::Schema
    } else if is(&["begin"]) {
        Word::Begin
    } else if is(&["explain"]) {
        Word::Explain
    } else if is(&["attach", "detach", "rollback"]) {
        Word::Reshape
    } else {
        Word::Other
    }
}

impl WriteSets {
    /// Which schemas a statement that is not read-only may write.
    fn of(&mut self, sqlite: &rusqlite::Connection, sql: &str, word: Word) -> Result<WriteSet, Error> {
        const KNOWN_MAX: usize = 256;
        let mut is_plain = !self.temp_in_use && !ffi::has_attached(sqlite);
        match word {
            Word::Explain => return Ok(WriteSet::Nothing),
            Word::Begin => is_plain = !ffi::has_attached(sqlite),
            Word::Schema => {
                self.known.clear();
                if script::mentions(sql, "temp") {
                    self.temp_in_use = true;
                    is_plain = false;
                }
            }
            Word::Rows | Word::Reshape | Word::Other => {}
        }
        if is_plain && !matches!(word, Word::Reshape | Word::Other) {
            return Ok(WriteSet::Main);
        }
        if let Some(known) = self.known.get(sql) {
            return Ok(known.clone());
        }
        let found = match word {
            Word::Rows => compile(sqlite, sql)?,
            Word::Schema | Word::Begin | Word::Explain | Word::Reshape | Word::Other => explain(sqlite, sql)?,
        };
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        self.known.insert(sql.into(), found.clone());
        Ok(found)
    }

    /// Forgets what is known of statements: what they write may have changed.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}

/// Learns the write set as libSQL compiles the statement, which is not run.
fn compile(sqlite: &rusqlite::Connection, sql: &str) -> Result<WriteSet, Error> {
    let written = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&written);
    // The statements compiled so far are compiled again as they are next run: that is what installing an authorizer costs.
    sqlite.authorizer(Some(move |context: AuthContext<'_>| {
        if let AuthAction::Insert { .. } | AuthAction::Update { .. } | AuthAction::Delete { .. } =
            context.action
            && let Some(schema) = context.database_name
        {
            seen.lock().unwrap_or_else(PoisonError::into_inner).insert(schema.to_owned());
        }
        Authorization::Allow
    }));
    let compiled = sqlite.prepare(sql).map(drop);
    sqlite.authorizer(None::<fn(AuthContext<'_>) -> Authorization>);
    compiled?;
    let mut written = std::mem::take(&mut *written.lock().unwrap_or_else(PoisonError::into_inner));
    written.remove("temp");
    Ok(match written.first().map(String::as_str) {
        None => WriteSet::Nothing,
        Some("main") if written.len() == 1 => WriteSet::Main,
        Some(_) => WriteSet::Schemas(written.into_iter().collect()),
    })
}

/// Reads the write set off the statement's program.
fn explain(sqlite: &rusqlite::Connection, sql: &str) -> Result<WriteSet, Error> {
    let mut statement = sqlite.prepare(&format!("EXPLAIN {}", script::skip_blank(sql)))?;
    let mut rows = statement.raw_query();
    let mut written = Vec::new();
    while let Some(row) = rows.next()? {
        let opcode = row.get_ref(1)?.as_str().unwrap_or_default();
        let (schema, flag): (i64, i64) = (row.get(2)?, row.get(3)?);
        // For VACUUM the flag is the register of INTO's name: then the database is only read.
        let writes = match opcode {
            "Transaction" => flag != 0,
            "Vacuum" => flag == 0,
            _ => false,
        };
        if writes && schema != TEMP_INDEX && !written.contains(&schema) {
            written.push(schema);
        }
    }
    Ok(match written.as_slice() {
        [] => WriteSet::Nothing,
        [MAIN_INDEX] => WriteSet::Main,
        _ => WriteSet::Schemas(
            written
                .into_iter()
                .filter_map(|schema| ffi::schema_name(sqlite, i32::try_from(schema).ok()?))
                .collect(),
        ),
    })
}

impl Inner {
    /// Runs `body` with the writer slots that a statement needs: in a crowd of writers on the database's writer thread.
    pub(super) fn with_slots<T>(
        &self,
        sqlite: &rusqlite::Connection,
        write_sets: &mut WriteSets,
        (sql, word): (&str, Word),
        movable: Movable,
        body: impl FnOnce() -> T,
    ) -> Result<(Slots, T), Error> {
        let waited = match write_sets.of(sqlite, sql, word)? {
            WriteSet::Nothing => Duration::ZERO,
            WriteSet::Main if !sqlite.is_autocommit() && ffi::writes_main(sqlite) => {
                return Ok((Slots::Held, body()));
            }
            WriteSet::Main if word == Word::Rows && self.may_delegate(sqlite, movable) => {
                match self.shared.delegation.wait_here() {
                    Some(_waiting) => self.wait_for(&["main"], self.session.busy_timeout())?,
                    None => return self.delegate(body),
                }
            }
            WriteSet::Main => self.queue(&["main"])?,
            WriteSet::Schemas(names) => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                self.queue(&names)?
            }
        };
        Ok((Slots::Queued(waited), body()))
    }

    /// Whether another thread may run a statement of this connection, and its commit be awaited after it: not if the
    /// statement could call somebody's code, and not beside a cursor that stands, which would go on from the new state.
    fn may_delegate(&self, sqlite: &rusqlite::Connection, movable: Movable) -> bool {
        movable == Movable::Yes
            && sqlite.is_autocommit()
            && !ffi::reads_any(sqlite)
            && !self.calls_out.load(Ordering::Relaxed)
            && !self.session.busy_timeout().is_zero()
    }

    /// From now on this connection's statements may call code of its user, on the thread that runs them.
    pub(super) fn will_call_out(&self) {
        self.calls_out.store(true, Ordering::Relaxed);
    }

    /// Runs `body` with the writer slot of `main` on the database's writer thread, and leaves its durability to settle.
    fn delegate<T>(&self, body: impl FnOnce() -> T) -> Result<(Slots, T), Error> {
        self.shared.check_process()?;
        let (door, timeout) = (&self.shared.door, self.session.busy_timeout());
        let began = door.now();
        let waited = || door.now().saturating_sub(began);
        let mut body = Some(body);
        let mut outcome = None;
        let errand = || {
            let run = || -> Result<_, StorageError> {
                self.session.prelock_within(&["main"], timeout.saturating_sub(waited()))?;
                let waited = waited();
                Ok(body.take().map(|body| (waited, body())))
            };
            let (done, left) =
                self.session.settling_later(|| std::panic::catch_unwind(AssertUnwindSafe(run)));
            outcome = Some(done);
            left
        };
        let ended =
            ffi::lend(errand, |errand| self.shared.delegation.run(errand, timeout, self.session.cancel()))?;
        match (ended, outcome, body) {
            (Ended::Ran, Some(Ok(done)), _) => match done? {
                Some((waited, value)) => Ok((Slots::Queued(waited), value)),
                None => Err(Error::other("a delegated statement was run twice")),
            },
            (Ended::Ran, Some(Err(panic)), _) => {
                // The next call must not find what this one left.
                let _the_panic_is_told = self.session.settle();
                std::panic::resume_unwind(panic)
            }
            (_, _, Some(body)) => {
                // It waited already: what is left of the busy timeout is what it may still wait.
                self.wait_for(&["main"], timeout.saturating_sub(waited()))?;
                Ok((Slots::Queued(waited()), body()))
            }
            (_, _, None) => {
                self.session.settle()?;
                Err(Error::other("a delegated statement was lost"))
            }
        }
    }

    /// Queues for the writer slots of these schemas, for a write that only this thread can make.
    pub(super) fn queue(&self, schemas: &[&str]) -> Result<Duration, Error> {
        let _stranger = self.shared.delegation.wait_as_stranger();
        self.wait_for(schemas, self.session.busy_timeout())
    }

    fn wait_for(&self, schemas: &[&str], timeout: Duration) -> Result<Duration, Error> {
        self.shared.check_process()?;
        let _span = tracing::trace_span!("queue", ?schemas).entered();
        let door = &self.shared.door;
        let began = door.now();
        let outcome = self.session.prelock_within(schemas, timeout);
        let waited = door.now().saturating_sub(began);
        if let Err(error) = &outcome {
            tracing::debug!(?waited, %error, "no writer slot");
        }
        outcome?;
        Ok(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_statement_and_its_triggers_write_is_found_without_running_it() {
        let sqlite = rusqlite::Connection::open_in_memory().unwrap();
        sqlite
            .execute_batch(
                "ATTACH ':memory:' AS other; CREATE TABLE main.t(x, y); CREATE TABLE other.far(x, y);
                 CREATE TABLE main.watched(x); CREATE TEMP TABLE own(x);
                 CREATE VIEW main.seen AS SELECT * FROM t;
                 CREATE TEMP TRIGGER copy AFTER INSERT ON main.watched
                     BEGIN INSERT INTO far(x) VALUES(new.x); END;
                 CREATE TEMP TRIGGER instead INSTEAD OF DELETE ON main.seen
                     BEGIN DELETE FROM far WHERE x = old.x; END;
                 INSERT INTO main.t VALUES(1, 2), (3, 4)",
            )
            .unwrap();
        let schemas =
            |names: &[&str]| WriteSet::Schemas(names.iter().map(|name| (*name).to_owned()).collect());
        for (sql, expected) in [
            ("INSERT INTO main.t SELECT * FROM other.far", WriteSet::Main),
            ("UPDATE other.far SET x = (SELECT max(x) FROM main.t)", schemas(&["other"])),
            ("INSERT INTO own SELECT x FROM main.t", WriteSet::Nothing),
            ("WITH n AS (SELECT 1 AS x) REPLACE INTO main.t(x) SELECT x FROM n RETURNING x", WriteSet::Main),
            ("INSERT INTO watched VALUES(1)", schemas(&["main", "other"])),
            ("DELETE FROM seen", schemas(&["main", "other"])),
        ] {
            assert_eq!(WriteSets::default().of(&sqlite, sql, word_of(sql)).unwrap(), expected, "{sql}");
        }
        assert_eq!(sqlite.changes(), 2, "nothing ran");
        assert!(WriteSets::default().of(&sqlite, "DELETE FROM nothing", Word::Rows).is_err());
    }
}
