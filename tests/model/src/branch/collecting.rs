//! The collector: persist the floor, LIST pins, delete; and give up pins that nobody claims.
//!
//! Invariants:
//! 1. What it deletes is at or below the floor it persisted, and held by no pin that it listed after (rule 14).
//! 2. It collects a pin only when the record that would claim it says another thing, in a version that it made.

use crate::branch::{Action, Bounds, Collector, Kind, Link, Pin, PinHolds, Record, Stage, State, Timeline};

/// What the collector may do.
pub fn actions(bounds: &Bounds, state: &State, actions: &mut Vec<Action>) {
    let collector = &state.collector;
    match collector.stage {
        Stage::Idle => begin(bounds, state, actions),
        Stage::ListedEarly => floors(state, collector.name, actions),
        Stage::Floored => actions.push(Action::ListPins { timeline: collector.timeline }),
        Stage::Deleting => {
            deletions(collector, &state.timeline(collector.timeline), actions);
            begin(bounds, state, actions);
        }
    }
    if bounds.rounds == 0 || state.spent.pins_collected > 0 {
        return;
    }
    for (timeline, pin) in (0..).zip(&state.pins) {
        if pin.present && !is_claimed(&state.record(pin.name), timeline) {
            actions.push(Action::CollectPin { timeline });
        }
    }
}

fn is_claimed(record: &Record, timeline: u8) -> bool {
    record.kind == Kind::Live && (record.timeline == timeline || record.intent == timeline)
}

fn begin(bounds: &Bounds, state: &State, actions: &mut Vec<Action>) {
    if state.spent.rounds >= bounds.rounds {
        return;
    }
    for (name, record) in (0..).zip(&state.records) {
        if record.kind != Kind::Live || record.base.iter().any(|link| link.upto != 0) {
            continue;
        }
        if bounds.rules.floor_before_list {
            floors(state, name, actions);
        } else if state.timeline(record.timeline).checkpoints != 0 {
            actions.push(Action::ListPins { timeline: record.timeline });
        }
    }
}

fn floors(state: &State, name: u8, actions: &mut Vec<Action>) {
    let record = state.record(name);
    let checkpoints = state.timeline(record.timeline).checkpoints;
    let floors = (record.floor.max(1)..8).filter(|floor| checkpoints & (1 << floor) != 0);
    actions.extend(floors.map(|floor| Action::RaiseFloor { name, floor }));
}

fn deletions(collector: &Collector, of: &Timeline, actions: &mut Vec<Action>) {
    let timeline = collector.timeline;
    for lsn in 1..=collector.floor {
        let bit = 1 << lsn;
        if of.slots & bit != 0 && collector.held_slots & bit == 0 {
            actions.push(Action::DeleteSlot { timeline, lsn });
        }
        if lsn < collector.floor && of.checkpoints & bit != 0 && collector.held_checkpoints & bit == 0 {
            actions.push(Action::DeleteCheckpoint { timeline, lsn });
        }
    }
}

/// Takes a step of the collector; `None` when it is another's.
pub fn step(bounds: &Bounds, state: &mut State, action: Action) -> Option<()> {
    match action {
        Action::RaiseFloor { name, floor } => {
            let record = state.record(name);
            let early = state.collector;
            state.swap(name, record.version, Record { floor, ..record });
            let timeline = record.timeline;
            state.collector = if early.stage == Stage::ListedEarly {
                Collector { stage: Stage::Deleting, floor, ..early }
            } else {
                state.spent.rounds += 1;
                Collector { stage: Stage::Floored, name, timeline, floor, ..Collector::default() }
            };
            Some(())
        }
        Action::ListPins { timeline } => list_pins(bounds, state, timeline),
        Action::CollectPin { timeline } => {
            state.spent.pins_collected += 1;
            let name = state.pins.get(usize::from(timeline))?.name;
            let record = state.record(name);
            if bounds.rules.unclaimed_pin_tombstoned {
                let kind = if record.kind == Kind::Live { Kind::Live } else { Kind::Tombstone };
                state.swap(name, record.version, Record { kind, ..record });
            }
            *state.pins.get_mut(usize::from(timeline))? = Pin::default();
            Some(())
        }
        Action::DeleteSlot { timeline, lsn } => {
            state.timeline_mut(timeline)?.slots &= !(1 << lsn);
            Some(())
        }
        Action::DeleteCheckpoint { timeline, lsn } => {
            state.timeline_mut(timeline)?.checkpoints &= !(1 << lsn);
            Some(())
        }
        _ => None,
    }
}

fn list_pins(bounds: &Bounds, state: &mut State, timeline: u8) -> Option<()> {
    let of = state.timeline(timeline);
    let links = state.pins.iter().filter(|pin| pin.present).flat_map(|pin| pin.base);
    let (mut held_slots, mut held_checkpoints) = (0, 0);
    for link in links.filter(|link| link.upto != 0 && link.timeline == timeline) {
        let checkpoint = held_checkpoint(bounds, &of, &link);
        held_slots |= (checkpoint + 1..=link.upto).fold(0, |mask, lsn| mask | (1 << lsn));
        held_checkpoints |= 1 << checkpoint;
    }
    state.collector = match state.collector.stage {
        Stage::Floored => {
            Collector { stage: Stage::Deleting, held_slots, held_checkpoints, ..state.collector }
        }
        Stage::Idle | Stage::ListedEarly | Stage::Deleting => {
            state.spent.rounds += 1;
            let name = state.name_of(timeline)?;
            Collector { stage: Stage::ListedEarly, name, timeline, floor: 0, held_slots, held_checkpoints }
        }
    };
    Some(())
}

/// The checkpoint that a pin holds.
fn held_checkpoint(bounds: &Bounds, of: &Timeline, link: &Link) -> u8 {
    match bounds.rules.pin_holds {
        PinHolds::Base => link.checkpoint,
        PinHolds::Lsn if link.bare => link.checkpoint,
        PinHolds::Lsn => (1..=link.upto).rev().find(|lsn| of.checkpoints & (1 << lsn) != 0).unwrap_or(0),
    }
}
