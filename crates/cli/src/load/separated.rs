//! Rows of CSV and TSV files.
//!
//! A field that is empty (or is the chosen NULL text) and not quoted is NULL. A column is INTEGER if each of its values is
//! the decimal form of a 64-bit integer (`007` and `+1` are not), REAL if each is a number that a double keeps, otherwise
//! TEXT. In a column declared BLOB, `X'00FF'` is bytes.
//!
//! Invariants:
//! 1. A record has as many fields as there are columns; an empty line of a file with several columns is skipped.

use std::fs::File;
use std::io::BufReader;

use twill_engine::Value;

use super::{Place, Rows, Source, SurveyedColumn};
use crate::csv::{CsvError, Field, Reader};
use crate::failure::Failure;
use crate::interrupt::Work;
use crate::json::Read;
use crate::progress::Progress;

/// What the file looks like.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) separator: u8,
    /// Whether the first record names the columns.
    pub(crate) has_header: bool,
    /// Names instead of those of the header.
    pub(crate) columns: Option<Vec<String>>,
    /// The unquoted field that is NULL.
    pub(crate) null: String,
    /// Records to leave out at the start, before the header.
    pub(crate) skip: u64,
}

/// The rows of a file.
pub(crate) struct SeparatedRows {
    source: Source,
    layout: Layout,
    reader: Reader<BufReader<File>>,
    line: u64,
    width: usize,
    kinds: Vec<Kind>,
}

/// What becomes of a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Real,
    Blob,
}

/// What the values of a column have in common so far.
#[derive(Clone, Copy, Default)]
struct Common {
    seen: bool,
    not_integer: bool,
    not_real: bool,
}

impl SeparatedRows {
    pub(crate) fn open(source: Source, layout: Layout) -> Result<Self, Failure> {
        let reader = Reader::new(source.reader()?, layout.separator);
        Ok(Self { source, layout, reader, line: 1, width: 0, kinds: Vec::new() })
    }

    /// Begins at the first record, and answers the header's names.
    fn rewind(&mut self) -> Result<Option<Vec<String>>, Failure> {
        self.reader = Reader::new(self.source.reader()?, self.layout.separator);
        for _ in 0..self.layout.skip {
            self.raw_record()?;
        }
        if !self.layout.has_header {
            return Ok(None);
        }
        let Some(mut fields) = self.raw_record()? else { return Ok(Some(Vec::new())) };
        if let Some(first) = fields.first_mut()
            && first.bytes.starts_with(b"\xef\xbb\xbf")
        {
            first.bytes.drain(..3);
        }
        fields.into_iter().map(|field| self.text(field.bytes)).collect::<Result<_, _>>().map(Some)
    }

    fn raw_record(&mut self) -> Result<Option<Vec<Field>>, Failure> {
        self.line = self.reader.line();
        self.reader.record().map_err(|error| match error {
            CsvError::Io(error) => Failure::io(format!("reading {}", self.source.name()), error),
            CsvError::Malformed { .. } => Failure::Refused(format!("{}, {error}", self.source.name())),
        })
    }

    /// The next record that is not an empty line.
    fn record(&mut self) -> Result<Option<Vec<Field>>, Failure> {
        loop {
            let Some(fields) = self.raw_record()? else { return Ok(None) };
            match fields.as_slice() {
                [only] if self.width > 1 && only.bytes.is_empty() && !only.quoted => {}
                _ if fields.len() == self.width => return Ok(Some(fields)),
                _ => {
                    return Err(Failure::Refused(format!(
                        "{}, line {}: {} fields where there are {} columns",
                        self.source.name(),
                        self.line,
                        fields.len(),
                        self.width
                    )));
                }
            }
        }
    }

    fn text(&self, bytes: Vec<u8>) -> Result<String, Failure> {
        String::from_utf8(bytes).map_err(|_| {
            Failure::Refused(format!("{}, line {}: the text is not UTF-8", self.source.name(), self.line))
        })
    }

    fn is_null(&self, field: &Field) -> bool {
        !field.quoted && field.bytes == self.layout.null.as_bytes()
    }

    fn value(&self, field: Field, kind: Kind) -> Result<Value, Failure> {
        if self.is_null(&field) {
            return Ok(Value::Null);
        }
        let text = self.text(field.bytes)?;
        Ok(match kind {
            Kind::Integer => text.parse().map_or(Value::Text(text), Value::Integer),
            Kind::Real => text.parse().map_or(Value::Text(text), Value::Real),
            Kind::Blob => bytes_of(&text).map_or(Value::Text(text), Value::Blob),
            Kind::Text => Value::Text(text),
        })
    }
}

impl Rows for SeparatedRows {
    fn survey(&mut self, work: &Work, progress: &Progress) -> Result<Vec<SurveyedColumn>, Failure> {
        let header = self.rewind()?;
        let mut pending = None;
        let names = match (self.layout.columns.clone(), header) {
            (Some(names), _) | (None, Some(names)) => names,
            (None, None) => {
                pending = self.raw_record()?;
                let width = pending.as_ref().map_or(0, Vec::len);
                (1..=width).map(|number| format!("c{number}")).collect()
            }
        };
        self.width = names.len();
        let mut common = vec![Common::default(); self.width];
        while let Some(fields) = pending.take().map_or_else(|| self.record(), |fields| Ok(Some(fields)))? {
            work.check()?;
            for (field, common) in fields.iter().zip(&mut common) {
                if !self.is_null(field) {
                    common.add(&field.bytes);
                }
            }
            progress.at(self.reader.bytes_read());
        }
        let column = |(name, common): (String, Common)| SurveyedColumn { name, inferred: common.declared() };
        Ok(names.into_iter().zip(common).map(column).collect())
    }

    fn begin(&mut self, declared: &[String]) -> Result<(), Failure> {
        let kind = |declared: &String| match declared.to_ascii_uppercase().as_str() {
            "INTEGER" | "INT" | "BIGINT" => Kind::Integer,
            "REAL" | "DOUBLE" | "FLOAT" => Kind::Real,
            "BLOB" => Kind::Blob,
            _ => Kind::Text,
        };
        self.kinds = declared.iter().map(kind).collect();
        self.rewind().map(drop)
    }

    fn next(&mut self) -> Result<Option<Vec<Read>>, Failure> {
        let Some(fields) = self.record()? else { return Ok(None) };
        let kinds = self.kinds.iter();
        let values =
            fields.into_iter().zip(kinds).map(|(field, kind)| self.value(field, *kind).map(Read::Value));
        values.collect::<Result<_, _>>().map(Some)
    }

    fn place(&self) -> Place<'_> {
        Place { origin: self.source.name(), line: self.line, bytes: self.reader.bytes_read() }
    }
}

impl Common {
    fn add(&mut self, bytes: &[u8]) {
        self.seen = true;
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        self.not_integer |= !is_integer(text);
        self.not_real |= !is_real(text);
    }

    const fn declared(self) -> &'static str {
        match self {
            Self { seen: true, not_integer: false, .. } => "INTEGER",
            Self { seen: true, not_real: false, .. } => "REAL",
            _ => "TEXT",
        }
    }
}

/// Whether the text is how the integer is written.
fn is_integer(text: &str) -> bool {
    text.parse::<i64>().is_ok_and(|value| value.to_string() == text)
}

/// Whether the text is a decimal number that a double keeps, but for zeros at its end.
fn is_real(text: &str) -> bool {
    const DIGITS_MAX: usize = 15;
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let mantissa = unsigned.split(['e', 'E']).next().unwrap_or_default();
    let whole = mantissa.split('.').next().unwrap_or_default();
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let has_leading_zero = whole.len() > 1 && whole.starts_with('0');
    let is_decimal = unsigned.starts_with(|c: char| c.is_ascii_digit())
        && unsigned
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+'));
    is_decimal
        && !has_leading_zero
        && (digits <= DIGITS_MAX || text.parse().is_ok_and(|value: f64| format!("{value:?}") == text))
        && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// The bytes of `X'00FF'`.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix(['x', 'X'])?.strip_prefix('\'')?.strip_suffix('\'')?;
    if digits.len() % 2 != 0 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let pair = |start: usize| u8::from_str_radix(digits.get(start..start + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_inferred_only_where_nothing_is_lost() {
        let cases: [(&[&str], &str); 12] = [
            (&["1", "-20", "9223372036854775807"], "INTEGER"),
            (&["1", "0.5"], "REAL"),
            (&["1e300", "-1.25"], "REAL"),
            (&["0.30000000000000004"], "REAL"),
            (&["007"], "TEXT"),
            (&["+1"], "TEXT"),
            (&["9223372036854775808"], "TEXT"),
            (&["1.00000000000000000001"], "TEXT"),
            (&["00.5"], "TEXT"),
            (&["1e999"], "TEXT"),
            (&["inf", "nan"], "TEXT"),
            (&[], "TEXT"),
        ];
        for (values, expected) in cases {
            let mut common = Common::default();
            values.iter().for_each(|value| common.add(value.as_bytes()));
            assert_eq!(common.declared(), expected, "{values:?}");
        }
        assert_eq!(bytes_of("X'00fF'"), Some(vec![0, 255]));
        assert_eq!(bytes_of("x''"), Some(vec![]));
        assert_eq!(bytes_of("X'0'"), None);
        assert_eq!(bytes_of("X'+1'"), None);
    }
}
