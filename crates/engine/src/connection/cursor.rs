//! Cursors: statements whose rows are taken as they are wanted, over several calls.
//!
//! A [`crate::Statement`] runs to its end within one call. A cursor is what a binding needs that offers stepping: it owns
//! a compiled statement, keeps its values between runs, and stands still between two calls.
//!
//! ```text
//!          execute                fetch
//! Idle ──────────────► Standing ─────────► Idle        statements that only read, and give rows
//! Idle ──────────────► Idle                            all others: they run to their end in one call
//! ```
//!
//! Invariants:
//! 1. A cursor that stands holds its snapshot; one that does not holds nothing.
//! 2. A statement that may write runs to its end, and outside a transaction until it is durable, within one call. Its
//!    sink gets the rows before that, so it must not let them out before the call succeeded.
//! 3. A row is taken exactly once: what the sink had no room for is given again by the next fetch.
//! 4. A cursor keeps its connection open. Dropped inside a callback of it, it is freed by the connection's next call.
//!
//! It refuses more than one statement a cursor; what follows is the caller's to prepare.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::prelock::{Movable, Slots, Word, word_of};
use super::{Connection, Inner, State};
use crate::ffi::Compiled;
use crate::row::CellRef;
use crate::{Error, script};

/// Steps of libSQL's machine between two looks at the interrupt flag.
const PROGRESS_STEPS: i32 = 1000;

/// One statement of a connection and where it stands.
pub struct Cursor {
    inner: Arc<Inner>,
    /// None once dropped.
    compiled: Option<Compiled>,
    sql: Box<str>,
    word: Word,
    is_readonly: bool,
    position: Position,
    /// Rows this run changed, by triggers and foreign keys too.
    total_changes: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Idle,
    /// At a row that was taken.
    Behind,
    /// At a row that was not taken.
    At,
}

/// The row a cursor is at.
#[derive(Clone, Copy)]
pub struct CursorRow<'a>(&'a Compiled);

impl<'a> CursorRow<'a> {
    /// How many columns it has.
    #[must_use]
    #[inline]
    pub const fn columns(&self) -> usize {
        self.0.columns()
    }

    /// The value in a column, counted from 0; NULL for a column that is not there.
    #[must_use]
    #[inline]
    pub fn cell(&self, column: usize) -> CellRef<'a> {
        self.0.cell(column)
    }

    /// A column's name.
    #[must_use]
    pub fn column_name(&self, column: usize) -> Option<String> {
        self.0.column_name(column)
    }
}

/// What a sink says of a row it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It took the row and wants more.
    Yes,
    /// It took the row and wants no more now.
    Last,
    /// It has no room for the row, which stays the cursor's next.
    NoRoom,
}

/// Values for parameters, counted from 1, in any order.
pub type Values<'i, 'v> = &'i mut dyn Iterator<Item = (usize, CellRef<'v>)>;

/// How a run of a cursor went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// Whether rows may remain; if so, the next fetch tells.
    pub has_more: bool,
    /// Rows that an INSERT, UPDATE, DELETE or REPLACE changed; 0 for every other statement.
    pub changes: u64,
    /// Rows that this run changed, by triggers and foreign keys too.
    pub total_changes: u64,
    /// The connection's last inserted rowid; 0 before the first.
    pub last_insert_rowid: i64,
    /// Whether a transaction is open on the connection.
    pub in_transaction: bool,
    /// How often the statement was compiled anew because the schema changed.
    pub recompiled: u32,
    /// Columns of its rows.
    pub columns: usize,
}

impl Connection {
    /// Compiles the first statement of a text, and answers how many bytes were read. `None`: there is nothing to run.
    ///
    /// From a connection's first cursor on, an interrupt ends the running call alone, and not other cursors that stand.
    ///
    /// # Errors
    /// What libSQL says of the SQL; SQLITE_MISUSE inside a callback of this connection.
    pub fn cursor(&self, sql: &str) -> Result<(Option<Cursor>, usize), Error> {
        let state = self.inner.enter()?;
        self.inner.interrupts_precisely(&state);
        let (compiled, read) = Compiled::first_of(&state.sqlite, sql)
            .map_err(|error| error.explained_by(&self.inner.session))?;
        let Some(compiled) = compiled else { return Ok((None, read)) };
        let sql = sql.get(..read).unwrap_or(sql);
        let cursor = Cursor {
            inner: Arc::clone(&self.inner),
            is_readonly: compiled.is_readonly(),
            word: word_of(sql),
            sql: sql.into(),
            compiled: Some(compiled),
            position: Position::Idle,
            total_changes: 0,
        };
        Ok((Some(cursor), read))
    }
}

impl Connection {
    /// While on, an interrupt ends every call that begins after it, too, instead of only the one that runs. Turning it on
    /// forgets interrupts from before. Whoever hands calls to another thread can so interrupt one of them before it has begun.
    ///
    /// # Errors
    /// SQLITE_MISUSE inside a callback of this connection.
    pub fn keep_interrupts(&self, keeps: bool) -> Result<(), Error> {
        let state = self.inner.enter()?;
        self.inner.interrupts_precisely(&state);
        self.inner.interrupt.keeps.store(keeps, Ordering::Release);
        Ok(())
    }

    /// Whether a transaction is open that writes, so holds the writer slot.
    #[must_use]
    pub fn is_writing(&self) -> bool {
        self.inner.peek(crate::ffi::writes_any)
    }
}

impl Cursor {
    /// Starts anew: binds values where given, runs the statement, and gives rows to `sink` until that wants no more.
    /// Parameters without a value keep what they had; NULL at first.
    ///
    /// # Errors
    /// SQLITE_RANGE for a parameter that is not there; otherwise the statement's own. The cursor is idle then.
    pub fn execute(
        &mut self,
        values: Option<Values<'_, '_>>,
        sink: impl FnMut(CursorRow<'_>) -> Taken,
    ) -> Result<Ran, Error> {
        let inner = Arc::clone(&self.inner);
        let mut state = inner.enter()?;
        let total_before = crate::ffi::total_changes(&state.sqlite);
        let outcome = match self.rewound(&state, values) {
            Ok(()) => self.run(&inner, &mut state, sink),
            Err(error) => Err(error),
        };
        let total = crate::ffi::total_changes(&state.sqlite);
        self.total_changes = total.saturating_sub(total_before);
        self.conclude(&inner, &state, outcome, true)
    }

    /// Goes on with a cursor that stands. One that is idle has no more rows.
    ///
    /// # Errors
    /// The statement's own. The cursor is idle then.
    pub fn fetch(&mut self, sink: impl FnMut(CursorRow<'_>) -> Taken) -> Result<Ran, Error> {
        let inner = Arc::clone(&self.inner);
        let mut state = inner.enter()?;
        let outcome = match self.position {
            Position::Idle => Ok(()),
            Position::Behind | Position::At => self.drain(&mut state, sink),
        };
        inner.idle_begins(&state);
        self.conclude(&inner, &state, outcome, false)
    }

    /// Gives up the rows that remain, and the snapshot with them.
    ///
    /// # Errors
    /// SQLITE_MISUSE inside a callback of the connection.
    pub fn reset(&mut self) -> Result<(), Error> {
        if self.position == Position::Idle {
            return Ok(());
        }
        let inner = Arc::clone(&self.inner);
        let _state = inner.enter()?;
        self.rest()
    }

    /// Binds values, resetting first. Parameters without one keep what they had.
    ///
    /// # Errors
    /// SQLITE_RANGE for a parameter that is not there; SQLITE_TOOBIG; SQLITE_MISUSE inside a callback of the connection.
    pub fn bind(&mut self, values: Values<'_, '_>) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        let state = inner.enter()?;
        self.rewound(&state, Some(values))
    }

    /// Makes every parameter NULL, resetting first.
    ///
    /// # Errors
    /// SQLITE_MISUSE inside a callback of the connection.
    pub fn clear_bindings(&mut self) -> Result<(), Error> {
        let inner = Arc::clone(&self.inner);
        let _state = inner.enter()?;
        self.rest()?;
        self.compiled_mut()?.clear_bindings();
        Ok(())
    }

    /// Whether rows may remain.
    #[must_use]
    pub fn is_standing(&self) -> bool {
        self.position != Position::Idle
    }

    /// The statement's text.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Whether it surely writes nothing. BEGIN and COMMIT count as such: they only say when others write.
    #[must_use]
    pub const fn is_readonly(&self) -> bool {
        self.is_readonly
    }

    /// Whether its rows are taken as they are wanted; otherwise it runs to its end in one call.
    #[must_use]
    pub fn streams(&self) -> bool {
        self.is_readonly && self.compiled.as_ref().is_some_and(|compiled| compiled.columns() > 0)
    }

    /// What is known of the compiled statement.
    ///
    /// # Errors
    /// SQLITE_MISUSE inside a callback of the connection.
    pub fn look<T>(&self, look: impl FnOnce(Facts<'_>) -> T) -> Result<T, Error> {
        let _state = self.inner.enter()?;
        let compiled = self.compiled.as_ref().ok_or_else(gone)?;
        Ok(look(Facts(compiled)))
    }

    /// Resets, and binds.
    fn rewound(&mut self, state: &State, values: Option<Values<'_, '_>>) -> Result<(), Error> {
        self.rest()?;
        let compiled = self.compiled_mut()?;
        let Some(values) = values else { return Ok(()) };
        for (parameter, value) in values {
            compiled.bind(&state.sqlite, parameter, value)?;
        }
        Ok(())
    }

    fn run(
        &mut self,
        inner: &Arc<Inner>,
        state: &mut State,
        sink: impl FnMut(CursorRow<'_>) -> Taken,
    ) -> Result<(), Error> {
        inner.counters.statement();
        let result = match state.idle.take_expired() {
            Some(expired) => expired.answer(&self.sql),
            None if self.streams() => self.drain(state, sink),
            None if self.is_readonly => self.reshape(inner, state),
            None => self.write(inner, state, sink),
        };
        inner.idle_begins(state);
        result
    }

    /// Steps until the sink wants no more.
    fn drain(
        &mut self,
        state: &mut State,
        mut sink: impl FnMut(CursorRow<'_>) -> Taken,
    ) -> Result<(), Error> {
        let mut position = self.position;
        let is_first = position == Position::Idle;
        let compiled = self.compiled_mut()?;
        let mut is_counted = !is_first;
        let outcome = loop {
            if position != Position::At {
                match compiled.step(&state.sqlite) {
                    Ok(true) => {}
                    Ok(false) => {
                        position = Position::Idle;
                        compiled.count_columns();
                        break Ok(());
                    }
                    Err(error) => {
                        position = Position::Idle;
                        break Err(error);
                    }
                }
                if !is_counted {
                    // The first step compiles it again when the schema is another.
                    compiled.count_columns();
                    is_counted = true;
                }
            }
            match sink(CursorRow(compiled)) {
                Taken::Yes => position = Position::Behind,
                Taken::Last => {
                    position = Position::Behind;
                    break Ok(());
                }
                Taken::NoRoom => {
                    position = Position::At;
                    break Ok(());
                }
            }
        };
        if position == Position::Idle {
            compiled.reset();
        }
        self.position = position;
        outcome
    }

    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT, RELEASE, ATTACH, DETACH: what writes nothing itself and gives no rows.
    fn reshape(&mut self, inner: &Arc<Inner>, state: &mut State) -> Result<(), Error> {
        let State { sqlite, write_sets, last_commit, .. } = state;
        let compiled = self.compiled.as_mut().ok_or_else(gone)?;
        let outcome = to_the_end(compiled, sqlite, |_| Taken::Yes);
        if self.word == Word::Reshape {
            write_sets.forget();
            // ATTACH expires no other statement: a kept BEGIN IMMEDIATE would not lock the new database.
            if script::first_word(&self.sql).eq_ignore_ascii_case("attach") {
                sqlite.flush();
            }
        }
        let settled = inner.session.settle();
        inner.note_commit(last_commit);
        outcome?;
        Ok(settled?)
    }

    /// As `execute::step` does it: the slots first, then to the end, then the wait for what was read of others.
    fn write(
        &mut self,
        inner: &Arc<Inner>,
        state: &mut State,
        mut sink: impl FnMut(CursorRow<'_>) -> Taken,
    ) -> Result<(), Error> {
        let State { sqlite, write_sets, last_commit, .. } = state;
        let compiled = self.compiled.as_mut().ok_or_else(gone)?;
        // The sink is the caller's code, and stays on the caller's thread: even if the statement is compiled again and
        // gives rows then, as an INSERT does after `PRAGMA count_changes`.
        let movable = if compiled.columns() == 0 { Movable::Yes } else { Movable::No };
        let tell = |row: CursorRow<'_>| if movable == Movable::Yes { Taken::Yes } else { sink(row) };
        let body = || to_the_end(compiled, sqlite, tell);
        let (slots, outcome) =
            match inner.with_slots(sqlite, write_sets, (&self.sql, self.word), movable, body) {
                // A statement that the schema has outgrown is told so, not to try again.
                Err(busy) if busy.is_busy() => {
                    sqlite.prepare(&self.sql)?;
                    return Err(busy);
                }
                other => other?,
            };
        let mut settled = Ok(());
        match slots {
            Slots::Held if outcome.is_ok() => inner.counters.write(Duration::ZERO),
            Slots::Held => settled = inner.session.settle(),
            Slots::Queued(waited) => {
                settled = inner.session.settle();
                inner.counters.write(waited);
                inner.note_commit(last_commit);
            }
        }
        outcome?;
        Ok(settled?)
    }

    fn conclude(
        &mut self,
        inner: &Inner,
        state: &State,
        outcome: Result<(), Error>,
        is_whole: bool,
    ) -> Result<Ran, Error> {
        if let Err(error) = outcome {
            let error = inner.raised.instead_of(error).explained_by(&inner.session);
            inner.counters.error(error.is_busy());
            tracing::debug!(code = error.extended_code(), %error, "statement failed");
            return Err(error);
        }
        let counts_rows = is_whole && !self.is_readonly && self.word == Word::Rows;
        let (recompiled, columns) =
            self.compiled.as_ref().map_or((0, 0), |compiled| (compiled.recompiled(), compiled.columns()));
        Ok(Ran {
            has_more: self.is_standing(),
            changes: if counts_rows { state.sqlite.changes() } else { 0 },
            total_changes: self.total_changes,
            last_insert_rowid: state.sqlite.last_insert_rowid(),
            in_transaction: !state.sqlite.is_autocommit(),
            recompiled,
            columns,
        })
    }

    /// Resets it if need be.
    fn rest(&mut self) -> Result<(), Error> {
        if self.is_standing() {
            self.compiled_mut()?.reset();
            self.position = Position::Idle;
        }
        Ok(())
    }

    fn compiled_mut(&mut self) -> Result<&mut Compiled, Error> {
        self.compiled.as_mut().ok_or_else(gone)
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        let Some(compiled) = self.compiled.take() else { return };
        match self.inner.state.enter() {
            Ok(_state) => compiled.finalize(),
            // This thread is inside a callback of the connection.
            Err(_) => self.inner.unfinalized.add(compiled),
        }
    }
}

impl std::fmt::Debug for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("sql", &self.sql).finish_non_exhaustive()
    }
}

/// Steps to the end and resets, whatever the sink says.
fn to_the_end(
    compiled: &mut Compiled,
    sqlite: &rusqlite::Connection,
    mut sink: impl FnMut(CursorRow<'_>) -> Taken,
) -> Result<(), Error> {
    let mut is_counted = false;
    let outcome = loop {
        match compiled.step(sqlite) {
            Ok(true) => {
                if !is_counted {
                    compiled.count_columns();
                    is_counted = true;
                }
                let _ = sink(CursorRow(compiled));
            }
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    compiled.reset();
    compiled.count_columns();
    outcome
}

#[cold]
fn gone() -> Error {
    Error::misuse("the cursor is gone")
}

/// What a compiled statement tells about itself.
#[derive(Clone, Copy)]
pub struct Facts<'a>(&'a Compiled);

impl Facts<'_> {
    /// How many columns its rows have.
    #[must_use]
    pub const fn columns(&self) -> usize {
        self.0.columns()
    }

    /// A column's name, counted from 0.
    #[must_use]
    pub fn column_name(&self, column: usize) -> Option<String> {
        self.0.column_name(column)
    }

    /// The type the table declares for a column; `None` for an expression or an undeclared column.
    #[must_use]
    pub fn column_declared_type(&self, column: usize) -> Option<String> {
        self.0.column_declared_type(column)
    }

    /// How many parameters it has.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.0.parameters()
    }

    /// A parameter's name with its prefix, counted from 1; `None` for a nameless one.
    #[must_use]
    pub fn parameter_name(&self, parameter: usize) -> Option<String> {
        self.0.parameter_name(parameter)
    }

    /// A parameter's number by its name with the prefix.
    #[must_use]
    pub fn parameter_index(&self, name: &str) -> Option<usize> {
        self.0.parameter_index(name)
    }

    /// 1 for EXPLAIN, 2 for EXPLAIN QUERY PLAN, else 0.
    #[must_use]
    pub fn explain_level(&self) -> i32 {
        self.0.explain_level()
    }

    /// The text with the parameters' values written in; `None` when that is longer than libSQL allows.
    #[must_use]
    pub fn expanded_sql(&self) -> Option<String> {
        self.0.expanded_sql()
    }
}

impl Inner {
    /// From now on an interrupt is seen by the running statement only, not by cursors that stand: libSQL's own flag stays
    /// up while any statement is active.
    fn interrupts_precisely(&self, state: &State) {
        if self.interrupt.is_precise.load(Ordering::Relaxed) {
            return;
        }
        let interrupt = Arc::downgrade(&self.interrupt);
        let is_requested =
            move || interrupt.upgrade().is_some_and(|interrupt| interrupt.requested.load(Ordering::Acquire));
        state.sqlite.progress_handler(PROGRESS_STEPS, Some(is_requested));
        self.interrupt.is_precise.store(true, Ordering::Release);
    }
}

/// Statements whose cursors were dropped where no call could be made.
#[derive(Default)]
pub(super) struct Unfinalized {
    any: AtomicBool,
    statements: Mutex<Vec<Compiled>>,
}

impl Unfinalized {
    fn add(&self, compiled: Compiled) {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).push(compiled);
        self.any.store(true, Ordering::Release);
    }

    /// Finalizes them all, inside a call.
    pub(super) fn finalize_all(&self) {
        if self.any.load(Ordering::Relaxed) {
            self.any.store(false, Ordering::Release);
            let statements =
                std::mem::take(&mut *self.statements.lock().unwrap_or_else(PoisonError::into_inner));
            statements.into_iter().for_each(Compiled::finalize);
        }
    }
}
