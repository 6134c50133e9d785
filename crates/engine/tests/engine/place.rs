//! Databases for tests: every backend that a URL can name.

use std::sync::atomic::{AtomicU64, Ordering};

use twill_engine::{Connection, Database, Value};

/// A fresh database of one backend, removed with its value.
pub(crate) struct Place {
    pub(crate) url: String,
    _directory: Option<tempfile::TempDir>,
}

impl Place {
    pub(crate) fn memory() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { url: format!("memory://test-{name}"), _directory: None }
    }

    pub(crate) fn file() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("file://{}/app.db", directory.path().canonicalize().unwrap().display());
        Self { url, _directory: Some(directory) }
    }

    pub(crate) fn open(&self) -> Database {
        Database::open(&self.url).unwrap_or_else(|error| panic!("{}: {error:?}", self.url))
    }

    /// With parameters, which start with `?`.
    pub(crate) fn open_with(&self, parameters: &str) -> Database {
        let url = format!("{}{parameters}", self.url);
        Database::open(&url).unwrap_or_else(|error| panic!("{url}: {error:?}"))
    }
}

/// Runs a test on every backend.
pub(crate) fn on_every_backend(test: impl Fn(&Place)) {
    for place in [Place::memory(), Place::file()] {
        test(&place);
    }
}

/// The only value of the only row.
pub(crate) fn one(connection: &Connection, sql: &str) -> Value {
    let result = connection.query(sql, ()).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    assert_eq!(result.rows.len(), 1, "{sql}");
    result.rows[0][0].clone()
}

pub(crate) fn int(connection: &Connection, sql: &str) -> i64 {
    match one(connection, sql) {
        Value::Integer(value) => value,
        other => panic!("{sql}: {other:?}"),
    }
}

pub(crate) fn text(connection: &Connection, sql: &str) -> String {
    match one(connection, sql) {
        Value::Text(value) => value,
        other => panic!("{sql}: {other:?}"),
    }
}
