//! Values as one line of text for eyes.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::cell::Cell;
use crate::literal;

/// A value on one line. Blobs are shown as literals, long ones cut.
pub(super) fn shown<'a>(cell: Cell<'a>, null: &str) -> Cow<'a, str> {
    const BLOB_BYTES_MAX: usize = 32;
    match cell {
        Cell::Null => Cow::Owned(null.to_owned()),
        Cell::Integer(value) => Cow::Owned(value.to_string()),
        Cell::Real(value) => Cow::Owned(real(value)),
        Cell::Text(text) => visible(text),
        Cell::Garbled(bytes) => Cow::Owned(visible(&String::from_utf8_lossy(bytes)).into_owned()),
        Cell::Blob(bytes) => Cow::Owned(match bytes.get(..BLOB_BYTES_MAX) {
            Some(start) if bytes.len() > BLOB_BYTES_MAX => {
                format!("{}… ({} bytes)", literal::blob(start).trim_end_matches('\''), bytes.len())
            }
            _ => literal::blob(bytes),
        }),
    }
}

/// A double as SQLite's own shell writes it: `Inf`, or the fewest digits that read back.
pub(super) fn real(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "Inf".to_owned() } else { "-Inf".to_owned() };
    }
    format!("{value:?}")
}

/// Text with its control characters as escapes.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            '\r' => shown.push_str("\\r"),
            _ if character.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(character));
            }
            _ => shown.push(character),
        }
    }
    Cow::Owned(shown)
}
