//! Invariant 1: one order, no gaps, and names that never lie.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::scene::{Content, Db, Draft, Names, patiently};
use super::{Ability, Backend, Fault};
use crate::StorageError;

/// Whatever threads do, each commit follows the one its ticket started from, and together they leave no gap.
pub(super) fn racing_writers_make_one_gapless_order<B: Backend>(backend: &B) {
    const THREADS: u32 = 8;
    const COMMITS: u32 = 20;
    let db = Db::new(backend);
    let start = db.snapshot().id();
    let seen = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        for thread in 1..=THREADS {
            let (db, seen) = (&db, &seen);
            scope.spawn(move || {
                for _ in 0..COMMITS {
                    let ticket = db.storage.begin_write(patiently()).unwrap();
                    let base = ticket.base().id();
                    let at = Draft::new(THREADS, [thread]).append(&*db.storage, ticket).unwrap();
                    assert_eq!(at.id().timeline, base.timeline);
                    assert_eq!(at.lsn(), base.lsn.next(), "a commit follows its base");
                    assert!(seen.lock().unwrap().insert(at.lsn()), "LSN {} was given twice", at.lsn());
                    db.storage.wait_durable(&at).unwrap();
                }
            });
        }
    });
    let seen = seen.into_inner().unwrap();
    let mut expected = start.lsn;
    for lsn in &seen {
        expected = expected.next();
        assert_eq!(*lsn, expected, "a gap in the order");
    }
    assert_eq!(seen.len(), (THREADS * COMMITS) as usize);
    let end = db.snapshot().id();
    assert_eq!((end.timeline, end.lsn), (start.timeline, expected));
}

/// Also when that state is not durable yet.
pub(super) fn a_writer_starts_from_the_newest_appended_state<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let mut content = Content::empty();
    for round in 1..=5 {
        let draft = Draft::new(5, [round]);
        content = content.after(&draft);
        let at = db.append(&draft);
        let ticket = db.begin();
        assert_eq!(ticket.base().id(), at.id());
        db.assert_shows(ticket.base(), &content, "the base of the next ticket");
        db.assert_shows(&at, &content, "the appended state");
    }
}

/// On the same timeline the next LSN follows; or there is a new timeline.
pub(super) fn a_reopened_database_continues_the_order<B: Backend>(backend: &B) {
    let mut db = Db::new(backend);
    let mut last = db.commit(&Draft::new(3, [1, 2, 3])).id();
    for _ in 0..3 {
        db = db.reopen();
        let found = db.snapshot().id();
        if found.timeline == last.timeline {
            assert_eq!(found.lsn, last.lsn, "the newest state keeps its LSN");
            assert!(found.epoch >= last.epoch, "an epoch never goes back");
        }
        let at = db.commit(&Draft::new(3, [2])).id();
        assert_eq!((at.timeline, at.lsn), (found.timeline, found.lsn.next()));
        last = at;
    }
}

/// Two states with equal names hold equal bytes, across opens.
pub(super) fn a_name_never_holds_other_bytes_after_a_reopen<B: Backend>(backend: &B) {
    let mut db = Db::new(backend);
    let mut names = Names::default();
    let mut content = Content::empty();
    for round in 0..4 {
        let found = db.snapshot();
        names.meet(found.id(), &content);
        db.assert_shows(&found, &content, "the reopened database");
        drop(found);
        for _ in 0..round {
            let draft = Draft::new(3 + round, [1, 3]);
            content = content.after(&draft);
            names.meet(db.commit(&draft).id(), &content);
        }
        db = db.reopen();
    }
}

/// What was appended and lost takes its name with it.
pub(super) fn a_name_never_holds_other_bytes_after_a_crash<B: Backend>(backend: &B) {
    let mut db = Db::new(backend);
    let mut names = Names::default();
    for round in 0..6 {
        let found = db.snapshot();
        let mut content = Content::read(&*db.storage, &found);
        names.meet(found.id(), &content);
        drop(found);
        for commit in 0..4 {
            let draft = Draft::new(4, [1 + commit]);
            content = content.after(&draft);
            let at = db.append(&draft);
            names.meet(at.id(), &content);
            if commit == round % 3 {
                db.storage.wait_durable(&at).unwrap();
            }
        }
        db = db.crash();
    }
}

/// The LSN of a failed commit may be given again, but not with the same epoch and timeline.
pub(super) fn a_name_never_holds_other_bytes_after_a_failed_append<B: Backend>(backend: &B) {
    let mut db = Db::new(backend);
    let mut names = Names::default();
    for _ in 0..3 {
        let found = db.snapshot();
        let content = Content::read(&*db.storage, &found);
        names.meet(found.id(), &content);
        drop(found);
        let durable = Draft::new(4, [1, 2]);
        let content = content.after(&durable);
        names.meet(db.commit(&durable).id(), &content);
        db.fail_next(Fault::NotApplied);
        let lost = Draft::new(4, [2, 3]);
        let outcome = lost.append(&*db.storage, db.begin()).and_then(|at| {
            names.meet(at.id(), &content.after(&lost));
            db.storage.wait_durable(&at)
        });
        assert!(outcome.is_err(), "the failed commit was acknowledged");
        db = db.reopen_after_failure();
    }
    if !backend.offers(Ability::Fail(Fault::Indeterminate)) {
        return;
    }
    db.fail_next(Fault::Indeterminate);
    let base = Content::read(&*db.storage, &db.snapshot());
    let unknown = Draft::new(4, [4]);
    let outcome: Result<(), StorageError> = unknown.append(&*db.storage, db.begin()).and_then(|at| {
        names.meet(at.id(), &base.after(&unknown));
        db.storage.wait_durable(&at)
    });
    assert!(outcome.is_err(), "the unknown commit was acknowledged");
    db = db.reopen_after_failure();
    let found = db.snapshot();
    names.meet(found.id(), &Content::read(&*db.storage, &found));
    let content = Content::read(&*db.storage, &found);
    let next = Draft::new(4, [1]);
    names.meet(db.commit(&next).id(), &content.after(&next));
}
