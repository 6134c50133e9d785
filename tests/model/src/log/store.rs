//! What the bucket holds, as far as the log is concerned: slots, the branch record, merged objects.
//!
//! A slot is a cell of a table: one row per epoch, one column per seq. In the layout that the protocol forbids
//! ([`Layout::Flat`]) there is one row for all epochs, and a record says which epoch it is of.
//!
//! Invariants:
//! 1. A cell changes by [`Store::create`], which does nothing to a cell that is taken, and by deletion.
//! 2. [`Store::history`] is what a process that opened now, undisturbed, would replay. It is the only definition of
//!    "durable" in this model, so a property that speaks of durable history speaks of what a reader gets.
//!
//! Abstracted: a record holds one commit (its LSN); its bytes are the id of the opening that wrote it, which with the
//! LSN determines them. What lies below the floor is in SlateDB, and is taken to be the history that was durable when
//! the floor was raised; whether that holds is the business of [`crate::layers`].

use std::fmt::{self, Debug};

use crate::log::Bounds;
use crate::log::rules::Layout;

/// The most cells a table may have.
pub const CELLS: usize = 28;
/// The most LSNs that a history may have, and one.
pub const LSNS: usize = 7;

/// What a slot holds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Object {
    /// Nothing: 404.
    #[default]
    Absent,
    /// One commit.
    Record {
        /// The opening that wrote it.
        writer: u8,
        /// The epoch it is of.
        epoch: u8,
        /// Its number in the history.
        lsn: u8,
    },
    /// The end of an epoch.
    Fence {
        /// The opening that owns the epoch it names.
        owner: u8,
        /// The epoch it names.
        epoch: u8,
        /// The last LSN before it, as its owner saw it.
        base_lsn: u8,
    },
}

impl Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => write!(f, "nothing"),
            Self::Record { writer, epoch, lsn } => write!(f, "[lsn {lsn} by {writer} in epoch {epoch}]"),
            Self::Fence { owner, epoch, base_lsn } => {
                write!(f, "[fence by {owner}, owner of epoch {epoch}, after lsn {base_lsn}]")
            }
        }
    }
}

/// A place in the log and the last LSN before it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Row.
    pub epoch: u8,
    /// Column.
    pub seq: u8,
    /// The last LSN before this place.
    pub lsn: u8,
    /// Who wrote the object before this place. Stands for its checksum, which the next record repeats.
    pub previous: u8,
}

impl Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} after lsn {}", self.epoch, self.seq, self.lsn)
    }
}

/// The branch record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchRecord {
    /// Changes with every PUT.
    pub etag: u8,
    /// Where an opener starts to walk, and below which objects may be deleted.
    pub floor: Position,
    /// The opening that swapped it last; 0 when that was the collector.
    pub stamp: u8,
}

/// The bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    cells: [Object; CELLS],
    /// The branch record.
    pub record: BranchRecord,
    /// Bit `lsn` is set when a merged object holds that commit.
    pub merged: u8,
}

/// What a walk over present slots found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The writer of each LSN, from 1.
    pub writers: [u8; LSNS],
    /// The last LSN.
    pub last: u8,
    /// Whether a record's LSN did not follow the one before.
    pub torn: bool,
    /// Whether an epoch holds a record that its owner did not write, so that one after it does not build on it.
    pub foreign: bool,
}

impl History {
    /// The writer of `lsn`; 0 if there is no such LSN.
    #[must_use]
    pub fn writer(&self, lsn: u8) -> u8 {
        if lsn == 0 || lsn > self.last { 0 } else { self.writers.get(usize::from(lsn)).copied().unwrap_or(0) }
    }
}

/// What the object at a walker's place means to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The log ends here.
    End,
    /// A commit: go on to the next seq.
    Commit {
        /// Who wrote it.
        writer: u8,
        /// Its LSN, which a sound log has one above the last.
        lsn: u8,
    },
    /// Nothing that counts: go on to the next seq (flat layout only).
    Void,
    /// A fence: go on in the epoch it names.
    Fence {
        /// Who owns it.
        owner: u8,
        /// That epoch.
        epoch: u8,
        /// The last LSN before it, as it says.
        base_lsn: u8,
    },
}

impl Store {
    /// A bucket with a branch record and no log.
    #[must_use]
    pub fn empty() -> Self {
        let record = BranchRecord { etag: 1, ..BranchRecord::default() };
        Self { cells: [Object::Absent; CELLS], record, merged: 0 }
    }

    /// The number of a cell; `None` for one beyond the table.
    #[must_use]
    pub fn index(bounds: &Bounds, epoch: u8, seq: u8) -> Option<usize> {
        let row = if bounds.rules.layout == Layout::Flat { 0 } else { usize::from(epoch) };
        let (index, inside) = (row * bounds.row() + usize::from(seq), usize::from(seq) < bounds.row());
        (inside && index < CELLS).then_some(index)
    }

    /// Whether the table has such a cell; what lies outside is beyond the bound of the exploration.
    #[must_use]
    pub fn has_cell(bounds: &Bounds, epoch: u8, seq: u8) -> bool {
        Self::index(bounds, epoch, seq).is_some()
    }

    /// GET of a slot.
    #[must_use]
    pub fn get(&self, bounds: &Bounds, epoch: u8, seq: u8) -> Object {
        Self::index(bounds, epoch, seq).and_then(|index| self.cells.get(index)).copied().unwrap_or_default()
    }

    /// PUT with If-None-Match: whether the object is there now because of this call.
    pub fn create(&mut self, bounds: &Bounds, epoch: u8, seq: u8, object: Object) -> bool {
        let cell = Self::index(bounds, epoch, seq).and_then(|index| self.cells.get_mut(index));
        match cell {
            Some(cell) if *cell == Object::Absent => {
                *cell = object;
                true
            }
            Some(_) | None => false,
        }
    }

    /// DELETE of a slot.
    pub fn delete(&mut self, bounds: &Bounds, epoch: u8, seq: u8) {
        if let Some(cell) = Self::index(bounds, epoch, seq).and_then(|index| self.cells.get_mut(index)) {
            *cell = Object::Absent;
        }
    }

    /// LIST from a place on: the bits of the cells where there is an object.
    #[must_use]
    pub fn list(&self, bounds: &Bounds, from: Position) -> u32 {
        let from = Self::index(bounds, from.epoch, from.seq).unwrap_or(CELLS);
        self.cells().filter(|(index, _)| *index >= from).fold(0, |mask, (index, _)| mask | (1 << index))
    }

    /// Every slot that holds something, in the order of their names.
    pub fn objects(&self, bounds: &Bounds) -> impl Iterator<Item = (u8, u8, Object)> {
        let (rows, columns) = (bounds.rows(), bounds.columns());
        (0..rows)
            .flat_map(move |epoch| (0..columns).map(move |seq| (epoch, seq)))
            .map(|(epoch, seq)| (epoch, seq, self.get(bounds, epoch, seq)))
            .filter(|(_, _, object)| *object != Object::Absent)
    }

    /// Every cell that holds something, by its number.
    pub fn cells(&self) -> impl Iterator<Item = (usize, Object)> {
        self.cells.iter().copied().enumerate().filter(|(_, object)| *object != Object::Absent)
    }

    /// What `object` means to a walker who is in `epoch`.
    #[must_use]
    pub fn meaning(layout: Layout, epoch: u8, object: Object) -> Step {
        match (layout, object) {
            (_, Object::Absent) => Step::End,
            (Layout::Folders, Object::Record { writer, lsn, .. }) => Step::Commit { writer, lsn },
            (Layout::Folders, Object::Fence { owner, epoch, base_lsn }) => {
                Step::Fence { owner, epoch, base_lsn }
            }
            (Layout::Flat, Object::Record { writer, epoch: of, lsn }) if of == epoch => {
                Step::Commit { writer, lsn }
            }
            (Layout::Flat, Object::Fence { owner, epoch: named, base_lsn }) if named > epoch => {
                Step::Fence { owner, epoch: named, base_lsn }
            }
            (Layout::Flat, Object::Record { .. } | Object::Fence { .. }) => Step::Void,
        }
    }

    /// Where a walker at `at` goes who met `step` there.
    #[must_use]
    pub fn after(layout: Layout, at: Position, step: Step) -> Position {
        match (step, layout) {
            (Step::End, _) => at,
            (Step::Commit { writer, .. }, _) => {
                Position { seq: at.seq + 1, lsn: at.lsn + 1, previous: writer, ..at }
            }
            (Step::Void, _) => Position { seq: at.seq + 1, ..at },
            (Step::Fence { owner, epoch, .. }, Layout::Folders) => {
                Position { epoch, seq: 0, previous: owner, ..at }
            }
            (Step::Fence { owner, epoch, .. }, Layout::Flat) => {
                Position { epoch, seq: at.seq + 1, previous: owner, ..at }
            }
        }
    }

    /// Whether a walker at `at` may take `step`: a commit must be the next, and build on what is before it. A fence
    /// counts by its place alone.
    #[must_use]
    pub fn follows(at: Position, step: Step) -> bool {
        match step {
            Step::End => false,
            Step::Commit { writer, lsn } => lsn == at.lsn + 1 && writer == at.previous,
            Step::Void | Step::Fence { .. } => true,
        }
    }

    /// The history that is there to be read: `below`, up to the floor, and the walk from the floor.
    #[must_use]
    pub fn history(&self, bounds: &Bounds, below: &History) -> History {
        let layout = bounds.rules.layout;
        let mut at = self.record.floor;
        let mut history = History { last: at.lsn, ..History::default() };
        for lsn in 1..=at.lsn {
            if let Some(writer) = history.writers.get_mut(usize::from(lsn)) {
                *writer = below.writer(lsn);
            }
        }
        loop {
            let step = Self::meaning(layout, at.epoch, self.get(bounds, at.epoch, at.seq));
            match step {
                Step::End => return history,
                Step::Commit { writer, lsn } => {
                    history.torn |= lsn != at.lsn + 1;
                    history.foreign |= at.previous != writer;
                    if let Some(place) = history.writers.get_mut(usize::from(at.lsn + 1)) {
                        *place = writer;
                    }
                    history.last = at.lsn + 1;
                }
                Step::Void | Step::Fence { .. } => {}
            }
            at = Self::after(layout, at, step);
        }
    }

    /// The places of the walk from the floor, without the floor itself.
    #[must_use]
    pub fn places(&self, bounds: &Bounds) -> Vec<Position> {
        let layout = bounds.rules.layout;
        let mut at = self.record.floor;
        let mut places = Vec::new();
        loop {
            let step = Self::meaning(layout, at.epoch, self.get(bounds, at.epoch, at.seq));
            if step == Step::End {
                return places;
            }
            at = Self::after(layout, at, step);
            places.push(at);
        }
    }

    /// Whether a slot lies below the floor.
    #[must_use]
    pub fn below_floor(&self, bounds: &Bounds, epoch: u8, seq: u8) -> bool {
        let floor = self.record.floor;
        match bounds.rules.layout {
            Layout::Folders => (epoch, seq) < (floor.epoch, floor.seq),
            Layout::Flat => seq < floor.seq,
        }
    }
}
