//! Long runs of the simulation, and single seeds with their trace.
//!
//! ```text
//! simulate log --runs N --seed S [--jobs J] [--json FILE]     N runs, from seed S on
//! simulate log --seed S --trace                               one run, and all that happened in it
//! ```
//!
//! The first failing seeds are printed with what was wrong; the exit code is 1. Ctrl-C ends a long run after the runs under
//! way, and the result says how many were done.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use twill_tests_simulation::log::oracle::Tally;
use twill_tests_simulation::log::sabotage::Sabotage;
use twill_tests_simulation::log::{Report, run};
use twill_types::Door;

const USAGE: &str = "usage: simulate log --seed S (--trace | --runs N [--jobs J] [--json FILE])";

/// How many failing seeds are told before the run gives up.
const FAILURES_TOLD: usize = 20;

struct Arguments {
    runs: u64,
    seed: u64,
    jobs: u64,
    json: Option<PathBuf>,
    trace: bool,
}

fn parse(arguments: &[String]) -> Result<Arguments> {
    let mut parsed = Arguments { runs: 1000, seed: 1, jobs: 2, json: None, trace: false };
    let mut rest = arguments.iter();
    match rest.next().map(String::as_str) {
        Some("log") => {}
        _ => bail!(USAGE),
    }
    while let Some(name) = rest.next() {
        if name == "--trace" {
            parsed.trace = true;
            continue;
        }
        let value = rest.next().with_context(|| format!("{name} without a value; {USAGE}"))?;
        let number = || value.parse().with_context(|| format!("{name} {value}"));
        match name.as_str() {
            "--runs" => parsed.runs = number()?,
            "--seed" => parsed.seed = number()?,
            "--jobs" => parsed.jobs = number()?,
            "--json" => parsed.json = Some(PathBuf::from(value)),
            _ => bail!("unknown option {name}; {USAGE}"),
        }
    }
    Ok(parsed)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments = parse(&arguments)?;
    if arguments.trace { trace(arguments.seed) } else { many(&arguments) }
}

/// One run, with everything that happened.
fn trace(seed: u64) -> Result<()> {
    let report = run(seed, Sabotage::None, true);
    for line in &report.lines {
        println!("{line}");
    }
    println!("seed {seed}: trace {:016x}, {} happenings, {:?}", report.trace.0, report.trace.1, report.tally);
    match report.breach {
        None => Ok(()),
        Some(breach) => bail!("seed {seed}: {breach}"),
    }
}

/// What many runs add up to.
#[derive(Default)]
struct Sum {
    runs: u64,
    tally: Tally,
    points: BTreeMap<&'static str, u64>,
    requests: u64,
    strikes: u64,
    virtual_seconds: u64,
    happenings: u64,
    failures: Vec<(u64, String)>,
}

impl Sum {
    fn add(&mut self, report: Report) {
        self.runs += 1;
        self.tally.add(&report.tally);
        for (point, times) in report.points {
            *self.points.entry(point).or_default() += times;
        }
        self.requests += report.requests;
        self.strikes += report.strikes;
        self.virtual_seconds += report.elapsed.as_secs();
        self.happenings += report.trace.1;
        if let Some(breach) = report.breach {
            self.failures.push((report.seed, breach));
        }
    }
}

fn many(arguments: &Arguments) -> Result<()> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, interrupted.clone())?;
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    let door = <dyn Door>::system();
    let started = door.now();
    let bar = ProgressBar::new(arguments.runs);
    let style = "{elapsed_precise} [{bar:40}] {pos}/{len} runs, {per_sec}, {eta} left {msg}";
    bar.set_style(ProgressStyle::with_template(style)?.progress_chars("=> "));
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| work(arguments, &interrupted, &next, &sum, &bar));
        }
    });
    bar.finish();
    let sum = sum.into_inner().map_err(|_| anyhow::anyhow!("a job panicked"))?;
    let unreached: Vec<_> = twill_commitlog_cas::Point::ALL
        .iter()
        .map(|point| point.name())
        .filter(|name| !sum.points.contains_key(name))
        .collect();
    let result = json!({
        "command": format!(
            "cargo run --release -p twill-tests-simulation --bin simulate -- log --runs {} --seed {}",
            arguments.runs, arguments.seed
        ),
        "interrupted": interrupted.load(Ordering::Relaxed),
        "runs": sum.runs,
        "failures": sum.failures,
        "strikes": sum.strikes,
        "requests": sum.requests,
        "happenings": sum.happenings,
        "virtual_hours": sum.virtual_seconds / 3600,
        "seconds": (door.now() - started).as_secs(),
        "tally": sum.tally,
        "points_reached": sum.points,
        "points_never_reached": unreached,
    });
    let text = serde_json::to_string_pretty(&result)? + "\n";
    if let Some(file) = &arguments.json {
        std::fs::write(file, &text).with_context(|| format!("writing {}", file.display()))?;
    }
    println!("{text}");
    if !sum.failures.is_empty() {
        bail!("{} of {} runs failed", sum.failures.len(), sum.runs);
    }
    Ok(())
}

fn work(
    arguments: &Arguments,
    interrupted: &AtomicBool,
    next: &AtomicU64,
    sum: &Mutex<Sum>,
    bar: &ProgressBar,
) {
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= arguments.runs || interrupted.load(Ordering::Relaxed) {
            return;
        }
        let report = run(arguments.seed.wrapping_add(index), Sabotage::None, false);
        let mut sum = sum.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(breach) = &report.breach {
            bar.suspend(|| eprintln!("FAILED seed {}: {breach}", report.seed));
            bar.set_message(format!("({} failed)", sum.failures.len() + 1));
        }
        sum.add(report);
        if sum.failures.len() >= FAILURES_TOLD {
            interrupted.store(true, Ordering::Relaxed);
        }
        bar.inc(1);
        // Without a terminal there is no bar to be seen.
        if bar.is_hidden() && sum.runs.is_multiple_of(5000) {
            eprintln!("{} runs, {} failed", sum.runs, sum.failures.len());
        }
    }
}
