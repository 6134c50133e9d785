//! Deleting a branch and resetting one: seal the log, then change the record.
//!
//! Invariants:
//! 1. The seal is in the log before the record stops naming the timeline (rule 15).
//! 2. A deletion deletes bytes only when a LIST after its tombstone shows no pin that needs them.
//! 3. A reset that was sealed can be finished by anyone who reads the seal: its pin was claimed before.

use crate::branch::creating::{advance, begin, bring_forth, give_up, new_timeline, put_pin, resolve, stands};
use crate::branch::{Action, Bounds, Kind, NO_TIMELINE, Next, Pin, Record, State, Steward};

/// What may be begun; the steps after are the stewards' own.
pub fn actions(bounds: &Bounds, state: &State, actions: &mut Vec<Action>) {
    if state.stewards.iter().all(|steward| steward.next != Next::Nothing) {
        return;
    }
    for (name, record) in (0..).zip(&state.records) {
        if record.kind != Kind::Live {
            continue;
        }
        let listed_early = !bounds.rules.pins_listed_after_tombstone;
        if state.spent.deletions < bounds.deletions && !(listed_early && is_pinned(state, record.timeline)) {
            actions.push(Action::BeginDelete { name });
        }
        let timeline = state.timeline(record.timeline);
        if state.spent.resets < bounds.resets
            && record.intent == NO_TIMELINE
            && new_timeline(bounds, state).is_some()
        {
            let lsns = timeline.first.max(1)..=timeline.last;
            let resolvable = lsns.filter(|lsn| resolve(state, record, *lsn).is_some());
            actions.extend(resolvable.map(|lsn| Action::BeginReset { name, lsn }));
        }
    }
}

/// Whether another timeline's pin needs bytes of this one.
#[must_use]
pub fn is_pinned(state: &State, timeline: u8) -> bool {
    let needs = |pin: &Pin| pin.base.iter().any(|link| link.upto != 0 && link.timeline == timeline);
    state.pins.iter().any(|pin| pin.present && needs(pin))
}

/// Takes a step of a deleter or resetter; `None` when it is another's.
pub fn step(bounds: &Bounds, state: &mut State, action: Action) -> Option<()> {
    match action {
        Action::BeginDelete { name } => {
            state.spent.deletions += 1;
            let record = state.record(name);
            let next = if bounds.rules.sealed_first { Next::SealForDelete } else { Next::PutTombstone };
            let (timeline, version) = (record.timeline, record.version);
            let steward = Steward { next, name, timeline, version, child: timeline, ..Steward::default() };
            begin(state, steward)
        }
        Action::BeginReset { name, lsn } => {
            state.spent.resets += 1;
            let record = state.record(name);
            let steward = Steward {
                next: Next::PutResetPin,
                name,
                timeline: record.timeline,
                version: record.version,
                child: new_timeline(bounds, state)?,
                child_name: name,
                child_version: 0,
                base: resolve(state, &record, lsn)?,
            };
            begin(state, steward)
        }
        Action::Go { steward, next } => go(bounds, state, steward, next),
        _ => None,
    }
}

fn go(bounds: &Bounds, state: &mut State, steward: u8, next: Next) -> Option<()> {
    let of = *state.stewards.get(usize::from(steward))?;
    let sealed_first = bounds.rules.sealed_first;
    match next {
        Next::SealForDelete => {
            let timeline = state.timeline_mut(of.timeline)?;
            if timeline.redirect.is_some() {
                return advance(state, steward, Next::Nothing);
            }
            timeline.sealed = true;
            advance(state, steward, if sealed_first { Next::PutTombstone } else { Next::ListPins })
        }
        Next::PutTombstone => {
            let then = match (sealed_first, bounds.rules.pins_listed_after_tombstone) {
                (false, _) => Next::SealForDelete,
                (true, true) => Next::ListPins,
                (true, false) => Next::Purge,
            };
            change(state, steward, |old| Record { kind: Kind::Tombstone, intent: NO_TIMELINE, ..old }, then)
        }
        Next::ListPins if is_pinned(state, of.timeline) => advance(state, steward, Next::Nothing),
        Next::ListPins => advance(state, steward, Next::Purge),
        Next::Purge => {
            let timeline = state.timeline_mut(of.timeline)?;
            timeline.slots = 0;
            timeline.checkpoints = 0;
            timeline.sealed &= bounds.rules.seals_kept;
            *state.pins.get_mut(usize::from(of.timeline))? = Pin::default();
            advance(state, steward, Next::Nothing)
        }
        Next::PutResetPin => {
            put_pin(bounds, state, &of, of.name)?;
            let claims = bounds.rules.reset_claimed_before_seal;
            let then = if sealed_first { Next::SealForReset } else { Next::PutReset };
            advance(state, steward, if claims { Next::PutIntent } else { then })
        }
        Next::PutIntent => {
            let record = state.record(of.name);
            if state.swap(of.name, of.version, Record { intent: of.child, ..record }) {
                state.stewards.get_mut(usize::from(steward))?.version += 1;
                advance(state, steward, if sealed_first { Next::SealForReset } else { Next::PutReset })
            } else {
                give_up(state, steward)
            }
        }
        Next::SealForReset => seal_for_reset(bounds, state, steward),
        Next::PutReset => {
            let lsn = of.base.iter().map(|link| link.upto).max()?;
            if !sealed_first {
                bring_forth(state, of.child, lsn)?;
            }
            let new = |old: Record| Record {
                timeline: of.child,
                base: of.base,
                floor: lsn,
                intent: NO_TIMELINE,
                ..old
            };
            change(state, steward, new, if sealed_first { Next::Nothing } else { Next::SealForReset })
        }
        Next::Nothing | Next::PutPin | Next::ReadParent | Next::PutRecord | Next::PutPinLate => None,
    }
}

fn seal_for_reset(bounds: &Bounds, state: &mut State, steward: u8) -> Option<()> {
    let of = *state.stewards.get(usize::from(steward))?;
    let lsn = of.base.iter().map(|link| link.upto).max()?;
    let unclaimed = !bounds.rules.reset_claimed_before_seal;
    if unclaimed && bounds.rules.sealed_first && !stands(bounds, &state.record(of.name), &of) {
        return give_up(state, steward);
    }
    let timeline = state.timeline_mut(of.timeline)?;
    if timeline.sealed {
        return advance(state, steward, Next::Nothing);
    }
    timeline.sealed = true;
    timeline.redirect = Some((of.child, of.base));
    if bounds.rules.sealed_first {
        bring_forth(state, of.child, lsn)?;
    }
    advance(state, steward, if bounds.rules.sealed_first { Next::PutReset } else { Next::Nothing })
}

/// Conditional PUT of a steward's record. On 412 it reads the record, and ends if that names another timeline.
fn change(state: &mut State, steward: u8, new: impl Fn(Record) -> Record, then: Next) -> Option<()> {
    let of = *state.stewards.get(usize::from(steward))?;
    let old = state.record(of.name);
    if state.swap(of.name, of.version, new(old)) {
        return advance(state, steward, then);
    }
    if old.kind == Kind::Live && old.timeline == of.timeline {
        state.stewards.get_mut(usize::from(steward))?.version = old.version;
        return Some(());
    }
    advance(state, steward, Next::Nothing)
}
