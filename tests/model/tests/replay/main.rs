//! Random walks through the model of the log, taken step by step by the real log.
//!
//! After each step the slots, the floor, each writer's epoch and base, and what is acknowledged must be what the
//! model says; at the end what a fresh reader gets must be the model's history. `REPLAY_TRACES` and `REPLAY_SEED`
//! choose more traces than the few hundred of an ordinary run.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    clippy::too_many_lines,
    missing_docs,
    unreachable_pub,
    reason = "test code"
)]

mod bucket;
mod driver;

use std::collections::BTreeMap;

use stateright::Model;
use twill_tests_model::log::rules::{Ambiguous, Rules, Swap412};
use twill_tests_model::log::{Action, Bounds, LogModel, State};
use twill_types::seeded::Chance;

use crate::driver::Real;

const STEPS: usize = 60;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect(name))
}

fn bounds(chance: &mut Chance, rules: Rules) -> Bounds {
    Bounds {
        processes: chance.range(1..=3),
        window: chance.range(1..=3),
        commits: 3,
        openings: chance.range(2..=4),
        late: chance.range(0..=2),
        lost: chance.range(0..=2),
        crashes: chance.range(0..=1),
        floors: chance.range(0..=2),
        ..Bounds::small(rules)
    }
}

fn kind(action: Action) -> String {
    let text = format!("{action:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}

/// Walks once by these rules; the kinds of the steps that were taken, or where model and log part.
fn walk(seed: u64, rules: Rules) -> Result<Vec<String>, String> {
    let mut chance = Chance::from_seed(seed);
    let bounds = bounds(&mut chance, rules);
    let model = LogModel { bounds };
    let (mut state, mut real) = (State::new(), Real::new(bounds));
    let mut taken: Vec<Action> = Vec::new();
    for _ in 0..STEPS {
        let mut actions = Vec::new();
        model.actions(&state, &mut actions);
        let mut next: Vec<(Action, State)> = actions
            .into_iter()
            .filter(|action| real.can(*action))
            .filter_map(|action| Some((action, model.next_state(&state, action)?)))
            .collect();
        // A fault in four steps at most, so that walks get somewhere.
        let fault = |(action, _): &(Action, State)| {
            let name = kind(*action);
            name.ends_with("Lost") || name.ends_with("Delayed") || name == "Crash" || name == "ReadRecord"
        };
        if !chance.one_in(4) && next.iter().any(|step| !fault(step)) {
            next.retain(|step| !fault(step));
        }
        let Some((action, after)) = chance.among(&next).copied() else { break };
        taken.push(action);
        if let Err(difference) = real.take(action, &state, &after) {
            let steps: Vec<String> = taken.iter().map(|step| format!("  {step:?}")).collect();
            let steps = steps.join("\n");
            return Err(format!(
                "seed {seed}, {bounds:?}\n{steps}\nbefore: {state:?}\nafter: {after:?}\n{difference}"
            ));
        }
        state = after;
        if state.broken.any() {
            return Err(format!("seed {seed}: the model itself is broken: {:?}", state.broken));
        }
    }
    let history = state.store.history(&bounds, &state.durable());
    let (floor, writers) = real.history();
    let expected: Vec<u8> =
        (state.store.record.floor.lsn + 1..=history.last).map(|lsn| history.writer(lsn)).collect();
    if (floor, &writers) != (u64::from(state.store.record.floor.lsn), &expected) {
        return Err(format!(
            "seed {seed}: {taken:?}: a reader gets {writers:?} after {floor}, not {expected:?}"
        ));
    }
    Ok(taken.into_iter().map(kind).collect())
}

#[test]
fn the_real_log_takes_the_models_steps() {
    let (traces, first) = (number("REPLAY_TRACES", 500), number("REPLAY_SEED", 1));
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for seed in first..first + traces {
        for step in walk(seed, Rules::protocol()).unwrap_or_else(|difference| panic!("{difference}")) {
            *counts.entry(step).or_default() += 1;
        }
    }
    println!("{traces} traces from seed {first}: {counts:?}");
    let all = [
        "ReadRecord",
        "List",
        "Get",
        "Fence",
        "FenceReplyLost",
        "FenceDelayed",
        "SwapRecord",
        "SwapReplyLost",
        "SwapDelayed",
        "Append",
        "Put",
        "PutReplyLost",
        "PutDelayed",
        "Arrives",
        "Crash",
        "RaiseFloor",
        "Delete",
    ];
    if traces >= 500 {
        for step in all {
            assert!(counts.contains_key(step), "no trace had a {step}");
        }
    }
}

/// The comparison can fail: the log does not do what these models do.
#[test]
fn other_rules_are_told_from_the_logs() {
    let sound = Rules::protocol();
    let others = [
        Rules { ambiguous: Ambiguous::NextSlot, ..sound },
        Rules { acknowledged_in_order: false, ..sound },
        Rules { swap_412: Swap412::TriesAgain, ..sound },
    ];
    for rules in others {
        let parts = |seed| {
            let difference = walk(seed, rules).err()?;
            (!difference.contains("the model itself is broken")).then_some(difference)
        };
        assert!((1..500).find_map(parts).is_some(), "no walk showed a difference: {rules:?}");
    }
}
