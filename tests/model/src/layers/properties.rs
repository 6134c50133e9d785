//! What must hold of the two registers in every state, and what must happen in some.

use stateright::Property;

use crate::layers::{Bounds, LayersModel, Stage, State};

/// What was seen broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is one property")]
pub struct Broken {
    /// The layers hold something that is not the durable history.
    pub layers_astray: bool,
    /// The applied LSN went back.
    pub applied_went_back: bool,
    /// An LSN is in neither the newest manifest's layers nor the log.
    pub lsn_lost: bool,
    /// A process opened with a manifest below the floor it read.
    pub opened_over_a_gap: bool,
    /// A reader needed a layer that is deleted.
    pub layer_lost: bool,
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
    let newest = state.manifest(state.newest());
    let applied = usize::from(newest.applied);
    let in_layers = newest.writers.iter().take(applied + 1);
    let in_log = state.writers.iter().take(applied + 1);
    state.broken.layers_astray |= newest.applied > state.last || !in_layers.eq(in_log);
    state.broken.applied_went_back |= newest.applied < state.applied;
    state.broken.lsn_lost |= (newest.applied + 1..=state.last).any(|lsn| state.slots & (1 << lsn) == 0);
    state.applied = newest.applied.max(state.applied);
}

/// The properties of a bound.
#[must_use]
pub fn all(bounds: &Bounds) -> Vec<Property<LayersModel>> {
    let mut properties = safety();
    properties.extend(occurrences());
    if bounds.processes > 1 {
        properties.extend(occurrences_among_processes());
    }
    if bounds.compactions > 0 {
        properties.push(Property::sometimes(
            "a layer is deleted that a reader has open",
            |_, state: &State| {
                state.processes.iter().any(|process| {
                    process.stage == Stage::Open
                        && process.epoch == 0
                        && state.manifest(process.manifest).generation < state.layers_from
                })
            },
        ));
    }
    if bounds.sweeps > 0 {
        properties.push(Property::sometimes(
            "the next id of a stalled process is free again",
            |_, state: &State| {
                state.processes.iter().any(|process| {
                    process.epoch > 0
                        && !process.out
                        && process.manifest < state.boundary
                        && !state.manifest(process.manifest + 1).present
                })
            },
        ));
    }
    properties
}

fn safety() -> Vec<Property<LayersModel>> {
    vec![
        Property::always("the layers hold the durable history", |_, state: &State| {
            !state.broken.layers_astray
        }),
        Property::always("the applied LSN never goes back", |_, state: &State| {
            !state.broken.applied_went_back
        }),
        Property::always("every LSN is in the layers or in the log", |_, state: &State| {
            !state.broken.lsn_lost
        }),
        Property::always("an opener's manifest is not below its floor", |_, state: &State| {
            !state.broken.opened_over_a_gap
        }),
        Property::always("no reader fails for a deleted layer", |_, state: &State| !state.broken.layer_lost),
    ]
}

fn occurrences() -> Vec<Property<LayersModel>> {
    vec![
        Property::sometimes("a slot is deleted", |_, state: &State| {
            (1..=state.last).any(|lsn| state.slots & (1 << lsn) == 0)
        }),
        Property::sometimes("an opener's gate is shut by a raised floor", |_, state: &State| {
            state.processes.iter().any(|process| {
                process.stage == Stage::Fenced && process.etag != state.etag && process.floor < state.floor
            })
        }),
    ]
}

fn occurrences_among_processes() -> Vec<Property<LayersModel>> {
    vec![
        Property::sometimes(
            "an older process flushes after the log has another owner",
            |_, state: &State| {
                let newest = state.manifest(state.newest());
                state.process(state.owner).is_some_and(|owner| {
                    owner.stage == Stage::Open && owner.epoch == 0 && newest.applied > owner.flushed
                })
            },
        ),
        Property::sometimes("a process is told that SlateDB is fenced", |_, state: &State| {
            state.processes.iter().any(|process| process.out)
        }),
        Property::sometimes("two write on top of each other's layers", |_, state: &State| {
            let newest = state.manifest(state.newest());
            let mut writers = newest.writers.iter().filter(|writer| **writer != 0);
            let first = writers.next();
            writers.any(|writer| Some(writer) != first)
        }),
    ]
}
