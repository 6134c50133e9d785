//! Sessions that read: followers, readers of all that is retained, recoveries.
//!
//! Invariants: whoever starts to read comes at least as far as had been acknowledged when they started; and sees one history.
//!
//! Crash: see [`super::actor`]. Refuses: nothing.

use std::time::Duration;

use futures_util::future::{self, Either};
use twill_commitlog_cas::{Follower, LogError, Polling, Position, Reader};
use twill_types::Lsn;
use twill_types::seeded::Chance;

use super::actor::Actor;

/// After so many looks in vain a follower has found out that it was left behind, if it was.
pub(super) const LOOKS_IN_VAIN: u32 = 10;

/// Looks in vain in a row, and what the history was when the first of them began.
#[derive(Default)]
pub(super) struct InVain {
    looks: u32,
    due: u64,
}

impl InVain {
    /// One look that gave nothing, begun when the history was `due` long; or one that gave something. True when the
    /// follower must be at the end.
    pub(super) fn look(&mut self, actor: &Actor, end: Lsn, due: u64, in_vain: bool, witness: &str) -> bool {
        if !in_vain {
            self.looks = 0;
            return false;
        }
        if self.looks == 0 {
            self.due = due;
        }
        self.looks += 1;
        let enough = self.looks >= LOOKS_IN_VAIN;
        if enough {
            actor.oracle().end_reading(end, self.due, witness);
            self.looks = 0;
        }
        enough
    }
}

/// Follows for a while, from the floor or from somewhere remembered.
pub(super) async fn follow(actor: &Actor, chance: &mut Chance) {
    let Some(from) = starting_point(actor, chance).await else { return };
    let every = Duration::from_millis(chance.pick(&[50, 500]));
    let mut follower = Follower::new(&actor.site, from, Polling::Every(every));
    let mut in_vain = InVain::default();
    for _ in 0..chance.range(1..=24_u64) {
        if actor.cast.curtain() {
            return;
        }
        let (before, due) = (follower.position(), actor.oracle().begin_reading());
        let witness = actor.witness("following");
        let looked = chance.percent(70);
        let outcome =
            if looked { follower.advance().await } else { wait_for_news(actor, &mut follower).await };
        match outcome {
            Ok(commits) => {
                let end = follower.position();
                actor.note("followed", "", end.lsn.get());
                actor.oracle().read(before.lsn, &commits, &witness);
                in_vain.look(actor, end.lsn, due, looked && end == before, &witness);
                actor.remember_position(end);
            }
            Err(error @ (LogError::Expired { .. } | LogError::Sealed { .. })) => {
                return actor.excuse(&error, "following");
            }
            Err(error) => actor.excuse(&error, "following"),
        }
        if chance.percent(50) {
            actor.pause(chance).await;
        }
    }
}

/// Waits for the follower's own polling, but not for ever.
async fn wait_for_news(
    actor: &Actor,
    follower: &mut Follower,
) -> Result<Vec<twill_commitlog_cas::Commit>, LogError> {
    let patience = Box::pin(actor.process.sleep(Duration::from_secs(3)));
    match future::select(Box::pin(follower.changed()), patience).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(_) => Ok(Vec::new()),
    }
}

/// Where to begin: at the floor, at the horizon, or at a place seen long ago.
async fn starting_point(actor: &Actor, chance: &mut Chance) -> Option<Position> {
    let remembered = actor.memory().positions;
    if chance.percent(40)
        && let Some(position) = chance.among(&remembered)
    {
        return Some(*position);
    }
    let loaded = actor.load("loading the record").await?;
    Some(if chance.percent(50) { loaded.state.floor } else { loaded.state.horizon })
}

/// Reads all that is retained, or from somewhere remembered.
pub(super) async fn read(actor: &Actor, chance: &mut Chance) {
    let due = actor.oracle().begin_reading();
    let Some(from) = starting_point(actor, chance).await else { return };
    let witness = actor.witness("reading");
    if let Ok(end) = read_on(actor, from, Lsn::new(u64::MAX - 1), &witness).await {
        actor.oracle().end_reading(end.lsn, due, &witness);
        actor.note("read", "", end.lsn.get());
    }
}

/// Reads from `from` to the end, or to commit `to`; the boundary it came to, or the error, which the oracle has seen.
pub(super) async fn read_on(
    actor: &Actor,
    from: Position,
    to: Lsn,
    witness: &str,
) -> Result<Position, LogError> {
    let mut reader = Reader::new(&actor.site, from);
    loop {
        let before = reader.position();
        match reader.next(to).await {
            Ok(commits) if commits.is_empty() => return Ok(reader.position()),
            Ok(commits) => {
                let end = commits.last().map_or(before.lsn, |commit| commit.lsn);
                actor.oracle().read(before.lsn, &commits, witness);
                if end >= to {
                    return Ok(reader.position());
                }
            }
            Err(error) => {
                actor.excuse(&error, "reading");
                return Err(error);
            }
        }
    }
}

/// Recovers from the floor, writing nothing.
pub(super) async fn recover(actor: &Actor, _: &mut Chance) {
    let due = actor.oracle().begin_reading();
    let witness = actor.witness("recovering");
    match twill_commitlog_cas::recover(&actor.site).await {
        Ok(recovered) => {
            actor.note("recovered", "", recovered.end.lsn.get());
            actor.oracle().read(recovered.state.floor.lsn, &recovered.commits, &witness);
            actor.oracle().end_reading(recovered.end.lsn, due, &witness);
            if recovered.seal.is_some() && !actor.oracle().may_be_sealed() {
                actor.oracle().accuse(format!("{witness}: a seal that nobody sent"));
            }
            actor.remember_position(recovered.end);
        }
        Err(error) => actor.excuse(&error, "recovering"),
    }
}
