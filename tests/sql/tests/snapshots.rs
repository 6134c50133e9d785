//! Snapshots across concurrent commits: a reader sees one unmoving, consistent state, whatever commits, checkpoints and
//! schema changes happen beside it.
//!
//! Each test runs on every backend. The invariant that most of them watch: transfers between accounts keep the total.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::cast_possible_wrap,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    reason = "test code"
)]

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use twill_engine::{Connection, Database, TransactionMode, Value};
use twill_tests_sql::{Backend, Place};
use twill_types::seeded::Chance;

const ACCOUNTS: i64 = 500;
const EACH: i64 = 100;

/// A bank whose rows are wide enough for some hundred pages.
fn bank(place: &Place) -> Database {
    let database = place.open("bank").unwrap();
    let connection = database.connect().unwrap();
    connection
        .execute("CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER, pad BLOB)", ())
        .unwrap();
    connection.execute("CREATE INDEX by_balance ON account(balance)", ()).unwrap();
    connection
        .execute(
            "INSERT INTO account WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s LIMIT ?1) \
             SELECT n, ?2, zeroblob(700) FROM s",
            [ACCOUNTS, EACH],
        )
        .unwrap();
    database
}

fn integer(connection: &Connection, sql: &str) -> i64 {
    match connection.query(sql, ()).unwrap().rows[0][0] {
        Value::Integer(value) => value,
        ref other => panic!("{sql}: {other:?}"),
    }
}

fn transfer(connection: &Connection, random: &mut Chance) {
    let (from, to) = (random.range(1..=ACCOUNTS), random.range(1..=ACCOUNTS));
    let amount = random.range(1..=20);
    let transaction = connection.transaction(TransactionMode::Immediate).unwrap();
    connection.execute("UPDATE account SET balance = balance - ?1 WHERE id = ?2", [amount, from]).unwrap();
    connection.execute("UPDATE account SET balance = balance + ?1 WHERE id = ?2", [amount, to]).unwrap();
    transaction.commit().unwrap();
}

fn on_every_backend(test: impl Fn(&Place)) {
    for backend in Backend::ALL {
        println!("{}", backend.name);
        test(&backend.place().unwrap());
    }
}

#[test]
fn totals_hold_under_many_writers_readers_and_checkpoints() {
    on_every_backend(|place| {
        const WRITERS: u64 = 3;
        const READERS: u64 = 4;
        const TRANSFERS: u64 = 60;
        let database = bank(place);
        let (running, scans) = (AtomicU64::new(WRITERS), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (database, running) = (&database, &running);
                scope.spawn(move || {
                    let connection = database.connect().unwrap();
                    let mut random = Chance::from_seed(writer);
                    for _ in 0..TRANSFERS {
                        transfer(&connection, &mut random);
                    }
                    running.fetch_sub(1, Ordering::SeqCst);
                });
            }
            for _ in 0..READERS {
                let (database, running, scans) = (&database, &running, &scans);
                scope.spawn(move || {
                    let connection = database.connect().unwrap();
                    while running.load(Ordering::SeqCst) > 0 {
                        // Table and index are read separately, and must agree within one transaction.
                        let transaction = connection.transaction(TransactionMode::Deferred).unwrap();
                        let by_table = integer(&connection, "SELECT sum(balance) FROM account NOT INDEXED");
                        let by_index =
                            integer(&connection, "SELECT sum(balance) FROM account INDEXED BY by_balance");
                        let count = integer(&connection, "SELECT count(*) FROM account");
                        drop(transaction);
                        assert_eq!((by_table, by_index, count), (ACCOUNTS * EACH, ACCOUNTS * EACH, ACCOUNTS));
                        scans.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            scope.spawn(|| {
                while running.load(Ordering::SeqCst) > 0 {
                    database.checkpoint().unwrap();
                    std::thread::yield_now();
                }
            });
        });
        assert!(scans.load(Ordering::SeqCst) > 0);
        let connection = database.connect().unwrap();
        assert_eq!(integer(&connection, "SELECT sum(balance) FROM account"), ACCOUNTS * EACH);
        assert_ne!(integer(&connection, "SELECT max(balance) FROM account"), EACH, "nothing was transferred");
        assert_eq!(connection.query("PRAGMA integrity_check", ()).unwrap().rows, [[Value::from("ok")]]);
    });
}

#[test]
fn a_long_scan_does_not_see_commits_made_while_it_runs() {
    on_every_backend(|place| {
        let database = bank(place);
        let (reader, writer) = (database.connect().unwrap(), database.connect().unwrap());
        let (mut rows, mut total, mut random) = (0, 0, Chance::from_seed(9));
        reader
            .query_each("SELECT id, balance FROM account NOT INDEXED", (), |row| {
                let values = row.to_values()?;
                let (Value::Integer(id), Value::Integer(balance)) = (&values[0], &values[1]) else {
                    panic!()
                };
                rows += 1;
                total += balance;
                if id % 25 == 0 {
                    transfer(&writer, &mut random);
                    // A row behind the scan, one before it, and one less.
                    writer.execute("INSERT INTO account VALUES (?1, 1000, zeroblob(700))", [100_000 + id])?;
                    writer.execute("UPDATE account SET balance = balance + 1", ())?;
                    writer.execute("DELETE FROM account WHERE id = ?1", [ACCOUNTS - id / 25])?;
                    database.checkpoint()?;
                }
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        assert_eq!((rows, total), (ACCOUNTS, ACCOUNTS * EACH));
        assert_ne!(
            integer(&reader, "SELECT sum(balance) FROM account"),
            ACCOUNTS * EACH,
            "the next read is new"
        );
        assert_eq!(integer(&reader, "SELECT count(*) FROM account"), ACCOUNTS);
    });
}

#[test]
fn a_transaction_reads_the_state_of_its_first_read() {
    on_every_backend(|place| {
        let database = bank(place);
        let (reader, writer) = (database.connect().unwrap(), database.connect().unwrap());
        reader.execute("BEGIN", ()).unwrap();
        // BEGIN alone takes no snapshot.
        writer.execute("UPDATE account SET balance = 1", ()).unwrap();
        assert_eq!(integer(&reader, "SELECT sum(balance) FROM account"), ACCOUNTS);
        for round in 2..6 {
            writer.execute("UPDATE account SET balance = ?1", [round]).unwrap();
            database.checkpoint().unwrap();
            assert_eq!(integer(&reader, "SELECT sum(balance) FROM account"), ACCOUNTS);
        }
        writer.execute("DELETE FROM account", ()).unwrap();
        writer.execute("VACUUM", ()).unwrap();
        assert_eq!(integer(&reader, "SELECT sum(balance) FROM account"), ACCOUNTS);
        reader.execute("COMMIT", ()).unwrap();
        assert_eq!(integer(&reader, "SELECT count(*) FROM account"), 0);
    });
}

#[test]
fn what_is_not_committed_is_not_seen() {
    on_every_backend(|place| {
        let database = bank(place);
        let (reader, writer) = (database.connect().unwrap(), database.connect().unwrap());
        // Far more than the cache: the transaction spills before it ends.
        writer.execute("PRAGMA cache_size=5", ()).unwrap();
        for end in ["ROLLBACK", "COMMIT"] {
            writer.execute("BEGIN IMMEDIATE", ()).unwrap();
            writer.execute("UPDATE account SET balance = 7, pad = zeroblob(900)", ()).unwrap();
            assert_eq!(integer(&writer, "SELECT sum(balance) FROM account"), ACCOUNTS * 7);
            assert_eq!(integer(&reader, "SELECT sum(balance) FROM account"), ACCOUNTS * EACH);
            writer.execute(end, ()).unwrap();
        }
        assert_eq!(integer(&reader, "SELECT sum(balance) FROM account"), ACCOUNTS * 7);
    });
}

#[test]
fn a_read_goes_on_while_the_schema_changes() {
    on_every_backend(|place| {
        let database = bank(place);
        let (reader, writer) = (database.connect().unwrap(), database.connect().unwrap());
        reader.execute("BEGIN", ()).unwrap();
        assert_eq!(integer(&reader, "SELECT count(*) FROM account"), ACCOUNTS);
        writer.execute("ALTER TABLE account ADD COLUMN note TEXT DEFAULT 'new'", ()).unwrap();
        writer.execute("DROP INDEX by_balance", ()).unwrap();
        writer.execute("CREATE TABLE other(a)", ()).unwrap();
        assert_eq!(reader.query("SELECT * FROM account LIMIT 1", ()).unwrap().columns.len(), 3);
        assert_eq!(integer(&reader, "SELECT count(*) FROM account INDEXED BY by_balance"), ACCOUNTS);
        assert_eq!(reader.query("SELECT * FROM other", ()).unwrap_err().code(), 1);
        writer.execute("DROP TABLE account", ()).unwrap();
        assert_eq!(integer(&reader, "SELECT sum(balance) FROM account"), ACCOUNTS * EACH);
        reader.execute("COMMIT", ()).unwrap();
        assert_eq!(
            reader.query("SELECT * FROM account", ()).unwrap_err().message(),
            "no such table: account"
        );
        assert_eq!(reader.query("SELECT * FROM other", ()).unwrap().rows.len(), 0);
    });
}

#[test]
fn a_prepared_statement_follows_the_schema_between_snapshots() {
    on_every_backend(|place| {
        let database = bank(place);
        let (reader, writer) = (database.connect().unwrap(), database.connect().unwrap());
        let sql = "SELECT * FROM account WHERE id = 1";
        let columns = |expected: usize| {
            let result = reader.query(sql, ()).unwrap();
            assert_eq!((result.columns.len(), result.rows[0].len()), (expected, expected));
        };
        columns(3);
        writer.execute("ALTER TABLE account ADD COLUMN note", ()).unwrap();
        columns(4);
        writer.execute("ALTER TABLE account DROP COLUMN note", ()).unwrap();
        columns(3);
    });
}

#[test]
fn readers_of_different_ages_each_keep_theirs() {
    on_every_backend(|place| {
        const AGES: i64 = 12;
        let database = bank(place);
        let writer = database.connect().unwrap();
        let mut readers = Vec::new();
        for age in 0..AGES {
            writer.execute("UPDATE account SET balance = ?1", [age]).unwrap();
            let reader = database.connect().unwrap();
            reader.execute("BEGIN", ()).unwrap();
            assert_eq!(integer(&reader, "SELECT max(balance) FROM account WHERE id = 1"), age);
            readers.push(reader);
            database.checkpoint().unwrap();
        }
        for (age, reader) in readers.iter().enumerate().rev() {
            assert_eq!(integer(reader, "SELECT sum(balance) FROM account"), ACCOUNTS * age as i64);
        }
        drop(readers);
        database.checkpoint().unwrap();
        assert_eq!(integer(&writer, "SELECT sum(balance) FROM account"), ACCOUNTS * (AGES - 1));
    });
}

#[test]
fn reopening_sees_the_last_commit_and_no_open_transaction() {
    let place = Backend::FILE.place().unwrap();
    let database = bank(&place);
    let (writer, other) = (database.connect().unwrap(), database.connect().unwrap());
    writer.execute("UPDATE account SET balance = 5", ()).unwrap();
    other.execute("BEGIN IMMEDIATE", ()).unwrap();
    other.execute("UPDATE account SET balance = 6", ()).unwrap();
    drop((writer, other));
    database.close().unwrap();
    let connection = place.open("bank").unwrap().connect().unwrap();
    assert_eq!(integer(&connection, "SELECT sum(balance) FROM account"), ACCOUNTS * 5);
}

#[test]
fn increments_by_many_threads_are_all_there() {
    on_every_backend(|place| {
        const THREADS: i64 = 8;
        const EVERY: i64 = 25;
        let database = bank(place);
        let failed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let connection = database.connect().unwrap();
                    for _ in 0..EVERY {
                        // Autocommit writes queue: none of them may see BUSY.
                        let done =
                            connection.execute("UPDATE account SET balance = balance + 1 WHERE id = 1", ());
                        failed.fetch_or(done.is_err(), Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(!failed.load(Ordering::SeqCst));
        let connection = database.connect().unwrap();
        assert_eq!(integer(&connection, "SELECT balance FROM account WHERE id = 1"), EACH + THREADS * EVERY);
    });
}

#[test]
fn a_blob_handle_expires_when_its_row_changes() {
    on_every_backend(|place| {
        let database = bank(place);
        let connection = database.connect().unwrap();
        let mut blob = connection.blob_open("main", "account", "pad", 1, true).unwrap();
        let mut byte = [9];
        blob.read_at(0, &mut byte).unwrap();
        assert_eq!(byte, [0]);
        // Another row leaves it alone; its own does not.
        connection.execute("UPDATE account SET balance = 1 WHERE id = 2", ()).unwrap();
        blob.write_at(0, &[7]).unwrap();
        connection.execute("UPDATE account SET balance = 1 WHERE id = 1", ()).unwrap();
        assert_eq!(blob.read_at(0, &mut byte).unwrap_err().code(), 4, "SQLITE_ABORT");
        drop(blob);
        assert_eq!(integer(&connection, "SELECT hex(substr(pad, 1, 1)) = '07' FROM account WHERE id = 1"), 1);
    });
}

#[test]
fn a_blob_handle_reads_its_snapshot() {
    on_every_backend(|place| {
        let database = bank(place);
        let (reader, writer) = (database.connect().unwrap(), database.connect().unwrap());
        let mut blob = reader.blob_open("main", "account", "pad", 1, false).unwrap();
        writer.execute("UPDATE account SET pad = replace(hex(zeroblob(350)), '0', 'x')", ()).unwrap();
        writer.execute("DELETE FROM account WHERE id = 1", ()).unwrap();
        database.checkpoint().unwrap();
        let mut bytes = [9; 700];
        blob.read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 700]);
        drop(blob);
        assert_eq!(reader.blob_open("main", "account", "pad", 1, false).unwrap_err().code(), 1);
    });
}
