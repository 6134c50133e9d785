//! A connection that keeps its last statement compiled and at hand, outside the statement cache.
//!
//! rusqlite's cache hashes the text twice and copies it for each use, which a loop over one statement would pay for every
//! row. The kept statement is found by comparing the text.
//!
//! Invariants:
//! 1. A kept statement borrows the boxed connection beside it, which never moves, and is dropped before it: by field
//!    order, and before anyone gets the connection mutably.
//! 2. A kept statement is reset and its values are cleared.
//! 3. No EXPLAIN is kept: it never runs the instruction that notices another schema, and would go on telling of the one
//!    it was compiled for.
//! 4. No statement of DDL is kept: libSQL forgets what it knows of views as it compiles one, not as it runs it.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};

use rusqlite::{CachedStatement, Connection, Statement};

/// A connection and its last statement.
pub(crate) struct Sqlite {
    last: RefCell<Option<Kept>>,
    keeps: Cell<bool>,
    connection: Box<Connection>,
}

struct Kept {
    sql: Box<str>,
    /// In truth of the lifetime of the box beside it.
    statement: CachedStatement<'static>,
}

// SAFETY: a `Connection` may be sent, and the statement that makes this type unsendable belongs to the very connection it
// is sent with. libSQL is compiled with THREADSAFE=1 and the engine's call lock lets one thread at a time in.
unsafe impl Send for Sqlite {}

impl Sqlite {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { last: RefCell::default(), keeps: Cell::new(true), connection: Box::new(connection) }
    }

    /// The compiled statement: the last one if its text is this, else from the cache.
    pub(crate) fn lease(&self, sql: &str, is_ddl: bool) -> rusqlite::Result<Lease<'_>> {
        let last = self.last.take().filter(|kept| &*kept.sql == sql);
        let (sql, statement) = match last {
            Some(Kept { sql, statement }) => (sql, statement),
            None => (sql.into(), self.connection.prepare_cached(sql)?),
        };
        Ok(Lease { sqlite: self, sql, is_ddl, statement: Some(statement) })
    }

    /// Drops every compiled statement.
    pub(crate) fn flush(&self) {
        drop(self.last.take());
        self.connection.flush_prepared_statement_cache();
    }

    /// Statements to keep compiled; 0 keeps none.
    pub(crate) fn set_capacity(&self, capacity: usize) {
        self.keeps.set(capacity > 0);
        drop(self.last.take());
        self.connection.set_prepared_statement_cache_capacity(capacity);
    }

    /// The connection alone.
    pub(crate) fn connection_mut(&mut self) -> &mut Connection {
        drop(self.last.take());
        &mut self.connection
    }
}

impl Deref for Sqlite {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// A compiled statement in use; dropping it keeps it.
pub(crate) struct Lease<'a> {
    sqlite: &'a Sqlite,
    sql: Box<str>,
    is_ddl: bool,
    statement: Option<CachedStatement<'a>>,
}

impl<'a> Deref for Lease<'a> {
    type Target = Statement<'a>;

    #[expect(clippy::expect_used, reason = "taken only by drop")]
    fn deref(&self) -> &Statement<'a> {
        self.statement.as_ref().expect("a lease holds its statement")
    }
}

impl<'a> DerefMut for Lease<'a> {
    #[expect(clippy::expect_used, reason = "taken only by drop")]
    fn deref_mut(&mut self) -> &mut Statement<'a> {
        self.statement.as_mut().expect("a lease holds its statement")
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let Some(mut statement) = self.statement.take() else { return };
        if !self.sqlite.keeps.get() {
            return;
        }
        if self.is_ddl || statement.is_explain() != 0 {
            statement.discard();
            return;
        }
        statement.clear_bindings();
        // SAFETY: the statement borrows the boxed connection of `sqlite`, where it is now kept (invariant 1).
        let statement =
            unsafe { std::mem::transmute::<CachedStatement<'_>, CachedStatement<'static>>(statement) };
        let kept = Kept { sql: std::mem::take(&mut self.sql), statement };
        drop(self.sqlite.last.replace(Some(kept)));
    }
}
