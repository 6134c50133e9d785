//! Long differential runs: as many random statements as asked, compared with plain libSQL, with progress and a JSON
//! result.
//!
//! ```text
//! differential --statements N --backend memory|file|file-off|plain [--seed N] [--json PATH]
//! ```
//!
//! A mismatch ends the run with exit code 1 and prints the seed that repeats it, both answers and a shrunk script.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use twill_tests_sql::{Backend, Report, Settings, Subject, run};

struct Arguments {
    settings: Settings,
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let Arguments { settings, json } = parse(std::env::args().skip(1))?;
    let bar = ProgressBar::new(settings.statements).with_style(ProgressStyle::with_template(
        "{bar:40} {pos}/{len} statements, {per_sec}, {eta} left {msg}",
    )?);
    println!("{} against plain libSQL, seed {}", settings.subject.name(), settings.seed);
    let outcome = run(settings, |report| {
        bar.set_position(report.statements);
        if bar.is_hidden() && report.episodes.is_multiple_of(100) {
            println!("{} statements, {} databases", report.statements, report.episodes);
        }
    });
    bar.finish_and_clear();
    let seconds = bar.elapsed().as_secs_f64();
    let result = match &outcome {
        Ok(report) => summary(&settings, report, seconds),
        Err(mismatch) => json!({
            "backend": settings.subject.name(), "seed": settings.seed, "mismatch": mismatch.to_string(),
        }),
    };
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&result)?;
        fs::write(&path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    let report = outcome?;
    println!(
        "{} statements on {} databases equal plain libSQL's, {} rows, {} full comparisons, {seconds:.0} s",
        report.statements, report.episodes, report.rows, report.checks
    );
    Ok(())
}

fn summary(settings: &Settings, report: &Report, seconds: f64) -> serde_json::Value {
    let errors: serde_json::Map<String, serde_json::Value> =
        report.errors.iter().map(|(code, count)| (code.to_string(), json!(count))).collect();
    json!({
        "backend": settings.subject.name(),
        "seed": settings.seed,
        "statements": report.statements,
        "databases": report.episodes,
        "full_comparisons": report.checks,
        "rows": report.rows,
        "mismatches": 0,
        "succeeded_by_first_word": report.succeeded,
        "failed_alike_by_extended_code": errors,
        "seconds": seconds.round(),
    })
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Arguments> {
    let (mut statements, mut seed, mut backend, mut json) = (1_000_000, 1, "file".to_owned(), None);
    while let Some(name) = arguments.next() {
        let value = arguments.next().with_context(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--statements" => statements = value.parse().context("--statements")?,
            "--seed" => seed = value.parse().context("--seed")?,
            "--backend" => backend = value,
            "--json" => json = Some(PathBuf::from(value)),
            _ => bail!("unknown option {name}"),
        }
    }
    let subject = match backend.as_str() {
        "plain" => Subject::Plain,
        name => {
            Subject::Engine(Backend::named(name).with_context(|| format!("no backend is called {name}"))?)
        }
    };
    Ok(Arguments { settings: Settings { subject, seed, statements, shrink: true }, json })
}
