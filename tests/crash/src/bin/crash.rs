//! The crash tests at length, and the processes that they kill.
//!
//! ```text
//! crash kill --kills N   --seed S [--jobs J] [--directory D] [--json FILE]
//! crash sim  --crashes N --seed S [--json FILE]
//! ```
//!
//! The commands `worker` and `read` are what `kill` starts and kills.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use serde_json::json;
use twill_tests_crash::campaign::{self, Campaign, Tally};
use twill_tests_crash::{sim, worker};
use twill_types::Door;
use twill_vfs_local::FAILPOINTS;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = arguments.split_first().context("usage: crash kill --kills N --seed S")?;
    match (command.as_str(), rest) {
        ("kill", _) => kill(&Flags::parse(rest)?),
        ("sim", _) => simulate(&Flags::parse(rest)?),
        ("worker", _) => worker::run(&worker::Options::parse(rest)?),
        ("read", [url, end]) => campaign::read(url, end),
        _ => bail!("unknown command {command}; try: crash kill --kills N --seed S"),
    }
}

/// `--name value` pairs.
struct Flags(BTreeMap<String, String>);

impl Flags {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut flags = BTreeMap::new();
        for pair in arguments.chunks(2) {
            match pair {
                [name, value] if name.starts_with("--") => {
                    flags.insert(name.trim_start_matches("--").to_owned(), value.clone());
                }
                _ => bail!("expected --name value, not {pair:?}"),
            }
        }
        Ok(Self(flags))
    }

    fn number(&self, name: &str, default: u64) -> Result<u64> {
        self.0
            .get(name)
            .map_or(Ok(default), |value| value.parse().with_context(|| format!("--{name} {value}")))
    }

    fn path(&self, name: &str) -> Option<&Path> {
        self.0.get(name).map(Path::new)
    }
}

/// Where files go that a failure leaves to look at.
fn scratch_directory(flags: &Flags, name: &str) -> Result<PathBuf> {
    let parent = flags.path("directory").map_or_else(std::env::temp_dir, Path::to_owned);
    let directory =
        tempfile::Builder::new().prefix(name).tempdir_in(&parent).context("making a directory")?;
    Ok(directory.keep())
}

fn write_json(flags: &Flags, default: &str, result: &serde_json::Value) -> Result<()> {
    let file = flags.path("json").unwrap_or(Path::new(default));
    std::fs::write(file, serde_json::to_string_pretty(result)? + "\n")
        .with_context(|| format!("writing {}", file.display()))?;
    println!("{}", serde_json::to_string_pretty(result)?);
    println!("written to {}", file.display());
    Ok(())
}

fn kill(flags: &Flags) -> Result<()> {
    let (wanted, seed, jobs) =
        (flags.number("kills", 1000)?, flags.number("seed", 1)?, flags.number("jobs", 2)?);
    let program = std::env::current_exe().context("finding this program")?;
    let directory = scratch_directory(flags, "crash-")?;
    let door = <dyn Door>::system();
    let started = door.now();
    let (kills, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let results = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for job in 0..jobs {
            let (program, directory, kills, failed, results, door) =
                (&program, directory.join(job.to_string()), &kills, &failed, &results, &door);
            scope.spawn(move || {
                let outcome = std::fs::create_dir_all(&directory).map_err(Into::into).and_then(|()| {
                    let mut campaign = Campaign::new(program, &directory, seed.wrapping_mul(1000) + job);
                    let mut before = 0;
                    let outcome = campaign.run(|tally| {
                        let all =
                            kills.fetch_add(tally.kills - before, Ordering::AcqRel) + tally.kills - before;
                        if all / 50 > (all - (tally.kills - before)) / 50 {
                            println!("{all} kills, {} s", (door.now() - started).as_secs());
                        }
                        before = tally.kills;
                        all >= wanted || failed.load(Ordering::Acquire) > 0
                    });
                    results
                        .lock()
                        .map_err(|_| anyhow::anyhow!("a job panicked"))?
                        .push(campaign.tally.clone());
                    outcome
                });
                if let Err(error) = outcome {
                    failed.fetch_add(1, Ordering::AcqRel);
                    eprintln!("FAILED: {error:#}");
                }
            });
        }
    });
    let tallies = results.into_inner().map_err(|_| anyhow::anyhow!("a job panicked"))?;
    let total = sum(&tallies);
    let unreached: Vec<_> =
        FAILPOINTS.iter().filter(|name| !total.kills_at_failpoint.contains_key(**name)).collect();
    let failures = failed.load(Ordering::Acquire);
    let result = json!({
        "command": format!("crash kill --kills {wanted} --seed {seed} --jobs {jobs}"),
        "failures": failures,
        "seconds": (door.now() - started).as_secs(),
        "failpoints_never_reached": unreached,
        "tally": total,
    });
    write_json(flags, "crash-kill.json", &result)?;
    if failures > 0 {
        bail!("{failures} jobs failed; their files are in {}", directory.display());
    }
    std::fs::remove_dir_all(&directory).context("removing the files")
}

fn simulate(flags: &Flags) -> Result<()> {
    let (crashes, seed) = (flags.number("crashes", 10_000)?, flags.number("seed", 1)?);
    let door = <dyn Door>::system();
    let started = door.now();
    let mut told = 0;
    let outcome = sim::run(seed, crashes, |tally| {
        if tally.crashes / 500 > told {
            told = tally.crashes / 500;
            println!("{} crashes, {} s", tally.crashes, (door.now() - started).as_secs());
        }
    });
    let result = json!({
        "command": format!("crash sim --crashes {crashes} --seed {seed}"),
        "failure": outcome.as_ref().err().map(|error| format!("{error:#}")),
        "seconds": (door.now() - started).as_secs(),
        "tally": outcome.as_ref().ok(),
    });
    write_json(flags, "crash-sim.json", &result)?;
    outcome.map(drop)
}

fn sum(tallies: &[Tally]) -> Tally {
    let mut total = Tally::default();
    for tally in tallies {
        total.kills += tally.kills;
        total.kills_at_random += tally.kills_at_random;
        total.kills_after_recovery += tally.kills_after_recovery;
        total.clean_closes += tally.clean_closes;
        total.databases += tally.databases;
        total.acknowledged += tally.acknowledged;
        total.found_unacknowledged += tally.found_unacknowledged;
        total.readings += tally.readings;
        total.stock_readings += tally.stock_readings;
        total.stock_writes += tally.stock_writes;
        for (name, count) in &tally.kills_at_failpoint {
            *total.kills_at_failpoint.entry(name.clone()).or_default() += count;
        }
        for (name, count) in &tally.synchronous {
            *total.synchronous.entry(name.clone()).or_default() += count;
        }
    }
    total
}
