//! ATTACH, VACUUM, VACUUM INTO and backup.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::place::{Place, int, on_every_backend, text};
use twill_engine::Database;

#[test]
fn a_backup_copies_between_any_two_databases() {
    let places = [Place::memory(), Place::file(), Place::memory(), Place::file()];
    for (from, to) in [(0, 1), (1, 2), (0, 2), (1, 3)] {
        let (from, to) = (places[from].open(), places[to].open());
        let (source, destination) = (from.connect().unwrap(), to.connect().unwrap());
        source.execute_batch("DROP TABLE IF EXISTS t; CREATE TABLE t(x)").unwrap();
        let fill = "WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM n WHERE x < 500)
                    INSERT INTO t SELECT randomblob(500) FROM n";
        source.execute(fill, ()).unwrap();
        let mut steps = Vec::new();
        source
            .backup_to(&destination, 10, |progress| {
                steps.push((progress.remaining, progress.pagecount));
                ControlFlow::Continue(())
            })
            .unwrap();
        assert!(steps.len() > 5 && steps.last().unwrap().0 == 0, "{steps:?}");
        let sum = "SELECT count(*) || hex(max(x)) FROM t";
        assert_eq!(text(&source, sum), text(&destination, sum));
        assert_eq!(text(&destination, "PRAGMA integrity_check"), "ok");
        destination.execute("INSERT INTO t VALUES(1)", ()).unwrap();

        let broken_off = source.backup_to(&destination, 1, |_| ControlFlow::Break(())).unwrap_err();
        assert!(broken_off.is_interrupted());
        assert_eq!(int(&destination, "SELECT count(*) FROM t"), 501, "the destination keeps its content");
        assert!(source.backup_to(&source, 1, |_| ControlFlow::Continue(())).is_err());
    }
}

#[test]
fn attach_leads_to_the_shared_storage_of_any_url() {
    on_every_backend(|place| {
        let other = Place::file();
        let shared = Place::memory();
        let database = place.open();
        let connection = database.connect().unwrap();
        connection.execute("CREATE TABLE a(x)", ()).unwrap();
        let second = other.open();
        second.connect().unwrap().execute_batch("CREATE TABLE b(x); INSERT INTO b VALUES(1)").unwrap();
        let third = shared.open();
        third.connect().unwrap().execute_batch("CREATE TABLE c(x); INSERT INTO c VALUES(2)").unwrap();
        connection.execute("ATTACH ? AS two", [other.url.as_str()]).unwrap();
        connection.execute("ATTACH ? AS three", [shared.url.as_str()]).unwrap();
        connection.execute("ATTACH ':memory:' AS own", ()).unwrap();
        connection.execute_batch("CREATE TABLE own.d(x); INSERT INTO own.d VALUES(3)").unwrap();
        let all = "INSERT INTO a SELECT x FROM b UNION SELECT x FROM c UNION SELECT x FROM d";
        assert_eq!(connection.execute(all, ()).unwrap(), 3);
        connection.execute("INSERT INTO two.b VALUES(10)", ()).unwrap();
        connection.execute("INSERT INTO three.c VALUES(20)", ()).unwrap();
        assert_eq!(int(&second.connect().unwrap(), "SELECT sum(x) FROM b"), 11);
        assert_eq!(int(&third.connect().unwrap(), "SELECT sum(x) FROM c"), 22);
        assert_eq!(int(&connection, "SELECT sum(x) FROM a"), 6);
        connection.execute("DETACH two", ()).unwrap();
        assert!(connection.execute("INSERT INTO two.b VALUES(10)", ()).is_err());
    });
}

#[test]
fn a_write_queues_for_the_attached_database_it_writes_and_for_no_other() {
    let (place, other) = (Place::memory(), Place::file());
    let (database, attached) = (place.open_with("?busy_timeout=0"), other.open());
    let connection = database.connect().unwrap();
    connection.execute("CREATE TABLE a(x)", ()).unwrap();
    attached.connect().unwrap().execute("CREATE TABLE b(x)", ()).unwrap();
    connection.execute("ATTACH ? AS two", [other.url.as_str()]).unwrap();
    let holder = attached.connect().unwrap();
    holder.execute("BEGIN IMMEDIATE", ()).unwrap();
    connection.execute("INSERT INTO a VALUES(1)", ()).unwrap();
    connection.execute("INSERT INTO a SELECT x FROM b", ()).unwrap();
    assert!(connection.execute("INSERT INTO b SELECT x FROM a", ()).unwrap_err().is_busy());
    assert!(connection.execute("BEGIN IMMEDIATE", ()).unwrap_err().is_busy(), "it takes them all");
    holder.execute("COMMIT", ()).unwrap();
    connection.execute_batch(" ;; -- blanks first\nINSERT INTO b SELECT x FROM a;").unwrap();
    // A trigger made later, in temp, that writes two databases.
    connection
        .execute("CREATE TEMP TRIGGER both AFTER INSERT ON main.a BEGIN INSERT INTO b VALUES(new.x); END", ())
        .unwrap();
    holder.execute("BEGIN IMMEDIATE", ()).unwrap();
    assert!(connection.execute("INSERT INTO a VALUES(1)", ()).unwrap_err().is_busy());
    holder.execute("ROLLBACK", ()).unwrap();
    connection.execute("INSERT INTO a VALUES(1)", ()).unwrap();
    assert_eq!(int(&holder, "SELECT count(*) FROM b"), 2);
}

#[test]
fn two_connections_that_attach_each_other_do_not_deadlock() {
    let (one, two) = (Place::memory(), Place::memory());
    let (first, second) = (one.open(), two.open());
    first.connect().unwrap().execute("CREATE TABLE a(x)", ()).unwrap();
    second.connect().unwrap().execute("CREATE TABLE b(x)", ()).unwrap();
    std::thread::scope(|scope| {
        for (main, attached) in [(&first, &two), (&second, &one)] {
            scope.spawn(move || {
                let connection = main.connect().unwrap();
                connection.set_busy_timeout(Duration::from_secs(60)).unwrap();
                connection.execute("ATTACH ? AS other", [attached.url.as_str()]).unwrap();
                for x in 0..100 {
                    connection.execute("BEGIN IMMEDIATE", ()).unwrap();
                    connection.execute("INSERT INTO a VALUES(?)", [x]).unwrap();
                    connection.execute("INSERT INTO b VALUES(?)", [x]).unwrap();
                    connection.execute("COMMIT", ()).unwrap();
                }
            });
        }
    });
    assert_eq!(int(&first.connect().unwrap(), "SELECT count(*) FROM a"), 200);
    assert_eq!(int(&second.connect().unwrap(), "SELECT count(*) FROM b"), 200);
    assert_eq!((first.metrics().busy, second.metrics().busy), (0, 0));
}

#[test]
fn attach_refuses_what_open_refuses() {
    let connection = Place::memory().open().connect().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let cases = [
        ("s3://bucket/x".to_owned(), "not in this build yet"),
        (format!("file://{}/x.db?mode=ro", root.display()), "does not exist"),
        (format!("file://{}/x.db?what=1", root.display()), "\"what\""),
        (format!("file://{}/x.db?busy_timeout=1", root.display()), "timeouts belong to the connection"),
        (format!("file://{}/x.db?cache=shared", root.display()), "\"cache\""),
        (format!("{}/no/x.db", root.display()), "directory"),
    ];
    for (url, part) in cases {
        let error = connection.execute("ATTACH ? AS bad", [url.as_str()]).expect_err(&url);
        assert!(error.message().contains(part), "{url}: {error:?}");
    }
    connection.execute("ATTACH ? AS good", [format!("{}/new.db", root.display())]).unwrap();
    connection.execute("CREATE TABLE good.t(x)", ()).unwrap();
    assert!(root.join("new.db").exists());
}

#[test]
fn another_vfs_by_uri_does_not_get_past_the_lock() {
    let (place, other) = (Place::memory(), Place::file());
    let database = other.open();
    database.connect().unwrap().execute("CREATE TABLE t(x)", ()).unwrap();
    let connection = place.open().connect().unwrap();
    let url = format!("{}?vfs=unix", other.url);
    let outcome = connection
        .execute("ATTACH ? AS other", [url.as_str()])
        .and_then(|_| connection.execute("INSERT INTO other.t VALUES(1)", ()));
    assert!(outcome.is_err());
    assert_eq!(int(&database.connect().unwrap(), "SELECT count(*) FROM t"), 0);
}

#[test]
fn vacuum_shrinks_and_vacuum_into_copies() {
    on_every_backend(|place| {
        let database = place.open();
        let connection = database.connect().unwrap();
        connection.execute("CREATE TABLE t(x)", ()).unwrap();
        for _ in 0..50 {
            connection.execute("INSERT INTO t VALUES(randomblob(5000))", ()).unwrap();
        }
        let before = int(&connection, "PRAGMA page_count");
        connection.execute("DELETE FROM t WHERE rowid > 5", ()).unwrap();
        connection.execute("VACUUM", ()).unwrap();
        assert!(int(&connection, "PRAGMA page_count") < before / 2);
        let copy = Place::file();
        connection.execute("VACUUM INTO ?", [copy.url.as_str()]).unwrap();
        let database = Database::open(&copy.url).unwrap();
        let connection = database.connect().unwrap();
        assert_eq!(int(&connection, "SELECT count(*) FROM t"), 5);
        assert_eq!(text(&connection, "PRAGMA integrity_check"), "ok");
    });
}
