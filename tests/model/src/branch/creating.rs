//! Creating a branch: pin, read the parent again, claim by the child's record. And a child's own clone.
//!
//! Invariants:
//! 1. Three requests for a known LSN: PUT the pin, GET the parent's record, PUT the child's record (rule 14).
//! 2. The pin is removed by its creator only when the record was not created.

use crate::branch::{
    Action, Base, Bounds, Kind, Link, NO_TIMELINE, Next, Pin, PinHolds, Record, State, Steward, Timeline,
};

/// What creators may do.
pub fn actions(bounds: &Bounds, state: &State, actions: &mut Vec<Action>) {
    let free = state.stewards.iter().any(|steward| steward.next == Next::Nothing);
    for (from, record) in (0..).zip(&state.records) {
        if record.kind != Kind::Live {
            continue;
        }
        if free && state.spent.creations < bounds.creations && new_timeline(bounds, state).is_some() {
            begin_create(state, from, record, actions);
        }
        let based = record.base.iter().any(|link| link.upto != 0);
        let pinned = state.pins.get(usize::from(record.timeline)).is_some_and(|pin| pin.present);
        if based && state.spent.clones < bounds.clones {
            actions.push(Action::Clone { name: from });
        }
        if pinned && bounds.clones > 0 && (!based || !bounds.rules.clone_before_unpin) {
            actions.push(Action::Unpin { timeline: record.timeline });
        }
    }
    for (steward, of) in (0..).zip(&state.stewards) {
        if of.next != Next::Nothing {
            actions.push(Action::Go { steward, next: of.next });
        }
    }
}

fn begin_create(state: &State, from: u8, record: &Record, actions: &mut Vec<Action>) {
    let timeline = state.timeline(record.timeline);
    for (name, other) in (0..).zip(&state.records) {
        if name == from || other.kind == Kind::Live {
            continue;
        }
        let lsns = timeline.first.max(1)..=timeline.last;
        let resolvable = lsns.filter(|lsn| resolve(state, record, *lsn).is_some());
        actions.extend(resolvable.map(|lsn| Action::BeginCreate { from, lsn, name }));
    }
}

/// The base of a new branch at `lsn`, as the record and the checkpoints are now.
#[must_use]
pub fn resolve(state: &State, record: &Record, lsn: u8) -> Option<Base> {
    let timeline = state.timeline(record.timeline);
    match record.base {
        [Link { upto: 0, .. }, Link { upto: 0, .. }] => {
            let checkpoint = (0..=lsn).rev().find(|at| *at == 0 || timeline.checkpoints & (1 << at) != 0)?;
            let link = Link { timeline: record.timeline, checkpoint, upto: lsn, bare: false };
            (checkpoint >= record.floor).then_some([link, Link::default()])
        }
        [parent, Link { upto: 0, .. }] if lsn == timeline.first => Some([parent, Link::default()]),
        [parent, Link { upto: 0, .. }] if lsn > timeline.first => {
            let checkpoint = timeline.first;
            Some([parent, Link { timeline: record.timeline, checkpoint, upto: lsn, bare: true }])
        }
        _ => None,
    }
}

/// An id for a new timeline.
#[must_use]
pub fn new_timeline(bounds: &Bounds, state: &State) -> Option<u8> {
    let reusable = |id: u8, timeline: &Timeline| {
        !bounds.rules.timelines_never_reused
            && timeline.slots == 0
            && timeline.sealed
            && state.name_of(id).is_none()
    };
    let ids = || (0..).zip(&state.timelines);
    let used = |id: u8| state.stewards.iter().any(|other| other.next != Next::Nothing && other.child == id);
    let old = ids().find(|(id, timeline)| timeline.begun && reusable(*id, timeline));
    old.or_else(|| ids().find(|(id, timeline)| !timeline.begun && !used(*id))).map(|(id, _)| id)
}

/// Takes a step of a creator; `None` when it is another's.
pub fn step(bounds: &Bounds, state: &mut State, action: Action) -> Option<()> {
    match action {
        Action::BeginCreate { from, lsn, name } => {
            state.spent.creations += 1;
            let record = state.record(from);
            let next = if bounds.rules.pin_before_floor_read { Next::PutPin } else { Next::ReadParent };
            let steward = Steward {
                next,
                name: from,
                timeline: record.timeline,
                version: 0,
                child: new_timeline(bounds, state)?,
                child_name: name,
                child_version: state.record(name).version,
                base: resolve(state, &record, lsn)?,
            };
            begin(state, steward)
        }
        Action::Go { steward, next: Next::PutPin } => {
            let of = *state.stewards.get(usize::from(steward))?;
            put_pin(bounds, state, &of, of.child_name)?;
            advance(state, steward, Next::ReadParent)
        }
        Action::Go { steward, next: Next::ReadParent } => {
            let of = *state.stewards.get(usize::from(steward))?;
            if stands(bounds, &state.record(of.name), &of) {
                advance(state, steward, Next::PutRecord)
            } else {
                give_up(state, steward)
            }
        }
        Action::Go { steward, next: Next::PutRecord } => put_record(bounds, state, steward),
        Action::Go { steward, next: Next::PutPinLate } => {
            let of = *state.stewards.get(usize::from(steward))?;
            put_pin(bounds, state, &of, of.child_name)?;
            advance(state, steward, Next::Nothing)
        }
        Action::Clone { name } => clone(state, name),
        Action::Unpin { timeline } => {
            *state.pins.get_mut(usize::from(timeline))? = Pin::default();
            Some(())
        }
        _ => None,
    }
}

/// Someone begins.
pub fn begin(state: &mut State, steward: Steward) -> Option<()> {
    *state.stewards.iter_mut().find(|place| place.next == Next::Nothing)? = steward;
    state.timeline_mut(steward.child)?.begun = true;
    Some(())
}

/// PUTs the pin of a steward's new timeline.
pub fn put_pin(bounds: &Bounds, state: &mut State, of: &Steward, name: u8) -> Option<()> {
    let base = match of.base {
        [_, child] if child.upto != 0 && !bounds.rules.pin_names_whole_chain => [Link::default(), child],
        whole => whole,
    };
    *state.pins.get_mut(usize::from(of.child))? = Pin { present: true, base, name };
    Some(())
}

/// Goes on with the next request; a steward that has none is forgotten.
pub fn advance(state: &mut State, steward: u8, next: Next) -> Option<()> {
    let of = state.stewards.get_mut(usize::from(steward))?;
    *of = if next == Next::Nothing { Steward::default() } else { Steward { next, ..*of } };
    Some(())
}

/// Removes the pin and ends.
pub fn give_up(state: &mut State, steward: u8) -> Option<()> {
    let of = *state.stewards.get(usize::from(steward))?;
    *state.pins.get_mut(usize::from(of.child))? = Pin::default();
    advance(state, steward, Next::Nothing)
}

/// Whether the base still stands, by the parent's record as it is now.
#[must_use]
pub fn stands(bounds: &Bounds, record: &Record, of: &Steward) -> bool {
    if record.kind != Kind::Live || record.timeline != of.timeline {
        return false;
    }
    let [first, second] = of.base;
    let own = first.timeline == of.timeline;
    if !own {
        return record.base.first() == Some(&first);
    }
    let whole = first.upto.max(second.upto);
    if bounds.rules.checkpoint_compared && bounds.rules.pin_holds == PinHolds::Base {
        first.checkpoint >= record.floor
    } else {
        whole >= record.floor
    }
}

fn put_record(bounds: &Bounds, state: &mut State, steward: u8) -> Option<()> {
    let of = *state.stewards.get(usize::from(steward))?;
    let lsn = of.base.iter().map(|link| link.upto).max()?;
    let record = Record {
        version: 0,
        kind: Kind::Live,
        timeline: of.child,
        base: of.base,
        floor: lsn,
        intent: NO_TIMELINE,
    };
    if !state.swap(of.child_name, of.child_version, record) {
        return give_up(state, steward);
    }
    bring_forth(state, of.child, lsn)?;
    let next = if bounds.rules.pin_before_floor_read { Next::Nothing } else { Next::PutPinLate };
    advance(state, steward, next)
}

/// A timeline begins, empty but for its base.
pub fn bring_forth(state: &mut State, id: u8, lsn: u8) -> Option<()> {
    let timeline = state.timeline_mut(id)?;
    let life = timeline.life + 1;
    *timeline = Timeline { begun: true, first: lsn, last: lsn, life, ..Timeline::default() };
    Some(())
}

/// The child's state at its base becomes a checkpoint of its own, which its record then names.
fn clone(state: &mut State, name: u8) -> Option<()> {
    state.spent.clones += 1;
    let record = state.record(name);
    let timeline = state.timeline_mut(record.timeline)?;
    timeline.checkpoints |= 1 << timeline.first;
    let floor = timeline.first;
    state.swap(name, record.version, Record { base: Base::default(), floor, ..record });
    Some(())
}
