//! What other people's hands do to the files while, or before, a storage has them open.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    reason = "test code"
)]

mod common;
#[path = "common/gate.rs"]
mod gate;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::{commit, image, read};
use twill_types::Door;
use twill_vfs_local::disk::OsDisk;
use twill_vfs_local::{LocalFileStorage, LocalOptions, Mode, OpenError};
use twill_vfs_trait::Storage;

fn quiet() -> LocalOptions {
    LocalOptions { background: false, ..LocalOptions::default() }
}

fn open(path: &Path) -> Arc<LocalFileStorage> {
    LocalFileStorage::open(path, quiet(), <dyn Door>::system()).unwrap()
}

fn wal_of(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

/// A database of four pages whose WAL holds a later commit of pages 1 and 3 alone.
fn killed(path: &Path) {
    let storage = open(path);
    commit(&*storage, &[2, 3, 4], 1, 4).unwrap();
    storage.checkpoint().unwrap();
    commit(&*storage, &[3], 2, 4).unwrap();
}

#[test]
fn a_deleted_database_does_not_rise_from_the_log_it_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    killed(&path);
    std::fs::remove_file(&path).unwrap();
    assert!(wal_of(&path).exists());
    std::fs::write(&path, []).unwrap();
    let read_only = LocalOptions { mode: Mode::ReadOnly, ..quiet() };
    let storage = LocalFileStorage::open(&path, read_only, <dyn Door>::system()).unwrap();
    assert_eq!(storage.snapshot().unwrap().page_count(), 0);
    drop(storage);
    std::fs::remove_file(&path).unwrap();
    let storage = open(&path);
    assert_eq!(storage.snapshot().unwrap().page_count(), 0, "stock SQLite deletes the log of an empty file");
    commit(&*storage, &[2], 9, 2).unwrap();
    drop(storage);
    let storage = open(&path);
    let at = storage.snapshot().unwrap();
    assert_eq!((at.page_count(), read(&*storage, &at, 2)), (2, image(2, 9, 2)));
}

#[test]
fn closing_a_moved_database_leaves_the_log_of_the_one_in_its_place() {
    for moves_the_log in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("app.db"), dir.path().join("moved.db"));
        let first = open(&path);
        commit(&*first, &[2], 1, 2).unwrap();
        std::fs::rename(&path, &moved).unwrap();
        if moves_the_log {
            std::fs::rename(wal_of(&path), wal_of(&moved)).unwrap();
        } else {
            std::fs::remove_file(wal_of(&path)).unwrap();
        }
        let second = open(&path);
        commit(&*second, &[2], 5, 2).unwrap();
        commit(&*second, &[2], 6, 2).unwrap();
        first.close().unwrap();
        drop(second);
        let second = open(&path);
        assert_eq!(read(&*second, &second.snapshot().unwrap(), 2), image(2, 6, 2), "an acknowledged commit");
        let first = open(&moved);
        assert_eq!(read(&*first, &first.snapshot().unwrap(), 2), image(2, 1, 2));
    }
}

#[test]
fn a_log_that_cannot_be_shortened_after_it_started_over_takes_commits_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let gate = Arc::new(gate::Gate::default());
    let disk = Arc::new(gate::GateDisk { inner: Arc::new(OsDisk), gate: Arc::clone(&gate) });
    let options = LocalOptions { wal_frames_max: 10, checkpoint_frames: 5, ..quiet() };
    let storage = LocalFileStorage::open_on(disk, &path, options, <dyn Door>::system()).unwrap();
    let pages: Vec<u32> = (2..=30).collect();
    commit(&*storage, &pages, 1, 30).unwrap();
    gate.fail_set_len.store(true, Ordering::SeqCst);
    storage.checkpoint().unwrap();
    assert!(!gate.fail_set_len.load(Ordering::SeqCst), "the long log was to be cut");
    commit(&*storage, &[3], 2, 30).unwrap();
    drop(storage);
    let storage = open(&path);
    assert_eq!(read(&*storage, &storage.snapshot().unwrap(), 3), image(3, 2, 30), "an acknowledged commit");
}

#[test]
fn a_log_that_an_unlinked_database_still_writes_is_not_shared() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let old = open(&path);
    commit(&*old, &[2, 3], 1, 3).unwrap();
    std::fs::remove_file(&path).unwrap();
    let refused = LocalFileStorage::open(&path, LocalOptions::default(), <dyn Door>::system());
    assert!(matches!(refused, Err(OpenError::Locked { .. })), "the old database still writes the log");
    commit(&*old, &[2], 2, 3).unwrap();
    drop(old);
    let new = open(&path);
    assert_eq!(new.snapshot().unwrap().page_count(), 0, "the old log is no part of a new database");
    commit(&*new, &[2], 3, 2).unwrap();
}
