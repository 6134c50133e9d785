//! Branches: pins, seals, deletion, reset, and a collector that works beside them.
//!
//! The log of a timeline is taken to be what [`crate::log`] shows that it is: an append is one step that succeeds or
//! meets the seal. What is explored here is what happens between objects: the branch record of each name, the pins,
//! the logs and named checkpoints of several timelines, and processes that stop between any two requests, for ever or
//! until everything has changed: creators of branches, a deleter, a resetter, a collector, writers.
//!
//! A step is one request. A conditional PUT names the version of the record that it expects; version 0 is "nothing
//! there". Every PUT of a record makes a version that never was (rule 8 needs no more of an ETag, but no less: a
//! record's bytes must not repeat).
//!
//! What the rules say beyond the words of the protocol, because the model fails without it:
//! - A pin names the whole resolved base, and what is checked after the pin is PUT is that the base's *checkpoint* is
//!   not below the floor. A pin that holds only an LSN is not enough once a newer checkpoint is taken.
//! - A branch is claimed by the conditional PUT of its record. A collector that gives up on an unclaimed pin first
//!   makes that PUT impossible, by a PUT of a tombstone at the record's name, and names are never freed: a new branch
//!   replaces the tombstone by If-Match.
//! - A reset claims its pin in the branch record before it seals, or a seal may redirect to bytes that are gone.
//!
//! Abstracted, and not covered: a flush or an apply (a checkpoint is taken in one step); parts; PITR without a
//! branch; rename and its two records; the sharing of layer objects between a timeline and its clones, which is one
//! object here (the checkpoint); lost replies (a retry of a conditional PUT that took effect is read back, as in the
//! log). Checkpoints of children are not taken: a child's own commits are its log.

pub mod collecting;
pub mod creating;
pub mod ending;
pub mod properties;
pub mod writing;

use stateright::{Model, Property};

use crate::branch::properties::Broken;

/// Timelines that may come to be.
pub const TIMELINES: usize = 4;
/// Names of branches.
pub const NAMES: usize = 3;

/// What a pin holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PinHolds {
    /// The resolved base: a checkpoint, and the slots after it.
    Base,
    /// An LSN: the newest checkpoint at or below it, as the collector sees it, and the slots after that.
    Lsn,
}

/// The rules of branches; each is kept, or broken by one variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one rule, kept or broken, and reads as a sentence"
)]
pub struct Rules {
    /// Rule 13.
    pub timelines_never_reused: bool,
    /// Rule 14: the pin is PUT before the floor is read.
    pub pin_before_floor_read: bool,
    /// Rule 14.
    pub pin_holds: PinHolds,
    /// Rule 14: the base's checkpoint, not just the LSN, is compared with the floor.
    pub checkpoint_compared: bool,
    /// Rule 14: the pin of a branch of a branch names the grandparent's bytes too.
    pub pin_names_whole_chain: bool,
    /// Rule 14: the collector persists the floor before it LISTs pins.
    pub floor_before_list: bool,
    /// Rule 14: an unclaimed pin is collected only after its claim was made impossible.
    pub unclaimed_pin_tombstoned: bool,
    /// Rule 15: the seal comes before the branch record's change.
    pub sealed_first: bool,
    /// Rule 9: seals are never deleted.
    pub seals_kept: bool,
    /// Rule 15: a deletion LISTs pins after its tombstone.
    pub pins_listed_after_tombstone: bool,
    /// Rule 14: an unclaimed reset is told from a claimed one by the branch record.
    pub reset_claimed_before_seal: bool,
    /// Rule 15: a child's record names its own clone before its pin goes.
    pub clone_before_unpin: bool,
}

impl Rules {
    /// The protocol.
    #[must_use]
    pub const fn protocol() -> Self {
        Self {
            timelines_never_reused: true,
            pin_before_floor_read: true,
            pin_holds: PinHolds::Base,
            checkpoint_compared: true,
            pin_names_whole_chain: true,
            floor_before_list: true,
            unclaimed_pin_tombstoned: true,
            sealed_first: true,
            seals_kept: true,
            pins_listed_after_tombstone: true,
            reset_claimed_before_seal: true,
            clone_before_unpin: true,
        }
    }
}

/// How far an exploration goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// The rules that are followed.
    pub rules: Rules,
    /// Commits, over all timelines.
    pub commits: u8,
    /// Named checkpoints taken.
    pub checkpoints: u8,
    /// Branches created, or begun.
    pub creations: u8,
    /// Deletions begun.
    pub deletions: u8,
    /// Resets begun.
    pub resets: u8,
    /// Rounds of collection.
    pub rounds: u8,
    /// Openings for write.
    pub openings: u8,
    /// Children that get a clone of their own.
    pub clones: u8,
}

/// The bytes of a timeline that another's state is read from: a checkpoint, and the slots after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link {
    /// Whose bytes; meaningless when `upto` is 0.
    pub timeline: u8,
    /// The named checkpoint. 0 is the empty database, which needs no object.
    pub checkpoint: u8,
    /// The last LSN. 0: no link.
    pub upto: u8,
    /// Whether the state below the slots is another link's, not a checkpoint of this timeline.
    pub bare: bool,
}

/// A resolved base: the grandparent's link and the parent's.
pub type Base = [Link; 2];

/// What a branch record says the branch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// There is no such branch.
    #[default]
    None,
    /// It is.
    Live,
    /// It was deleted, or must not come to be.
    Tombstone,
}

/// A branch record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// Never the same twice; 0 when there never was a record.
    pub version: u8,
    /// What the branch is.
    pub kind: Kind,
    /// Its timeline.
    pub timeline: u8,
    /// What its timeline is based on.
    pub base: Base,
    /// The LSN of the oldest checkpoint kept; slots up to it, and checkpoints before it, are let go.
    pub floor: u8,
    /// The timeline a reset is about to bring; `NO_TIMELINE` when none.
    pub intent: u8,
}

/// No timeline.
pub const NO_TIMELINE: u8 = u8::MAX;

/// The objects of a timeline. Bits are LSNs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Timeline {
    /// Whether the id was ever given away.
    pub begun: bool,
    /// The LSN before its first own.
    pub first: u8,
    /// Its last LSN.
    pub last: u8,
    /// Its slots.
    pub slots: u8,
    /// Its named checkpoints.
    pub checkpoints: u8,
    /// Whether its log ends with a seal.
    pub sealed: bool,
    /// Where the seal leads to.
    pub redirect: Option<(u8, Base)>,
    /// Counts how often the id was given away.
    pub life: u8,
}

/// A pin: `pins/<timeline>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pin {
    /// Whether it is there.
    pub present: bool,
    /// What it holds.
    pub base: Base,
    /// The name whose record claims it.
    pub name: u8,
}

/// Someone who creates a branch, deletes one or resets one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Steward {
    /// What is next.
    pub next: Next,
    /// The branch that is branched from, deleted, reset.
    pub name: u8,
    /// Its timeline, as read.
    pub timeline: u8,
    /// Its record's version, as read.
    pub version: u8,
    /// The new timeline.
    pub child: u8,
    /// The new branch's name.
    pub child_name: u8,
    /// That name's record's version, as read.
    pub child_version: u8,
    /// The base, as resolved.
    pub base: Base,
}

/// A steward's next request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Next {
    /// None: it is done, or was never there.
    #[default]
    Nothing,
    /// Create: PUT the pin.
    PutPin,
    /// Create: GET the parent's record again.
    ReadParent,
    /// Create: PUT the child's record.
    PutRecord,
    /// Create, with the rule broken that says the pin comes first: PUT the pin at last.
    PutPinLate,
    /// Delete: append the seal.
    SealForDelete,
    /// Delete: PUT the tombstone.
    PutTombstone,
    /// Delete: LIST pins.
    ListPins,
    /// Delete: delete objects, until none is left.
    Purge,
    /// Reset: PUT the new timeline's pin.
    PutResetPin,
    /// Reset: PUT the record with what is intended.
    PutIntent,
    /// Reset: append the seal with the redirect.
    SealForReset,
    /// Reset: PUT the record with the new timeline.
    PutReset,
}

/// A round of collection on one timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Collector {
    /// How far it is.
    pub stage: Stage,
    /// The branch.
    pub name: u8,
    /// Its timeline.
    pub timeline: u8,
    /// The floor of this round.
    pub floor: u8,
    /// Slots that a listed pin holds.
    pub held_slots: u8,
    /// Checkpoints that a listed pin holds.
    pub held_checkpoints: u8,
}

/// How far a round is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Not begun.
    #[default]
    Idle,
    /// The floor is persisted.
    Floored,
    /// Pins were listed before the floor is persisted: only with that rule broken.
    ListedEarly,
    /// Pins are listed; it deletes.
    Deleting,
}

/// A writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Writer {
    /// How far it is: 0 down, 1 has read the record, 2 has read the log, 3 writes.
    pub stage: u8,
    /// The branch it opened.
    pub name: u8,
    /// The record's version as read.
    pub version: u8,
    /// Its timeline.
    pub timeline: u8,
    /// Which life of the id that was.
    pub life: u8,
    /// Its next LSN.
    pub next_lsn: u8,
}

/// What of the bound is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spent {
    /// Commits.
    pub commits: u8,
    /// Checkpoints.
    pub checkpoints: u8,
    /// Creations.
    pub creations: u8,
    /// Deletions.
    pub deletions: u8,
    /// Resets.
    pub resets: u8,
    /// Rounds.
    pub rounds: u8,
    /// Openings.
    pub openings: u8,
    /// Clones.
    pub clones: u8,
    /// Unclaimed pins collected.
    pub pins_collected: u8,
}

/// Everything there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Branch records by name.
    pub records: [Record; NAMES],
    /// Timelines by id.
    pub timelines: [Timeline; TIMELINES],
    /// Pins by the timeline they are of.
    pub pins: [Pin; TIMELINES],
    /// Creators, deleters, resetters.
    pub stewards: [Steward; 2],
    /// The collector.
    pub collector: Collector,
    /// Writers.
    pub writers: [Writer; 2],
    /// Remembered by the properties: an acknowledged commit's timeline was no branch's.
    pub broken: Broken,
    /// What of the bound is used up.
    pub spent: Spent,
}

impl State {
    /// A database with one branch.
    #[must_use]
    pub fn new() -> Self {
        let mut state = Self {
            records: [Record { intent: NO_TIMELINE, ..Record::default() }; NAMES],
            timelines: [Timeline::default(); TIMELINES],
            pins: [Pin::default(); TIMELINES],
            stewards: [Steward::default(); 2],
            collector: Collector::default(),
            writers: [Writer::default(); 2],
            broken: Broken::default(),
            spent: Spent::default(),
        };
        if let (Some(record), Some(timeline)) = (state.records.first_mut(), state.timelines.first_mut()) {
            record.version = 1;
            record.kind = Kind::Live;
            timeline.begun = true;
            timeline.life = 1;
        }
        state
    }

    /// The record of a name.
    #[must_use]
    pub fn record(&self, name: u8) -> Record {
        self.records.get(usize::from(name)).copied().unwrap_or_default()
    }

    /// A timeline.
    #[must_use]
    pub fn timeline(&self, id: u8) -> Timeline {
        self.timelines.get(usize::from(id)).copied().unwrap_or_default()
    }

    /// A timeline, to change it.
    pub fn timeline_mut(&mut self, id: u8) -> Option<&mut Timeline> {
        self.timelines.get_mut(usize::from(id))
    }

    /// Conditional PUT of a record: whether it took effect.
    pub fn swap(&mut self, name: u8, expected: u8, record: Record) -> bool {
        match self.records.get_mut(usize::from(name)) {
            Some(old) if old.version == expected => {
                *old = Record { version: expected + 1, ..record };
                true
            }
            Some(_) | None => false,
        }
    }

    /// The name whose live record names a timeline.
    #[must_use]
    pub fn name_of(&self, timeline: u8) -> Option<u8> {
        (0..)
            .zip(&self.records)
            .find(|(_, record)| record.kind == Kind::Live && record.timeline == timeline)
            .map(|(name, _)| name)
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the fields are names, timelines and numbers, as the steps say")]
pub enum Action {
    /// A writer reads a branch record.
    Open { name: u8 },
    /// It reads the log, up to its end or seal.
    Walk { writer: u8 },
    /// It PUTs the branch record (rule 8).
    Gate { writer: u8 },
    /// It appends and acknowledges a commit, or meets the seal.
    Append { writer: u8 },
    /// A named checkpoint of the durable state is taken.
    TakeCheckpoint { timeline: u8 },
    /// Someone resolves a base on a branch, for a new one.
    BeginCreate { from: u8, lsn: u8, name: u8 },
    /// Someone reads a branch record, to delete the branch.
    BeginDelete { name: u8 },
    /// Someone resolves a base, to reset a branch to it.
    BeginReset { name: u8, lsn: u8 },
    /// A steward makes its next request.
    Go { steward: u8, next: Next },
    /// A child's state becomes its own clone.
    Clone { name: u8 },
    /// A child with a clone gives up its pin.
    Unpin { timeline: u8 },
    /// The collector begins a round: persists the floor of a branch.
    RaiseFloor { name: u8, floor: u8 },
    /// The collector LISTs pins.
    ListPins { timeline: u8 },
    /// The collector collects a pin that nobody claims.
    CollectPin { timeline: u8 },
    /// The collector deletes a slot.
    DeleteSlot { timeline: u8, lsn: u8 },
    /// The collector deletes a named checkpoint.
    DeleteCheckpoint { timeline: u8, lsn: u8 },
}

/// The model of branches.
#[derive(Clone, Copy, Debug)]
pub struct BranchModel {
    /// How far it goes, and by which rules.
    pub bounds: Bounds,
}

impl Model for BranchModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.any() {
            return;
        }
        writing::actions(&self.bounds, state, actions);
        creating::actions(&self.bounds, state, actions);
        ending::actions(&self.bounds, state, actions);
        collecting::actions(&self.bounds, state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        writing::step(&mut state, action)
            .or_else(|| creating::step(&self.bounds, &mut state, action))
            .or_else(|| ending::step(&self.bounds, &mut state, action))
            .or_else(|| collecting::step(&self.bounds, &mut state, action))?;
        properties::remember(&mut state);
        state.stewards.sort_unstable();
        state.writers.sort_unstable();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(&self.bounds)
    }
}
