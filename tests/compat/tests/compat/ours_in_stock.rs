//! Files that ours wrote, read by stock SQLite.

use twill_engine::Database;

use crate::common::{FILL, Place, SUMMARY, has_stock, ours, summary};

#[test]
fn after_a_clean_close_there_is_one_file_in_wal_mode_that_stock_reads_whole() {
    if !has_stock() {
        return;
    }
    let expected = summary();
    for page_size in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
        for auto_vacuum in [0, 1, 2] {
            let place = Place::new();
            place.ours(&format!("PRAGMA page_size={page_size}; PRAGMA auto_vacuum={auto_vacuum}; {FILL}"));
            assert_eq!(place.names(), ["app.db"], "page size {page_size}");
            let header = std::fs::read(&place.path).unwrap();
            assert_eq!(header[18..20], [2, 2], "the header says WAL mode");
            assert_eq!(place.stock("PRAGMA integrity_check"), "ok", "page size {page_size}");
            assert_eq!(place.stock("PRAGMA journal_mode"), "wal");
            assert_eq!(place.stock("PRAGMA page_size"), page_size.to_string());
            assert_eq!(place.stock("PRAGMA auto_vacuum"), auto_vacuum.to_string());
            assert_eq!(place.stock(SUMMARY), expected, "page size {page_size}");
        }
    }
}

#[test]
fn a_hot_wal_of_ours_is_recovered_by_stock_with_every_row() {
    if !has_stock() {
        return;
    }
    for page_size in [512, 4096, 65536] {
        let place = Place::new();
        let database = Database::open(&place.url()).unwrap();
        let connection = database.connect().unwrap();
        ours(&connection, &format!("PRAGMA page_size={page_size}; {FILL}"));
        let mut rows = 300;
        for round in 0..6 {
            for _ in 0..20 {
                connection.execute("INSERT INTO t VALUES(NULL, 'late', zeroblob(700))", ()).unwrap();
                rows += 1;
            }
            if round == 3 {
                database.checkpoint().unwrap();
            }
            let copy = place.copy();
            assert_eq!(copy.names(), ["app.db", "app.db-wal"]);
            assert_eq!(copy.stock("PRAGMA integrity_check; SELECT count(*) FROM t"), format!("ok\n{rows}"));
        }
        // What is not committed is not there.
        connection.execute_batch("PRAGMA cache_size=5; BEGIN; DELETE FROM t").unwrap();
        assert_eq!(
            place.copy().stock("PRAGMA integrity_check; SELECT count(*) FROM t"),
            format!("ok\n{rows}")
        );
        connection.execute_batch("ROLLBACK").unwrap();
    }
}

#[test]
fn utf16_databases_of_ours_are_read_by_stock() {
    if !has_stock() {
        return;
    }
    for encoding in ["UTF-16le", "UTF-16be"] {
        let place = Place::new();
        place.ours(&format!("PRAGMA encoding='{encoding}'; {FILL}"));
        assert_eq!(place.stock("PRAGMA encoding"), encoding);
        assert_eq!(place.stock(&format!("PRAGMA integrity_check; {SUMMARY}")), format!("ok\n{}", summary()));
    }
}

#[test]
fn ours_and_stock_take_turns_on_one_file() {
    if !has_stock() {
        return;
    }
    let place = Place::new();
    place.ours("CREATE TABLE turn(who TEXT, n INTEGER)");
    for n in 0..8 {
        place.ours(&format!("INSERT INTO turn VALUES('ours', {n})"));
        if n % 2 == 0 {
            place.stock(&format!("INSERT INTO turn VALUES('stock', {n})"));
        } else {
            // It leaves its WAL behind.
            place.stock_leaving_wal(&format!("INSERT INTO turn VALUES('stock', {n})"));
            assert!(place.beside("-wal").exists());
        }
        let counts = "SELECT who, count(*) FROM turn GROUP BY who ORDER BY who";
        assert_eq!(place.ours(counts), format!("ours|{0}\nstock|{0}", n + 1));
        assert_eq!(
            place.stock(&format!("PRAGMA integrity_check; {counts}")),
            format!("ok\nours|{0}\nstock|{0}", n + 1)
        );
    }
}

impl Place {
    fn stock_leaving_wal(&self, sql: &str) {
        let output =
            crate::common::shell(&self.path).args([".dbconfig no_ckpt_on_close on", sql]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
}
