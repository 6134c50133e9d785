//! SQL functions written in Rust.
//!
//! Invariants:
//! 1. A panic in a function becomes the statement's error; it never unwinds into libSQL.
//! 2. A function that calls its own connection gets SQLITE_MISUSE there.
//!
//! It refuses window functions.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Value as SqlValue, ValueRef as SqlRef};
use twill_types::Value;

use super::Connection;
use crate::Error;
use crate::row::{CellRef, ValueRef};

/// What libSQL may assume of a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FunctionOptions {
    /// The same arguments always give the same result, so it may serve in indexes and be called once for many rows.
    pub deterministic: bool,
    /// It may not be called from views, triggers, CHECK constraints and the like.
    pub direct_only: bool,
    /// It has no side effects and tells nothing but its arguments.
    pub innocuous: bool,
}

impl FunctionOptions {
    fn flags(self) -> FunctionFlags {
        let mut flags = FunctionFlags::SQLITE_UTF8;
        flags.set(FunctionFlags::SQLITE_DETERMINISTIC, self.deterministic);
        flags.set(FunctionFlags::SQLITE_DIRECTONLY, self.direct_only);
        flags.set(FunctionFlags::SQLITE_INNOCUOUS, self.innocuous);
        flags
    }
}

/// The arguments of one call.
pub struct Arguments<'a>(&'a Context<'a>);

impl Arguments<'_> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An argument as libSQL holds it, counted from 0; NULL for one that is not there.
    #[must_use]
    pub fn cell(&self, index: usize) -> CellRef<'_> {
        if index >= self.len() {
            return CellRef::Null;
        }
        match self.0.get_raw(index) {
            SqlRef::Null => CellRef::Null,
            SqlRef::Integer(value) => CellRef::Integer(value),
            SqlRef::Real(value) => CellRef::Real(value),
            SqlRef::Text(value) => CellRef::Text(value),
            SqlRef::Blob(value) => CellRef::Blob(value),
        }
    }

    /// An argument, counted from 0.
    ///
    /// # Errors
    /// SQLITE_RANGE when there is no such argument; SQLITE_MISMATCH when its text is not UTF-8.
    pub fn get(&self, index: usize) -> Result<ValueRef<'_>, Error> {
        if index >= self.len() {
            return Err(Error::new(
                rusqlite::ffi::SQLITE_RANGE,
                format!("the function was called without argument {}", index + 1),
            ));
        }
        Ok(match self.0.get_raw(index) {
            SqlRef::Null => ValueRef::Null,
            SqlRef::Integer(value) => ValueRef::Integer(value),
            SqlRef::Real(value) => ValueRef::Real(value),
            SqlRef::Blob(value) => ValueRef::Blob(value),
            SqlRef::Text(bytes) => ValueRef::Text(std::str::from_utf8(bytes).map_err(|error| {
                let message = format!("argument {} is text that is not UTF-8", index + 1);
                Error::new(rusqlite::ffi::SQLITE_MISMATCH, message).with_source(error)
            })?),
        })
    }
}

/// A function over the rows of a group.
pub trait Aggregate: Send + 'static {
    /// What is known of a group so far.
    type State: 'static;

    /// A group with no rows yet.
    fn start(&self) -> Self::State;

    /// One more row.
    ///
    /// # Errors
    /// Whatever shall end the statement.
    fn step(&self, state: &mut Self::State, arguments: &Arguments<'_>) -> Result<(), Error>;

    /// The group's value.
    ///
    /// # Errors
    /// Whatever shall end the statement.
    fn finish(&self, state: Self::State) -> Result<Value, Error>;
}

/// An aggregate whose rows may leave again: a function over a window.
pub trait Window: Aggregate {
    /// A row that was stepped leaves.
    ///
    /// # Errors
    /// Whatever shall end the statement.
    fn inverse(&self, state: &mut Self::State, arguments: &Arguments<'_>) -> Result<(), Error>;

    /// The value of the window as it is; None where no row came. More rows may come and leave.
    ///
    /// # Errors
    /// Whatever shall end the statement.
    fn value(&self, state: Option<&Self::State>) -> Result<Value, Error>;
}

impl Connection {
    /// Adds a function, or replaces one of the same name and number of arguments; -1 takes any number.
    ///
    /// # Errors
    /// SQLITE_BUSY while a statement runs; SQLITE_MISUSE for a bad name or number.
    pub fn create_scalar_function(
        &self,
        name: &str,
        arguments: i32,
        options: FunctionOptions,
        function: impl Fn(&Arguments<'_>) -> Result<Value, Error> + Send + 'static,
    ) -> Result<(), Error> {
        let function = AssertUnwindSafe(function);
        let called = Called { name: name.to_owned(), raised: self.inner.raised.clone() };
        let state = self.inner.enter()?;
        self.inner.will_call_out();
        state.sqlite.create_scalar_function(name, arguments, options.flags(), move |context| {
            let function = &function;
            called.guarded(|| (function.0)(&Arguments(context))).map(to_sql)
        })?;
        Ok(())
    }

    /// Adds an aggregate function, or replaces one.
    ///
    /// # Errors
    /// See [`Connection::create_scalar_function`].
    pub fn create_aggregate_function(
        &self,
        name: &str,
        arguments: i32,
        options: FunctionOptions,
        aggregate: impl Aggregate,
    ) -> Result<(), Error> {
        let called = Called { name: name.to_owned(), raised: self.inner.raised.clone() };
        let adapter = Adapter { aggregate, called };
        let state = self.inner.enter()?;
        self.inner.will_call_out();
        state.sqlite.create_aggregate_function(name, arguments, options.flags(), adapter)?;
        Ok(())
    }

    /// Adds a window function, or replaces one. It is an aggregate function too.
    ///
    /// # Errors
    /// See [`Connection::create_scalar_function`].
    pub fn create_window_function(
        &self,
        name: &str,
        arguments: i32,
        options: FunctionOptions,
        window: impl Window,
    ) -> Result<(), Error> {
        let called = Called { name: name.to_owned(), raised: self.inner.raised.clone() };
        let adapter = Adapter { aggregate: window, called };
        let state = self.inner.enter()?;
        self.inner.will_call_out();
        state.sqlite.create_window_function(name, arguments, options.flags(), adapter)?;
        Ok(())
    }

    /// Removes a function that was added with this number of arguments.
    ///
    /// # Errors
    /// See [`Connection::create_scalar_function`].
    pub fn remove_function(&self, name: &str, arguments: i32) -> Result<(), Error> {
        let state = self.inner.enter()?;
        Ok(state.sqlite.remove_function(name, arguments)?)
    }
}

struct Adapter<A> {
    aggregate: A,
    called: Called,
}

impl<A: Aggregate> rusqlite::functions::Aggregate<AssertUnwindSafe<A::State>, SqlValue> for Adapter<A> {
    fn init(&self, _: &mut Context<'_>) -> rusqlite::Result<AssertUnwindSafe<A::State>> {
        self.called.guarded(|| Ok(AssertUnwindSafe(self.aggregate.start())))
    }

    fn step(
        &self,
        context: &mut Context<'_>,
        state: &mut AssertUnwindSafe<A::State>,
    ) -> rusqlite::Result<()> {
        self.called.guarded(|| self.aggregate.step(&mut state.0, &Arguments(context)))
    }

    fn finalize(
        &self,
        _: &mut Context<'_>,
        state: Option<AssertUnwindSafe<A::State>>,
    ) -> rusqlite::Result<SqlValue> {
        // No row came: the group is empty.
        self.called
            .guarded(|| self.aggregate.finish(state.map_or_else(|| self.aggregate.start(), |state| state.0)))
            .map(to_sql)
    }
}

impl<W: Window> rusqlite::functions::WindowAggregate<AssertUnwindSafe<W::State>, SqlValue> for Adapter<W> {
    fn value(&self, state: Option<&AssertUnwindSafe<W::State>>) -> rusqlite::Result<SqlValue> {
        self.called.guarded(|| self.aggregate.value(state.map(|state| &state.0))).map(to_sql)
    }

    fn inverse(
        &self,
        context: &mut Context<'_>,
        state: &mut AssertUnwindSafe<W::State>,
    ) -> rusqlite::Result<()> {
        self.called.guarded(|| self.aggregate.inverse(&mut state.0, &Arguments(context)))
    }
}

/// A function's name, and where its errors go.
struct Called {
    name: String,
    raised: Raised,
}

impl Called {
    fn guarded<T>(&self, function: impl FnOnce() -> Result<T, Error>) -> rusqlite::Result<T> {
        let outcome = catch_unwind(AssertUnwindSafe(function)).unwrap_or_else(|panic| {
            let what = panic_text(panic.as_ref());
            Err(Error::other(format!("the function {} panicked: {what}", self.name)))
        });
        outcome.map_err(|error| {
            let told = error.to_rusqlite();
            self.raised.put(error);
            told
        })
    }
}

/// The error a function of this connection raised last: libSQL keeps its message, but not its code.
#[derive(Clone, Default)]
pub(super) struct Raised(Arc<Mutex<Option<Error>>>);

impl Raised {
    fn put(&self, error: Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// The error that was raised, if `error` is what libSQL made of it.
    #[cold]
    pub(super) fn instead_of(&self, error: Error) -> Error {
        let raised = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        raised.filter(|raised| raised.message() == error.message()).unwrap_or(error)
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

fn to_sql(value: Value) -> SqlValue {
    match value {
        Value::Null => SqlValue::Null,
        Value::Integer(value) => SqlValue::Integer(value),
        Value::Real(value) => SqlValue::Real(value),
        Value::Text(value) => SqlValue::Text(value),
        Value::Blob(value) => SqlValue::Blob(value),
    }
}
