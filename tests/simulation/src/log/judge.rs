//! The judgement at the end of a run: faults have stopped, everybody is dead, and a fresh process looks at what is left.
//!
//! It must hold that
//! 1. an opener succeeds and commits within `PATIENCE`, unless the timeline was sealed;
//! 2. the history has everything that was ever acknowledged or seen, without a gap, from the horizon on;
//! 3. a follower and a reader see the same;
//! 4. tokens and names of earlier commits are answered truthfully;
//! 5. an open log and a follower that does not poll send nothing for an hour.
//!
//! Crash: none; who crashed before is gone. Refuses: excuses of any kind.

use std::time::Duration;

use twill_commitlog_cas::{Follower, Log, LogError, Opened, Polling, Position};
use twill_types::Lsn;
use twill_types::seeded::Chance;

use super::PATIENCE;
use super::actor::Actor;
use super::reading::{InVain, read_on};
use super::writing::append_surely;
use crate::world::lock;

/// The most virtual time that a judgement takes.
pub const LIMIT: Duration = Duration::from_secs(20_000);

/// Judges a run.
///
/// # Errors
/// What does not hold, unless the oracle has noticed it by itself.
pub async fn judge(actor: Actor) -> Result<(), String> {
    let due = actor.oracle().begin_reading();
    let opened = open_in_time(&actor).await?;
    let log = match opened {
        Some(opened) => {
            let recovered = &opened.recovered;
            actor.oracle().read(recovered.state.floor.lsn, &recovered.commits, "the judge's opening");
            actor.oracle().end_reading(recovered.end.lsn, due, "the judge's opening");
            Some(append_surely(&actor, opened, 3).await?)
        }
        None => None,
    };
    read_everything(&actor).await?;
    if let Some(log) = &log {
        ask_after_all(&actor, log).await?;
    }
    idle(&actor, log.as_ref()).await
}

/// Opens, as often as it takes, but not longer; `None` for a sealed timeline.
async fn open_in_time(actor: &Actor) -> Result<Option<Opened>, String> {
    let started = actor.process.now();
    loop {
        let error = match Log::open(&actor.site).await {
            Ok(opened) => return Ok(Some(opened)),
            Err(LogError::Sealed { .. }) if actor.oracle().may_be_sealed() => return Ok(None),
            Err(error) => error,
        };
        actor.excuse(&error, "the judge's opening");
        if actor.process.now() - started > PATIENCE {
            return Err(format!("not open {} s after the last fault: {error}", PATIENCE.as_secs()));
        }
        actor.process.sleep(Duration::from_millis(100)).await;
    }
}

async fn read_everything(actor: &Actor) -> Result<(), String> {
    let loaded = actor.site.register.load().await.map_err(|error| format!("loading the record: {error}"))?;
    let horizon = loaded.state.horizon;
    let due = actor.oracle().begin_reading();
    let end = read_on(actor, horizon, Lsn::new(u64::MAX - 1), "the judge's reading")
        .await
        .map_err(|error| format!("the judge cannot read what is retained: {error}"))?;
    actor.oracle().end_reading(end.lsn, due, "the judge's reading");
    actor.oracle().check_gapless(horizon.lsn.get());
    follow_from(actor, loaded.state.floor, due).await
}

async fn follow_from(actor: &Actor, floor: Position, due: u64) -> Result<(), String> {
    let mut follower = Follower::new(&actor.site, floor, Polling::Never);
    let mut in_vain = InVain::default();
    loop {
        let before = follower.position();
        match follower.advance().await {
            Ok(commits) => {
                let end = follower.position();
                actor.oracle().read(before.lsn, &commits, "the judge's follower");
                if in_vain.look(actor, end.lsn, due, end == before, "the judge's follower") {
                    return Ok(());
                }
            }
            Err(LogError::Sealed { .. }) if actor.oracle().may_be_sealed() => {
                actor.oracle().end_reading(follower.position().lsn, due, "the judge's follower");
                return Ok(());
            }
            Err(error) => return Err(format!("the judge's follower at commit {}: {error}", before.lsn)),
        }
    }
}

async fn ask_after_all(actor: &Actor, log: &Log) -> Result<(), String> {
    let receipts: Vec<_> = {
        let memories = lock(&actor.cast.memories);
        memories.values().flat_map(|memory| memory.receipts.iter().copied()).collect()
    };
    let mut chance: Chance = actor.process.fork_chance("questions");
    for receipt in receipts {
        if !chance.percent(30) {
            continue;
        }
        let verdict = if chance.percent(50) {
            log.verdict(receipt.id).await
        } else {
            log.find(receipt.token, Lsn::new(receipt.id.lsn.get().saturating_sub(1))).await
        };
        let verdict = verdict.map_err(|error| format!("asking after commit {}: {error}", receipt.id.lsn))?;
        actor.oracle().verdict(&receipt, receipt.id.lsn, verdict, "the judge's question");
    }
    Ok(())
}

/// Idle costs nothing.
async fn idle(actor: &Actor, log: Option<&Log>) -> Result<(), String> {
    let loaded = actor.site.register.load().await.map_err(|error| format!("loading the record: {error}"))?;
    let mut follower = Follower::new(&actor.site, loaded.state.floor, Polling::Never);
    actor.process.spawn(async move { drop(follower.changed().await) });
    let before = actor.cast.bucket.requests(None);
    actor.process.sleep(Duration::from_secs(3600)).await;
    let idly = actor.cast.bucket.requests(None) - before;
    if idly > 0 {
        return Err(format!("{idly} requests in an idle hour"));
    }
    if let Some(log) = log {
        log.close().await.map_err(|error| format!("closing an idle log: {error}"))?;
    }
    Ok(())
}
