//! The writer slot: first come, first served, and never lost.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

use twill_types::Cancel;

use super::Backend;
use super::scene::{Content, Db, Draft, patiently, until};
use crate::{StorageError, Wait};

/// A patient wait whose beginning can be seen.
fn watched() -> (Wait, Cancel) {
    let cancel = Cancel::new();
    (Wait { cancel: Some(cancel.clone()), ..patiently() }, cancel)
}

/// Waiting writers get their turn in the order in which they came.
pub(super) fn the_slot_goes_to_the_longest_waiting<B: Backend>(backend: &B) {
    const WRITERS: u32 = 8;
    let db = Db::new(backend);
    let turns: Mutex<Vec<u32>> = Mutex::default();
    std::thread::scope(|scope| {
        let first = db.begin();
        for writer in 1..=WRITERS {
            let (wait, cancel) = watched();
            let (db, turns) = (&db, &turns);
            scope.spawn(move || {
                let ticket = db.storage.begin_write(wait).unwrap();
                turns.lock().unwrap().push(writer);
                // Half of them commit, the others give the slot back: both pass it on.
                if writer % 2 == 0 {
                    Draft::new(WRITERS, [writer]).append(&*db.storage, ticket).unwrap();
                }
            });
            until("the writer queues", || cancel.registered() == 1);
        }
        drop(first);
    });
    assert_eq!(turns.into_inner().unwrap(), (1..=WRITERS).collect::<Vec<_>>());
}

/// At once when told not to wait, at the timeout otherwise; the holder is not disturbed.
pub(super) fn a_taken_slot_answers_busy<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let ticket = db.begin();
    let at_once = db.storage.begin_write(Wait::none());
    assert!(matches!(at_once, Err(StorageError::Busy { .. })), "{at_once:?}");
    let timeout = Duration::from_millis(3);
    match db.storage.begin_write(Wait::at_most(timeout)) {
        Err(StorageError::Busy { waited }) => assert!(waited >= timeout, "gave up early, after {waited:?}"),
        other => panic!("a taken slot answers {other:?}"),
    }
    let at = Draft::new(1, [1]).append(&*db.storage, ticket).unwrap();
    assert_eq!(db.begin().base().id(), at.id());
}

/// The interrupted writer hears it; those behind it keep their turn.
pub(super) fn an_interrupt_ends_the_wait_and_leaves_the_queue<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    std::thread::scope(|scope| {
        let ticket = db.begin();
        let (wait, cancel) = watched();
        let interrupted = scope.spawn(|| db.storage.begin_write(wait).map(drop));
        until("the first queues", || cancel.registered() == 1);
        let (wait, behind) = watched();
        let patient = scope.spawn(|| db.storage.begin_write(wait).map(drop));
        until("the second queues", || behind.registered() == 1);
        cancel.cancel();
        let outcome = interrupted.join().unwrap();
        assert!(matches!(outcome, Err(StorageError::Interrupted)), "{outcome:?}");
        assert!(matches!(db.storage.begin_write(Wait::none()), Err(StorageError::Busy { .. })));
        drop(ticket);
        patient.join().unwrap().unwrap();
    });
    db.commit(&Draft::new(1, [1]));
}

/// A transaction that is rolled back.
pub(super) fn a_dropped_ticket_gives_the_slot_back_and_leaves_no_trace<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let draft = Draft::new(2, [1, 2]);
    let at = db.commit(&draft);
    for _ in 0..3 {
        let ticket = db.begin();
        assert_eq!(ticket.base().id(), at.id());
        drop(ticket);
    }
    let seen = db.snapshot();
    assert_eq!(seen.id(), at.id());
    db.assert_shows(&seen, &Content::empty().after(&draft), "after tickets that committed nothing");
    assert_eq!(db.commit(&Draft::new(2, [1])).lsn(), at.lsn().next());
}

/// Timeouts and interrupts that race with the hand-over.
pub(super) fn racing_leavers_never_lose_the_slot<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let db = &db;
            scope.spawn(move || {
                for turn in 0..150_u64 {
                    let cancel = Cancel::new();
                    if (thread + turn).is_multiple_of(5) {
                        cancel.cancel();
                    }
                    let timeout = Some(Duration::from_micros((thread * 7 + turn) % 40));
                    match db.storage.begin_write(Wait { timeout, cancel: Some(cancel) }) {
                        Ok(ticket) => drop(ticket),
                        Err(StorageError::Busy { .. } | StorageError::Interrupted) => {}
                        Err(other) => panic!("a racing writer got {other:?}"),
                    }
                }
            });
        }
    });
    db.commit(&Draft::new(1, [1]));
}

/// Unwinding is one more way to roll back.
pub(super) fn a_ticket_dropped_by_a_panic_gives_the_slot_back<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let _ticket = db.begin();
        std::panic::resume_unwind(Box::new("a writer gives up"));
    }));
    assert!(unwound.is_err());
    db.commit(&Draft::new(1, [1]));
}
