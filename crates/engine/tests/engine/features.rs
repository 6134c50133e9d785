//! What of SQLite and libSQL must be there.

use crate::place::{Place, int, on_every_backend, one, text};
use twill_engine::Value;

#[test]
fn foreign_keys_are_on() {
    let connection = Place::memory().open().connect().unwrap();
    assert_eq!(int(&connection, "PRAGMA foreign_keys"), 1);
    connection
        .execute_batch(
            "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p ON DELETE CASCADE)",
        )
        .unwrap();
    assert!(connection.execute("INSERT INTO c VALUES(1)", ()).is_err());
    connection.execute_batch("INSERT INTO p VALUES(1); INSERT INTO c VALUES(1); DELETE FROM p").unwrap();
    assert_eq!(int(&connection, "SELECT count(*) FROM c"), 0);
}

#[test]
fn full_text_json_rtree_math_and_vectors_work() {
    on_every_backend(|place| {
        let connection = place.open().connect().unwrap();
        connection
            .execute_batch(
                "CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES('the quick fox'), ('a lazy dog');
                 CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES(1, 0, 5), (2, 10, 15);
                 CREATE TABLE v(e F32_BLOB(3)); INSERT INTO v VALUES(vector('[1,2,3]')), (vector('[9,9,9]'));
                 CREATE INDEX vi ON v(libsql_vector_idx(e))",
            )
            .unwrap();
        assert_eq!(text(&connection, "SELECT body FROM f WHERE f MATCH 'fox'"), "the quick fox");
        assert_eq!(int(&connection, "SELECT id FROM r WHERE x0 > 6"), 2);
        assert_eq!(int(&connection, "SELECT json_extract('{\"a\":[1,2]}', '$.a[1]')"), 2);
        assert_eq!(one(&connection, "SELECT round(sqrt(2), 3)"), Value::Real(1.414));
        let nearest = "SELECT id FROM vector_top_k('vi', vector('[1,2,4]'), 1)";
        assert_eq!(int(&connection, nearest), 1);
        let window =
            "SELECT sum(value) OVER (ORDER BY value) FROM json_each('[1,2,3]') ORDER BY 1 DESC LIMIT 1";
        assert_eq!(int(&connection, window), 6);
    });
}

#[test]
fn page_size_encoding_and_auto_vacuum_are_chosen_before_the_first_table() {
    for (size, vacuum) in [(512, 0), (1024, 1), (16384, 2), (65536, 1)] {
        on_every_backend(|place| {
            let database = place.open();
            let connection = database.connect().unwrap();
            connection
                .execute_batch(&format!(
                    "PRAGMA page_size={size}; PRAGMA auto_vacuum={vacuum}; PRAGMA encoding='UTF-16le';
                     CREATE TABLE t(x); INSERT INTO t VALUES('é' || hex(randomblob(20000)))"
                ))
                .unwrap();
            drop(connection);
            let connection = database.connect().unwrap();
            assert_eq!(int(&connection, "PRAGMA page_size"), size);
            assert_eq!(int(&connection, "PRAGMA auto_vacuum"), vacuum);
            assert_eq!(text(&connection, "PRAGMA encoding"), "UTF-16le");
            assert_eq!(int(&connection, "SELECT length(x) FROM t"), 40001);
            assert_eq!(text(&connection, "PRAGMA integrity_check"), "ok");
        });
    }
}

#[test]
fn temporary_tables_belong_to_their_connection() {
    on_every_backend(|place| {
        let database = place.open();
        let (one, two) = (database.connect().unwrap(), database.connect().unwrap());
        for connection in [&one, &two] {
            connection.execute_batch("CREATE TEMP TABLE t(x); INSERT INTO t VALUES(1)").unwrap();
        }
        one.execute("INSERT INTO t VALUES(2)", ()).unwrap();
        assert_eq!((int(&one, "SELECT count(*) FROM t"), int(&two, "SELECT count(*) FROM t")), (2, 1));
    });
}

#[test]
fn finding_out_what_a_statement_writes_leaves_the_count_of_changes_alone() {
    on_every_backend(|place| {
        let database = place.open();
        let (connection, other) = (database.connect().unwrap(), database.connect().unwrap());
        // With a temporary table there, the engine asks libSQL which databases a statement writes.
        connection
            .execute_batch(
                "CREATE TABLE t(x); CREATE TABLE counts(n); CREATE TEMP TABLE scratch(x);
                 INSERT INTO t VALUES(1), (2), (3); INSERT INTO counts VALUES(changes())",
            )
            .unwrap();
        assert_eq!(int(&connection, "SELECT n FROM counts"), 3, "libSQL's count, inside the statement");
        connection.execute("INSERT INTO t VALUES(4), (5)", ()).unwrap();
        other.execute("DROP TABLE t", ()).unwrap();
        let gone = connection.execute("INSERT INTO t VALUES(6)", ()).unwrap_err();
        assert!(gone.message().contains("no such table"), "{gone}");
        assert_eq!(int(&connection, "SELECT changes()"), 2, "a statement that did not start counts nothing");
    });
}

#[test]
fn explain_tells_of_the_schema_there_is_now() {
    on_every_backend(|place| {
        let database = place.open();
        let (connection, other) = (database.connect().unwrap(), database.connect().unwrap());
        connection.execute_batch("CREATE TABLE t(x, y)").unwrap();
        let question = "EXPLAIN QUERY PLAN SELECT y FROM t WHERE x = 1";
        let plan = || {
            // EXPLAIN alone reads nothing, and so does not notice another's change.
            connection.query("SELECT count(*) FROM t", ()).unwrap();
            connection.query(question, ()).unwrap().rows[0][3].clone()
        };
        assert_eq!(plan(), Value::Text("SCAN t".to_owned()));
        other.execute_batch("CREATE INDEX t_x ON t(x)").unwrap();
        assert_eq!(plan(), Value::Text("SEARCH t USING INDEX t_x (x=?)".to_owned()));
    });
}

#[test]
fn a_drop_that_was_busy_and_works_later_makes_views_forget_the_table() {
    on_every_backend(|place| {
        let database = place.open_with("?busy_timeout=0");
        let (connection, other) = (database.connect().unwrap(), database.connect().unwrap());
        connection.execute_batch("CREATE TABLE t(x, y); CREATE VIEW v AS SELECT * FROM t").unwrap();
        let transaction = other.transaction(twill_engine::TransactionMode::Immediate).unwrap();
        assert!(connection.execute("DROP TABLE t", ()).unwrap_err().is_busy());
        let columns = || connection.query("PRAGMA table_xinfo(v)", ()).map(|result| result.rows.len());
        assert_eq!(columns().unwrap(), 2);
        transaction.commit().unwrap();
        connection.execute("DROP TABLE t", ()).unwrap();
        // What libSQL says of such a view is its own affair; it must not be what the view had before.
        assert_ne!(columns().unwrap_or(0), 2);
    });
}

#[test]
fn pragmas_answer_the_truth() {
    on_every_backend(|place| {
        let connection = place.open().connect().unwrap();
        assert_eq!(text(&connection, "PRAGMA journal_mode"), "wal");
        assert_eq!(text(&connection, "PRAGMA journal_mode=DELETE"), "wal");
        assert_eq!(text(&connection, "PRAGMA locking_mode"), "normal");
        assert_eq!(int(&connection, "PRAGMA synchronous"), 2);
        assert_eq!(int(&connection, "PRAGMA busy_timeout"), 5000);
        connection.execute("PRAGMA user_version = 42", ()).unwrap();
        assert_eq!(int(&connection, "PRAGMA user_version"), 42);
        assert_eq!(int(&connection, "PRAGMA wal_checkpoint(TRUNCATE)"), 0);
    });
}
