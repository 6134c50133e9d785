//! Who is told "database is locked", while who has the file.

use std::time::Duration;

use twill_engine::Database;

use crate::common::{FILL, Held, Place, SUMMARY, has_stock, opens, opens_program, ours, stock, summary};

const BUSY: i32 = 5;

#[track_caller]
fn stock_is_locked_out(place: &Place, what: &str) {
    for sql in
        ["SELECT count(*) FROM t", "INSERT INTO t VALUES(NULL, 'stock', NULL)", "PRAGMA wal_checkpoint"]
    {
        match stock(&place.path, sql) {
            Err(complaint) => assert!(complaint.contains("database is locked"), "{what}: {sql}: {complaint}"),
            // A checkpoint tells by a row that it was busy.
            Ok(answer) => {
                assert!(sql.starts_with("PRAGMA") && answer.starts_with("1|"), "{what}: {sql}: {answer}")
            }
        }
    }
}

#[test]
fn while_ours_has_the_file_stock_and_a_second_process_are_locked_out() {
    let place = Place::new();
    let database = Database::open(&place.url()).unwrap();
    let connection = database.connect().unwrap();
    ours(&connection, FILL);
    let answer = opens(&[], opens_program(), &place.url(), "SELECT count(*) FROM t");
    assert!(answer.starts_with("error 5 ") && answer.contains("database is locked"), "{answer}");
    if has_stock() {
        stock_is_locked_out(&place, "idle");
        connection.execute_batch("BEGIN IMMEDIATE; DELETE FROM t").unwrap();
        stock_is_locked_out(&place, "in a transaction");
        connection.execute_batch("ROLLBACK").unwrap();
        database.checkpoint().unwrap();
        stock_is_locked_out(&place, "after a checkpoint");
        assert_eq!(ours(&connection, SUMMARY), summary());
    }
    drop(connection);
    database.close().unwrap();
    let answer = opens(&[], opens_program(), &place.url(), "SELECT count(*) FROM t");
    assert_eq!(answer, "ok Integer(300)");
    if has_stock() {
        assert_eq!(place.stock(SUMMARY), summary());
    }
}

#[test]
fn another_sqlite_in_the_same_process_is_locked_out_and_does_not_drop_our_lock() {
    let place = Place::new();
    let database = Database::open(&place.url()).unwrap();
    let connection = database.connect().unwrap();
    ours(&connection, FILL);
    for _ in 0..3 {
        let other = rusqlite::Connection::open(&place.path).unwrap();
        other.busy_timeout(Duration::ZERO).unwrap();
        for sql in ["SELECT count(*) FROM t", "INSERT INTO t VALUES(NULL, 'other', NULL)"] {
            let error = other.execute_batch(sql).unwrap_err();
            assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy), "{sql}: {error}");
            assert!(error.to_string().contains("database is locked"), "{error}");
        }
        // Closing a file drops every POSIX lock that the process has on it; ours are of another kind.
        drop(other);
        let answer = opens(&[], opens_program(), &place.url(), "SELECT count(*) FROM t");
        assert!(answer.starts_with("error 5 "), "{answer}");
        if has_stock() {
            stock_is_locked_out(&place, "after another library closed the file");
        }
        connection.execute("INSERT INTO t VALUES(NULL, 'ours', NULL)", ()).unwrap();
    }
    drop(connection);
    database.close().unwrap();
    let other = rusqlite::Connection::open(&place.path).unwrap();
    let count: i64 = other.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 303);
}

#[track_caller]
fn ours_is_locked_out(place: &Place, what: &str) {
    for mode in ["rwc", "rw", "ro"] {
        let error = Database::open(&format!("{}?mode={mode}", place.url())).unwrap_err();
        assert_eq!(error.code(), BUSY, "{what}, mode={mode}: {error}");
        assert!(error.message().contains("database is locked"), "{what}, mode={mode}: {error}");
    }
}

#[test]
fn while_stock_has_the_file_ours_is_locked_out_and_works_afterwards() {
    if !has_stock() {
        return;
    }
    let in_wal_mode: &[(&str, &str)] = &[
        ("a WAL-mode connection that has read", "SELECT count(*) FROM t;"),
        ("a WAL-mode read transaction", "BEGIN; SELECT count(*) FROM t;"),
        ("a WAL-mode write transaction", "BEGIN IMMEDIATE; DELETE FROM t;"),
    ];
    let in_rollback_mode: &[(&str, &str)] = &[
        ("a read transaction", "BEGIN; SELECT count(*) FROM t;"),
        ("a write transaction", "BEGIN IMMEDIATE; DELETE FROM t;"),
        ("an exclusive transaction", "BEGIN EXCLUSIVE; DELETE FROM t;"),
    ];
    for (mode, cases) in [("wal", in_wal_mode), ("delete", in_rollback_mode)] {
        for (what, sql) in cases {
            let place = Place::new();
            place.stock(&format!("PRAGMA journal_mode={mode}; {FILL}"));
            let mut held = Held::on(&place.path);
            held.run(sql);
            ours_is_locked_out(&place, what);
            held.close();
            assert_eq!(place.ours(SUMMARY), summary(), "{what}");
            assert_eq!(place.stock("PRAGMA integrity_check"), "ok", "{what}");
        }
    }
}

#[test]
fn two_connections_of_one_process_share_what_others_are_locked_out_of() {
    let place = Place::new();
    let (one, other) = (Database::open(&place.url()).unwrap(), Database::open(&place.url()).unwrap());
    one.connect().unwrap().execute_batch(FILL).unwrap();
    assert_eq!(ours(&other.connect().unwrap(), "SELECT count(*) FROM t"), "300");
    one.close().unwrap();
    let answer = opens(&[], opens_program(), &place.url(), "SELECT 1");
    assert!(answer.starts_with("error 5 "), "one handle is still open: {answer}");
    other.close().unwrap();
    assert_eq!(opens(&[], opens_program(), &place.url(), "SELECT 1"), "ok Integer(1)");
}
