//! Files that stock SQLite wrote, left behind in every state, opened by ours.

use crate::common::{FILL, Held, Place, SUMMARY, beside, has_stock, stock, summary};

/// Ours reads everything, writes, closes; stock finds it all.
#[track_caller]
fn taken_over(place: &Place, what: &str) {
    assert_eq!(place.ours(&format!("PRAGMA integrity_check; {SUMMARY}")), summary(), "{what}");
    assert_eq!(place.ours("PRAGMA integrity_check"), "ok", "{what}");
    place.ours("INSERT INTO t VALUES(1000, 'ours', x'00')");
    assert_eq!(place.names(), ["app.db"], "{what}");
    assert_eq!(
        place.stock("PRAGMA integrity_check; SELECT count(*), max(id) FROM t"),
        "ok\n301|1000",
        "{what}"
    );
    assert_eq!(place.stock("PRAGMA journal_mode"), "wal", "{what}");
}

#[test]
fn clean_files_of_every_page_size_and_mode() {
    if !has_stock() {
        return;
    }
    for page_size in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
        for (mode, auto_vacuum) in [("wal", 0), ("delete", 1), ("persist", 2), ("truncate", 0)] {
            let place = Place::new();
            place.stock(&format!(
                "PRAGMA page_size={page_size}; PRAGMA auto_vacuum={auto_vacuum}; PRAGMA journal_mode={mode}; {FILL}"
            ));
            let what = format!("page size {page_size}, {mode}, auto_vacuum {auto_vacuum}");
            if mode == "persist" {
                // Its journal has a header of zeros and stays, as stock SQLite leaves it, until somebody deletes it.
                assert_eq!(place.ours(SUMMARY), summary(), "{what}");
                assert_eq!(place.stock("PRAGMA integrity_check"), "ok", "{what}");
            } else {
                taken_over(&place, &what);
            }
            assert_eq!(place.ours("PRAGMA page_size"), page_size.to_string());
            assert_eq!(place.ours("PRAGMA auto_vacuum"), auto_vacuum.to_string());
        }
    }
}

#[test]
fn utf16_files() {
    if !has_stock() {
        return;
    }
    for encoding in ["UTF-16le", "UTF-16be"] {
        let place = Place::new();
        place.stock(&format!("PRAGMA encoding='{encoding}'; PRAGMA journal_mode=wal; {FILL}"));
        taken_over(&place, encoding);
    }
}

/// A stock process in WAL mode, killed with everything in its WAL, and a transaction under way that spilled into it.
fn hot_wal(page_size: u32) -> Place {
    let place = Place::new();
    let mut held = Held::on(&place.path);
    held.run(&format!(
        "PRAGMA page_size={page_size}; PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; {FILL}"
    ));
    held.run("PRAGMA cache_size=5; BEGIN; UPDATE t SET bytes = zeroblob(2000);");
    held.kill();
    assert!(std::fs::metadata(place.beside("-wal")).unwrap().len() > 500_000, "the transaction spilled");
    place
}

#[test]
fn a_hot_wal_with_an_unfinished_transaction() {
    if !has_stock() {
        return;
    }
    for page_size in [512, 4096, 65536] {
        taken_over(&hot_wal(page_size), &format!("page size {page_size}"));
    }
}

#[test]
fn a_hot_wal_opened_read_only_is_read_and_left_as_it_is() {
    if !has_stock() {
        return;
    }
    let place = hot_wal(4096);
    let before = [std::fs::read(&place.path).unwrap(), std::fs::read(place.beside("-wal")).unwrap()];
    let database = twill_engine::Database::open(&format!("{}?mode=ro", place.url())).unwrap();
    assert_eq!(crate::common::ours(&database.connect().unwrap(), SUMMARY), summary());
    database.close().unwrap();
    assert!(before == [std::fs::read(&place.path).unwrap(), std::fs::read(place.beside("-wal")).unwrap()]);
    taken_over(&place, "after the read-only open");
}

#[test]
fn a_hot_journal_is_rolled_back() {
    if !has_stock() {
        return;
    }
    for page_size in [512, 4096, 65536] {
        let place = Place::new();
        place.stock(&format!("PRAGMA page_size={page_size}; {FILL}"));
        let clean = std::fs::read(&place.path).unwrap();
        let mut held = Held::on(&place.path);
        held.run("PRAGMA cache_size=3; BEGIN; UPDATE t SET bytes = zeroblob(2500), name = 'torn';");
        held.kill();
        let journal = std::fs::read(place.beside("-journal")).unwrap();
        assert_ne!(journal[..8], [0; 8], "the journal is hot");
        assert!(std::fs::read(&place.path).unwrap() != clean, "the transaction reached the file");
        taken_over(&place, &format!("page size {page_size}"));
    }
}

#[test]
fn a_hot_journal_beside_a_file_opened_read_only_is_refused_and_nothing_changes() {
    if !has_stock() {
        return;
    }
    let place = Place::new();
    place.stock(FILL);
    let mut held = Held::on(&place.path);
    held.run("PRAGMA cache_size=3; BEGIN; UPDATE t SET bytes = zeroblob(2500), name = 'torn';");
    held.kill();
    let before = [std::fs::read(&place.path).unwrap(), std::fs::read(place.beside("-journal")).unwrap()];
    let error = twill_engine::Database::open(&format!("{}?mode=ro", place.url())).unwrap_err();
    assert!(error.message().contains("journal") && error.message().contains("for writing"), "{error}");
    assert!(
        before == [std::fs::read(&place.path).unwrap(), std::fs::read(place.beside("-journal")).unwrap()]
    );
}

/// Rewrites a WAL's checksums as a big-endian machine would have made them.
fn make_big_endian(wal: &mut [u8]) {
    fn sum((mut first, mut second): (u32, u32), bytes: &[u8]) -> (u32, u32) {
        for pair in bytes.chunks_exact(8) {
            first =
                first.wrapping_add(u32::from_be_bytes(pair[..4].try_into().unwrap())).wrapping_add(second);
            second =
                second.wrapping_add(u32::from_be_bytes(pair[4..].try_into().unwrap())).wrapping_add(first);
        }
        (first, second)
    }
    fn put(at: &mut [u8], (first, second): (u32, u32)) {
        at[..4].copy_from_slice(&first.to_be_bytes());
        at[4..8].copy_from_slice(&second.to_be_bytes());
    }
    assert_eq!(wal[3], 0x82, "the machine that wrote it was little-endian");
    wal[3] = 0x83;
    let page_size = u32::from_be_bytes(wal[8..12].try_into().unwrap()) as usize;
    let mut chain = sum((0, 0), &wal[..24]);
    put(&mut wal[24..32], chain);
    for frame in wal[32..].chunks_exact_mut(24 + page_size) {
        chain = sum(sum(chain, &frame[..8]), &frame[24..]);
        put(&mut frame[16..24], chain);
    }
}

#[test]
fn a_wal_with_big_endian_checksums() {
    if !has_stock() {
        return;
    }
    for page_size in [512, 4096] {
        let place = hot_wal(page_size);
        let mut wal = std::fs::read(place.beside("-wal")).unwrap();
        make_big_endian(&mut wal);
        std::fs::write(place.beside("-wal"), &wal).unwrap();
        let copy = place.copy();
        assert_eq!(copy.stock(SUMMARY), summary(), "stock SQLite takes the rewritten WAL");
        let kept = place.copy();
        // A kill of ours while the big-endian WAL is continued: stock must read on.
        let database = twill_engine::Database::open(&kept.url()).unwrap();
        let connection = database.connect().unwrap();
        connection.execute("INSERT INTO t VALUES(1000, 'ours', x'00')", ()).unwrap();
        let answer = kept.copy().stock("PRAGMA integrity_check; SELECT count(*), max(id) FROM t");
        assert_eq!(answer, "ok\n301|1000");
        drop((connection, database));
        taken_over(&place, "big-endian checksums");
    }
}

#[test]
fn an_empty_file_and_one_with_a_leftover_journal_become_databases() {
    if !has_stock() {
        return;
    }
    let place = Place::new();
    std::fs::write(&place.path, b"").unwrap();
    std::fs::write(beside(&place.path, "-journal"), b"").unwrap();
    place.ours(FILL);
    assert_eq!(
        stock(&place.path, &format!("PRAGMA integrity_check; {SUMMARY}")).unwrap(),
        format!("ok\n{}", summary())
    );
}
