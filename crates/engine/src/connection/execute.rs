//! Running a statement from lock to result.
//!
//! Invariants:
//! 1. A statement is stepped to its end before its success is told, so the error of its commit surfaces.
//! 2. Rows of a statement that writes are handed out only when it is done and durable (they might still fail to commit).
//! 3. Whatever happens, reserved writer slots are given back.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Statement as SqlStatement;
use twill_types::Value;
use twill_vfs_trait::StateId;

use super::prelock::{Movable, Slots, Word, word_of};
use super::{Inner, State};
use crate::params::{Binding, bind};
use crate::row::{Column, QueryResult, RowRef};
use crate::{Error, script};

/// What a finished statement leaves.
pub(super) struct Outcome {
    pub(super) changes: u64,
    pub(super) last_insert_rowid: i64,
}

/// Where rows go.
pub(super) trait Sink {
    /// The statement was stepped to its end. Only now are its columns known: stepping compiles it again when the schema is
    /// another than when it was prepared.
    fn end(&mut self, statement: &SqlStatement<'_>);

    /// One row.
    fn row(&mut self, row: RowRef<'_>) -> Result<ControlFlow<()>, Error>;

    /// Whether rows leave the engine before the statement is done.
    fn lets_out(&self) -> bool;
}

/// Drops rows.
pub(super) struct Discard;

impl Sink for Discard {
    fn end(&mut self, _: &SqlStatement<'_>) {}

    fn row(&mut self, _: RowRef<'_>) -> Result<ControlFlow<()>, Error> {
        Ok(ControlFlow::Continue(()))
    }

    fn lets_out(&self) -> bool {
        false
    }
}

/// Keeps rows.
#[derive(Default)]
pub(super) struct Collect {
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
}

impl Collect {
    pub(super) fn finish(self, outcome: Outcome) -> QueryResult {
        let Outcome { changes, last_insert_rowid } = outcome;
        QueryResult { columns: self.columns, rows: self.rows, changes, last_insert_rowid }
    }
}

impl Sink for Collect {
    fn end(&mut self, statement: &SqlStatement<'_>) {
        self.columns = columns_of(statement);
    }

    fn row(&mut self, row: RowRef<'_>) -> Result<ControlFlow<()>, Error> {
        self.rows.push(row.to_values()?);
        Ok(ControlFlow::Continue(()))
    }

    fn lets_out(&self) -> bool {
        false
    }
}

/// Gives each row away.
pub(super) struct Each<F>(pub(super) F);

impl<F: FnMut(RowRef<'_>) -> Result<ControlFlow<()>, Error>> Sink for Each<F> {
    fn end(&mut self, _: &SqlStatement<'_>) {}

    fn row(&mut self, row: RowRef<'_>) -> Result<ControlFlow<()>, Error> {
        (self.0)(row)
    }

    fn lets_out(&self) -> bool {
        true
    }
}

/// The columns of a statement.
pub(super) fn columns_of(statement: &SqlStatement<'_>) -> Vec<Column> {
    statement
        .columns()
        .iter()
        .map(|column| Column {
            name: column.name().to_owned(),
            decl_type: column.decl_type().map(str::to_owned),
        })
        .collect()
}

impl Inner {
    /// Runs the only statement in `sql`. Blank text does nothing.
    pub(super) fn run_one(
        self: &Arc<Self>,
        sql: &str,
        params: Binding<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, Error> {
        let mut state = self.enter()?;
        let word = state.recent.word_of(sql)?;
        self.run(&mut state, sql, word, params, sink)
    }

    /// Runs a statement whose text was looked through when it was prepared.
    pub(super) fn run_prepared(
        self: &Arc<Self>,
        sql: &str,
        word: Word,
        params: Binding<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, Error> {
        let mut state = self.enter()?;
        self.run(&mut state, sql, word, params, sink)
    }

    /// Runs every statement of a script, giving each result to `each`.
    pub(super) fn run_script(
        self: &Arc<Self>,
        sql: &str,
        mut each: impl FnMut(QueryResult) -> Result<(), Error>,
    ) -> Result<(), Error> {
        check_text(sql)?;
        let mut state = self.enter()?;
        let mut rest = sql;
        while !script::is_blank(rest) {
            let (statement, after) = script::split_first(rest);
            rest = after;
            let mut collect = Collect::default();
            let outcome = self.run(&mut state, statement, word_of(statement), Binding::NONE, &mut collect)?;
            each(collect.finish(outcome))?;
        }
        Ok(())
    }

    /// Runs one statement inside a call.
    pub(super) fn run(
        self: &Arc<Self>,
        state: &mut State,
        sql: &str,
        word: Word,
        params: Binding<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, Error> {
        let _span = tracing::trace_span!("statement", sql).entered();
        self.counters.statement();
        let result = match state.idle.take_expired() {
            Some(expired) => expired
                .answer(sql)
                .map(|()| Outcome { changes: 0, last_insert_rowid: state.sqlite.last_insert_rowid() }),
            None => self.step(state, sql, word, params, sink),
        };
        self.idle_begins(state);
        result.map_err(|error| {
            let error = self.raised.instead_of(error).explained_by(&self.session);
            self.counters.error(error.is_busy());
            tracing::debug!(code = error.extended_code(), %error, "statement failed");
            error
        })
    }

    fn step(
        &self,
        state: &mut State,
        sql: &str,
        word: Word,
        params: Binding<'_>,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, Error> {
        let State { sqlite, write_sets, last_commit, .. } = state;
        let mut statement = sqlite.lease(sql, word == Word::Schema)?;
        bind(&mut statement, params)?;
        if !statement.readonly() {
            // The commit is the last step.
            let body = || tracing::trace_span!("write").in_scope(|| write(&mut statement, sink));
            let (slots, outcome) = match self.with_slots(sqlite, write_sets, (sql, word), Movable::Yes, body)
            {
                // A kept statement that the schema has outgrown is told so, not to try again.
                Err(busy) if busy.is_busy() => {
                    sqlite.prepare(sql)?;
                    return Err(busy);
                }
                other => other?,
            };
            drop(statement);
            let changes = if word == Word::Rows { sqlite.changes() } else { 0 };
            let mut settled = Ok(());
            match slots {
                // A transaction goes on: nothing was reserved and nothing committed.
                Slots::Held if outcome.is_ok() => self.counters.write(Duration::ZERO),
                Slots::Held => settled = self.session.settle(),
                Slots::Queued(waited) => {
                    settled = self.session.settle();
                    self.counters.write(waited);
                    self.note_commit(last_commit);
                }
            }
            let held_back = outcome?;
            settled?;
            if let Some(rows) = held_back {
                rows.replay(sink)?;
            }
            return Ok(Outcome { changes, last_insert_rowid: sqlite.last_insert_rowid() });
        }
        if statement.column_count() > 0 {
            drain(&mut statement, sink)?;
            sink.end(&statement);
        } else if !script::is_blank(sql) {
            // BEGIN, COMMIT, ROLLBACK, SAVEPOINT, RELEASE, ATTACH, DETACH.
            let outcome = drain(&mut statement, sink);
            sink.end(&statement);
            drop(statement);
            if word == Word::Reshape {
                write_sets.forget();
                // ATTACH expires no other statement: a kept BEGIN IMMEDIATE would not lock the new database.
                if script::first_word(sql).eq_ignore_ascii_case("attach") {
                    sqlite.flush();
                }
            }
            let settled = self.session.settle();
            self.note_commit(last_commit);
            outcome?;
            settled?;
        }
        Ok(Outcome { changes: 0, last_insert_rowid: sqlite.last_insert_rowid() })
    }

    /// Counts a commit that the statement just made.
    pub(super) fn note_commit(&self, last_commit: &mut Option<StateId>) {
        let newest = self.session.last_commit();
        if newest != *last_commit {
            *last_commit = newest;
            self.counters.commit();
            if let Some(state) = newest {
                tracing::trace!(lsn = %state.lsn, "committed");
            }
        }
    }
}

/// Steps to the end, or until the sink has enough.
fn drain(statement: &mut SqlStatement<'_>, sink: &mut dyn Sink) -> Result<(), Error> {
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        if sink.row(RowRef::live(row))?.is_break() {
            break;
        }
    }
    Ok(())
}

/// Steps a statement that writes to its end: the last step commits. Rows for a sink that lets them out are held back.
fn write(statement: &mut SqlStatement<'_>, sink: &mut dyn Sink) -> Result<Option<Held>, Error> {
    let mut held = sink.lets_out().then(Held::default);
    let mut failure = None;
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        let row = RowRef::live(row);
        let outcome = match &mut held {
            Some(held) => row.to_values().map(|values| held.0.push(values)),
            None => sink.row(row).map(drop),
        };
        // A row that cannot be told (its text is not UTF-8) must not stop the statement here: libSQL would commit all the
        // same as it is reset, and swallow that commit's error.
        if let Err(error) = outcome {
            failure.get_or_insert(error);
        }
    }
    drop(rows);
    sink.end(statement);
    match failure {
        None => Ok(held),
        Some(error) => Err(Error::new(
            error.extended_code(),
            format!("the statement took effect, but a row it returned cannot be told: {error}"),
        )
        .with_source(error)),
    }
}

/// Rows of a write until it is durable.
#[derive(Default)]
struct Held(Vec<Vec<Value>>);

impl Held {
    fn replay(&self, sink: &mut dyn Sink) -> Result<(), Error> {
        for values in &self.0 {
            if sink.row(RowRef::buffered(values))?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Refuses text with more than one statement.
pub(super) fn check_one(sql: &str) -> Result<(), Error> {
    check_text(sql)?;
    match script::has_second_statement(sql) {
        false => Ok(()),
        true => {
            Err(Error::misuse("several statements where one is expected; use execute_batch or run_script"))
        }
    }
}

/// SQLite would stop reading at a NUL byte without a word.
fn check_text(sql: &str) -> Result<(), Error> {
    match sql.as_bytes().contains(&0) {
        false => Ok(()),
        true => Err(Error::misuse("the SQL contains a NUL byte")),
    }
}
