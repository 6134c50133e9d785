//! Results as text: the formats, their settings, and where the text goes.
//!
//! Invariants:
//! 1. csv, tabs, json, jsonl, list, line, quote and insert write each row as it comes; table, box, column and markdown
//!    first see them all, for the widths.
//! 2. csv, json, jsonl, quote and insert lose nothing. The formats for eyes show control characters as escapes, so that
//!    data cannot speak to the terminal.

mod escape;
mod grid;
mod lines;
mod machine;

use std::io::{self, Write};

use clap::ValueEnum;

use crate::cell::Cell;

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns in a frame of ASCII
    #[default]
    Table,
    /// Columns in a frame of lines
    Box,
    /// Columns without a frame
    Column,
    /// A Markdown table
    Markdown,
    /// Values with a | between them
    List,
    /// One value per line, with its column
    Line,
    /// Comma-separated values (RFC 4180)
    Csv,
    /// Tab-separated values
    Tabs,
    /// An array of objects
    Json,
    /// One object per line
    Jsonl,
    /// Values as SQL literals
    Quote,
    /// INSERT statements
    Insert,
}

impl Format {
    /// Its name on the command line and in `.mode`.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// How results look.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) format: Format,
    /// Whether columns are named; `None`: where the format usually does.
    pub(crate) headers: Option<bool>,
    /// What stands for NULL; `None`: the format's own.
    pub(crate) null: Option<String>,
    /// Between the values of list, csv and tabs; `None`: the format's own.
    pub(crate) separator: Option<String>,
    /// The table that INSERT statements name.
    pub(crate) insert_into: String,
    /// Whether colours may be used.
    pub(crate) colour: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            format: Format::default(),
            headers: None,
            null: None,
            separator: None,
            insert_into: "table".to_owned(),
            colour: false,
        }
    }
}

impl Look {
    pub(crate) fn has_headers(&self) -> bool {
        self.headers.unwrap_or(!matches!(self.format, Format::List | Format::Tabs | Format::Quote))
    }

    /// What stands for NULL.
    pub(crate) fn null_text(&self) -> &str {
        let is_for_eyes = matches!(
            self.format,
            Format::Table | Format::Box | Format::Column | Format::Markdown | Format::Line
        );
        self.null.as_deref().unwrap_or(if is_for_eyes { "NULL" } else { "" })
    }

    /// Begins a result with these columns.
    pub(crate) fn begin<'a>(
        &'a self,
        columns: &[String],
        out: &'a mut dyn Write,
    ) -> io::Result<Box<dyn Sheet + 'a>> {
        Ok(match self.format {
            Format::Table | Format::Box | Format::Column | Format::Markdown => {
                Box::new(grid::Grid::new(self, columns, out))
            }
            Format::List | Format::Line => Box::new(lines::Lines::begin(self, columns, out)?),
            Format::Csv | Format::Tabs => Box::new(machine::Separated::begin(self, columns, out)?),
            Format::Json => Box::new(machine::Objects::begin(columns, true, out)?),
            Format::Jsonl => Box::new(machine::Objects::begin(columns, false, out)?),
            Format::Quote => Box::new(machine::Literals::begin(self, columns, None, out)?),
            Format::Insert => {
                Box::new(machine::Literals::begin(self, columns, Some(&self.insert_into), out)?)
            }
        })
    }
}

/// A result being written.
pub(crate) trait Sheet {
    /// Writes the next row, or keeps it.
    fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()>;

    /// Writes what is left.
    fn end(&mut self) -> io::Result<()>;
}

#[cfg(test)]
mod tests;
