//! Fencing SlateDB, flushing, compacting, raising the floor, deleting.
//!
//! Invariants:
//! 1. A process writes a manifest under the id after the one it works from; when that id is taken it reads the newest,
//!    and is out if that has a higher epoch than its own.
//! 2. A manifest whose id is not above the boundary was never written, whatever the PUT said (rule 12).

use crate::layers::{Action, Bounds, LSNS, MANIFESTS, Manifest, Process, Stage, State};

/// What may be done to the layers.
pub fn actions(bounds: &Bounds, state: &State, actions: &mut Vec<Action>) {
    for process in &state.processes {
        if process.stage == Stage::Open && !process.out {
            of_process(bounds, state, process, actions);
        }
    }
    for lsn in (1..=state.floor).filter(|lsn| state.slots & (1 << lsn) != 0) {
        actions.push(Action::DeleteSlot { lsn });
    }
    let newest = state.newest();
    if state.spent.sweeps < bounds.sweeps && newest > state.boundary + 1 {
        actions.push(Action::RaiseBoundary);
    }
    for id in (1..=state.boundary).filter(|id| state.manifest(*id).present) {
        actions.push(Action::DeleteManifest { id });
    }
    if state.manifest(newest).generation > state.layers_from {
        actions.push(Action::DeleteLayers);
    }
}

fn of_process(bounds: &Bounds, state: &State, process: &Process, actions: &mut Vec<Action>) {
    let by = process.id;
    let room = usize::from(state.newest()) + 1 < MANIFESTS;
    if process.epoch == 0 {
        actions.push(Action::ReadPage { by });
        if room {
            actions.push(Action::FenceLayers { by });
        }
        return;
    }
    let in_flight = u8::from(process.in_flight && !bounds.rules.durable_applied_only);
    if room && state.spent.flushes < bounds.flushes {
        let lsns = process.flushed + 1..=process.durable + in_flight;
        actions.extend(lsns.map(|upto| Action::Flush { by, upto }));
    }
    if room && state.spent.compactions < bounds.compactions {
        actions.push(Action::Compact { by });
    }
    let floor = floor_of(bounds, process);
    if floor > state.floor {
        actions.push(Action::RaiseFloor { by });
    }
}

fn floor_of(bounds: &Bounds, process: &Process) -> u8 {
    if bounds.rules.floor_at_flushed { process.flushed } else { process.durable }
}

/// Takes a step on the layers; `None` when it is another's.
pub fn step(bounds: &Bounds, state: &mut State, action: Action) -> Option<()> {
    match action {
        Action::FenceLayers { by } => {
            let (newest, id) = (state.manifest(state.newest()), state.newest() + 1);
            let epoch = newest.epoch + 1;
            state.create(id, Manifest { epoch, ..newest });
            let process = state.process_mut(by)?;
            process.manifest = id;
            process.epoch = epoch;
            if bounds.rules.flushed_read_again {
                process.flushed = newest.applied;
            }
            Some(())
        }
        Action::Flush { by, upto } => {
            state.spent.flushes += 1;
            let memory = state.process(by)?.memory;
            let write = |from, flushed| with_memory(from, &memory, flushed, upto);
            if write_manifest(bounds, state, by, write)? {
                state.process_mut(by)?.flushed = upto;
            }
            Some(())
        }
        Action::Compact { by } => {
            state.spent.compactions += 1;
            let next = |from: Manifest, _flushed| Manifest { generation: from.generation + 1, ..from };
            write_manifest(bounds, state, by, next).map(|_written| ())
        }
        Action::RaiseFloor { by } => {
            let floor = floor_of(bounds, state.process(by)?);
            state.floor = floor;
            state.etag += 1;
            Some(())
        }
        Action::ReadPage { by } => {
            let newest = state.newest();
            let lost = state.manifest(state.process(by)?.manifest).generation < state.layers_from;
            if lost && bounds.rules.manifest_read_again {
                state.process_mut(by)?.manifest = newest;
            } else {
                state.broken.layer_lost |= lost;
            }
            Some(())
        }
        Action::DeleteSlot { lsn } => {
            state.slots &= !(1 << lsn);
            Some(())
        }
        Action::RaiseBoundary => {
            state.spent.sweeps += 1;
            state.boundary = state.newest() - 1;
            Some(())
        }
        Action::DeleteManifest { id } => {
            state.manifests.get_mut(usize::from(id))?.present = false;
            Some(())
        }
        Action::DeleteLayers => {
            state.layers_from = state.manifest(state.newest()).generation;
            Some(())
        }
        _ => None,
    }
}

/// A manifest with the LSNs after `flushed` and up to `upto` taken from memory.
fn with_memory(from: Manifest, memory: &[u8; LSNS], flushed: u8, upto: u8) -> Manifest {
    let mut writers = from.writers;
    for lsn in flushed + 1..=upto {
        let lsn = usize::from(lsn);
        if let (Some(to), Some(writer)) = (writers.get_mut(lsn), memory.get(lsn)) {
            *to = *writer;
        }
    }
    Manifest { applied: upto, writers, ..from }
}

/// Creates the manifest after the one a process works from; whether it believes to have written it.
fn write_manifest(
    bounds: &Bounds,
    state: &mut State,
    by: u8,
    next: impl Fn(Manifest, u8) -> Manifest,
) -> Option<bool> {
    let process = *state.process(by)?;
    let newest = state.manifest(state.newest());
    let from = state.manifest(process.manifest);
    let id = process.manifest + 1;
    if state.create(id, Manifest { epoch: process.epoch, ..next(from, process.flushed) }) {
        let void = bounds.rules.boundary_looked_at && id <= state.boundary;
        let process = state.process_mut(by)?;
        if void {
            process.out = true;
        } else {
            process.manifest = id;
        }
        return Some(!void);
    }
    let newest_id = state.newest();
    let process = state.process_mut(by)?;
    if newest.epoch > process.epoch {
        process.out = true;
    } else {
        process.manifest = newest_id;
    }
    Some(false)
}
