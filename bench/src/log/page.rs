//! The page of the log's experiments: bars, tables, plots, and how to read them.

use std::fmt::Write;

use anyhow::Result;

use super::group::Group;
use super::single::Single;
use super::{Results, Times};
use crate::report::page::number;
use crate::report::plots::{Curve, PALETTE, curves, svg};
use crate::rounds::Spread;

const THROUGHPUT: &str = "log-throughput.svg";
const LATENCY: &str = "log-latency.svg";

/// A single append's median, at most so many times the raw PUT's.
const SINGLE_P50_MAX: f64 = 1.1;
/// Its 99th percentile likewise.
const SINGLE_P99_MAX: f64 = 1.3;
/// The number of appenders that the bars are about.
const MANY: usize = 64;
/// Their commits each second, at least so many times one appender's.
const MANY_TIMES_MIN: f64 = 40.0;
/// Their commits in each PUT, at least.
const MANY_PER_PUT_MIN: f64 = 5.0;
/// Requests beyond this part of what the machine can do say more of the machine than of the log.
const NEAR_CEILING: f64 = 0.5;

/// The whole page.
pub(super) fn page(results: &Results) -> String {
    let mut page = String::from("# The commit log beside raw conditional PUTs\n\n");
    page.push_str(
        "Made by `cargo run --release -p twill-bench -- log`; the figures are in [log.json](log.json).\n\n",
    );
    if results.quick {
        page.push_str("**A smoke run: everything ran, and no number here means anything.**\n\n");
    }
    page.push_str(&machine(results));
    page.push_str("## Bars\n\n");
    for (what, pass, found) in bars(results) {
        let verdict = if pass { "pass" } else { "**fail**" };
        let _ = writeln!(page, "- {what}: {verdict} ({found})");
    }
    page.push('\n');
    page.push_str(&tables(results));
    let _ = write!(page, "\n![commits per second by appenders]({THROUGHPUT})\n\n");
    let _ = write!(page, "![median latency as a multiple of a raw PUT's, by appenders]({LATENCY})\n\n");
    page.push_str(&method(results));
    page
}

fn machine(results: &Results) -> String {
    let host = &results.host;
    format!(
        "## Machine\n\n| | |\n|---|---|\n| processors | {} ({}) |\n| memory | {} MiB |\n| kernel | {} |\n\
         | load before and after | {:.2}, {:.2} |\n| requests without latency | {}/s |\n\n",
        host.processors,
        host.processor,
        host.memory_mib,
        host.kernel,
        host.load_before,
        host.load_after,
        number(results.requests_per_s),
    )
}

/// What was promised, whether it holds, and the figure.
fn bars(results: &Results) -> Vec<(String, bool, String)> {
    let mut bars = Vec::new();
    for single in &results.single {
        let (p50, p99) = ratios(single);
        let title = &single.title;
        bars.push((
            format!("{title}: a lone append's p50 is at most {SINGLE_P50_MAX} x the raw PUT's"),
            p50 <= SINGLE_P50_MAX,
            format!("{p50:.3} x"),
        ));
        bars.push((
            format!("{title}: its p99 is at most {SINGLE_P99_MAX} x"),
            p99 <= SINGLE_P99_MAX,
            format!("{p99:.3} x"),
        ));
    }
    for group in &results.group {
        bars.extend(group_bars(group));
    }
    bars
}

fn ratios(single: &Single) -> (f64, f64) {
    (single.append.p50_ms / single.raw.p50_ms, single.append.p99_ms / single.raw.p99_ms)
}

fn group_bars(group: &Group) -> Vec<(String, bool, String)> {
    let Some((many, p50_max)) = group.points.iter().find(|point| point.appenders == MANY).zip(group.p50_max)
    else {
        return Vec::new();
    };
    let title = &group.title;
    let times = many.commits_per_s / group.single_ceiling().unwrap_or(f64::INFINITY);
    let p50 = many.commits.p50_ms / group.raw_p50_ms();
    vec![
        (
            format!("{title}: {MANY} appenders commit at least {MANY_TIMES_MIN} x as often as one"),
            times >= MANY_TIMES_MIN,
            format!("{times:.1} x"),
        ),
        (
            format!("{title}: their p50 is at most {p50_max} x the raw PUT's"),
            p50 <= p50_max,
            format!("{p50:.3} x"),
        ),
        (
            format!("{title}: at least {MANY_PER_PUT_MIN} commits in each PUT"),
            many.commits_per_put >= MANY_PER_PUT_MIN,
            format!("{:.1}", many.commits_per_put),
        ),
    ]
}

/// Both tables; also what the program prints.
pub(super) fn tables(results: &Results) -> String {
    let mut text = String::from(
        "## One appender\n\nMilliseconds. An append and a raw conditional PUT of the same payload take turns.\n\n\
         | store | | p50 | p90 | p99 | p99.9 | samples |\n|---|---|---:|---:|---:|---:|---:|\n",
    );
    for single in &results.single {
        let (raw, append) = (single.raw, single.append);
        let _ = writeln!(text, "| {} | raw PUT {}", single.title, cells(raw));
        let _ = writeln!(text, "| | append {}", cells(append));
        let _ = writeln!(
            text,
            "| | **ratio** | **{:.3}** | {:.3} | **{:.3}** | {:.3} | {:.2} PUTs, {:.2} requests each |",
            append.p50_ms / raw.p50_ms,
            append.p90_ms / raw.p90_ms,
            append.p99_ms / raw.p99_ms,
            append.p999_ms / raw.p999_ms,
            single.puts_per_append,
            single.requests_per_append,
        );
    }
    for group in &results.group {
        text.push_str(&group_table(group, results.requests_per_s));
    }
    text
}

fn cells(times: Times) -> String {
    format!(
        "| {:.2} | {:.2} | {:.2} | {:.2} | {} |",
        times.p50_ms, times.p90_ms, times.p99_ms, times.p999_ms, times.count
    )
}

fn group_table(group: &Group, ceiling: f64) -> String {
    let raw = group.raw_p50_ms();
    let single = group.single_ceiling().unwrap_or(f64::NAN);
    let mut text = format!(
        "\n## Many appenders, {}\n\nRaw PUT p50: {raw:.2} ms. Latencies in milliseconds.\n\n\
         | appenders | commits/s | x one appender | commits/PUT | p50 | x raw PUT | p99 | p99.9 | other requests | |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n",
        group.title
    );
    for point in &group.points {
        let near = point.requests_per_s > ceiling * NEAR_CEILING;
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} | {:.1} | {:.2} | {:.3} | {:.2} | {:.2} | {} | {} |",
            point.appenders,
            number(point.commits_per_s),
            point.commits_per_s / single,
            point.commits_per_put,
            point.commits.p50_ms,
            point.commits.p50_ms / raw,
            point.commits.p99_ms,
            point.commits.p999_ms,
            point.other_requests,
            if near { "near what this machine can send" } else { "" },
        );
    }
    text
}

/// Every plot and its file name.
pub(super) fn plots(results: &Results) -> Result<Vec<(&'static str, String)>> {
    let by_profile = |value: &dyn Fn(&Group, usize) -> f64| -> Vec<Curve> {
        let curve = |(group, color): (&Group, _)| Curve {
            name: group.title.clone(),
            color,
            is_light: false,
            points: (0..group.points.len())
                .map(|place| {
                    let appenders = group.points.get(place).map_or(1, |point| point.appenders);
                    (f64::from(u32::try_from(appenders).unwrap_or(u32::MAX)), exactly(value(group, place)))
                })
                .collect(),
        };
        results.group.iter().zip(PALETTE).map(curve).collect()
    };
    let point = |group: &Group, place: usize| group.points.get(place).copied();
    let rates = by_profile(&|group, place| point(group, place).map_or(0.0, |point| point.commits_per_s));
    let shares = by_profile(&|group, place| {
        point(group, place).map_or(0.0, |point| 100.0 * point.commits.p50_ms / group.raw_p50_ms())
    });
    let latency = "median latency by appenders, in percent of a raw PUT's";
    Ok(vec![
        (THROUGHPUT, svg(380, |area| curves(area, "durable commits/s by appenders", &rates))?),
        (LATENCY, svg(380, |area| curves(area, latency, &shares))?),
    ])
}

fn exactly(value: f64) -> Spread {
    Spread { median: value, min: value, max: value, noise: 0.0 }
}

fn method(results: &Results) -> String {
    format!(
        "## Method\n\n\
         Logs are written through `twill-commitlog-cas` with its default options, over `object_store`'s S3 client and HTTP \
         on loopback, to the test server of `tests/s3-server`, whose latencies are drawn from the distributions that \
         `tests/s3-server/src/latency.rs` documents (seed {}). Client and server share this machine, so a raw PUT already \
         carries the cost of both; that is why everything is a ratio to raw PUTs of the same run.\n\n\
         - Payloads are {} bytes that do not compress. A raw PUT is a conditional create of the payload alone.\n\
         - One appender: eight lanes, each with a log and a client of its own, run side by side to gather samples; within \
         a lane nothing overlaps.\n\
         - Many appenders: one log; each appender waits for its commit before it appends the next. Counted is what ended \
         within the time; the raw PUTs before each measurement go one after another. The raw median is the median of \
         those of all measurements of the profile.\n\
         - PUTs and other requests are the server's counts.\n",
        results.seed, results.payload_bytes
    )
}
