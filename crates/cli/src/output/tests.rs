//! Each format against the very text it shall write, and each setting against the format it changes.

use super::*;

fn written(look: &Look, columns: &[&str], rows: &[&[Cell<'_>]]) -> String {
    let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
    let mut out = Vec::new();
    let mut sheet = look.begin(&columns, &mut out).unwrap();
    for row in rows {
        sheet.row(row).unwrap();
    }
    sheet.end().unwrap();
    drop(sheet);
    String::from_utf8(out).unwrap()
}

fn look(format: Format) -> Look {
    Look { format, ..Look::default() }
}

const ROWS: &[&[Cell<'static>]] = &[
    &[Cell::Integer(1), Cell::Text("日本"), Cell::Null],
    &[Cell::Integer(-20), Cell::Text("a|b\n\u{1b}[31m"), Cell::Blob(&[0, 255])],
];

#[test]
fn every_format_writes_what_its_name_promises() {
    let cases = [
        (
            Format::Table,
            "+-----+-----------------+---------+
| id  | name            | x       |
+-----+-----------------+---------+
|   1 | 日本            | NULL    |
| -20 | a|b\\n\\u{1b}[31m | X'00FF' |
+-----+-----------------+---------+
",
        ),
        (
            Format::Box,
            "┌─────┬─────────────────┬─────────┐
│ id  │ name            │ x       │
├─────┼─────────────────┼─────────┤
│   1 │ 日本            │ NULL    │
│ -20 │ a|b\\n\\u{1b}[31m │ X'00FF' │
└─────┴─────────────────┴─────────┘
",
        ),
        (
            Format::Column,
            "id   name             x
---  ---------------  -------
  1  日本             NULL
-20  a|b\\n\\u{1b}[31m  X'00FF'
",
        ),
        (
            Format::Markdown,
            "| id  | name             | x       |
|-----|------------------|---------|
|   1 | 日本             | NULL    |
| -20 | a\\|b\\n\\u{1b}[31m | X'00FF' |
",
        ),
        (
            Format::Line,
            "  id = 1\nname = 日本\n   x = NULL\n\n  id = -20\nname = a|b\\n\\u{1b}[31m\n   x = X'00FF'\n",
        ),
        (Format::Csv, "id,name,x\n1,日本,\n-20,\"a|b\n\u{1b}[31m\",X'00FF'\n"),
        (Format::Tabs, "1\t日本\t\n-20\t\"a|b\n\u{1b}[31m\"\tX'00FF'\n"),
        (
            Format::Json,
            "[{\"id\":1,\"name\":\"日本\",\"x\":null},\n{\"id\":-20,\"name\":\"a|b\\n\\u001b[31m\",\"x\":{\"blob\":\"AP8=\"}}]\n",
        ),
        (
            Format::Jsonl,
            "{\"id\":1,\"name\":\"日本\",\"x\":null}\n{\"id\":-20,\"name\":\"a|b\\n\\u001b[31m\",\"x\":{\"blob\":\"AP8=\"}}\n",
        ),
        (Format::Quote, "1,'日本',NULL\n-20,'a|b\n\u{1b}[31m',X'00FF'\n"),
        (
            Format::Insert,
            "INSERT INTO \"table\"(id,name,x) VALUES(1,'日本',NULL);\nINSERT INTO \"table\"(id,name,x) VALUES(-20,'a|b\n\u{1b}[31m',X'00FF');\n",
        ),
    ];
    for (format, expected) in cases {
        assert_eq!(written(&look(format), &["id", "name", "x"], ROWS), expected, "{format:?}");
    }
    let plain: &[&[Cell<'_>]] = &[&[Cell::Integer(1), Cell::Real(0.5), Cell::Null]];
    assert_eq!(written(&look(Format::List), &["a", "b", "c"], plain), "1|0.5|\n");
}

#[test]
fn headers_null_and_separator_can_be_chosen() {
    let rows: &[&[Cell<'_>]] = &[&[Cell::Null, Cell::Text(""), Cell::Text("-")]];
    let mut chosen = look(Format::Csv);
    chosen.headers = Some(false);
    chosen.null = Some("-".to_owned());
    chosen.separator = Some(";".to_owned());
    assert_eq!(written(&chosen, &["a", "b", "c"], rows), "-;\"\";\"-\"\n");
    let mut chosen = look(Format::List);
    chosen.headers = Some(true);
    assert_eq!(written(&chosen, &["a", "b", "c"], rows), "a|b|c\n||-\n");
}

#[test]
fn a_result_without_rows_still_names_its_columns_or_is_an_empty_array() {
    assert_eq!(written(&look(Format::Json), &["a"], &[]), "[]\n");
    assert_eq!(written(&look(Format::Jsonl), &["a"], &[]), "");
    assert_eq!(written(&look(Format::Csv), &["a"], &[]), "a\n");
    assert_eq!(written(&look(Format::Table), &["a"], &[]), "+---+\n| a |\n+---+\n+---+\n");
}

#[test]
fn columns_of_one_name_stay_apart_in_json() {
    let rows: &[&[Cell<'_>]] = &[&[Cell::Integer(1), Cell::Integer(2), Cell::Integer(3)]];
    assert_eq!(written(&look(Format::Jsonl), &["a", "a", "a:1"], rows), "{\"a\":1,\"a:2\":2,\"a:1\":3}\n");
}

#[test]
fn null_is_dimmed_only_where_colours_are() {
    let rows: &[&[Cell<'_>]] = &[&[Cell::Null]];
    let mut chosen = look(Format::Column);
    assert!(!written(&chosen, &["a"], rows).contains('\u{1b}'));
    chosen.colour = true;
    assert!(written(&chosen, &["a"], rows).contains("\u{1b}[2mNULL\u{1b}[0m"));
}
