//! `cargo run --release -p twill-bench -- log`: the commit log beside raw conditional PUTs, in one run, over real HTTP.
//!
//! Two experiments, on a test server whose latencies reproduce what stores publish:
//! 1. `single`: one appender; a raw conditional PUT and an append of the same payload take turns.
//! 2. `group`: 1 to 256 appenders, each of which waits for its commit before it appends the next; before each, raw
//!    conditional PUTs one after another.
//!
//! Invariants:
//! 1. Both sides use the same client, the same server, the same latencies drawn from one seed, and take turns.
//! 2. The server runs on threads of its own in this process. A loop that sends nothing but requests shows what it and
//!    the client can do here; figures near that are marked.
//! 3. Requests are counted by the server, not by who sends them.
//!
//! Refuses: to judge. Bars are reported in the page; a missed bar is no failure of the run.

mod group;
mod page;
mod place;
mod single;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::machine::Host;
use crate::report::replace;
use crate::stage::Stage;

use group::Group;
use single::Single;

/// Name and version of the JSON.
const FORMAT: &str = "twill-bench log 1";

/// The store's latencies are drawn from it.
const SEED: u64 = 20_261_122;

/// Payload of each commit, incompressible: a page.
const PAYLOAD_BYTES: usize = 4096;

/// How much to measure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    /// Of what each profile says, one part in so many.
    divisor: usize,
}

impl Amount {
    pub(crate) const FULL: Self = Self { divisor: 1 };
    pub(crate) const QUICK: Self = Self { divisor: 20 };

    fn of(self, whole: usize) -> usize {
        (whole / self.divisor).max(1)
    }
}

/// A store to measure on.
#[derive(Clone, Copy, Debug)]
struct Profile {
    /// As `twill_s3_server::Latency` names it.
    name: &'static str,
    /// What it stands for.
    title: &'static str,
    /// Pairs of one PUT and one append, of each of the lanes.
    pairs: usize,
    /// Appenders of the group experiment.
    appenders: &'static [usize],
    /// Milliseconds of each of its measurements.
    group_ms: usize,
    /// At most so many times the PUT's median, for 64 appenders.
    group_p50_max: Option<f64>,
}

const PROFILES: &[Profile] = &[
    Profile {
        name: "constant-25",
        title: "constant 25 ms",
        pairs: 250,
        appenders: &[1, 2, 4, 8, 16, 32, 64, 128, 256],
        group_ms: 2500,
        group_p50_max: Some(1.15),
    },
    Profile {
        name: "s3-standard",
        title: "S3 Standard, same region",
        pairs: 250,
        appenders: &[1, 2, 4, 8, 16, 32, 64, 128, 256],
        group_ms: 4000,
        group_p50_max: Some(1.45),
    },
    Profile {
        name: "s3-standard-cross-region",
        title: "S3 Standard, another region",
        pairs: 150,
        appenders: &[1, 16, 64, 256],
        group_ms: 5000,
        group_p50_max: None,
    },
    Profile {
        name: "s3-express",
        title: "S3 Express, same zone",
        pairs: 400,
        appenders: &[1, 4, 16, 64, 256],
        group_ms: 3000,
        group_p50_max: None,
    },
];

/// Everything a run found.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Results {
    format: String,
    version: String,
    /// A smoke run: no number means anything.
    quick: bool,
    finished_unix_s: u64,
    seed: u64,
    payload_bytes: usize,
    host: Host,
    /// Requests each second that client and server manage here, with no latency: see [`place::ceiling`].
    requests_per_s: f64,
    single: Vec<Single>,
    group: Vec<Group>,
}

/// Percentiles of times, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Times {
    count: usize,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
}

impl Times {
    fn of(mut times: Vec<std::time::Duration>) -> Self {
        times.sort_unstable();
        let at = |part| crate::rounds::percentile(&times, part) / 1e3;
        Self { count: times.len(), p50_ms: at(0.5), p90_ms: at(0.9), p99_ms: at(0.99), p999_ms: at(0.999) }
    }
}

/// Runs both experiments on every profile whose name contains `only`, and writes the results to `out`.
pub(crate) fn run(stage: &Stage, amount: Amount, only: Option<&str>, out: Option<&Path>) -> Result<()> {
    let host = Host::describe()?;
    let wanted = |profile: &&Profile| only.is_none_or(|part| profile.name.contains(part));
    let profiles: Vec<&Profile> = PROFILES.iter().filter(wanted).collect();
    ensure!(!profiles.is_empty(), "no profile is called so");
    let requests_per_s = place::ceiling(stage, amount)?;
    let (mut single, mut group) = (Vec::new(), Vec::new());
    for profile in profiles {
        eprintln!("measuring: {}, one appender", profile.title);
        single.push(single::measure(stage, profile, amount)?);
        eprintln!("measuring: {}, many appenders", profile.title);
        group.push(group::measure(stage, profile, amount)?);
    }
    let finished = stage.door.wall_now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let results = Results {
        format: FORMAT.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        quick: amount.divisor > 1,
        finished_unix_s: finished.as_secs(),
        seed: SEED,
        payload_bytes: PAYLOAD_BYTES,
        host: host.finish(),
        requests_per_s,
        single,
        group,
    };
    print!("{}", page::tables(&results));
    let Some(out) = out else { return Ok(()) };
    write(out, &results)
}

fn write(directory: &Path, results: &Results) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    let mut json = serde_json::to_string_pretty(results).context("writing JSON")?;
    json.push('\n');
    replace(directory, "log.json", &json)?;
    for (name, svg) in page::plots(results)? {
        replace(directory, name, &svg)?;
    }
    replace(directory, "log.md", &page::page(results))?;
    eprintln!("written: {}", directory.join("log.md").display());
    Ok(())
}
