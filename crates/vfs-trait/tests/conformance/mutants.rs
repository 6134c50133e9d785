//! Storages that break one promise each, and the properties that must notice. A suite that nothing fails proves
//! nothing.
//!
//! Every mutant is [`Journaled`] behind [`Broken`], which does everything right but for its one [`Mutation`].

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use twill_types::{Door, Epoch, Lsn, PageNo, TimelineId};
use twill_vfs_trait::conformance::{Ability, Backend, Fault, Verdict, properties, run, run_property};
use twill_vfs_trait::{
    Checkpointed, Commit, PageImage, SlotGuard, Snapshot, StateId, Storage, StorageError, Wait, WriteTicket,
    WriterSlot,
};

use crate::memory::{Gate, Journaled, JournaledStorage};

/// The one promise that is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutation {
    /// None: the wrapper itself is correct.
    Nothing,
    /// `snapshot` shows what was appended last, durable or not.
    ShowsAppended,
    /// The slot comes back with durability, not with `append`.
    KeepsSlot,
    /// `begin_write` starts from the newest durable state.
    StartsFromDurable,
    /// A page is read as of now, whatever is pinned.
    IgnoresPin,
    /// Even pages are read as of now.
    TearsCommits,
    /// `wait_durable` never fails.
    AcknowledgesFailures,
    /// `wait_durable` does not wait.
    AcknowledgesEarly,
    /// An unknown outcome is told as a definite failure.
    HidesTheUnknown,
    /// Timeline and epoch are the same for ever.
    ReusesNames,
    /// Every third LSN is left out.
    LeavesGaps,
    /// Writers take the slot in no order.
    IgnoresQueue,
    /// A ticket that is dropped keeps the slot.
    LosesSlot,
    /// A broken rule is let through by mending the commit.
    MendsCommits,
    /// Pages cut off come back when the database grows.
    ForgetsShrinking,
    /// The newest acknowledged commit does not survive an open.
    LosesTheLast,
    /// The newest commit survives an open in part.
    TearsTheLast,
    /// `close` leaves the storage as it is.
    StaysOpen,
    /// An expired snapshot reads as zeros.
    ReadsExpired,
    /// A fenced writer is told that its commits are durable.
    IgnoresFence,
    /// Each commit costs one durable append of its own.
    PersistsOneByOne,
}

/// [`Journaled`] with a mutation.
struct Mutant(Mutation);

struct Broken {
    mutation: Mutation,
    inner: JournaledStorage,
    /// Where a mutant keeps what it should not: the newest appended state, slots, the images of pages cut off.
    appended: Mutex<Option<Snapshot>>,
    kept: Mutex<HashMap<Lsn, SlotGuard>>,
    cut_off: Mutex<HashMap<PageNo, Vec<u8>>>,
    slot: Arc<WriterSlot>,
    barging: AtomicBool,
}

/// What a renamed snapshot pins: the true one.
struct Renamed(Snapshot);

impl Backend for Mutant {
    type Place = Arc<Gate>;

    fn name(&self) -> String {
        format!("{:?}", self.0)
    }

    fn abilities(&self) -> &[Ability] {
        Journaled.abilities()
    }

    /// Lost slots shall be noticed soon; the correct wrapper has all the time it needs.
    fn patience(&self) -> Duration {
        if self.0 == Mutation::Nothing { Journaled.patience() } else { Duration::from_millis(500) }
    }

    fn create(&self) -> Arc<Gate> {
        Journaled.create()
    }

    fn open(&self, gate: &Arc<Gate>) -> Arc<dyn Storage> {
        match self.0 {
            Mutation::LosesTheLast => gate.spoil(|durable| drop(durable.pop())),
            Mutation::TearsTheLast => gate.spoil(|durable| {
                if let Some(last) = durable.last_mut() {
                    last.pages.truncate(last.pages.len().div_ceil(2));
                }
            }),
            _ => {}
        }
        Arc::new(Broken::new(self.0, gate))
    }

    fn open_read_only(&self, gate: &Arc<Gate>) -> Arc<dyn Storage> {
        if self.0 != Mutation::ReadsExpired {
            return Journaled.open_read_only(gate);
        }
        Arc::new(Broken { inner: Journaled::replay_read_only(gate), ..Broken::new(self.0, gate) })
    }

    fn usurp(&self, gate: &Arc<Gate>) -> Arc<dyn Storage> {
        self.open(gate)
    }

    fn expire(&self, gate: &Arc<Gate>) {
        Journaled.expire(gate);
    }

    fn crash(&self, gate: &Arc<Gate>, storage: Arc<dyn Storage>) {
        Journaled.crash(gate, storage);
    }

    fn hold(&self, gate: &Arc<Gate>) {
        gate.hold();
    }

    fn release(&self, gate: &Arc<Gate>) {
        gate.release();
    }

    fn persists(&self, gate: &Arc<Gate>) -> u64 {
        if self.0 == Mutation::PersistsOneByOne { gate.persisted_commits() } else { gate.persists() }
    }

    fn fail_next(&self, gate: &Arc<Gate>, fault: Fault) {
        gate.fail_next(fault);
    }
}

impl Broken {
    fn new(mutation: Mutation, gate: &Arc<Gate>) -> Self {
        Self {
            mutation,
            inner: Journaled::replay(gate),
            appended: Mutex::default(),
            kept: Mutex::default(),
            cut_off: Mutex::default(),
            slot: WriterSlot::new(<dyn Door>::system()),
            barging: AtomicBool::new(false),
        }
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == mutation
    }

    /// The snapshot as this storage names it.
    fn name(&self, at: Snapshot) -> Snapshot {
        let id = at.id();
        let id = match self.mutation {
            Mutation::ReusesNames => StateId { timeline: TimelineId([7; 16]), epoch: Epoch(1), ..id },
            Mutation::LeavesGaps => StateId { lsn: Lsn::new(id.lsn.get() + id.lsn.get() / 3), ..id },
            _ => return at,
        };
        Snapshot::new(id, at.page_count(), at.page_size(), Arc::new(Renamed(at)))
    }

    /// The snapshot behind the name.
    fn true_one<'a>(&self, at: &'a Snapshot) -> &'a Snapshot {
        at.pin::<Renamed>().map_or(at, |renamed| &renamed.0)
    }

    /// Takes the slot without queueing: whoever asks at the right moment has it.
    fn barge(&self, wait: &Wait) -> Result<WriteTicket, StorageError> {
        let mut refused = 0_u32;
        loop {
            match self.inner.begin_write(Wait::none()) {
                Err(StorageError::Busy { .. }) if wait.timeout != Some(Duration::ZERO) => {}
                outcome => return outcome,
            }
            // Registered, as the suite expects of a waiter, and unfair: the later it came, the more often it looks.
            let _waiting =
                wait.cancel.as_ref().map(|cancel| cancel.register(std::task::Waker::noop().clone()));
            if wait.cancel.as_ref().is_some_and(twill_types::Cancel::is_cancelled) {
                return Err(StorageError::Interrupted);
            }
            refused += 1;
            let first = !self.barging.swap(true, Ordering::SeqCst);
            <dyn Door>::system().sleep(Duration::from_millis(if first { 50 } else { 1 }));
            if wait.timeout.is_some_and(|timeout| timeout.as_millis() < 1000) && refused > 4 {
                return Err(StorageError::Busy { waited: wait.timeout.unwrap() });
            }
        }
    }

    fn mend_and_append(&self, ticket: WriteTicket, commit: &Commit<'_>) -> Result<Snapshot, StorageError> {
        let mut pages: Vec<PageImage<'_>> =
            commit.pages.iter().filter(|image| image.page.get() <= commit.page_count).copied().collect();
        pages.sort_by_key(|image| image.page);
        pages.dedup_by_key(|image| image.page);
        self.inner.append(ticket, Commit { pages: &pages, ..*commit })
    }

    fn remember_cut_off(&self, base: &Snapshot, commit: &Commit<'_>) {
        let mut cut_off = self.cut_off.lock().unwrap();
        for image in commit.pages {
            cut_off.remove(&image.page);
        }
        for page in commit.page_count + 1..=base.page_count() {
            let page = PageNo::new(page).unwrap();
            let mut bytes = vec![0; base.page_size().bytes()];
            self.inner.read_page(base, page, &mut bytes).unwrap();
            cut_off.insert(page, bytes);
        }
    }
}

impl Storage for Broken {
    fn snapshot(&self) -> Result<Snapshot, StorageError> {
        let durable = self.inner.snapshot()?;
        match (&*self.appended.lock().unwrap(), self.mutation) {
            (Some(appended), Mutation::ShowsAppended) => Ok(appended.clone()),
            _ => Ok(self.name(durable)),
        }
    }

    fn read_page(&self, at: &Snapshot, page: PageNo, buf: &mut [u8]) -> Result<(), StorageError> {
        let at = self.true_one(at);
        let now = match self.mutation {
            Mutation::IgnoresPin => true,
            Mutation::TearsCommits => page.get().is_multiple_of(2),
            _ => false,
        };
        if now
            && let Ok(newest) = self.inner.snapshot()
            && page.get() <= newest.page_count().min(at.page_count())
        {
            return self.inner.read_page(&newest, page, buf);
        }
        match self.inner.read_page(at, page, buf) {
            Err(StorageError::SnapshotExpired) if self.is(Mutation::ReadsExpired) => buf.fill(0),
            outcome => outcome?,
        }
        if self.is(Mutation::ForgetsShrinking)
            && buf.iter().all(|byte| *byte == 0)
            && let Some(bytes) = self.cut_off.lock().unwrap().get(&page)
        {
            buf.copy_from_slice(bytes);
        }
        Ok(())
    }

    fn begin_write(&self, wait: Wait) -> Result<WriteTicket, StorageError> {
        let outer = if self.is(Mutation::KeepsSlot) { Some(self.slot.acquire(&wait)?) } else { None };
        let ticket = if self.is(Mutation::IgnoresQueue) {
            self.barge(&wait)?
        } else {
            self.inner.begin_write(wait)?
        };
        let (base, slot) = ticket.into_parts();
        if let Some(outer) = outer {
            self.kept.lock().unwrap().insert(base.lsn().next(), outer);
        }
        let base = match self.mutation {
            Mutation::StartsFromDurable => self.inner.snapshot()?,
            _ => self.name(base),
        };
        let slot: Box<dyn std::any::Any + Send> = match self.mutation {
            Mutation::LosesSlot => Box::new(std::mem::ManuallyDrop::new(slot)),
            _ => slot,
        };
        Ok(WriteTicket::new(base, slot))
    }

    fn append(&self, ticket: WriteTicket, commit: Commit<'_>) -> Result<Snapshot, StorageError> {
        let (base, slot) = ticket.into_parts();
        let base = self.true_one(&base).clone();
        let slot = match slot.downcast::<std::mem::ManuallyDrop<Box<dyn std::any::Any + Send>>>() {
            Ok(kept) => std::mem::ManuallyDrop::into_inner(*kept),
            Err(slot) => slot,
        };
        if self.is(Mutation::ForgetsShrinking) {
            self.remember_cut_off(&base, &commit);
        }
        let ticket = WriteTicket::new(base, slot);
        let at = match self.mutation {
            Mutation::MendsCommits => self.mend_and_append(ticket, &commit)?,
            _ => self.inner.append(ticket, commit)?,
        };
        *self.appended.lock().unwrap() = Some(at.clone());
        Ok(self.name(at))
    }

    fn wait_durable(&self, at: &Snapshot) -> Result<(), StorageError> {
        let at = self.true_one(at);
        if self.is(Mutation::AcknowledgesEarly) {
            return Ok(());
        }
        let outcome = self.inner.wait_durable(at);
        self.kept.lock().unwrap().remove(&at.lsn());
        match (self.mutation, outcome) {
            (Mutation::AcknowledgesFailures, Err(_))
            | (Mutation::IgnoresFence, Err(StorageError::Fenced { .. })) => Ok(()),
            (Mutation::HidesTheUnknown, Err(StorageError::Indeterminate { what, source })) => {
                Err(StorageError::Unavailable { what, source })
            }
            (_, outcome) => outcome,
        }
    }

    fn prefetch(&self, at: &Snapshot, pages: &[PageNo]) {
        self.inner.prefetch(self.true_one(at), pages);
    }

    fn checkpoint(&self) -> Result<Checkpointed, StorageError> {
        self.inner.checkpoint()
    }

    fn close(&self) -> Result<(), StorageError> {
        if self.is(Mutation::StaysOpen) {
            return match self.inner.begin_write(Wait::none()) {
                Ok(ticket) => self.inner.wait_durable(ticket.base()),
                Err(_) => Ok(()),
            };
        }
        self.inner.close()
    }
}

/// Fails unless this property fails on this mutant. Some mutations show only when threads meet in the right moment;
/// they get some chances.
fn assert_caught(mutation: Mutation, property: &str) {
    let caught = || catch_unwind(AssertUnwindSafe(|| run_property(&Mutant(mutation), property))).is_err();
    assert!((0..20).any(|_| caught()), "{mutation:?} passes {property}");
}

/// The mutants differ from a correct storage by their mutation alone.
#[test]
fn the_unbroken_wrapper_passes() {
    assert!(run(&Mutant(Mutation::Nothing)).iter().all(|(_, verdict)| *verdict == Verdict::Held));
}

macro_rules! caught {
    ($($mutation:ident: $($property:ident),+;)*) => {
        /// Which property must notice which mutation.
        const CAUGHT: &[(Mutation, &[&str])] =
            &[$((Mutation::$mutation, &[$(stringify!($property)),+])),*];
    };
}

caught! {
    ShowsAppended: a_snapshot_is_never_ahead_of_durability, append_gives_the_slot_back_before_durability,
        random_operations_match_a_model;
    KeepsSlot: append_gives_the_slot_back, append_gives_the_slot_back_before_durability;
    StartsFromDurable: a_writer_starts_from_the_newest_appended_state, a_snapshot_is_never_ahead_of_durability,
        append_gives_the_slot_back;
    IgnoresPin: a_pinned_snapshot_reads_the_same_bytes_for_ever, a_clone_keeps_the_pin,
        pages_cut_off_read_as_zeros_when_regrown, random_operations_match_a_model, racing_threads_match_a_replay;
    TearsCommits: readers_never_see_a_torn_commit, a_pinned_snapshot_reads_the_same_bytes_for_ever;
    AcknowledgesFailures: a_failed_append_poisons, a_failure_takes_along_everything_built_on_it,
        an_empty_transaction_on_a_failed_base_fails, an_unknown_outcome_takes_along_everything_built_on_it,
        random_operations_match_a_model;
    AcknowledgesEarly: waiting_for_durability_waits, acknowledgement_is_in_order,
        a_transaction_that_commits_nothing_waits_for_its_base, a_crash_keeps_what_was_acknowledged;
    HidesTheUnknown: an_indeterminate_append_is_told_as_such_and_poisons,
        an_unknown_outcome_takes_along_everything_built_on_it, random_operations_match_a_model;
    ReusesNames: a_name_never_holds_other_bytes_after_a_crash,
        a_name_never_holds_other_bytes_after_a_failed_append;
    LeavesGaps: racing_writers_make_one_gapless_order, random_operations_match_a_model;
    IgnoresQueue: the_slot_goes_to_the_longest_waiting;
    LosesSlot: a_dropped_ticket_gives_the_slot_back_and_leaves_no_trace,
        a_ticket_dropped_by_a_panic_gives_the_slot_back, racing_leavers_never_lose_the_slot;
    MendsCommits: a_commit_that_breaks_a_rule_is_invalid_and_leaves_no_trace, random_operations_match_a_model;
    ForgetsShrinking: pages_cut_off_read_as_zeros_when_regrown, random_operations_match_a_model;
    LosesTheLast: a_reopened_database_holds_everything, a_crash_keeps_what_was_acknowledged,
        close_settles_what_was_appended;
    TearsTheLast: a_reopened_database_holds_everything, a_crash_keeps_what_was_acknowledged,
        a_commit_of_many_pages_is_whole;
    StaysOpen: a_closed_storage_answers_unavailable;
    ReadsExpired: an_expired_snapshot_is_told_as_such;
    IgnoresFence: a_fenced_writer_acknowledges_nothing;
    PersistsOneByOne: commits_of_many_threads_share_one_persist;
}

#[test]
fn every_mutant_is_caught() {
    for (mutation, names) in CAUGHT {
        for name in *names {
            assert!(properties::<Mutant>().iter().any(|property| property.name == *name), "{name}");
            assert_caught(*mutation, name);
        }
    }
}
