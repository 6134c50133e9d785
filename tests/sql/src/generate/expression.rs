//! Values, expressions and conditions.

use twill_engine::Value;

use super::Generator;
use crate::model::{Kind, Table};

/// A column in scope, as an expression names it.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) text: String,
    pub(super) kind: Kind,
}

const WORDS: &[&str] = &[
    "alpha",
    "beta",
    "Alpha",
    "gamma",
    "delta ",
    "",
    "zeta",
    "10",
    "-3.5",
    "1e3",
    "it''s",
    "naïve",
    "日本",
    "a_b",
    "a%b",
    "null",
    "omega omega",
];

/// The columns of a table, each behind `prefix`.
pub(super) fn scope_of(table: &Table, prefix: &str) -> Vec<Named> {
    let mut scope: Vec<Named> = table
        .columns
        .iter()
        .map(|column| Named { text: format!("{prefix}{}", column.name), kind: column.kind })
        .collect();
    if table.has_rowid() {
        scope.push(Named { text: format!("{prefix}rowid"), kind: Kind::Integer });
    }
    scope
}

impl Generator {
    /// A literal or a parameter for a column of this kind. `wild` values do not fit the kind.
    pub(super) fn value(&mut self, kind: Kind) -> String {
        let kind = if self.random.percent(6) { Kind::Any } else { kind };
        if self.random.percent(6) {
            return "NULL".to_owned();
        }
        match kind {
            Kind::Integer => self.integer(),
            Kind::Real => self.real(),
            Kind::Text => self.word(),
            Kind::Blob => self.blob(),
            Kind::Any => match self.random.below(4) {
                0 => self.integer(),
                1 => self.real(),
                2 => self.word(),
                _ => self.blob(),
            },
        }
    }

    fn bound(&mut self, value: Value) -> Option<String> {
        if !self.binding || !self.random.percent(35) {
            return None;
        }
        self.params.push(value);
        Some(format!("?{}", self.params.len()))
    }

    pub(super) fn integer(&mut self) -> String {
        let value = match self.random.below(40) {
            0 => 1_000_000_007,
            1 => -2_147_483_649,
            2 => 9_007_199_254_740_993,
            _ => self.random.range(-4..=40),
        };
        self.bound(Value::Integer(value)).unwrap_or_else(|| value.to_string())
    }

    fn real(&mut self) -> String {
        let value = match self.random.below(20) {
            0 => 1e300,
            1 => -0.0,
            2 => 0.1,
            _ => f64::from(self.random.range(-40..=80)) / 4.0,
        };
        self.bound(Value::Real(value)).unwrap_or_else(|| format!("{value:?}"))
    }

    pub(super) fn word(&mut self) -> String {
        let word = match self.random.below(12) {
            0 => format!("w{}", self.random.below(30)),
            1 => "long ".repeat(1 + self.random.index(60)),
            _ => self.random.pick(WORDS).to_owned(),
        };
        self.bound(Value::Text(word.replace("''", "'"))).unwrap_or_else(|| format!("'{word}'"))
    }

    fn blob(&mut self) -> String {
        match self.random.below(30) {
            // Overflow pages.
            0 => {
                let length = 1 + self.random.index(100_000);
                let byte = self.random.below(128_u8);
                self.bound(Value::Blob(vec![byte; length]))
                    .unwrap_or_else(|| format!("replace(hex(zeroblob({})), '00', 'q{byte}')", length / 4))
            }
            1..=3 => format!("zeroblob({})", self.random.below(5000)),
            _ => {
                // Below 128, so that text made of it is valid in every encoding: the engine refuses what is not UTF-8.
                let bytes: Vec<u8> = (0..self.random.below(12)).map(|_| self.random.below(128_u8)).collect();
                let text = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                self.bound(Value::Blob(bytes)).unwrap_or_else(|| format!("x'{text}'"))
            }
        }
    }

    /// A column in scope, cut short if it may be large.
    fn column(&mut self, scope: &[Named]) -> String {
        let Some(named) = self.random.among(scope).cloned() else { return self.integer() };
        match named.kind {
            Kind::Integer | Kind::Real => named.text,
            Kind::Text | Kind::Any if self.random.percent(70) => named.text,
            Kind::Text | Kind::Any => format!("substr({}, 1, 20)", named.text),
            Kind::Blob if self.random.percent(50) => format!("length({})", named.text),
            Kind::Blob => format!("hex(substr({}, 1, 8))", named.text),
        }
    }

    /// An expression over the scope.
    pub(super) fn expression(&mut self, scope: &[Named], depth: u32) -> String {
        if depth == 0 || self.random.percent(25) {
            return if self.random.percent(70) { self.column(scope) } else { self.value(Kind::Any) };
        }
        let deeper = depth - 1;
        match self.random.below(16) {
            0..=2 => {
                let (one, two) = (self.expression(scope, deeper), self.expression(scope, deeper));
                let operator = self.random.pick(&["+", "-", "*", "/", "%", "||", "&", "|", "<<", "->>"]);
                if operator == "||" {
                    return format!("substr({one} || {two}, 1, 200)");
                }
                if operator == "->>" {
                    return format!("json_object('k', length({one}), 'l', typeof({two})) ->> '$.k'");
                }
                format!("({one} {operator} {two})")
            }
            3 | 4 => self.condition(scope, deeper),
            5 => {
                let condition = self.condition(scope, deeper);
                let (one, two) = (self.expression(scope, deeper), self.expression(scope, deeper));
                format!("CASE WHEN {condition} THEN {one} ELSE {two} END")
            }
            6..=9 => self.call(scope, deeper),
            10 => {
                let kind = self.random.pick(&["INTEGER", "REAL", "TEXT", "NUMERIC"]);
                let inner = self.column(scope);
                format!("CAST(substr(hex({inner}), 1, 12) AS {kind})")
            }
            11 => format!("(-{})", self.expression(scope, deeper)),
            12 => format!("typeof({})", self.expression(scope, deeper)),
            13 => match self.table(|table| table.is_plain()) {
                Some(table) => {
                    let inner = scope_of(&table, "");
                    let column = self.column(&inner);
                    let function = self.random.pick(&["count", "max", "min", "sum", "total"]);
                    format!("(SELECT {function}({column}) FROM {})", table.path())
                }
                None => self.column(scope),
            },
            _ => self.column(scope),
        }
    }

    fn call(&mut self, scope: &[Named], depth: u32) -> String {
        let one = self.expression(scope, depth);
        match self.random.below(20) {
            0 => format!("abs({})", self.column(scope)),
            1 => format!("length({one})"),
            2 => format!("upper({one})"),
            3 => format!("coalesce({one}, {})", self.value(Kind::Any)),
            4 => format!("ifnull({one}, {})", self.column(scope)),
            5 => format!("nullif({one}, {})", self.column(scope)),
            6 => format!("substr({one}, {}, 5)", self.random.range(-3..=4)),
            7 => format!("replace({one}, 'a', 'bb')"),
            8 => format!("instr({one}, 'a')"),
            9 => format!("round({one}, 1)"),
            10 => format!("trim({one})"),
            11 => format!("quote(substr({one}, 1, 30))"),
            12 => format!("printf('%d-%.3f-%10s', {one}, {}, {})", self.column(scope), self.column(scope)),
            13 => format!("json_array({}, typeof({one}))", self.random.range(-4..=40)),
            14 => format!("json_extract(json_object('a', length({one}), 'b', json_array(1, 2)), '$.a')"),
            15 => format!("date('2024-02-28', '+' || abs(length({one})) || ' days')"),
            16 => format!("min({one}, {})", self.column(scope)),
            17 => format!("unicode({one})"),
            18 => format!("hex(substr({one}, 1, 6))"),
            _ => format!("iif({one}, {}, 'no')", self.column(scope)),
        }
    }

    /// A condition over the scope.
    pub(super) fn condition(&mut self, scope: &[Named], depth: u32) -> String {
        let column = self.column(scope);
        if depth > 0 && self.random.percent(25) {
            let (one, two) = (self.condition(scope, depth - 1), self.condition(scope, depth - 1));
            let operator = self.random.pick(&["AND", "OR"]);
            return format!("({one} {operator} {two})");
        }
        match self.random.below(14) {
            0 => format!("{column} IS NULL"),
            1 => format!("{column} IS NOT NULL"),
            2 => format!("{column} BETWEEN {} AND {}", self.integer(), self.integer()),
            3 => format!("{column} IN ({}, {}, {})", self.integer(), self.word(), self.integer()),
            4 => format!("{column} LIKE '%{}%'", self.random.pick(&["a", "et", "_", "1"])),
            5 => format!("{column} GLOB '{}*'", self.random.pick(&["a", "[a-m]", "1"])),
            6 => format!("NOT ({column} = {})", self.value(Kind::Any)),
            7 => match self.table(|table| table.is_plain()) {
                Some(table) => {
                    let inner = self.column(&scope_of(&table, ""));
                    format!("{column} IN (SELECT {inner} FROM {} LIMIT 20)", table.path())
                }
                None => format!("{column} > 0"),
            },
            8 => format!("{column} COLLATE NOCASE = {}", self.word()),
            9 => format!("{column} IS {}", self.value(Kind::Any)),
            _ => {
                let operator = self.random.pick(&["=", "<", ">", "<=", ">=", "<>"]);
                let value = self.value(Kind::Any);
                format!("{column} {operator} {value}")
            }
        }
    }

    /// A condition that few rows meet: by rowid or key where there is one.
    pub(super) fn narrow(&mut self, table: &Table, prefix: &str) -> String {
        let scope = scope_of(table, prefix);
        match self.random.below(5) {
            0 | 1 if table.has_rowid() => format!("{prefix}rowid = {}", self.integer()),
            2 if table.has_rowid() => {
                let divisor = self.random.range(3..=9);
                format!("{prefix}rowid % {divisor} = {}", self.random.range(0..=divisor - 1))
            }
            _ => self.condition(&scope, 1),
        }
    }
}
