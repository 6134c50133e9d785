//! Invariants 2, 3 and 4, while nothing fails: what is shown, who waits, who does not.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::Backend;
use super::scene::{Content, Db, Draft, linger, patiently, until};
use crate::Snapshot;

/// While durability is held back, readers stay at the old state and the next writer starts from the new one.
pub(super) fn a_snapshot_is_never_ahead_of_durability<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let (old, new) = (Draft::new(3, [1, 2, 3]), Draft::new(4, [2, 4]));
    let before = Content::empty().after(&old);
    let after = before.after(&new);
    let durable = db.commit(&old);
    let held = db.hold();
    let appended = db.append(&new);
    for _ in 0..100 {
        let seen = db.snapshot();
        assert_eq!(seen.id(), durable.id(), "snapshot() shows a state that is not durable");
        db.assert_shows(&seen, &before, "while durability is held back");
        std::thread::yield_now();
    }
    let ticket = db.begin();
    assert_eq!(ticket.base().id(), appended.id(), "a writer starts from the newest appended state");
    db.assert_shows(ticket.base(), &after, "the base of a ticket");
    drop(ticket);
    drop(held);
    db.storage.wait_durable(&appended).unwrap();
    let seen = db.snapshot();
    assert_eq!(seen.id(), appended.id());
    db.assert_shows(&seen, &after, "once durable");
}

/// The next writer gets the slot at once, whoever waits for durability.
pub(super) fn append_gives_the_slot_back<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let appended: Vec<Snapshot> = (1..=8).map(|page| db.append(&Draft::new(8, [page]))).collect();
    for at in appended.iter().rev() {
        db.storage.wait_durable(at).unwrap();
    }
    assert_eq!(db.snapshot().id(), appended[7].id());
}

/// Also while none of them can become durable.
pub(super) fn append_gives_the_slot_back_before_durability<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let start = db.commit(&Draft::new(8, [1]));
    let held = db.hold();
    let appended: Vec<Snapshot> = (1..=8)
        .map(|page| {
            let ticket = db.try_begin();
            let ticket = ticket.unwrap_or_else(|error| panic!("the slot is kept until durability: {error}"));
            Draft::new(8, [page]).append(&*db.storage, ticket).unwrap()
        })
        .collect();
    assert_eq!(db.snapshot().id(), start.id());
    drop(held);
    for at in &appended {
        db.storage.wait_durable(at).unwrap();
    }
}

/// `wait_durable` does not return before the medium let go.
pub(super) fn waiting_for_durability_waits<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let durable = db.commit(&Draft::new(2, [1]));
    let released = AtomicBool::new(false);
    let waiting = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let held = db.hold();
        for _ in 0..3 {
            let at = db.append(&Draft::new(2, [2]));
            let (db, released, waiting) = (&db, &released, &waiting);
            scope.spawn(move || {
                waiting.fetch_add(1, Ordering::SeqCst);
                db.storage.wait_durable(&at).unwrap();
                assert!(released.load(Ordering::SeqCst), "wait_durable returned before durability");
                assert!(db.snapshot().lsn() >= at.lsn(), "an acknowledged commit is not shown");
            });
        }
        until("all wait", || waiting.load(Ordering::SeqCst) == 3);
        // An older durable state is not held up by what is in flight behind it.
        db.storage.wait_durable(&durable).unwrap();
        linger();
        released.store(true, Ordering::SeqCst);
        drop(held);
    });
}

/// Invariant 4: what the shim does at the end of a write transaction without a commit.
pub(super) fn a_transaction_that_commits_nothing_waits_for_its_base<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    db.commit(&Draft::new(2, [1]));
    let released = AtomicBool::new(false);
    let waiting = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let held = db.hold();
        let appended = db.append(&Draft::new(2, [2])).id();
        let ticket = db.begin();
        let (db, released, waiting) = (&db, &released, &waiting);
        scope.spawn(move || {
            let base = ticket.base().clone();
            drop(ticket);
            waiting.store(true, Ordering::SeqCst);
            db.storage.wait_durable(&base).unwrap();
            assert!(released.load(Ordering::SeqCst), "the base was called durable before it was");
            assert_eq!(base.id(), appended);
        });
        until("the transaction ends", || waiting.load(Ordering::SeqCst));
        linger();
        released.store(true, Ordering::SeqCst);
        drop(held);
    });
}

/// Group commit: sixteen commits that wait together cost fewer than half as many durable appends.
pub(super) fn commits_of_many_threads_share_one_persist<B: Backend>(backend: &B) {
    const THREADS: u32 = 16;
    let db = Db::new(backend);
    db.commit(&Draft::new(THREADS, [1]));
    let waiting = AtomicU32::new(0);
    let before = backend.persists(&db.place);
    std::thread::scope(|scope| {
        let held = db.hold();
        for page in 1..=THREADS {
            let (db, waiting) = (&db, &waiting);
            scope.spawn(move || {
                let ticket = db.storage.begin_write(patiently()).unwrap();
                let at = Draft::new(THREADS, [page]).append(&*db.storage, ticket).unwrap();
                waiting.fetch_add(1, Ordering::SeqCst);
                db.storage.wait_durable(&at).unwrap();
            });
        }
        until("all have appended", || waiting.load(Ordering::SeqCst) == THREADS);
        drop(held);
    });
    let persists = backend.persists(&db.place) - before;
    assert!(persists >= 1, "sixteen commits became durable without any durable append");
    assert!(persists < u64::from(THREADS / 2), "{THREADS} waiting commits took {persists} durable appends");
}

/// Who is told that a commit is durable may rely on every earlier one, and the next snapshot shows them all.
pub(super) fn acknowledgement_is_in_order<B: Backend>(backend: &B) {
    const THREADS: u32 = 6;
    let db = Db::new(backend);
    let appended: Mutex<Vec<Snapshot>> = Mutex::default();
    std::thread::scope(|scope| {
        for thread in 1..=THREADS {
            let (db, appended) = (&db, &appended);
            scope.spawn(move || {
                for _ in 0..15 {
                    let ticket = db.storage.begin_write(patiently()).unwrap();
                    let base = ticket.base().clone();
                    let at = Draft::new(THREADS, [thread]).append(&*db.storage, ticket).unwrap();
                    appended.lock().unwrap().push(at.clone());
                    db.storage.wait_durable(&at).unwrap();
                    let shown = db.snapshot();
                    assert!(shown.lsn() >= at.lsn(), "acknowledged {}, shown {}", at.lsn(), shown.lsn());
                    db.storage.wait_durable(&base).unwrap();
                    db.storage.wait_durable(&shown).unwrap();
                    let lower = appended.lock().unwrap().iter().find(|other| other.lsn() < at.lsn()).cloned();
                    if let Some(lower) = lower {
                        db.storage.wait_durable(&lower).unwrap();
                    }
                }
            });
        }
    });
}
