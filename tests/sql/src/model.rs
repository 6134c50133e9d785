//! What one connection can see, as the generator knows it: read off both sides after each change of a schema.
//!
//! Invariants:
//! 1. The model may be stale (another connection changed the schema, or a rollback undid a change). Statements built on a
//!    stale model fail, on both sides alike.
//! 2. Both sides run the statements that read it, so neither knows more than the other afterwards (a connection that has
//!    seen a new schema, or has opened a virtual table, fails differently from one that has not).

use twill_engine::Value;

use crate::answer::Outcome;
use crate::client::Client;

/// How a column's values look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Integer,
    Real,
    Text,
    Blob,
    Any,
}

/// A column that statements may name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) generated: bool,
    pub(crate) key: bool,
}

/// What a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Rowid,
    WithoutRowid,
    View,
    FullText,
    Box,
}

/// A table or view.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) sort: Sort,
    pub(crate) strict: bool,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: i64,
}

/// An index or a trigger.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) is_trigger: bool,
}

/// Everything a connection can name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) tables: Vec<Table>,
    pub(crate) objects: Vec<Object>,
    pub(crate) attached: bool,
}

impl Table {
    /// The name as SQL writes it.
    pub(crate) fn path(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Columns that can be written.
    pub(crate) fn writable(&self) -> Vec<Column> {
        self.columns.iter().filter(|column| !column.generated).cloned().collect()
    }

    /// Whether `rowid` names something.
    pub(crate) const fn has_rowid(&self) -> bool {
        matches!(self.sort, Sort::Rowid | Sort::FullText)
    }

    pub(crate) const fn is_plain(&self) -> bool {
        matches!(self.sort, Sort::Rowid | Sort::WithoutRowid)
    }
}

impl Model {
    /// Reads what the connection sees now.
    pub(crate) fn read(client: &mut dyn Client) -> Self {
        let schemas = rows(client, "PRAGMA database_list");
        let attached = schemas.iter().any(|row| text(row, 1) == "aux");
        let listed = rows(client, "PRAGMA table_list");
        let tables = listed.iter().filter_map(|row| table(client, row)).collect();
        let mut objects = Vec::new();
        for schema in ["main", "temp", "aux"] {
            if schema == "aux" && !attached {
                continue;
            }
            let sql = format!(
                "SELECT type, name FROM {schema}.sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
            );
            objects.extend(rows(client, &sql).iter().map(|row| Object {
                schema: schema.to_owned(),
                name: text(row, 1).to_owned(),
                is_trigger: text(row, 0) == "trigger",
            }));
        }
        Self { tables, objects, attached }
    }
}

fn rows(client: &mut dyn Client, sql: &str) -> Vec<Vec<Value>> {
    match client.run(sql, &[]).outcome {
        Outcome::Rows(_, rows) => rows,
        Outcome::Failed { .. } => Vec::new(),
    }
}

fn table(client: &mut dyn Client, row: &[Value]) -> Option<Table> {
    let (schema, name, sort) = (text(row, 0), text(row, 1), text(row, 2));
    if name.starts_with("sqlite_") || name == "anchor" || !matches!(schema, "main" | "temp" | "aux") {
        return None;
    }
    let sort = match (sort, name.as_bytes().first()) {
        ("table", _) if integer(row, 4) != 0 => Sort::WithoutRowid,
        ("table", _) => Sort::Rowid,
        ("view", _) => Sort::View,
        ("virtual", Some(b'f')) => Sort::FullText,
        ("virtual", _) => Sort::Box,
        _ => return None,
    };
    let columns = rows(client, &format!("PRAGMA {schema}.table_xinfo({name})"));
    let columns: Vec<Column> = columns.iter().filter_map(|row| column(row)).collect();
    if columns.is_empty() {
        return None;
    }
    let counted = rows(client, &format!("SELECT count(*) FROM {schema}.{name}"));
    Some(Table {
        schema: schema.to_owned(),
        name: name.to_owned(),
        sort,
        strict: integer(row, 5) != 0,
        columns,
        rows: counted.first().map_or(0, |row| integer(row, 0)),
    })
}

fn column(row: &[Value]) -> Option<Column> {
    let declared = text(row, 2).to_ascii_uppercase();
    let has = |part: &str| declared.contains(part);
    let kind = if has("INT") {
        Kind::Integer
    } else if has("CHAR") || has("TEXT") {
        Kind::Text
    } else if has("BLOB") {
        Kind::Blob
    } else if has("REAL") || has("DOUB") {
        Kind::Real
    } else {
        Kind::Any
    };
    let hidden = integer(row, 6);
    // 1 is a hidden column of a virtual table; 2 and 3 are generated columns.
    (hidden != 1).then(|| Column {
        name: text(row, 1).to_owned(),
        kind,
        generated: hidden >= 2,
        key: integer(row, 5) != 0,
    })
}

fn text(row: &[Value], column: usize) -> &str {
    match row.get(column) {
        Some(Value::Text(text)) => text,
        _ => "",
    }
}

fn integer(row: &[Value], column: usize) -> i64 {
    match row.get(column) {
        Some(Value::Integer(value)) => *value,
        _ => 0,
    }
}
