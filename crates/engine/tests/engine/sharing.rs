//! One process, one storage: URLs, the registry, read-only handles, conversion.

use std::sync::Barrier;

use crate::place::{Place, int, text};
use twill_engine::Database;

const SQLITE_READONLY: i32 = 8;
const SQLITE_CANTOPEN: i32 = 14;
const SQLITE_NOTADB: i32 = 26;

#[test]
fn the_same_database_is_shared_however_it_is_spelled() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("sub")).unwrap();
    let root = root.display();
    let first = Database::open(&format!("{root}/app.db")).unwrap();
    first.connect().unwrap().execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES(1)").unwrap();
    for spelling in [
        format!("{root}/app.db"),
        format!("{root}/sub/../app.db"),
        format!("file:{root}/./app.db"),
        format!("file://{root}/app.db?mode=rw&synchronous=full"),
        format!("file://localhost{root}/%61pp.db"),
    ] {
        let other = Database::open(&spelling).unwrap_or_else(|error| panic!("{spelling}: {error:?}"));
        assert_eq!(other.url(), first.url());
        other.connect().unwrap().execute("UPDATE t SET x = x + 1", ()).unwrap();
    }
    assert_eq!(int(&first.connect().unwrap(), "SELECT x FROM t"), 6);
}

#[test]
fn private_memory_is_private_and_named_memory_is_shared_while_held() {
    let (one, two) = (Database::open(":memory:").unwrap(), Database::open("file::memory:").unwrap());
    one.connect().unwrap().execute("CREATE TABLE t(x)", ()).unwrap();
    one.clone().connect().unwrap().execute("INSERT INTO t VALUES(1)", ()).unwrap();
    assert!(two.connect().unwrap().query("SELECT * FROM t", ()).is_err());

    let place = Place::memory();
    assert_eq!(Database::open(&format!("{}?mode=rw", place.url)).unwrap_err().code(), SQLITE_CANTOPEN);
    let named = place.open();
    named.connect().unwrap().execute("CREATE TABLE t(x)", ()).unwrap();
    let same = place.open_with("?mode=rw");
    let connection = same.connect().unwrap();
    named.close().unwrap();
    same.close().unwrap();
    connection.execute("INSERT INTO t VALUES(1)", ()).unwrap();
    assert_eq!(int(&place.open().connect().unwrap(), "SELECT count(*) FROM t"), 1);
    drop(connection);
    assert!(
        place.open().connect().unwrap().query("SELECT * FROM t", ()).is_err(),
        "gone with its last handle"
    );
}

#[test]
fn conflicting_options_are_refused_by_name() {
    let place = Place::file();
    let database = place.open_with("?synchronous=normal");
    assert_eq!(int(&database.connect().unwrap(), "PRAGMA synchronous"), 1);
    let error = Database::open(&format!("{}?synchronous=full", place.url)).unwrap_err();
    assert!(error.message().contains("synchronous=normal, not full"), "{error}");
    assert_eq!(
        int(&place.open().connect().unwrap(), "PRAGMA synchronous"),
        1,
        "what is not said does not conflict"
    );
    database.connect().unwrap().execute("CREATE TABLE t(x)", ()).unwrap();
    database.close().unwrap();
    let reader = place.open_with("?mode=ro");
    let error = Database::open(&format!("{}?mode=rw", place.url)).unwrap_err();
    assert!(error.message().contains("read-only in this process"), "{error}");
    assert!(place.open().is_read_only(), "a mode that is not asked for follows");
    reader.close().unwrap();
    place.open_with("?mode=rw").connect().unwrap().execute("INSERT INTO t VALUES(1)", ()).unwrap();
}

#[test]
fn a_read_only_handle_shares_the_storage_and_refuses_writes() {
    for place in [Place::memory(), Place::file()] {
        let database = place.open();
        database.connect().unwrap().execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES(1)").unwrap();
        let reader = place.open_with("?mode=ro");
        assert!(reader.is_read_only() && !database.is_read_only());
        let connection = reader.connect().unwrap();
        assert_eq!(int(&connection, "SELECT x FROM t"), 1);
        let error = connection.execute("INSERT INTO t VALUES(2)", ()).unwrap_err();
        assert_eq!(error.code(), SQLITE_READONLY, "{error:?}");
        connection.execute_batch("CREATE TEMP TABLE own(x); INSERT INTO own SELECT x FROM t").unwrap();
        assert_eq!(int(&connection, "SELECT count(*) FROM own"), 1);
        database.connect().unwrap().execute("INSERT INTO t VALUES(2)", ()).unwrap();
        assert_eq!(int(&connection, "SELECT count(*) FROM t"), 2);
    }
}

#[test]
fn what_cannot_be_opened_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    std::fs::write(
        root.join("text.txt"),
        "This is not a database, and it is long enough to tell.".repeat(100),
    )
    .unwrap();
    let root = root.display();
    let cases = [
        (format!("file://{root}/absent.db?mode=rw"), SQLITE_CANTOPEN, "mode=rwc"),
        (format!("file://{root}/absent.db?mode=ro"), SQLITE_CANTOPEN, "does not exist"),
        (format!("file://{root}/no/such/app.db"), SQLITE_CANTOPEN, "directory"),
        (format!("file://{root}"), SQLITE_CANTOPEN, "is a directory"),
        (format!("file://{root}/text.txt"), SQLITE_NOTADB, "not a database"),
        ("s3://bucket/prefix".to_owned(), SQLITE_CANTOPEN, "not in this build yet"),
        ("memory://x?cache=shared".to_owned(), SQLITE_CANTOPEN, "\"cache\""),
    ];
    for (url, code, part) in cases {
        let error = Database::open(&url).expect_err(&url);
        assert_eq!(error.code(), code, "{url}: {error:?}");
        assert!(error.message().contains(part), "{url}: {error}");
    }
}

#[test]
fn a_database_of_plain_sqlite_in_rollback_mode_is_converted() {
    let place = Place::file();
    let path = place.url.trim_start_matches("file://").to_owned();
    let plain = rusqlite::Connection::open(&path).unwrap();
    plain.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES(1)").unwrap();
    plain.close().unwrap();
    let reader = place.open_with("?mode=ro");
    assert_eq!(int(&reader.connect().unwrap(), "SELECT x FROM t"), 1, "a reader takes it as it is");
    reader.close().unwrap();
    let database = place.open();
    let connection = database.connect().unwrap();
    assert_eq!(int(&connection, "SELECT x FROM t"), 1);
    connection.execute("INSERT INTO t VALUES(2)", ()).unwrap();
    assert_eq!(text(&connection, "PRAGMA integrity_check"), "ok");
    drop(connection);
    database.close().unwrap();
    let plain = rusqlite::Connection::open(&path).unwrap();
    let sum: i64 = plain.query_row("SELECT sum(x) FROM t", (), |row| row.get(0)).unwrap();
    assert_eq!(sum, 3);
}

#[test]
fn a_hot_journal_is_rolled_back_before_the_first_read() {
    let (origin, place) = (tempfile::tempdir().unwrap(), Place::file());
    let path = place.url.trim_start_matches("file://").to_owned();
    let plain = rusqlite::Connection::open(origin.path().join("app.db")).unwrap();
    plain
        .execute_batch(
            "PRAGMA cache_size=2; CREATE TABLE t(x); BEGIN;
             WITH RECURSIVE n(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM n WHERE x < 200)
             INSERT INTO t SELECT hex(zeroblob(500)) FROM n; COMMIT;
             BEGIN; UPDATE t SET x = hex(randomblob(500));",
        )
        .unwrap();
    // The crash: what is on disk in the middle of the transaction.
    for suffix in ["", "-journal"] {
        std::fs::copy(origin.path().join(format!("app.db{suffix}")), format!("{path}{suffix}")).unwrap();
    }
    let error = Database::open(&format!("{}?mode=ro", place.url)).unwrap_err();
    assert!(error.message().contains("open it once for writing"), "{error:?}");
    let connection = place.open().connect().unwrap();
    assert_eq!(int(&connection, "SELECT count(*) FROM t WHERE x = hex(zeroblob(500))"), 200);
    assert_eq!(text(&connection, "PRAGMA integrity_check"), "ok");
}

#[test]
fn a_file_in_use_by_plain_sqlite_is_locked() {
    let place = Place::file();
    let path = place.url.trim_start_matches("file://").to_owned();
    let plain = rusqlite::Connection::open(&path).unwrap();
    plain.execute_batch("CREATE TABLE t(x); BEGIN; SELECT * FROM t").unwrap();
    plain.query_row("SELECT count(*) FROM t", (), |_| Ok(())).unwrap();
    let error = Database::open(&place.url).unwrap_err();
    assert!(error.is_busy() && error.message().contains("database is locked"), "{error:?}");
    drop(plain);
    let database = place.open();
    let plain = rusqlite::Connection::open(&path).unwrap();
    plain.busy_timeout(std::time::Duration::ZERO).unwrap();
    assert!(plain.query_row("SELECT count(*) FROM t", (), |_| Ok(())).is_err(), "and ours locks theirs out");
    drop(plain);
    assert_eq!(int(&database.connect().unwrap(), "SELECT count(*) FROM t"), 0);
}

#[test]
fn racing_opens_and_last_drops_never_meet_a_half_closed_storage() {
    const THREADS: usize = 8;
    const ROUNDS: i64 = 25;
    for place in [Place::memory(), Place::file()] {
        let barrier = Barrier::new(THREADS);
        let is_file = place.url.starts_with("file:");
        if is_file {
            place.open().connect().unwrap().execute("CREATE TABLE t(x)", ()).unwrap();
        }
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    barrier.wait();
                    for _ in 0..ROUNDS {
                        let database = place.open();
                        let connection = database.connect().unwrap();
                        if is_file {
                            connection.execute("INSERT INTO t VALUES(1)", ()).unwrap();
                        }
                        database.close().unwrap();
                    }
                });
            }
        });
        if is_file {
            let expected = i64::try_from(THREADS).unwrap() * ROUNDS;
            assert_eq!(int(&place.open().connect().unwrap(), "SELECT count(*) FROM t"), expected);
        }
    }
}

#[test]
fn close_reports_and_ends_the_storage() {
    let place = Place::file();
    let database = place.open();
    let connection = database.connect().unwrap();
    connection.execute("CREATE TABLE t(x)", ()).unwrap();
    let path = database.path().unwrap().to_owned();
    database.close().unwrap();
    assert_eq!(connection.execute("INSERT INTO t VALUES(1)", ()).unwrap(), 1, "a connection keeps it open");
    connection.close().unwrap();
    let wal = path.with_extension("db-wal");
    assert!(!wal.exists() || std::fs::metadata(&wal).unwrap().len() == 0, "a clean close leaves one file");
}
