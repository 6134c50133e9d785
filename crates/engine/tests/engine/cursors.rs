//! Cursors: rows taken over several calls.

use std::time::Duration;

use twill_engine::{CellRef, Connection, Cursor, Database, Taken, Value};

fn memory() -> Connection {
    Database::open(":memory:").unwrap().connect().unwrap()
}

fn cursor(connection: &Connection, sql: &str) -> Cursor {
    connection.cursor(sql).unwrap().0.unwrap()
}

/// Takes at most `most` rows of one integer.
fn take(rows: &mut Vec<i64>, most: usize) -> impl FnMut(twill_engine::CursorRow<'_>) -> Taken {
    let mut taken = 0;
    move |row| {
        let CellRef::Integer(value) = row.cell(0) else { panic!("{:?}", row.cell(0)) };
        rows.push(value);
        taken += 1;
        if taken == most { Taken::Last } else { Taken::Yes }
    }
}

const COUNT: &str =
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ?1) SELECT n FROM c";

#[test]
fn rows_are_taken_as_they_are_wanted_and_none_twice() {
    let connection = memory();
    let mut cursor = cursor(&connection, COUNT);
    let mut rows = Vec::new();
    let ran = cursor.execute(Some(&mut [(1, CellRef::Integer(5))].into_iter()), take(&mut rows, 2)).unwrap();
    assert!(ran.has_more && cursor.is_standing() && ran.columns == 1);
    let mut refused = 0;
    let ran = cursor
        .fetch(|row| {
            refused += 1;
            assert_eq!(row.cell(0), CellRef::Integer(3));
            Taken::NoRoom
        })
        .unwrap();
    assert!(ran.has_more && refused == 1);
    let ran = cursor.fetch(take(&mut rows, 0)).unwrap();
    assert!(!ran.has_more && !cursor.is_standing());
    assert_eq!(rows, [1, 2, 3, 4, 5]);
    let ran = cursor.fetch(|_| panic!("no row remains")).unwrap();
    assert!(!ran.has_more);
    // Values are kept from run to run.
    rows.clear();
    cursor.execute(None, take(&mut rows, 0)).unwrap();
    assert_eq!(rows, [1, 2, 3, 4, 5]);
    cursor.clear_bindings().unwrap();
    rows.clear();
    cursor.execute(None, take(&mut rows, 0)).unwrap();
    assert_eq!(rows, [1], "n < NULL ends the recursion");
}

#[test]
fn a_standing_cursor_that_is_executed_again_begins_anew() {
    let connection = memory();
    let mut cursor = cursor(
        &connection,
        "SELECT n FROM (SELECT 1 AS n UNION ALL SELECT 2 UNION ALL SELECT 3) WHERE n > ?1",
    );
    let mut rows = Vec::new();
    cursor.execute(Some(&mut [(1, CellRef::Integer(0))].into_iter()), take(&mut rows, 1)).unwrap();
    assert!(cursor.is_standing());
    cursor.execute(None, take(&mut rows, 1)).unwrap();
    cursor.execute(Some(&mut [(1, CellRef::Integer(1))].into_iter()), take(&mut rows, 0)).unwrap();
    assert_eq!(rows, [1, 1, 2, 3]);
}

#[test]
fn a_text_is_prepared_statement_by_statement() {
    let connection = memory();
    let sql = "CREATE TABLE t(a); INSERT INTO t VALUES ('ä;'); -- done\n";
    let (first, read) = connection.cursor(sql).unwrap();
    assert_eq!(&sql[..read], "CREATE TABLE t(a);");
    let mut first = first.unwrap();
    assert!(!first.is_readonly() && !first.streams());
    assert!(!first.execute(None, |_| Taken::Yes).unwrap().has_more);
    let (second, more) = connection.cursor(&sql[read..]).unwrap();
    assert_eq!(second.unwrap().execute(None, |_| Taken::Yes).unwrap().changes, 1);
    let (third, _) = connection.cursor(&sql[read + more..]).unwrap();
    assert!(third.is_none());
    let error = connection.cursor("SELECT nothing FROM t").unwrap_err();
    assert_eq!((error.code(), error.offset()), (1, Some(7)));
    assert!(error.message().contains("nothing"), "{error}");
}

#[test]
fn a_standing_cursor_keeps_its_snapshot_while_others_commit_and_its_own_connection_writes() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}", directory.path().join("a.db").display());
    let database = Database::open(&url).unwrap();
    let (mine, other) = (database.connect().unwrap(), database.connect().unwrap());
    mine.execute_batch("CREATE TABLE t(n); INSERT INTO t VALUES (1), (2), (3)").unwrap();
    let mut standing = cursor(&mine, "SELECT n FROM t ORDER BY n");
    let mut rows = Vec::new();
    standing.execute(None, take(&mut rows, 1)).unwrap();
    // Its own connection writes, durably, while it stands.
    assert_eq!(mine.execute("INSERT INTO t VALUES (0)", ()).unwrap(), 1);
    assert_eq!(other.query("SELECT count(*) FROM t", ()).unwrap().rows, [[Value::Integer(4)]]);
    // And again, after which another one commits: the standing snapshot is not the newest any more.
    assert_eq!(mine.execute("INSERT INTO t VALUES (-1)", ()).unwrap(), 1);
    other.execute("INSERT INTO t VALUES (9)", ()).unwrap();
    let stale = mine.execute("INSERT INTO t VALUES (10)", ()).unwrap_err();
    assert_eq!(stale.extended_code(), 517, "{stale}");
    standing.fetch(take(&mut rows, 0)).unwrap();
    assert!(!rows.contains(&9), "{rows:?}");
    assert_eq!(mine.execute("INSERT INTO t VALUES (10)", ()).unwrap(), 1);
    assert_eq!(other.query("SELECT count(*) FROM t", ()).unwrap().rows, [[Value::Integer(7)]]);
}

#[test]
fn writes_run_to_their_end_and_give_rows_only_with_success() {
    let connection = memory();
    connection.execute_batch("CREATE TABLE t(n UNIQUE, twice AS (n * 2))").unwrap();
    let mut insert = cursor(&connection, "INSERT INTO t(n) VALUES (?1), (?1 + 1), (?2) RETURNING n");
    let mut rows = Vec::new();
    let values = [(2, CellRef::Integer(7)), (1, CellRef::Integer(1))];
    let ran = insert.execute(Some(&mut values.into_iter()), take(&mut rows, 1)).unwrap();
    assert!(!ran.has_more && !insert.is_standing(), "a write never stands");
    assert_eq!((ran.changes, ran.total_changes, ran.last_insert_rowid, ran.in_transaction), (3, 3, 3, false));
    assert_eq!(rows, [1, 2, 7]);
    let error = insert.execute(None, |_| Taken::Yes).unwrap_err();
    assert_eq!(error.extended_code(), 2067);
    assert_eq!(insert.bind(&mut [(3, CellRef::Null)].into_iter()).unwrap_err().code(), 25);
}

#[test]
fn an_interrupt_ends_the_running_call_alone() {
    let connection = memory();
    let mut standing = cursor(&connection, COUNT);
    let mut rows = Vec::new();
    standing.execute(Some(&mut [(1, CellRef::Integer(100))].into_iter()), take(&mut rows, 1)).unwrap();
    let mut endless = cursor(&connection, COUNT);
    let interrupt = connection.interrupt_handle();
    let error = std::thread::scope(|scope| {
        let (started, start) = std::sync::mpsc::channel();
        scope.spawn(move || {
            start.recv().unwrap();
            interrupt.interrupt();
        });
        let mut started = Some(started);
        endless
            .execute(Some(&mut [(1, CellRef::Integer(i64::MAX))].into_iter()), |_| {
                if let Some(started) = started.take() {
                    started.send(()).unwrap();
                }
                Taken::Yes
            })
            .unwrap_err()
    });
    assert_eq!(error.code(), 9, "{error}");
    standing.fetch(take(&mut rows, 0)).unwrap();
    assert_eq!(rows.len(), 100, "the cursor that stood was not interrupted");
}

#[test]
fn an_interrupt_ends_a_wait_for_the_writer_slot() {
    let database = Database::open("memory://cursor-interrupt").unwrap();
    let (holder, waiter) = (database.connect().unwrap(), database.connect().unwrap());
    holder.execute_batch("CREATE TABLE t(n); BEGIN IMMEDIATE").unwrap();
    waiter.set_busy_timeout(Duration::from_secs(3600)).unwrap();
    let mut insert = cursor(&waiter, "INSERT INTO t VALUES (1)");
    let interrupt = waiter.interrupt_handle();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| insert.execute(None, |_| Taken::Yes).unwrap_err());
        while !waiting.is_finished() {
            interrupt.interrupt();
            std::thread::yield_now();
        }
        assert_eq!(waiting.join().unwrap().code(), 9);
    });
}

#[test]
fn a_recompiled_statement_has_its_new_columns() {
    let connection = memory();
    connection.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES (1)").unwrap();
    let mut all = cursor(&connection, "SELECT * FROM t");
    assert_eq!(all.execute(None, |_| Taken::Yes).unwrap().columns, 1);
    connection.execute_batch("ALTER TABLE t ADD COLUMN b DEFAULT 2").unwrap();
    let mut seen = Vec::new();
    let ran = all
        .execute(None, |row| {
            seen.extend((0..row.columns()).map(|column| format!("{:?}", row.cell(column))));
            Taken::Yes
        })
        .unwrap();
    assert_eq!(ran.columns, 2);
    assert!(ran.recompiled > 0);
    assert_eq!(seen, ["Integer(1)", "Integer(2)"]);
}

#[test]
fn facts_and_values_of_every_type() {
    let connection = memory();
    connection.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, v VARCHAR(9))").unwrap();
    let asked = cursor(&connection, "SELECT v, 1 + 1 AS two FROM t WHERE id = :id OR v = ? OR v = ?7");
    asked
        .look(|facts| {
            assert_eq!((facts.columns(), facts.parameters(), facts.explain_level()), (2, 7, 0));
            assert_eq!(facts.column_name(1).as_deref(), Some("two"));
            assert_eq!(facts.column_declared_type(0).as_deref(), Some("VARCHAR(9)"));
            assert_eq!(facts.column_declared_type(1), None);
            assert_eq!(facts.parameter_name(1).as_deref(), Some(":id"));
            assert_eq!(facts.parameter_name(2), None);
            assert_eq!(facts.parameter_index(":id"), Some(1));
            assert_eq!(facts.parameter_index("id"), None);
        })
        .unwrap();
    let mut echo = cursor(&connection, "SELECT ?1, ?2, ?3, ?4, ?5, ?6, CAST(x'ff41' AS TEXT)");
    let values = [
        CellRef::Null,
        CellRef::Integer(i64::MIN),
        CellRef::Real(-0.0),
        CellRef::Text("a\0é".as_bytes()),
        CellRef::Blob(&[]),
        CellRef::Blob(&[0, 255]),
    ];
    let numbered = values.iter().enumerate().map(|(index, value)| (index + 1, *value));
    echo.execute(Some(&mut { numbered }), |row| {
        for (column, value) in values.iter().enumerate() {
            assert_eq!(row.cell(column), *value);
        }
        assert_eq!(row.cell(6), CellRef::Text(b"\xffA"), "text is told as it is");
        assert_eq!(row.cell(7), CellRef::Null);
        Taken::Yes
    })
    .unwrap();
    let expanded = echo.look(|facts| facts.expanded_sql()).unwrap().unwrap();
    assert!(expanded.starts_with("SELECT NULL, -9223372036854775808, "), "{expanded}");
}

#[test]
fn text_of_another_encoding_is_told_in_utf8() {
    let connection = memory();
    connection
        .execute_batch("PRAGMA encoding = 'UTF-16le'; CREATE TABLE t(a); INSERT INTO t VALUES ('grün')")
        .unwrap();
    let mut told = Vec::new();
    cursor(&connection, "SELECT a, a || '!' FROM t")
        .execute(None, |row| {
            for column in 0..2 {
                let CellRef::Text(text) = row.cell(column) else { panic!("{:?}", row.cell(column)) };
                told.push(text.to_vec());
            }
            Taken::Yes
        })
        .unwrap();
    assert_eq!(told, ["grün".as_bytes(), "grün!".as_bytes()]);
}

#[test]
fn a_cursor_keeps_its_connection_open_and_a_callback_may_drop_one() {
    let connection = memory();
    let mut kept = Some(cursor(&connection, "SELECT 1"));
    let held = std::sync::Mutex::new(Some(cursor(&connection, "SELECT 2")));
    connection
        .create_scalar_function("dropping", 0, Default::default(), move |_| {
            drop(held.lock().unwrap().take());
            Ok(Value::Integer(0))
        })
        .unwrap();
    connection.query("SELECT dropping()", ()).unwrap();
    connection.query("SELECT 3", ()).unwrap();
    drop(connection);
    let mut rows = Vec::new();
    kept.as_mut().unwrap().execute(None, take(&mut rows, 0)).unwrap();
    assert_eq!(rows, [1]);
}

#[test]
fn transactions_run_through_cursors() {
    let database = Database::open("memory://cursor-transactions").unwrap();
    let (one, other) = (database.connect().unwrap(), database.connect().unwrap());
    let run = |connection: &Connection, sql: &str| cursor(connection, sql).execute(None, |_| Taken::Yes);
    run(&one, "CREATE TABLE t(n)").unwrap();
    other.set_busy_timeout(Duration::ZERO).unwrap();
    assert!(run(&one, "BEGIN IMMEDIATE").unwrap().in_transaction);
    assert_eq!(run(&one, "INSERT INTO t VALUES (1)").unwrap().changes, 1);
    assert_eq!(run(&other, "INSERT INTO t VALUES (2)").unwrap_err().code(), 5);
    assert!(!run(&one, "COMMIT").unwrap().in_transaction);
    assert_eq!(run(&other, "INSERT INTO t VALUES (2)").unwrap().last_insert_rowid, 2);
    run(&one, "BEGIN").unwrap();
    run(&one, "DELETE FROM t").unwrap();
    run(&one, "ROLLBACK").unwrap();
    assert_eq!(one.query("SELECT count(*) FROM t", ()).unwrap().rows, [[Value::Integer(2)]]);
}

#[test]
fn an_image_holds_what_the_connection_sees_and_opens_again() {
    let connection = memory();
    connection
        .execute_batch("CREATE TABLE t(n); INSERT INTO t VALUES (1); BEGIN; INSERT INTO t VALUES (2)")
        .unwrap();
    let image = connection.serialize("main").unwrap();
    assert_eq!(&image[18..20], [1, 1], "no log is beside an image");
    connection.execute_batch("ROLLBACK").unwrap();
    let copy = Database::from_image(&image).unwrap();
    let rows = |connection: &Connection| connection.query("SELECT n FROM t ORDER BY n", ()).unwrap().rows;
    let copied = copy.connect().unwrap();
    assert_eq!(rows(&copied), [[Value::Integer(1)], [Value::Integer(2)]]);
    assert_eq!(rows(&connection), [[Value::Integer(1)]]);
    copied.execute("DELETE FROM t", ()).unwrap();
    let refused = copy.read_only().connect().unwrap().execute("DELETE FROM t", ()).unwrap_err();
    assert_eq!(refused.code(), 8, "{refused}");
    assert_eq!(
        Database::from_image(b"no database")
            .and_then(|d| d.connect()?.query("SELECT * FROM t", ()))
            .unwrap_err()
            .code(),
        26
    );
    assert_eq!(connection.serialize("nowhere").unwrap_err().code(), 1);
    let empty = Database::from_image(&[]).unwrap().connect().unwrap();
    assert!(empty.query("SELECT name FROM sqlite_schema", ()).unwrap().rows.is_empty());
}
