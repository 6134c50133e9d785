//! Garbage collection: raise the floor, merge, delete.
//!
//! Invariants:
//! 1. The floor is a place of the durable walk, and only ever goes up (rule 9).
//! 2. A slot is deleted only below the floor, never a fence, and where merged objects exist only after one holds it.

use crate::log::store::Object;
use crate::log::{Action, Bounds, State};

/// What the collector may do.
pub fn actions(bounds: &Bounds, state: &State, actions: &mut Vec<Action>) {
    if bounds.floors == 0 {
        return;
    }
    let places = state.store.places(bounds);
    if state.spent.floors < bounds.floors {
        actions.extend(places.iter().map(|to| Action::RaiseFloor { to: *to }));
    }
    let end = places.last().copied().unwrap_or(state.store.record.floor);
    for (epoch, seq, object) in state.store.objects(bounds) {
        let below = if bounds.rules.floor_before_delete {
            state.store.below_floor(bounds, epoch, seq)
        } else {
            (epoch, seq) < (end.epoch, end.seq)
        };
        if !below {
            continue;
        }
        match object {
            Object::Absent => {}
            Object::Fence { .. } if bounds.rules.fences_kept => {}
            Object::Fence { .. } => actions.push(Action::Delete { epoch, seq }),
            Object::Record { lsn, writer, .. } => {
                let merged = state.store.merged & (1 << lsn) != 0;
                if bounds.merging && !merged && state.durable().writer(lsn) == writer {
                    actions.push(Action::Merge { lsn });
                }
                if !bounds.merging || merged || !bounds.rules.merged_before_delete {
                    actions.push(Action::Delete { epoch, seq });
                }
            }
        }
    }
}

/// Takes a step that is the collector's; `None` when it is not.
pub fn step(bounds: &Bounds, state: &mut State, action: Action) -> Option<()> {
    match action {
        Action::RaiseFloor { to } => {
            state.spent.floors += 1;
            state.store.record.floor = to;
            state.store.record.etag += 1;
            state.store.record.stamp = 0;
            Some(())
        }
        Action::Merge { lsn } => {
            state.store.merged |= 1 << lsn;
            Some(())
        }
        Action::Delete { epoch, seq } => {
            state.store.delete(bounds, epoch, seq);
            Some(())
        }
        _ => None,
    }
}
