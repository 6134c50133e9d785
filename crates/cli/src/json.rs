//! Values as JSON and back, without loss: the encoding of docs/guides/twill-command.md.
//!
//! | storage class | written |
//! |---|---|
//! | NULL | `null` |
//! | INTEGER | `42`; beyond 2^53 - 1, which readers that know only doubles round, `{"int":"9223372036854775807"}` |
//! | REAL | always with a fraction or an exponent: `1.0`, `0.5`, `1e300`; `{"real":"inf"}`, `{"real":"-inf"}` |
//! | TEXT | `"text"`; what is not UTF-8 is `{"text":"base64"}` |
//! | BLOB | `{"blob":"base64"}` |
//!
//! Invariants:
//! 1. Reading what was written gives the same value, bit by bit.
//!
//! What others write is read, too: booleans become 0 and 1, other objects and arrays their JSON text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value as Json};
use twill_engine::Value;

use crate::cell::Cell;

const EXACT_INTEGER_MAX: u64 = (1 << 53) - 1;

/// A value as JSON text.
pub(crate) fn write(cell: Cell<'_>, out: &mut String) {
    match cell {
        Cell::Null => out.push_str("null"),
        Cell::Integer(value) if value.unsigned_abs() <= EXACT_INTEGER_MAX => out.push_str(&value.to_string()),
        Cell::Integer(value) => out.push_str(&format!("{{\"int\":\"{value}\"}}")),
        Cell::Real(value) if value.is_finite() => out.push_str(&format!("{value:?}")),
        Cell::Real(value) => {
            out.push_str(if value > 0.0 { "{\"real\":\"inf\"}" } else { "{\"real\":\"-inf\"}" });
        }
        Cell::Text(value) => write_string(value, out),
        Cell::Garbled(bytes) => out.push_str(&format!("{{\"text\":\"{}\"}}", STANDARD.encode(bytes))),
        Cell::Blob(bytes) => out.push_str(&format!("{{\"blob\":\"{}\"}}", STANDARD.encode(bytes))),
    }
}

/// A string as JSON text.
pub(crate) fn write_string(text: &str, out: &mut String) {
    out.push_str(&Json::from(text).to_string());
}

/// What a JSON value is in SQL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Read {
    Value(Value),
    /// Text that is not UTF-8.
    Garbled(Vec<u8>),
}

/// Reads a value, ours or anybody's. The error says what is wrong with it.
pub(crate) fn read(json: Json) -> Result<Read, String> {
    Ok(Read::Value(match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Integer(value.into()),
        Json::Number(number) => read_number(&number)?,
        Json::String(text) => Value::Text(text),
        Json::Array(_) => Value::Text(json.to_string()),
        Json::Object(ref members) => {
            let mut members = members.iter();
            match (members.next(), members.next()) {
                (Some((tag, value)), None) => return read_tagged(tag, value, &json),
                _ => Value::Text(json.to_string()),
            }
        }
    }))
}

fn read_number(number: &Number) -> Result<Value, String> {
    if let Some(integer) = number.as_i64() {
        return Ok(Value::Integer(integer));
    }
    if number.is_u64() {
        return Err(format!("{number} is beyond 64-bit integers; write it as a string"));
    }
    number.as_f64().map(Value::Real).ok_or_else(|| format!("{number} is beyond double precision"))
}

fn read_tagged(tag: &str, value: &Json, whole: &Json) -> Result<Read, String> {
    let bytes =
        |text: &str| STANDARD.decode(text).map_err(|error| format!("{whole} does not hold base64: {error}"));
    Ok(match (tag, value) {
        ("int", Json::String(digits)) => Read::Value(Value::Integer(
            digits.parse().map_err(|_| format!("{whole} does not hold a 64-bit integer"))?,
        )),
        ("real", Json::String(name)) if name == "inf" => Read::Value(Value::Real(f64::INFINITY)),
        ("real", Json::String(name)) if name == "-inf" => Read::Value(Value::Real(f64::NEG_INFINITY)),
        ("real", Json::Number(number)) => Read::Value(Value::Real(
            number.as_f64().ok_or_else(|| format!("{whole} is beyond double precision"))?,
        )),
        ("blob", Json::String(text)) => Read::Value(Value::Blob(bytes(text)?)),
        ("text", Json::String(text)) => match String::from_utf8(bytes(text)?) {
            Ok(text) => Read::Value(Value::Text(text)),
            Err(error) => Read::Garbled(error.into_bytes()),
        },
        _ => Read::Value(Value::Text(whole.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(cell: Cell<'_>) -> String {
        let mut out = String::new();
        write(cell, &mut out);
        out
    }

    #[test]
    fn what_is_written_reads_back() {
        let cases = [
            (Value::Null, "null"),
            (Value::Integer(-7), "-7"),
            (Value::Integer(9_007_199_254_740_991), "9007199254740991"),
            (Value::Integer(i64::MIN), r#"{"int":"-9223372036854775808"}"#),
            (Value::Real(1.0), "1.0"),
            (Value::Real(-0.0), "-0.0"),
            (Value::Real(1e300), "1e300"),
            (Value::Real(f64::INFINITY), r#"{"real":"inf"}"#),
            (Value::Text("a\"\n\0€".into()), "\"a\\\"\\n\\u0000€\""),
            (Value::Blob(vec![0, 255]), r#"{"blob":"AP8="}"#),
        ];
        for (value, text) in cases {
            assert_eq!(written((&value).into()), text);
            let read = read(serde_json::from_str(text).unwrap()).unwrap();
            assert_eq!(format!("{read:?}"), format!("{:?}", Read::Value(value)), "{text}");
        }
        let garbled = written(Cell::Garbled(b"\xff"));
        assert_eq!(read(serde_json::from_str(&garbled).unwrap()).unwrap(), Read::Garbled(vec![255]));
    }

    #[test]
    fn what_others_write_is_read_or_refused_by_name() {
        let value = |text: &str| read(serde_json::from_str(text).unwrap());
        assert_eq!(value("true"), Ok(Read::Value(Value::Integer(1))));
        assert_eq!(value("[1,{\"b\":2,\"a\":1}]"), Ok(Read::Value("[1,{\"b\":2,\"a\":1}]".into())));
        assert_eq!(value("{\"x\":1}"), Ok(Read::Value("{\"x\":1}".into())));
        assert!(value("18446744073709551615").unwrap_err().contains("18446744073709551615"));
        assert!(value("{\"blob\":\"!\"}").unwrap_err().contains("base64"));
        assert!(value("{\"int\":\"x\"}").unwrap_err().contains("64-bit"));
    }
}
