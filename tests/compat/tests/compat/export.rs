//! Export and import: what stock SQLite dumps of our file is what ours answers, and ours reads a dump back.

use twill_engine::Database;

use crate::common::{Place, has_stock, ours, shell};

/// A schema with most of what a schema can have.
const SAMPLE: &str = r#"
    PRAGMA foreign_keys = ON;
    CREATE TABLE author(id INTEGER PRIMARY KEY, name TEXT NOT NULL COLLATE NOCASE UNIQUE, born REAL, photo BLOB);
    CREATE TABLE book(isbn TEXT PRIMARY KEY, author INTEGER REFERENCES author(id) ON DELETE CASCADE, title TEXT,
        price NUMERIC CHECK(price >= 0), tags TEXT DEFAULT '[]', cents INTEGER AS (CAST(price * 100 AS INTEGER)) STORED)
        WITHOUT ROWID;
    CREATE INDEX book_title ON book(lower(title), price DESC) WHERE price > 1;
    CREATE VIEW shelf AS SELECT name, title, price FROM book JOIN author ON author.id = author;
    CREATE TABLE audit(at INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT);
    CREATE TRIGGER book_added AFTER INSERT ON book BEGIN INSERT INTO audit(what) VALUES('added ' || new.isbn); END;
    CREATE VIRTUAL TABLE words USING fts5(title, body, tokenize='porter');
    CREATE VIRTUAL TABLE area USING rtree(id, left, right, bottom, top);
    INSERT INTO author VALUES(1, 'Ursula', 1929.8, x'00ff10'), (2, 'Stanisław', -0.0, NULL), (3, '作者', 1e300, x'');
    INSERT INTO book(isbn, author, title, price, tags) VALUES('a', 1, 'The Dispossessed', 9.5, '["sf","utopia"]'),
        ('b', 2, 'Solaris', 12, '["sf"]'), ('c', 3, 'it''s "quoted"' || char(10) || 'twice', 0.1, '[]');
    INSERT INTO words VALUES('one', 'the quick brown foxes jumped'), ('two', 'lazy dogs were jumping');
    INSERT INTO area VALUES(1, 0, 10, 0, 10), (2, 5, 15, 5, 15), (3, 20, 30, 20, 30);
    INSERT INTO audit(what) VALUES('big ' || 9223372036854775807), ('nothing' || NULL);
"#;

const QUESTIONS: &[&str] = &[
    "SELECT id, name, printf('%.17g', born), hex(photo), typeof(photo) FROM author ORDER BY id",
    "SELECT isbn, author, title, price, typeof(price), tags, cents FROM book ORDER BY isbn",
    "SELECT * FROM shelf ORDER BY title",
    "SELECT at, what FROM audit ORDER BY at",
    "SELECT seq FROM sqlite_sequence WHERE name = 'audit'",
    "SELECT title FROM words WHERE words MATCH 'jump' ORDER BY rank, title",
    "SELECT highlight(words, 1, '[', ']') FROM words WHERE words MATCH 'dog OR fox' ORDER BY title",
    "SELECT id FROM area WHERE left <= 7 AND right >= 7 AND bottom <= 7 AND top >= 7 ORDER BY id",
    "SELECT isbn, value FROM book, json_each(tags) ORDER BY isbn, value",
    "SELECT title FROM book INDEXED BY book_title WHERE price > 1 ORDER BY lower(title)",
    "SELECT name, rank() OVER (ORDER BY born DESC) FROM author ORDER BY 2",
    "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY name",
    "PRAGMA foreign_key_check",
    "PRAGMA integrity_check",
];

#[test]
fn stock_answers_every_question_about_our_file_as_ours_does() {
    if !has_stock() {
        return;
    }
    let place = Place::new();
    place.ours(SAMPLE);
    for question in QUESTIONS {
        assert_eq!(place.ours(question).trim_end(), place.stock(question), "{question}");
    }
    assert_eq!(place.stock("INSERT INTO words(words) VALUES('integrity-check'); SELECT 1"), "1");
    assert_eq!(place.stock("SELECT rtreecheck('area')"), "ok");
}

#[test]
fn a_dump_of_our_file_read_by_ours_makes_the_same_database() {
    if !has_stock() {
        return;
    }
    let place = Place::new();
    place.ours(SAMPLE);
    let output = shell(&place.path).arg(".dump").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let dump = String::from_utf8(output.stdout).unwrap();
    assert!(
        dump.contains("The Dispossessed") && dump.contains("fts5") && dump.ends_with("COMMIT;\n"),
        "{dump}"
    );
    // The shell keeps line ends in text by replace(); ours needs nothing of the shell to read it.
    let imported = Place::new();
    let database = Database::open(&imported.url()).unwrap();
    database.connect().unwrap().execute_batch(&dump).unwrap_or_else(|error| panic!("{error}\n{dump}"));
    // A dump writes the schema of virtual tables by hand, which a new connection reads.
    let connection = database.connect().unwrap();
    for question in QUESTIONS {
        assert_eq!(ours(&connection, question), place.ours(question), "{question}");
    }
    drop(connection);
    database.close().unwrap();
    let again = shell(&imported.path).arg(".dump").output().unwrap();
    assert_eq!(String::from_utf8(again.stdout).unwrap(), dump, "and the same dump");
}

#[test]
fn a_dump_of_stock_and_its_vacuum_into_open_in_ours() {
    if !has_stock() {
        return;
    }
    let (place, copy) = (Place::new(), Place::new());
    place.stock(SAMPLE);
    place.stock(&format!("VACUUM INTO '{}'", copy.path.display()));
    for question in QUESTIONS {
        assert_eq!(copy.ours(question).trim_end(), place.stock(question), "{question}");
    }
}
