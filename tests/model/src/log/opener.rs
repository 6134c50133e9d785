//! Opening for write: read the branch record, LIST, walk, fence, swap the record.
//!
//! Invariants:
//! 1. An opener tries its fence at a slot until the bucket has answered that it created it or that it exists; only
//!    then it goes on (rule 5). When a record took its slot it LISTs again and tries at twice as many slots in a row;
//!    it goes on when all of them are settled, and the first fence among them counts.
//! 2. A fence counts by its place alone. What it reads as commits it takes only if LSNs follow each other and each
//!    builds on the one before; otherwise it starts again.
//! 3. The swap of the branch record moves the floor over the fences where there is no commit between, and is settled
//!    by reading one's own stamp.

use crate::log::rules::{Epochs, FenceAt, Gate, Layout, Swap412};
use crate::log::store::{BranchRecord, Object, Position, Step, Store};
use crate::log::{Action, Bounds, FENCES, Late, Phase, Process, State, writer};

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
            Phase::Walking if is_listed(bounds, process, process.at) => actions.push(Action::Get { by }),
            Phase::Walking => fencing(bounds, state, process, actions),
            Phase::Owner if !process.gated => owner(bounds, state, process, actions),
            Phase::Owner => {}
        }
    }
}

fn fencing(bounds: &Bounds, state: &State, process: &Process, actions: &mut Vec<Action>) {
    let by = process.id;
    let (epoch, last) = fence_place(bounds, process, process.width.saturating_sub(1));
    if !Store::has_cell(bounds, epoch, last) {
        return;
    }
    for (nth, met) in (0..process.width).zip(&process.met) {
        if *met != Object::Absent {
            continue;
        }
        actions.push(Action::Fence { by, nth });
        if state.spent.lost < bounds.lost {
            actions.push(Action::FenceReplyLost { by, nth });
        }
        if state.spent.late < bounds.late {
            actions.push(Action::FenceDelayed { by, nth });
        }
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
            let listed = state.store.list(bounds, at);
            let process = state.process_mut(by)?;
            process.listed = listed;
            process.phase = Phase::Walking;
            look_around(bounds, process);
            Some(())
        }
        Action::Get { by } => get(bounds, state, by),
        Action::Fence { by, nth } => {
            put_fence(bounds, state, by, nth)?;
            let process = *state.process(by)?;
            let (epoch, seq) = fence_place(bounds, &process, nth);
            let found = state.store.get(bounds, epoch, seq);
            *state.process_mut(by)?.met.get_mut(usize::from(nth))? = found;
            settle_fences(bounds, state, by)
        }
        Action::FenceReplyLost { by, nth } => {
            state.spent.lost += 1;
            put_fence(bounds, state, by, nth)
        }
        Action::FenceDelayed { by, nth } => {
            state.spent.late += 1;
            let process = *state.process(by)?;
            let (epoch, seq) = fence_place(bounds, &process, nth);
            state.keep_late(Late::Slot { epoch, seq, object: fence_of(bounds, &process) });
            Some(())
        }
        Action::SwapRecord { by } => pass_gate(bounds, state, by),
        Action::SwapReplyLost { by } => {
            state.spent.lost += 1;
            state.store.record = swapped(&state.store.record, state.process(by)?);
            Some(())
        }
        Action::SwapDelayed { by } => {
            state.spent.late += 1;
            let new = swapped(&state.store.record, state.process(by)?);
            state.keep_late(Late::Swap { new });
            Some(())
        }
        _ => None,
    }
}

fn read_record(state: &mut State) -> Option<()> {
    state.spent.openings += 1;
    let (id, record) = (state.spent.openings, state.store.record);
    let down = state.processes.iter_mut().find(|process| process.phase == Phase::Down)?;
    let (etag, at) = (record.etag, record.floor);
    *down = Process { phase: Phase::Listing, id, etag, at, width: 1, ..Process::default() };
    Some(())
}

/// Forgets everything; the next opening is a new process.
pub fn start_again(process: &mut Process) {
    *process = Process::default();
}

/// Whether LIST named that slot.
#[must_use]
pub fn is_listed(bounds: &Bounds, process: &Process, at: Position) -> bool {
    Store::index(bounds, at.epoch, at.seq).is_some_and(|index| process.listed & (1 << index) != 0)
}

/// At the end of what is listed of an epoch, with something listed of a later one, it LISTs once more.
fn look_around(bounds: &Bounds, process: &mut Process) {
    let next_epoch = Store::index(bounds, process.at.epoch + 1, 0).unwrap_or(usize::MAX);
    let beyond = bounds.rules.layout == Layout::Folders
        && (next_epoch < 32 && process.listed.checked_shr(u32::try_from(next_epoch).unwrap_or(32)) > Some(0));
    if !process.relisted && beyond && !is_listed(bounds, process, process.at) {
        process.phase = Phase::Listing;
        process.relisted = true;
    }
}

/// Where its `nth` fence goes.
fn fence_place(bounds: &Bounds, process: &Process, nth: u8) -> (u8, u8) {
    let at = process.at;
    match bounds.rules.fence_at {
        FenceAt::FirstFree => (at.epoch, at.seq + nth),
        FenceAt::AfterLastListed => {
            let listed = |seq: &u8| is_listed(bounds, process, Position { seq: *seq, ..at });
            let last = (at.seq..bounds.columns()).rev().find(listed);
            (at.epoch, last.map_or(at.seq, |last| last + 1))
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

fn put_fence(bounds: &Bounds, state: &mut State, by: u8, nth: u8) -> Option<()> {
    let process = *state.process(by)?;
    let (epoch, seq) = fence_place(bounds, &process, nth);
    state.store.create(bounds, epoch, seq, fence_of(bounds, &process));
    Some(())
}

/// When all its fences are settled: the first that is its own makes it the owner; what took the place of others is
/// read on the way.
fn settle_fences(bounds: &Bounds, state: &mut State, by: u8) -> Option<()> {
    let before = *state.process(by)?;
    let own = fence_of(bounds, &before);
    let met = before.met.iter().take(usize::from(before.width));
    if met.clone().any(|object| *object == Object::Absent) {
        return Some(());
    }
    state.process_mut(by)?.met = [Object::Absent; FENCES];
    for (nth, object) in (0..).zip(met) {
        if *object == own {
            let (_, seq) = fence_place(bounds, &before, nth);
            return fenced(bounds, state, by, named_epoch(bounds, &before), seq);
        }
        if !meet(bounds, state, by, nth, *object)? {
            break;
        }
    }
    let process = state.process_mut(by)?;
    if process.phase == Phase::Walking && bounds.rules.fence_at == FenceAt::FirstFree {
        let advanced = process.at.epoch > before.at.epoch || bounds.rules.epochs == Epochs::Kept;
        process.width = if advanced { 1 } else { (before.width * 2).min(u8::try_from(FENCES).unwrap_or(1)) };
        process.phase = Phase::Listing;
        process.relisted = true;
        process.listed = 0;
    }
    Some(())
}

/// It owns the epoch that its fence names, from the first slot on.
fn fenced(bounds: &Bounds, state: &mut State, by: u8, epoch: u8, fence_seq: u8) -> Option<()> {
    let process = state.process_mut(by)?;
    let seq = if bounds.rules.layout == Layout::Flat { fence_seq + 1 } else { 0 };
    *process = Process {
        phase: Phase::Owner,
        id: by,
        etag: process.etag,
        at: Position { epoch, seq, lsn: process.at.lsn, previous: by },
        astray: process.astray,
        next_seq: seq,
        ..Process::default()
    };
    Some(())
}

/// Another's object is where its fence should be. Whether what lies after it counts.
fn meet(bounds: &Bounds, state: &mut State, by: u8, nth: u8, object: Object) -> Option<bool> {
    let (_, seq) = fence_place(bounds, state.process(by)?, nth);
    let is_fence = matches!(object, Object::Fence { .. });
    if bounds.rules.epochs == Epochs::Kept && is_fence {
        let process = state.process_mut(by)?;
        process.named = named_epoch(bounds, process);
        process.at.seq += 1;
        return Some(false);
    }
    let process = state.process_mut(by)?;
    if bounds.rules.fence_at == FenceAt::AfterLastListed && seq != process.at.seq {
        if let Some(index) = Store::index(bounds, process.at.epoch, seq) {
            process.listed |= 1 << index;
        }
        return Some(false);
    }
    let epoch = process.at.epoch;
    take(bounds, state, by, object)?;
    Some(state.process(by).is_some_and(|process| process.at.epoch == epoch))
}

/// GET of a slot that LIST named. When it is gone it starts again.
fn get(bounds: &Bounds, state: &mut State, by: u8) -> Option<()> {
    let at = state.process(by)?.at;
    let object = state.store.get(bounds, at.epoch, at.seq);
    if object == Object::Absent {
        return state.process_mut(by).map(start_again);
    }
    take(bounds, state, by, object)?;
    if let Some(process) = state.process_mut(by) {
        look_around(bounds, process);
    }
    Some(())
}

/// Takes in an object, or starts again when it does not follow.
fn take(bounds: &Bounds, state: &mut State, by: u8, object: Object) -> Option<()> {
    let durable = state.durable();
    let layout = bounds.rules.layout;
    let process = state.process_mut(by)?;
    let step = Store::meaning(layout, process.at.epoch, object);
    if !Store::follows(process.at, step) {
        start_again(process);
        return Some(());
    }
    if let Step::Commit { writer, lsn } = step {
        process.astray |= durable.writer(lsn) != writer;
    }
    process.at = Store::after(layout, process.at, step);
    Some(())
}

/// The branch record as this opener's swap makes it.
#[must_use]
pub fn swapped(old: &BranchRecord, process: &Process) -> BranchRecord {
    let floor = if old.floor.lsn == process.at.lsn { process.at } else { old.floor };
    BranchRecord { etag: old.etag + 1, floor, stamp: process.id }
}

fn pass_gate(bounds: &Bounds, state: &mut State, by: u8) -> Option<()> {
    let record = state.store.record;
    let process = *state.process(by)?;
    let passes = match bounds.rules.gate {
        Gate::RecordSwap => record.etag == process.etag || record.stamp == by,
        Gate::FloorRead => (record.floor.epoch, record.floor.lsn) <= (process.at.epoch, process.at.lsn),
        Gate::None => true,
    };
    if passes {
        if bounds.rules.gate == Gate::RecordSwap && record.stamp != by {
            state.store.record = swapped(&record, &process);
        }
        let before = writer::acknowledged(bounds, &process);
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
