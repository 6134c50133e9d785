//! Invariant 5: what is pinned does not move, and no commit is ever seen in part.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use twill_types::seeded::Chance;

use super::Backend;
use super::scene::{Content, Db, Draft, page_no, pages, patiently, read};
use crate::Snapshot;

/// Across many commits, shrinking and checkpoints.
pub(super) fn a_pinned_snapshot_reads_the_same_bytes_for_ever<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let mut chance = Chance::from_seed(5);
    let mut content = Content::empty();
    let mut pinned: BTreeMap<u32, (Snapshot, Content)> = BTreeMap::new();
    for commit in 0..120 {
        let count = 4 + chance.below(12);
        let draft = Draft::new(count, pages(&mut chance, count));
        content = content.after(&draft);
        let at = db.commit(&draft);
        if commit % 7 == 0 {
            pinned.insert(commit, (at, content.clone()));
        }
        if commit % 23 == 0 {
            db.storage.checkpoint().unwrap();
        }
        if commit % 29 == 28 {
            pinned.remove(&(commit / 2 / 7 * 7));
        }
        if commit % 10 == 0 {
            for (at, content) in pinned.values() {
                db.assert_shows(at, content, "pinned");
            }
        }
    }
    for (at, content) in pinned.values() {
        db.assert_shows(at, content, "pinned until the end");
    }
}

/// The state stays pinned until the last clone is dropped.
pub(super) fn a_clone_keeps_the_pin<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let draft = Draft::new(4, 1..=4);
    let content = Content::empty().after(&draft);
    let first = db.commit(&draft);
    let second = first.clone();
    drop(first);
    for _ in 0..20 {
        db.commit(&Draft::new(4, 1..=4));
        db.storage.checkpoint().unwrap();
    }
    db.assert_shows(&second, &content, "a clone whose original is gone");
}

/// Every commit writes the same stamp to the same pages: a reader that meets two stamps met half a commit.
pub(super) fn readers_never_see_a_torn_commit<B: Backend>(backend: &B) {
    const PAGES: u32 = 6;
    const WRITERS: u32 = 2;
    const COMMITS: u32 = 80;
    let db = Db::new(backend);
    db.commit(&Draft::new(PAGES, 1..=PAGES));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (db, done) = (&db, &done);
            scope.spawn(move || {
                let mut last = db.snapshot().lsn();
                while !done.load(Ordering::SeqCst) {
                    let at = db.snapshot();
                    assert!(at.lsn() >= last, "snapshot() went back from {last} to {}", at.lsn());
                    last = at.lsn();
                    let stamp = db.read(&at, 1);
                    for page in (1..=PAGES).chain(1..=PAGES) {
                        assert_eq!(db.read(&at, page), stamp, "page {page} of {:?} is torn", at.id());
                        std::thread::yield_now();
                    }
                }
            });
        }
        let checkpoints = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                db.storage.checkpoint().unwrap();
                std::thread::yield_now();
            }
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..COMMITS {
                        let ticket = db.storage.begin_write(patiently()).unwrap();
                        let at = Draft::new(PAGES, 1..=PAGES).append(&*db.storage, ticket).unwrap();
                        db.storage.wait_durable(&at).unwrap();
                    }
                })
            })
            .collect();
        let outcomes: Vec<_> = writers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::SeqCst);
        checkpoints.join().unwrap();
        assert!(outcomes.iter().all(Result::is_ok), "a writer failed");
    });
}

/// A writer reads its base while states before and after it come and go.
pub(super) fn a_base_reads_its_own_bytes_while_others_commit<B: Backend>(backend: &B) {
    const PAGES: u32 = 4;
    let db = Db::new(backend);
    db.commit(&Draft::new(PAGES, 1..=PAGES));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let db = &db;
            scope.spawn(move || {
                for _ in 0..25 {
                    let ticket = db.storage.begin_write(patiently()).unwrap();
                    let base = ticket.base().clone();
                    let stamp = db.read(&base, 1);
                    let draft = Draft::new(PAGES, 1..=PAGES);
                    let at = draft.append(&*db.storage, ticket).unwrap();
                    for page in 1..=PAGES {
                        assert_eq!(read(&*db.storage, &base, page), stamp, "the base moved");
                        assert_eq!(read(&*db.storage, &at, page), draft.stamp, "the appended state moved");
                    }
                    db.storage.wait_durable(&at).unwrap();
                }
            });
        }
    });
}

/// It may move everything, nothing or some of it; twice in a row is as good as once.
pub(super) fn a_checkpoint_changes_no_bytes<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    db.storage.checkpoint().expect("a checkpoint of an empty database");
    let mut content = Content::empty();
    for round in 1..=4 {
        let drafts = [Draft::new(6, [1, round]), Draft::new(5 + round, [2, 5])];
        for draft in &drafts {
            content = content.after(&Draft { pages: sorted(&draft.pages), ..draft.clone() });
            db.commit(&Draft { pages: sorted(&draft.pages), ..draft.clone() });
        }
        let before = db.snapshot();
        for _ in 0..2 {
            let done = db.storage.checkpoint().unwrap();
            assert!(done.moved_pages <= done.log_pages, "{done:?}");
            let after = db.snapshot();
            assert_eq!(after.id(), before.id(), "a checkpoint is no commit");
            db.assert_shows(&after, &content, "after a checkpoint");
            db.assert_shows(&before, &content, "pinned before a checkpoint");
        }
    }
}

fn sorted(pages: &[u32]) -> Vec<u32> {
    let mut pages = pages.to_vec();
    pages.sort_unstable();
    pages.dedup();
    pages
}

/// A hint about any page, there or not.
pub(super) fn a_prefetch_changes_nothing<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let empty = db.snapshot();
    db.storage.prefetch(&empty, &[page_no(1)]);
    let draft = Draft::new(5, [1, 4]);
    let at = db.commit(&draft);
    db.storage.prefetch(&at, &[]);
    db.storage
        .prefetch(&at, &[page_no(4), page_no(1), page_no(4), page_no(3), page_no(6), page_no(u32::MAX)]);
    db.assert_shows(&at, &Content::empty().after(&draft), "prefetched");
}
