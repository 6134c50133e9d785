//! Opening for write: read the branch record, walk, fence, swap the record.
//!
//! Invariants:
//! 1. An opener tries its fence at one slot until the bucket has answered that it created it or that it exists;
//!    only then it goes on (rule 5).
//! 2. What it reads it takes for the log only if LSNs follow each other; otherwise it starts again.

use crate::log::rules::{Epochs, FenceAt, Gate, Layout, Swap412};
use crate::log::store::{Object, Position, Step, Store};
use crate::log::{Action, Bounds, Late, Phase, Process, State, writer};

/// What the openers may do.
pub fn actions(bounds: &Bounds, state: &State, actions: &mut Vec<Action>) {
    let up = state.processes.iter().filter(|process| process.phase != Phase::Down).count();
    if up < usize::from(bounds.processes) && state.spent.openings < bounds.openings {
        actions.push(Action::ReadRecord);
    }
    for process in &state.processes {
        let by = process.id;
        match process.phase {
            Phase::Down => {}
            Phase::Listing => actions.push(Action::List { by }),
            Phase::Walking if is_listed(process, process.at.seq) => actions.push(Action::Get { by }),
            Phase::Walking => walking(bounds, state, process, actions),
            Phase::Owner if !process.gated => owner(bounds, state, process, actions),
            Phase::Owner => {}
        }
    }
}

fn walking(bounds: &Bounds, state: &State, process: &Process, actions: &mut Vec<Action>) {
    let (by, (epoch, seq)) = (process.id, fence_place(bounds, process));
    if !Store::has_cell(bounds, epoch, seq) {
        return;
    }
    actions.push(Action::Fence { by });
    if state.spent.lost < bounds.lost {
        actions.push(Action::FenceReplyLost { by });
    }
    if state.spent.late < bounds.late {
        actions.push(Action::FenceDelayed { by });
    }
}

fn owner(bounds: &Bounds, state: &State, process: &Process, actions: &mut Vec<Action>) {
    let by = process.id;
    actions.push(Action::SwapRecord { by });
    if bounds.rules.gate == Gate::RecordSwap && state.store.record.etag == process.etag {
        if state.spent.lost < bounds.lost {
            actions.push(Action::SwapReplyLost { by });
        }
        if state.spent.late < bounds.late {
            actions.push(Action::SwapDelayed { by });
        }
    }
}

/// Takes a step that is an opener's; `None` when it is not.
pub fn step(bounds: &Bounds, state: &mut State, action: Action) -> Option<()> {
    match action {
        Action::ReadRecord => read_record(state),
        Action::List { by } => {
            let at = state.process(by)?.at;
            let listed = state.store.list(bounds, at.epoch);
            let process = state.process_mut(by)?;
            process.listed = (listed >> at.seq) << at.seq;
            process.phase = Phase::Walking;
            Some(())
        }
        Action::Get { by } => read(bounds, state, by),
        Action::Fence { by } => {
            let created = put_fence(bounds, state, by)?;
            if created { fenced(bounds, state, by) } else { meet(bounds, state, by) }
        }
        Action::FenceReplyLost { by } => {
            state.spent.lost += 1;
            put_fence(bounds, state, by).map(|_created| ())
        }
        Action::FenceDelayed { by } => {
            state.spent.late += 1;
            let process = *state.process(by)?;
            let (epoch, seq) = fence_place(bounds, &process);
            state.keep_late(Late::Slot { epoch, seq, object: fence_of(bounds, &process) });
            Some(())
        }
        Action::SwapRecord { by } => pass_gate(bounds, state, by),
        Action::SwapReplyLost { by } => {
            state.spent.lost += 1;
            state.store.record.etag += 1;
            state.process_mut(by).map(start_again)
        }
        Action::SwapDelayed { by } => {
            state.spent.late += 1;
            let etag = state.process(by)?.etag;
            state.keep_late(Late::Swap { etag });
            state.process_mut(by).map(start_again)
        }
        _ => None,
    }
}

fn read_record(state: &mut State) -> Option<()> {
    state.spent.openings += 1;
    let (id, record) = (state.spent.openings, state.store.record);
    let down = state.processes.iter_mut().find(|process| process.phase == Phase::Down)?;
    *down = Process { phase: Phase::Listing, id, etag: record.etag, at: record.floor, ..Process::default() };
    Some(())
}

/// Forgets everything; the next opening is a new process.
pub fn start_again(process: &mut Process) {
    *process = Process::default();
}

/// Whether LIST named that seq.
#[must_use]
pub fn is_listed(process: &Process, seq: u8) -> bool {
    process.listed & (1 << seq) != 0
}

/// Where it tries to fence.
fn fence_place(bounds: &Bounds, process: &Process) -> (u8, u8) {
    let at = process.at;
    match bounds.rules.fence_at {
        FenceAt::FirstFree => (at.epoch, at.seq),
        FenceAt::AfterLastListed => {
            let after_last = u8::try_from(32 - process.listed.leading_zeros()).unwrap_or(u8::MAX);
            (at.epoch, at.seq.max(after_last))
        }
    }
}

fn fence_of(bounds: &Bounds, process: &Process) -> Object {
    Object::Fence { owner: process.id, epoch: named_epoch(bounds, process), base_lsn: process.at.lsn }
}

fn named_epoch(bounds: &Bounds, process: &Process) -> u8 {
    match bounds.rules.epochs {
        Epochs::Derived => process.at.epoch + 1,
        Epochs::Kept if process.named == 0 => process.at.epoch + 1,
        Epochs::Kept => process.named,
    }
}

fn put_fence(bounds: &Bounds, state: &mut State, by: u8) -> Option<bool> {
    let process = *state.process(by)?;
    let (epoch, seq) = fence_place(bounds, &process);
    Some(state.store.create(bounds, epoch, seq, fence_of(bounds, &process)))
}

/// Its fence is in the log: it owns the epoch that the fence names, from the first slot on.
fn fenced(bounds: &Bounds, state: &mut State, by: u8) -> Option<()> {
    let process = state.process_mut(by)?;
    let (_, fence_seq) = fence_place(bounds, process);
    let epoch = named_epoch(bounds, process);
    let seq = if bounds.rules.layout == Layout::Flat { fence_seq + 1 } else { 0 };
    *process = Process {
        phase: Phase::Owner,
        at: Position { epoch, seq, lsn: process.at.lsn },
        listed: 0,
        named: 0,
        next_seq: seq,
        ..*process
    };
    Some(())
}

/// The slot is taken: read it back. It may be its own fence, by an attempt whose reply was lost.
fn meet(bounds: &Bounds, state: &mut State, by: u8) -> Option<()> {
    let process = *state.process(by)?;
    let (epoch, seq) = fence_place(bounds, &process);
    if state.store.get(bounds, epoch, seq) == fence_of(bounds, &process) {
        return fenced(bounds, state, by);
    }
    let met_fence = matches!(state.store.get(bounds, epoch, seq), Object::Fence { .. });
    if bounds.rules.epochs == Epochs::Kept && met_fence {
        let process = state.process_mut(by)?;
        process.named = named_epoch(bounds, process);
        process.at.seq += 1;
        return Some(());
    }
    if bounds.rules.fence_at == FenceAt::AfterLastListed && seq != process.at.seq {
        let process = state.process_mut(by)?;
        process.listed |= 1 << seq;
        return Some(());
    }
    read(bounds, state, by)
}

/// Takes in what is at its place.
fn read(bounds: &Bounds, state: &mut State, by: u8) -> Option<()> {
    let durable = state.durable();
    let process = state.process(by)?;
    let (at, was_listed) = (process.at, is_listed(process, process.at.seq));
    let layout = bounds.rules.layout;
    let step = Store::meaning(layout, at.epoch, state.store.get(bounds, at.epoch, at.seq));
    let process = state.process_mut(by)?;
    let follows = match step {
        Step::End => !was_listed,
        Step::Void => true,
        Step::Commit { lsn, .. } => lsn == at.lsn + 1,
        Step::Fence { base_lsn, .. } => base_lsn == at.lsn,
    };
    if !follows {
        start_again(process);
        return Some(());
    }
    match step {
        Step::Commit { writer, lsn } => process.astray |= durable.writer(lsn) != writer,
        Step::Fence { .. } if layout == Layout::Folders => {
            process.phase = Phase::Listing;
            process.listed = 0;
        }
        Step::End | Step::Void | Step::Fence { .. } => {}
    }
    process.at = Store::after(layout, at, step);
    Some(())
}

fn pass_gate(bounds: &Bounds, state: &mut State, by: u8) -> Option<()> {
    let record = state.store.record;
    let process = state.process(by)?;
    let passes = match bounds.rules.gate {
        Gate::RecordSwap => record.etag == process.etag,
        Gate::FloorRead => (record.floor.epoch, record.floor.lsn) <= (process.at.epoch, process.at.lsn),
        Gate::None => true,
    };
    if passes {
        if bounds.rules.gate == Gate::RecordSwap {
            state.store.record.etag += 1;
        }
        let before = writer::acknowledged(bounds, state.process(by)?);
        let process = state.process_mut(by)?;
        process.gated = true;
        process.etag = 0;
        return writer::acknowledge(bounds, state, by, before);
    }
    let process = state.process_mut(by)?;
    match bounds.rules.swap_412 {
        Swap412::StartsAgain => start_again(process),
        Swap412::TriesAgain => process.etag = record.etag,
    }
    Some(())
}
