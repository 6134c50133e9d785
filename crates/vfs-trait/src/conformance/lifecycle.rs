//! Opening, closing, dying: invariant 6 and the promises of `close`.

use std::sync::atomic::{AtomicBool, Ordering};

use twill_types::Cancel;
use twill_types::seeded::Chance;

use super::scene::{Content, Db, Draft, Names, linger, page_no, pages, patiently, try_read, until};
use super::{Ability, Backend};
use crate::{StorageError, Wait};

fn assert_unavailable<T: std::fmt::Debug>(what: &str, outcome: Result<T, StorageError>) {
    assert!(
        matches!(outcome, Err(StorageError::Unavailable { .. })),
        "after close, {what} answers {outcome:?}"
    );
}

/// Nothing written, nothing there.
pub(super) fn an_empty_database_has_no_pages<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let at = db.snapshot();
    assert_eq!(at.page_count(), 0);
    db.storage.wait_durable(&at).unwrap();
    let ticket = db.begin();
    assert_eq!(ticket.base().id(), at.id());
    db.storage.wait_durable(ticket.base()).unwrap();
    drop((ticket, at));
    if backend.offers(Ability::Reopen) {
        let db = db.reopen();
        assert_eq!(db.snapshot().page_count(), 0);
    }
}

/// Whoever appended and did not wait yet learns the truth, before and after.
pub(super) fn close_settles_what_was_appended<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let mut content = Content::empty();
    let appended: Vec<_> = (1..=5)
        .map(|page| {
            let draft = Draft::new(5, [page]);
            content = content.after(&draft);
            db.append(&draft)
        })
        .collect();
    db.storage.close().unwrap();
    db.storage.close().unwrap();
    for at in &appended {
        let outcome = db.storage.wait_durable(at);
        assert!(outcome.is_ok(), "close settled this commit, but waiting for it answers {outcome:?}");
    }
    drop(appended);
    if backend.offers(Ability::Reopen) {
        let db = db.reopen();
        db.assert_shows(&db.snapshot(), &content, "closed without waiting, then reopened");
    }
}

/// Every call, tickets from before included. What is pinned may still be read, as the same bytes.
pub(super) fn a_closed_storage_answers_unavailable<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let draft = Draft::new(2, [1, 2]);
    let at = db.commit(&draft);
    let ticket = db.begin();
    db.storage.close().unwrap();
    for _ in 0..2 {
        assert_unavailable("snapshot", db.storage.snapshot());
        assert_unavailable("begin_write", db.storage.begin_write(Wait::none()));
        assert_unavailable("begin_write", db.storage.begin_write(patiently()));
        assert_unavailable("checkpoint", db.storage.checkpoint());
        match try_read(&*db.storage, &at, 1) {
            Ok(stamp) => assert_eq!(stamp, draft.stamp),
            outcome => assert_unavailable("read_page", outcome),
        }
        db.storage.prefetch(&at, &[page_no(1)]);
        db.storage.close().expect("close is idempotent");
    }
    assert_unavailable("append", Draft::new(2, [1]).append(&*db.storage, ticket));
    drop(at);
    if backend.offers(Ability::Reopen) {
        let db = db.reopen();
        db.assert_shows(&db.snapshot(), &Content::empty().after(&draft), "appended after close");
    }
}

/// Those in the queue hear it at once; the ticket out there is no reason to wait.
pub(super) fn close_refuses_queued_writers<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    std::thread::scope(|scope| {
        let ticket = db.begin();
        let cancel = Cancel::new();
        let wait = Wait { cancel: Some(cancel.clone()), ..patiently() };
        let queued = scope.spawn(|| db.storage.begin_write(wait).map(drop));
        until("the writer queues", || cancel.registered() == 1);
        db.storage.close().unwrap();
        assert_unavailable("a queued begin_write", queued.join().unwrap());
        drop(ticket);
    });
    assert_unavailable("begin_write", db.storage.begin_write(Wait::none()));
}

/// `close` returns when everything in flight is settled, not before.
pub(super) fn close_waits_for_what_is_in_flight<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    db.commit(&Draft::new(2, [1]));
    let (released, closing) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let held = db.hold();
        let at = db.append(&Draft::new(2, [2]));
        let (db, released, closing) = (&db, &released, &closing);
        let waiter = scope.spawn(move || db.storage.wait_durable(&at));
        scope.spawn(move || {
            closing.store(true, Ordering::SeqCst);
            db.storage.close().unwrap();
            assert!(released.load(Ordering::SeqCst), "close returned with a commit in flight");
        });
        until("close is called", || closing.load(Ordering::SeqCst));
        linger();
        released.store(true, Ordering::SeqCst);
        drop(held);
        waiter.join().unwrap().expect("the commit in flight while closing became durable");
    });
}

/// Closed with and without a checkpoint, grown, shrunk, rewritten.
pub(super) fn a_reopened_database_holds_everything<B: Backend>(backend: &B) {
    let mut chance = Chance::from_seed(6);
    let mut db = Db::new(backend);
    let mut content = Content::empty();
    for round in 0..12 {
        let seen = db.snapshot();
        db.assert_shows(&seen, &content, "reopened");
        db.storage.wait_durable(&seen).unwrap();
        drop(seen);
        for _ in 0..chance.below(12) {
            let count = 1 + chance.below(20);
            let draft = Draft::new(count, pages(&mut chance, count));
            content = content.after(&draft);
            if chance.one_in(2) {
                db.commit(&draft)
            } else {
                db.append(&draft)
            };
            if chance.one_in(9) {
                db.storage.checkpoint().unwrap();
            }
        }
        if round % 3 == 0 {
            db.storage.checkpoint().unwrap();
        }
        db = db.reopen();
    }
    db.assert_shows(&db.snapshot(), &content, "reopened");
}

/// It shows what is there and refuses to change it.
pub(super) fn a_read_only_storage_refuses_writes<B: Backend>(backend: &B) {
    let place = backend.create();
    let draft = Draft::new(3, [1, 3]);
    let mut content = Content::empty();
    if backend.offers(Ability::Reopen) {
        let storage = backend.open(&place);
        let ticket = storage.begin_write(patiently()).unwrap();
        let at = draft.append(&*storage, ticket).unwrap();
        storage.wait_durable(&at).unwrap();
        content = content.after(&draft);
        drop(at);
        storage.close().unwrap();
    }
    let storage = backend.open_read_only(&place);
    let at = storage.snapshot().unwrap();
    content.assert_is(&*storage, &at, "opened for reading");
    storage.wait_durable(&at).unwrap();
    for wait in [Wait::none(), patiently()] {
        let outcome = storage.begin_write(wait);
        assert!(matches!(outcome, Err(StorageError::ReadOnly { .. })), "{outcome:?}");
    }
    let outcome = storage.checkpoint();
    assert!(matches!(outcome, Err(StorageError::ReadOnly { .. })), "{outcome:?}");
    content.assert_is(&*storage, &at, "after refused writes");
    storage.close().unwrap();
    assert_unavailable("snapshot", storage.snapshot());
    assert!(storage.begin_write(Wait::none()).is_err());
}

/// Never wrong bytes: the right ones, or the error that says so; then a new snapshot.
pub(super) fn an_expired_snapshot_is_told_as_such<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let draft = Draft::new(6, [1, 2, 5]);
    let content = Content::empty().after(&draft);
    db.commit(&draft);
    db.storage.close().unwrap();
    let reader = backend.open_read_only(&db.place);
    let at = reader.snapshot().unwrap();
    content.assert_is(&*reader, &at, "opened for reading");
    backend.expire(&db.place);
    for page in 1..=6 {
        match try_read(&*reader, &at, page) {
            Ok(stamp) => assert_eq!(stamp, content.stamps.get(&page).copied().unwrap_or(0), "page {page}"),
            Err(StorageError::SnapshotExpired) => {}
            Err(other) => panic!("page {page} of an expired snapshot answers {other:?}"),
        }
    }
    drop(at);
    content.assert_is(&*reader, &reader.snapshot().unwrap(), "a new read after the snapshot expired");
}

/// Whatever the usurped writer appended before or after it was fenced: what it acknowledges is in the history the new
/// writer goes on from, and nothing after that is.
pub(super) fn a_fenced_writer_acknowledges_nothing<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let mut names = Names::default();
    let draft = Draft::new(4, [1, 2]);
    let mut content = Content::empty().after(&draft);
    let durable = db.commit(&draft);
    names.meet(durable.id(), &content);
    let lost = Draft::new(4, [2]);
    let in_flight = db.append(&lost);
    names.meet(in_flight.id(), &content.after(&lost));
    let usurper = backend.usurp(&db.place);
    let found = usurper.snapshot().unwrap();
    let found_content = Content::read(&*usurper, &found);
    names.meet(found.id(), &found_content);
    match db.storage.wait_durable(&in_flight) {
        Ok(()) => content = content.after(&lost),
        Err(
            StorageError::Fenced { .. } | StorageError::Poisoned { .. } | StorageError::Indeterminate { .. },
        ) => {
            assert!(found_content == content || found_content == content.after(&lost), "{found_content:?}");
            content = found_content.clone();
        }
        other => panic!("a fenced commit answers {other:?}"),
    }
    content.assert_is(&*usurper, &found, "what the usurper found");
    let draft = Draft::new(5, [3, 5]);
    let at = draft.append(&*usurper, usurper.begin_write(patiently()).unwrap()).unwrap();
    usurper.wait_durable(&at).unwrap();
    names.meet(at.id(), &content.after(&draft));
    for _ in 0..2 {
        match db.try_commit(&Draft::new(4, [4])) {
            Err(StorageError::Fenced { .. } | StorageError::Poisoned { .. }) => {}
            other => panic!("a fenced writer's commit answers {other:?}"),
        }
    }
    db.storage.wait_durable(&durable).expect("what was acknowledged stays so");
    content.after(&draft).assert_is(&*usurper, &usurper.snapshot().unwrap(), "the usurper's history");
}

/// Exactly the acknowledged commits, plus possibly later ones as a prefix, each of them whole.
pub(super) fn a_crash_keeps_what_was_acknowledged<B: Backend>(backend: &B) {
    let mut chance = Chance::from_seed(7);
    let mut db = Db::new(backend);
    let mut states = vec![Content::empty()];
    for _ in 0..15 {
        let mut acknowledged = 0;
        for _ in 0..chance.below(8) {
            let count = 1 + chance.below(12);
            let draft = Draft::new(count, pages(&mut chance, count));
            states.push(states[states.len() - 1].after(&draft));
            let at = db.append(&draft);
            if chance.one_in(2) {
                db.storage.wait_durable(&at).unwrap();
                acknowledged = states.len() - 1;
            }
            if chance.one_in(6) {
                db.storage.checkpoint().unwrap();
            }
        }
        let ticket = chance.one_in(3).then(|| db.begin());
        db = db.crash();
        drop(ticket);
        let found = Content::read(&*db.storage, &db.snapshot());
        let same = |state: &Content| state.count == found.count && state.stamps == found.stamps;
        let survived = states.iter().rposition(same);
        let survived = survived.unwrap_or_else(|| panic!("a crash left {found:?}, which never was"));
        assert!(survived >= acknowledged, "a crash lost an acknowledged commit");
        states = vec![found];
    }
}

/// Before the first commit.
pub(super) fn a_crash_of_an_empty_database_leaves_it_empty<B: Backend>(backend: &B) {
    let mut db = Db::new(backend);
    for _ in 0..3 {
        drop(db.begin());
        db = db.crash();
        assert_eq!(db.snapshot().page_count(), 0);
    }
    let at = db.commit(&Draft::new(1, [1]));
    assert_eq!(db.snapshot().id(), at.id());
}
