//! The commit log: openers that race, writers with a window, garbage collection, a follower.
//!
//! A step is one request's effect on the bucket, or one decision of a process. A process that stalls is one that is
//! not chosen; it may be chosen again at any later step. A PUT may take effect without its reply arriving, may take
//! effect late, after its sender gave up on it or died, and may take effect twice. GET and LIST are steps of their
//! own, so an opener's LIST, its GETs and its fence each see the bucket at another time.
//!
//! A process's identity is the number of its opening: a process that starts again is a new one. Processes are alike,
//! so states that differ in the order of processes are one state ([`State::in_order`]).
//!
//! Abstracted, and not covered:
//! - A reply that is read late is a reply that was read at once by a process that then stalled. This loses nothing
//!   because the properties speak of acknowledgements, and acknowledging earlier only asks more of the log.
//! - Reading back after "exists" is one step with the PUT. That the object is gone by then is covered by the lost
//!   reply whose retry creates the object again.
//! - A lost request is one that is never delivered; errors that are definite (403, 404 of the bucket) end a process
//!   as a crash does.
//! - The collector has no state: raising the floor is one conditional PUT, and what was allowed below a floor once is
//!   allowed for ever, so a collector that stalls between its steps is a deletion chosen later.
//! - A LIST is one step. That a LIST of several pages is not makes no difference to an opener: what its LIST does not
//!   name it meets when it tries its fence there. (It does to whoever only reads.)
//! - Large commits in parts, checksums, clocks and commit tokens are not here. A hint is a floor that nobody deletes
//!   below. Liveness is not checked: openers may restart each other for ever.

pub mod follower;
pub mod gc;
pub mod opener;
pub mod properties;
pub mod rules;
pub mod store;
pub mod writer;

use std::fmt::{self, Debug};

use stateright::{Model, Property};

use crate::log::follower::Follower;
use crate::log::rules::{Layout, Rules};
use crate::log::store::{CELLS, History, LSNS, Object, Store};

/// The most processes that are up at once.
pub const PROCESSES: usize = 3;
/// The most commits that one opening writes.
pub const COMMITS: usize = 4;

/// The most slots at which one opening tries its fence at once.
pub const FENCES: usize = 4;

/// How far an exploration goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// The rules that are followed.
    pub rules: Rules,
    /// Processes that are up at once.
    pub processes: u8,
    /// Slots that a writer keeps in flight.
    pub window: u8,
    /// Commits, over all writers.
    pub commits: u8,
    /// Openings, those after a 412 included.
    pub openings: u8,
    /// PUTs that take effect late, or a second time.
    pub late: u8,
    /// Replies that are lost.
    pub lost: u8,
    /// Processes that die with commits in flight.
    pub crashes: u8,
    /// Times that the floor is raised.
    pub floors: u8,
    /// Whether merged objects exist, and every LSN must stay readable.
    pub merging: bool,
    /// Whether somebody follows the log.
    pub following: bool,
}

impl Bounds {
    /// Two processes, a window of two, no collection.
    #[must_use]
    pub const fn small(rules: Rules) -> Self {
        Self {
            rules,
            processes: 2,
            window: 2,
            commits: 3,
            openings: 3,
            late: 1,
            lost: 1,
            crashes: 1,
            floors: 0,
            merging: false,
            following: false,
        }
    }

    /// Cells of a row.
    #[must_use]
    pub fn row(&self) -> usize {
        match self.rules.layout {
            Layout::Folders => (usize::from(self.commits) + 4).min(CELLS / (usize::from(self.openings) + 1)),
            Layout::Flat => CELLS,
        }
    }

    /// As [`Self::row`], for seqs.
    #[must_use]
    pub fn columns(&self) -> u8 {
        u8::try_from(self.row()).unwrap_or(u8::MAX)
    }

    /// Epochs that a table has.
    #[must_use]
    pub fn rows(&self) -> u8 {
        match self.rules.layout {
            Layout::Folders => self.openings + 1,
            Layout::Flat => 1,
        }
    }
}

/// What a process is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Not running.
    #[default]
    Down,
    /// About to LIST.
    Listing,
    /// Reading what LIST named, then trying to fence the first slot that it did not name.
    Walking,
    /// Its fence is in the log.
    Owner,
}

/// A process, from one opening to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// What it is about.
    pub phase: Phase,
    /// The number of the opening; 0 when down.
    pub id: u8,
    /// The branch record's ETag as read; 0 when it no longer matters.
    pub etag: u8,
    /// Where it is in the log; an owner's first slot.
    pub at: store::Position,
    /// The bits of the cells that LIST named.
    pub listed: u32,
    /// Whether it has listed again.
    pub relisted: bool,
    /// At how many slots in a row it tries its fence.
    pub width: u8,
    /// What each of these was found to hold.
    pub met: [Object; FENCES],
    /// The epoch that its fence names, where that is kept over a lost race.
    pub named: u8,
    /// Whether it may acknowledge.
    pub gated: bool,
    /// Whether it has read something that is not the durable history.
    pub astray: bool,
    /// Whether it is fenced and knows it.
    pub halted: bool,
    /// Commits begun, and not given up.
    pub sent: u8,
    /// Bit `i` is set when commit `i` is known to be in the log.
    pub owned: u8,
    /// Bit `i` is set when commit `i` had an ambiguous attempt; kept only by the variant that looks at it.
    pub ambiguous: u8,
    /// The next slot not used.
    pub next_seq: u8,
    /// The slot of each commit.
    pub places: [u8; COMMITS],
}

/// A PUT that its sender no longer waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Late {
    /// No such PUT.
    #[default]
    None,
    /// A conditional create of a slot.
    Slot {
        /// Row.
        epoch: u8,
        /// Column.
        seq: u8,
        /// What it creates.
        object: Object,
    },
    /// A conditional PUT of the branch record.
    Swap {
        /// What it makes of the record; the ETag it asks for is the one before.
        new: store::BranchRecord,
    },
}

/// What of the bound is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spent {
    /// Openings.
    pub openings: u8,
    /// Commits.
    pub commits: u8,
    /// Late PUTs.
    pub late: u8,
    /// Lost replies.
    pub lost: u8,
    /// Crashes.
    pub crashes: u8,
    /// Raised floors.
    pub floors: u8,
}

/// Everything there is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// The bucket.
    pub store: Store,
    /// The processes, in order.
    pub processes: [Process; PROCESSES],
    /// A reader.
    pub follower: Follower,
    /// PUTs under way that nobody waits for, in order.
    pub late: [Late; 2],
    /// Remembered by the properties: the longest history that was ever there to be read.
    pub durable: [u8; LSNS],
    /// Remembered by the properties: its length.
    pub durable_last: u8,
    /// Remembered by the properties: which opening acknowledged each LSN.
    pub acknowledged: [u8; LSNS],
    /// Remembered by the properties: what was seen broken.
    pub broken: properties::Broken,
    /// What of the bound is used up.
    pub spent: Spent,
}

impl State {
    /// A new database, before its first opening.
    #[must_use]
    pub fn new() -> Self {
        Self {
            store: Store::empty(),
            processes: [Process::default(); PROCESSES],
            follower: Follower::default(),
            late: [Late::None; 2],
            durable: [0; LSNS],
            durable_last: 0,
            acknowledged: [0; LSNS],
            broken: properties::Broken::default(),
            spent: Spent::default(),
        }
    }

    /// The process of an opening.
    #[must_use]
    pub fn process(&self, id: u8) -> Option<&Process> {
        self.processes.iter().find(|process| process.id == id && process.phase != Phase::Down)
    }

    /// The same, to change it.
    pub fn process_mut(&mut self, id: u8) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.id == id && process.phase != Phase::Down)
    }

    /// The longest history so far.
    #[must_use]
    pub fn durable(&self) -> History {
        History { writers: self.durable, last: self.durable_last, ..History::default() }
    }

    /// The state with what has no order put in order: processes, and late PUTs.
    #[must_use]
    pub fn in_order(mut self) -> Self {
        self.processes.sort_unstable();
        self.late.sort_unstable();
        self
    }

    /// Keeps a copy of a PUT for later.
    pub fn keep_late(&mut self, put: Late) {
        if let Some(place) = self.late.iter_mut().find(|late| **late == Late::None) {
            *place = put;
        }
    }
}

impl Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.store.record;
        write!(f, "branch record {} with floor {:?};", record.etag, record.floor)?;
        for (cell, object) in self.store.cells() {
            write!(f, " {cell}: {object:?}")?;
        }
        write!(f, "; merged {:b}; acknowledged by {:?}", self.store.merged, self.acknowledged)?;
        for process in self.processes.iter().filter(|process| process.phase != Phase::Down) {
            write!(f, "; {process:?}")?;
        }
        let late: Vec<&Late> = self.late.iter().filter(|late| **late != Late::None).collect();
        write!(f, "; late {late:?}; follower {:?}; {:?}", self.follower, self.broken)
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

/// One step. `by` is the opening that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "`by` is an opening, `commit` counts from 0 within it")]
pub enum Action {
    /// A process reads the branch record.
    ReadRecord,
    /// It LISTs the log from where it is.
    List { by: u8 },
    /// It GETs the next slot that LIST named.
    Get { by: u8 },
    /// Its PUT of the `nth` fence takes effect, or not, and it gets the reply.
    Fence { by: u8, nth: u8 },
    /// Its PUT of a fence takes effect, and the reply is lost.
    FenceReplyLost { by: u8, nth: u8 },
    /// A copy of its PUT of a fence stays under way; it will try again.
    FenceDelayed { by: u8, nth: u8 },
    /// Its PUT of the branch record takes effect, or not, and it gets the reply.
    SwapRecord { by: u8 },
    /// Its PUT of the branch record takes effect, and the reply is lost.
    SwapReplyLost { by: u8 },
    /// A copy of its PUT of the branch record stays under way; it will look, and try again.
    SwapDelayed { by: u8 },
    /// A writer begins a commit.
    Append { by: u8 },
    /// The PUT of commit `i` takes effect, or not, and the writer gets the reply.
    Put { by: u8, commit: u8 },
    /// The PUT of commit `i` takes effect, and the reply is lost.
    PutReplyLost { by: u8, commit: u8 },
    /// A copy of the PUT of commit `i` stays under way; the writer will try again.
    PutDelayed { by: u8, commit: u8 },
    /// A PUT that was under way takes effect, or not; nobody hears of it.
    Arrives { put: Late },
    /// A process dies.
    Crash { by: u8 },
    /// The collector raises the floor.
    RaiseFloor { to: store::Position },
    /// The collector publishes a merged object.
    Merge { lsn: u8 },
    /// The collector deletes a slot.
    Delete { epoch: u8, seq: u8 },
    /// The follower reads the next slot.
    Follow,
    /// The follower meets a floor above its place, and opens again.
    Reopen,
}

/// The model of the log.
#[derive(Clone, Copy, Debug)]
pub struct LogModel {
    /// How far it goes, and by which rules.
    pub bounds: Bounds,
}

impl Model for LogModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken.any() {
            return;
        }
        opener::actions(&self.bounds, state, actions);
        writer::actions(&self.bounds, state, actions);
        gc::actions(&self.bounds, state, actions);
        follower::actions(&self.bounds, state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        let done = opener::step(&self.bounds, &mut state, action)
            .or_else(|| writer::step(&self.bounds, &mut state, action))
            .or_else(|| gc::step(&self.bounds, &mut state, action))
            .or_else(|| follower::step(&self.bounds, &mut state, action));
        done?;
        properties::remember(&self.bounds, &mut state);
        let state = state.in_order();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(&self.bounds)
    }
}
