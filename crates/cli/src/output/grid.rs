//! Columns side by side: table, box, column, markdown. Widths are those of a terminal, so wide and combining characters
//! keep the frame straight.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr as _;

use super::escape::{shown, visible};
use super::{Format, Look, Sheet};
use crate::cell::Cell;

/// A result kept until its end.
pub(super) struct Grid<'a> {
    look: &'a Look,
    columns: Vec<String>,
    rows: Vec<Vec<Kept>>,
    out: &'a mut dyn Write,
}

struct Kept {
    text: String,
    width: usize,
    align: Align,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Align {
    Left,
    Right,
    /// NULL: left, and dimmed where there are colours.
    Null,
}

/// What a frame is drawn with.
struct Frame {
    /// Left end, fill, crossing and right end of the lines above, below the header, and at the bottom.
    lines: [Option<[&'static str; 4]>; 3],
    /// Left of a row, between its values, right of it.
    row: [&'static str; 3],
}

const TABLE_LINE: Option<[&str; 4]> = Some(["+-", "-", "-+-", "-+"]);

const fn frame(format: Format) -> Frame {
    match format {
        Format::Box => Frame {
            lines: [
                Some(["┌─", "─", "─┬─", "─┐"]),
                Some(["├─", "─", "─┼─", "─┤"]),
                Some(["└─", "─", "─┴─", "─┘"]),
            ],
            row: ["│ ", " │ ", " │"],
        },
        Format::Column => Frame { lines: [None, Some(["", "-", "  ", ""]), None], row: ["", "  ", ""] },
        Format::Markdown => {
            Frame { lines: [None, Some(["|-", "-", "-|-", "-|"]), None], row: ["| ", " | ", " |"] }
        }
        Format::Table
        | Format::List
        | Format::Line
        | Format::Csv
        | Format::Tabs
        | Format::Json
        | Format::Jsonl
        | Format::Quote
        | Format::Insert => Frame { lines: [TABLE_LINE; 3], row: ["| ", " | ", " |"] },
    }
}

impl<'a> Grid<'a> {
    pub(super) fn new(look: &'a Look, columns: &[String], out: &'a mut dyn Write) -> Self {
        let columns = columns.iter().map(|name| visible(name).into_owned()).collect();
        Self { look, columns, rows: Vec::new(), out }
    }

    fn widths(&self) -> Vec<usize> {
        let names = self.has_headers();
        let mut widths: Vec<usize> =
            self.columns.iter().map(|name| if names { name.width() } else { 0 }).collect();
        for row in &self.rows {
            for (width, kept) in widths.iter_mut().zip(row) {
                *width = (*width).max(kept.width);
            }
        }
        widths
    }

    /// Markdown has no table without a header.
    fn has_headers(&self) -> bool {
        self.look.has_headers() || self.look.format == Format::Markdown
    }

    fn write_line(&mut self, line: Option<[&str; 4]>, widths: &[usize]) -> io::Result<()> {
        let Some([left, fill, crossing, right]) = line else { return Ok(()) };
        let filled: Vec<String> = widths.iter().map(|width| fill.repeat(*width)).collect();
        writeln!(self.out, "{left}{}{right}", filled.join(crossing))
    }

    fn write_row(
        &mut self,
        ends: [&str; 3],
        cells: &[(&str, usize, Align)],
        widths: &[usize],
    ) -> io::Result<()> {
        let [left, between, right] = ends;
        let mut line = left.to_owned();
        for (index, ((text, width, align), column)) in cells.iter().zip(widths).enumerate() {
            if index > 0 {
                line.push_str(between);
            }
            let padding = " ".repeat(column.saturating_sub(*width));
            match align {
                Align::Right => {
                    line.push_str(&padding);
                    line.push_str(text);
                }
                Align::Null if self.look.colour => {
                    line.push_str(&format!("\u{1b}[2m{text}\u{1b}[0m{padding}"));
                }
                Align::Left | Align::Null => {
                    line.push_str(text);
                    line.push_str(&padding);
                }
            }
        }
        line.push_str(right);
        writeln!(self.out, "{}", line.trim_end())
    }
}

impl Sheet for Grid<'_> {
    fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        let keep = |cell: &Cell<'_>| {
            let mut text = shown(*cell, self.look.null_text()).into_owned();
            if self.look.format == Format::Markdown {
                text = text.replace('|', "\\|");
            }
            let align = match cell {
                Cell::Integer(_) | Cell::Real(_) => Align::Right,
                Cell::Null => Align::Null,
                Cell::Text(_) | Cell::Garbled(_) | Cell::Blob(_) => Align::Left,
            };
            Kept { width: text.width(), text, align }
        };
        let row = cells.iter().map(keep).collect();
        self.rows.push(row);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let Frame { lines: [top, middle, bottom], row } = frame(self.look.format);
        let widths = self.widths();
        self.write_line(top, &widths)?;
        if self.has_headers() {
            let columns = std::mem::take(&mut self.columns);
            let names: Vec<_> =
                columns.iter().map(|name| (name.as_str(), name.width(), Align::Left)).collect();
            self.write_row(row, &names, &widths)?;
            self.write_line(middle, &widths)?;
        }
        for kept in std::mem::take(&mut self.rows) {
            let cells: Vec<_> =
                kept.iter().map(|kept| (kept.text.as_str(), kept.width, kept.align)).collect();
            self.write_row(row, &cells, &widths)?;
        }
        self.write_line(bottom, &widths)
    }
}
