//! Invariants 3, 4 and 7, when something fails: what falls with it, what stands, what is said.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use twill_types::Lsn;

use super::scene::{Content, Db, Draft, patiently, try_read, until};
use super::{Ability, Backend, Fault};
use crate::{Snapshot, StorageError};

/// The failed commit's error says what became of it; that the caller did something wrong it must not say.
fn assert_is_failure(error: &StorageError, fault: Fault) {
    match error {
        StorageError::Indeterminate { .. } | StorageError::Poisoned { .. } | StorageError::Fenced { .. } => {}
        StorageError::Unavailable { .. } | StorageError::Full { .. } | StorageError::Corrupt { .. } => {
            assert_eq!(fault, Fault::NotApplied, "an unknown outcome was told as a definite one: {error}");
        }
        StorageError::Busy { .. }
        | StorageError::Interrupted
        | StorageError::Conflict { .. }
        | StorageError::ReadOnly { .. }
        | StorageError::SnapshotExpired
        | StorageError::Invalid { .. } => panic!("a failed commit was answered with {error:?}"),
    }
}

fn assert_refuses_writes<B: Backend>(db: &Db<'_, B>) {
    match db.try_begin() {
        Err(StorageError::Poisoned { .. } | StorageError::Fenced { .. }) => {}
        other => panic!("a poisoned storage answers begin_write with {other:?}"),
    }
}

/// Reads of what is durable go on, and waiting for it succeeds.
fn assert_shows_durable<B: Backend>(db: &Db<'_, B>, durable: &Snapshot, content: &Content) {
    let seen = db.snapshot();
    assert_eq!(seen.id(), durable.id(), "a poisoned storage shows its newest durable state");
    db.assert_shows(&seen, content, "after poisoning");
    db.assert_shows(durable, content, "pinned before poisoning");
    db.storage.wait_durable(durable).unwrap_or_else(|error| panic!("an older durable state fails: {error}"));
    db.storage.wait_durable(&seen).unwrap();
}

/// A state that was never to be may be refused, but never read as another one.
fn assert_reads_no_other_bytes<B: Backend>(db: &Db<'_, B>, at: &Snapshot, content: &Content) {
    for page in 1..=at.page_count() {
        if let Ok(stamp) = try_read(&*db.storage, at, page) {
            let expected = content.stamps.get(&page).copied().unwrap_or(0);
            assert_eq!(stamp, expected, "page {page} of the lost state {:?}", at.id());
        }
    }
}

fn one_failure_poisons<B: Backend>(backend: &B, fault: Fault) -> StorageError {
    let db = Db::new(backend);
    let old = db.commit(&Draft::new(3, [1, 2, 3]));
    let old_content = Content::read(&*db.storage, &old);
    let draft = Draft::new(4, [2, 4]);
    let content = old_content.after(&draft);
    let durable = db.commit(&draft);
    db.fail_next(fault);
    let draft = Draft::new(2, [1]);
    let lost_content = content.after(&draft);
    let error = match draft.append(&*db.storage, db.begin()) {
        Err(error) => error,
        Ok(lost) => {
            let error = db.storage.wait_durable(&lost).expect_err("a failed commit was acknowledged");
            assert_reads_no_other_bytes(&db, &lost, &lost_content);
            let again = db.storage.wait_durable(&lost).expect_err("a failed commit was acknowledged later");
            assert_is_failure(&again, fault);
            error
        }
    };
    assert_is_failure(&error, fault);
    for _ in 0..2 {
        assert_refuses_writes(&db);
        assert_shows_durable(&db, &durable, &content);
        db.assert_shows(&old, &old_content, "an old pin after poisoning");
    }
    error
}

/// One failed durable append ends all writing until reopened.
pub(super) fn a_failed_append_poisons<B: Backend>(backend: &B) {
    one_failure_poisons(backend, Fault::NotApplied);
}

/// The commit whose outcome nobody knows is told so, and not as failed.
pub(super) fn an_indeterminate_append_is_told_as_such_and_poisons<B: Backend>(backend: &B) {
    let error = one_failure_poisons(backend, Fault::Indeterminate);
    assert!(matches!(error, StorageError::Indeterminate { .. }), "an unknown outcome was told as {error:?}");
}

/// A failure while others have appended on top, wait, and hold the slot.
fn a_failure_spreads<B: Backend>(backend: &B, fault: Fault) {
    const WRITERS: u32 = 8;
    let db = Db::new(backend);
    let base = db.commit(&Draft::new(WRITERS, 1..=WRITERS)).lsn();
    let outcomes: Mutex<Vec<(Lsn, Result<(), StorageError>)>> = Mutex::default();
    let waiting = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let held = db.hold();
        db.fail_next(fault);
        for page in 1..=WRITERS {
            let at = db.append(&Draft::new(WRITERS, [page]));
            let (db, outcomes, waiting) = (&db, &outcomes, &waiting);
            scope.spawn(move || {
                waiting.fetch_add(1, Ordering::SeqCst);
                let outcome = db.storage.wait_durable(&at);
                outcomes.lock().unwrap().push((at.lsn(), outcome));
            });
        }
        let ticket = db.begin();
        let newest = Content::read(&*db.storage, ticket.base());
        until("all wait", || waiting.load(Ordering::SeqCst) == WRITERS);
        drop(held);
        let outcome = db.storage.wait_durable(ticket.base());
        assert!(outcome.is_err(), "the newest state built on a failure and was called durable");
        assert_reads_no_other_bytes(&db, ticket.base(), &newest);
        match Draft::new(WRITERS, [1]).append(&*db.storage, ticket) {
            Err(StorageError::Poisoned { .. } | StorageError::Fenced { .. }) => {}
            other => panic!("an append on a failed base answers {other:?}"),
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap();
    outcomes.sort_by_key(|(lsn, _)| *lsn);
    let durable =
        outcomes.iter().take_while(|(_, outcome)| outcome.is_ok()).last().map_or(base, |(lsn, _)| *lsn);
    let failed: Vec<_> = outcomes.iter().filter(|(lsn, _)| *lsn > durable).collect();
    assert!(!failed.is_empty(), "nothing failed");
    for (lsn, outcome) in failed {
        let error = outcome.as_ref().expect_err("a commit that built on a failed one was acknowledged");
        assert_is_failure(error, fault);
        assert!(*lsn > base);
    }
    assert_refuses_writes(&db);
    assert_eq!(db.snapshot().lsn(), durable, "exactly the acknowledged prefix is shown");
}

/// Every commit that built on the failed one fails too, those before it stand.
pub(super) fn a_failure_takes_along_everything_built_on_it<B: Backend>(backend: &B) {
    a_failure_spreads(backend, Fault::NotApplied);
}

/// The same, and none of them is told that it definitely failed on its own account.
pub(super) fn an_unknown_outcome_takes_along_everything_built_on_it<B: Backend>(backend: &B) {
    a_failure_spreads(backend, Fault::Indeterminate);
}

/// Invariant 4: nothing was written, yet what was read never became durable.
pub(super) fn an_empty_transaction_on_a_failed_base_fails<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    db.commit(&Draft::new(2, [1]));
    let held = db.hold();
    db.fail_next(Fault::NotApplied);
    let lost = db.append(&Draft::new(2, [2]));
    let ticket = db.begin();
    let base = ticket.base().clone();
    assert_eq!(base.id(), lost.id());
    drop(ticket);
    drop(held);
    let error = db.storage.wait_durable(&base).expect_err("the base failed, the transaction succeeded");
    assert_is_failure(&error, Fault::NotApplied);
}

/// Invariant 7: a definite failure is definite.
pub(super) fn what_was_reported_as_failed_is_not_there_after_a_reopen<B: Backend>(backend: &B) {
    let mut db = Db::new(backend);
    for _ in 0..3 {
        let found = db.snapshot();
        let draft = Draft::new(6, [1, 2]);
        let content = Content::read(&*db.storage, &found).after(&draft);
        drop(found);
        db.commit(&draft);
        db.fail_next(Fault::NotApplied);
        let draft = Draft::new(6, [2, 6]);
        let error = db.try_commit(&draft).expect_err("a failed commit was acknowledged");
        db = db.reopen_after_failure();
        let found = Content::read(&*db.storage, &db.snapshot());
        let told_unknown = matches!(error, StorageError::Indeterminate { .. });
        assert!(
            found == content || told_unknown && found == content.after(&draft),
            "told {error:?}, found {found:?}, expected {content:?}"
        );
    }
    db.commit(&Draft::new(6, [3]));
}

/// Only the reopen reads the truth: the commit is there or not, whole, and everything before it is.
pub(super) fn a_reopen_after_an_unknown_outcome_finds_a_prefix<B: Backend>(backend: &B) {
    let mut db = Db::new(backend);
    for _ in 0..6 {
        let found = db.snapshot();
        let draft = Draft::new(6, [1, 2]);
        let mut states = vec![Content::read(&*db.storage, &found).after(&draft)];
        drop(found);
        db.commit(&draft);
        db.fail_next(Fault::Indeterminate);
        let mut pending = Vec::new();
        for page in 2..=4 {
            // The fault may strike here already; then the rest is refused.
            let Ok(ticket) = db.try_begin() else { break };
            let draft = Draft::new(6, [page]);
            states.push(states[states.len() - 1].after(&draft));
            match draft.append(&*db.storage, ticket) {
                Ok(at) => pending.push(at),
                Err(_) => break,
            }
        }
        let acknowledged = pending.iter().take_while(|at| db.storage.wait_durable(at).is_ok()).count();
        assert!(acknowledged < 3, "a commit of unknown outcome was acknowledged");
        drop(pending);
        db = db.reopen_after_failure();
        let found = Content::read(&*db.storage, &db.snapshot());
        assert!(states[acknowledged..].contains(&found), "found {found:?}, which is none of {states:?}");
    }
}

/// `Full` out of `append`: as if it had never been called.
pub(super) fn no_room_applies_nothing<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let draft = Draft::new(3, [1, 2]);
    let content = Content::empty().after(&draft);
    let durable = db.commit(&draft);
    db.fail_next(Fault::Full);
    match Draft::new(3, [2, 3]).append(&*db.storage, db.begin()) {
        Err(StorageError::Full { .. }) => {}
        other => panic!("an append without room answers {other:?}"),
    }
    let ticket = db.storage.begin_write(patiently()).unwrap();
    assert_eq!(ticket.base().id(), durable.id(), "nothing was applied");
    db.assert_shows(ticket.base(), &content, "after a full medium");
    drop(ticket);
    let draft = Draft::new(4, [3]);
    let next = db.commit(&draft);
    assert_eq!(next.lsn(), durable.lsn().next());
    db.assert_shows(&db.snapshot(), &content.after(&draft), "once there is room again");
    if backend.offers(Ability::Reopen) {
        drop((next, durable));
        let db = db.reopen();
        db.assert_shows(&db.snapshot(), &content.after(&draft), "reopened after a full medium");
    }
}
