//! Functions, hooks, interrupts, limits and blob handles.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::place::{Place, int, on_every_backend, one};
use twill_engine::{
    Action, Aggregate, Arguments, Error, FunctionOptions, Limit, TransactionMode, Value, ValueRef,
};

const SQLITE_MISUSE: i32 = 21;
const SQLITE_INTERRUPT: i32 = 9;
const SQLITE_READONLY: i32 = 8;

#[test]
fn scalar_functions_compute_fail_and_may_panic() {
    let connection = Place::memory().open().connect().unwrap();
    let deterministic =
        FunctionOptions { deterministic: true, innocuous: true, ..FunctionOptions::default() };
    connection
        .create_scalar_function("shout", 1, deterministic, |arguments| match arguments.get(0)? {
            ValueRef::Text(text) => Ok(Value::Text(text.to_uppercase())),
            ValueRef::Null => Ok(Value::Null),
            _ => Err(Error::new(20, "shout takes text")),
        })
        .unwrap();
    assert_eq!(one(&connection, "SELECT shout('a€')"), "A€".into());
    assert_eq!(one(&connection, "SELECT shout(NULL)"), Value::Null);
    let error = connection.query("SELECT shout(1)", ()).unwrap_err();
    assert_eq!((error.code(), error.message()), (20, "shout takes text"));
    connection.execute_batch("CREATE TABLE t(x); CREATE INDEX i ON t(shout(x))").unwrap();

    connection
        .create_scalar_function("explode", -1, FunctionOptions::default(), |arguments| {
            panic!("with {} arguments", arguments.len())
        })
        .unwrap();
    let error = connection.query("SELECT explode(1, 2)", ()).unwrap_err();
    assert!(error.message().contains("explode panicked: with 2 arguments"), "{error}");
    connection.remove_function("explode", -1).unwrap();
    assert!(connection.query("SELECT explode()", ()).unwrap_err().message().contains("no such function"));
    assert_eq!(int(&connection, "SELECT 1"), 1, "the connection still works");
}

#[test]
fn a_function_that_calls_its_own_connection_is_an_error() {
    let connection = Arc::new(Place::memory().open().connect().unwrap());
    let inside = Arc::downgrade(&connection);
    connection
        .create_scalar_function("again", 0, FunctionOptions::default(), move |_| {
            let code = inside.upgrade().unwrap().execute("SELECT 1", ()).unwrap_err().code();
            Ok(Value::from(code))
        })
        .unwrap();
    assert_eq!(int(&connection, "SELECT again()"), SQLITE_MISUSE.into());
}

struct Longest;

impl Aggregate for Longest {
    type State = String;

    fn start(&self) -> String {
        String::new()
    }

    fn step(&self, longest: &mut String, arguments: &Arguments<'_>) -> Result<(), Error> {
        if let ValueRef::Text(text) = arguments.get(0)? {
            assert_ne!(text, "panic");
            if text.len() > longest.len() {
                text.clone_into(longest);
            }
        }
        Ok(())
    }

    fn finish(&self, longest: String) -> Result<Value, Error> {
        Ok(longest.into())
    }
}

#[test]
fn aggregates_fold_groups() {
    let connection = Place::memory().open().connect().unwrap();
    connection.create_aggregate_function("longest", 1, FunctionOptions::default(), Longest).unwrap();
    let sql = "SELECT longest(b) FROM (VALUES(1,'a'),(1,'bb'),(2,'ccc')) AS v(a,b)";
    let columns = sql.replace("AS v(a,b)", "").replace("(b)", "(column2)");
    assert_eq!(one(&connection, &columns), "ccc".into());
    let grouped = format!("{columns} GROUP BY column1");
    assert_eq!(connection.query(&grouped, ()).unwrap().rows, [["bb".into()], [Value::from("ccc")]]);
    assert_eq!(one(&connection, "SELECT longest('x') WHERE 0"), "".into());
    let error = connection.query("SELECT longest('panic')", ()).unwrap_err();
    assert!(error.message().contains("longest panicked"), "{error}");
}

#[test]
fn hooks_hear_changes_commits_and_rollbacks() {
    on_every_backend(|place| {
        let connection = place.open().connect().unwrap();
        connection.execute("CREATE TABLE t(x)", ()).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hear = |what: &'static str| {
            let heard = Arc::clone(&heard);
            move || heard.lock().unwrap().push(what.to_owned())
        };
        let changes = Arc::clone(&heard);
        connection
            .set_update_hook(Some(Box::new(move |change| {
                let what = format!("{:?} {}.{} {}", change.action, change.schema, change.table, change.rowid);
                changes.lock().unwrap().push(what);
            })))
            .unwrap();
        let committed = hear("commit");
        connection
            .set_commit_hook(Some(Box::new(move || {
                committed();
                true
            })))
            .unwrap();
        connection.set_rollback_hook(Some(Box::new(hear("rollback")))).unwrap();
        connection.execute("INSERT INTO t VALUES(1)", ()).unwrap();
        connection.execute("UPDATE t SET x = 2", ()).unwrap();
        let transaction = connection.transaction(TransactionMode::Deferred).unwrap();
        transaction.execute("DELETE FROM t WHERE x = 2", ()).unwrap();
        drop(transaction);
        let expected = [
            format!("{:?} main.t 1", Action::Insert),
            "commit".to_owned(),
            format!("{:?} main.t 1", Action::Update),
            "commit".to_owned(),
            format!("{:?} main.t 1", Action::Delete),
            "rollback".to_owned(),
        ];
        assert_eq!(*heard.lock().unwrap(), expected);

        connection.set_update_hook(None).unwrap();
        connection.set_rollback_hook(None).unwrap();
        connection.set_commit_hook(Some(Box::new(|| panic!("no")))).unwrap();
        assert!(connection.execute("INSERT INTO t VALUES(3)", ()).is_err(), "a panicking hook refuses");
        connection.set_commit_hook(None).unwrap();
        assert_eq!(int(&connection, "SELECT count(*) FROM t"), 1);
    });
}

#[test]
fn an_interrupt_ends_a_query() {
    let connection = Place::memory().open().connect().unwrap();
    let handle = connection.interrupt_handle();
    let (started, is_started) = mpsc::channel();
    connection
        .create_scalar_function("started", 0, FunctionOptions::default(), move |_| {
            let _ = started.send(());
            Ok(Value::Null)
        })
        .unwrap();
    std::thread::scope(|scope| {
        let endless = scope.spawn(|| {
            connection.query(
                "WITH RECURSIVE n(x) AS (SELECT started() UNION ALL SELECT x FROM n) SELECT count(*) FROM n",
                (),
            )
        });
        is_started.recv().unwrap();
        handle.interrupt();
        assert_eq!(endless.join().unwrap().unwrap_err().code(), SQLITE_INTERRUPT);
    });
    handle.interrupt();
    assert_eq!(int(&connection, "SELECT 1"), 1, "an interrupt without a call does nothing");
    handle.interrupt();
    connection.execute("CREATE TABLE t(x)", ()).unwrap();
}

#[test]
fn an_interrupt_ends_the_wait_for_the_writer_slot() {
    on_every_backend(|place| {
        let database = place.open();
        let (holder, waiter) = (database.connect().unwrap(), database.connect().unwrap());
        holder.execute("CREATE TABLE t(x)", ()).unwrap();
        waiter.set_busy_timeout(Duration::from_secs(100)).unwrap();
        let transaction = holder.transaction(TransactionMode::Immediate).unwrap();
        let handle = waiter.interrupt_handle();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| waiter.execute("INSERT INTO t VALUES(1)", ()));
            // The call may not have begun yet; an interrupt before it has no effect, so repeat until it ends.
            while !waiting.is_finished() {
                handle.interrupt();
                std::thread::yield_now();
            }
            let error = waiting.join().unwrap().unwrap_err();
            assert_eq!(error.code(), SQLITE_INTERRUPT, "{error:?}");
        });
        drop(transaction);
        assert_eq!(waiter.execute("INSERT INTO t VALUES(1)", ()).unwrap(), 1);
    });
}

#[test]
fn limits_are_set_and_told() {
    let connection = Place::memory().open().connect().unwrap();
    let before = connection.limit(Limit::SQLITE_LIMIT_SQL_LENGTH);
    assert_eq!(connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, 50), before);
    assert_eq!(connection.limit(Limit::SQLITE_LIMIT_SQL_LENGTH), 50);
    let error = connection.query(&format!("SELECT '{}'", "x".repeat(60)), ()).unwrap_err();
    assert_eq!(error.code(), 18, "{error}");
}

#[test]
fn blobs_are_read_and_written_in_place() {
    on_every_backend(|place| {
        let database = place.open();
        let (connection, other) = (database.connect().unwrap(), database.connect().unwrap());
        connection
            .execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES(zeroblob(100000)), (x'0102'), (5)")
            .unwrap();
        let mut blob = connection.blob_open("main", "t", "x", 1, true).unwrap();
        assert_eq!(blob.len(), 100_000);
        blob.write_at(50_000, b"hello").unwrap();
        assert!(blob.write_at(99_998, b"hello").is_err(), "a blob keeps its length");
        other.set_busy_timeout(Duration::ZERO).unwrap();
        assert!(other.execute("INSERT INTO t VALUES(1)", ()).unwrap_err().is_busy(), "it holds the slot");
        blob.close().unwrap();
        assert_eq!(
            one(&other, "SELECT substr(x, 50001, 5) FROM t WHERE rowid = 1"),
            Value::Blob(b"hello".into())
        );
        other.execute("INSERT INTO t VALUES(1)", ()).unwrap();

        let mut blob = connection.blob_open("main", "t", "x", 1, false).unwrap();
        let mut bytes = [0; 5];
        blob.read_at(50_000, &mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
        assert_eq!(blob.write_at(0, b"x").unwrap_err().code(), SQLITE_READONLY);
        blob.reopen(2).unwrap();
        assert_eq!(blob.len(), 2);
        blob.read_at(0, &mut bytes[..2]).unwrap();
        assert_eq!(bytes[..2], [1, 2]);
        assert!(blob.reopen(3).is_err(), "an integer is no blob");
        drop(blob);
        assert!(connection.blob_open("main", "t", "x", 99, false).is_err());
        assert!(connection.blob_open("main", "t", "nope", 1, false).is_err());

        let transaction = connection.transaction(TransactionMode::Immediate).unwrap();
        let mut blob = transaction.blob_open("main", "t", "x", 2, true).unwrap();
        blob.write_at(0, &[9]).unwrap();
        blob.close().unwrap();
        transaction.rollback().unwrap();
        assert_eq!(one(&connection, "SELECT x FROM t WHERE rowid = 2"), Value::Blob(vec![1, 2]));
    });
}

#[test]
fn a_blob_dropped_inside_a_callback_is_closed_by_the_next_call() {
    let connection = Place::memory().open().connect().unwrap();
    connection.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES(x'00')").unwrap();
    let mut blob = Some(connection.blob_open("main", "t", "x", 1, false).unwrap());
    connection
        .query_each("SELECT 1", (), |_| {
            blob = None;
            Ok(std::ops::ControlFlow::Continue(()))
        })
        .unwrap();
    connection.execute("DROP TABLE t", ()).unwrap();
}
