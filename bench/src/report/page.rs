//! The page: what was measured on what, the bars, the table, and how to read it.

use std::fmt::Write;

use super::{Results, plots};
use crate::lines::Measurement;
use crate::rounds::{Comparison, Line, NOISE_MAX, Verdict, median};

/// Commits of the most connections must be so many times plain libSQL's.
const COMMITS_BAR: f64 = 5.0;

/// The whole page.
pub(crate) fn page(results: &Results) -> String {
    let mut page = String::from("# TwillDB on file:// beside plain libSQL\n\n");
    page.push_str(
        "Made by `cargo run --release -p twill-bench -- file`; the raw rounds are in [file.json](file.json).\n\n",
    );
    if results.quick {
        page.push_str("**A smoke run: every line ran, and no number here means anything.**\n\n");
    }
    page.push_str(&machine(results));
    page.push_str(&bars(results));
    page.push_str(
        "## Lines\n\nMedians, with the smallest and the largest round in brackets. More is better.\n\n",
    );
    page.push_str(&table(results));
    let _ = write!(page, "\n![ratio of the medians on each line]({})\n\n", plots::RATIOS);
    page.push_str(&commits(results));
    let _ = write!(page, "![commits per second by connections]({})\n\n", plots::COMMITS);
    let _ = write!(page, "![point reads per second by threads]({})\n\n", plots::READS);
    page.push_str(&traffic(results));
    page.push_str(&method(results));
    page
}

fn machine(results: &Results) -> String {
    let machine = &results.machine;
    let (before, after) = (machine.disk_before, machine.disk_after);
    format!(
        "## Machine\n\n\
         | | |\n|---|---|\n\
         | processors | {} ({}) |\n| memory | {} MiB |\n| kernel | {} |\n| file system | {} |\n| library | {} |\n\
         | one frame and fdatasync, before | p50 {:.0} us, p99 {:.0} us |\n\
         | one frame and fdatasync, after | p50 {:.0} us, p99 {:.0} us |\n\
         | load before the run | {:.2} |\n\n{}",
        machine.processors,
        machine.processor,
        machine.memory_mib,
        machine.kernel,
        machine.filesystem,
        machine.libsql,
        before.p50_us,
        before.p99_us,
        after.p50_us,
        after.p99_us,
        machine.load_before,
        if machine.load_before > 0.5 {
            "Other programs ran on this machine before the run, and perhaps during it: absolute numbers are lower \
             bounds, and ratios are noisier than on a quiet machine.\n\n"
        } else {
            ""
        }
    )
}

fn bars(results: &Results) -> String {
    let mut text = String::from("## Bars\n\n");
    let below: Vec<String> = results
        .lines
        .iter()
        .map(|line| (line, line.compare()))
        .filter(|(_, comparison)| comparison.verdict() == Verdict::Below)
        .map(|(line, comparison)| format!("{} ({:.2} x)", line.name, comparison.ratio))
        .collect();
    let verdict = if below.is_empty() { "pass".to_owned() } else { format!("fail: {}", below.join("; ")) };
    let _ =
        writeln!(text, "- At least plain libSQL's throughput on every line, within the noise: **{verdict}**");
    if let Some((connections, line)) = results.commits().last() {
        let ratio = line.compare().ratio;
        let verdict = if ratio >= COMMITS_BAR { "pass" } else { "fail" };
        let _ = writeln!(
            text,
            "- Durable commits of {connections} connections at least {COMMITS_BAR} x: **{verdict}** ({ratio:.1} x)"
        );
    }
    text.push('\n');
    text
}

/// The table of the lines; also what the program prints.
pub(crate) fn table(results: &Results) -> String {
    let mut text =
        String::from("| line | unit | TwillDB | plain libSQL | ratio | |\n|---|---|---:|---:|---:|---|\n");
    for line in &results.lines {
        let Comparison { twill, libsql, ratio } = line.compare();
        let verdict = match line.compare().verdict() {
            Verdict::Pass => "pass",
            Verdict::WithinNoise => "within noise",
            Verdict::Below => "**below**",
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} ({}..{}) | {} ({}..{}) | {ratio:.2} | {verdict} |",
            line.name,
            line.unit,
            number(twill.median),
            number(twill.min),
            number(twill.max),
            number(libsql.median),
            number(libsql.min),
            number(libsql.max),
        );
    }
    text
}

fn commits(results: &Results) -> String {
    let timed: Vec<&Line> = results
        .lines
        .iter()
        .filter(|line| line.twill.iter().any(|measurement| measurement.latency_us.is_some()))
        .collect();
    if timed.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "## Latencies\n\nMicroseconds of single operations: medians over the rounds of each round's percentile.\n\n\
         | line | TwillDB p50 | p99 | plain libSQL p50 | p99 |\n|---|---:|---:|---:|---:|\n",
    );
    for line in timed {
        let of = |side: &[Measurement], pick: fn(&crate::lines::Latency) -> f64| {
            number(median(side.iter().filter_map(|measurement| measurement.latency_us.as_ref().map(pick))))
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            line.name,
            of(&line.twill, |latency| latency.p50),
            of(&line.twill, |latency| latency.p99),
            of(&line.libsql, |latency| latency.p50),
            of(&line.libsql, |latency| latency.p99),
        );
    }
    text.push('\n');
    text
}

/// What one operation costs in syncs, system calls and bytes.
fn traffic(results: &Results) -> String {
    let mut text = String::from(
        "## Cost of one operation\n\nfdatasyncs are TwillDB's own count; plain libSQL at `synchronous=FULL` syncs its WAL \
         once for each commit, and does not count. Calls and bytes are the kernel's counts of this whole program \
         (`/proc/self/io`), warm-up included, by operation (for a scan, by row).\n\n\
         | line | TwillDB fdatasyncs | read calls | write calls | bytes written | plain libSQL read calls | write calls | bytes written |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for line in &results.lines {
        let each = |side: &[Measurement], count: fn(&Measurement) -> Option<u64>| {
            let part = |measurement: &Measurement| {
                count(measurement).map(|count| quotient(count, measurement.operations))
            };
            let parts: Vec<f64> = side.iter().filter_map(part).collect();
            if parts.is_empty() { "-".to_owned() } else { number(median(parts.into_iter())) }
        };
        let traffic = |side: &[Measurement]| {
            [
                each(side, |measurement| Some(measurement.traffic.read_calls)),
                each(side, |measurement| Some(measurement.traffic.write_calls)),
                each(side, |measurement| Some(measurement.traffic.written_bytes)),
            ]
            .join(" | ")
        };
        let syncs = each(&line.twill, |measurement| measurement.syncs);
        let _ = writeln!(
            text,
            "| {} | {syncs} | {} | {} |",
            line.name,
            traffic(&line.twill),
            traffic(&line.libsql)
        );
    }
    text.push('\n');
    text
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^53")]
fn quotient(count: u64, operations: u64) -> f64 {
    count as f64 / operations.max(1) as f64
}

fn method(results: &Results) -> String {
    let sizes = &results.sizes;
    format!(
        "## Method\n\n\
         Both sides are compiled into one program with the same flags and run the same SQL through prepared statements \
         that live as long as the measurement: TwillDB through `Database`, `Connection` and `Statement` of its engine, \
         plain libSQL through rusqlite on libSQL's own unix VFS with `journal_mode=WAL` and `synchronous=FULL` and a busy \
         timeout longer than the run. Every commit of either side is durable when it returns. Nothing else is set: page \
         cache, page size and automatic checkpoints are the defaults, unless a line says so.\n\n\
         - {} rounds; a round measures both sides, in alternating order (A B, B A, ...), writing lines on new files, \
         reading lines on copies of one file.\n\
         - The table: `item(id INTEGER PRIMARY KEY, name, quantity, note)`, about 110 bytes a row. Bulk insert, scans and \
         the large database: {} rows. Point reads and the mixed load: {} rows.\n\
         - Reads last {} ms, loads with commits {} ms, openings are {} in a row. Reading connections read the table once \
         before the clock starts. Warm means a page cache that holds the table.\n\
         - Bulk insert is timed until COMMIT returns: plain libSQL checkpoints inside that call, TwillDB after it in the \
         background. Closing is not timed on any line.\n\
         - A line passes when the ratio of the medians is at least 1, is within noise when it misses 1 by no more than \
         the noise, and else is below. Noise is half the spread of the rounds without the fastest and the slowest, as a \
         part of their median, of the wider side, at most {:.0} %.\n",
        results.rounds,
        sizes.large_rows,
        sizes.small_rows,
        sizes.read_ms,
        sizes.commit_ms,
        sizes.opens,
        NOISE_MAX * 100.0,
    )
}

/// A number with as many digits as mean something.
pub(crate) fn number(value: f64) -> String {
    match value {
        _ if value == 0.0 => "0".to_owned(),
        _ if value >= 10_000_000.0 => format!("{:.1} M", value / 1e6),
        _ if value >= 1_000_000.0 => format!("{:.2} M", value / 1e6),
        _ if value >= 100_000.0 => format!("{:.0} k", value / 1e3),
        _ if value >= 10_000.0 => format!("{:.1} k", value / 1e3),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ if value >= 0.01 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_keep_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (0.0016, "1.6e-3"),
            (0.5, "0.50"),
            (12.34, "12.3"),
            (1234.5, "1234"),
            (12_345.0, "12.3 k"),
            (123_456.0, "123 k"),
            (1_234_567.0, "1.23 M"),
            (12_345_678.0, "12.3 M"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
