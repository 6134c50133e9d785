//! The scripts of `slt/`, on every backend and on plain libSQL.
//!
//! Plain libSQL runs them too, so that what a script expects is true of SQLite and not of us alone. `TWILL_BLESS=1` writes
//! plain libSQL's answers into the scripts; read the difference before committing it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, missing_docs, reason = "test code")]

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use sqllogictest::{
    DB, DBOutput, DefaultColumnType, Runner, default_column_validator, default_normalizer, default_validator,
};
use twill_engine::Value;
use twill_tests_sql::{Backend, Client, EngineClient, Outcome, PlainClient};

/// A script's connection.
struct Scripted(Box<dyn Client + Send>);

/// An error as scripts see it.
#[derive(Debug)]
struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl DB for Scripted {
    type Error = Failed;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failed> {
        let answer = self.0.run(sql, &[]);
        match answer.outcome {
            Outcome::Failed { message, .. } => Err(Failed(message)),
            Outcome::Rows(names, _) if names.is_empty() => Ok(DBOutput::StatementComplete(answer.changes)),
            Outcome::Rows(names, rows) => Ok(DBOutput::Rows {
                types: vec![DefaultColumnType::Any; names.len()],
                rows: rows.iter().map(|row| row.iter().map(shown).collect()).collect(),
            }),
        }
    }
}

/// Storage classes stay apart: text has no quotes, blobs are x'..', reals have a point.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(value) => value.to_string(),
        Value::Real(value) => format!("{value:?}"),
        Value::Text(value) if value.is_empty() => "(empty)".to_owned(),
        Value::Text(value) => value.clone(),
        Value::Blob(value) => {
            format!("x'{}'", value.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
    }
}

fn scripts() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    let mut paths: Vec<PathBuf> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "slt"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 20, "scripts are missing: {paths:?}");
    paths
}

fn run_on(connect: impl Fn() -> Scripted) {
    let mut failures = Vec::new();
    for path in scripts() {
        let connection = std::cell::RefCell::new(Some(connect()));
        let mut runner = Runner::new(|| {
            let connection = connection.borrow_mut().take();
            async move { Ok(connection.expect("a script has one connection")) }
        });
        if let Err(error) = runner.run_file(&path) {
            failures.push(format!("{error}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn plain_libsql_agrees_with_the_scripts() {
    let directory = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    let connect = || {
        count.set(count.get() + 1);
        let path = directory.path().join(format!("{}.db", count.get()));
        Scripted(Box::new(PlainClient::open(Some(&path)).unwrap()))
    };
    if std::env::var_os("TWILL_BLESS").is_some() {
        for path in scripts() {
            let connection = std::cell::RefCell::new(Some(connect()));
            let mut runner = Runner::new(|| {
                let connection = connection.borrow_mut().take();
                async move { Ok(connection.expect("a script has one connection")) }
            });
            let update = runner.update_test_file(
                path,
                " ",
                default_validator,
                default_normalizer,
                default_column_validator,
            );
            futures_block(update).unwrap();
        }
    }
    run_on(connect);
}

/// Drives a future that never waits: the connections block.
fn futures_block<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::yield_now();
    }
}

#[test]
fn every_backend_agrees_with_the_scripts() {
    for backend in Backend::ALL {
        println!("{}", backend.name);
        let place = backend.place().unwrap();
        let count = std::cell::Cell::new(0);
        run_on(|| {
            count.set(count.get() + 1);
            let database = place.open(&format!("script{}", count.get())).unwrap();
            Scripted(Box::new(EngineClient::connect(&database).unwrap()))
        });
    }
}

#[test]
fn a_script_that_expects_something_else_fails() {
    for wrong in [
        "query I\nSELECT 1\n----\n2\n",
        "statement ok\nSELECT * FROM missing\n",
        "statement error\nSELECT 1\n",
    ] {
        let mut runner = Runner::new(|| async { Ok(Scripted(Box::new(PlainClient::open(None).unwrap()))) });
        assert!(runner.run_script(wrong).is_err(), "{wrong}");
    }
}
