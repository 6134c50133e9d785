//! `twill check`: what it tells, what it finds, that it writes nothing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use crate::harness::Bench;

#[test]
fn a_sound_database_is_told_and_not_touched() {
    let bench = Bench::new();
    bench.ok(&[
        "sql",
        "app.db",
        "CREATE TABLE t(a PRIMARY KEY); CREATE VIEW v AS SELECT 1; INSERT INTO t VALUES (1)",
    ]);
    let before = std::fs::read(bench.path("app.db")).unwrap();
    let names = bench.names();
    let told = bench.ok(&["check", "app.db"]);
    for part in [
        "app.db, 12288 bytes",
        "none: everything is in the file",
        "3 of 4096 bytes",
        "index 1, table 1, view 1",
    ] {
        let part = part.replace("index 1, ", "");
        assert!(told.contains(&part), "{part}: {told}");
    }
    assert!(told.ends_with("integrity_check    ok\nforeign_key_check  ok\n"), "{told}");
    assert_eq!(std::fs::read(bench.path("app.db")).unwrap(), before);
    assert_eq!(bench.names(), names);
    assert_eq!(bench.run(&["check", "none.db"]).code, Some(3));
    assert!(!crate::harness::exists(&bench.path("none.db")));
}

#[test]
fn a_database_whose_process_was_killed_is_checked_with_its_log() {
    let bench = Bench::new();
    let mut shell = bench.command(&["shell", "app.db", "-f", "list"]);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let input = b"CREATE TABLE t(a); INSERT INTO t VALUES (1), (2);\nSELECT 'durable';\n";
    shell.stdin.as_mut().unwrap().write_all(input).unwrap();
    let mut line = String::new();
    BufReader::new(shell.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "durable\n");
    shell.kill().unwrap();
    shell.wait().unwrap();
    let log = std::fs::read(bench.path("app.db-wal")).unwrap();
    let told = bench.ok(&["check", "app.db"]);
    assert!(told.contains(&format!("log (-wal)         {} bytes beside the file", log.len())), "{told}");
    assert_eq!(std::fs::read(bench.path("app.db-wal")).unwrap(), log);
    assert_eq!(bench.ok(&["sql", "app.db", "SELECT count(*) FROM t", "-f", "list"]), "2\n");
}

#[test]
fn damage_is_listed_with_exit_code_4() {
    let bench = Bench::new();
    bench.ok(&[
        "sql",
        "app.db",
        "PRAGMA foreign_keys = OFF; CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p); INSERT INTO c VALUES (7)",
    ]);
    let orphan = bench.run(&["check", "app.db"]);
    assert_eq!(orphan.code, Some(4), "{orphan:?}");
    assert!(orphan.stdout.contains("foreign_key_check  row 1 of c has no parent in p"), "{orphan:?}");
    assert!(orphan.stderr.contains("1 finding; the database is damaged"), "{orphan:?}");

    let sql = "CREATE TABLE t(a TEXT); CREATE INDEX i ON t(a); WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n \
               WHERE x < 500) INSERT INTO t SELECT hex(randomblob(20)) FROM n";
    bench.ok(&["sql", "torn.db", sql]);
    let mut bytes = std::fs::read(bench.path("torn.db")).unwrap();
    let length = bytes.len();
    bytes[length - 4096..length - 2048].fill(0xa5);
    bench.write("torn.db", &bytes);
    let torn = bench.run(&["check", "torn.db"]);
    assert_eq!(torn.code, Some(4), "{torn:?}");
    assert!(torn.stdout.contains("integrity_check") || torn.stderr.contains("malformed"), "{torn:?}");

    bench.write("text.db", "this is no database ".repeat(100));
    assert_eq!(bench.run(&["check", "text.db"]).code, Some(4));
}
