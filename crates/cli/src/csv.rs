//! CSV by RFC 4180, with NULL: a field that is empty and not quoted is NULL, `""` is the empty text, as Postgres's COPY has
//! it. (That is why the reader is our own: the usual ones do not tell whether a field was quoted.)
//!
//! Invariants:
//! 1. Reading what was written gives the same fields, quoted or not.
//! 2. A field is quoted if it is empty and not NULL, equals what stands for NULL, or holds a separator, a quote, CR or LF.
//!
//! Lines end in LF when written; LF, CR LF and CR are read. It refuses: a quote inside an unquoted field, anything but a
//! separator behind a closing quote, and an end of file inside a quoted field.

use std::io::{self, BufRead, Write};

/// One field of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) bytes: Vec<u8>,
    pub(crate) quoted: bool,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CsvError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("line {line}: {what}")]
    Malformed { line: u64, what: &'static str },
}

/// Reads records.
pub(crate) struct Reader<R> {
    input: R,
    separator: u8,
    line: u64,
    /// The last byte was a CR: an LF right behind it belongs to it.
    after_return: bool,
    bytes_read: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    FieldStart,
    Bare,
    Quoted,
    /// Behind a quote inside a quoted field: the end of it, or the first half of a doubled one.
    Quote,
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(input: R, separator: u8) -> Self {
        Self { input, separator, line: 1, after_return: false, bytes_read: 0 }
    }

    /// The line where the next record begins, counted from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// The next record; `None` at the end.
    pub(crate) fn record(&mut self) -> Result<Option<Vec<Field>>, CsvError> {
        let mut fields = Vec::new();
        let mut field = Field::default();
        let mut state = State::FieldStart;
        let mut is_empty = true;
        while let Some(byte) = self.byte()? {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            let completes_return = after_return && byte == b'\n';
            if matches!(byte, b'\n' | b'\r') && !completes_return {
                self.line += 1;
            }
            if completes_return && is_empty {
                continue;
            }
            is_empty = false;
            match (state, byte) {
                (State::Quoted, b'"') => state = State::Quote,
                (State::Quoted, _) => field.bytes.push(byte),
                (State::Quote, b'"') => {
                    field.bytes.push(b'"');
                    state = State::Quoted;
                }
                (State::FieldStart, b'"') => {
                    field.quoted = true;
                    state = State::Quoted;
                }
                (_, _) if byte == self.separator => {
                    fields.push(std::mem::take(&mut field));
                    state = State::FieldStart;
                }
                (_, b'\n' | b'\r') => {
                    fields.push(field);
                    return Ok(Some(fields));
                }
                (State::Quote, _) => return Err(self.malformed("text behind a closing quote")),
                (State::Bare, b'"') => {
                    return Err(self.malformed("a quote inside a field that is not quoted"));
                }
                (State::FieldStart | State::Bare, _) => {
                    field.bytes.push(byte);
                    state = State::Bare;
                }
            }
        }
        if state == State::Quoted {
            return Err(self.malformed("the file ends inside a quoted field"));
        }
        if is_empty {
            return Ok(None);
        }
        fields.push(field);
        Ok(Some(fields))
    }

    fn malformed(&self, what: &'static str) -> CsvError {
        CsvError::Malformed { line: self.line, what }
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        let byte = loop {
            match self.input.fill_buf() {
                Ok(buffer) => break buffer.first().copied(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        if byte.is_some() {
            self.input.consume(1);
            self.bytes_read += 1;
        }
        Ok(byte)
    }
}

/// Writes one field; `None` is NULL.
pub(crate) fn write_field(
    field: Option<&[u8]>,
    separator: u8,
    null: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Some(bytes) = field else { return out.write_all(null.as_bytes()) };
    let special = |byte: &u8| matches!(byte, b'"' | b'\n' | b'\r') || *byte == separator;
    if !bytes.is_empty() && bytes != null.as_bytes() && !bytes.iter().any(special) {
        return out.write_all(bytes);
    }
    out.write_all(b"\"")?;
    for (index, part) in bytes.split(|byte| *byte == b'"').enumerate() {
        if index > 0 {
            out.write_all(b"\"\"")?;
        }
        out.write_all(part)?;
    }
    out.write_all(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use twill_types::seeded::Chance;

    type Records = Vec<Vec<(String, bool)>>;

    fn read(text: &str) -> Result<Records, CsvError> {
        let mut reader = Reader::new(text.as_bytes(), b',');
        let mut records = Vec::new();
        while let Some(fields) = reader.record()? {
            let fields =
                fields.into_iter().map(|field| (String::from_utf8(field.bytes).unwrap(), field.quoted));
            records.push(fields.collect());
        }
        Ok(records)
    }

    fn bare(text: &str) -> (String, bool) {
        (text.to_owned(), false)
    }

    fn quoted(text: &str) -> (String, bool) {
        (text.to_owned(), true)
    }

    #[test]
    fn records_are_read() {
        let cases: [(&str, Records); 8] = [
            ("", vec![]),
            ("a,b", vec![vec![bare("a"), bare("b")]]),
            ("a,b\r\n,\"\"\n", vec![vec![bare("a"), bare("b")], vec![bare(""), quoted("")]]),
            ("\"a,\"\"b\"\"\r\nc\"\rd", vec![vec![quoted("a,\"b\"\r\nc")], vec![bare("d")]]),
            ("\n", vec![vec![bare("")]]),
            ("a\n\nb", vec![vec![bare("a")], vec![bare("")], vec![bare("b")]]),
            ("a,", vec![vec![bare("a"), bare("")]]),
            (" \" ", vec![]),
        ];
        for (text, expected) in &cases[..7] {
            assert_eq!(read(text).unwrap(), *expected, "{text:?}");
        }
        for (text, what) in [
            (cases[7].0, "line 1: a quote"),
            ("x\n\"a\"b", "line 2: text behind"),
            ("\"a", "line 1: the file ends"),
        ] {
            assert!(read(text).unwrap_err().to_string().starts_with(what), "{text:?}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut chance = Chance::from_seed(4180);
        for _ in 0..2000 {
            let null = chance.pick(&["", "NULL", "\\N"]);
            let columns = chance.range(1..=4);
            let mut expected: Vec<Vec<Option<Vec<u8>>>> = Vec::new();
            let mut text = Vec::new();
            for _ in 0..chance.range(0..=3) {
                let mut record = Vec::new();
                for column in 0..columns {
                    let length = chance.range(0..=4);
                    let letters: Vec<u8> = (0..length).map(|_| chance.pick(b"a,\"\n\r\xffNUL\\")).collect();
                    let field = if chance.percent(20) { None } else { Some(letters) };
                    if column > 0 {
                        text.push(b',');
                    }
                    write_field(field.as_deref(), b',', null, &mut text).unwrap();
                    record.push(field);
                }
                text.push(b'\n');
                expected.push(record);
            }
            let mut reader = Reader::new(text.as_slice(), b',');
            let mut found = Vec::new();
            while let Some(fields) = reader.record().unwrap() {
                let as_null =
                    |field: Field| (field.quoted || field.bytes != null.as_bytes()).then_some(field.bytes);
                found.push(fields.into_iter().map(as_null).collect::<Vec<_>>());
            }
            assert_eq!(found, expected, "{:?}", String::from_utf8_lossy(&text));
        }
    }
}
