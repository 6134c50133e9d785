//! Sessions that keep house: collecting, merging, pinning. Every process does, at once, and resumes long after.
//!
//! Invariants:
//! 1. A collector raises, then lists the pins, then collects; a pinner puts its pin, then reads the horizon (rule 14). Each is
//!    what the layer above the log does.
//! 2. While a pin holds, its range reads whole, wherever the horizon is.
//!
//! Crash: see [`super::actor`]. Refuses: nothing.

use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use twill_commitlog_cas::merge::merge as merge_log;
use twill_commitlog_cas::retention::{Pinned, Raise, collect as collect_log, raise};
use twill_commitlog_cas::{LogError, Position};
use twill_types::Lsn;
use twill_types::seeded::Chance;

use super::actor::Actor;
use super::reading::read_on;
use super::sabotage::Sabotage;

fn pins() -> Path {
    Path::from("db/pins")
}

/// Raises the horizon to a boundary below the floor, and collects what is below it.
pub(super) async fn collect(actor: &Actor, chance: &mut Chance) {
    let Some(loaded) = actor.load("loading the record").await else { return };
    let floor = loaded.state.floor;
    let candidates: Vec<Position> = actor
        .memory()
        .positions
        .into_iter()
        .filter(|position| position.slot <= floor.slot)
        .chain([floor])
        .collect();
    let horizon = chance.among(&candidates).copied().unwrap_or(floor);
    actor.oracle().raising(None, Some(horizon));
    actor.note("raise horizon", "", horizon.lsn.get());
    match raise(&actor.site, Raise { floor: None, horizon: Some(horizon) }).await {
        Ok(_) => actor.oracle().count(|tally| tally.raises += 1),
        Err(error) => return actor.excuse(&error, "raising the horizon"),
    }
    let Ok(pinned) = list_pins(actor).await else { return };
    let pinned = if actor.cast.sabotage == Sabotage::PinsIgnored { Vec::new() } else { pinned };
    match collect_log(&actor.site, &pinned).await {
        Ok(collected) => {
            actor.note("collected", "", collected.records);
            actor.oracle().count(|tally| tally.collected += collected.records + collected.parts);
        }
        Err(error) => actor.excuse(&error, "collecting"),
    }
}

async fn list_pins(actor: &Actor) -> object_store::Result<Vec<Pinned>> {
    let listed: Vec<_> = actor.client.list(Some(&pins())).try_collect().await?;
    let mut pinned = Vec::new();
    for meta in listed {
        match actor.client.get(&meta.location).await {
            Ok(found) => pinned.extend(decode(&found.bytes().await?)),
            // Unpinned since it was listed.
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(pinned)
}

fn encode(pinned: Pinned) -> Vec<u8> {
    [pinned.first.get().to_le_bytes(), pinned.last.get().to_le_bytes()].concat()
}

fn decode(bytes: &[u8]) -> Option<Pinned> {
    let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    Some(Pinned { first: Lsn::new(number(0)?), last: Lsn::new(number(8)?) })
}

/// Merges from the horizon, or from somewhere remembered.
pub(super) async fn merge(actor: &Actor, chance: &mut Chance) {
    let Some(loaded) = actor.load("loading the record").await else { return };
    let mut from = loaded.state.horizon;
    for _ in 0..chance.range(1..=3_u64) {
        match merge_log(&actor.site, from, &actor.cast.plan.merge).await {
            Ok(merged) => {
                actor.note("merged", "", merged.records);
                actor.oracle().count(|tally| tally.merged += merged.records);
                from = merged.next;
            }
            Err(error) => return actor.excuse(&error, "merging"),
        }
    }
}

/// Pins a range, reads it for a while, and lets it go.
pub(super) async fn pin(actor: &Actor, chance: &mut Chance) {
    let positions = actor.memory().positions;
    let Some(from) = chance.among(&positions).copied() else { return };
    let Some(last) = positions.iter().map(|position| position.lsn).max().filter(|last| *last > from.lsn)
    else {
        return;
    };
    let pinned = Pinned { first: from.lsn.next(), last };
    let mut id = [0; 8];
    actor.process.fill_random(&mut id);
    let path = pins().join(format!("{:016x}", u64::from_le_bytes(id)));
    if actor.client.put(&path, encode(pinned).into()).await.is_ok() {
        read_pinned(actor, chance, from, pinned).await;
    }
    drop(actor.client.delete(&path).await);
}

async fn read_pinned(actor: &Actor, chance: &mut Chance, from: Position, pinned: Pinned) {
    let Some(loaded) = actor.load("loading the record").await else { return };
    if loaded.state.horizon.lsn > from.lsn {
        // Too late: what the pin wants may be gone.
        return;
    }
    actor.note("pinned", "", pinned.first.get());
    for _ in 0..chance.range(1..=4_u64) {
        actor.pause(chance).await;
        let witness = actor.witness("reading pinned commits");
        let mut reader = twill_commitlog_cas::Reader::new(&actor.site, from);
        let before = reader.position().lsn;
        match reader.next(pinned.last).await {
            Ok(commits) if commits.is_empty() => {
                actor.oracle().accuse(format!("{witness}: pinned commits after {before} are gone"));
            }
            Ok(commits) => {
                actor.oracle().read(before, &commits, &witness);
                let rest = read_on(actor, reader.position(), pinned.last, &witness).await;
                if let Err(error @ LogError::Expired { .. }) = rest {
                    actor.oracle().accuse(format!("{witness}: {error}"));
                }
            }
            Err(error @ LogError::Expired { .. }) => {
                actor.oracle().accuse(format!("{witness}: {error}"));
            }
            Err(error) => actor.excuse(&error, "reading pinned commits"),
        }
    }
    actor.oracle().count(|tally| tally.pins += 1);
}
