//! The JSON of an answer, as docs/format/json.md fixes it.
//!
//! A reader whose numbers are all doubles (`JSON.parse`) loses neither value nor storage class:
//! 1. A bare number is an INTEGER exactly if its value is integral; it is then within ±(2^53 - 1).
//! 2. Other INTEGERs are `{"int":"…"}`; REALs with an integral or infinite value are `{"real":…}`.
//! 3. A string is TEXT, always; a BLOB is `{"blob":"base64"}`.
//! 4. No byte of the JSON is NUL: U+0000 is escaped.

use std::ffi::CString;
use std::fmt::{Display, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use twill_engine::QueryResult;
use twill_types::Value;

use crate::texts::Failure;

/// The largest magnitude up to which every integer is a double of its own: 2^53 - 1.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// A statement's result.
pub(crate) fn of_result(result: &QueryResult) -> CString {
    let mut out = String::with_capacity(128 + 16 * result.rows.len() * result.columns.len());
    out.push_str("{\"columns\":");
    list(&mut out, &result.columns, |out, column| string(out, &column.name));
    out.push_str(",\"types\":");
    list(&mut out, &result.columns, |out, column| match &column.decl_type {
        Some(declared) => string(out, declared),
        None => out.push_str("null"),
    });
    out.push_str(",\"rows\":");
    list(&mut out, &result.rows, |out, row| list(out, row, value));
    out.push_str(",\"changes\":");
    number(&mut out, result.changes);
    out.push_str(",\"last_insert_rowid\":");
    integer(&mut out, result.last_insert_rowid);
    out.push('}');
    c_text(out.into_bytes())
}

/// An error.
pub(crate) fn of_failure(failure: &Failure) -> CString {
    let mut out = format!(
        "{{\"error\":{{\"code\":{},\"extended_code\":{},\"message\":",
        failure.code, failure.extended_code
    );
    string(&mut out, &failure.message.to_string_lossy());
    out.push_str("}}");
    c_text(out.into_bytes())
}

/// Bytes as C reads them. NUL bytes, which JSON never holds but a message might, become `?`.
pub(crate) fn c_text(bytes: Vec<u8>) -> CString {
    CString::new(bytes).unwrap_or_else(|error| {
        let mut bytes = error.into_vec();
        bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b'?');
        CString::new(bytes).unwrap_or_default()
    })
}

fn list<T>(out: &mut String, items: &[T], mut each: impl FnMut(&mut String, &T)) {
    out.push('[');
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(']');
}

fn value(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Integer(n) => integer(out, *n),
        Value::Real(x) => real(out, *x),
        Value::Text(text) => string(out, text),
        Value::Blob(bytes) => {
            out.push_str("{\"blob\":\"");
            STANDARD.encode_string(bytes, out);
            out.push_str("\"}");
        }
    }
}

fn integer(out: &mut String, n: i64) {
    if n.unsigned_abs() <= EXACT_MAX {
        number(out, n);
    } else {
        out.push_str("{\"int\":\"");
        number(out, n);
        out.push_str("\"}");
    }
}

/// The fewest digits that read back as the same double, with a point or an exponent.
struct Shortest(f64);

impl Display for Shortest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

fn number(out: &mut String, number: impl Display) {
    // Writing into a String does not fail.
    let _ = write!(out, "{number}");
}

fn real(out: &mut String, x: f64) {
    if x.is_nan() {
        // SQLite stores NaN as NULL; a user function that answers one is read back the same way.
        out.push_str("null");
    } else if x.is_infinite() {
        out.push_str(if x > 0.0 { "{\"real\":\"inf\"}" } else { "{\"real\":\"-inf\"}" });
    } else if x.fract() == 0.0 {
        out.push_str("{\"real\":");
        number(out, Shortest(x));
        out.push('}');
    } else {
        number(out, Shortest(x));
    }
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 | 0x7f => "",
            _ => continue,
        };
        out.push_str(text.get(plain_from..at).unwrap_or_default());
        plain_from = at + 1;
        if escape.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(text.get(plain_from..).unwrap_or_default());
    out.push('"');
}

#[cfg(test)]
mod tests;
