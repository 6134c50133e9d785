//! Writing: a window of slots in flight, acknowledged in order.
//!
//! Invariants:
//! 1. A commit's slot and bytes are fixed at its first attempt (rule 1); a writer tries until the bucket has answered
//!    that it created the slot or that it exists, and then reads it back (rule 5).
//! 2. A commit is acknowledged when it and all before it are owned, and the gate is passed (rules 4 and 8).
//! 3. A writer that meets another's object is fenced: it begins nothing more, settles what it sent to slots before
//!    that one, and ends.

use crate::log::rules::{Ambiguous, Exists, Layout, Send};
use crate::log::store::{Object, Store};
use crate::log::{Action, Bounds, COMMITS, Late, Phase, Process, State, opener, properties};

/// What the writers may do, and the PUTs under way.
pub fn actions(bounds: &Bounds, state: &State, actions: &mut Vec<Action>) {
    for process in &state.processes {
        if process.phase == Phase::Owner {
            writing(bounds, state, process, actions);
        }
        if matches!(process.phase, Phase::Owner | Phase::Walking) && state.spent.crashes < bounds.crashes {
            actions.push(Action::Crash { by: process.id });
        }
    }
    for put in state.late {
        if put != Late::None {
            actions.push(Action::Arrives { put });
        }
    }
}

fn writing(bounds: &Bounds, state: &State, process: &Process, actions: &mut Vec<Action>) {
    let by = process.id;
    let may_send = !process.halted && (process.gated || bounds.rules.send == Send::AfterFence);
    let in_flight = u32::from(process.sent) - process.owned.trailing_ones();
    if may_send
        && in_flight < u32::from(bounds.window)
        && state.spent.commits < bounds.commits
        && usize::from(process.sent) < COMMITS
        && Store::has_cell(bounds, process.at.epoch, process.next_seq)
    {
        actions.push(Action::Append { by });
    }
    for commit in (0..process.sent).filter(|commit| process.owned & (1 << commit) == 0) {
        actions.push(Action::Put { by, commit });
        if state.spent.lost < bounds.lost {
            actions.push(Action::PutReplyLost { by, commit });
        }
        if state.spent.late < bounds.late {
            actions.push(Action::PutDelayed { by, commit });
        }
    }
}

/// Takes a step that is a writer's; `None` when it is not.
pub fn step(bounds: &Bounds, state: &mut State, action: Action) -> Option<()> {
    match action {
        Action::Append { by } => {
            state.spent.commits += 1;
            let process = state.process_mut(by)?;
            let place = process.places.get_mut(usize::from(process.sent))?;
            *place = process.next_seq;
            process.next_seq += 1;
            process.sent += 1;
            Some(())
        }
        Action::Put { by, commit } => put(bounds, state, by, commit),
        Action::PutReplyLost { by, commit } => {
            state.spent.lost += 1;
            let (epoch, seq, object) = slot_of(state.process(by)?, commit)?;
            state.store.create(bounds, epoch, seq, object);
            doubt(bounds, state, by, commit)
        }
        Action::PutDelayed { by, commit } => {
            state.spent.late += 1;
            let (epoch, seq, object) = slot_of(state.process(by)?, commit)?;
            state.keep_late(Late::Slot { epoch, seq, object });
            doubt(bounds, state, by, commit)
        }
        Action::Arrives { put } => {
            let place = state.late.iter_mut().find(|late| **late == put)?;
            *place = Late::None;
            match put {
                Late::None => {}
                Late::Slot { epoch, seq, object } => {
                    state.store.create(bounds, epoch, seq, object);
                }
                Late::Swap { new } if state.store.record.etag + 1 == new.etag => state.store.record = new,
                Late::Swap { .. } => {}
            }
            Some(())
        }
        Action::Crash { by } => {
            state.spent.crashes += 1;
            state.process_mut(by).map(opener::start_again)
        }
        _ => None,
    }
}

/// The slot of a commit, and its bytes.
#[must_use]
pub fn slot_of(process: &Process, commit: u8) -> Option<(u8, u8, Object)> {
    let seq = *process.places.get(usize::from(commit))?;
    let (epoch, lsn) = (process.at.epoch, process.at.lsn + 1 + commit);
    Some((epoch, seq, Object::Record { writer: process.id, epoch, lsn }))
}

fn put(bounds: &Bounds, state: &mut State, by: u8, commit: u8) -> Option<()> {
    let process = *state.process(by)?;
    let (epoch, seq, object) = slot_of(&process, commit)?;
    let created = state.store.create(bounds, epoch, seq, object);
    let found = state.store.get(bounds, epoch, seq);
    let taken_for_own = bounds.rules.exists == Exists::TakenForOwn && process.ambiguous & (1 << commit) != 0;
    if created || found == object || taken_for_own {
        let before = acknowledged(bounds, &process);
        state.process_mut(by)?.owned |= 1 << commit;
        acknowledge(bounds, state, by, before)?;
        return end_when_settled(state, by);
    }
    let void = match found {
        Object::Absent => false,
        Object::Record { epoch: of, .. } => of < epoch,
        Object::Fence { epoch: named, .. } => named <= epoch,
    };
    let process = state.process_mut(by)?;
    if bounds.rules.layout == Layout::Flat && void {
        move_on(bounds, process, commit);
        return Some(());
    }
    process.halted = true;
    process.sent = commit;
    process.owned &= (1 << commit) - 1;
    end_when_settled(state, by)
}

/// A writer that was fenced settles what it sent before the fence's place, and ends.
fn end_when_settled(state: &mut State, by: u8) -> Option<()> {
    let process = state.process_mut(by)?;
    if process.halted && u32::from(process.sent) == process.owned.trailing_ones() {
        opener::start_again(process);
    }
    Some(())
}

/// Gives a commit the next slot not used; nothing when the table has no more.
fn move_on(bounds: &Bounds, process: &mut Process, commit: u8) {
    if !Store::has_cell(bounds, process.at.epoch, process.next_seq) {
        opener::start_again(process);
    } else if let Some(place) = process.places.get_mut(usize::from(commit)) {
        *place = process.next_seq;
        process.next_seq += 1;
    }
}

/// An attempt was ambiguous.
fn doubt(bounds: &Bounds, state: &mut State, by: u8, commit: u8) -> Option<()> {
    let process = state.process_mut(by)?;
    if bounds.rules.exists == Exists::TakenForOwn {
        process.ambiguous |= 1 << commit;
    }
    if bounds.rules.ambiguous == Ambiguous::NextSlot {
        move_on(bounds, process, commit);
    }
    Some(())
}

/// Bit `i` is set for each commit that the writer has acknowledged.
#[must_use]
pub fn acknowledged(bounds: &Bounds, process: &Process) -> u8 {
    match (process.gated, bounds.rules.acknowledged_in_order) {
        (false, _) => 0,
        (true, true) => process.owned & !process.owned.wrapping_add(1),
        (true, false) => process.owned,
    }
}

/// Tells the properties of what is acknowledged now and was not `before`.
pub fn acknowledge(bounds: &Bounds, state: &mut State, by: u8, before: u8) -> Option<()> {
    let process = *state.process(by)?;
    let new = acknowledged(bounds, &process) & !before;
    for commit in (0..process.sent).filter(|commit| new & (1 << commit) != 0) {
        properties::acknowledge(state, process.id, process.at.lsn + 1 + commit, process.astray);
    }
    Some(())
}
