//! What strikes a run's processes from outside, and at the log's named points.
//!
//! Invariant: the storm ends: [`calm`] takes back every fault, wakes who is stopped, and sets the clocks no further.
//!
//! Crash: it causes them. Refuses: nothing.

use std::sync::Arc;
use std::time::Duration;

use twill_types::seeded::Chance;

use super::actor::Cast;
use super::plan::Strikes;
use crate::process::{ProcessId, Status, Strike};
use crate::store::{Faults, Outage};
use crate::world::World;

fn milliseconds(chance: &mut Chance, most: Duration) -> Duration {
    let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX - 1);
    // Most are short, some are as long as they get.
    let most = if chance.percent(70) { most / 10 } else { most };
    Duration::from_millis(chance.range(0..=most))
}

/// Decides what happens at points, from now on.
pub fn strike_at_points(world: &World, ids: &[ProcessId], strikes: Strikes) {
    for id in ids {
        let fate = move |chance: &mut Chance, _: &'static str| {
            let drawn = chance.below(10_000_u64);
            if drawn < strikes.crash_at_points {
                Strike::Crash { down: milliseconds(chance, Duration::from_secs(10)) }
            } else if drawn < strikes.crash_at_points + strikes.stop_at_points {
                let stopped = milliseconds(chance, strikes.stop_at_most);
                Strike::Stop { stopped, suspended: strikes.suspend && chance.percent(50) }
            } else if drawn < strikes.crash_at_points + strikes.stop_at_points + strikes.delay_at_points {
                Strike::Delay(milliseconds(chance, Duration::from_secs(1)))
            } else {
                Strike::None
            }
        };
        world.set_fate(*id, Some(Arc::new(fate)));
    }
}

/// Strikes from outside until the storm is over.
pub async fn rage(world: World, cast: Cast, ids: Vec<ProcessId>, mut chance: Chance) {
    let strikes = cast.plan.strikes;
    let until = world.now() + cast.plan.storm;
    loop {
        let pause = milliseconds(&mut chance, strikes.every * 4);
        if world.now() + pause >= until {
            world.sleep(until.saturating_sub(world.now())).await;
            return;
        }
        world.sleep(pause).await;
        let id = chance.pick(&ids);
        match chance.weighted(&[
            u64::from(strikes.crash) * 3,
            u64::from(strikes.stop) * 3,
            u64::from(strikes.clocks),
            u64::from(strikes.outages) * 2,
        ]) {
            0 if strikes.crash => {
                world.crash(id);
                let (later, down) = (world.clone(), milliseconds(&mut chance, Duration::from_secs(10)));
                world.after(down, move || later.boot(id));
            }
            1 => {
                world.stop(id, strikes.suspend && chance.percent(50));
                let (later, stopped) = (world.clone(), milliseconds(&mut chance, strikes.stop_at_most));
                world.after(stopped, move || later.resume(id));
            }
            2 => {
                let jump_ms = chance.range(-7_200_000..=7_200_000_i64);
                world.set_skew(id, jump_ms * 1_000_000);
            }
            3 => {
                cast.bucket.set_outage(id, chance.pick(&Outage::KINDS));
                let (bucket, lasts) =
                    (cast.bucket.clone(), milliseconds(&mut chance, Duration::from_secs(60)));
                world.after(lasts, move || bucket.set_outage(id, Outage::None));
            }
            _ => {}
        }
    }
}

/// Ends the storm. Requests that are on their way still arrive, however late.
pub fn calm(world: &World, cast: &Cast, ids: &[ProcessId]) {
    let Faults { latency, timeout, etag_of_content, tells_status, list_page, planted, .. } = cast.plan.faults;
    cast.bucket.set_faults(Faults {
        latency,
        timeout: timeout.max(Duration::from_secs(30)),
        etag_of_content,
        tells_status,
        list_page,
        planted,
        ..Faults::none()
    });
    for id in ids {
        world.set_fate(*id, None);
        cast.bucket.set_outage(*id, Outage::None);
        if world.watch(*id).status == Status::Stopped {
            world.resume(*id);
        }
    }
}
