//! The suite every backend must pass: one property per promise of [`crate::Storage`], judged only through the trait.
//!
//! A backend's test implements [`Backend`] and calls [`conformance_suite!`](crate::conformance_suite) (one `#[test]`
//! per property) or [`run`] (all of them). What a medium cannot rehearse it does not list in
//! [`Backend::abilities`]; a property that needs it is then skipped, and the skip is printed by name past the test
//! harness's capture.
//!
//! Invariants:
//! 1. No property asserts a duration. Where one thread must know that another waits, it looks at
//!    [`twill_types::Cancel::registered`]; patience, a minute, is only a guard against hanging.
//! 2. Every random choice comes from a seed that a failure prints. `TWILL_SEED` and `TWILL_STEPS` repeat a run.
//! 3. Every page a property reads is compared whole; a page tells from its bytes which commit wrote it.
//!
//! What is absent: power loss against a real medium and a killed process, which are each backend's own tests; SQL.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a suite fails by panicking; it is never compiled into the engine"
)]

mod commits;
mod durability;
mod failures;
mod lifecycle;
mod model;
mod order;
mod scene;
mod snapshots;
mod stress;
mod tickets;

use std::fmt;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::Storage;

/// A storage backend as the suite sees it: places where databases live, and the means to make them suffer.
pub trait Backend: Sync {
    /// Where one database lives; outlives its storages. Dropping it erases the database.
    type Place: Send + Sync;

    /// What to call the backend in messages.
    fn name(&self) -> String;

    /// Everything this backend can rehearse. A property that needs more is skipped by name.
    fn abilities(&self) -> &[Ability];

    /// How long the suite waits for a slot that no writer holds before it calls it lost. Only a guard against hanging:
    /// a backend may hold the slot for its own work, for moments.
    fn patience(&self) -> Duration {
        scene::PATIENCE
    }

    /// A new, empty place.
    fn create(&self) -> Self::Place;

    /// Opens the place for writing, creating the database if there is none. Called again for the same place only
    /// with [`Ability::Reopen`] or [`Ability::Crash`], and never while another storage of that place is open.
    fn open(&self, place: &Self::Place) -> Arc<dyn Storage>;

    /// [`Ability::ReadOnly`]: opens for reading. With [`Ability::Reopen`] the place holds a database.
    fn open_read_only(&self, place: &Self::Place) -> Arc<dyn Storage> {
        let _ = place;
        self.lacks(Ability::ReadOnly)
    }

    /// [`Ability::Crash`]: the process dies, with `storage` in it. What was in flight may be lost, as far as the
    /// medium loses such things. No thread is inside a call; snapshots and tickets of `storage` may still be alive
    /// and are not used again. Durability is not held back.
    fn crash(&self, place: &Self::Place, storage: Arc<dyn Storage>) {
        let _ = (place, storage);
        self.lacks(Ability::Crash)
    }

    /// [`Ability::Hold`]: from now until [`Backend::release`] nothing more becomes durable; whatever waits for it
    /// waits, and nothing fails.
    fn hold(&self, place: &Self::Place) {
        let _ = place;
        self.lacks(Ability::Hold)
    }

    /// Ends [`Backend::hold`].
    fn release(&self, place: &Self::Place) {
        let _ = place;
        self.lacks(Ability::Hold)
    }

    /// [`Ability::CountPersists`]: how often the medium was asked to make commits durable (a sync, a PUT).
    fn persists(&self, place: &Self::Place) -> u64 {
        let _ = place;
        self.lacks(Ability::CountPersists)
    }

    /// Arms one fault of a kind listed in [`Backend::abilities`] for the commits that come next. It strikes once.
    fn fail_next(&self, place: &Self::Place, fault: Fault) {
        let _ = place;
        self.lacks(Ability::Fail(fault))
    }

    /// [`Ability::Fence`]: opens for writing although another storage of that place is open and stays so: another
    /// process took over. The other one is fenced from now on, whether it knows or not.
    fn usurp(&self, place: &Self::Place) -> Arc<dyn Storage> {
        let _ = place;
        self.lacks(Ability::Fence)
    }

    /// [`Ability::Expire`]: takes away whatever a storage from [`Backend::open_read_only`] could not pin.
    fn expire(&self, place: &Self::Place) {
        let _ = place;
        self.lacks(Ability::Expire)
    }

    /// Says that the suite asked for what the backend did not promise.
    #[doc(hidden)]
    fn lacks(&self, ability: Ability) -> ! {
        panic!("{} does not implement {ability}", self.name())
    }

    /// Whether the backend can rehearse this.
    fn offers(&self, ability: Ability) -> bool {
        self.abilities().contains(&ability)
    }
}

/// Something a medium may or may not be able to rehearse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// A closed database can be opened again.
    Reopen,
    /// A crash can be simulated, and the database opened again.
    Crash,
    /// The database can be opened for reading only.
    ReadOnly,
    /// A second writer can take over while the first is still open.
    Fence,
    /// A reader that writes nothing cannot pin, and what it reads can be collected. Needs [`Ability::ReadOnly`].
    Expire,
    /// Durability can be held back.
    Hold,
    /// Durable appends can be counted.
    CountPersists,
    /// This fault can be injected.
    Fail(Fault),
}

/// What can go wrong with a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The next durable append fails and nothing of it is applied.
    NotApplied,
    /// Nobody can tell whether the next durable append was applied. The backend decides which, if it can.
    Indeterminate,
    /// The next `append` finds no room and says [`crate::StorageError::Full`]; nothing is applied, the storage stays
    /// usable.
    Full,
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One promise and how it is checked.
pub struct Property<B: Backend> {
    /// What must hold, as an identifier.
    pub name: &'static str,
    /// What the backend must be able to rehearse.
    pub needs: &'static [Ability],
    /// Panics when the promise is broken.
    pub check: fn(&B),
}

/// Whether a property was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Held,
    /// The backend cannot rehearse it, for want of these.
    Skipped(Vec<Ability>),
}

/// Judges the backend by every property.
///
/// # Panics
/// When a property does not hold.
pub fn run<B: Backend>(backend: &B) -> Vec<(&'static str, Verdict)> {
    properties::<B>().iter().map(|property| (property.name, judge(backend, property))).collect()
}

/// Judges the backend by the property of this name.
///
/// # Panics
/// When the property does not hold, or there is none of that name.
pub fn run_property<B: Backend>(backend: &B, name: &str) -> Verdict {
    match properties::<B>().iter().find(|property| property.name == name) {
        Some(property) => judge(backend, property),
        None => panic!("no property is called {name}"),
    }
}

fn judge<B: Backend>(backend: &B, property: &Property<B>) -> Verdict {
    let lacking: Vec<Ability> =
        property.needs.iter().copied().filter(|ability| !backend.offers(*ability)).collect();
    if lacking.is_empty() {
        (property.check)(backend);
        return Verdict::Held;
    }
    // Not `eprintln!`: the harness swallows what a passing test prints.
    let line = format!("skipped: {} on {}: lacks {lacking:?}\n", property.name, backend.name());
    let _ = std::io::stderr().write_all(line.as_bytes());
    Verdict::Skipped(lacking)
}

/// Hands the list of properties to another macro, so that it is written once.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_properties {
    ($then:ident $($argument:tt)*) => {
        $crate::$then! { ($($argument)*)
            order::racing_writers_make_one_gapless_order: [],
            order::a_writer_starts_from_the_newest_appended_state: [],
            order::a_reopened_database_continues_the_order: [Reopen],
            order::a_name_never_holds_other_bytes_after_a_reopen: [Reopen],
            order::a_name_never_holds_other_bytes_after_a_crash: [Crash],
            order::a_name_never_holds_other_bytes_after_a_failed_append: [Reopen, Fail(NotApplied)],
            durability::a_snapshot_is_never_ahead_of_durability: [Hold],
            durability::append_gives_the_slot_back: [],
            durability::append_gives_the_slot_back_before_durability: [Hold],
            durability::waiting_for_durability_waits: [Hold],
            durability::a_transaction_that_commits_nothing_waits_for_its_base: [Hold],
            durability::commits_of_many_threads_share_one_persist: [Hold, CountPersists],
            durability::acknowledgement_is_in_order: [],
            failures::a_failed_append_poisons: [Fail(NotApplied)],
            failures::an_indeterminate_append_is_told_as_such_and_poisons: [Fail(Indeterminate)],
            failures::a_failure_takes_along_everything_built_on_it: [Hold, Fail(NotApplied)],
            failures::an_unknown_outcome_takes_along_everything_built_on_it: [Hold, Fail(Indeterminate)],
            failures::an_empty_transaction_on_a_failed_base_fails: [Hold, Fail(NotApplied)],
            failures::what_was_reported_as_failed_is_not_there_after_a_reopen: [Reopen, Fail(NotApplied)],
            failures::a_reopen_after_an_unknown_outcome_finds_a_prefix: [Reopen, Fail(Indeterminate)],
            failures::no_room_applies_nothing: [Fail(Full)],
            tickets::the_slot_goes_to_the_longest_waiting: [],
            tickets::a_taken_slot_answers_busy: [],
            tickets::an_interrupt_ends_the_wait_and_leaves_the_queue: [],
            tickets::a_dropped_ticket_gives_the_slot_back_and_leaves_no_trace: [],
            tickets::racing_leavers_never_lose_the_slot: [],
            tickets::a_ticket_dropped_by_a_panic_gives_the_slot_back: [],
            commits::a_commit_that_breaks_a_rule_is_invalid_and_leaves_no_trace: [],
            commits::a_foreign_ticket_is_invalid: [],
            commits::a_foreign_snapshot_is_invalid: [],
            commits::a_read_that_breaks_a_rule_is_invalid: [],
            commits::every_page_size_works: [],
            commits::the_first_commit_decides_the_page_size: [],
            commits::pages_never_written_read_as_zeros: [],
            commits::pages_cut_off_read_as_zeros_when_regrown: [],
            commits::a_commit_of_many_pages_is_whole: [],
            snapshots::a_pinned_snapshot_reads_the_same_bytes_for_ever: [],
            snapshots::a_clone_keeps_the_pin: [],
            snapshots::readers_never_see_a_torn_commit: [],
            snapshots::a_base_reads_its_own_bytes_while_others_commit: [],
            snapshots::a_checkpoint_changes_no_bytes: [],
            snapshots::a_prefetch_changes_nothing: [],
            lifecycle::an_empty_database_has_no_pages: [],
            lifecycle::close_settles_what_was_appended: [],
            lifecycle::a_closed_storage_answers_unavailable: [],
            lifecycle::close_refuses_queued_writers: [],
            lifecycle::close_waits_for_what_is_in_flight: [Hold],
            lifecycle::a_reopened_database_holds_everything: [Reopen],
            lifecycle::a_read_only_storage_refuses_writes: [ReadOnly],
            lifecycle::an_expired_snapshot_is_told_as_such: [Reopen, ReadOnly, Expire],
            lifecycle::a_fenced_writer_acknowledges_nothing: [Fence],
            lifecycle::a_crash_keeps_what_was_acknowledged: [Crash],
            lifecycle::a_crash_of_an_empty_database_leaves_it_empty: [Crash],
            model::random_operations_match_a_model: [],
            stress::racing_threads_match_a_replay: [],
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_table {
    (($backend:ident) $($module:ident :: $name:ident : [$($need:expr),*],)*) => {
        vec![$(Property {
            name: stringify!($name),
            needs: &[$($need),*],
            check: $module::$name::<$backend>,
        }),*]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    (($backend:expr) $($module:ident :: $name:ident : $needs:tt,)*) => {
        $(
            #[test]
            fn $name() {
                $crate::conformance::run_property(&$backend, stringify!($name));
            }
        )*
    };
}

/// One `#[test]` per property, each on its own `$backend`, an expression of a type that implements
/// [`Backend`](crate::conformance::Backend).
#[macro_export]
macro_rules! conformance_suite {
    ($backend:expr) => {
        $crate::__conformance_properties! { __conformance_tests $backend }
    };
}

/// Every property, in the order of the invariants.
#[must_use]
pub fn properties<B: Backend>() -> Vec<Property<B>> {
    use Ability::{CountPersists, Crash, Expire, Fail, Fence, Hold, ReadOnly, Reopen};
    use Fault::{Full, Indeterminate, NotApplied};
    crate::__conformance_properties! { __conformance_table B }
}
