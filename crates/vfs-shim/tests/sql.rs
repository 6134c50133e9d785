//! What SQL sees through the shim: the whole engine, truthful pragmas, several databases.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "test code"
)]

mod common;

use common::connect;

#[test]
fn a_new_database_is_created_without_a_rollback_journal() {
    let one = connect("new");
    assert_eq!(one.rows("PRAGMA journal_mode"), "wal");
    one.run("CREATE TABLE t(a PRIMARY KEY, b); INSERT INTO t VALUES (1, 'x'), (2, 'y')");
    let two = connect("new");
    assert_eq!(two.rows("SELECT * FROM t ORDER BY a"), "1|x\n2|y");
    assert_eq!(two.rows("PRAGMA integrity_check"), "ok");
    one.run("UPDATE t SET b = 'z' WHERE a = 2");
    assert_eq!(two.rows("SELECT b FROM t WHERE a = 2"), "z");
}

#[test]
fn page_sizes_auto_vacuum_and_encoding_are_chosen_before_the_first_write() {
    for size in [512, 1024, 4096, 8192, 65536] {
        for auto_vacuum in 0..3 {
            let name = format!("sizes-{size}-{auto_vacuum}");
            let one = connect(&name);
            one.run(&format!(
                "PRAGMA page_size={size}; PRAGMA auto_vacuum={auto_vacuum}; PRAGMA encoding='UTF-16'"
            ));
            one.run("CREATE TABLE t(a, b); WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<300)
                     INSERT INTO t SELECT i, randomblob(300) FROM n; DELETE FROM t WHERE a % 3 = 0; PRAGMA incremental_vacuum");
            let two = connect(&name);
            assert_eq!(two.rows("PRAGMA page_size"), size.to_string());
            assert_eq!(two.rows("PRAGMA auto_vacuum"), auto_vacuum.to_string());
            assert_eq!(two.rows("PRAGMA encoding"), "UTF-16le");
            assert_eq!(two.rows("SELECT count(*), sum(a) FROM t"), "200|30000");
            assert_eq!(two.rows("PRAGMA integrity_check"), "ok");
        }
    }
}

#[test]
fn spilled_pages_survive_savepoints_and_rollbacks() {
    let one = connect("spill");
    one.run("PRAGMA cache_size=5; CREATE TABLE t(a INTEGER PRIMARY KEY, b)");
    let fill = |from: i32, to: i32| {
        format!(
            "WITH RECURSIVE n(i) AS (VALUES({from}) UNION ALL SELECT i+1 FROM n WHERE i<{to})
                 INSERT INTO t SELECT i, hex(zeroblob(500)) FROM n;"
        )
    };
    one.run(&format!("BEGIN; {} SAVEPOINT s; {}", fill(1, 500), fill(501, 1000)));
    one.run("UPDATE t SET b = 'changed'; ROLLBACK TO s;");
    assert_eq!(one.rows("SELECT count(*), sum(length(b)) FROM t"), "500|500000");
    one.run(&format!("{} RELEASE s; COMMIT", fill(501, 600)));
    assert_eq!(connect("spill").rows("SELECT count(*), sum(length(b)) FROM t"), "600|600000");
    one.run("BEGIN; UPDATE t SET b = 'gone'; ROLLBACK");
    assert_eq!(one.rows("SELECT count(*), sum(length(b)) FROM t"), "600|600000");
    assert_eq!(one.rows("PRAGMA integrity_check"), "ok");
}

#[test]
fn vacuum_shrinks_and_vacuum_into_makes_a_database() {
    let one = connect("vacuum");
    one.run(
        "CREATE TABLE t(a, b); WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<500)
             INSERT INTO t SELECT i, zeroblob(1000) FROM n; DELETE FROM t WHERE a > 10",
    );
    let before: i64 = one.rows("PRAGMA page_count").parse().unwrap();
    one.run("VACUUM");
    let after: i64 = connect("vacuum").rows("PRAGMA page_count").parse().unwrap();
    assert!(after < before / 5, "{before} -> {after}");
    one.run("VACUUM INTO 'vacuum-copy'");
    assert_eq!(connect("vacuum-copy").rows("SELECT count(*) FROM t"), "10");
    assert!(
        one.db.execute_batch("VACUUM INTO 'vacuum-copy'").unwrap_err().to_string().contains("already exists")
    );
}

#[test]
fn attached_databases_and_temporary_tables_work_beside_main() {
    let one = connect("main-db");
    one.run(
        "CREATE TABLE t(a); ATTACH 'other-db' AS other; CREATE TABLE other.u(a);
             CREATE TEMP TABLE scratch(a); INSERT INTO scratch VALUES (7);
             BEGIN; INSERT INTO t SELECT a FROM scratch; INSERT INTO other.u SELECT a + 1 FROM t; COMMIT",
    );
    assert_eq!(one.rows("SELECT t.a, u.a FROM t, other.u"), "7|8");
    assert_eq!(connect("other-db").rows("SELECT a FROM u"), "8");
    one.run("DETACH other");
    assert_eq!(one.code("SELECT * FROM other.u"), 1);
}

#[test]
fn pragmas_answer_the_truth() {
    let one = connect("pragmas");
    one.run("CREATE TABLE t(a)");
    for (pragma, answer) in [
        ("journal_mode", "wal"),
        ("journal_mode=DELETE", "wal"),
        ("journal_mode=off", "wal"),
        ("journal_mode=wal", "wal"),
        ("locking_mode", "normal"),
        ("locking_mode=EXCLUSIVE", "normal"),
        ("synchronous", "2"),
        ("mmap_size", "0"),
        ("mmap_size=1000000", "0"),
        ("busy_timeout", "5000"),
        ("busy_timeout=1234", "1234"),
        ("busy_timeout", "1234"),
        ("page_size", "4096"),
        ("wal_checkpoint", "0|0|0"),
        ("wal_checkpoint(TRUNCATE)", "0|0|0"),
        ("foreign_keys", "1"),
        ("quick_check", "ok"),
    ] {
        assert_eq!(one.rows(&format!("PRAGMA {pragma}")), answer, "{pragma}");
    }
    assert_eq!(one.session.busy_timeout().as_millis(), 1234);
    one.run("PRAGMA synchronous=OFF");
    assert_eq!(one.rows("PRAGMA synchronous"), "2");
    assert!(
        one.db.execute_batch("PRAGMA page_size=8192").unwrap_err().to_string().contains("4096-byte pages")
    );
    assert!(
        one.db.execute_batch("PRAGMA wal_autocheckpoint=5").unwrap_err().to_string().contains("by itself")
    );
    assert_eq!(one.rows("PRAGMA journal_mode=MEMORY"), "wal");
    one.run("INSERT INTO t VALUES (1)");
}

#[test]
fn backup_copies_into_and_out_of_a_storage() {
    let one = connect("backup-from");
    one.run("CREATE TABLE t(a); INSERT INTO t VALUES (1), (2), (3)");
    let mut plain = rusqlite::Connection::open_in_memory().unwrap();
    rusqlite::backup::Backup::new(&one.db, &mut plain).unwrap().step(-1).unwrap();
    assert_eq!(plain.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 3);
    let mut two = connect("backup-to");
    rusqlite::backup::Backup::new(&plain, &mut two.db).unwrap().step(-1).unwrap();
    assert_eq!(connect("backup-to").rows("SELECT sum(a) FROM t"), "6");
}

#[test]
fn full_text_json_rtree_and_vectors_run_on_our_pages() {
    let one = connect("features");
    one.run("CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES ('the quick brown fox'), ('lazy dog');
             CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES (1, 0, 10), (2, 20, 30);
             CREATE TABLE v(id INTEGER PRIMARY KEY, e F32_BLOB(3)); CREATE INDEX vi ON v(libsql_vector_idx(e));
             INSERT INTO v VALUES (1, vector32('[1,0,0]')), (2, vector32('[0,1,0]'))");
    let two = connect("features");
    assert_eq!(two.rows("SELECT rowid FROM f WHERE f MATCH 'quick'"), "1");
    assert_eq!(two.rows("SELECT id FROM r WHERE x0 > 15"), "2");
    assert_eq!(
        two.rows("SELECT v.id FROM vector_top_k('vi', vector32('[0,1,0]'), 1) AS k JOIN v ON v.id = k.id"),
        "2"
    );
    assert_eq!(two.rows("SELECT json_extract('{\"a\":[1,2]}', '$.a[1]'), round(sqrt(2), 3)"), "2|1.414");
    assert_eq!(two.rows("PRAGMA integrity_check"), "ok");
}
