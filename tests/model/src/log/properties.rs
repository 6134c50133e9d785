//! What must hold in every state, and what must happen in some.
//!
//! Safety properties are remembered in the state as they are broken, so that a step that breaks one is the last of
//! its trace. What a property needs to remember ([`State::durable`], [`State::acknowledged`]) is in the state too;
//! when the rules are sound, the remembered history is the one in the bucket, and costs no states.

use stateright::Property;

use crate::log::store::{History, Object};
use crate::log::{Bounds, LogModel, Phase, State};

/// What was seen broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is one property")]
pub struct Broken {
    /// History lost or changed a commit that was durable.
    pub history_changed: bool,
    /// LSNs in the log do not follow each other.
    pub lsn_gap: bool,
    /// A record does not build on the one before it.
    pub foreign_record: bool,
    /// An acknowledged commit is not in the history.
    pub acknowledged_lost: bool,
    /// An LSN was acknowledged twice.
    pub acknowledged_twice: bool,
    /// A writer acknowledged on top of something that is not the history.
    pub writer_astray: bool,
    /// A follower took something for the history that is not.
    pub follower_astray: bool,
    /// A commit is neither in a slot nor in a merged object.
    pub commit_unreadable: bool,
}

impl Broken {
    /// Whether anything is.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// Notes that an opening acknowledged an LSN.
pub fn acknowledge(state: &mut State, id: u8, lsn: u8, astray: bool) {
    state.broken.writer_astray |= astray;
    match state.acknowledged.get_mut(usize::from(lsn)) {
        Some(by) if *by == 0 => *by = id,
        Some(_) => state.broken.acknowledged_twice = true,
        None => {}
    }
}

/// Compares the bucket with what is remembered, after a step.
pub fn remember(bounds: &Bounds, state: &mut State) {
    let (before, now) = (state.durable(), state.store.history(bounds, &state.durable()));
    state.broken.lsn_gap |= now.torn;
    state.broken.foreign_record |= now.foreign;
    state.broken.history_changed |= (1..=before.last).any(|lsn| now.writer(lsn) != before.writer(lsn));
    state.broken.acknowledged_lost |= (1..)
        .zip(state.acknowledged.iter().skip(1))
        .any(|(lsn, by): (u8, &u8)| *by != 0 && now.writer(lsn) != *by);
    state.broken.follower_astray |= state.follower.astray;
    state.broken.commit_unreadable |= bounds.merging && !is_readable(bounds, state, &now);
    if now.last >= before.last {
        state.durable = now.writers;
        state.durable_last = now.last;
    }
}

/// Whether every commit of the history is in a slot or in a merged object.
fn is_readable(bounds: &Bounds, state: &State, history: &History) -> bool {
    let mut found = state.store.merged;
    for (_, _, object) in state.store.objects(bounds) {
        match object {
            Object::Record { writer, lsn, .. } if history.writer(lsn) == writer => found |= 1 << lsn,
            Object::Absent | Object::Record { .. } | Object::Fence { .. } => {}
        }
    }
    (1..=history.last).all(|lsn| found & (1 << lsn) != 0)
}

/// The properties of a bound.
#[must_use]
pub fn all(bounds: &Bounds) -> Vec<Property<LogModel>> {
    let mut properties = safety();
    properties.extend(occurrences());
    if bounds.processes > 1 {
        properties.extend(occurrences_among_processes());
    }
    if bounds.floors > 0 {
        properties.extend(occurrences_of_collection());
    }
    if bounds.following {
        properties.push(Property::sometimes("a follower reads a commit", |_, state: &State| {
            state.follower.at.lsn > state.store.record.floor.lsn
        }));
    }
    properties
}

fn safety() -> Vec<Property<LogModel>> {
    vec![
        Property::always("durable history grows only as a prefix", |_, state: &State| {
            !state.broken.history_changed
        }),
        Property::always("LSNs are contiguous", |_, state: &State| !state.broken.lsn_gap),
        Property::always("a record builds on the one before it", |_, state: &State| {
            !state.broken.foreign_record
        }),
        Property::always("every acknowledged commit is in the history", |_, state: &State| {
            !state.broken.acknowledged_lost
        }),
        Property::always("no LSN is acknowledged twice", |_, state: &State| !state.broken.acknowledged_twice),
        Property::always("a writer builds on the history alone", |_, state: &State| {
            !state.broken.writer_astray
        }),
        Property::always("a follower reads the history alone", |_, state: &State| {
            !state.broken.follower_astray
        }),
        Property::always("every commit stays readable", |_, state: &State| !state.broken.commit_unreadable),
    ]
}

fn occurrences() -> Vec<Property<LogModel>> {
    vec![
        Property::sometimes("a commit is acknowledged", |_, state: &State| {
            state.acknowledged.iter().any(|by| *by != 0)
        }),
        Property::sometimes("a commit is durable and never acknowledged", |model, state: &State| {
            state.spent.openings == model.bounds.openings
                && (1..=state.durable_last).any(|lsn| {
                    let by = state.durable().writer(lsn);
                    state.acknowledged.get(usize::from(lsn)) == Some(&0) && state.process(by).is_none()
                })
        }),
        Property::sometimes("two openings acknowledge one after the other", |_, state: &State| {
            let mut ids = state.acknowledged.iter().filter(|by| **by != 0);
            let first = ids.next();
            ids.any(|by| Some(by) != first)
        }),
    ]
}

fn occurrences_among_processes() -> Vec<Property<LogModel>> {
    vec![
        Property::sometimes("a writer with commits in flight is fenced", |model, state: &State| {
            state.processes.iter().any(|process| {
                let next = process.at.seq + u8::try_from(process.owned.trailing_ones()).unwrap_or(0);
                let found = state.store.get(&model.bounds, process.at.epoch, next);
                process.phase == Phase::Owner
                    && process.sent > 0
                    && matches!(found, Object::Fence { owner, .. } if owner != process.id)
            })
        }),
        Property::sometimes("two have their fences in the log at once", |_, state: &State| {
            state.processes.iter().filter(|process| process.phase == Phase::Owner).count() > 1
        }),
        Property::sometimes("an owner's swap of the branch record would fail", |_, state: &State| {
            state.processes.iter().any(|process| {
                process.phase == Phase::Owner && !process.gated && process.etag != state.store.record.etag
            })
        }),
        Property::sometimes("a record lands after the fence, and is void", |model, state: &State| {
            let mut fence = None;
            state.store.objects(&model.bounds).any(|(epoch, _, object)| match object {
                Object::Fence { .. } => {
                    fence = Some(epoch);
                    false
                }
                Object::Record { .. } => fence == Some(epoch),
                Object::Absent => false,
            })
        }),
    ]
}

fn occurrences_of_collection() -> Vec<Property<LogModel>> {
    vec![
        Property::sometimes("a record is deleted", |model, state: &State| {
            let bounds = &model.bounds;
            let floor = state.store.record.floor;
            let present = state.store.objects(bounds).filter(|(epoch, seq, object)| {
                state.store.below_floor(bounds, *epoch, *seq) && matches!(object, Object::Record { .. })
            });
            present.count() < usize::from(floor.lsn)
        }),
        Property::sometimes("a stalled opener fences inside the truncated log", |model, state: &State| {
            let mut fences = [0_u8; 16];
            state.store.objects(&model.bounds).any(|(epoch, _, object)| {
                let Some(count) = fences.get_mut(usize::from(epoch)) else { return false };
                *count += u8::from(matches!(object, Object::Fence { .. }));
                *count > 1
            })
        }),
        Property::sometimes(
            "a writer of the newest epoch acknowledges above the floor",
            |_, state: &State| {
                let floor = state.store.record.floor;
                let acknowledged = state.acknowledged.iter().rposition(|by| *by != 0).unwrap_or(0);
                floor.lsn > 0 && acknowledged > usize::from(floor.lsn)
            },
        ),
    ]
}
