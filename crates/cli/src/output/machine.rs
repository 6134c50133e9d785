//! Results for programs: csv, tabs, json, jsonl, quote, insert. Each row is written as it comes.

use std::collections::HashSet;
use std::io::{self, Write};

use super::escape::real;
use super::{Format, Look, Sheet};
use crate::cell::Cell;
use crate::{csv, json, literal};

/// Comma- or tab-separated values.
pub(crate) struct Separated<'a> {
    look: &'a Look,
    separator: u8,
    out: &'a mut dyn Write,
}

impl<'a> Separated<'a> {
    pub(super) fn begin(look: &'a Look, columns: &[String], out: &'a mut dyn Write) -> io::Result<Self> {
        let usual = if look.format == Format::Tabs { b'\t' } else { b',' };
        let separator = look.separator.as_deref().and_then(|text| text.bytes().next()).unwrap_or(usual);
        let mut sheet = Self { look, separator, out };
        if look.has_headers() {
            sheet.record(columns.iter().map(|name| Some(name.as_bytes().to_vec())))?;
        }
        Ok(sheet)
    }

    fn record(&mut self, fields: impl Iterator<Item = Option<Vec<u8>>>) -> io::Result<()> {
        for (index, field) in fields.enumerate() {
            if index > 0 {
                self.out.write_all(&[self.separator])?;
            }
            csv::write_field(field.as_deref(), self.separator, self.look.null_text(), self.out)?;
        }
        self.out.write_all(b"\n")
    }
}

impl Sheet for Separated<'_> {
    fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        self.record(cells.iter().map(|cell| match cell {
            Cell::Null => None,
            Cell::Integer(value) => Some(value.to_string().into_bytes()),
            Cell::Real(value) => Some(real(*value).into_bytes()),
            Cell::Text(text) => Some(text.as_bytes().to_vec()),
            Cell::Garbled(bytes) => Some(bytes.to_vec()),
            Cell::Blob(bytes) => Some(literal::blob(bytes).into_bytes()),
        }))
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// JSON objects, in an array or one per line.
pub(super) struct Objects<'a> {
    /// `"name":` of each column.
    keys: Vec<String>,
    in_array: bool,
    is_first: bool,
    line: String,
    out: &'a mut dyn Write,
}

impl<'a> Objects<'a> {
    pub(super) fn begin(columns: &[String], in_array: bool, out: &'a mut dyn Write) -> io::Result<Self> {
        if in_array {
            out.write_all(b"[")?;
        }
        let keys = distinct(columns).into_iter().map(|name| {
            let mut key = String::new();
            json::write_string(&name, &mut key);
            key.push(':');
            key
        });
        Ok(Self { keys: keys.collect(), in_array, is_first: true, line: String::new(), out })
    }
}

/// Names that are all different: a second `a` becomes `a:1`, as in SQLite's own subqueries.
fn distinct(columns: &[String]) -> Vec<String> {
    let mut taken: HashSet<String> = HashSet::new();
    let mut names = Vec::new();
    for column in columns {
        let mut name = column.clone();
        let mut number = 0;
        while taken.contains(&name) || (number > 0 && columns.contains(&name)) {
            number += 1;
            name = format!("{column}:{number}");
        }
        taken.insert(name.clone());
        names.push(name);
    }
    names
}

impl Sheet for Objects<'_> {
    fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        self.line.clear();
        match (self.in_array, std::mem::take(&mut self.is_first)) {
            (true, false) => self.line.push_str(",\n{"),
            _ => self.line.push('{'),
        }
        for (index, (key, cell)) in self.keys.iter().zip(cells).enumerate() {
            if index > 0 {
                self.line.push(',');
            }
            self.line.push_str(key);
            json::write(*cell, &mut self.line);
        }
        self.line.push_str(if self.in_array { "}" } else { "}\n" });
        self.out.write_all(self.line.as_bytes())
    }

    fn end(&mut self) -> io::Result<()> {
        if self.in_array { self.out.write_all(b"]\n") } else { Ok(()) }
    }
}

/// SQL literals, alone or in INSERT statements.
pub(super) struct Literals<'a> {
    opening: String,
    closing: &'static str,
    out: &'a mut dyn Write,
}

impl<'a> Literals<'a> {
    pub(super) fn begin(
        look: &Look,
        columns: &[String],
        table: Option<&str>,
        out: &'a mut dyn Write,
    ) -> io::Result<Self> {
        let Some(table) = table else {
            if look.has_headers() {
                let names: Vec<String> = columns.iter().map(|name| literal::quoted(name)).collect();
                writeln!(out, "{}", names.join(","))?;
            }
            return Ok(Self { opening: String::new(), closing: "", out });
        };
        let mut opening = format!("INSERT INTO {}", literal::name(table));
        if look.has_headers() {
            let names: Vec<String> = columns.iter().map(|name| literal::name(name)).collect();
            opening.push_str(&format!("({})", names.join(",")));
        }
        opening.push_str(" VALUES(");
        Ok(Self { opening, closing: ");", out })
    }
}

impl Sheet for Literals<'_> {
    fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        let values: Vec<String> = cells.iter().map(|cell| literal::value(*cell)).collect();
        writeln!(self.out, "{}{}{}", self.opening, values.join(","), self.closing)
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}
