//! Statements that read: joins, aggregates, windows, recursion, compounds, full-text search, boxes, JSON.
//!
//! Invariants:
//! 1. Joins are bounded by LIMIT and by the size of tables, and name large columns through `length` or `substr`.

use super::Generator;
use super::expression::scope_of;
use crate::model::{Sort, Table};

impl Generator {
    pub(super) fn query(&mut self) -> String {
        self.binding = true;
        let Some(table) = self.table(|_| true) else {
            return "SELECT count(*) FROM sqlite_schema".to_owned();
        };
        match table.sort {
            Sort::FullText => return self.search(&table),
            Sort::Box => return self.overlap(&table),
            Sort::View | Sort::Rowid | Sort::WithoutRowid => {}
        }
        match self.random.below(20) {
            0..=5 => self.select(&table),
            6..=8 => self.join(&table),
            9..=11 => self.aggregate(&table),
            12 => self.window(&table),
            13 => self.recursive_query(&table),
            14 => self.compound(&table),
            15 => self.correlated(&table),
            16 => format!("SELECT count(*) FROM {}", table.path()),
            17 => "SELECT last_insert_rowid(), total_changes()".to_owned(),
            18 => self.json(&table),
            _ => {
                let path = table.path();
                self.random
                    .pick(&[
                        format!("EXPLAIN QUERY PLAN SELECT * FROM {path} WHERE id = 3").as_str(),
                        format!("SELECT no_such_column FROM {path}").as_str(),
                        "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY rowid",
                        "SELECT * FROM sqlite_sequence ORDER BY name",
                        "SELECT name FROM temp.sqlite_schema",
                    ])
                    .to_owned()
            }
        }
    }

    fn select(&mut self, table: &Table) -> String {
        let scope = scope_of(table, "");
        let wanted = if self.random.percent(30) {
            "*".to_owned()
        } else {
            let count = 1 + self.random.index(3);
            (0..count).map(|_| self.expression(&scope, 2)).collect::<Vec<_>>().join(", ")
        };
        let distinct = if self.random.percent(10) { "DISTINCT " } else { "" };
        let filter = if self.random.percent(75) {
            format!(" WHERE {}", self.condition(&scope, 2))
        } else {
            String::new()
        };
        let order = self.random.pick(&["", " ORDER BY 1", " ORDER BY 1 DESC", " ORDER BY 1 COLLATE NOCASE"]);
        let limit = match self.random.below(4) {
            0 => format!(" LIMIT {} OFFSET {}", self.random.below(20), self.random.below(5)),
            _ => String::new(),
        };
        format!("SELECT {distinct}{wanted} FROM {}{filter}{order}{limit}", table.path())
    }

    fn join(&mut self, table: &Table) -> String {
        let Some(other) = self.table(|table| !matches!(table.sort, Sort::View)) else {
            return self.select(table);
        };
        let (one, two) = (scope_of(table, "p."), scope_of(&other, "q."));
        let kind = self.random.pick(&["JOIN", "LEFT JOIN", "JOIN", "RIGHT JOIN", "FULL JOIN"]);
        let (left, right) = (self.random.among(&one).cloned(), self.random.among(&two).cloned());
        let (Some(left), Some(right)) = (left, right) else { return self.select(table) };
        let mut both = one;
        both.extend(two);
        let (first, second) = (self.expression(&both, 1), self.expression(&both, 1));
        let filter = self.condition(&both, 1);
        format!(
            "SELECT {first}, {second} FROM {} AS p {kind} {} AS q ON {} = {} WHERE {filter} ORDER BY 1, 2 LIMIT 60",
            table.path(),
            other.path(),
            left.text,
            right.text
        )
    }

    fn aggregate(&mut self, table: &Table) -> String {
        let scope = scope_of(table, "");
        let key = self.expression(&scope, 1);
        let value = self.expression(&scope, 1);
        let function = self.random.pick(&[
            "count",
            "sum",
            "total",
            "avg",
            "min",
            "max",
            "count(DISTINCT",
            "group_concat",
            "json_group_array",
        ]);
        let value = if function.starts_with("group") || function.starts_with("json") {
            format!("typeof({value})")
        } else {
            value
        };
        let call = if function.contains('(') {
            format!("{function} {value})")
        } else {
            format!("{function}({value})")
        };
        let having = if self.random.percent(30) { " HAVING count(*) > 1" } else { "" };
        if self.random.percent(30) {
            return format!(
                "SELECT {call}, count(*) FROM {} WHERE {}",
                table.path(),
                self.condition(&scope, 1)
            );
        }
        format!("SELECT {key} AS k, {call}, count(*) FROM {} GROUP BY k{having} ORDER BY 1, 2", table.path())
    }

    fn window(&mut self, table: &Table) -> String {
        let scope = scope_of(table, "");
        let function = self.random.pick(&[
            "row_number()",
            "rank()",
            "dense_rank()",
            "ntile(3)",
            "lag(length(a), 1, -1)",
            "lead(length(a))",
            "first_value(typeof(a))",
            "sum(length(a))",
            "count(*)",
            "group_concat(typeof(a))",
        ]);
        let (part, order) = (self.expression(&scope, 1), self.expression(&scope, 1));
        let frame = if function.starts_with("sum") || function.starts_with("count") {
            self.random.pick(&[
                "",
                " ROWS BETWEEN 2 PRECEDING AND CURRENT ROW",
                " GROUPS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
                " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW",
            ])
        } else {
            ""
        };
        format!(
            "SELECT {function} OVER (PARTITION BY {part} ORDER BY {order}{frame}) FROM {} LIMIT 100",
            table.path()
        )
    }

    fn recursive_query(&mut self, table: &Table) -> String {
        let materialized = self.random.pick(&["", "MATERIALIZED ", "NOT MATERIALIZED "]);
        let scope = scope_of(table, "t.");
        let value = self.expression(&scope, 1);
        format!(
            "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 12), \
             t AS {materialized}(SELECT * FROM {} ORDER BY 1 LIMIT 10) \
             SELECT n, {value} FROM c LEFT JOIN t ON t.id = n ORDER BY 1, 2",
            table.path()
        )
    }

    fn compound(&mut self, table: &Table) -> String {
        let Some(other) = self.table(|table| table.is_plain()) else { return self.select(table) };
        let operator = self.random.pick(&["UNION", "UNION ALL", "EXCEPT", "INTERSECT"]);
        let one = self.expression(&scope_of(table, ""), 1);
        let two = self.expression(&scope_of(&other, ""), 1);
        format!(
            "SELECT {one} FROM {} {operator} SELECT {two} FROM {} ORDER BY 1 LIMIT 80",
            table.path(),
            other.path()
        )
    }

    fn correlated(&mut self, table: &Table) -> String {
        let Some(other) = self.table(|table| table.is_plain()) else { return self.select(table) };
        let exists = self.random.pick(&["EXISTS", "NOT EXISTS"]);
        let column =
            self.random.among(&table.columns).map_or("rowid", |column| column.name.as_str()).to_owned();
        format!(
            "SELECT length(p.{column}) FROM {} AS p WHERE {exists} (SELECT 1 FROM {} AS q WHERE q.id = p.{column}) ORDER BY 1",
            table.path(),
            other.path()
        )
    }

    fn json(&mut self, table: &Table) -> String {
        let column =
            self.random.among(&table.columns).map_or("rowid", |column| column.name.as_str()).to_owned();
        format!(
            "SELECT j.key, j.value, j.type FROM (SELECT json_group_array(length({column})) AS d FROM {}) AS s, \
             json_each(s.d) AS j LIMIT 40",
            table.path()
        )
    }

    fn search(&mut self, table: &Table) -> String {
        let (path, name) = (table.path(), &table.name);
        let pattern = self.random.pick(&[
            "alpha",
            "run*",
            "\"alpha beta\"",
            "alpha OR gamma",
            "alpha NOT beta",
            "b : ocean",
            "NEAR(blue tree, 3)",
            "running",
            "^alpha",
            "AND",
        ]);
        match self.random.below(4) {
            0 => format!(
                "SELECT rowid, highlight({name}, 1, '[', ']') FROM {path} WHERE {name} MATCH '{pattern}' ORDER BY rowid"
            ),
            1 => format!(
                "SELECT rowid, round(bm25({name}), 6) FROM {path} WHERE {name} MATCH '{pattern}' ORDER BY rank, rowid"
            ),
            2 => format!("SELECT count(*) FROM {path}"),
            _ => format!("SELECT rowid, * FROM {path}('{pattern}')"),
        }
    }

    fn overlap(&mut self, table: &Table) -> String {
        let path = table.path();
        let low = self.random.range(-20..=20);
        match self.random.below(3) {
            0 => format!("SELECT * FROM {path} WHERE id = {}", self.random.below(60)),
            1 => format!("SELECT count(*), min(x0), max(x1) FROM {path}"),
            _ => format!("SELECT * FROM {path} WHERE x0 <= {} AND x1 >= {low} ORDER BY id", low + 6),
        }
    }
}
