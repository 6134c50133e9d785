//! The dot commands that look at the schema: .tables, .indexes, .schema, .databases.

use std::io::{self, Write};

use twill_engine::{Connection, Error, Params, Value};
use unicode_width::UnicodeWidthStr as _;

use crate::dump::IS_USERS;
use crate::failure::Failure;
use crate::session::written;

/// Writes names in columns, as many as fit.
fn write_names(names: &[String], out: &mut dyn Write) -> io::Result<()> {
    const LINE_WIDTH: usize = 80;
    const GAP: usize = 2;
    let widest = names.iter().map(|name| name.width()).max().unwrap_or(0);
    let columns = ((LINE_WIDTH + GAP) / (widest + GAP)).max(1);
    let rows = names.len().div_ceil(columns).max(1);
    for row in 0..rows {
        let mut line = String::new();
        for name in names.iter().skip(row).step_by(rows) {
            line.push_str(name);
            line.push_str(&" ".repeat(widest - name.width() + GAP));
        }
        let line = line.trim_end();
        if !line.is_empty() {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

fn texts(connection: &Connection, sql: &str, params: Params) -> Result<Vec<String>, Failure> {
    let failed = |error: Error| Failure::statement(error, sql);
    let rows = connection.query(sql, params).map_err(failed)?.rows;
    let text = |value| if let Value::Text(text) = value { Some(text) } else { None };
    Ok(rows.into_iter().flatten().filter_map(text).collect())
}

fn pattern(given: Option<&str>) -> Params {
    Params::positional([given.unwrap_or("%")])
}

/// `.tables`
pub(super) fn tables(
    connection: &Connection,
    like: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let sql = format!(
        "SELECT CASE WHEN schema = 'main' THEN name ELSE schema || '.' || name END AS shown FROM pragma_table_list AS \
         listed WHERE type IN ('table', 'view', 'virtual') AND {IS_USERS} AND name LIKE ?1 ESCAPE '\\' ORDER BY shown"
    );
    write_names(&texts(connection, &sql, pattern(like))?, out).map_err(written)
}

/// `.indexes`
pub(super) fn indexes(
    connection: &Connection,
    like: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name LIKE ?1 ESCAPE '\\' UNION ALL SELECT name \
               FROM sqlite_temp_schema WHERE type = 'index' AND tbl_name LIKE ?1 ESCAPE '\\' ORDER BY 1";
    write_names(&texts(connection, sql, pattern(like))?, out).map_err(written)
}

/// `.schema`
pub(super) fn schema(
    connection: &Connection,
    like: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let sql = "SELECT sql FROM (SELECT sql, name, tbl_name, rowid AS place, 0 AS temp FROM sqlite_schema UNION ALL SELECT \
               sql, name, tbl_name, rowid, 1 FROM sqlite_temp_schema) WHERE sql IS NOT NULL AND (tbl_name LIKE ?1 ESCAPE \
               '\\' OR name LIKE ?1 ESCAPE '\\') ORDER BY temp, place";
    for text in texts(connection, sql, pattern(like))? {
        let ends_in_comment = text.lines().last().is_some_and(|last| last.contains("--"));
        writeln!(out, "{text}{};", if ends_in_comment { "\n" } else { "" }).map_err(written)?;
    }
    Ok(())
}

/// `.databases`
pub(super) fn databases(connection: &Connection, out: &mut dyn Write) -> Result<(), Failure> {
    let sql = "SELECT name || ': ' || CASE WHEN coalesce(file, '') = '' THEN '(in memory)' ELSE file END FROM \
               pragma_database_list ORDER BY seq";
    for text in texts(connection, sql, Params::None)? {
        writeln!(out, "{text}").map_err(written)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fill_columns_downwards() {
        let names: Vec<String> = (0..7).map(|number| format!("{number:0>30}")).collect();
        let mut out = Vec::new();
        write_names(&names, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), 4);
        assert_eq!(text.lines().next().unwrap(), format!("{}  {}", names[0], names[4]));
        let mut none = Vec::new();
        write_names(&[], &mut none).unwrap();
        assert!(none.is_empty());
    }
}
