//! The everyday API: statements, parameters, values, results, transactions, errors.
use std::ops::ControlFlow;

use crate::place::{Place, int, on_every_backend, one, text};
use twill_engine::{Column, Database, Mode, Params, TransactionMode, Value, ValueRef};

const SQLITE_MISUSE: i32 = 21;
const SQLITE_CONSTRAINT_UNIQUE: i32 = 2067;
const SQLITE_BUSY_SNAPSHOT: i32 = 517;

#[test]
fn every_value_survives_exactly() {
    on_every_backend(|place| {
        let connection = place.open().connect().unwrap();
        connection.execute("CREATE TABLE v(x)", ()).unwrap();
        let values = [
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Integer(i64::MAX),
            Value::Integer((1 << 53) + 1),
            Value::Real(-0.0),
            Value::Real(f64::INFINITY),
            Value::Real(f64::NEG_INFINITY),
            Value::Real(f64::MIN_POSITIVE),
            Value::Text(String::new()),
            Value::Text("a\0b€".to_owned()),
            Value::Blob(Vec::new()),
            Value::Blob(vec![0, 255, 0]),
        ];
        for value in &values {
            connection.execute("INSERT INTO v VALUES(?1)", [value.clone()]).unwrap();
        }
        let rows = connection.query("SELECT x FROM v ORDER BY rowid", ()).unwrap().rows;
        assert_eq!(rows.concat(), values);
        assert!(matches!(rows[4][0], Value::Real(zero) if zero.is_sign_negative()));
        connection.execute("INSERT INTO v VALUES(?1)", [f64::NAN]).unwrap();
        assert_eq!(one(&connection, "SELECT x FROM v WHERE rowid = 13"), Value::Null);
    });
}

#[test]
fn results_carry_columns_rows_and_counts() {
    on_every_backend(|place| {
        let connection = place.open().connect().unwrap();
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT)", ()).unwrap();
        assert_eq!(connection.execute("INSERT INTO t(name) VALUES('a'), ('b')", ()).unwrap(), 2);
        let result = connection.query("SELECT id, name, 1+1 AS two FROM t", ()).unwrap();
        let column =
            |name: &str, decl: Option<&str>| Column { name: name.into(), decl_type: decl.map(Into::into) };
        let expected = [column("id", Some("INTEGER")), column("name", Some("TEXT")), column("two", None)];
        assert_eq!(result.columns, expected);
        assert_eq!(result.rows[1], [2.into(), Value::from("b"), 2.into()]);
        assert_eq!((result.changes, result.last_insert_rowid), (0, 2));
        assert_eq!(connection.execute("CREATE TABLE u(x)", ()).unwrap(), 0);
        assert_eq!(connection.execute("WITH n AS (SELECT 1) UPDATE t SET name = name", ()).unwrap(), 2);
        assert_eq!(connection.changes(), 2);
        assert_eq!(connection.total_changes(), 4);
        assert_eq!(connection.execute("EXPLAIN DELETE FROM t", ()).unwrap(), 0);
        assert_eq!(int(&connection, "SELECT count(*) FROM t"), 2);
    });
}

#[test]
fn parameters_bind_by_position_and_by_name() {
    let connection = Place::memory().open().connect().unwrap();
    let first =
        |sql: &str, params: Params| connection.query(sql, params).map(|result| result.rows[0].clone());
    assert_eq!(first("SELECT ?1, ?2, ?1", (1, "x").into()).unwrap(), [1.into(), "x".into(), 1.into()]);
    assert_eq!(first("SELECT ?, ?", Params::from([Some(1_i64), None])).unwrap(), [1.into(), Value::Null]);
    let named = Params::named([(":a", 1), ("b", 2), ("$c", 3)]);
    assert_eq!(first("SELECT :a, @b, $c", named).unwrap(), [1.into(), 2.into(), 3.into()]);
    let borrowed: Params = (&[("a", Value::from(7))][..]).into();
    assert_eq!(first("SELECT @a", borrowed).unwrap(), [7.into()]);
}

#[test]
fn wrong_parameters_are_named() {
    let connection = Place::memory().open().connect().unwrap();
    let cases: [(&str, Params, &str); 7] = [
        ("SELECT ?, :b", [1].into(), "parameter 2 (:b) has no value"),
        ("SELECT ?", ().into(), "parameter 1 has no value"),
        ("SELECT 1", [1].into(), "value 1 has no parameter"),
        ("SELECT :a", Params::named([("a", 1), ("z", 2)]), "no parameter z"),
        ("SELECT :a, :b", Params::named([("a", 1)]), "parameter 2 (:b) has no value"),
        ("SELECT :a", Params::named([("a", 1), (":a", 2)]), "parameter :a is given twice"),
        ("INSERT INTO sqlite_master VALUES(1)", [1].into(), "may not be modified"),
    ];
    for (sql, params, part) in cases {
        let error = connection.query(sql, params).expect_err(sql);
        assert!(error.message().contains(part), "{sql}: {error}");
    }
}

#[test]
fn text_that_is_not_utf8_is_an_error_that_names_the_column() {
    let connection = Place::memory().open().connect().unwrap();
    let sql = "SELECT 1 AS a, CAST(x'ff' AS TEXT) AS bad";
    let error = connection.query(sql, ()).unwrap_err();
    assert!(error.message().contains("\"bad\"") && error.message().contains("CAST(bad AS BLOB)"), "{error}");
    let blob = connection.query("SELECT CAST(bad AS BLOB) FROM (SELECT CAST(x'ff' AS TEXT) AS bad)", ());
    assert_eq!(blob.unwrap().rows, [[Value::Blob(vec![0xff])]]);
}

#[test]
fn one_statement_means_one() {
    let connection = Place::memory().open().connect().unwrap();
    let error = connection.execute("CREATE TABLE a(x); CREATE TABLE b(x)", ()).unwrap_err();
    assert_eq!(error.code(), SQLITE_MISUSE);
    assert_eq!(int(&connection, "SELECT count(*) FROM sqlite_master;  -- none"), 0);
    assert!(connection.query("SELECT 1\0", ()).unwrap_err().message().contains("NUL"));
    for blank in ["", " ; ", "-- nothing"] {
        let result = connection.query(blank, ()).unwrap();
        assert!(result.columns.is_empty() && result.rows.is_empty());
        assert!(connection.prepare(blank).is_err());
        assert_eq!(connection.run_script(blank).unwrap().rows.len(), 0);
    }
}

#[test]
fn a_script_answers_with_its_last_result() {
    on_every_backend(|place| {
        let connection = place.open().connect().unwrap();
        let script = "CREATE TABLE t(x);
            CREATE TRIGGER more AFTER INSERT ON t WHEN new.x < 3 BEGIN INSERT INTO t VALUES(new.x + 1); END;
            INSERT INTO t VALUES(1), (10); -- one; two
            SELECT count(*) AS n FROM t";
        let result = connection.run_script(script).unwrap();
        assert_eq!(result.columns[0].name, "n");
        assert_eq!(result.rows, [[Value::Integer(3)]]);
        let result = connection.run_script("SELECT 1; DELETE FROM t;").unwrap();
        assert!(result.columns.is_empty() && result.rows.is_empty());
        assert_eq!(result.changes, 3);
        let error =
            connection.run_script("INSERT INTO t VALUES(5); SELEC; INSERT INTO t VALUES(6)").unwrap_err();
        assert!(error.message().contains("SELEC"), "{error}");
        assert_eq!(int(&connection, "SELECT sum(x) FROM t"), 5);
    });
}

#[test]
fn streaming_stops_where_it_is_told() {
    let connection = Place::memory().open().connect().unwrap();
    let numbers = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n";
    let mut seen = Vec::new();
    connection
        .query_each(numbers, (), |row| {
            let ValueRef::Integer(x) = row.get(0)? else { panic!("not a number") };
            seen.push(x);
            assert!(row.get(1).is_err());
            Ok(if x < 5 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
        .unwrap();
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    let error =
        connection.query_each(numbers, (), |_| Err(twill_engine::Error::other("enough"))).unwrap_err();
    assert_eq!(error.message(), "enough");
    // A callback that calls its own connection gets an error, not a deadlock.
    connection
        .query_each("SELECT 1", (), |_| {
            assert_eq!(connection.execute("SELECT 1", ()).unwrap_err().code(), SQLITE_MISUSE);
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
}

#[test]
fn returning_gives_its_rows_after_the_commit() {
    on_every_backend(|place| {
        let database = place.open();
        let (connection, other) = (database.connect().unwrap(), database.connect().unwrap());
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, x UNIQUE)", ()).unwrap();
        let mut ids = Vec::new();
        connection
            .query_each("INSERT INTO t(x) VALUES('a'), ('b') RETURNING id", (), |row| {
                // Durable already: another connection sees both rows while the first is handed out.
                assert_eq!(int(&other, "SELECT count(*) FROM t"), 2);
                ids.push(row.get(0)?.to_value());
                Ok(ControlFlow::Continue(()))
            })
            .unwrap();
        assert_eq!(ids, [1.into(), 2.into()]);
        let result = connection.query("DELETE FROM t RETURNING x", ()).unwrap();
        assert_eq!((result.rows.len(), result.changes), (2, 2));
        let bad = "INSERT INTO t(x) VALUES(CAST(x'ff' AS TEXT)) RETURNING x";
        assert!(connection.query(bad, ()).unwrap_err().message().starts_with("the statement took effect"));
        assert_eq!(int(&connection, "SELECT count(*) FROM t"), 1);
        connection.set_commit_hook(Some(Box::new(|| false))).unwrap();
        let mut handed_out = 0;
        let outcome = connection.query_each("INSERT INTO t(x) VALUES('c') RETURNING id", (), |_| {
            handed_out += 1;
            Ok(ControlFlow::Continue(()))
        });
        assert!(outcome.is_err());
        assert_eq!(handed_out, 0);
    });
}

#[test]
fn statements_are_prepared_once_and_used_often() {
    on_every_backend(|place| {
        let connection = place.open().connect().unwrap();
        connection.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, x TEXT)", ()).unwrap();
        let insert = connection.prepare("INSERT INTO t VALUES(:id, ?)").unwrap();
        assert_eq!(insert.parameters(), [Some(":id".to_owned()), None]);
        assert!(!insert.is_readonly());
        for id in 0..10 {
            assert_eq!(insert.execute((id, "x")).unwrap(), 1);
        }
        let select = connection.prepare("SELECT x FROM t WHERE id = ?").unwrap();
        assert!(select.is_readonly());
        assert_eq!(select.columns()[0].name, "x");
        connection.set_statement_cache_capacity(0).unwrap();
        assert_eq!(select.query([3]).unwrap().rows, [[Value::from("x")]]);
        connection.execute("ALTER TABLE t ADD COLUMN y DEFAULT 5", ()).unwrap();
        let all = connection.prepare("SELECT * FROM t WHERE id = 1").unwrap();
        assert_eq!(all.query(()).unwrap().rows[0].len(), 3);
        drop(connection);
        assert_eq!(select.query([3]).unwrap().rows.len(), 1, "a statement keeps its connection open");
    });
}

#[test]
fn errors_carry_codes_messages_and_offsets() {
    let connection = Place::memory().open().connect().unwrap();
    let error = connection.execute("SELECT nope FROM sqlite_master", ()).unwrap_err();
    assert_eq!((error.code(), error.offset()), (1, Some(7)));
    assert!(error.message().contains("no such column: nope"), "{error}");
    connection.execute("CREATE TABLE t(x UNIQUE)", ()).unwrap();
    connection.execute("INSERT INTO t VALUES(1)", ()).unwrap();
    let error = connection.execute("INSERT INTO t VALUES(1)", ()).unwrap_err();
    assert_eq!((error.code(), error.extended_code()), (19, SQLITE_CONSTRAINT_UNIQUE));
    assert!(error.storage().is_none());
}

#[test]
fn transactions_commit_roll_back_and_nest() {
    on_every_backend(|place| {
        let database = place.open();
        let connection = database.connect().unwrap();
        connection.execute("CREATE TABLE t(x)", ()).unwrap();
        for mode in [TransactionMode::Deferred, TransactionMode::Immediate, TransactionMode::Exclusive] {
            connection.execute("DELETE FROM t", ()).unwrap();
            let transaction = connection.transaction(mode).unwrap();
            assert!(!connection.is_autocommit());
            transaction.execute("INSERT INTO t VALUES(1)", ()).unwrap();
            assert!(connection.transaction(mode).is_err(), "no transaction inside another");
            let outer = transaction.savepoint().unwrap();
            outer.execute("INSERT INTO t VALUES(2)", ()).unwrap();
            let inner = outer.savepoint().unwrap();
            inner.execute("INSERT INTO t VALUES(4)", ()).unwrap();
            inner.rollback().unwrap();
            let inner = outer.savepoint().unwrap();
            inner.execute("INSERT INTO t VALUES(8)", ()).unwrap();
            inner.release().unwrap();
            outer.release().unwrap();
            let dropped = transaction.savepoint().unwrap();
            dropped.execute("INSERT INTO t VALUES(16)", ()).unwrap();
            drop(dropped);
            transaction.commit().unwrap();
            assert!(connection.is_autocommit());
            assert_eq!(int(&connection, "SELECT sum(x) FROM t"), 11);

            let transaction = connection.transaction(mode).unwrap();
            transaction.execute("DELETE FROM t", ()).unwrap();
            drop(transaction);
            assert!(connection.is_autocommit());
            connection.transaction(mode).unwrap().rollback().unwrap();
            assert_eq!(int(&connection, "SELECT sum(x) FROM t"), 11);
        }
    });
}

#[test]
fn a_stale_snapshot_that_writes_is_told_so() {
    on_every_backend(|place| {
        let database = place.open();
        let (connection, other) = (database.connect().unwrap(), database.connect().unwrap());
        connection.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES(1)").unwrap();
        let transaction = connection.transaction(TransactionMode::Deferred).unwrap();
        assert_eq!(int(&transaction, "SELECT x FROM t"), 1);
        other.execute("UPDATE t SET x = 2", ()).unwrap();
        assert_eq!(int(&transaction, "SELECT x FROM t"), 1, "the snapshot does not move");
        let error = transaction.execute("UPDATE t SET x = 3", ()).unwrap_err();
        assert_eq!(error.extended_code(), SQLITE_BUSY_SNAPSHOT, "{error:?}");
        assert_eq!(int(&transaction, "SELECT x FROM t"), 1, "and may still be read");
        transaction.rollback().unwrap();
        let transaction = connection.transaction(TransactionMode::Immediate).unwrap();
        transaction.execute("UPDATE t SET x = x + 1", ()).unwrap();
        transaction.commit().unwrap();
        assert_eq!(int(&other, "SELECT x FROM t"), 3);
    });
}

#[test]
fn last_commit_names_the_state_a_commit_made() {
    on_every_backend(|place| {
        let database = place.open();
        let connection = database.connect().unwrap();
        assert_eq!(connection.last_commit(), None);
        connection.execute("CREATE TABLE t(x)", ()).unwrap();
        let first = connection.last_commit().unwrap();
        connection.query("SELECT * FROM t", ()).unwrap();
        assert_eq!(connection.last_commit(), Some(first));
        connection.execute("INSERT INTO t VALUES(1)", ()).unwrap();
        let second = connection.last_commit().unwrap();
        assert!(second.lsn > first.lsn);
        assert_eq!(database.state().unwrap(), second);
    });
}

#[test]
fn metrics_count() {
    on_every_backend(|place| {
        let database = place.open();
        let connection = database.connect().unwrap();
        connection.execute("CREATE TABLE t(x)", ()).unwrap();
        connection.execute("INSERT INTO t VALUES(1)", ()).unwrap();
        connection.query("SELECT * FROM t", ()).unwrap();
        connection.query("SELECT * FROM u", ()).unwrap_err();
        let metrics = database.metrics();
        assert_eq!((metrics.connections, metrics.statements, metrics.errors), (1, 4, 1));
        assert_eq!((metrics.writes, metrics.commits, metrics.busy), (2, 2, 0));
        assert_eq!(metrics.storage.is_some(), place.url.starts_with("file:"));
        drop(connection);
        let after = database.metrics();
        assert_eq!((after.connections, after.statements), (0, 4));
    });
}

#[test]
fn a_file_keeps_its_rows_and_tells_its_path() {
    let place = Place::file();
    let database = place.open();
    let path = database.path().unwrap().to_owned();
    assert!(database.url().starts_with("file:///") && path.ends_with("app.db"));
    database.connect().unwrap().execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES(7)").unwrap();
    database.checkpoint().unwrap();
    database.close().unwrap();
    let database = Database::open(path.to_str().unwrap()).unwrap();
    let connection = database.connect().unwrap();
    assert_eq!(int(&connection, "SELECT x FROM t"), 7);
    assert_eq!(text(&connection, "PRAGMA journal_mode"), "wal");
    assert_eq!(text(&connection, "SELECT file FROM pragma_database_list"), path.to_str().unwrap());
    assert!(Place::memory().open().path().is_none());
}

#[test]
fn borrowed_values_bind_like_owned_ones() {
    let db = Database::open(":memory:").unwrap();
    let connection = db.connect().unwrap();
    connection.execute_batch("CREATE TABLE t(a, b, c, d, e)").unwrap();
    let insert = connection.prepare("INSERT INTO t VALUES (?, ?, ?, ?, ?)").unwrap();
    let row = [
        ValueRef::Integer(i64::MIN),
        ValueRef::Text("a\0b"),
        ValueRef::Blob(&[0, 255]),
        ValueRef::Real(-0.5),
        ValueRef::Null,
    ];
    assert_eq!(insert.execute_ref(&row).unwrap(), 1);
    assert!(insert.execute_ref(&row[..4]).unwrap_err().message().contains("parameter 5"));
    let mut seen = 0;
    let select = connection.prepare("SELECT * FROM t WHERE a = ?").unwrap();
    select
        .query_each_ref(&row[..1], |found| {
            for (index, value) in row.iter().enumerate() {
                assert_eq!(found.get(index)?, *value);
            }
            seen += 1;
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    assert_eq!(seen, 1);
}

#[test]
fn a_kept_statement_follows_every_change_of_the_schema() {
    let db = Database::open(":memory:").unwrap();
    let connection = db.connect().unwrap();
    connection.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
    for extra in ["b", "c", "d"] {
        let before = connection.query("SELECT * FROM t", ()).unwrap();
        let other = db.connect().unwrap();
        other.execute_batch(&format!("ALTER TABLE t ADD COLUMN {extra} DEFAULT 7")).unwrap();
        let after = connection.query("SELECT * FROM t", ()).unwrap();
        assert_eq!(after.columns.len(), before.columns.len() + 1);
        assert_eq!(after.rows[0].len(), after.columns.len());
    }
    connection.execute("DROP TABLE t", ()).unwrap();
    assert!(connection.query("SELECT * FROM t", ()).is_err());
    connection.execute("VACUUM", ()).unwrap();
}
#[test]
fn the_mode_of_an_open_can_be_given_beside_the_url() {
    let place = Place::file();
    let refused = Database::open_with_mode(&place.url, Mode::ReadWrite).unwrap_err();
    assert_eq!(refused.code(), 14, "{refused}");
    place.open().connect().unwrap().execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
    // A bare path takes no parameters, and what the URL says gives way.
    let bare = place.url.trim_start_matches("file://").to_owned();
    for url in [bare, format!("{}?mode=rwc", place.url)] {
        let database = Database::open_with_mode(&url, Mode::ReadOnly).unwrap();
        assert!(database.is_read_only());
        let connection = database.connect().unwrap();
        assert_eq!(int(&connection, "SELECT a FROM t"), 1);
        assert_eq!(connection.execute("DELETE FROM t", ()).unwrap_err().code(), 8);
    }
}

#[test]
fn the_bytes_of_text_that_is_not_utf8_can_be_read() {
    let connection = Place::memory().open().connect().unwrap();
    let mut seen = Vec::new();
    let sql = "SELECT CAST(x'61ff' AS TEXT), x'00', 'é', 1, 1.5, NULL";
    connection
        .query_each(sql, (), |row| {
            assert!(row.get(0).is_err());
            assert_eq!(row.bytes(6).unwrap_err().code(), 25);
            for column in 0..row.len() {
                seen.push(row.bytes(column)?.map(<[u8]>::to_vec));
            }
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    let expected: [Option<&[u8]>; 6] = [Some(b"a\xff"), Some(b"\0"), Some("é".as_bytes()), None, None, None];
    assert_eq!(seen, expected.map(|bytes| bytes.map(<[u8]>::to_vec)));
}
