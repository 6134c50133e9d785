//! A whole database, or some of its tables, as SQL text.
//!
//! ```text
//! PRAGMA foreign_keys=OFF; BEGIN TRANSACTION;
//! each table: CREATE, INSERT of each row        a virtual one: its row of sqlite_schema; its shadow tables as tables
//! sqlite_stat1, sqlite_sequence                 after the rows, whose insertion would change them
//! indexes, views, triggers                      after the rows, which must not fire them
//! COMMIT;
//! ```
//!
//! Invariants:
//! 1. The text is of one snapshot.
//! 2. Read by the stock shell or by ours into an empty database it gives an equal one: the same schema, rows, rowids,
//!    values to the last bit, AUTOINCREMENT sequences, user_version, application_id and encoding.
//! 3. Each statement stands on its own lines; no line depends on its end being LF or CR LF.
//!
//! Not in the text: sqlite_stat4 (many builds of SQLite cannot take it; ANALYZE makes it anew), the shadow tables of libSQL's
//! vector indexes (creating the index fills them), page size and auto-vacuum, which are the file's and not the
//! content's.

use std::io::{self, Write};
use std::ops::ControlFlow;

use twill_engine::{Connection, Value};

use crate::cell::Cell;
use crate::failure::Failure;
use crate::interrupt::Work;
use crate::literal;

/// A connection being dumped.
pub(crate) struct Dump<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) work: &'a Work,
    /// LIKE patterns (with \ as escape) of the tables to dump; none: all, and the sequences and settings of the database.
    pub(crate) patterns: &'a [String],
}

/// A row of sqlite_schema.
struct Entry {
    kind: String,
    name: String,
    table: String,
    sql: String,
}

impl Entry {
    fn is_virtual(&self) -> bool {
        let mut words = self.sql.split_ascii_whitespace();
        self.kind == "table"
            && words.next().is_some_and(|word| word.eq_ignore_ascii_case("create"))
            && words.next().is_some_and(|word| word.eq_ignore_ascii_case("virtual"))
    }
}

/// How the rows of a table are read and written.
struct Shape {
    select: String,
    insert: String,
}

impl Dump<'_> {
    /// Writes the text, telling `progress` how many rows were written.
    pub(crate) fn write(&self, out: &mut dyn Write, progress: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        in_snapshot(self.connection, || self.write_all(out, progress))
    }

    fn write_all(&self, out: &mut dyn Write, progress: &mut dyn FnMut(u64)) -> Result<(), Failure> {
        let entries = self.entries()?;
        self.write_head(out, &entries)?;
        let mut rows = 0;
        let tables = || entries.iter().filter(|entry| entry.kind == "table" && !is_internal(&entry.name));
        if tables().any(Entry::is_virtual) {
            line(out, "PRAGMA writable_schema=ON;")?;
        }
        for entry in tables() {
            if entry.is_virtual() {
                line(out, &virtual_entry(entry))?;
                continue;
            }
            statement(out, &entry.sql)?;
            self.write_rows(out, &entry.name, &mut rows, progress)?;
        }
        let has = |name: &str| entries.iter().any(|entry| entry.name == name);
        if has("sqlite_stat1") {
            line(out, "ANALYZE sqlite_schema;")?;
            line(out, "DELETE FROM sqlite_stat1;")?;
            self.write_rows(out, "sqlite_stat1", &mut rows, progress)?;
        }
        let counts = |entry: &Entry| entry.sql.to_ascii_lowercase().contains("autoincrement");
        if has("sqlite_sequence") && tables().any(counts) {
            line(out, "DELETE FROM sqlite_sequence;")?;
            self.write_rows(out, "sqlite_sequence", &mut rows, progress)?;
        }
        for kind in ["index", "view", "trigger"] {
            for entry in entries.iter().filter(|entry| entry.kind == kind) {
                statement(out, &entry.sql)?;
            }
        }
        if tables().any(Entry::is_virtual) {
            line(out, "PRAGMA writable_schema=RESET;")?;
        }
        line(out, "COMMIT;")
    }

    fn write_head(&self, out: &mut dyn Write, entries: &[Entry]) -> Result<(), Failure> {
        if self.patterns.is_empty() {
            let encoding = self.text("PRAGMA encoding")?;
            if encoding != "UTF-8" {
                // Must come before anything is written to the new database; BEGIN alone writes nothing.
                line(out, &format!("PRAGMA encoding={};", literal::quoted(&encoding)))?;
            }
        }
        if entries.iter().any(Entry::is_virtual) {
            line(
                out,
                "/* virtual tables: newer stock shells need .dbconfig defensive off before they read this */",
            )?;
        }
        line(out, "PRAGMA foreign_keys=OFF;")?;
        line(out, "BEGIN TRANSACTION;")?;
        if self.patterns.is_empty() {
            for pragma in ["user_version", "application_id"] {
                let value = self.text(&format!("PRAGMA {pragma}"))?;
                if value != "0" {
                    line(out, &format!("PRAGMA {pragma}={value};"))?;
                }
            }
        }
        Ok(())
    }

    /// The one value of a query, as text.
    fn text(&self, sql: &str) -> Result<String, Failure> {
        let rows = query(self.connection, sql)?;
        Ok(match rows.first().and_then(|row| row.first()) {
            Some(Value::Integer(value)) => value.to_string(),
            Some(Value::Text(value)) => value.clone(),
            _ => String::new(),
        })
    }

    /// What of the schema is dumped, in its order.
    fn entries(&self) -> Result<Vec<Entry>, Failure> {
        let sql = "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid";
        let mut entries = Vec::new();
        for row in query(self.connection, sql)? {
            if let [Value::Text(kind), Value::Text(name), Value::Text(table), Value::Text(sql)] =
                row.as_slice()
            {
                let [kind, name, table, sql] = [kind, name, table, sql].map(String::clone);
                entries.push(Entry { kind, name, table, sql });
            }
        }
        let vectors = vector_shadows(&entries);
        entries.retain(|entry| !vectors.contains(&entry.table));
        if self.patterns.is_empty() {
            return Ok(entries);
        }
        let mut chosen = Vec::new();
        for entry in entries {
            if self.chooses(&entry)? {
                chosen.push(entry);
            }
        }
        Ok(chosen)
    }

    /// Whether a pattern names the entry's table, or the virtual table whose shadow it is.
    fn chooses(&self, entry: &Entry) -> Result<bool, Failure> {
        const SQL: &str = "SELECT ?1 LIKE ?2 ESCAPE '\\' OR EXISTS (SELECT 1 FROM pragma_table_list AS shadow, \
             pragma_table_list AS owner WHERE shadow.name = ?1 AND shadow.type = 'shadow' AND owner.type = 'virtual' \
             AND owner.name LIKE ?2 ESCAPE '\\' AND substr(shadow.name, 1, length(owner.name) + 1) = owner.name || '_')";
        for pattern in self.patterns {
            let params = (entry.table.as_str(), pattern.as_str());
            let found = self.connection.query(SQL, params).map_err(|error| Failure::statement(error, SQL))?;
            if found.rows == [[Value::Integer(1)]] {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn write_rows(
        &self,
        out: &mut dyn Write,
        table: &str,
        written: &mut u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Failure> {
        let shape = self.shape(table)?;
        each_row(self.connection, self.work, &shape.select, |cells| {
            let values: Vec<String> = cells.iter().map(|cell| literal::value(*cell)).collect();
            writeln!(out, "{}{});", shape.insert, values.join(","))?;
            *written += 1;
            progress(*written);
            Ok(())
        })
    }

    fn shape(&self, table: &str) -> Result<Shape, Failure> {
        let quoted = literal::name(table);
        let sql = format!(
            "SELECT name, type, pk FROM pragma_table_xinfo({}) WHERE hidden = 0",
            literal::quoted(table)
        );
        let mut columns = Vec::new();
        let mut keys = Vec::new();
        for row in query(self.connection, &sql)? {
            if let [Value::Text(name), declared, pk] = row.as_slice() {
                columns.push(name.clone());
                if *pk != Value::Integer(0) {
                    keys.push(declared.clone());
                }
            }
        }
        let list = columns.iter().map(|name| literal::name(name)).collect::<Vec<_>>().join(",");
        let plain = format!("INSERT INTO {quoted} VALUES(");
        let is_listed = |alias: &&&str| !columns.iter().any(|column| column.eq_ignore_ascii_case(alias));
        let alias = ["rowid", "_rowid_", "oid"].iter().find(is_listed).filter(|_| self.has_rowid(table));
        let Some(alias) = alias else {
            return Ok(Shape { select: format!("SELECT {list} FROM {quoted}"), insert: plain });
        };
        if self.is_rowid_kept_anyway(table, alias, &keys)? {
            return Ok(Shape {
                select: format!("SELECT {list} FROM {quoted} ORDER BY {alias}"),
                insert: plain,
            });
        }
        Ok(Shape {
            select: format!("SELECT {alias},{list} FROM {quoted} ORDER BY {alias}"),
            insert: format!("INSERT INTO {quoted}({alias},{list}) VALUES("),
        })
    }

    fn has_rowid(&self, table: &str) -> bool {
        self.connection.prepare(&format!("SELECT _rowid_ FROM {}", literal::name(table))).is_ok()
            || self.connection.prepare(&format!("SELECT rowid FROM {}", literal::name(table))).is_ok()
    }

    /// Whether inserting the rows in their order gives them the same rowids again: one column is the rowid, or the rowids
    /// are 1, 2, 3 and so on.
    fn is_rowid_kept_anyway(&self, table: &str, alias: &str, keys: &[Value]) -> Result<bool, Failure> {
        if let [Value::Text(declared)] = keys
            && declared.eq_ignore_ascii_case("integer")
        {
            let sql =
                format!("SELECT 1 FROM pragma_index_list({}) WHERE origin = 'pk'", literal::quoted(table));
            // INTEGER PRIMARY KEY DESC, for one, is not the rowid: then it has an index.
            if query(self.connection, &sql)?.is_empty() {
                return Ok(true);
            }
        }
        let sql = format!("SELECT count(*), min({alias}), max({alias}) FROM {}", literal::name(table));
        Ok(match query(self.connection, &sql)?.first().map(Vec::as_slice) {
            Some([Value::Integer(0), ..]) => true,
            Some([Value::Integer(count), Value::Integer(1), Value::Integer(max)]) => count == max,
            _ => false,
        })
    }
}

/// Runs work inside one read transaction, unless a transaction is open already.
pub(crate) fn in_snapshot<T>(
    connection: &Connection,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    if !connection.is_autocommit() {
        return work();
    }
    let transaction = connection
        .transaction(twill_engine::TransactionMode::Deferred)
        .map_err(|error| Failure::statement(error, ""))?;
    let done = work()?;
    transaction.commit().map_err(|error| Failure::statement(error, ""))?;
    Ok(done)
}

/// Gives each row of a query to `each`.
pub(crate) fn each_row(
    connection: &Connection,
    work: &Work,
    sql: &str,
    mut each: impl FnMut(&[Cell<'_>]) -> io::Result<()>,
) -> Result<(), Failure> {
    let mut trouble = None;
    let outcome = connection.query_each(sql, (), |row| {
        let cells = Cell::all(&row)?;
        trouble = work.check().err().or_else(|| each(&cells).err().map(crate::session::written));
        Ok(if trouble.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    });
    match trouble {
        Some(trouble) => Err(trouble),
        None => outcome.map_err(|error| Failure::statement(error, sql)),
    }
}

/// All rows of a query.
pub(crate) fn query(connection: &Connection, sql: &str) -> Result<Vec<Vec<Value>>, Failure> {
    connection.query(sql, ()).map(|result| result.rows).map_err(|error| Failure::statement(error, sql))
}

fn is_internal(name: &str) -> bool {
    name.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("sqlite_"))
}

/// The SQL condition that a row of pragma_table_list called `listed` is a table or view of the user: none of SQLite's, and
/// none behind a libSQL vector index.
pub(crate) const IS_USERS: &str = "listed.name NOT LIKE 'sqlite!_%' ESCAPE '!' AND listed.name <> \
     'libsql_vector_meta_shadow' AND NOT EXISTS (SELECT 1 FROM sqlite_schema AS vector WHERE vector.type = 'index' AND \
     vector.sql LIKE '%libsql_vector_idx%' AND listed.name = vector.name || '_shadow')";

/// The tables behind libSQL's vector indexes.
fn vector_shadows(entries: &[Entry]) -> Vec<String> {
    let is_vector = |entry: &&Entry| entry.kind == "index" && entry.sql.contains("libsql_vector_idx");
    let mut shadows: Vec<String> =
        entries.iter().filter(is_vector).map(|entry| format!("{}_shadow", entry.name)).collect();
    shadows.push("libsql_vector_meta_shadow".to_owned());
    shadows
}

fn virtual_entry(entry: &Entry) -> String {
    let name = literal::quoted(&entry.name);
    format!(
        "INSERT INTO sqlite_schema(type,name,tbl_name,rootpage,sql)VALUES('table',{name},{name},0,{});",
        literal::value(Cell::Text(&entry.sql))
    )
}

fn statement(out: &mut dyn Write, sql: &str) -> Result<(), Failure> {
    // A comment at the end of the text would swallow the semicolon.
    let ends_in_comment = sql.lines().last().is_some_and(|last| last.contains("--"));
    line(out, &format!("{sql}{};", if ends_in_comment { "\n" } else { "" }))
}

fn line(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    writeln!(out, "{text}").map_err(crate::session::written)
}
