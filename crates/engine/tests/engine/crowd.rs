//! Many connections that write at once: what they are told, and on whose thread their callbacks run.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::place::{Place, int, on_every_backend};
use twill_engine::{Connection, Database, FunctionOptions, Taken, TransactionMode, Value};

const SQLITE_INTERRUPT: i32 = 9;
const SQLITE_CONSTRAINT_UNIQUE: i32 = 2067;
const WRITERS: usize = 16;

/// Runs `write` on many connections at once, all of which queue behind a transaction first.
fn crowd(database: &Database, write: impl Fn(usize, &Connection) + Sync) {
    let holder = database.connect().unwrap();
    let transaction = holder.transaction(TransactionMode::Immediate).unwrap();
    let barrier = Barrier::new(WRITERS + 1);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (barrier, write) = (&barrier, &write);
            scope.spawn(move || {
                let connection = database.connect().unwrap();
                barrier.wait();
                write(writer, &connection);
            });
        }
        barrier.wait();
        // Time for them to queue.
        std::thread::sleep(Duration::from_millis(100));
        transaction.commit().unwrap();
    });
}

fn row(writer: usize, index: usize) -> i64 {
    i64::try_from(writer * 1000 + index).unwrap()
}

#[test]
fn each_writer_of_a_crowd_is_told_its_own_outcome() {
    on_every_backend(|place| {
        let database = place.open();
        let connection = database.connect().unwrap();
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, n INTEGER UNIQUE)", ()).unwrap();
        crowd(&database, |writer, connection| {
            for index in 0..20 {
                let n = row(writer, index);
                assert_eq!(connection.execute("INSERT INTO t(n) VALUES(?)", [n]).unwrap(), 1);
                let id = connection.last_insert_rowid();
                let found = connection.query("SELECT n FROM t WHERE id = ?", [id]).unwrap();
                assert_eq!(found.rows, [[Value::Integer(n)]], "its own rowid, and a durable row");
                let error = connection.execute("INSERT INTO t(n) VALUES(?)", [n]).unwrap_err();
                assert_eq!(error.extended_code(), SQLITE_CONSTRAINT_UNIQUE);
                let returned =
                    connection.query("UPDATE t SET n = n WHERE n = ? RETURNING id, n", [n]).unwrap();
                assert_eq!(returned.rows, [[Value::Integer(id), Value::Integer(n)]]);
                assert_eq!(returned.changes, 1);
                assert_eq!(connection.execute("DELETE FROM t WHERE n = -1", ()).unwrap(), 0);
            }
            assert!(connection.is_autocommit());
            assert!(connection.last_commit().is_some());
        });
        assert_eq!(int(&connection, "SELECT count(*) FROM t"), i64::try_from(WRITERS * 20).unwrap());
        assert_eq!(connection.query("PRAGMA integrity_check", ()).unwrap().rows, [["ok".into()]]);
        let metrics = database.metrics();
        assert!(metrics.delegated > 0, "so many writers make a crowd");
        assert_eq!(metrics.busy, 0);
    });
}

#[test]
fn callbacks_run_on_the_thread_that_calls() {
    on_every_backend(|place| {
        let database = place.open();
        database.connect().unwrap().execute("CREATE TABLE t(x)", ()).unwrap();
        let (functions, hooks) = (AtomicUsize::new(0), std::sync::Arc::new(AtomicUsize::new(0)));
        crowd(&database, |writer, connection| {
            let home = std::thread::current().id();
            match writer % 3 {
                0 => connection
                    .create_scalar_function("here", 0, FunctionOptions::default(), move |_| {
                        Ok(Value::Integer(i64::from(std::thread::current().id() == home)))
                    })
                    .unwrap(),
                1 => {
                    let hooks = std::sync::Arc::clone(&hooks);
                    let hook = move |_: twill_engine::Change<'_>| {
                        hooks.fetch_add(usize::from(std::thread::current().id() == home), Ordering::SeqCst);
                    };
                    connection.set_update_hook(Some(Box::new(hook))).unwrap();
                }
                _ => {}
            }
            for _ in 0..10 {
                let sql =
                    if writer % 3 == 0 { "INSERT INTO t SELECT here()" } else { "INSERT INTO t VALUES(2)" };
                connection.execute(sql, ()).unwrap();
                functions.fetch_add(usize::from(writer % 3 == 0), Ordering::SeqCst);
            }
        });
        let connection = database.connect().unwrap();
        let calls = i64::try_from(functions.into_inner()).unwrap();
        assert_eq!(int(&connection, "SELECT count(*) FROM t WHERE x = 1"), calls);
        assert_eq!(int(&connection, "SELECT count(*) FROM t WHERE x = 0"), 0);
        assert_eq!(hooks.load(Ordering::SeqCst), 10 * (0..WRITERS).filter(|writer| writer % 3 == 1).count());
    });
}

#[test]
fn transactions_and_a_crowd_take_turns() {
    on_every_backend(|place| {
        let database = place.open();
        database.connect().unwrap().execute_batch("CREATE TABLE n(x); INSERT INTO n VALUES(0)").unwrap();
        crowd(&database, |writer, connection| {
            for _ in 0..20 {
                if writer % 4 == 0 {
                    let transaction = connection.transaction(TransactionMode::Immediate).unwrap();
                    let x = int(&transaction, "SELECT x FROM n");
                    transaction.execute("UPDATE n SET x = ?", [x + 1]).unwrap();
                    transaction.commit().unwrap();
                } else {
                    connection.execute("UPDATE n SET x = x + 1", ()).unwrap();
                }
            }
        });
        assert_eq!(
            int(&database.connect().unwrap(), "SELECT x FROM n"),
            i64::try_from(WRITERS * 20).unwrap()
        );
        assert_eq!(database.metrics().busy, 0);
    });
}

#[test]
fn a_crowd_that_waits_too_long_or_is_interrupted_is_told_so_and_writes_nothing() {
    on_every_backend(|place| {
        let database = place.open();
        let holder = database.connect().unwrap();
        holder.execute("CREATE TABLE t(x)", ()).unwrap();
        let transaction = holder.transaction(TransactionMode::Immediate).unwrap();
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let database = &database;
                scope.spawn(move || {
                    let connection = database.connect().unwrap();
                    let (timeout, interrupts) = (Duration::from_millis(100), writer % 2 == 0);
                    connection.set_busy_timeout(if interrupts { timeout * 600 } else { timeout }).unwrap();
                    let handle = connection.interrupt_handle();
                    let done = std::sync::atomic::AtomicBool::new(false);
                    std::thread::scope(|scope| {
                        scope.spawn(|| {
                            std::thread::sleep(Duration::from_millis(50));
                            while interrupts && !done.load(Ordering::SeqCst) {
                                handle.interrupt();
                                std::thread::sleep(Duration::from_millis(10));
                            }
                        });
                        let error = connection.execute("INSERT INTO t VALUES(1)", ()).unwrap_err();
                        done.store(true, Ordering::SeqCst);
                        if interrupts {
                            assert_eq!(error.code(), SQLITE_INTERRUPT, "{error:?}");
                        } else {
                            assert!(error.is_busy(), "{error:?}");
                        }
                    });
                    assert!(connection.is_autocommit());
                });
            }
        });
        transaction.commit().unwrap();
        assert_eq!(int(&holder, "SELECT count(*) FROM t"), 0);
        holder.execute("INSERT INTO t VALUES(2)", ()).unwrap();
    });
}

#[test]
fn a_database_closes_and_opens_again_right_after_a_crowd() {
    let place = Place::file();
    for round in 0..5 {
        let database = place.open();
        let connection = database.connect().unwrap();
        connection.execute("CREATE TABLE IF NOT EXISTS t(x)", ()).unwrap();
        crowd(&database, |writer, connection| {
            connection.execute("INSERT INTO t VALUES(?)", [row(writer, round)]).unwrap();
        });
        drop(connection);
        database.close().unwrap();
    }
    let rows = i64::try_from(WRITERS * 5).unwrap();
    assert_eq!(int(&place.open().connect().unwrap(), "SELECT count(*) FROM t"), rows);
}

#[test]
fn a_writer_whose_cursor_stands_runs_its_statement_itself() {
    let place = Place::memory();
    let database = place.open();
    let holder = database.connect().unwrap();
    holder.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES(1), (2)").unwrap();
    let transaction = holder.transaction(TransactionMode::Immediate).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let database = &database;
            scope.spawn(|| database.connect().unwrap().execute("INSERT INTO t VALUES(3)", ()).unwrap());
        }
        // Time for them to queue: the next one finds a crowd.
        std::thread::sleep(Duration::from_millis(100));
        for (stands, delegated) in [(true, 0), (false, 1)] {
            let connection = database.connect().unwrap();
            connection.set_busy_timeout(Duration::from_millis(50)).unwrap();
            let (cursor, _) = connection.cursor("SELECT x FROM t").unwrap();
            let mut cursor = cursor.unwrap();
            cursor.execute(None, |_| if stands { Taken::Last } else { Taken::Yes }).unwrap();
            assert_eq!(cursor.is_standing(), stands);
            assert!(connection.execute("INSERT INTO t VALUES(4)", ()).unwrap_err().is_busy());
            assert_eq!(database.metrics().delegated, delegated);
        }
        transaction.commit().unwrap();
    });
    assert_eq!(int(&holder, "SELECT group_concat(x, '') = '123333' FROM t"), 1);
}

#[test]
fn a_sink_is_called_and_dropped_on_the_thread_that_calls() {
    struct Home(std::thread::ThreadId);
    impl Drop for Home {
        fn drop(&mut self) {
            assert_eq!(self.0, std::thread::current().id());
        }
    }
    let place = Place::memory();
    let database = place.open();
    database.connect().unwrap().execute("CREATE TABLE t(x)", ()).unwrap();
    crowd(&database, |_, connection| {
        let (cursor, _) = connection.cursor("INSERT INTO t VALUES(1)").unwrap();
        let mut cursor = cursor.unwrap();
        // From here on the statement gives a row, once it is compiled again.
        connection.execute("PRAGMA count_changes = 1", ()).unwrap();
        for _ in 0..10 {
            let home = Home(std::thread::current().id());
            let sink = move |_: twill_engine::CursorRow<'_>| {
                assert_eq!(home.0, std::thread::current().id());
                Taken::Yes
            };
            assert_eq!(cursor.execute(None, sink).unwrap().changes, 1);
        }
    });
    assert!(database.metrics().delegated > 0);
}

#[test]
fn a_writer_that_is_sent_away_waits_no_longer_than_its_timeout_in_all() {
    let place = Place::memory();
    let database = place.open();
    let holder = database.connect().unwrap();
    holder.execute("CREATE TABLE t(x)", ()).unwrap();
    let transaction = holder.transaction(TransactionMode::Immediate).unwrap();
    let milliseconds = Duration::from_millis;
    let (first, second, forever) = (milliseconds(1000), milliseconds(1200), milliseconds(600_000));
    let waits = |timeout: Duration, sql: &'static str| {
        let connection = database.connect().unwrap();
        connection.set_busy_timeout(timeout).unwrap();
        let began = std::time::Instant::now();
        let outcome = connection.execute(sql, ());
        (outcome, began.elapsed())
    };
    std::thread::scope(|scope| {
        let waits = &waits;
        let start = |timeout, sql| {
            let started = scope.spawn(move || waits(timeout, sql));
            std::thread::sleep(milliseconds(20));
            started
        };
        let here: Vec<_> = (0..4).map(|_| start(forever, "INSERT INTO t VALUES(1)")).collect();
        // The runner takes the first one; the second is behind it.
        let delegated = [start(first, "INSERT INTO t VALUES(2)"), start(second, "INSERT INTO t VALUES(3)")];
        let stranger = start(forever, "BEGIN IMMEDIATE");
        for (waiting, timeout) in delegated.into_iter().zip([first, second]) {
            let (outcome, waited) = waiting.join().unwrap();
            assert!(outcome.unwrap_err().is_busy());
            assert!(waited >= timeout && waited < second + milliseconds(700), "{waited:?} of {timeout:?}");
        }
        assert_eq!(database.metrics().delegated, 1, "the second was sent away");
        transaction.commit().unwrap();
        for waiting in here.into_iter().chain([stranger]) {
            waiting.join().unwrap().0.unwrap();
        }
    });
    assert_eq!(int(&holder, "SELECT count(*) FROM t WHERE x > 1"), 0);
}

#[test]
fn every_kind_of_statement_that_writes_rows_does_in_a_crowd_what_it_does_alone() {
    let schema = "
        CREATE TABLE p(id INTEGER PRIMARY KEY);
        CREATE TABLE c(p REFERENCES p DEFERRABLE INITIALLY DEFERRED);
        CREATE TABLE k(id INTEGER PRIMARY KEY, n INTEGER CHECK(n < 3)) STRICT;
        CREATE TRIGGER refuse BEFORE INSERT ON k WHEN new.n < 0 BEGIN SELECT RAISE(ROLLBACK, 'refused'); END;
        CREATE VIRTUAL TABLE f USING fts5(x);
        CREATE VIRTUAL TABLE r USING rtree(id, low, high);
        CREATE TABLE big(writer, x)";
    on_every_backend(|place| {
        let database = place.open();
        let check = database.connect().unwrap();
        check.execute_batch(schema).unwrap();
        crowd(&database, |writer, connection| {
            connection.execute_batch("PRAGMA cache_size = 10; PRAGMA foreign_keys = 1").unwrap();
            for index in 0..4 {
                let id = row(writer, index * 10);
                let run = |sql: &str| connection.execute(&sql.replace('$', &id.to_string()), ());
                let refused = |sql: &str, code: i32| {
                    let error = run(sql).unwrap_err();
                    assert_eq!(error.extended_code(), code, "{sql}: {error:?}");
                    assert!(connection.is_autocommit());
                };
                refused("INSERT INTO c VALUES($)", 787);
                refused("INSERT INTO k VALUES($, -1)", 1811);
                refused("INSERT INTO k VALUES($, 'text')", 3091);
                let before = connection.last_commit();
                refused("INSERT INTO k VALUES($ + 1, 1), ($ + 2, 3)", 275);
                assert_eq!(connection.last_commit(), before, "nothing was committed");
                refused("INSERT OR FAIL INTO k VALUES($ + 3, 1), ($ + 4, 3)", 275);
                assert_ne!(connection.last_commit(), before, "the first row was");
                let upsert = "INSERT INTO k VALUES($, 1) ON CONFLICT DO UPDATE SET n = n + 1";
                assert_eq!((run(upsert).unwrap(), run(upsert).unwrap()), (1, 1));
                refused(upsert, 275);
                assert_eq!(run("INSERT INTO f(rowid, x) VALUES($, 'word$')").unwrap(), 1);
                assert_eq!(run("UPDATE f SET x = x || ' common' WHERE rowid = $").unwrap(), 1);
                assert_eq!(run("INSERT INTO r VALUES($, $, $ + 1)").unwrap(), 1);
                let spills = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 100)
                              INSERT INTO big SELECT $, randomblob(1000) FROM n";
                assert_eq!(run(spills).unwrap(), 100);
                assert_eq!(run("DELETE FROM big WHERE writer = $ AND rowid % 2 < 3").unwrap(), 100);
            }
            connection.execute("PRAGMA query_only = 1", ()).unwrap();
            assert_eq!(connection.execute("INSERT INTO p VALUES(1)", ()).unwrap_err().code(), 8);
        });
        assert!(database.metrics().delegated > 0);
        let each = i64::try_from(WRITERS * 4).unwrap();
        for (sql, expected) in [
            ("SELECT count(*) FROM c", 0),
            ("SELECT count(*) FROM k WHERE id % 10 = 0 AND n = 2", each),
            ("SELECT count(*) FROM k WHERE id % 10 = 3 AND n = 1", each),
            ("SELECT count(*) FROM k", 2 * each),
            ("SELECT count(*) FROM f('common')", each),
            ("SELECT count(*) FROM r WHERE low >= 0", each),
            ("SELECT count(*) FROM big", 0),
        ] {
            assert_eq!(int(&check, sql), expected, "{sql}");
        }
        check.execute("INSERT INTO f(f, rank) VALUES('integrity-check', 1)", ()).unwrap();
        assert_eq!(check.query("PRAGMA integrity_check", ()).unwrap().rows, [["ok".into()]]);
    });
}

#[test]
fn a_deep_expression_runs_in_a_crowd_as_on_a_main_thread() {
    let place = Place::memory();
    let database = place.open();
    database.connect().unwrap().execute("CREATE TABLE t(x)", ()).unwrap();
    let pattern = format!("{}b", "%a".repeat(20_000));
    let rows = AtomicUsize::new(0);
    let holder = database.connect().unwrap();
    let transaction = holder.transaction(TransactionMode::Immediate).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            let writer = || {
                let connection = database.connect().unwrap();
                // LIKE calls itself for each wildcard.
                let sql = "INSERT INTO t SELECT ? LIKE ?";
                let text = "a".repeat(20_000);
                let inserted = connection.execute(sql, (text, pattern.as_str())).unwrap();
                rows.fetch_add(usize::try_from(inserted).unwrap(), Ordering::SeqCst);
            };
            std::thread::Builder::new().stack_size(8 << 20).spawn_scoped(scope, writer).unwrap();
        }
        std::thread::sleep(Duration::from_millis(300));
        transaction.commit().unwrap();
    });
    assert!(database.metrics().delegated > 0, "so many writers make a crowd");
    assert_eq!(rows.into_inner(), WRITERS);
}
