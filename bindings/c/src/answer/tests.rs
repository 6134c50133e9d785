//! Values and members as docs/format/json.md writes them, and the way back for a reader whose numbers are doubles.

#![expect(clippy::cast_possible_truncation, reason = "exact where it matters, random elsewhere")]

use serde_json::Value as Json;
use twill_engine::{Column, QueryResult};
use twill_types::Value;

use super::*;

fn encoded(value: Value) -> String {
    let mut out = String::new();
    super::value(&mut out, &value);
    out
}

/// Decodes one value the way a client does whose every number is a double.
fn decoded(text: &str) -> Value {
    let json: Json = serde_json::from_str(text).unwrap();
    match &json {
        Json::Null => Value::Null,
        Json::String(text) => Value::Text(text.clone()),
        Json::Number(number) => {
            let x = number.as_f64().unwrap();
            if x.fract() == 0.0 { Value::Integer(x as i64) } else { Value::Real(x) }
        }
        Json::Object(tagged) => {
            assert_eq!(tagged.len(), 1, "{text}");
            match tagged.iter().next().map(|(tag, value)| (tag.as_str(), value)).unwrap() {
                ("int", Json::String(digits)) => Value::Integer(digits.parse().unwrap()),
                ("real", Json::String(name)) => Value::Real(name.parse().unwrap()),
                ("real", Json::Number(number)) => Value::Real(number.as_f64().unwrap()),
                ("blob", Json::String(bytes)) => Value::Blob(STANDARD.decode(bytes).unwrap()),
                other => panic!("{other:?}"),
            }
        }
        Json::Bool(_) | Json::Array(_) => panic!("{text}"),
    }
}

#[test]
fn values_are_written_as_the_format_says() {
    for (value, written) in [
        (Value::Null, "null"),
        (Value::Integer(0), "0"),
        (Value::Integer(-42), "-42"),
        (Value::Integer(9_007_199_254_740_991), "9007199254740991"),
        (Value::Integer(9_007_199_254_740_992), r#"{"int":"9007199254740992"}"#),
        (Value::Integer(-9_007_199_254_740_992), r#"{"int":"-9007199254740992"}"#),
        (Value::Integer(i64::MIN), r#"{"int":"-9223372036854775808"}"#),
        (Value::Real(0.5), "0.5"),
        (Value::Real(1.0), r#"{"real":1.0}"#),
        (Value::Real(0.0), r#"{"real":0.0}"#),
        (Value::Real(-0.0), r#"{"real":-0.0}"#),
        (Value::Real(1e300), r#"{"real":1e300}"#),
        (Value::Real(5e-324), "5e-324"),
        (Value::Real(f64::INFINITY), r#"{"real":"inf"}"#),
        (Value::Real(f64::NEG_INFINITY), r#"{"real":"-inf"}"#),
        (Value::Real(f64::NAN), "null"),
        (Value::Text("a\"b\\c\n\u{1}\0é\u{2028}🦉".into()), "\"a\\\"b\\\\c\\n\\u0001\\u0000é\u{2028}🦉\""),
        (Value::Text("{\"int\":\"1\"}".into()), r#""{\"int\":\"1\"}""#),
        (Value::Blob(vec![]), r#"{"blob":""}"#),
        (Value::Blob(vec![0, 255, 7, 8]), r#"{"blob":"AP8HCA=="}"#),
    ] {
        assert_eq!(encoded(value), written);
    }
}

#[test]
fn every_value_comes_back_with_its_class() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut values = vec![Value::Integer(i64::MAX), Value::Real(f64::MAX), Value::Real(f64::MIN_POSITIVE)];
    for _ in 0..20_000 {
        let bits = random();
        values.push(Value::Integer(bits.cast_signed() >> (bits % 64)));
        let x = f64::from_bits(random());
        values.push(if x.is_nan() { Value::Null } else { Value::Real(x) });
        values.push(Value::Real((bits as u32 as f64) / 4.0));
        let char = char::from_u32((bits >> 32) as u32 % 0x300).unwrap();
        values.push(Value::Text(format!("{char}{bits}\0")));
        values.push(Value::Blob(bits.to_le_bytes()[..(bits % 8) as usize].to_vec()));
    }
    for value in values {
        let text = encoded(value.clone());
        assert!(!text.contains('\0'), "{text}");
        let back = decoded(&text);
        assert_eq!(back, value, "{text}");
        if let (Value::Real(back), Value::Real(value)) = (back, value) {
            assert_eq!(back.to_bits(), value.to_bits(), "{text}");
        }
    }
}

#[test]
fn a_result_and_an_error_have_their_members() {
    let column = |name: &str, declared: Option<&str>| Column {
        name: name.into(),
        decl_type: declared.map(Into::into),
    };
    let result = QueryResult {
        columns: vec![column("n", Some("INTEGER")), column("a\"b", None)],
        rows: vec![vec![Value::Integer(1), Value::Null], vec![Value::Real(2.0), Value::Text("x".into())]],
        changes: 3,
        last_insert_rowid: i64::MAX,
    };
    assert_eq!(
        of_result(&result).to_str().unwrap(),
        concat!(
            r#"{"columns":["n","a\"b"],"types":["INTEGER",null],"rows":[[1,null],[{"real":2.0},"x"]],"#,
            r#""changes":3,"last_insert_rowid":{"int":"9223372036854775807"}}"#
        )
    );
    let failure =
        Failure { code: 1, extended_code: 257, offset: -1, message: c_text(b"no \"t\"\0".to_vec()) };
    assert_eq!(
        of_failure(&failure).to_str().unwrap(),
        r#"{"error":{"code":1,"extended_code":257,"message":"no \"t\"?"}}"#
    );
    assert_eq!(c_text(b"a\0b".to_vec()).to_bytes(), b"a?b");
}
