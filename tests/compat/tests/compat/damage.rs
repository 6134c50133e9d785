//! Damaged logs and files: ours reads of a WAL what stock SQLite reads of it, and refuses what it cannot make sense of.

use twill_engine::Database;

use crate::common::{Held, Place, has_stock, ours};

const CORRUPT: i32 = 11;
const FRAME_HEADER: usize = 24;
const PAGE: usize = 1024;

/// A hot WAL of 30 one-row commits.
fn place_with_commits() -> Place {
    let place = Place::new();
    let mut held = Held::on(&place.path);
    held.run(&format!(
        "PRAGMA page_size={PAGE}; PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(id INTEGER PRIMARY KEY, v);"
    ));
    for id in 1..=30 {
        held.run(&format!("INSERT INTO t VALUES({id}, zeroblob({}));", id * 37));
    }
    held.kill();
    place
}

/// Ours and stock read the same of a damaged WAL, each from a copy of its own.
#[track_caller]
fn read_alike(place: &Place, wal: &[u8], what: &str) -> String {
    std::fs::write(place.beside("-wal"), wal).unwrap();
    let sql = "SELECT count(*), max(id), total(length(v)) FROM t";
    let (for_ours, for_stock) = (place.copy(), place.copy());
    let tables = "SELECT count(*) FROM sqlite_master";
    let has_table = for_stock.stock(tables) == "1";
    assert_eq!(for_ours.ours(tables) == "1", has_table, "{what}");
    if !has_table {
        return String::new();
    }
    let (by_ours, by_stock) = (for_ours.ours(sql), for_stock.stock(sql));
    assert_eq!(by_ours, by_stock, "{what}");
    assert_eq!(for_ours.stock("PRAGMA integrity_check"), "ok", "{what}");
    by_ours
}

#[test]
fn a_wal_cut_anywhere_reads_as_in_stock() {
    if !has_stock() {
        return;
    }
    let place = place_with_commits();
    let wal = std::fs::read(place.beside("-wal")).unwrap();
    let whole = read_alike(&place, &wal, "whole");
    assert!(whole.starts_with("30|30|"), "{whole}");
    let frame = FRAME_HEADER + PAGE;
    for cut in
        [0, 1, 31, 32, 33, 32 + frame - 1, 32 + frame, 32 + 2 * frame + 100, wal.len() - frame, wal.len() - 1]
    {
        read_alike(&place, &wal[..cut], &format!("cut at {cut}"));
    }
    let mut longer = wal.clone();
    longer.extend_from_slice(&wal[32..32 + 2 * frame]);
    assert_eq!(read_alike(&place, &longer, "old frames at the end"), whole);
}

#[test]
fn a_corrupt_frame_ends_the_wal_as_in_stock() {
    if !has_stock() {
        return;
    }
    let place = place_with_commits();
    let wal = std::fs::read(place.beside("-wal")).unwrap();
    let frame = FRAME_HEADER + PAGE;
    let frames = (wal.len() - 32) / frame;
    let mut shortest = usize::MAX;
    for number in [0, 1, frames / 3, frames / 2, frames - 2, frames - 1] {
        for byte in [0, 4, 8, 16, FRAME_HEADER, frame - 1] {
            let mut damaged = wal.clone();
            damaged[32 + number * frame + byte] ^= 0x20;
            let rows = read_alike(&place, &damaged, &format!("frame {number}, byte {byte}"));
            let rows: usize = rows.split('|').next().and_then(|count| count.parse().ok()).unwrap_or(0);
            shortest = shortest.min(rows);
            assert!(rows < 30, "frame {number}, byte {byte}: the damage was not noticed");
        }
    }
    assert_eq!(shortest, 0);
    for byte in 0..32 {
        let mut damaged = wal.clone();
        damaged[byte] ^= 0x20;
        read_alike(&place, &damaged, &format!("header byte {byte}"));
    }
}

#[test]
fn the_rows_before_a_corrupt_frame_stay_and_new_ones_follow_them() {
    if !has_stock() {
        return;
    }
    let place = place_with_commits();
    let mut wal = std::fs::read(place.beside("-wal")).unwrap();
    let half = wal.len() / 2;
    wal[half] ^= 1;
    let before = read_alike(&place, &wal, "the middle");
    let before: i64 = before.split('|').next().unwrap().parse().unwrap();
    let database = Database::open(&place.url()).unwrap();
    let connection = database.connect().unwrap();
    connection.execute("INSERT INTO t VALUES(1000, 'after')", ()).unwrap();
    let check = "PRAGMA integrity_check; SELECT count(*), max(id) FROM t";
    assert_eq!(place.copy().stock(check), format!("ok\n{}|1000", before + 1));
    drop(connection);
    database.close().unwrap();
    assert_eq!(place.stock(check), format!("ok\n{}|1000", before + 1));
}

#[test]
fn a_file_that_lost_pages_is_corrupt_and_is_not_extended() {
    let place = Place::new();
    place.ours(crate::common::FILL);
    let whole = std::fs::read(&place.path).unwrap();
    let cut = whole.len() / 2 / 4096 * 4096;
    std::fs::write(&place.path, &whole[..cut]).unwrap();
    for sql in
        ["SELECT count(*), sum(length(bytes)) FROM t NOT INDEXED", "INSERT INTO t VALUES(NULL, NULL, NULL)"]
    {
        let outcome = Database::open(&place.url()).and_then(|database| {
            let outcome = database.connect().and_then(|connection| connection.query(sql, ()));
            // A close may fail on what is missing; it loses nothing.
            let _ = database.close();
            outcome
        });
        let error = outcome.unwrap_err();
        assert_eq!(error.code(), CORRUPT, "{sql}: {error}");
    }
    let after = std::fs::read(&place.path).unwrap();
    assert!(after == whole[..cut], "the file was {} bytes and is {}", cut, after.len());
    // With its pages back it is whole again.
    std::fs::write(&place.path, &whole).unwrap();
    assert_eq!(place.ours("PRAGMA integrity_check"), "ok");
}

#[test]
fn a_wal_of_another_database_is_not_read_into_this_one() {
    if !has_stock() {
        return;
    }
    // Stock SQLite trusts a WAL by its checksums alone, so does ours: both read the same, whatever it is.
    let (one, other) = (place_with_commits(), Place::new());
    other.stock(&format!(
        "PRAGMA page_size={PAGE}; PRAGMA journal_mode=wal; CREATE TABLE other(x); INSERT INTO other VALUES(7)"
    ));
    let before = std::fs::read(&other.path).unwrap();
    let wal = std::fs::read(one.beside("-wal")).unwrap();
    let mut other_size = wal.clone();
    other_size[8..12].copy_from_slice(&512_u32.to_be_bytes());
    std::fs::write(other.beside("-wal"), &other_size).unwrap();
    assert_eq!(other.copy().stock("SELECT x FROM other"), "7", "the header's checksum fails");
    let database = Database::open(&other.url()).unwrap();
    assert_eq!(ours(&database.connect().unwrap(), "SELECT x FROM other"), "7");
    database.close().unwrap();
    assert!(std::fs::read(&other.path).unwrap() == before);
}
