//! Writers in a queue, readers beside them, and transactions that idle.

use std::sync::Barrier;
use std::time::Duration;

use crate::place::{Place, int, on_every_backend};
use twill_engine::TransactionMode;

const SQLITE_ABORT_ROLLBACK: i32 = 516;
const THREADS: i64 = 8;
const ROWS: i64 = 50;

#[test]
fn autocommit_writers_queue_and_are_never_busy() {
    on_every_backend(|place| {
        let database = place.open();
        database
            .connect()
            .unwrap()
            .execute("CREATE TABLE t(id INTEGER PRIMARY KEY, thread, row)", ())
            .unwrap();
        let barrier = Barrier::new(usize::try_from(THREADS).unwrap());
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (database, barrier) = (&database, &barrier);
                scope.spawn(move || {
                    let connection = database.connect().unwrap();
                    barrier.wait();
                    for row in 0..ROWS {
                        connection.execute("INSERT INTO t(thread, row) VALUES(?, ?)", (thread, row)).unwrap();
                    }
                });
            }
        });
        let connection = database.connect().unwrap();
        assert_eq!(int(&connection, "SELECT count(*) FROM t"), THREADS * ROWS);
        let out_of_order =
            "SELECT count(*) FROM t a JOIN t b USING(thread) WHERE a.id < b.id AND a.row > b.row";
        assert_eq!(int(&connection, out_of_order), 0);
        assert_eq!(database.metrics().busy, 0);
    });
}

#[test]
fn immediate_transactions_queue_too() {
    on_every_backend(|place| {
        let database = place.open();
        database.connect().unwrap().execute_batch("CREATE TABLE n(x); INSERT INTO n VALUES(0)").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let connection = database.connect().unwrap();
                    for _ in 0..ROWS / 5 {
                        let transaction = connection.transaction(TransactionMode::Immediate).unwrap();
                        let x = int(&transaction, "SELECT x FROM n");
                        transaction.execute("UPDATE n SET x = ?", [x + 1]).unwrap();
                        transaction.commit().unwrap();
                    }
                });
            }
        });
        assert_eq!(int(&database.connect().unwrap(), "SELECT x FROM n"), THREADS * ROWS / 5);
        assert_eq!(database.metrics().busy, 0);
    });
}

#[test]
fn a_connection_is_used_by_many_threads_in_turn() {
    let connection = Place::memory().open().connect().unwrap();
    connection.execute("CREATE TABLE t(x)", ()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let connection = &connection;
            scope.spawn(move || {
                for _ in 0..ROWS {
                    connection.execute("INSERT INTO t VALUES(?)", [thread]).unwrap();
                    connection.query("SELECT count(*) FROM t", ()).unwrap();
                }
            });
        }
    });
    assert_eq!(int(&connection, "SELECT count(*) FROM t"), THREADS * ROWS);
}

#[test]
fn a_writer_waits_as_long_as_the_busy_timeout_says() {
    on_every_backend(|place| {
        let database = place.open_with("?busy_timeout=20");
        let (holder, waiter) = (database.connect().unwrap(), database.connect().unwrap());
        assert_eq!(waiter.busy_timeout(), Duration::from_millis(20));
        holder.execute("CREATE TABLE t(x)", ()).unwrap();
        let transaction = holder.transaction(TransactionMode::Immediate).unwrap();
        for sql in ["INSERT INTO t VALUES(1)", "BEGIN IMMEDIATE", "CREATE TABLE u(x)"] {
            let error = waiter.execute(sql, ()).unwrap_err();
            assert!(error.is_busy() && error.message().contains("database is locked"), "{sql}: {error:?}");
            assert!(waiter.is_autocommit());
        }
        assert_eq!(int(&waiter, "SELECT count(*) FROM t"), 0, "readers go on");
        transaction.commit().unwrap();
        waiter.execute("PRAGMA busy_timeout = 77", ()).unwrap();
        assert_eq!(waiter.busy_timeout(), Duration::from_millis(77));
        waiter.execute("INSERT INTO t VALUES(1)", ()).unwrap();
        assert_eq!(database.metrics().busy, 3);
    });
}

#[test]
fn writers_of_temporary_tables_do_not_queue() {
    let database = Place::memory().open_with("?busy_timeout=0");
    let (holder, other) = (database.connect().unwrap(), database.connect().unwrap());
    holder.execute("CREATE TABLE t(x)", ()).unwrap();
    let transaction = holder.transaction(TransactionMode::Immediate).unwrap();
    other.execute("CREATE TEMP TABLE own(x)", ()).unwrap();
    other.execute("INSERT INTO own VALUES(1)", ()).unwrap();
    other.execute("INSERT INTO temp.own SELECT count(*) FROM t", ()).unwrap();
    assert!(other.execute("INSERT INTO t SELECT x FROM own", ()).unwrap_err().is_busy());
    transaction.commit().unwrap();
    assert_eq!(other.execute("INSERT INTO t SELECT x FROM own", ()).unwrap(), 2);
}

#[test]
fn a_statement_that_fails_gives_the_slot_back() {
    on_every_backend(|place| {
        let database = place.open_with("?busy_timeout=0");
        let (one, two) = (database.connect().unwrap(), database.connect().unwrap());
        one.execute("CREATE TABLE t(x UNIQUE)", ()).unwrap();
        one.execute("INSERT INTO t VALUES(1)", ()).unwrap();
        for sql in [
            "INSERT INTO t VALUES(1)",
            "INSERT OR IGNORE INTO t VALUES(1)",
            "UPDATE t SET x = 2 WHERE x = 99",
            "DELETE FROM t WHERE x = abs(-9223372036854775808)",
        ] {
            let _outcome = one.execute(sql, ());
            two.execute("UPDATE t SET x = x", ()).unwrap_or_else(|error| panic!("after {sql}: {error:?}"));
        }
    });
}

#[test]
fn a_connection_that_goes_in_a_transaction_gives_the_slot_back() {
    on_every_backend(|place| {
        let database = place.open_with("?busy_timeout=0");
        let other = database.connect().unwrap();
        other.execute("CREATE TABLE t(x)", ()).unwrap();
        let connection = database.connect().unwrap();
        connection.execute_batch("BEGIN; INSERT INTO t VALUES(1)").unwrap();
        assert!(other.execute("INSERT INTO t VALUES(2)", ()).unwrap_err().is_busy());
        drop(connection);
        other.execute("INSERT INTO t VALUES(3)", ()).unwrap();
        assert_eq!(int(&other, "SELECT sum(x) FROM t"), 3);
    });
}

#[test]
fn a_transaction_that_idles_is_rolled_back_and_told() {
    on_every_backend(|place| {
        let database = place.open_with("?idle_transaction_timeout=30");
        let (idler, other) = (database.connect().unwrap(), database.connect().unwrap());
        other.set_idle_transaction_timeout(None);
        idler.execute("CREATE TABLE t(x)", ()).unwrap();
        idler.execute("BEGIN", ()).unwrap();
        idler.execute("INSERT INTO t VALUES(1)", ()).unwrap();
        // Queues behind the idler, and gets its turn when that is ended.
        other.execute("INSERT INTO t VALUES(2)", ()).unwrap();
        let error = idler.execute("INSERT INTO t VALUES(3)", ()).unwrap_err();
        assert_eq!(error.extended_code(), SQLITE_ABORT_ROLLBACK, "{error:?}");
        assert!(error.message().contains("begin it again"), "{error}");
        assert!(idler.is_autocommit());
        assert_eq!(int(&idler, "SELECT sum(x) FROM t"), 2, "told once");
        assert_eq!(database.metrics().idle_rollbacks, 1);

        let transaction = idler.transaction(TransactionMode::Immediate).unwrap();
        other.execute("INSERT INTO t VALUES(4)", ()).unwrap();
        assert_eq!(transaction.commit().unwrap_err().extended_code(), SQLITE_ABORT_ROLLBACK);
        let transaction = idler.transaction(TransactionMode::Immediate).unwrap();
        other.execute("INSERT INTO t VALUES(8)", ()).unwrap();
        drop(transaction);
        assert_eq!(int(&idler, "SELECT sum(x) FROM t"), 14, "a rollback gets what it wants");

        idler.execute("BEGIN", ()).unwrap();
        assert_eq!(int(&idler, "SELECT sum(x) FROM t"), 14);
        std::thread::sleep(Duration::from_millis(80));
        assert_eq!(int(&idler, "SELECT sum(x) FROM t"), 14, "readers may idle");
        idler.execute("ROLLBACK", ()).unwrap();
    });
}

#[test]
fn a_blob_handle_that_meets_an_expired_transaction_keeps_no_writer_slot() {
    on_every_backend(|place| {
        let database = place.open_with("?idle_transaction_timeout=30");
        let (idler, other) = (database.connect().unwrap(), database.connect().unwrap());
        other.set_busy_timeout(Duration::from_millis(200)).unwrap();
        idler.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES(zeroblob(10))").unwrap();
        for rowid in [1, 77] {
            idler.execute_batch("BEGIN IMMEDIATE").unwrap();
            while database.metrics().idle_rollbacks < u64::from(rowid == 77) + 1 {
                std::thread::yield_now();
            }
            let error = idler.blob_open("main", "t", "x", rowid, true).unwrap_err();
            assert_eq!(error.extended_code(), SQLITE_ABORT_ROLLBACK, "{error:?}");
            other.execute("INSERT INTO t VALUES(2)", ()).unwrap();
        }
    });
}

#[test]
fn a_dropped_connection_gives_its_writer_slot_back_although_a_statement_of_it_lives() {
    on_every_backend(|place| {
        let database = place.open();
        let (one, other) = (database.connect().unwrap(), database.connect().unwrap());
        one.execute("CREATE TABLE t(x)", ()).unwrap();
        let statement = one.prepare("SELECT count(*) FROM t").unwrap();
        one.execute_batch("BEGIN; INSERT INTO t VALUES(1)").unwrap();
        drop(one);
        other.set_busy_timeout(Duration::from_millis(200)).unwrap();
        other.execute("INSERT INTO t VALUES(2)", ()).unwrap();
        assert_eq!(statement.query(()).unwrap().rows[0][0], twill_engine::Value::Integer(1));
    });
}

#[test]
fn a_blob_handle_dropped_in_the_last_call_of_a_connection_does_not_keep_it_open() {
    on_every_backend(|place| {
        let database = place.open();
        let one = database.connect().unwrap();
        one.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES(zeroblob(10))").unwrap();
        let statement = one.prepare("INSERT INTO t VALUES(1)").unwrap();
        let mut blob = Some(one.blob_open("main", "t", "x", 1, false).unwrap());
        one.set_update_hook(Some(Box::new(move |_| drop(blob.take())))).unwrap();
        drop(one);
        statement.execute(()).unwrap();
        drop(statement);
        let log = database.path().map(|path| path.with_extension("db-wal"));
        database.close().unwrap();
        assert!(log.is_none_or(|log| !log.exists()), "the storage closed");
    });
}
