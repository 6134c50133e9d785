//! Statements that change a schema.

use super::Generator;
use super::expression::scope_of;
use crate::model::{Kind, Table};

const CONFLICTS: &[&str] =
    &["", "", "", "ON CONFLICT ABORT", "ON CONFLICT IGNORE", "ON CONFLICT REPLACE", "ON CONFLICT FAIL"];

impl Generator {
    pub(super) fn ddl(&mut self) -> String {
        let few = self.seat().model.tables.len() < 4;
        let weights = if few { [60, 8, 5, 6, 4, 6, 3] } else { [20, 22, 10, 12, 14, 6, 16] };
        match self.random.weighted(&weights) {
            0 => self.create_table(),
            1 => self.create_index(),
            2 => self.create_view(),
            3 => self.create_trigger(),
            4 => self.drop_object(),
            5 => self.create_virtual(),
            _ => self.alter(),
        }
    }

    /// A schema, and the name of a new table in it.
    fn place(&mut self) -> (String, String) {
        let number = self.random.below(5);
        let attached = self.seat().model.attached;
        match self.random.below(10) {
            0 => (String::new(), format!("temp.m{}", number % 2)),
            1 | 2 if attached => ("aux".to_owned(), format!("aux.a{}", number % 3)),
            _ => ("main".to_owned(), format!("main.t{number}")),
        }
    }

    fn create_table(&mut self) -> String {
        let (_, path) = self.place();
        let exists = if self.random.percent(10) { "IF NOT EXISTS " } else { "" };
        if self.random.percent(8)
            && let Some(source) = self.table(|table| table.is_plain())
        {
            return format!("CREATE TABLE {exists}{path} AS SELECT * FROM {} LIMIT 30", source.path());
        }
        let strict = self.random.percent(12);
        let without_rowid = self.random.percent(15);
        let mut parts = vec![match self.random.below(if without_rowid { 2 } else { 5 }) {
            0 => "id TEXT PRIMARY KEY".to_owned(),
            1 if strict => "id INTEGER PRIMARY KEY".to_owned(),
            1 => "id NUMERIC PRIMARY KEY".to_owned(),
            2 => "id INTEGER PRIMARY KEY AUTOINCREMENT".to_owned(),
            3 => "id INTEGER".to_owned(),
            _ => "id INTEGER PRIMARY KEY".to_owned(),
        }];
        let count = 2 + self.random.index(4);
        for name in ["a", "b", "c", "d", "e"].iter().take(count) {
            parts.push(self.column_definition(name, strict));
        }
        if self.random.percent(20) {
            let stored = self.random.pick(&["STORED", "VIRTUAL"]);
            let expression =
                self.random.pick(&["length(a)", "a || b", "coalesce(a, b, 0)", "abs(length(b) - 3)"]);
            let kind = if strict { "ANY" } else { "" };
            parts.push(format!("g {kind} AS ({expression}) {stored}"));
        }
        match self.random.below(12) {
            0 => parts.push("CHECK (a IS NULL OR a <> 13)".to_owned()),
            1 => parts.push(format!("UNIQUE (a, b) {}", self.random.pick(CONFLICTS))),
            2 => {
                let action =
                    self.random.pick(&["CASCADE", "SET NULL", "RESTRICT", "NO ACTION", "SET DEFAULT"]);
                let deferred = self.random.pick(&["", "DEFERRABLE INITIALLY DEFERRED"]);
                let parent = self.random.below(5);
                parts.push(format!(
                    "FOREIGN KEY (b) REFERENCES t{parent}(id) ON DELETE {action} ON UPDATE CASCADE {deferred}"
                ));
            }
            _ => {}
        }
        let mut options = Vec::new();
        if strict {
            options.push("STRICT");
        }
        if without_rowid {
            options.push("WITHOUT ROWID");
        }
        format!("CREATE TABLE {exists}{path}({}) {}", parts.join(", "), options.join(", "))
    }

    fn column_definition(&mut self, name: &str, strict: bool) -> String {
        let kind = if strict {
            self.random.pick(&["INTEGER", "REAL", "TEXT", "BLOB", "ANY", "INT"])
        } else {
            self.random.pick(&[
                "INTEGER",
                "REAL",
                "TEXT",
                "BLOB",
                "BLOB",
                "NUMERIC",
                "",
                "VARCHAR(10)",
                "BOOLEAN",
            ])
        };
        let constraint = match self.random.below(14) {
            0 => format!("NOT NULL {} DEFAULT 7", self.random.pick(CONFLICTS)),
            1 => format!("UNIQUE {}", self.random.pick(CONFLICTS)),
            2 => "DEFAULT (1 + 2)".to_owned(),
            3 => "COLLATE NOCASE".to_owned(),
            4 => "COLLATE RTRIM".to_owned(),
            8 => format!("CHECK ({name} IS NULL OR {name} <> 3)"),
            5 => format!("CHECK (typeof({name}) <> 'blob' OR length({name}) < 50000)"),
            6 => format!("REFERENCES t{}(id) ON DELETE SET NULL", self.random.below(5)),
            7 => "DEFAULT 'dflt'".to_owned(),
            _ => String::new(),
        };
        format!("{name} {kind} {constraint}")
    }

    fn create_index(&mut self) -> String {
        let Some(table) = self.table(|table| table.is_plain()) else { return self.create_table() };
        let unique = if self.random.percent(15) { "UNIQUE " } else { "" };
        let mut keys = Vec::new();
        for _ in 0..=self.random.below(2) {
            let Some(column) = self.random.among(&table.columns).cloned() else { continue };
            let order = self.random.pick(&["", "", "DESC", "COLLATE NOCASE"]);
            keys.push(match self.random.below(6) {
                0 => format!("length({})", column.name),
                1 if column.kind == Kind::Text => format!("lower({}) {order}", column.name),
                _ => format!("{} {order}", column.name),
            });
        }
        let partial = match self.random.below(5) {
            0 => " WHERE a IS NOT NULL",
            1 => " WHERE id > 5",
            _ => "",
        };
        let (name, schema) = (self.random.below(10), &table.schema);
        format!("CREATE {unique}INDEX {schema}.i{name} ON {}({}){partial}", table.name, keys.join(", "))
    }

    fn create_view(&mut self) -> String {
        // SQLite keeps the text of a view: one in `aux` that names `aux` makes that file unreadable by itself.
        let Some(table) = self.table(|table| table.is_plain() && table.schema != "aux") else {
            return self.create_table();
        };
        let scope = scope_of(&table, "");
        let (one, two) = (self.expression(&scope, 1), self.expression(&scope, 1));
        let condition = self.condition(&scope, 0);
        let kind = if self.random.percent(10) { "TEMP " } else { "" };
        let (prefix, source) = if table.schema == "main" || !kind.is_empty() {
            ("", table.path())
        } else {
            ("temp.", table.name.clone())
        };
        let name = self.random.below(3);
        let source = if kind.is_empty() { source.trim_start_matches("main.").to_owned() } else { source };
        format!(
            "CREATE {kind}VIEW {prefix}v{name}(x, y) AS SELECT {one}, {two} FROM {source} WHERE {condition}"
        )
    }

    fn create_trigger(&mut self) -> String {
        let names = if self.recursive { 1 } else { 3 };
        let name = self.random.below(names);
        if !self.recursive
            && self.random.percent(15)
            && let Some(view) =
                self.table(|table| table.sort == crate::model::Sort::View && table.schema == "main")
            && let Some(target) = self.table(|table| table.is_plain() && table.schema == "main")
        {
            return format!(
                "CREATE TRIGGER g{name} INSTEAD OF INSERT ON {} BEGIN INSERT OR IGNORE INTO {}(id, a) VALUES (new.x, new.y); END",
                view.name, target.name
            );
        }
        let Some(table) = self.table(|table| table.is_plain() && table.schema == "main") else {
            return self.create_table();
        };
        let Some(target) = self.table(|table| table.is_plain() && table.schema == "main") else {
            return self.create_table();
        };
        let event = if self.recursive {
            "INSERT"
        } else {
            self.random.pick(&["INSERT", "INSERT", "UPDATE", "UPDATE OF a, b", "DELETE"])
        };
        let row = if event == "DELETE" { "old" } else { "new" };
        let when = self.random.pick(&["BEFORE", "AFTER", "AFTER"]);
        let guard = match self.random.below(4) {
            0 => format!(" WHEN {row}.a IS NOT NULL"),
            1 => format!(" WHEN length({row}.b) > 2"),
            _ => String::new(),
        };
        let mut body = String::new();
        for _ in 0..=self.random.below(2) {
            let statement = self.trigger_statement(&target, row);
            body.push_str(&statement);
        }
        format!("CREATE TRIGGER g{name} {when} {event} ON {}{guard} BEGIN {body}END", table.name)
    }

    fn trigger_statement(&mut self, target: &Table, row: &str) -> String {
        let name = &target.name;
        let number = self.random.below(30);
        match self.random.below(if self.recursive { 1 } else { 6 }) {
            1 if target.has_rowid() => format!("UPDATE {name} SET b = {row}.a WHERE rowid = {number}; "),
            2 if target.has_rowid() => format!("DELETE FROM {name} WHERE rowid = {number}; "),
            3 => format!("SELECT CASE WHEN {row}.a = 11 THEN RAISE(ABORT, 'eleven') END; "),
            4 => format!("SELECT CASE WHEN {row}.a = 12 THEN RAISE(IGNORE) END; "),
            5 => format!("SELECT CASE WHEN {row}.a = 17 THEN RAISE(ROLLBACK, 'seventeen') END; "),
            _ => format!("INSERT OR IGNORE INTO {name}(a, b) VALUES ({row}.a, {number}); "),
        }
    }

    fn drop_object(&mut self) -> String {
        let exists = if self.random.percent(20) { "IF EXISTS " } else { "" };
        let objects = self.seat().model.objects.clone();
        if self.random.percent(60)
            && let Some(object) = self.random.among(&objects)
        {
            let kind = if object.is_trigger { "TRIGGER" } else { "INDEX" };
            return format!("DROP {kind} {exists}{}.{}", object.schema, object.name);
        }
        match self.table(|_| true) {
            Some(table) if table.sort == crate::model::Sort::View => {
                format!("DROP VIEW {exists}{}", table.path())
            }
            Some(table) => format!("DROP TABLE {exists}{}", table.path()),
            None => "DROP TABLE t0".to_owned(),
        }
    }

    fn create_virtual(&mut self) -> String {
        match self.random.below(5) {
            0 => "CREATE VIRTUAL TABLE r0 USING rtree(id, x0, x1, y0, y1)".to_owned(),
            1 => "CREATE VIRTUAL TABLE r1 USING rtree_i32(id, x0, x1, +note)".to_owned(),
            2 => "CREATE VIRTUAL TABLE f0 USING fts5(a, b)".to_owned(),
            3 => "CREATE VIRTUAL TABLE f1 USING fts5(a, b, prefix='2 3', tokenize='porter')".to_owned(),
            _ => "CREATE VIRTUAL TABLE f0 USING fts5(a, b, detail=column)".to_owned(),
        }
    }

    fn alter(&mut self) -> String {
        let Some(table) = self.table(|table| table.is_plain()) else { return self.create_table() };
        let path = table.path();
        let column =
            self.random.among(&table.columns).map_or_else(|| "a".to_owned(), |column| column.name.clone());
        match self.random.below(8) {
            0 => {
                let to = self.random.below(5);
                format!(
                    "ALTER TABLE {path} RENAME TO {}{to}",
                    table.name.trim_end_matches(|c: char| c.is_ascii_digit())
                )
            }
            1 | 2 => format!(
                "ALTER TABLE {path} RENAME COLUMN {column} TO {}",
                self.random.pick(&["a", "b", "c", "h", "k"])
            ),
            3 | 4 => {
                let name = self.random.pick(&["a", "b", "h", "k", "l"]);
                let definition = self.column_definition(name, table.strict);
                format!("ALTER TABLE {path} ADD COLUMN {definition}")
            }
            5 | 6 => format!("ALTER TABLE {path} DROP COLUMN {column}"),
            _ => format!("ALTER TABLE {path} ALTER COLUMN {column} TO {column} TEXT"),
        }
    }
}
