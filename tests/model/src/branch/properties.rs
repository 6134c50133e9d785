//! What must hold of branches in every state, and what must happen in some.

use stateright::Property;

use crate::branch::{Base, Bounds, BranchModel, Kind, Link, NO_TIMELINE, Next, State};

/// What was seen broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is one property")]
pub struct Broken {
    /// A commit was acknowledged on a timeline that no branch named.
    pub acknowledged_into_nothing: bool,
    /// A branch needs a slot or a checkpoint of its base that is gone.
    pub base_lost: bool,
    /// A branch lost a slot of its own above its floor, or the checkpoint at its floor.
    pub own_lost: bool,
    /// A seal leads a branch to a timeline whose base is gone.
    pub redirect_lost: bool,
}

impl Broken {
    /// Whether anything is.
    #[must_use]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// Looks at the bucket after a step.
pub fn remember(state: &mut State) {
    let mut broken = state.broken;
    for record in state.records.iter().filter(|record| record.kind == Kind::Live) {
        let timeline = state.timeline(record.timeline);
        broken.base_lost |= !is_there(state, &record.base);
        let based = record.base.iter().any(|link| link.upto != 0);
        let from = if based { timeline.first } else { timeline.first.max(record.floor) };
        broken.own_lost |= (from + 1..=timeline.last).any(|lsn| timeline.slots & (1 << lsn) == 0);
        broken.own_lost |= !based && record.floor > 0 && timeline.checkpoints & (1 << record.floor) == 0;
        if let Some((_, base)) = timeline.redirect {
            broken.redirect_lost |= !is_there(state, &base);
        }
    }
    state.broken = broken;
}

/// Whether every object of a base is there.
fn is_there(state: &State, base: &Base) -> bool {
    base.iter().filter(|link| link.upto != 0).all(|link| {
        let of = state.timeline(link.timeline);
        let Link { checkpoint, upto, bare, .. } = *link;
        let slots = (checkpoint + 1..=upto).all(|lsn| of.slots & (1 << lsn) != 0);
        slots && (bare || checkpoint == 0 || of.checkpoints & (1 << checkpoint) != 0)
    })
}

/// The properties of a bound.
#[must_use]
pub fn all(bounds: &Bounds) -> Vec<Property<BranchModel>> {
    let mut properties = safety();
    if bounds.creations > 0 {
        properties.push(Property::sometimes("a branch is created", |_, state: &State| {
            state.records.iter().skip(1).any(|record| record.kind == Kind::Live)
        }));
    }
    if bounds.creations > 0 && bounds.rounds > 0 {
        properties.extend(of_creation_beside_collection());
    }
    if bounds.deletions > 0 {
        properties.extend(of_deletion(bounds));
    }
    if bounds.resets > 0 {
        properties.extend(of_reset());
    }
    if bounds.clones > 0 {
        properties
            .push(Property::sometimes("a child lives by its own clone, unpinned", |_, state: &State| {
                state.spent.clones > 0 && state.pins.iter().all(|pin| !pin.present)
            }));
    }
    properties
}

fn safety() -> Vec<Property<BranchModel>> {
    vec![
        Property::always("a commit is acknowledged only where a branch is", |_, state: &State| {
            !state.broken.acknowledged_into_nothing
        }),
        Property::always("the base of a branch is there", |_, state: &State| !state.broken.base_lost),
        Property::always("a branch has its own log and state", |_, state: &State| !state.broken.own_lost),
        Property::always("a seal leads to a timeline whose base is there", |_, state: &State| {
            !state.broken.redirect_lost
        }),
    ]
}

fn of_creation_beside_collection() -> Vec<Property<BranchModel>> {
    vec![
        Property::sometimes("a creation finds the floor above its base", |_, state: &State| {
            state.stewards.iter().any(|of| {
                let [first, _] = of.base;
                let record = state.record(of.name);
                of.next == Next::ReadParent
                    && record.timeline == first.timeline
                    && first.checkpoint < record.floor
            })
        }),
        Property::sometimes("a creation finds its name tombstoned", |_, state: &State| {
            state.stewards.iter().any(|of| {
                let record = state.record(of.child_name);
                of.next == Next::PutRecord && of.child_version == 0 && record.kind == Kind::Tombstone
            })
        }),
        Property::sometimes("a slot is deleted", |_, state: &State| {
            state.timelines.iter().any(|of| (of.first + 1..=of.last).any(|lsn| of.slots & (1 << lsn) == 0))
        }),
        Property::sometimes("a pin holds a slot below the floor", |_, state: &State| {
            let parent = state.record(0);
            state.records.iter().skip(1).any(|record| {
                let [link, _] = record.base;
                record.kind == Kind::Live && link.upto > link.checkpoint && link.upto <= parent.floor
            })
        }),
    ]
}

fn of_deletion(bounds: &Bounds) -> Vec<Property<BranchModel>> {
    let mut properties = vec![
        Property::sometimes("a writer would meet the seal", |_, state: &State| {
            state.writers.iter().any(|of| of.stage == 3 && state.timeline(of.timeline).sealed)
        }),
        Property::sometimes("a deleted branch's bytes are gone", |_, state: &State| {
            state.records.iter().any(|record| {
                let of = state.timeline(record.timeline);
                record.kind == Kind::Tombstone && of.last > of.first && of.slots == 0 && of.sealed
            })
        }),
    ];
    if bounds.creations > 0 {
        properties.push(Property::sometimes("a deletion leaves what a child needs", |_, state: &State| {
            let gone = state.record(0);
            gone.kind == Kind::Tombstone
                && state.stewards.iter().all(|of| of.next == Next::Nothing)
                && state
                    .records
                    .iter()
                    .any(|record| record.kind == Kind::Live && record.base.iter().any(|link| link.upto != 0))
        }));
    }
    properties
}

fn of_reset() -> Vec<Property<BranchModel>> {
    vec![
        Property::sometimes("a branch is reset", |_, state: &State| {
            state.timelines.iter().any(|of| of.redirect.is_some_and(|(to, _)| state.name_of(to).is_some()))
        }),
        Property::sometimes(
            "a commit is acknowledged on the timeline that a reset brought",
            |_, state: &State| {
                state.timelines.iter().any(|of| {
                    of.redirect.is_some_and(|(to, _)| {
                        let to = state.timeline(to);
                        to.last > to.first
                    })
                })
            },
        ),
        Property::sometimes("an opener meets the seal before the record has changed", |_, state: &State| {
            state.writers.iter().any(|of| {
                let timeline = state.timeline(of.timeline);
                of.stage == 1
                    && timeline.redirect.is_some()
                    && state.record(of.name).timeline == of.timeline
                    && state.record(of.name).intent != NO_TIMELINE
            })
        }),
    ]
}
