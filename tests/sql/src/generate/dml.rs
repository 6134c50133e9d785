//! Statements that change rows.

use super::Generator;
use super::expression::scope_of;
use crate::model::{Column, Kind, Sort, Table};

impl Generator {
    pub(super) fn dml(&mut self) -> String {
        const ROWS_MAX: i64 = 300;
        self.binding = true;
        let Some(table) = self.table(|_| true) else {
            self.binding = false;
            return self.ddl();
        };
        match table.sort {
            Sort::FullText => return self.full_text(&table),
            Sort::Box => return self.boxes(&table),
            Sort::View => {
                return format!(
                    "INSERT INTO {}(x, y) VALUES ({}, {})",
                    table.path(),
                    self.integer(),
                    self.value(Kind::Any)
                );
            }
            Sort::Rowid | Sort::WithoutRowid => {}
        }
        if table.rows > ROWS_MAX {
            let divisor = self.random.range(2..=4);
            if !table.has_rowid() || self.random.percent(10) {
                return format!("DELETE FROM {}", table.path());
            }
            return format!("DELETE FROM {} WHERE rowid % {divisor} = 0", table.path());
        }
        match self.random.below(24) {
            0..=8 => self.insert(&table),
            9 => self.insert_select(&table),
            10 => self.insert_many(&table),
            11 | 12 => self.upsert(&table),
            13..=18 => self.update(&table),
            19 => self.update_from(&table),
            20..=22 => self.delete(&table),
            _ => format!("INSERT INTO {} DEFAULT VALUES", table.path()),
        }
    }

    fn verb(&mut self) -> String {
        match self.random.below(10) {
            0 => "REPLACE INTO".to_owned(),
            1..=4 => {
                let conflict =
                    self.random.pick(&["IGNORE", "REPLACE", "ABORT", "FAIL", "ROLLBACK", "IGNORE"]);
                format!("INSERT OR {conflict} INTO")
            }
            _ => "INSERT INTO".to_owned(),
        }
    }

    /// The columns an insert names: nearly all that can be written.
    fn some_columns(&mut self, table: &Table) -> Vec<Column> {
        let mut columns = table.writable();
        if columns.len() > 1 && self.random.percent(25) {
            columns.remove(self.random.index(columns.len()));
        }
        columns
    }

    fn row(&mut self, columns: &[Column]) -> String {
        let values: Vec<String> = columns
            .iter()
            .map(|column| {
                if column.key && column.kind == Kind::Integer && self.random.percent(60) {
                    return "NULL".to_owned();
                }
                self.value(if column.name == "id" { Kind::Integer } else { column.kind })
            })
            .collect();
        format!("({})", values.join(", "))
    }

    fn returning(&mut self, table: &Table) -> String {
        if !self.random.percent(15) {
            return String::new();
        }
        let scope = scope_of(table, "");
        format!(" RETURNING {}, *", self.expression(&scope, 1))
    }

    fn insert(&mut self, table: &Table) -> String {
        let columns = self.some_columns(table);
        let verb = self.verb();
        let count = if self.random.percent(20) { 1 + self.random.index(15) } else { 1 };
        let rows: Vec<String> = (0..count).map(|_| self.row(&columns)).collect();
        let returning = self.returning(table);
        format!("{verb} {}({}) VALUES {}{returning}", table.path(), names(&columns), rows.join(", "))
    }

    fn insert_select(&mut self, table: &Table) -> String {
        let Some(source) = self.table(|table| table.sort != Sort::Box) else { return self.insert(table) };
        let columns = self.some_columns(table);
        let scope = scope_of(&source, "");
        let verb = self.verb();
        let values: Vec<String> = columns.iter().map(|_| self.expression(&scope, 1)).collect();
        let limit = self.random.below(20);
        format!(
            "{verb} {}({}) SELECT {} FROM {} LIMIT {limit}",
            table.path(),
            names(&columns),
            values.join(", "),
            source.path()
        )
    }

    /// Many rows at once, so that B-trees split and tiny caches spill.
    fn insert_many(&mut self, table: &Table) -> String {
        let columns: Vec<Column> = table.writable();
        let verb = self.verb();
        let values: Vec<String> = columns
            .iter()
            .map(|column| match column.kind {
                Kind::Integer => "n".to_owned(),
                Kind::Real => "n / 2.0".to_owned(),
                Kind::Text => "printf('%05d-%s', n, substr('lorem ipsum dolor sit amet', n % 20))".to_owned(),
                Kind::Blob => "zeroblob(n * 7 % 900)".to_owned(),
                Kind::Any => "CASE n % 3 WHEN 0 THEN n WHEN 1 THEN 'x' || n ELSE NULL END".to_owned(),
            })
            .collect();
        let first = self.random.below(400);
        let count = 5 + self.random.below(150);
        format!(
            "{verb} {}({}) WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s LIMIT {count}) SELECT {} FROM s",
            table.path(),
            names(&columns),
            values.join(", ")
        )
    }

    fn upsert(&mut self, table: &Table) -> String {
        let columns = table.writable();
        let row = self.row(&columns);
        let Some(set) = self.random.among(&columns).map(|column| column.name.clone()) else {
            return self.insert(table);
        };
        let target = if self.random.percent(70) { "(id)" } else { "" };
        let action = match self.random.below(4) {
            0 => "NOTHING".to_owned(),
            1 => format!("UPDATE SET {set} = excluded.{set} WHERE excluded.{set} IS NOT {set}"),
            _ => format!("UPDATE SET {set} = {}", self.value(Kind::Any)),
        };
        let target = if action == "NOTHING" { target } else { "(id)" };
        let returning = self.returning(table);
        format!(
            "INSERT INTO {}({}) VALUES {row} ON CONFLICT {target} DO {action}{returning}",
            table.path(),
            names(&columns)
        )
    }

    fn assignment(&mut self, table: &Table) -> String {
        let columns = table.writable();
        let Some(column) = self.random.among(&columns).cloned() else { return "a = 1".to_owned() };
        let scope = scope_of(table, "");
        let value = match self.random.below(4) {
            0 if !column.key => self.expression(&scope, 1),
            1 if column.kind == Kind::Integer && !column.key => format!("{} + 1", column.name),
            _ => self.value(column.kind),
        };
        format!("{} = {value}", column.name)
    }

    fn update(&mut self, table: &Table) -> String {
        let conflict = if self.random.percent(25) {
            self.random.pick(&["OR IGNORE ", "OR REPLACE ", "OR FAIL ", "OR ROLLBACK "])
        } else {
            ""
        };
        let mut set = self.assignment(table);
        if self.random.percent(20) {
            set = format!("{set}, {}", self.assignment(table));
        }
        let filter =
            if self.random.percent(8) { String::new() } else { format!(" WHERE {}", self.narrow(table, "")) };
        let returning = self.returning(table);
        format!("UPDATE {conflict}{} SET {set}{filter}{returning}", table.path())
    }

    fn update_from(&mut self, table: &Table) -> String {
        let Some(other) = self.table(|table| table.is_plain()) else { return self.update(table) };
        let columns: Vec<Column> = table.writable().into_iter().filter(|column| !column.key).collect();
        let Some(column) = self.random.among(&columns).cloned() else { return self.update(table) };
        format!(
            "UPDATE {} SET {} = o.a FROM (SELECT id, a FROM {} ORDER BY id, a LIMIT 5) AS o WHERE o.id = {}.id",
            table.path(),
            column.name,
            other.path(),
            table.name
        )
    }

    fn delete(&mut self, table: &Table) -> String {
        let filter =
            if self.random.percent(4) { String::new() } else { format!(" WHERE {}", self.narrow(table, "")) };
        let returning = self.returning(table);
        format!("DELETE FROM {}{filter}{returning}", table.path())
    }

    fn full_text(&mut self, table: &Table) -> String {
        let (path, name) = (table.path(), &table.name);
        let id = self.random.below(40);
        match self.random.below(10) {
            0 => {
                let command = self.random.pick(&["optimize", "rebuild", "integrity-check"]);
                format!("INSERT INTO {path}({name}) VALUES ('{command}')")
            }
            1 => format!("DELETE FROM {path} WHERE rowid = {id}"),
            2 => format!("UPDATE {path} SET a = {} WHERE rowid = {id}", self.word()),
            3 => format!("INSERT INTO {path}({name}, rank) VALUES ('merge', 16)"),
            4 if table.rows > 150 => format!("DELETE FROM {path} WHERE rowid % 3 = 0"),
            _ => {
                let text: Vec<String> = (0..=self.random.below(8)).map(|_| self.plain_word()).collect();
                format!("INSERT INTO {path}(a, b) VALUES ({}, '{}')", self.word(), text.join(" "))
            }
        }
    }

    fn plain_word(&mut self) -> String {
        self.random.pick(&["alpha", "beta", "gamma", "running", "runs", "ocean", "blue", "tree"]).to_owned()
    }

    fn boxes(&mut self, table: &Table) -> String {
        let path = table.path();
        let id = self.random.below(60);
        let (low, width) = (self.random.range(-20..=20), self.random.range(-1..=9));
        match self.random.below(8) {
            0 => format!("DELETE FROM {path} WHERE id = {id}"),
            1 => format!("DELETE FROM {path} WHERE x0 > {low} AND x1 < {}", low + 5),
            2 => format!("UPDATE {path} SET x1 = x1 + 1 WHERE id = {id}"),
            _ if table.columns.len() == 5 => format!(
                "INSERT OR REPLACE INTO {path} VALUES ({id}, {low}, {}, {}, {})",
                low + width,
                low - 1,
                low + 2
            ),
            _ => format!("INSERT INTO {path} VALUES ({id}, {low}, {}, {})", low + width, self.word()),
        }
    }
}

fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ")
}
