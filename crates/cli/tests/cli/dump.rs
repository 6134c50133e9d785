//! Dumps: what is dumped, read by our shell, by our import and by the stock shell, is the same database again.

use std::fmt::Write as _;

use twill_types::seeded::Chance;

use crate::harness::{Bench, has_stock};

/// A database with everything that is hard to dump.
const HARD: &str = r#"
PRAGMA user_version = 42; PRAGMA application_id = 7;
CREATE TABLE plain(a, b TEXT, c REAL DEFAULT 1.5, CHECK (a <> 'never'));
INSERT INTO plain VALUES (1, 'it''s', 0.1), (x'', '', 9e999), (x'00ff', 'a' || char(0) || 'b' || char(13) || char(10) || 'c\015\000', -9e999),
  (NULL, NULL, NULL), (-9223372036854775808, CAST(x'61ff' AS TEXT), 5e-324), (9223372036854775807, '-- ; /*', 1e300), (-0.0, 'ü日本', 1.0/3);
CREATE TABLE gaps(x); INSERT INTO gaps(rowid, x) VALUES (5, 'five'), (-3, 'minus'), (9223372036854775807, 'max');
CREATE TABLE shadowed(rowid, _rowid_, oid); INSERT INTO shadowed VALUES (7, 8, 9);
CREATE TABLE half(rowid TEXT, x); INSERT INTO half(oid, rowid, x) VALUES (70, 'r', 1);
CREATE TABLE "the order"("group" INTEGER PRIMARY KEY, "a""b"); INSERT INTO "the order" VALUES (3, 'q'), (1, 'r');
CREATE TABLE descending(id INTEGER PRIMARY KEY DESC, x); INSERT INTO descending(rowid, id, x) VALUES (10, 3, 'a'), (20, 2, 'b');
CREATE TABLE counted(id INTEGER PRIMARY KEY AUTOINCREMENT, x); INSERT INTO counted(x) VALUES ('a'), ('b'), ('c'); DELETE FROM counted WHERE id = 3;
CREATE TABLE never_used(id INTEGER PRIMARY KEY AUTOINCREMENT);
CREATE TABLE keyed(k TEXT, n INT, v BLOB, PRIMARY KEY (k, n)) WITHOUT ROWID; INSERT INTO keyed VALUES ('b', 2, x'01'), ('a', 1, NULL);
CREATE TABLE made(a INTEGER, b AS (a * 2) STORED, c TEXT, d AS (c || '!') VIRTUAL); INSERT INTO made(a, c) VALUES (1, 'x'), (2, 'y');
CREATE TABLE tight(i INT, t TEXT, r REAL, b BLOB, a ANY) STRICT; INSERT INTO tight VALUES (1, 't', 2.0, x'02', '3'), (NULL, NULL, NULL, NULL, 4.5);
CREATE TABLE parent(id INTEGER PRIMARY KEY); CREATE TABLE child(p REFERENCES parent ON DELETE CASCADE); PRAGMA foreign_keys = OFF; INSERT INTO child VALUES (99);
CREATE TABLE audit(what); CREATE TRIGGER watch AFTER INSERT ON plain BEGIN INSERT INTO audit VALUES ('seen; ' || new.a); END;
CREATE INDEX partial ON plain(b COLLATE NOCASE DESC, length(b)) WHERE b IS NOT NULL; CREATE UNIQUE INDEX expression ON gaps(x || '');
CREATE VIEW seen AS SELECT a, /* it; */ b FROM plain; CREATE TRIGGER into_view INSTEAD OF INSERT ON seen BEGIN INSERT INTO plain(a) VALUES (new.a); END;
CREATE VIRTUAL TABLE words USING fts5(title, body, tokenize = 'porter'); INSERT INTO words(rowid, title, body) VALUES (10, 'one', 'running dogs'), (20, 'two', 'a dog ran'); DELETE FROM words WHERE rowid = 10;
CREATE VIRTUAL TABLE bare USING fts5(body, content = ''); INSERT INTO bare(rowid, body) VALUES (3, 'nothing kept');
CREATE VIRTUAL TABLE outside USING fts5(b, content = 'plain', content_rowid = 'rowid'); INSERT INTO outside(outside) VALUES ('rebuild');
CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1); INSERT INTO boxes VALUES (1, 0.5, 1.25), (7, -3, 4);
ANALYZE;
"#;

/// Questions whose answers make two databases equal.
const QUESTIONS: &[&str] = &[
    "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY type, name",
    "PRAGMA user_version",
    "PRAGMA application_id",
    "PRAGMA encoding",
    "SELECT rowid, * FROM plain ORDER BY rowid",
    "SELECT rowid, * FROM gaps ORDER BY rowid",
    "SELECT * FROM shadowed",
    "SELECT oid, * FROM half",
    "SELECT * FROM \"the order\"",
    "SELECT rowid, * FROM descending ORDER BY rowid",
    "SELECT * FROM counted",
    "SELECT * FROM sqlite_sequence ORDER BY name",
    "SELECT * FROM sqlite_stat1 ORDER BY tbl, idx",
    "SELECT * FROM keyed",
    "SELECT * FROM made",
    "SELECT *, typeof(i), typeof(r), typeof(a) FROM tight ORDER BY rowid",
    "SELECT * FROM child",
    "SELECT * FROM audit",
    "SELECT rowid, * FROM words WHERE words MATCH 'dogs'",
    "SELECT rowid FROM bare WHERE bare MATCH 'kept'",
    "SELECT rowid FROM outside WHERE outside MATCH 'it'",
    "SELECT * FROM boxes WHERE x0 < 1 ORDER BY id",
    "PRAGMA integrity_check",
];

fn answers(bench: &Bench, database: &str) -> Vec<String> {
    QUESTIONS.iter().map(|sql| bench.ok(&["sql", database, sql, "-f", "jsonl"])).collect()
}

#[test]
fn a_hard_database_is_equal_after_every_way_back() {
    let bench = Bench::new();
    bench.write("hard.sql", HARD);
    bench.ok(&["sql", "a.db", "--file", "hard.sql"]);
    let expected = answers(&bench, "a.db");
    bench.ok(&["export", "a.db", "a.sql"]);
    let text = bench.read("a.sql");

    bench.ok(&["import", "a.sql", "imported.db"]);
    bench.ok(&["sql", "run.db", "--file", "a.sql"]);
    let read = bench.run_with(&["shell", "read.db"], b".read a.sql\n.tables words\n");
    // The connection that read the dump knows its virtual tables.
    assert_eq!((read.code, read.stdout.as_str()), (Some(0), "words\n"), "{read:?}");
    for database in ["imported.db", "run.db", "read.db"] {
        assert_eq!(answers(&bench, database), expected, "{database}");
        assert_eq!(bench.ok(&["export", database, "-", "-f", "sql"]), text, "{database}");
    }
    assert_eq!(bench.run_with(&["shell", "a.db"], b".dump\n").stdout, text);
    if has_stock("a_hard_database_is_equal_after_every_way_back") {
        let loaded = bench.stock(&["-bail", "stock.db"], text.as_bytes());
        assert_eq!((loaded.code, loaded.stderr.as_str()), (Some(0), ""));
        assert_eq!(answers(&bench, "stock.db"), expected);
        assert_eq!(bench.ok(&["export", "stock.db", "-", "-f", "sql"]), text);
        // And what the stock shell dumps, ours reads.
        let theirs = bench.stock(&["stock.db", ".dump gaps keyed made words%"], b"");
        bench.write("theirs.sql", theirs.stdout);
        bench.ok(&["import", "theirs.sql", "theirs.db"]);
        assert_eq!(
            bench.ok(&[
                "sql",
                "theirs.db",
                "SELECT rowid, * FROM words WHERE words MATCH 'dogs'",
                "-f",
                "quote",
                "--no-headers"
            ]),
            "20,'two','a dog ran'\n"
        );
    }
}

#[test]
fn chosen_tables_are_dumped_with_what_belongs_to_them() {
    let bench = Bench::new();
    bench.write("hard.sql", HARD);
    bench.ok(&["sql", "a.db", "--file", "hard.sql"]);
    let dumped = bench.ok(&["export", "a.db", "-", "-f", "sql", "-t", "words", "-t", "gaps"]);
    bench.write("some.sql", &dumped);
    bench.ok(&["import", "some.sql", "b.db"]);
    let tables = bench.ok(&[
        "sql",
        "b.db",
        "SELECT name FROM sqlite_schema WHERE type <> 'index' ORDER BY name",
        "-f",
        "list",
    ]);
    assert_eq!(tables, "gaps\nwords\nwords_config\nwords_content\nwords_data\nwords_docsize\nwords_idx\n");
    assert!(dumped.contains("CREATE UNIQUE INDEX expression"), "{dumped}");
}

#[test]
fn vector_indexes_are_made_anew_and_their_tables_stay_hidden() {
    let bench = Bench::new();
    let sql = "CREATE TABLE v(id INTEGER PRIMARY KEY, e F32_BLOB(3)); CREATE INDEX near ON v(libsql_vector_idx(e)); INSERT INTO \
               v(e) VALUES (vector('[1,2,3]')), (vector('[4,5,6]'))";
    bench.ok(&["sql", "a.db", sql]);
    bench.ok(&["export", "a.db", "a.sql"]);
    bench.ok(&["import", "a.sql", "b.db"]);
    let nearest = "SELECT id FROM vector_top_k('near', vector('[4,5,5]'), 1)";
    assert_eq!(bench.ok(&["sql", "b.db", nearest, "-f", "list"]), "2\n");
    assert_eq!(bench.run_with(&["shell", "b.db"], b".tables\n").stdout, "v\n");
    bench.ok(&["export", "b.db", "tables", "-f", "csv"]);
    assert_eq!(std::fs::read_dir(bench.path("tables")).unwrap().count(), 1);
}

#[test]
fn utf16_databases_stay_utf16() {
    let bench = Bench::new();
    bench.ok(&[
        "sql",
        "a.db",
        "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t(a); INSERT INTO t VALUES ('ü' || char(0) || '日')",
    ]);
    bench.ok(&["export", "a.db", "a.sql"]);
    bench.ok(&["import", "a.sql", "b.db"]);
    for sql in ["PRAGMA encoding", "SELECT a, hex(a) FROM t"] {
        assert_eq!(bench.ok(&["sql", "a.db", sql, "-fjsonl"]), bench.ok(&["sql", "b.db", sql, "-fjsonl"]));
    }
}

/// A literal of any storage class.
fn literal(chance: &mut Chance) -> String {
    match chance.below(8_u32) {
        0 => "NULL".to_owned(),
        1 => i64::from_le_bytes(chance.bytes(8).try_into().unwrap()).saturating_add(1).to_string(),
        2 => chance.range(0..=300_u32).to_string(),
        // Any double, by way of an integer that SQLite converts and an exact power of two.
        3 => format!("({} * 1.0 / {})", chance.range(0..=(1_u64 << 53)), 1_u64 << chance.range(0..=62_u32)),
        4 => format!(
            "{}.{}e{}",
            chance.range(0..=9_u32),
            chance.range(0..=99_999_u32),
            chance.range(0..=300_u32)
        ),
        5 | 6 => {
            let letters =
                ["a", "'", "\"", "\\", "\n", "\r", "\r\n", ";", "--", "é", "日", "\\000", "\\015", " ", "."];
            let mut text = "''".to_owned();
            for _ in 0..chance.range(0..=6_u32) {
                if chance.percent(10) {
                    text.push_str("||char(0)");
                } else {
                    let _ = write!(text, "||'{}'", chance.pick(&letters).replace('\'', "''"));
                }
            }
            text
        }
        _ => {
            let length = chance.range(0..=20_usize);
            let bytes = chance.bytes(length);
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            if chance.percent(20) { format!("CAST(x'{hex}' AS TEXT)") } else { format!("x'{hex}'") }
        }
    }
}

/// A script that makes a random database, and the names of its tables.
fn script(chance: &mut Chance) -> (String, Vec<String>) {
    let names = ["t", "order", "a b", "q\"q", "x.y", "ü"];
    let types = ["", "INTEGER", "TEXT", "REAL", "BLOB", "NUMERIC", "VARCHAR(9)"];
    let mut sql = String::new();
    let mut tables = Vec::new();
    for name in names.iter().take(chance.range(1..=names.len())) {
        let quoted = format!("\"{}\"", name.replace('"', "\"\""));
        let columns = chance.range(1..=4_usize);
        let mut listed: Vec<String> =
            (0..columns).map(|column| format!("\"c {column}\" {}", chance.pick(&types))).collect();
        let ending = match chance.below(4_u32) {
            0 => {
                listed.insert(0, "id INTEGER PRIMARY KEY AUTOINCREMENT".to_owned());
                ""
            }
            1 => {
                listed.insert(0, "id BLOB DEFAULT (randomblob(8)) PRIMARY KEY".to_owned());
                " WITHOUT ROWID"
            }
            2 => {
                listed.push("g AS (hex(\"c 0\"))".to_owned());
                ""
            }
            _ => "",
        };
        let _ = writeln!(sql, "CREATE TABLE {quoted}({}){ending};", listed.join(", "));
        let list: Vec<String> = (0..columns).map(|column| format!("\"c {column}\"")).collect();
        for _ in 0..chance.range(0..=25_u32) {
            let values: Vec<String> = (0..columns).map(|_| literal(chance)).collect();
            let _ =
                writeln!(sql, "INSERT INTO {quoted}({}) VALUES ({});", list.join(", "), values.join(", "));
        }
        if chance.percent(30) {
            let _ = writeln!(sql, "DELETE FROM {quoted} WHERE abs(random()) % 3 = 0;");
        }
        if chance.percent(30) {
            let _ = writeln!(sql, "CREATE INDEX \"i {}\" ON {quoted}(\"c 0\" DESC);", tables.len());
        }
        tables.push(quoted);
    }
    (sql, tables)
}

#[test]
fn random_databases_survive_dumps_files_and_rows() {
    let has_stock = has_stock("random_databases_survive_dumps_files_and_rows");
    for seed in 1..=25 {
        let mut chance = Chance::from_seed(seed);
        let bench = Bench::new();
        let (script, tables) = script(&mut chance);
        bench.write("make.sql", &script);
        bench.ok(&["sql", "a.db", "--file", "make.sql"]);
        bench.ok(&["export", "a.db", "a.sql"]);
        bench.ok(&["import", "a.sql", "from-dump.db"]);
        bench.ok(&["export", "a.db", "copy.db"]);
        let mut others = vec!["from-dump.db", "copy.db"];
        if has_stock {
            let loaded = bench.stock(&["-bail", "stock.db"], &std::fs::read(bench.path("a.sql")).unwrap());
            assert_eq!((loaded.code, loaded.stderr.as_str()), (Some(0), ""), "seed {seed}");
            others.push("stock.db");
        }
        let text = bench.read("a.sql");
        for other in others {
            assert_eq!(bench.ok(&["export", other, "-", "-f", "sql"]), text, "seed {seed}, {other}");
            for table in &tables {
                let sql = format!("SELECT * FROM {table}");
                let rows = |database| bench.ok(&["sql", database, &sql, "-f", "jsonl"]);
                assert_eq!(rows(other), rows("a.db"), "seed {seed}, {other}, {table}");
            }
        }
    }
}
