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

use std::path::Path;
use std::sync::Arc;

use common::{append, commit, image, read, read_all};
use twill_types::Door;
use twill_vfs_local::{LocalFileStorage, LocalOptions, Mode, OpenError};
use twill_vfs_trait::{Storage, StorageError, Wait};

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
