//! Rows of JSON Lines: one object per line, a member for each column. A member that is absent is NULL.
//!
//! Columns are the members of all objects, in the order in which they first occur. A column has a type if all its values
//! that are not NULL have the same; otherwise it has none, so that each value keeps its own.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};

use serde_json::{Map, Value as Json};
use twill_engine::{Value, ValueType};

use super::{Place, Rows, Source, SurveyedColumn};
use crate::failure::Failure;
use crate::interrupt::Work;
use crate::json::{self, Read};
use crate::progress::Progress;

/// The rows of a file.
pub(crate) struct JsonRows {
    source: Source,
    reader: BufReader<File>,
    line: u64,
    bytes: u64,
    /// The columns by name.
    columns: HashMap<String, usize>,
}

/// What the values of a column have in common so far.
#[derive(Clone, Copy, Default)]
enum Common {
    #[default]
    Nothing,
    One(ValueType),
    Several,
}

impl JsonRows {
    pub(crate) fn open(source: Source) -> Result<Self, Failure> {
        let reader = source.reader()?;
        Ok(Self { source, reader, line: 0, bytes: 0, columns: HashMap::new() })
    }

    fn rewind(&mut self) -> Result<(), Failure> {
        self.reader = self.source.reader()?;
        (self.line, self.bytes) = (0, 0);
        Ok(())
    }

    fn object(&mut self) -> Result<Option<Map<String, Json>>, Failure> {
        let mut text = Vec::new();
        loop {
            text.clear();
            let read = self.reader.read_until(b'\n', &mut text);
            let read = read.map_err(|error| Failure::io(format!("reading {}", self.source.name()), error))?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            self.bytes += u64::try_from(read).unwrap_or(u64::MAX);
            if text.iter().any(|byte| !byte.is_ascii_whitespace()) {
                break;
            }
        }
        match serde_json::from_slice(&text) {
            Ok(Json::Object(members)) => Ok(Some(members)),
            Ok(_) => Err(self.refused("not a JSON object; each line must be one")),
            Err(error) => Err(self.refused(&error.to_string())),
        }
    }

    fn refused(&self, what: &str) -> Failure {
        Failure::Refused(format!("{}, line {}: {what}", self.source.name(), self.line))
    }

    fn read(&self, name: &str, value: Json) -> Result<Read, Failure> {
        json::read(value).map_err(|what| self.refused(&format!("{name}: {what}")))
    }
}

impl Rows for JsonRows {
    fn survey(&mut self, work: &Work, progress: &Progress) -> Result<Vec<SurveyedColumn>, Failure> {
        self.rewind()?;
        let mut names: Vec<String> = Vec::new();
        let mut common: Vec<Common> = Vec::new();
        while let Some(members) = self.object()? {
            work.check()?;
            for (name, value) in members {
                let index = *self.columns.entry(name.clone()).or_insert_with(|| {
                    names.push(name.clone());
                    common.push(Common::Nothing);
                    names.len() - 1
                });
                let found = match self.read(&name, value)? {
                    Read::Value(value) => value.value_type(),
                    Read::Garbled(_) => ValueType::Text,
                };
                if let Some(common) = common.get_mut(index) {
                    *common = common.with(found);
                }
            }
            progress.at(self.bytes);
        }
        let column = |(name, common): (String, Common)| SurveyedColumn { name, inferred: common.declared() };
        Ok(names.into_iter().zip(common).map(column).collect())
    }

    fn begin(&mut self, _: &[String]) -> Result<(), Failure> {
        self.rewind()
    }

    fn next(&mut self) -> Result<Option<Vec<Read>>, Failure> {
        let Some(members) = self.object()? else { return Ok(None) };
        let mut row: Vec<Read> = (0..self.columns.len()).map(|_| Read::Value(Value::Null)).collect();
        for (name, value) in members {
            let read = self.read(&name, value)?;
            let slot = self.columns.get(&name).and_then(|index| row.get_mut(*index));
            match slot {
                Some(slot) => *slot = read,
                None => return Err(self.refused("the file changed while it was read")),
            }
        }
        Ok(Some(row))
    }

    fn place(&self) -> Place<'_> {
        Place { origin: self.source.name(), line: self.line, bytes: self.bytes }
    }
}

impl Common {
    fn with(self, found: ValueType) -> Self {
        match (self, found) {
            (_, ValueType::Null) => self,
            (Self::Nothing, _) => Self::One(found),
            (Self::One(known), _) if known == found => self,
            _ => Self::Several,
        }
    }

    const fn declared(self) -> &'static str {
        match self {
            Self::One(ValueType::Integer) => "INTEGER",
            Self::One(ValueType::Real) => "REAL",
            Self::One(ValueType::Text) => "TEXT",
            Self::One(ValueType::Blob) => "BLOB",
            Self::One(ValueType::Null) | Self::Nothing | Self::Several => "",
        }
    }
}
