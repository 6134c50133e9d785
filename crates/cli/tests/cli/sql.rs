//! `twill sql`: formats, parameters, several statements, errors and exit codes.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use crate::harness::Bench;

#[test]
fn statements_run_in_order_and_results_come_in_every_format() {
    let bench = Bench::new();
    let sql = "CREATE TABLE t(a INTEGER, b TEXT, c BLOB); INSERT INTO t VALUES (1, 'x,\"y', x'00ff'), (9007199254740993, NULL, NULL)";
    assert_eq!(bench.ok(&["sql", "app.db", sql]), "");
    let select = "SELECT * FROM t ORDER BY a";
    let cases = [
        ("csv", "a,b,c\n1,\"x,\"\"y\",X'00FF'\n9007199254740993,,\n"),
        (
            "json",
            "[{\"a\":1,\"b\":\"x,\\\"y\",\"c\":{\"blob\":\"AP8=\"}},\n{\"a\":{\"int\":\"9007199254740993\"},\"b\":null,\"c\":null}]\n",
        ),
        (
            "jsonl",
            "{\"a\":1,\"b\":\"x,\\\"y\",\"c\":{\"blob\":\"AP8=\"}}\n{\"a\":{\"int\":\"9007199254740993\"},\"b\":null,\"c\":null}\n",
        ),
        ("quote", "1,'x,\"y',X'00FF'\n9007199254740993,NULL,NULL\n"),
        ("list", "1|x,\"y|\u{0}\u{fffd}\n9007199254740993||\n"),
    ];
    for (format, expected) in cases {
        assert_eq!(bench.ok(&["sql", "app.db", select, "--format", format]), expected, "{format}");
    }
    assert_eq!(
        bench.ok(&["sql", "app.db", "SELECT 1 AS a; SELECT NULL AS b;", "SELECT 3 AS c"]),
        "+---+\n| a |\n+---+\n| 1 |\n+---+\n+------+\n| b    |\n+------+\n| NULL |\n+------+\n+---+\n| c |\n+---+\n| 3 |\n+---+\n"
    );
    let plain = ["sql", "app.db", "SELECT NULL", "-f", "csv", "--no-headers", "--nullvalue", "-"];
    assert_eq!(bench.ok(&plain), "-\n");
}

#[test]
fn statements_come_from_a_file_or_from_standard_input() {
    let bench = Bench::new();
    bench.write("a.sql", "SELECT 1;\nSELECT\n  2;\n");
    assert_eq!(bench.ok(&["sql", ":memory:", "--file", "a.sql", "-f", "list"]), "1\n2\n");
    let piped = bench.run_with(&["sql", ":memory:", "-", "-f", "list"], b"SELECT 'a;\nb'; SELECT 2");
    assert_eq!((piped.code, piped.stdout.as_str()), (Some(0), "a;\nb\n2\n"));
    bench.write("bad.sql", "SELECT 1;\n\nSELECT missing;\nSELECT 2;\n");
    let bad = bench.run(&["sql", ":memory:", "--file", "bad.sql", "-f", "list"]);
    assert_eq!((bad.code, bad.stdout.as_str()), (Some(1), "1\n"));
    assert_eq!(bad.stderr, "error: bad.sql:3: no such column: missing\n  SELECT missing;\n         ^\n");
    assert_eq!(bench.run(&["sql", ":memory:", "--file", "none.sql"]).code, Some(3));
}

#[test]
fn parameters_are_bound_by_name_and_number() {
    let bench = Bench::new();
    let sql = "SELECT typeof(:a), typeof(@b), typeof($c), typeof(?4), typeof(:e), :e";
    let arguments = [
        "sql",
        ":memory:",
        sql,
        "-f",
        "list",
        "--param",
        "a=42",
        "-p",
        ":b=0.5",
        "--param",
        "c=it's",
        "-p",
        "4=007",
        "--param-text",
        "e=42",
    ];
    assert_eq!(bench.ok(&arguments), "integer|real|text|text|text|42\n");
    assert_eq!(
        bench.ok(&["sql", ":memory:", "SELECT typeof(:n)", "--param-null", "n", "-f", "list"]),
        "null\n"
    );
    let missing = bench.run(&["sql", ":memory:", "SELECT :a, :b", "-p", "a=1"]);
    assert_eq!(missing.code, Some(2));
    assert!(missing.stderr.contains("--param b=VALUE"), "{missing:?}");
    assert_eq!(bench.run(&["sql", ":memory:", "SELECT :a", "-p", "a"]).code, Some(2));
}

#[test]
fn failures_have_their_exit_codes_and_say_what_to_do() {
    let bench = Bench::new();
    bench.ok(&["sql", "app.db", "CREATE TABLE t(a UNIQUE); INSERT INTO t VALUES (1)"]);
    let constraint =
        bench.run(&["sql", "app.db", "INSERT INTO t VALUES (2); INSERT INTO t VALUES (1); DELETE FROM t"]);
    assert_eq!(
        (constraint.code, constraint.stderr.as_str()),
        (Some(1), "error: UNIQUE constraint failed: t.a\n")
    );
    assert_eq!(bench.ok(&["sql", "app.db", "SELECT count(*) FROM t", "-f", "list"]), "2\n");

    let read_only = bench.run(&["sql", "app.db", "DELETE FROM t", "--read-only"]);
    assert_eq!(read_only.code, Some(1));
    assert!(read_only.stderr.contains("hint: the database is open for reading only"), "{read_only:?}");

    let unfinished = bench.run(&["sql", "app.db", "BEGIN; DELETE FROM t"]);
    assert_eq!(unfinished.code, Some(1));
    assert!(unfinished.stderr.contains("COMMIT is missing"), "{unfinished:?}");
    assert_eq!(bench.ok(&["sql", "app.db", "SELECT count(*) FROM t", "-f", "list"]), "2\n");

    for (arguments, code) in [
        (&["sql", "none/app.db", "SELECT 1"][..], 3),
        (&["sql", "file:none.db?mode=ro", "SELECT 1"], 3),
        (&["sql", "app.db?mode=ro", "SELECT 1"], 3),
        (&["sql", "s3://bucket/x", "SELECT 1"], 3),
        (&["sql", "app.db"], 2),
        (&["sql"], 2),
        (&["sql", "app.db", ".tables"], 2),
        (&["bogus"], 2),
        (&["sql", "app.db", "SELECT 1", "--format", "xml"], 2),
    ] {
        let ran = bench.run(arguments);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(!ran.stderr.is_empty() && ran.stdout.is_empty(), "{ran:?}");
        // A message names a thing once.
        assert!(ran.stderr.matches("cannot open").count() <= 1, "{ran:?}");
    }
}

#[test]
fn a_database_that_nothing_was_written_to_is_not_made() {
    let bench = Bench::new();
    assert_eq!(bench.run(&["sql", "typo.db", "SELECT * FROM missing"]).code, Some(1));
    assert_eq!(bench.run(&["sql", "typo.db", "SELECT 1"]).code, Some(0));
    assert_eq!(bench.run(&["sql", "typo.db", "BEGIN; CREATE TABLE t(a)"]).code, Some(1));
    assert_eq!(bench.run_with(&["shell", "typo.db"], b".tables\n").code, Some(0));
    assert_eq!(bench.names(), [""; 0]);
    // One that was there, and empty, stays.
    bench.write("empty.db", "");
    bench.ok(&["sql", "empty.db", "SELECT 1"]);
    bench.ok(&["sql", "made.db", "PRAGMA user_version = 1"]);
    assert_eq!(bench.names(), ["empty.db", "made.db"]);
    assert!(bench.run(&["app.db"]).stderr.contains("hint: to open a database: twill shell URL"));
}

#[test]
fn a_database_that_another_process_has_open_is_exit_code_5() {
    let bench = Bench::new();
    bench.ok(&["sql", "app.db", "CREATE TABLE t(a)"]);
    let mut holder = bench.command(&["shell", "app.db", "-f", "list"]);
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(holder.stdin.as_mut().unwrap(), b"SELECT 'open';\n").unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "open\n");
    for arguments in
        [&["sql", "app.db", "SELECT 1"][..], &["check", "app.db"], &["export", "app.db", "x.sql"]]
    {
        let ran = bench.run(arguments);
        assert_eq!(ran.code, Some(5), "{ran:?}");
        assert!(ran.stderr.contains("hint: one process has a database open at a time"), "{ran:?}");
    }
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    bench.ok(&["sql", "app.db", "SELECT 1"]);
}

#[test]
fn rows_stream_and_a_closed_pipe_is_quiet() {
    let bench = Bench::new();
    // Endless: only streaming ever shows a row of it.
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
    for format in ["csv", "jsonl", "json", "list"] {
        let mut command = bench.command(&["sql", ":memory:", endless, "-f", format]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = [0; 4096];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(141), "{format}");
        assert_eq!(stderr, "");
    }
}

#[test]
fn no_colours_without_a_terminal() {
    let bench = Bench::new();
    let ran = bench.run(&["sql", ":memory:", "SELECT NULL; SELECT missing"]);
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'), "{ran:?}");
}

#[test]
fn text_that_is_not_utf8_arrives_as_it_is() {
    let bench = Bench::new();
    let sql = "SELECT CAST(x'61ff' AS TEXT) AS t";
    assert_eq!(bench.ok(&["sql", ":memory:", sql, "-f", "jsonl"]), "{\"t\":{\"text\":\"Yf8=\"}}\n");
    assert_eq!(bench.ok(&["sql", ":memory:", sql, "-f", "quote"]), "CAST(X'61FF' AS TEXT)\n");
    let output = bench.command(&["sql", ":memory:", sql, "-f", "csv"]).output().unwrap();
    assert_eq!(output.stdout, b"t\na\xff\n");
}

#[test]
fn help_manual_and_completions_name_every_subcommand_and_exit_code() {
    let bench = Bench::new();
    let help = bench.ok(&["--help"]);
    let manual = bench.ok(&["man"]);
    for name in ["sql", "shell", "check", "import", "export", "completions", "man"] {
        assert!(help.contains(&format!("\n  {name} ")), "{name} is not in --help");
        assert!(manual.contains(&format!("twill {name}")), "{name} is not in the manual");
        for shell in ["bash", "zsh", "fish"] {
            assert!(bench.ok(&["completions", shell]).contains(name), "{name} is not completed by {shell}");
        }
    }
    for code in ["0", "1", "2", "3", "4", "5", "130", "141"] {
        assert!(help.contains(&format!("\n  {code} ")), "{code} is not in --help");
        assert!(manual.contains(&format!(".TP\n{code}\n")), "{code} is not in the manual");
    }
}
