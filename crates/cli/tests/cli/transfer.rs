//! `twill import` and `twill export`: rows, scripts, whole databases; what is refused; that nothing stays half.

use crate::harness::{Bench, exists, has_stock};

fn select(bench: &Bench, database: &str, sql: &str) -> String {
    bench.ok(&["sql", database, sql, "-f", "quote", "--no-headers"])
}

#[test]
fn csv_makes_a_table_with_the_narrowest_types_that_lose_nothing() {
    let bench = Bench::new();
    bench.write(
        "my city.csv",
        "\u{feff}id,name,zip,share,note\r\n1,\"Basel, BS\",04001,0.5,\r\n2,Zürich,8001,1,\"\"\r\n",
    );
    let ran = bench.run(&["import", "my city.csv", "app.db"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), "imported 2 rows into my city\n"));
    assert_eq!(
        select(&bench, "app.db", "SELECT sql FROM sqlite_schema"),
        "'CREATE TABLE \"my city\"(id INTEGER, name TEXT, zip TEXT, share REAL, note TEXT)'\n"
    );
    assert_eq!(
        select(&bench, "app.db", "SELECT * FROM \"my city\""),
        "1,'Basel, BS','04001',0.5,NULL\n2,'Zürich','8001',1.0,''\n"
    );
}

#[test]
fn names_types_null_and_separator_can_be_chosen() {
    let bench = Bench::new();
    bench.write("a.txt", "1;x;X'00ff'\n-;-;-\n");
    let arguments = [
        "import",
        "a.txt",
        "app.db",
        "-f",
        "csv",
        "-t",
        "t",
        "--separator",
        ";",
        "--no-header",
        "--columns",
        "a,b,c",
        "--types",
        "text",
        "--type",
        "c=BLOB",
        "--null",
        "-",
    ];
    bench.ok(&arguments);
    assert_eq!(select(&bench, "app.db", "SELECT * FROM t"), "'1','x',X'00FF'\nNULL,NULL,NULL\n");
    let piped = bench.run_with(&["import", "-", "app.db", "-f", "tsv", "-t", "p", "--no-header"], b"1\t2\n");
    assert_eq!(piped.code, Some(0), "{piped:?}");
    assert_eq!(select(&bench, "app.db", "SELECT c1, c2 FROM p"), "1,2\n");
    assert_eq!(bench.run(&["import", "a.txt", "app.db"]).code, Some(2));
    assert_eq!(bench.run(&["import", "none.csv", "app.db"]).code, Some(3));
}

#[test]
fn a_table_that_exists_is_refused_appended_or_replaced() {
    let bench = Bench::new();
    bench.write("t.csv", "b,a\n2,1\n");
    bench.ok(&["sql", "app.db", "CREATE TABLE t(a, b TEXT, c DEFAULT 7)"]);
    let refused = bench.run(&["import", "t.csv", "app.db"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("--append") && refused.stderr.contains("--force"), "{refused:?}");
    bench.ok(&["import", "t.csv", "app.db", "--append"]);
    // A column without a type takes what is inferred, one with a type what it makes of it.
    assert_eq!(select(&bench, "app.db", "SELECT * FROM t"), "1,'2',7\n");
    bench.ok(&["import", "t.csv", "app.db", "--force"]);
    assert_eq!(select(&bench, "app.db", "SELECT * FROM t"), "2,1\n");
    bench.write("more.csv", "a,x\n1,2\n");
    let unknown = bench.run(&["import", "more.csv", "app.db", "-t", "t", "--append"]);
    assert!(unknown.stderr.contains("the table t has no column x; it has b, a"), "{unknown:?}");
}

#[test]
fn a_failed_import_names_the_line_and_leaves_nothing() {
    let bench = Bench::new();
    bench.write("short.csv", "a,b\n1,2\n\n3\n");
    bench.write("quote.csv", "a,b\n1,\"x\"y\n");
    bench.write("bad.jsonl", "{\"a\":1}\n{\"a\":}\n");
    bench.write("array.jsonl", "[1]\n");
    bench.write("twice.csv", "a,A\n1,2\n");
    bench
        .write("bad.sql", "CREATE TABLE t(a);\nINSERT INTO t VALUES (1);\nINSERT INTO missing VALUES (2);\n");
    bench.write("cut.sql", "BEGIN;\nCREATE TABLE t(a);\nINSERT INTO t VALUES (1);\n");
    bench.write("rolled.sql", "BEGIN;\nCREATE TABLE t(a);\nROLLBACK; -- due to errors\n");
    let before = bench.names();
    for (file, message) in [
        ("short.csv", "short.csv, line 4: 1 fields where there are 2 columns"),
        ("quote.csv", "line 2: text behind a closing quote"),
        ("bad.jsonl", "bad.jsonl, line 2: expected value"),
        ("array.jsonl", "array.jsonl, line 1: not a JSON object"),
        ("twice.csv", "two columns are named A"),
        ("bad.sql", "bad.sql:3: no such table: missing"),
        ("cut.sql", "cut.sql ends inside a transaction"),
        ("rolled.sql", "rolled.sql:3: the script takes everything back"),
    ] {
        let ran = bench.run(&["import", file, "app.db"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(message), "{ran:?}");
        assert_eq!(bench.names(), before, "{file}");
    }
    bench.ok(&["sql", "app.db", "CREATE TABLE u(a UNIQUE); INSERT INTO u VALUES (2)"]);
    bench.write("u.csv", "a\n1\n2\n");
    let unique = bench.run(&["import", "u.csv", "app.db", "--append"]);
    assert!(unique.stderr.contains("u.csv:3: UNIQUE constraint failed"), "{unique:?}");
    assert_eq!(select(&bench, "app.db", "SELECT * FROM u"), "2\n");
}

#[test]
fn json_lines_keep_every_value() {
    let bench = Bench::new();
    let values = "(1, 'x', x'00ff', 0.1, 1.0, NULL), (-9223372036854775808, '', x'', 9e999, -0.0, CAST(x'61ff' AS TEXT)), \
                  (9007199254740993, 'a' || char(0) || char(10) || '\"', NULL, 1e300, 5e-324, 'ü')";
    bench.ok(&[
        "sql",
        "a.db",
        &format!(
            "CREATE TABLE t(i INTEGER, t TEXT, b BLOB, r REAL, s REAL, m); INSERT INTO t VALUES {values}"
        ),
    ]);
    bench.ok(&["export", "a.db", "t.jsonl"]);
    bench.ok(&["import", "t.jsonl", "b.db"]);
    bench.ok(&["export", "b.db", "u.jsonl"]);
    assert_eq!(bench.read("t.jsonl"), bench.read("u.jsonl"));
    let sql = "SELECT *, typeof(i), typeof(t), typeof(b), typeof(r), typeof(s), typeof(m) FROM t";
    assert_eq!(select(&bench, "a.db", sql), select(&bench, "b.db", sql));
    bench.write("mixed.jsonl", "{\"a\":1,\"b\":true}\n\n{\"b\":[1,{\"z\":0}],\"c\":1.5}\n");
    bench.ok(&["import", "mixed.jsonl", "b.db"]);
    assert_eq!(
        select(&bench, "b.db", "SELECT sql FROM sqlite_schema WHERE name = 'mixed'"),
        "'CREATE TABLE mixed(a INTEGER, b, c REAL)'\n"
    );
    assert_eq!(select(&bench, "b.db", "SELECT * FROM mixed"), "1,1,NULL\nNULL,'[1,{\"z\":0}]',1.5\n");
}

#[test]
fn tables_are_exported_to_a_file_each() {
    let bench = Bench::new();
    bench.ok(&["sql", "a.db", "CREATE TABLE t(a, b); INSERT INTO t VALUES (1, NULL), ('', 'x'); CREATE TABLE \"a/b\"(c); CREATE VIEW v AS SELECT 5 AS five"]);
    let ran = bench.run(&["export", "a.db", "out", "-f", "csv"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), "wrote 2 rows of 2 tables to out\n"));
    assert_eq!(bench.read("out/t.csv"), "a,b\n1,\n\"\",x\n");
    assert_eq!(bench.read("out/a%2Fb.csv"), "c\n");
    assert_eq!(bench.ok(&["export", "a.db", "-", "-f", "csv", "-t", "v"]), "five\n5\n");
    bench.ok(&["export", "a.db", "t.tsv", "-t", "t", "--null", "\\N", "--no-header"]);
    assert_eq!(bench.read("t.tsv"), "1\t\\N\n\"\"\tx\n");
    let several = bench.run(&["export", "a.db", "all.csv"]);
    assert_eq!(several.code, Some(2));
    assert!(several.stderr.contains("--table"), "{several:?}");
    assert_eq!(bench.run(&["export", "a.db", "x.csv", "-t", "none"]).code, Some(1));
    assert_eq!(bench.run(&["export", "a.db", "out", "-f", "csv"]).code, Some(1));
    assert_eq!(bench.run(&["export", "none.db", "x.sql"]).code, Some(3));
    assert!(!exists(&bench.path("none.db")));
}

#[test]
fn nothing_is_overwritten_without_force() {
    let bench = Bench::new();
    bench.ok(&["sql", "a.db", "CREATE TABLE t(a)"]);
    for name in ["x.sql", "x.db", "x.csv"] {
        bench.write(name, "mine");
        let refused = bench.run(&["export", "a.db", name]);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.stderr.contains("--force"), "{refused:?}");
        assert_eq!(bench.read(name), "mine");
        bench.ok(&["export", "a.db", name, "--force"]);
        assert_ne!(std::fs::read(bench.path(name)).unwrap(), b"mine");
    }
    assert_eq!(bench.run(&["export", "a.db", "a.db", "--force"]).code, Some(2));
    bench.write("b.db-wal", "not empty");
    let in_use = bench.run(&["export", "a.db", "b.db", "--force"]);
    assert!(in_use.code == Some(1) && in_use.stderr.contains("b.db-wal"), "{in_use:?}");
    assert!(!bench.names().iter().any(|name| name.starts_with(".twill-")));
}

#[test]
fn whole_databases_are_copied_out_and_in() {
    let bench = Bench::new();
    bench.ok(&["sql", "a.db", "PRAGMA page_size = 8192; CREATE TABLE t(a); INSERT INTO t VALUES (randomblob(100000)); PRAGMA user_version = 9"]);
    bench.ok(&["export", "a.db", "copy.sqlite"]);
    assert!(!bench.names().iter().any(|name| name.starts_with("copy.sqlite-")), "{:?}", bench.names());
    bench.ok(&["import", "copy.sqlite", "b.db"]);
    for sql in ["SELECT hex(a) FROM t", "PRAGMA user_version", "PRAGMA page_size"] {
        assert_eq!(select(&bench, "a.db", sql), select(&bench, "b.db", sql), "{sql}");
    }
    let filled = bench.run(&["import", "copy.sqlite", "b.db"]);
    assert!(filled.code == Some(1) && filled.stderr.contains("--force"), "{filled:?}");
    bench.ok(&["sql", "b.db", "DELETE FROM t"]);
    bench.ok(&["import", "copy.sqlite", "b.db", "--force"]);
    assert_eq!(select(&bench, "b.db", "SELECT length(a) FROM t"), "100000\n");
    assert_eq!(bench.run(&["import", "b.db", "b.db", "--force"]).code, Some(2));
}

#[test]
fn databases_of_the_stock_shell_are_read_in_every_journal_mode() {
    if !has_stock("databases_of_the_stock_shell_are_read_in_every_journal_mode") {
        return;
    }
    let bench = Bench::new();
    for mode in ["delete", "wal"] {
        let name = format!("{mode}.db");
        let sql = format!("PRAGMA journal_mode={mode}; CREATE TABLE t(a); INSERT INTO t VALUES('{mode}');");
        assert_eq!(bench.stock(&[&name, &sql], b"").code, Some(0));
        let before = std::fs::read(bench.path(&name)).unwrap();
        bench.ok(&["check", &name]);
        bench.ok(&["import", &name, &format!("ours-{name}")]);
        assert_eq!(std::fs::read(bench.path(&name)).unwrap(), before);
        bench.ok(&["export", &format!("ours-{name}"), &format!("back-{name}")]);
        let read = bench.stock(&[&format!("back-{name}"), "PRAGMA integrity_check; SELECT a FROM t"], b"");
        assert_eq!(read.stdout, format!("ok\n{mode}\n"), "{read:?}");
    }
}

#[test]
fn a_script_replaces_or_joins_a_database() {
    let bench = Bench::new();
    bench.write("x.sql", "BEGIN;\nCREATE TABLE x(a);\nINSERT INTO x VALUES (1);\nCOMMIT;\n");
    bench.ok(&["sql", "app.db", "CREATE TABLE old(a)"]);
    let filled = bench.run(&["import", "x.sql", "app.db"]);
    assert!(filled.code == Some(1) && filled.stderr.contains("--append adds to it"), "{filled:?}");
    bench.ok(&["import", "x.sql", "app.db", "--append"]);
    assert_eq!(select(&bench, "app.db", "SELECT group_concat(name) FROM sqlite_schema"), "'old,x'\n");
    // The second time it fails at its first statement, and nothing of it stays.
    assert_eq!(bench.run(&["import", "x.sql", "app.db", "--append"]).code, Some(1));
    assert_eq!(select(&bench, "app.db", "SELECT count(*) FROM x"), "1\n");
    bench.ok(&["import", "x.sql", "app.db", "--force"]);
    assert_eq!(select(&bench, "app.db", "SELECT group_concat(name) FROM sqlite_schema"), "'x'\n");
}
