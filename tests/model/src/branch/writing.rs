//! Writers on branches: open by name, obey seals, pass the gate, append.
//!
//! Invariants:
//! 1. A writer that finds a seal with a redirect finishes the reset by the same conditional PUT that the resetter
//!    would use, and opens again (rule 15).
//! 2. A writer fences those before it on its timeline when it reads the log; they are taken down at once, since their
//!    next append could only fail.

use crate::branch::{Action, Bounds, Kind, NO_TIMELINE, Record, State, Writer};

/// What writers may do, and the taking of checkpoints.
pub fn actions(bounds: &Bounds, state: &State, actions: &mut Vec<Action>) {
    let live = (0..).zip(&state.records).filter(|(_, record)| record.kind == Kind::Live);
    for (name, record) in live {
        let free = state.writers.iter().any(|writer| writer.stage == 0);
        if free && state.spent.openings < bounds.openings {
            actions.push(Action::Open { name });
        }
        let timeline = state.timeline(record.timeline);
        let own = record.base.iter().all(|link| link.upto == 0);
        if own
            && timeline.last > timeline.first
            && timeline.checkpoints & (1 << timeline.last) == 0
            && state.spent.checkpoints < bounds.checkpoints
        {
            actions.push(Action::TakeCheckpoint { timeline: record.timeline });
        }
    }
    for (writer, of) in (0..).zip(&state.writers) {
        match of.stage {
            1 => actions.push(Action::Walk { writer }),
            2 => actions.push(Action::Gate { writer }),
            3 if state.spent.commits < bounds.commits => actions.push(Action::Append { writer }),
            _ => {}
        }
    }
}

/// Takes a step of a writer; `None` when it is another's.
pub fn step(state: &mut State, action: Action) -> Option<()> {
    match action {
        Action::Open { name } => {
            let record = state.record(name);
            let life = state.timeline(record.timeline).life;
            state.spent.openings += 1;
            let place = state.writers.iter_mut().find(|writer| writer.stage == 0)?;
            let (version, timeline) = (record.version, record.timeline);
            *place = Writer { stage: 1, name, version, timeline, life, next_lsn: 0 };
            Some(())
        }
        Action::Walk { writer } => walk(state, writer),
        Action::Gate { writer } => {
            let of = *state.writers.get(usize::from(writer))?;
            let record = state.record(of.name);
            let passed = state.swap(of.name, of.version, record);
            let of = state.writers.get_mut(usize::from(writer))?;
            *of = if passed { Writer { stage: 3, version: 0, ..*of } } else { Writer::default() };
            Some(())
        }
        Action::Append { writer } => append(state, writer),
        Action::TakeCheckpoint { timeline } => {
            state.spent.checkpoints += 1;
            let timeline = state.timeline_mut(timeline)?;
            timeline.checkpoints |= 1 << timeline.last;
            Some(())
        }
        _ => None,
    }
}

fn walk(state: &mut State, writer: u8) -> Option<()> {
    let of = *state.writers.get(usize::from(writer))?;
    let timeline = state.timeline(of.timeline);
    if timeline.sealed {
        if let Some((redirect, base)) = timeline.redirect {
            let floor = base.iter().map(|link| link.upto).max().unwrap_or(0);
            let old = state.record(of.name);
            let new = Record { timeline: redirect, base, floor, intent: NO_TIMELINE, ..old };
            state.swap(of.name, of.version, new);
        }
        *state.writers.get_mut(usize::from(writer))? = Writer::default();
        return Some(());
    }
    for (index, other) in state.writers.iter_mut().enumerate() {
        let same = (other.timeline, other.life) == (of.timeline, of.life) && other.stage >= 2;
        if same && index != usize::from(writer) {
            *other = Writer::default();
        }
    }
    let of = state.writers.get_mut(usize::from(writer))?;
    of.stage = 2;
    of.next_lsn = timeline.last + 1;
    Some(())
}

fn append(state: &mut State, writer: u8) -> Option<()> {
    let of = *state.writers.get(usize::from(writer))?;
    let named = state.name_of(of.timeline).is_some();
    let timeline = state.timeline_mut(of.timeline)?;
    let taken =
        timeline.slots & (1 << of.next_lsn) != 0 || (timeline.sealed && of.next_lsn == timeline.last + 1);
    if taken {
        *state.writers.get_mut(usize::from(writer))? = Writer::default();
        return Some(());
    }
    timeline.slots |= 1 << of.next_lsn;
    timeline.last = timeline.last.max(of.next_lsn);
    let same_life = timeline.life == of.life;
    state.spent.commits += 1;
    state.broken.acknowledged_into_nothing |= !named || !same_life;
    state.writers.get_mut(usize::from(writer))?.next_lsn += 1;
    Some(())
}
