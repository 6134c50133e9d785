//! The models at length.
//!
//! ```text
//! model log|branch|layers [--NAME VALUE]... [--search depth|breadth] [--threads N] [--seconds N] [--memory-gib N] [--json FILE]
//! model variants
//! ```
//!
//! `NAME` is a field of the model's bounds; `model log` alone says which there are. Memory and time are bounds too:
//! when one is reached the run ends as "bounded", with the number of states so far. `variants` prints the shortest
//! trace of each broken protocol.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use twill_tests_model::check::{Explored, Progress, Search};
use twill_tests_model::variants::{self, Case};
use twill_tests_model::{branch, layers, log};
use twill_types::Door;

/// Reached states within which a variant must be found out.
const SHOWN_WITHIN: usize = 20_000_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = arguments.split_first().context("usage: model log|branch|layers|variants")?;
    if command == "variants" {
        return print_variants();
    }
    let mut flags = Flags::parse(rest)?;
    let case = case(command, &mut flags)?;
    run(case, &flags)
}

/// `--name value` pairs; what was asked for is remembered, so that a misspelt one is refused.
struct Flags {
    given: BTreeMap<String, String>,
    known: Vec<&'static str>,
}

impl Flags {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut given = BTreeMap::new();
        for pair in arguments.chunks(2) {
            match pair {
                [name, value] if name.starts_with("--") => {
                    given.insert(name.trim_start_matches("--").to_owned(), value.clone());
                }
                _ => bail!("expected --name value, not {pair:?}"),
            }
        }
        Ok(Self { given, known: vec!["search", "threads", "seconds", "memory-gib", "json"] })
    }

    fn number(&self, name: &str, default: u64) -> Result<u64> {
        self.given
            .get(name)
            .map_or(Ok(default), |value| value.parse().with_context(|| format!("--{name} {value}")))
    }

    fn small(&mut self, name: &'static str, default: u8) -> Result<u8> {
        self.known.push(name);
        Ok(u8::try_from(self.number(name, default.into())?)?)
    }

    fn finish(&self) -> Result<()> {
        match self.given.keys().find(|name| !self.known.contains(&name.as_str())) {
            Some(name) => bail!("no --{name}; there are: {}", self.known.join(" ")),
            None => Ok(()),
        }
    }
}

fn case(command: &str, flags: &mut Flags) -> Result<Case> {
    let case = match command {
        "log" => {
            let small = log::Bounds::small(log::rules::Rules::protocol());
            Case::Log(log::Bounds {
                rules: small.rules,
                processes: flags.small("processes", small.processes)?,
                window: flags.small("window", small.window)?,
                commits: flags.small("commits", small.commits)?,
                openings: flags.small("openings", small.openings)?,
                late: flags.small("late", small.late)?,
                lost: flags.small("lost", small.lost)?,
                crashes: flags.small("crashes", small.crashes)?,
                floors: flags.small("floors", small.floors)?,
                merging: flags.small("merging", 0)? > 0,
                following: flags.small("following", 0)? > 0,
            })
        }
        "branch" => Case::Branch(branch::Bounds {
            rules: branch::Rules::protocol(),
            commits: flags.small("commits", 2)?,
            checkpoints: flags.small("checkpoints", 1)?,
            creations: flags.small("creations", 1)?,
            deletions: flags.small("deletions", 0)?,
            resets: flags.small("resets", 0)?,
            rounds: flags.small("rounds", 1)?,
            openings: flags.small("openings", 1)?,
            clones: flags.small("clones", 0)?,
        }),
        "layers" => Case::Layers(layers::Bounds {
            rules: layers::Rules::protocol(),
            processes: flags.small("processes", 2)?,
            openings: flags.small("openings", 2)?,
            commits: flags.small("commits", 2)?,
            flushes: flags.small("flushes", 2)?,
            compactions: flags.small("compactions", 0)?,
            sweeps: flags.small("sweeps", 0)?,
        }),
        other => bail!("no model {other}; there are: log branch layers"),
    };
    flags.finish()?;
    Ok(case)
}

/// Resident memory of this process, in MiB.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

fn run(case: Case, flags: &Flags) -> Result<()> {
    let door = <dyn Door>::system();
    let began = door.now();
    let (seconds_max, mib_max) =
        (flags.number("seconds", u64::MAX)?, flags.number("memory-gib", 8)?.saturating_mul(1024));
    let depth_first = flags.given.get("search").is_none_or(|search| search == "depth");
    let threads = usize::try_from(flags.number("threads", 1)?)?;
    let watch = |progress: &Progress| {
        let seconds = door.now().saturating_sub(began).as_secs();
        let mib = resident_mib();
        if seconds.is_multiple_of(10) {
            println!("{seconds} s, {mib} MiB: {progress:?}");
        }
        seconds > seconds_max || mib > mib_max
    };
    let search = Search { depth_first, threads, watch: Some(&watch), ..Search::default() };
    println!("{case:#?}");
    let explored = case.explore(&search);
    let seconds = door.now().saturating_sub(began);
    report(case, &explored, depth_first, seconds, flags)?;
    // The threads of an exploration that was given up are still at it: ending the process is what ends them.
    std::process::exit(i32::from(!explored.counterexamples.is_empty()));
}

fn report(case: Case, explored: &Explored, depth_first: bool, took: Duration, flags: &Flags) -> Result<()> {
    for found in &explored.counterexamples {
        println!("{found}");
    }
    let result = json!({
        "bounds": format!("{case:?}"),
        "search": if depth_first { "depth first" } else { "breadth first" },
        "outcome": match (explored.counterexamples.is_empty(), explored.exhausted) {
            (false, _) => "BROKEN",
            (true, true) => "exhausted, clean",
            (true, false) => "bounded, clean",
        },
        "states": explored.progress.states,
        "reached": explored.progress.reached,
        "depth": explored.progress.depth,
        "never": explored.never,
        "seconds": took.as_secs(),
        "resident_mib": resident_mib(),
    });
    let text = serde_json::to_string_pretty(&result)? + "\n";
    print!("{text}");
    if let Some(file) = flags.given.get("json") {
        std::fs::write(file, text).with_context(|| format!("writing {file}"))?;
    }
    Ok(())
}

fn print_variants() -> Result<()> {
    let mut missed = 0;
    for variant in variants::all() {
        println!("rule {}: {}", variant.rule, variant.name);
        match variant.find(SHOWN_WITHIN) {
            Some((found, Progress { states, reached, .. })) => {
                println!("{states} states, {reached} reached\n{found}\n");
            }
            None => {
                println!("NOT FOUND OUT\n");
                missed += 1;
            }
        }
    }
    if missed > 0 {
        bail!("{missed} variants were not found out");
    }
    Ok(())
}
