//! The plots, as SVG.
//!
//! Invariants:
//! 1. Ratios are drawn on a logarithmic axis: twice and half are as far from 1.
//! 2. Text is left to whoever shows the SVG: no font of this machine is asked for.

use anyhow::{Context, Result};
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::Results;
use super::page::number;
use crate::lines::{Measurement, THREADS};
use crate::rounds::{Line, Spread, Verdict};

pub(super) const RATIOS: &str = "file-ratios.svg";
pub(super) const COMMITS: &str = "file-commits.svg";
pub(super) const READS: &str = "file-reads.svg";

const TWILL: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const LIBSQL: RGBColor = RGBColor(0x8a, 0x8a, 0x8a);
const BELOW: RGBColor = RGBColor(0xc4, 0x3c, 0x2e);
/// Colours of curves that are no two sides of a comparison.
pub(crate) const PALETTE: [RGBColor; 5] =
    [TWILL, BELOW, RGBColor(0x3a, 0x8f, 0x5c), RGBColor(0x8a, 0x5a, 0xa8), LIBSQL];
const FONT: &str = "sans-serif";
const WIDTH: u32 = 860;

/// Every plot and its file name.
pub(super) fn draw(results: &Results) -> Result<Vec<(&'static str, String)>> {
    let warm = results.by_count(&THREADS, "point reads, warm, ", "thread");
    let tiny = results.by_count(&THREADS, "point reads, cache of 10 pages, ", "thread");
    let mut reads = of_both_sides(&warm, "warm");
    reads.extend(of_both_sides(&tiny, "cache of 10 pages"));
    let commits = of_both_sides(&results.commits(), "");
    Ok(vec![
        (RATIOS, svg(28 * height(results.lines.len()) + 90, |area| ratios(area, results))?),
        (COMMITS, svg(380, |area| curves(area, "durable commits/s by connections", &commits))?),
        (READS, svg(380, |area| curves(area, "point reads/s by threads", &reads))?),
    ])
}

fn height(lines: usize) -> u32 {
    u32::try_from(lines).unwrap_or(u32::MAX / 64)
}

/// A drawing.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws an SVG of this height.
pub(crate) fn svg(height: u32, draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE).context("drawing a plot")?;
        draw(&area)?;
        area.present().context("drawing a plot")?;
    }
    text.push('\n');
    Ok(text)
}

/// A bar for each line, from 1 to its ratio.
fn ratios(area: &Area<'_>, results: &Results) -> Result<()> {
    const NAMES: i32 = 380;
    const RIGHT: i32 = 60;
    const TOP: i32 = 56;
    let ratios: Vec<f64> = results.lines.iter().map(|line| line.compare().ratio).collect();
    let low = ratios.iter().copied().fold(0.5, f64::min).log2().floor();
    let high = ratios.iter().copied().fold(2.0, f64::max).log2().ceil();
    let span = f64::from(WIDTH) - f64::from(NAMES + RIGHT);
    let place = |ratio: f64| NAMES + rounded((ratio.log2().clamp(low, high) - low) / (high - low) * span);
    let bottom = TOP + 28 * i32::try_from(results.lines.len()).unwrap_or(0);
    text(area, "throughput of TwillDB as a multiple of plain libSQL's", (12, 10), 17, &BLACK)?;
    let mut power = low;
    while power <= high {
        let x = place(power.exp2());
        let style = if power == 0.0 { BLACK.stroke_width(2) } else { BLACK.mix(0.15).stroke_width(1) };
        area.draw(&PathElement::new([(x, TOP - 6), (x, bottom)], style)).context("drawing a plot")?;
        text(area, &format!("{} x", power.exp2()), (x - 10, TOP - 22), 12, &BLACK)?;
        power += 1.0;
    }
    for (index, line) in results.lines.iter().enumerate() {
        let comparison = line.compare();
        let y = TOP + 28 * i32::try_from(index).unwrap_or(0);
        let color = if comparison.verdict() == Verdict::Below { BELOW } else { TWILL };
        let (one, end) = (place(1.0), place(comparison.ratio));
        let bar = [(one.min(end), y + 4), (one.max(end).max(one.min(end) + 1), y + 20)];
        area.draw(&Rectangle::new(bar, color.filled())).context("drawing a plot")?;
        text(area, &line.name, (12, y + 5), 14, &BLACK)?;
        text(area, &format!("{:.2}", comparison.ratio), (one.max(end) + 6, y + 6), 13, &BLACK)?;
    }
    Ok(())
}

fn text(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, color: &RGBColor) -> Result<()> {
    area.draw(&Text::new(text.to_owned(), at, (FONT, size).into_font().color(color)))
        .context("drawing a plot")
}

#[expect(clippy::cast_possible_truncation, reason = "a place on a plot")]
fn rounded(value: f64) -> i32 {
    value.round() as i32
}

/// One side's rates by threads or connections.
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) color: RGBColor,
    pub(crate) is_light: bool,
    pub(crate) points: Vec<(f64, Spread)>,
}

fn of_both_sides(lines: &[(usize, &Line)], what: &str) -> Vec<Curve> {
    let curve = |side: &str, color, pick: fn(&Line) -> &[Measurement]| {
        let spread = |line: &Line| Spread::of(pick(line).iter().map(|measurement| measurement.rate));
        let points = lines.iter().map(|(count, line)| (f64::from(height(*count)), spread(line))).collect();
        let name = if what.is_empty() { side.to_owned() } else { format!("{side}, {what}") };
        Curve { name, color, is_light: what.starts_with("cache"), points }
    };
    vec![curve("TwillDB", TWILL, |line| &line.twill), curve("plain libSQL", LIBSQL, |line| &line.libsql)]
}

/// Curves on logarithmic axes, with the extremes of the rounds at each point.
pub(crate) fn curves(area: &Area<'_>, title: &str, curves: &[Curve]) -> Result<()> {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let counts: Vec<f64> =
        curves.iter().flat_map(|curve| curve.points.iter().map(|(count, _)| *count)).collect();
    let most = counts.iter().copied().fold(1.0, f64::max);
    let low = points().map(|(_, spread)| spread.min).fold(f64::MAX, f64::min).max(1.0);
    let high = points().map(|(_, spread)| spread.max).fold(10.0, f64::max);
    // Axes in logarithms of two and ten, labelled with what they stand for.
    let floor = if counts.is_empty() { 0.0 } else { low.log10() - 0.1 };
    let mut chart = ChartBuilder::on(area)
        .margin(14)
        .caption(title, (FONT, 17))
        .x_label_area_size(28)
        .y_label_area_size(64)
        .build_cartesian_2d(-0.2..most.log2() + 0.2, floor..high.log10() + 0.1)
        .context("drawing a plot")?;
    let label = |log: &f64| number(10_f64.powf(*log));
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(8)
        .x_label_formatter(&|log| if log.fract() == 0.0 { log.exp2().to_string() } else { String::new() })
        .y_label_formatter(&label)
        .label_style((FONT, 12))
        .draw()
        .context("drawing a plot")?;
    for curve in curves {
        draw_curve(&mut chart, curve)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.2))
        .label_font((FONT, 13))
        .draw()
        .context("drawing a plot")
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn draw_curve(chart: &mut Chart<'_, '_>, curve: &Curve) -> Result<()> {
    let at = |rate: f64| rate.max(1.0).log10();
    let style = curve.color.mix(if curve.is_light { 0.5 } else { 1.0 }).stroke_width(2);
    let medians = curve.points.iter().map(|(count, spread)| (count.log2(), at(spread.median)));
    chart
        .draw_series(LineSeries::new(medians, style).point_size(3))
        .context("drawing a plot")?
        .label(curve.name.clone())
        .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    let extremes = curve.points.iter().map(|(count, spread)| {
        PathElement::new([(count.log2(), at(spread.min)), (count.log2(), at(spread.max))], style)
    });
    chart.draw_series(extremes).map(drop).context("drawing a plot")
}
