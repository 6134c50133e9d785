//! A reader that follows the log and writes nothing.
//!
//! It is not protected from the collector: the slot it wants may be merged away, and what it then meets at that name
//! may be the fence of a stalled opener. It takes a record for the next only if it follows, and looks at the
//! floor from time to time (rule 18).

use crate::log::store::{Position, Step, Store};
use crate::log::{Action, Bounds, State};

/// The reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Follower {
    /// The next place it will read, and the last LSN it has.
    pub at: Position,
    /// Whether it has taken something for the history that was not.
    pub astray: bool,
}

/// What the follower may do.
pub fn actions(bounds: &Bounds, state: &State, actions: &mut Vec<Action>) {
    if !bounds.following {
        return;
    }
    let at = state.follower.at;
    actions.push(Action::Follow);
    let floor = state.store.record.floor;
    if (floor.epoch, floor.seq) > (at.epoch, at.seq) || floor.lsn > at.lsn {
        actions.push(Action::Reopen);
    }
}

/// Takes a step that is the follower's; `None` when it is not.
pub fn step(bounds: &Bounds, state: &mut State, action: Action) -> Option<()> {
    match action {
        Action::Follow => {
            let at = state.follower.at;
            let layout = bounds.rules.layout;
            let step = Store::meaning(layout, at.epoch, state.store.get(bounds, at.epoch, at.seq));
            let checked = bounds.rules.follower_checks || !matches!(step, Step::Commit { .. });
            let follows = if checked { Store::follows(at, step) } else { true };
            if follows {
                if let Step::Commit { writer, .. } = step {
                    state.follower.astray |= state.durable().writer(at.lsn + 1) != writer;
                }
                state.follower.at = Store::after(layout, at, step);
            }
            Some(())
        }
        Action::Reopen => {
            state.follower.at = state.store.record.floor;
            Some(())
        }
        _ => None,
    }
}
