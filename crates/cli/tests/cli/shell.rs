//! `twill shell` without a terminal: dot commands, errors, files.

use crate::harness::Bench;

fn shell(bench: &Bench, arguments: &[&str], input: &str) -> crate::harness::Ran {
    let mut all = vec!["shell", "app.db", "-f", "list"];
    all.extend(arguments);
    bench.run_with(&all, input.as_bytes())
}

fn answers(bench: &Bench, input: &str) -> String {
    let ran = shell(bench, &[], input);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:?}");
    ran.stdout
}

#[test]
fn dot_commands_do_what_the_stock_shell_does() {
    let bench = Bench::new();
    let schema = "CREATE TABLE city(id INTEGER PRIMARY KEY, name TEXT);\nCREATE TABLE tree(a);\nCREATE INDEX by_name ON city(name);\nCREATE VIEW v AS SELECT 1;\n";
    assert_eq!(answers(&bench, schema), "");
    assert_eq!(answers(&bench, ".tables\n"), "city  tree  v\n");
    assert_eq!(answers(&bench, ".tables 'c%'\n"), "city\n");
    assert_eq!(answers(&bench, ".schema\n"), schema);
    assert_eq!(
        answers(&bench, ".schema city\n"),
        "CREATE TABLE city(id INTEGER PRIMARY KEY, name TEXT);\nCREATE INDEX by_name ON city(name);\n"
    );
    assert_eq!(answers(&bench, ".indexes city\n"), "by_name\n");
    assert_eq!(
        answers(
            &bench,
            ".headers on\n.nullvalue -\n.mode csv\nSELECT NULL AS a, 'x,y' AS b;\n.mode insert t\nSELECT 1 AS a;\n.mode\n"
        ),
        "a,b\n-,\"x,y\"\nINSERT INTO t(a) VALUES(1);\ncurrent output mode: insert\n"
    );
    assert_eq!(
        answers(&bench, ".changes on\nINSERT INTO tree VALUES (1), (2);\nSELECT 1;\n"),
        "changes: 2   total_changes: 2\n1\nchanges: 0   total_changes: 2\n"
    );
    assert!(answers(&bench, ".timer on\nSELECT 1;\n").starts_with("1\nRun Time: real 0."));
    assert_eq!(answers(&bench, ".print a 'b  c'\n.quit\nSELECT 1;\n"), "a b  c\n");
    assert!(answers(&bench, ".help\n").lines().count() >= 15);
    assert!(answers(&bench, ".help mode\n").starts_with(".mode"));
    assert!(answers(&bench, ".databases\n").contains("app.db"));
    assert!(answers(&bench, ".show\n").contains("mode: list"));
    assert_eq!(shell(&bench, &[], ".exit 7\n").code, Some(7));
}

#[test]
fn output_goes_to_files_and_comes_back() {
    let bench = Bench::new();
    let input =
        ".output a.txt\nSELECT 1;\nSELECT 2;\n.output\nSELECT 3;\n.once b.txt\nSELECT 4;\nSELECT 5;\n";
    assert_eq!(answers(&bench, input), "3\n5\n");
    assert_eq!(bench.read("a.txt"), "1\n2\n");
    assert_eq!(bench.read("b.txt"), "4\n");
    assert_eq!(shell(&bench, &[], ".output none/x\n").code, Some(3));
}

#[test]
fn files_are_read_and_name_their_errors() {
    let bench = Bench::new();
    bench.write("in.sql", ".print reading\nSELECT 1;\nCREATE TRIGGER x AFTER INSERT ON missing BEGIN\nSELECT 1; END;\nSELECT 2;\n");
    let ran = shell(&bench, &[], ".read in.sql\nSELECT 3;\n");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), "reading\n1\n"));
    assert!(ran.stderr.starts_with("error: in.sql:3: no such table: main.missing"), "{ran:?}");
    bench.write("loop.sql", ".read loop.sql\n");
    assert_eq!(shell(&bench, &[], ".read loop.sql\n").code, Some(1));
    assert_eq!(shell(&bench, &[], ".read none.sql\n").code, Some(3));
}

#[test]
fn the_first_error_ends_piped_input_unless_told_to_keep_going() {
    let bench = Bench::new();
    let input = "SELECT 1;\nSELECT bad;\n.bogus\nSELECT 2;\n";
    let stopped = shell(&bench, &[], input);
    assert_eq!((stopped.code, stopped.stdout.as_str()), (Some(1), "1\n"));
    assert!(stopped.stderr.starts_with("error: standard input:2: no such column: bad"), "{stopped:?}");
    let kept = shell(&bench, &["--keep-going"], input);
    assert_eq!((kept.code, kept.stdout.as_str()), (Some(1), "1\n2\n"));
    assert!(kept.stderr.contains("unknown command .bogus"), "{kept:?}");
    let unknown = shell(&bench, &[], ".bogus\n");
    assert_eq!(
        (unknown.code, unknown.stderr.as_str()),
        (Some(2), "error: unknown command .bogus; .help lists them\n")
    );
    let wrong = shell(&bench, &[], ".mode\n.headers\n");
    assert_eq!((wrong.code, wrong.stderr.as_str()), (Some(2), "error: usage: .headers on|off\n"));
}

#[test]
fn the_last_statement_needs_no_semicolon_and_an_open_transaction_is_rolled_back() {
    let bench = Bench::new();
    let ran =
        shell(&bench, &[], "CREATE TABLE t(a);\nBEGIN;\nINSERT INTO t VALUES (1);\nSELECT count(*) FROM t");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "1\n"));
    assert_eq!(ran.stderr, "the open transaction is rolled back\n");
    assert_eq!(answers(&bench, "SELECT count(*) FROM t"), "0\n");
}

#[test]
fn csv_is_imported_as_one_whole() {
    let bench = Bench::new();
    bench.write("city.csv", "name,people\nBasel,177000\n\"Zürich, ZH\",\n");
    assert_eq!(
        answers(&bench, ".import city.csv city\nSELECT name, people, typeof(people) FROM city;\n"),
        "Basel|177000|integer\nZürich, ZH||null\n"
    );
    // As in the stock shell, the first line is a row for a table that exists.
    assert_eq!(answers(&bench, ".import --csv --skip 1 city.csv city\nSELECT count(*) FROM city;\n"), "4\n");
    bench.write("bad.csv", "a,1\nb,2,3\n");
    let bad = shell(&bench, &[], ".import bad.csv city\n");
    assert_eq!(bad.code, Some(1));
    assert!(bad.stderr.contains("bad.csv, line 2: 3 fields where there are 2 columns"), "{bad:?}");
    let inside = shell(
        &bench,
        &["--keep-going"],
        "BEGIN;\nINSERT INTO city VALUES ('x', 1);\n.import bad.csv city\nCOMMIT;\n",
    );
    assert_eq!(inside.code, Some(1));
    assert_eq!(answers(&bench, "SELECT count(*) FROM city;\n"), "5\n");
}
