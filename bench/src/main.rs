//! `cargo run --release -p twill-bench -- file`: TwillDB on `file://` beside plain libSQL, in one run on one machine.
//! `... -- log`: the commit log beside raw conditional PUTs; what is special to it is in `log`.
//!
//! The rooms: `arguments` is the command line, `machine` what it runs on, `side` the two that are compared, `lines` what
//! is measured, `rounds` the order of measuring and the statistics, `report` the JSON, the page and the plots, `log` all
//! that is measured of the commit log.
//!
//! Invariants:
//! 1. Both sides run the same SQL with the same prepared statements and pragmas, compiled with the same flags into this
//!    one program, on files of the same directory, in alternating order (A B, B A, ...).
//! 2. Nothing is measured with a slow build: not without `--release`, nor with a libSQL whose flags cost time. `--quick`
//!    may, because its numbers mean nothing: it only shows that every line runs.
//! 3. Nothing is measured as durable on a directory that lives in memory.
//! 4. Results are written when every line is measured, each file by a rename; an interrupted run leaves the old ones.
//!
//! On Ctrl-C the current measurement ends, the databases are removed and the exit code is 130; a second Ctrl-C ends the
//! program at once.
//!
//! Refuses: to judge. Bars are reported in the page; a missed bar is no failure of the run.

mod arguments;
mod lines;
mod log;
mod machine;
mod report;
mod rounds;
mod side;
mod stage;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use twill_types::Door;

use arguments::{Arguments, Experiment, USAGE};
use machine::{Directory, Machine};
use report::Results;
use rounds::Plan;
use stage::{Interrupted, Scale, Stage};

const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("interrupted; results are as they were");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            eprintln!("twill-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let arguments = match Arguments::parse(&words)? {
        Some(arguments) => arguments,
        None => {
            println!("{USAGE}");
            return Ok(());
        }
    };
    let build = check_build(arguments.quick)?;
    let directory = Directory::create(arguments.directory.as_deref())?;
    let on_disk = arguments.experiment == Experiment::File;
    if let Some(filesystem) = directory.in_memory().filter(|_| on_disk) {
        let what = format!("the directory for the databases is on {filesystem}, where nothing is durable");
        if !arguments.quick {
            bail!("{what}: give one on a disk with --dir");
        }
        eprintln!("warning: {what}; commit times mean nothing");
    }
    let stop = stop_on_signals()?;
    let scale = if arguments.quick { Scale::QUICK } else { Scale::FULL };
    let stage = Stage { door: <dyn Door>::system(), directory, scale, stop };
    if arguments.experiment == Experiment::Log {
        let amount = if arguments.quick { log::Amount::QUICK } else { log::Amount::FULL };
        return log::run(&stage, amount, arguments.only.as_deref(), arguments.results_directory().as_deref());
    }
    let machine = Machine::describe(&stage, build)?;
    let plan = Plan { rounds: arguments.rounds.unwrap_or(scale.rounds), only: arguments.only.as_deref() };
    let lines = rounds::measure_all(&stage, &plan)?;
    let results = Results::new(&stage, machine.finish(&stage)?, arguments.quick, plan.rounds, lines);
    print!("{}", report::page::table(&results));
    if let Some(out) = arguments.results_directory() {
        report::write(&out, &results)?;
        eprintln!("written: {}", out.join("file.md").display());
    }
    Ok(())
}

/// A flag that Ctrl-C sets; a second Ctrl-C ends the program at once.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        let code = i32::from(INTERRUPTED);
        signal_hook::flag::register_conditional_shutdown(signal, code, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .context("catching Ctrl-C")?;
    }
    Ok(stop)
}

/// What was linked, or why it must not be measured.
fn check_build(quick: bool) -> Result<String> {
    let report = twill_libsql::check_build().context("the linked libSQL")?;
    let mut slow: Vec<String> = report.performance_warnings().iter().map(ToString::to_string).collect();
    if cfg!(debug_assertions) {
        slow.push("this program was built without --release".to_owned());
    }
    if slow.is_empty() {
        return Ok(report.version().to_owned());
    }
    if !quick {
        bail!("refusing to measure a slow build: {}", slow.join("; "));
    }
    eprintln!("warning: a slow build, so the numbers mean nothing: {}", slow.join("; "));
    Ok(report.version().to_owned())
}
