//! Names and values as SQL text that every SQLite reads back as the very same.
//!
//! Invariants:
//! 1. A value's literal evaluates to the value: same storage class, same bytes, same double.
//! 2. A literal survives a reader that works by lines and turns CR LF into LF (the stock shell does): it holds no CR, and
//!    no NUL, at which C strings end.
//!
//! SQLite does not read every decimal to the last bit of a double, and its versions differ. A double whose decimal form is
//! not safe is therefore written as a product: `6004799503160661*1.0/18014398509481984` is 0.3333333333333333.

use std::fmt::Write as _;

use crate::cell::Cell;

/// A name as SQL: bare where that is unambiguous, otherwise in double quotes.
pub(crate) fn name(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && KEYWORDS.binary_search(&name.to_ascii_uppercase().as_str()).is_err();
    if is_plain { name.to_owned() } else { quoted_name(name) }
}

/// A name in double quotes.
pub(crate) fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value as an SQL expression.
pub(crate) fn value(cell: Cell<'_>) -> String {
    match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Integer(i64::MIN) => "(-9223372036854775807-1)".to_owned(),
        Cell::Integer(value) => value.to_string(),
        Cell::Real(value) => real(value),
        Cell::Text(value) => text(value),
        Cell::Garbled(bytes) => format!("CAST({} AS TEXT)", blob(bytes)),
        Cell::Blob(bytes) => blob(bytes),
    }
}

/// Bytes as `X'…'`.
pub(crate) fn blob(bytes: &[u8]) -> String {
    let mut literal = String::with_capacity(bytes.len() * 2 + 3);
    literal.push_str("X'");
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(literal, "{byte:02X}");
    }
    literal.push('\'');
    literal
}

/// Text in single quotes, whatever it holds.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn text(value: &str) -> String {
    let mut literal = value.to_owned();
    let mut calls = Vec::new();
    for (character, code) in [('\0', 0), ('\r', 13)] {
        if literal.contains(character) {
            let mark = mark_absent_from(&literal, code);
            literal = literal.replace(character, &mark);
            calls.push(format!(",'{mark}',char({code}))"));
        }
    }
    let opening = "replace(".repeat(calls.len());
    format!("{opening}{}{}", quoted(&literal), calls.concat())
}

/// A text that stands for a character, and occurs nowhere else.
fn mark_absent_from(text: &str, code: u8) -> String {
    let mut mark = format!("\\{code:03o}");
    let mut number = 0;
    while text.contains(&mark) {
        number += 1;
        mark = format!("\\{code:03o}.{number};");
    }
    mark
}

/// A double: decimal where every SQLite reads that to the last bit, otherwise as a product of exact factors.
fn real(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "9e999".to_owned() } else { "-9e999".to_owned() };
    }
    let shortest = format!("{value:?}");
    if is_read_exactly(shortest.trim_start_matches('-')) { shortest } else { exact_product(value) }
}

/// Whether a decimal number is one division of exact integers, whose result is so far from the middle between two doubles
/// that rounding it twice, as SQLite does by way of `long double`, cannot go wrong.
fn is_read_exactly(decimal: &str) -> bool {
    const DIGITS_MAX: usize = 15;
    const DOUBLE_BITS: u32 = f64::MANTISSA_DIGITS;
    const SPARE_BITS: u32 = 8;
    let Some((whole, fraction)) = decimal.split_once('.') else { return false };
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let Ok(numerator) = digits.parse::<u128>() else { return false };
    if digits.len() > DIGITS_MAX || numerator == 0 {
        return numerator == 0;
    }
    let places = u32::try_from(fraction.len()).ok();
    let Some(denominator) = places.and_then(|places| 10_u128.checked_pow(places)) else { return false };
    let quotient = (numerator << (numerator.leading_zeros() - 1)) / denominator;
    let dropped_bits = (u128::BITS - quotient.leading_zeros()).saturating_sub(DOUBLE_BITS);
    let dropped = quotient & ((1 << dropped_bits) - 1);
    let half = 1_u128 << (dropped_bits - 1);
    dropped.abs_diff(half) > 1 << (dropped_bits - SPARE_BITS)
}

/// A finite double as its mantissa, an integer, times or divided by powers of two, each step of which is exact.
fn exact_product(value: f64) -> String {
    const STEP: i32 = 62;
    const MANTISSA_BITS: u32 = f64::MANTISSA_DIGITS - 1;
    const BIAS: i32 = 1023 + 52;
    let bits = value.to_bits();
    let fraction = bits & ((1 << MANTISSA_BITS) - 1);
    let biased = i32::try_from((bits >> MANTISSA_BITS) & 0x7ff).unwrap_or_default();
    let (mut mantissa, mut exponent) = match biased {
        0 => (fraction, 1 - BIAS),
        _ => (fraction | 1 << MANTISSA_BITS, biased - BIAS),
    };
    let twos = mantissa.trailing_zeros();
    mantissa >>= twos;
    exponent += i32::try_from(twos).unwrap_or_default();
    let mut product = format!("{}{mantissa}*1.0", if value.is_sign_negative() { "-" } else { "" });
    let operator = if exponent < 0 { '/' } else { '*' };
    exponent = exponent.abs();
    while exponent > 0 {
        let step = exponent.min(STEP);
        // Writing to a String cannot fail.
        let _ = write!(product, "{operator}{}", 1_u64 << step);
        exponent -= step;
    }
    product
}

/// The keywords that cannot be names, or are better not: SQLite's list, sorted.
pub(crate) const KEYWORDS: &[&str] = &[
    "ABORT",
    "ACTION",
    "ADD",
    "AFTER",
    "ALL",
    "ALTER",
    "ALWAYS",
    "ANALYZE",
    "AND",
    "AS",
    "ASC",
    "ATTACH",
    "AUTOINCREMENT",
    "BEFORE",
    "BEGIN",
    "BETWEEN",
    "BY",
    "CASCADE",
    "CASE",
    "CAST",
    "CHECK",
    "COLLATE",
    "COLUMN",
    "COMMIT",
    "CONFLICT",
    "CONSTRAINT",
    "CREATE",
    "CROSS",
    "CURRENT",
    "CURRENT_DATE",
    "CURRENT_TIME",
    "CURRENT_TIMESTAMP",
    "DATABASE",
    "DEFAULT",
    "DEFERRABLE",
    "DEFERRED",
    "DELETE",
    "DESC",
    "DETACH",
    "DISTINCT",
    "DO",
    "DROP",
    "EACH",
    "ELSE",
    "END",
    "ESCAPE",
    "EXCEPT",
    "EXCLUDE",
    "EXCLUSIVE",
    "EXISTS",
    "EXPLAIN",
    "FAIL",
    "FILTER",
    "FIRST",
    "FOLLOWING",
    "FOR",
    "FOREIGN",
    "FROM",
    "FULL",
    "GENERATED",
    "GLOB",
    "GROUP",
    "GROUPS",
    "HAVING",
    "IF",
    "IGNORE",
    "IMMEDIATE",
    "IN",
    "INDEX",
    "INDEXED",
    "INITIALLY",
    "INNER",
    "INSERT",
    "INSTEAD",
    "INTERSECT",
    "INTO",
    "IS",
    "ISNULL",
    "JOIN",
    "KEY",
    "LAST",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MATCH",
    "MATERIALIZED",
    "NATURAL",
    "NO",
    "NOT",
    "NOTHING",
    "NOTNULL",
    "NULL",
    "NULLS",
    "OF",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OTHERS",
    "OUTER",
    "OVER",
    "PARTITION",
    "PLAN",
    "PRAGMA",
    "PRECEDING",
    "PRIMARY",
    "QUERY",
    "RAISE",
    "RANGE",
    "RECURSIVE",
    "REFERENCES",
    "REGEXP",
    "REINDEX",
    "RELEASE",
    "RENAME",
    "REPLACE",
    "RESTRICT",
    "RETURNING",
    "RIGHT",
    "ROLLBACK",
    "ROW",
    "ROWS",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "TABLE",
    "TEMP",
    "TEMPORARY",
    "THEN",
    "TIES",
    "TO",
    "TRANSACTION",
    "TRIGGER",
    "UNBOUNDED",
    "UNION",
    "UNIQUE",
    "UPDATE",
    "USING",
    "VACUUM",
    "VALUES",
    "VIEW",
    "VIRTUAL",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
    "WITHOUT",
];

#[cfg(test)]
mod tests {
    use super::*;
    use twill_engine::{Connection, Database, Value};
    use twill_types::seeded::Chance;

    fn evaluate(connection: &Connection, literal: &str) -> Value {
        connection.query(&format!("SELECT {literal}"), ()).unwrap().rows[0][0].clone()
    }

    #[test]
    fn keywords_are_sorted() {
        assert!(KEYWORDS.is_sorted());
    }

    #[test]
    fn names_are_quoted_where_they_must_be() {
        let cases = [
            ("city", "city"),
            ("_x1", "_x1"),
            ("order", "\"order\""),
            ("a b", "\"a b\""),
            ("1a", "\"1a\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("", "\"\""),
            ("é", "\"é\""),
        ];
        for (given, expected) in cases {
            assert_eq!(name(given), expected);
        }
    }

    #[test]
    fn literals_evaluate_to_the_value() {
        let connection = Database::open(":memory:").unwrap().connect().unwrap();
        let values = [
            Value::Null,
            Value::Integer(i64::MIN),
            Value::Integer(i64::MAX),
            Value::Real(f64::INFINITY),
            Value::Real(f64::NEG_INFINITY),
            Value::Real(0.1),
            Value::Real(1.0),
            Value::Real(f64::MAX),
            Value::Real(f64::MIN_POSITIVE),
            Value::Real(1.0 / 3.0),
            Value::Text(String::new()),
            Value::Text("it's\r\n\0 \\000 \\015 \\000.1; ; -- \"".to_owned()),
            Value::Blob(Vec::new()),
            Value::Blob(vec![0, 255]),
        ];
        for expected in &values {
            let literal = value(expected.into());
            assert!(!literal.contains(['\r', '\0']), "{literal}");
            assert_eq!(evaluate(&connection, &literal), *expected, "{literal}");
        }
        let garbled = value(Cell::Garbled(b"a\xff"));
        assert_eq!(evaluate(&connection, &format!("typeof({garbled})||hex({garbled})")), "text61FF".into());
    }

    #[test]
    fn doubles_survive_bit_by_bit() {
        let connection = Database::open(":memory:").unwrap().connect().unwrap();
        let mut chance = Chance::from_seed(0x000d_0b1e);
        let mut numbers =
            vec![0.0, -0.0, 5e-324, f64::MIN_POSITIVE, f64::MAX, f64::MIN, 1e16, 1e22, 0.1, 123.456];
        for _ in 0..2000 {
            numbers.push(f64::from_bits(u64::from_le_bytes(chance.bytes(8).try_into().unwrap())));
            numbers.push(f64::from(chance.range(0..=2_000_000_u32)) / 1000.0 - 1000.0);
            let decimal = format!("{}.{}", chance.range(0..=99_999_u32), chance.range(0..=999_999_999_u32));
            numbers.push(decimal.parse().unwrap());
        }
        for number in numbers.into_iter().filter(|number| number.is_finite()) {
            let literal = value(Cell::Real(number));
            let Value::Real(read) = evaluate(&connection, &literal) else { panic!("{literal}") };
            assert_eq!(read.to_bits(), number.to_bits(), "{literal} for {number:?}");
        }
        assert_eq!(value(Cell::Real(123.456)), "123.456");
        assert_eq!(value(Cell::Real(-1.0)), "-1.0");
    }
}
