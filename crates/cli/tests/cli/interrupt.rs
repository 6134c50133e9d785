//! SIGINT and SIGTERM: the command ends, and leaves nothing half.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use twill_types::Door;

use crate::harness::{Bench, exists};

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";

fn signal(child: &Child, name: &str) {
    // The shell's own kill: not every machine has the program.
    let kill = format!("kill {name} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

fn pause(milliseconds: u64) {
    <dyn Door>::system().sleep(Duration::from_millis(milliseconds));
}

fn has_hidden(bench: &Bench) -> bool {
    bench.names().iter().any(|name| name.starts_with(".twill-"))
}

#[test]
fn a_running_statement_is_interrupted() {
    let bench = Bench::new();
    for arguments in [
        ["sql", "app.db", &format!("SELECT 'running'; {ENDLESS} SELECT count(*) FROM n"), "-flist"],
        [
            "sql",
            "app.db",
            &format!("SELECT 'running'; CREATE TABLE t AS {ENDLESS} SELECT i FROM n"),
            "-flist",
        ],
    ] {
        let mut child =
            bench.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "running\n");
        pause(100);
        signal(&child, "-INT");
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{stderr}");
        assert_eq!(stderr, "error: interrupted\n");
    }
    assert_eq!(bench.ok(&["sql", "app.db", "SELECT count(*) FROM sqlite_schema", "-flist"]), "0\n");
}

#[test]
fn an_interrupted_import_of_a_script_leaves_nothing() {
    let bench = Bench::new();
    bench.write("x.sql", format!("CREATE TABLE t(a);\nINSERT INTO t {ENDLESS} SELECT i FROM n;\n"));
    for name in ["-INT", "-TERM"] {
        let mut child = bench.command(&["import", "x.sql", "app.db"]).stderr(Stdio::piped()).spawn().unwrap();
        while !has_hidden(&bench) {
            pause(5);
        }
        pause(100);
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!(bench.names(), ["x.sql"]);
    }
}

#[test]
fn an_interrupted_import_of_rows_or_export_leaves_all_or_nothing() {
    const ROWS: usize = 150_000;
    let bench = Bench::new();
    let rows: String = (0..ROWS).map(|row| format!("{row},some text of row {row}\n")).collect();
    bench.write("big.csv", format!("id,text\n{rows}"));
    let mut interrupted = 0;
    for milliseconds in [20, 60, 120, 200, 300] {
        let mut child =
            bench.command(&["import", "big.csv", "new.db", "-q"]).stderr(Stdio::null()).spawn().unwrap();
        // The new database's file is there once signals are listened to.
        while !exists(&bench.path("new.db")) && child.try_wait().unwrap().is_none() {
            pause(1);
        }
        pause(milliseconds);
        signal(&child, "-INT");
        if child.wait().unwrap().code() == Some(130) {
            interrupted += 1;
            assert_eq!(bench.names(), ["big.csv"]);
        } else {
            let count = bench.ok(&["sql", "new.db", "SELECT count(*) FROM big", "-flist"]);
            assert_eq!(count, format!("{ROWS}\n"));
            std::fs::remove_file(bench.path("new.db")).unwrap();
        }
    }
    assert!(interrupted > 0, "no import was interrupted: the file is too small for this machine");

    bench.ok(&["import", "big.csv", "app.db", "-q"]);
    bench.write("out.jsonl", "what was there");
    let mut child = bench
        .command(&["export", "app.db", "out.jsonl", "--force", "-q"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !has_hidden(&bench) && child.try_wait().unwrap().is_none() {
        pause(1);
    }
    signal(&child, "-INT");
    match child.wait().unwrap().code() {
        Some(130) => assert_eq!(bench.read("out.jsonl"), "what was there"),
        code => {
            assert_eq!(code, Some(0));
            assert_eq!(bench.read("out.jsonl").lines().count(), ROWS);
        }
    }
    assert!(!has_hidden(&bench));
}
