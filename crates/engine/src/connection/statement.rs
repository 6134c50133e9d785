//! Prepared statements.
//!
//! A statement keeps its text; libSQL's compiled program lives in the connection's cache, so statements can be kept
//! anywhere and used from any thread. One that the cache had to drop is compiled again at its next use.
//!
//! Invariants:
//! 1. A statement keeps its connection open.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::Inner;
use super::execute::{Collect, Discard, Each, columns_of};
use super::prelock::{Word, word_of};
use crate::params::{Binding, Params};
use crate::row::{Column, QueryResult, RowRef, ValueRef};
use crate::{Error, script};

/// One statement, prepared on a connection.
#[derive(Clone)]
pub struct Statement {
    inner: Arc<Inner>,
    sql: Arc<str>,
    columns: Arc<[Column]>,
    parameters: Arc<[Option<String>]>,
    word: Word,
    is_readonly: bool,
}

impl Statement {
    pub(super) fn prepare(inner: &Arc<Inner>, sql: &str) -> Result<Self, Error> {
        if script::is_blank(sql) {
            return Err(Error::misuse("there is no statement in the text"));
        }
        super::execute::check_one(sql)?;
        let state = inner.enter()?;
        let statement = state
            .sqlite
            .prepare_cached(sql)
            .map_err(|error| Error::from(error).explained_by(&inner.session))?;
        let parameters = (1..=statement.parameter_count())
            .map(|index| statement.parameter_name(index).map(str::to_owned))
            .collect();
        Ok(Self {
            inner: Arc::clone(inner),
            sql: sql.into(),
            word: word_of(sql),
            columns: columns_of(&statement).into(),
            parameters,
            is_readonly: statement.readonly(),
        })
    }

    /// Runs it and answers how many rows it changed. See [`crate::Connection::execute`].
    ///
    /// # Errors
    /// The statement's own; SQLITE_MISUSE when a parameter and its value do not match.
    pub fn execute(&self, params: impl Into<Params>) -> Result<u64, Error> {
        self.inner
            .run_prepared(&self.sql, self.word, Binding::Owned(&params.into()), &mut Discard)
            .map(|outcome| outcome.changes)
    }

    /// Runs it and answers all its rows. See [`crate::Connection::query`].
    ///
    /// # Errors
    /// See [`Statement::execute`].
    pub fn query(&self, params: impl Into<Params>) -> Result<QueryResult, Error> {
        let mut collect = Collect::default();
        let outcome =
            self.inner.run_prepared(&self.sql, self.word, Binding::Owned(&params.into()), &mut collect)?;
        Ok(collect.finish(outcome))
    }

    /// Runs it and gives each row to `each`. See [`crate::Connection::query_each`].
    ///
    /// # Errors
    /// See [`Statement::execute`]; and whatever `each` returns.
    pub fn query_each(
        &self,
        params: impl Into<Params>,
        each: impl FnMut(RowRef<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        self.inner
            .run_prepared(&self.sql, self.word, Binding::Owned(&params.into()), &mut Each(each))
            .map(drop)
    }

    /// As [`Statement::execute`], with values by position that are borrowed: text and blobs are copied once, by libSQL.
    ///
    /// # Errors
    /// See [`Statement::execute`].
    pub fn execute_ref(&self, params: &[ValueRef<'_>]) -> Result<u64, Error> {
        let params = Binding::Borrowed(params);
        self.inner.run_prepared(&self.sql, self.word, params, &mut Discard).map(|outcome| outcome.changes)
    }

    /// As [`Statement::query_each`], with values by position that are borrowed.
    ///
    /// # Errors
    /// See [`Statement::query_each`].
    pub fn query_each_ref(
        &self,
        params: &[ValueRef<'_>],
        each: impl FnMut(RowRef<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<(), Error> {
        let params = Binding::Borrowed(params);
        self.inner.run_prepared(&self.sql, self.word, params, &mut Each(each)).map(drop)
    }

    /// The text it was prepared from.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Its columns when it was prepared; none for a statement that gives no rows.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Its parameters in order: the name with its prefix, `None` for a nameless `?`.
    #[must_use]
    pub fn parameters(&self) -> &[Option<String>] {
        &self.parameters
    }

    /// Whether it surely writes nothing. BEGIN and COMMIT count as such: they only say when others write.
    #[must_use]
    pub fn is_readonly(&self) -> bool {
        self.is_readonly
    }
}

impl std::fmt::Debug for Statement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Statement").field("sql", &self.sql).finish_non_exhaustive()
    }
}
