//! The storage over real files.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "test code"
)]

mod common;
#[path = "common/gate.rs"]
mod gate;

use std::path::Path;
use std::sync::Arc;

use common::{append, commit, image, page_size, read, read_all};
use twill_types::{Door, PageNo, Synchronous};
use twill_vfs_local::disk::OsDisk;
use twill_vfs_local::{Conversion, LocalFileStorage, LocalOptions, Mode, OpenError};
use twill_vfs_trait::{Commit, PageImage, Storage, StorageError, Wait};

fn open(path: &Path) -> Arc<LocalFileStorage> {
    open_with(path, LocalOptions::default()).unwrap()
}

fn open_with(path: &Path, options: LocalOptions) -> Result<Arc<LocalFileStorage>, OpenError> {
    LocalFileStorage::open(path, options, <dyn Door>::system())
}

fn quiet() -> LocalOptions {
    LocalOptions { background: false, ..LocalOptions::default() }
}

#[test]
fn commits_are_there_after_a_drop_and_after_a_close() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let wal = dir.path().join("app.db-wal");
    let storage = open(&path);
    assert_eq!(storage.snapshot().unwrap().page_count(), 0);
    commit(&*storage, &[2, 3], 7, 3).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 3 * 512, "the first commit reaches the file itself");
    commit(&*storage, &[3], 8, 4).unwrap();
    drop(storage);
    let storage = open(&path);
    let at = storage.snapshot().unwrap();
    assert_eq!(at.page_count(), 4);
    assert_eq!(read(&*storage, &at, 1), image(1, 8, 4));
    assert_eq!(read(&*storage, &at, 2), image(2, 7, 4));
    assert_eq!(read(&*storage, &at, 3), image(3, 8, 4));
    assert_eq!(read(&*storage, &at, 4), vec![0; 512]);
    storage.close().unwrap();
    storage.close().unwrap();
    assert!(!wal.exists());
    assert!(matches!(storage.snapshot(), Err(StorageError::Unavailable { .. })));
    let file = std::fs::read(&path).unwrap();
    assert_eq!(file.len(), 4 * 512);
    assert_eq!(&file[1024..1536], image(3, 8, 4));
    let storage = open(&path);
    assert_eq!(read(&*storage, &storage.snapshot().unwrap(), 3), image(3, 8, 4));
}

/// The WAL beside `path`.
fn wal_of(path: &Path) -> std::path::PathBuf {
    path.with_extension("db-wal")
}

/// A database whose WAL holds these fills, one commit each of pages 1..=4, and whose storage was killed.
fn killed(dir: &Path, fills: &[u32]) -> std::path::PathBuf {
    let path = dir.join("app.db");
    let storage = open_with(&path, quiet()).unwrap();
    for fill in fills {
        commit(&*storage, &[2, 3, 4], *fill, 4).unwrap();
    }
    drop(storage);
    path
}

fn newest(path: &Path) -> Vec<Vec<u8>> {
    let storage = open_with(path, quiet()).unwrap();
    read_all(&*storage, &storage.snapshot().unwrap())
}

fn state(fill: u32) -> Vec<Vec<u8>> {
    (1..=4).map(|page| image(page, fill, 4)).collect()
}

#[test]
fn a_damaged_tail_is_left_out_and_nothing_before_it() {
    const COMMIT: usize = 4 * (24 + 512);
    let dir = tempfile::tempdir().unwrap();
    let path = killed(dir.path(), &[1, 2, 3]);
    let whole = std::fs::read(wal_of(&path)).unwrap();
    assert_eq!(whole.len(), 32 + 3 * COMMIT);
    // Where the log is damaged, and which commit is then the newest. The first is in the file only in part, so at
    // least it must be there.
    let cases = [
        (32 + 3 * COMMIT - 1, 2, "the last byte"),
        (32 + 2 * COMMIT + 8, 2, "a salt of the third commit"),
        (32 + 2 * COMMIT + 17, 2, "a checksum of the third commit"),
        (32 + 2 * COMMIT - 536 + 100, 1, "the page of the second commit frame"),
        (32 + COMMIT + 3, 1, "a page number of the second commit"),
    ];
    for (at, fill, what) in cases {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(wal_of(&path), &damaged).unwrap();
        assert_eq!(newest(&path), state(fill), "damaged: {what}");
    }
    for cut in [32 + 3 * COMMIT - 1, 32 + 2 * COMMIT + 1, 32 + 2 * COMMIT] {
        std::fs::write(wal_of(&path), &whole[..cut]).unwrap();
        assert_eq!(newest(&path), state(2), "cut at {cut}");
    }
}

#[test]
fn the_log_goes_on_after_a_damaged_tail() {
    let dir = tempfile::tempdir().unwrap();
    let path = killed(dir.path(), &[1, 2]);
    let mut wal = std::fs::read(wal_of(&path)).unwrap();
    wal.extend_from_slice(&[0xab; 700]);
    std::fs::write(wal_of(&path), &wal).unwrap();
    let storage = open_with(&path, quiet()).unwrap();
    commit(&*storage, &[2, 3, 4], 9, 4).unwrap();
    drop(storage);
    assert_eq!(newest(&path), state(9));
}

#[test]
fn a_log_of_another_page_size_or_version_is_an_error_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = killed(dir.path(), &[1]);
    let (db, wal) = (std::fs::read(&path).unwrap(), std::fs::read(wal_of(&path)).unwrap());
    let mut other = db.clone();
    other[16..18].copy_from_slice(&1024_u16.to_be_bytes());
    // The log's own page 1 still says 512, so it is damaged the same way, and the checksums with it.
    std::fs::write(&path, &other).unwrap();
    assert!(open_with(&path, quiet()).is_ok(), "page 1 in the log counts, not the one in the file");
    std::fs::write(&path, &db).unwrap();
    std::fs::write(wal_of(&path), wal_with_version(&wal, 3_007_001)).unwrap();
    let error = open_with(&path, quiet()).err().unwrap();
    assert!(matches!(error, OpenError::Storage(StorageError::Corrupt { .. })), "{error}");
    assert_eq!(std::fs::read(wal_of(&path)).unwrap().len(), wal.len());
}

/// The log with another version in its header, whose checksum is right again.
fn wal_with_version(wal: &[u8], version: u32) -> Vec<u8> {
    let mut wal = wal.to_vec();
    wal[4..8].copy_from_slice(&version.to_be_bytes());
    let (mut first, mut second) = (0_u32, 0_u32);
    for pair in wal[..24].chunks_exact(8) {
        let word = |at: usize| u32::from_le_bytes(pair[at..at + 4].try_into().unwrap());
        first = first.wrapping_add(word(0)).wrapping_add(second);
        second = second.wrapping_add(word(4)).wrapping_add(first);
    }
    wal[24..28].copy_from_slice(&first.to_be_bytes());
    wal[28..32].copy_from_slice(&second.to_be_bytes());
    wal
}

/// A database of four pages and, in its WAL, a commit of page 2 alone.
fn killed_without_page_1(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("app.db");
    let storage = open_with(&path, quiet()).unwrap();
    commit(&*storage, &[2, 3, 4], 1, 4).unwrap();
    storage.checkpoint().unwrap();
    let bytes = image(2, 2, 4);
    let pages = [PageImage { page: PageNo::new(2).unwrap(), bytes: &bytes }];
    let ticket = storage.begin_write(Wait::none()).unwrap();
    let at = storage.append(ticket, Commit { page_size: page_size(), page_count: 4, pages: &pages }).unwrap();
    storage.wait_durable(&at).unwrap();
    path
}

#[test]
fn a_log_of_other_pages_than_the_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = killed_without_page_1(dir.path());
    let mut db = std::fs::read(&path).unwrap();
    db[16..18].copy_from_slice(&1024_u16.to_be_bytes());
    std::fs::write(&path, &db).unwrap();
    let error = open_with(&path, quiet()).err().unwrap();
    assert!(matches!(error, OpenError::Storage(StorageError::Corrupt { .. })), "{error}");
    assert!(error.to_string().contains("pages of 1024 bytes"), "{error}");
}

#[test]
fn pages_that_a_cut_file_lost_are_an_error_and_never_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let path = killed_without_page_1(dir.path());
    let db = std::fs::read(&path).unwrap();
    std::fs::write(&path, &db[..2 * 512]).unwrap();
    let storage = open_with(&path, quiet()).unwrap();
    let at = storage.snapshot().unwrap();
    assert_eq!(at.page_count(), 4);
    assert_eq!(read(&*storage, &at, 2), image(2, 2, 4));
    let mut bytes = vec![0; 512];
    for page in [3, 4] {
        let error = storage.read_page(&at, PageNo::new(page).unwrap(), &mut bytes).err().unwrap();
        assert!(matches!(error, StorageError::Corrupt { .. }), "{error}");
    }
    assert!(matches!(storage.checkpoint(), Err(StorageError::Corrupt { .. })));
    drop(storage);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 * 512, "the file was not filled up");
}

#[test]
fn a_garbage_log_header_is_an_empty_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let storage = open_with(&path, quiet()).unwrap();
    commit(&*storage, &[2, 3, 4], 5, 4).unwrap();
    storage.close().unwrap();
    std::fs::write(wal_of(&path), vec![0x5a; 3000]).unwrap();
    assert_eq!(newest(&path), state(5));
}

#[test]
fn one_storage_at_a_time_has_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let storage = open(&path);
    commit(&*storage, &[2], 1, 2).unwrap();
    for mode in [Mode::ReadOnly, Mode::ReadWrite, Mode::ReadWriteCreate] {
        let error = open_with(&path, LocalOptions { mode, ..quiet() }).err().unwrap();
        assert!(matches!(error, OpenError::Locked { .. }), "{error}");
        assert!(error.to_string().starts_with("database is locked"));
    }
    // Closing another handle of the same file does not drop the lock.
    drop(std::fs::File::open(&path).unwrap());
    assert!(matches!(open_with(&path, quiet()), Err(OpenError::Locked { .. })));
    let pinned = storage.snapshot().unwrap();
    drop(storage);
    assert!(open_with(&path, quiet()).is_ok(), "a pin does not hold the file");
    drop(pinned);
}

#[test]
fn a_read_only_storage_reads_the_log_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = killed(dir.path(), &[1, 2]);
    let read_only = LocalOptions { mode: Mode::ReadOnly, ..LocalOptions::default() };
    let before = (std::fs::read(&path).unwrap(), std::fs::read(wal_of(&path)).unwrap());
    let storage = open_with(&path, read_only).unwrap();
    assert_eq!(read_all(&*storage, &storage.snapshot().unwrap()), state(2));
    assert!(matches!(storage.begin_write(Wait::none()), Err(StorageError::ReadOnly { .. })));
    assert!(matches!(storage.checkpoint(), Err(StorageError::ReadOnly { .. })));
    storage.close().unwrap();
    assert_eq!((std::fs::read(&path).unwrap(), std::fs::read(wal_of(&path)).unwrap()), before);
}

#[test]
fn what_cannot_be_opened_says_why_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let check = |name: &str, bytes: &[u8], expect: &dyn Fn(&OpenError) -> bool| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = open_with(&path, quiet()).err().unwrap();
        assert!(expect(&error), "{name}: {error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{name} was touched");
        assert!(!wal_of(&path).exists(), "{name} got a log");
    };
    let not_a_database = |error: &OpenError| matches!(error, OpenError::NotADatabase { .. });
    check("text.db", &b"hello, world. ".repeat(100), &not_a_database);
    check("short.db", b"SQLite format 3\0", &not_a_database);
    let mut bad_page_size = image(1, 0, 1);
    bad_page_size[16..18].copy_from_slice(&[0, 7]);
    check("size.db", &bad_page_size, &not_a_database);
    let mut rollback = image(1, 0, 1);
    rollback[18..20].copy_from_slice(&[1, 1]);
    check("rollback.db", &rollback, &|error| {
        matches!(error, OpenError::NeedsConversion { reason: Conversion::RollbackMode, .. })
    });
    std::fs::write(dir.path().join("hot.db-journal"), [0xd9; 600]).unwrap();
    check("hot.db", &image(1, 0, 1), &|error| {
        matches!(error, OpenError::NeedsConversion { reason: Conversion::HotJournal, .. })
    });
    let missing = dir.path().join("none/app.db");
    assert!(matches!(open_with(&missing, quiet()), Err(OpenError::NotFound { .. })));
    let read_write = LocalOptions { mode: Mode::ReadWrite, ..quiet() };
    let missing = dir.path().join("none.db");
    assert!(matches!(open_with(&missing, read_write), Err(OpenError::NotFound { .. })));
    assert!(!missing.exists());
    assert!(matches!(open_with(dir.path(), quiet()), Err(OpenError::IsDirectory { .. })));
}

#[test]
fn a_rollback_mode_file_is_read_directly_when_read_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let mut bytes = image(1, 3, 2);
    bytes[18..20].copy_from_slice(&[1, 1]);
    bytes.extend(image(2, 4, 2));
    std::fs::write(&path, &bytes).unwrap();
    let storage = open_with(&path, LocalOptions { mode: Mode::ReadOnly, ..quiet() }).unwrap();
    assert_eq!(read_all(&*storage, &storage.snapshot().unwrap()).concat(), bytes);
}

#[test]
fn the_log_stays_bounded_under_a_pin_that_reads_the_same_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    for background in [true, false] {
        let options =
            LocalOptions { checkpoint_frames: 20, wal_frames_max: 60, background, ..LocalOptions::default() };
        let storage = open_with(&path, options).unwrap();
        commit(&*storage, &[2, 3, 4, 5, 6], 1, 6).unwrap();
        let (pinned, first) = (storage.snapshot().unwrap(), 1 + u32::from(background));
        let seen = read_all(&*storage, &pinned);
        for fill in first..first + 300 {
            let count = 3 + fill % 5;
            commit(&*storage, &[2, 3, 3 + fill % 3], fill, count.max(5)).unwrap();
            assert_eq!(read_all(&*storage, &pinned), seen, "after {fill} commits");
        }
        let metrics = storage.metrics();
        assert!(metrics.wal_bytes_max <= 32 + (60 + 6) * (24 + 512), "{metrics:?}");
        assert!(metrics.wal_resets > 5, "{metrics:?}");
        assert!((1..=6).contains(&metrics.spill_pages_now), "{metrics:?}");
        drop(pinned);
        storage.checkpoint().unwrap();
        commit(&*storage, &[2], 999, 5).unwrap();
        storage.checkpoint().unwrap();
        assert_eq!(storage.metrics().spill_pages_now, 0);
        storage.close().unwrap();
    }
}

#[test]
fn commits_that_wait_together_share_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(&dir.path().join("app.db"));
    commit(&*storage, &[2], 1, 2).unwrap();
    let before = storage.metrics();
    let appended: Vec<_> = (2..34).map(|fill| append(&*storage, &[2], fill, 2).unwrap()).collect();
    std::thread::scope(|scope| {
        for at in &appended {
            scope.spawn(|| storage.wait_durable(at).unwrap());
        }
    });
    let after = storage.metrics();
    assert_eq!(after.commits - before.commits, 32);
    assert_eq!(after.wal_syncs - before.wal_syncs, 1);
}

#[test]
fn with_synchronous_normal_and_off_a_commit_does_not_wait_for_a_sync() {
    for synchronous in [Synchronous::Normal, Synchronous::Off] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        let storage = open_with(&path, LocalOptions { synchronous, ..quiet() }).unwrap();
        commit(&*storage, &[2, 3, 4], 1, 4).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 4 * 512);
        let before = storage.metrics();
        for fill in 2..20 {
            let at = commit(&*storage, &[2, 3, 4], fill, 4).unwrap();
            assert_eq!(storage.snapshot().unwrap().id(), at.id());
        }
        assert_eq!(storage.metrics().wal_syncs, before.wal_syncs);
        drop(storage);
        assert_eq!(newest(&path), state(19), "a killed process loses nothing");
        let storage = open_with(&path, LocalOptions { synchronous, ..quiet() }).unwrap();
        let moved = storage.checkpoint().unwrap();
        assert_eq!(moved.log_pages, moved.moved_pages);
        let synced = storage.metrics().db_syncs > 0;
        assert_eq!(synced, synchronous == Synchronous::Normal);
    }
}

#[test]
fn a_commit_larger_than_one_write_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let storage = open_with(&path, quiet()).unwrap();
    let pages: Vec<u32> = (1..=5000).collect();
    let at = commit(&*storage, &pages, 6, 5000).unwrap();
    drop(at);
    drop(storage);
    let storage = open_with(&path, quiet()).unwrap();
    let at = storage.snapshot().unwrap();
    assert_eq!(read(&*storage, &at, 4999), image(4999, 6, 5000));
    assert_eq!(storage.checkpoint().unwrap().moved_pages, 5000);
    assert_eq!(read(&*storage, &at, 5000), image(5000, 6, 5000));
}

#[test]
fn readers_writers_and_checkpoints_race_without_a_torn_read() {
    let dir = tempfile::tempdir().unwrap();
    let options = LocalOptions {
        checkpoint_frames: 8,
        wal_frames_max: 40,
        synchronous: Synchronous::Off,
        ..LocalOptions::default()
    };
    let storage = open_with(&dir.path().join("app.db"), options).unwrap();
    commit(&*storage, &[2, 3, 4], 1, 4).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let at = storage.snapshot().unwrap();
                    let pages = read_all(&*storage, &at);
                    let fill = u32::from_be_bytes(pages[1][..4].try_into().unwrap());
                    assert_eq!(pages, state(fill));
                }
            });
        }
        for fill in 2..3000 {
            commit(&*storage, &[2, 3, 4], fill, 4).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    storage.close().unwrap();
}

#[test]
fn a_ticket_that_builds_on_an_older_state_cannot_exist() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open_with(&dir.path().join("app.db"), quiet()).unwrap();
    let ticket = storage.begin_write(Wait::none()).unwrap();
    assert!(matches!(storage.begin_write(Wait::none()), Err(StorageError::Busy { .. })));
    let bytes = image(1, 1, 1);
    let pages = [PageImage { page: PageNo::FIRST, bytes: &bytes }];
    let at = storage.append(ticket, Commit { page_size: page_size(), page_count: 1, pages: &pages }).unwrap();
    assert_eq!(storage.begin_write(Wait::none()).unwrap().base().id(), at.id());
}

#[test]
fn a_file_that_may_not_be_written_is_shared_by_readers_until_somebody_changes_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = killed(dir.path(), &[1, 2]);
    let gate = Arc::new(gate::Gate::default());
    gate.unwritable.store(true, std::sync::atomic::Ordering::SeqCst);
    let open_through_gate = |mode| {
        let disk = Arc::new(gate::GateDisk { inner: Arc::new(OsDisk), gate: Arc::clone(&gate) });
        LocalFileStorage::open_on(disk, &path, LocalOptions { mode, ..quiet() }, <dyn Door>::system())
    };
    for mode in [Mode::ReadWrite, Mode::ReadWriteCreate] {
        let error = open_through_gate(mode).err().unwrap();
        assert!(matches!(error, OpenError::PermissionDenied { .. }), "{error}");
    }
    let readers = [open_through_gate(Mode::ReadOnly).unwrap(), open_through_gate(Mode::ReadOnly).unwrap()];
    for reader in &readers {
        assert_eq!(read_all(&**reader, &reader.snapshot().unwrap()), state(2));
    }
    assert!(matches!(open_with(&path, quiet()), Err(OpenError::Locked { .. })));
    let at = readers[0].snapshot().unwrap();
    let mut wal = std::fs::read(wal_of(&path)).unwrap();
    wal.extend_from_slice(&[0; 600]);
    std::fs::write(wal_of(&path), &wal).unwrap();
    let mut bytes = vec![0; 512];
    let outcome = readers[0].read_page(&at, PageNo::FIRST, &mut bytes);
    assert!(matches!(outcome, Err(StorageError::SnapshotExpired)), "{outcome:?}");
    assert!(matches!(readers[1].snapshot(), Err(StorageError::SnapshotExpired)));
}

#[test]
fn leftovers_of_a_killed_process_go_and_the_log_has_the_permissions_of_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = killed(dir.path(), &[1]);
    let shm = path.with_extension("db-shm");
    std::fs::write(&shm, [0; 100]).unwrap();
    let storage = open_with(&path, quiet()).unwrap();
    assert!(!shm.exists());
    storage.close().unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let storage = open_with(&path, quiet()).unwrap();
    commit(&*storage, &[2], 2, 4).unwrap();
    assert_eq!(std::fs::metadata(wal_of(&path)).unwrap().permissions().mode() & 0o777, 0o640);
    drop(storage);
    let empty = dir.path().join("empty.db");
    std::fs::write(&empty, []).unwrap();
    std::fs::write(dir.path().join("empty.db-journal"), [0xd9; 600]).unwrap();
    let storage = open_with(&empty, quiet()).unwrap();
    assert_eq!(storage.snapshot().unwrap().page_count(), 0);
    assert!(!dir.path().join("empty.db-journal").exists());
}
