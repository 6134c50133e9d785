//! Places and identities of the log: slots, positions, checksums, and the ids that records carry.
//!
//! Invariants:
//! 1. A [`Slot`] is named once; which bytes it holds never changes after the first creation.
//! 2. A [`Position`] lies on a boundary between two records of the history, never inside one.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use twill_types::{Epoch, Lsn, Seq, TimelineId};

/// One place of the log: an epoch's folder and the number within it. Ordered as the history is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The writer's number: the folder.
    pub epoch: Epoch,
    /// The place within the folder, from 0.
    pub seq: Seq,
}

impl Slot {
    /// The slot `seq` of `epoch`.
    #[must_use]
    pub const fn new(epoch: u64, seq: u64) -> Self {
        Self { epoch: Epoch(epoch), seq: Seq(seq) }
    }

    /// The following slot of the same epoch.
    #[must_use]
    pub const fn next(self) -> Self {
        Self::new(self.epoch.0, self.seq.0.saturating_add(1))
    }

    /// The first slot of the epoch after this one: where the history goes on after a fence.
    #[must_use]
    pub const fn next_epoch(self) -> Self {
        Self::new(self.epoch.0.saturating_add(1), 0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.epoch.0, self.seq.0)
    }
}

/// A boundary between two records: the next slot to read, and what must be true of the record found there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The next slot.
    pub slot: Slot,
    /// The last commit before it. The next one is `lsn.next()`.
    pub lsn: Lsn,
    /// Checksum of the record before it; [`Checksum::NONE`] where the timeline begins.
    pub previous: Checksum,
    /// Time of the last commit or fence before it. No later record has an earlier one.
    pub time: CommitTime,
}

impl Position {
    /// Where a new timeline begins: slot 0 of epoch 0, after commit `base` (of the ancestor, or [`Lsn::ZERO`]).
    #[must_use]
    pub fn beginning(base: Lsn) -> Self {
        Self { lsn: base, ..Self::default() }
    }
}

/// XXH3-64 of a record's bytes. The next record repeats it, so that records form a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Checksum(pub u64);

impl Checksum {
    /// What stands in for "the record before" where a timeline begins.
    pub const NONE: Self = Self(0);
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Microseconds since 1970-01-01 UTC. Never decreases along a timeline, also when the clock does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitTime(pub u64);

impl CommitTime {
    /// The wall clock's time, cut to microseconds; 1970 for clocks before it.
    #[must_use]
    pub fn from_wall(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
    }

    /// As the system's type.
    #[must_use]
    pub fn to_wall(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_micros(self.0)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

id! {
    /// The database, as `database.json` names it: random, never changed.
    DatabaseId
}
id! {
    /// One opening of a log for writing: random, drawn anew for each attempt to open.
    WriterId
}
id! {
    /// What a client names a commit by, so that it can ask later whether it became durable. Sixteen bytes of its
    /// choice, unique to the commit. All zeros: the commit has no token.
    Token
}
id! {
    /// Drawn for each update of a branch record, so that no two versions of it have equal bytes (and ETags).
    Stamp
}

/// Whose log it is. Every record repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The database.
    pub database: DatabaseId,
    /// The history within it.
    pub timeline: TimelineId,
}
