//! Values on lines: list (one row per line) and line (one value per line).

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr as _;

use super::escape::{real, shown, visible};
use super::{Format, Look, Sheet};
use crate::cell::Cell;

/// A result written as it comes.
pub(super) struct Lines<'a> {
    look: &'a Look,
    columns: Vec<String>,
    is_first: bool,
    out: &'a mut dyn Write,
}

impl<'a> Lines<'a> {
    pub(super) fn begin(look: &'a Look, columns: &[String], out: &'a mut dyn Write) -> io::Result<Self> {
        let columns: Vec<String> = columns.iter().map(|name| visible(name).into_owned()).collect();
        if look.format == Format::List && look.has_headers() {
            writeln!(out, "{}", columns.join(separator(look)))?;
        }
        Ok(Self { look, columns, is_first: true, out })
    }

    fn list(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                self.out.write_all(separator(self.look).as_bytes())?;
            }
            match cell {
                Cell::Null => self.out.write_all(self.look.null_text().as_bytes())?,
                Cell::Integer(value) => write!(self.out, "{value}")?,
                Cell::Real(value) => self.out.write_all(real(*value).as_bytes())?,
                Cell::Text(text) => self.out.write_all(text.as_bytes())?,
                // As the stock shell does; for programs that know what comes.
                Cell::Garbled(bytes) | Cell::Blob(bytes) => self.out.write_all(bytes)?,
            }
        }
        self.out.write_all(b"\n")
    }

    fn lines(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        if !std::mem::take(&mut self.is_first) {
            self.out.write_all(b"\n")?;
        }
        let width = self.columns.iter().map(|name| name.width()).max().unwrap_or(0);
        for (name, cell) in self.columns.iter().zip(cells) {
            let indent = " ".repeat(width.saturating_sub(name.width()));
            writeln!(self.out, "{indent}{name} = {}", shown(*cell, self.look.null_text()))?;
        }
        Ok(())
    }
}

fn separator(look: &Look) -> &str {
    look.separator.as_deref().unwrap_or("|")
}

impl Sheet for Lines<'_> {
    fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        if self.look.format == Format::Line { self.lines(cells) } else { self.list(cells) }
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}
