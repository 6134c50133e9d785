//! Isolation anomalies, the list of the Hermitage test suite (Martin Kleppmann, 2014), on every backend.
//!
//! Each case is a script of two or three connections with the answer each statement must give. The outcome of every case
//! is the table of docs/guides/isolation.md, which is checked here: a row that says something else fails.
//! `TWILL_BLESS=1` writes the table anew.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    reason = "test code"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use twill_engine::{Connection, Value};
use twill_tests_sql::Backend;

/// What a statement must answer.
enum Must {
    Work,
    /// Rows as `id:value`, or the single value, joined by spaces.
    Give(&'static str),
    /// Fail with this extended code.
    Fail(i32),
}
use Must::{Fail, Give, Work};

const BUSY: i32 = 5;
const BUSY_SNAPSHOT: i32 = 517;
const READ: &str = "SELECT id, value FROM test ORDER BY id";

/// A case in one mode: who runs what, and what must come of it.
struct Case {
    anomaly: &'static str,
    what: &'static str,
    mode: &'static str,
    outcome: &'static str,
    script: &'static [(usize, &'static str, Must)],
}

const CASES: &[Case] = &[
    Case {
        anomaly: "G0",
        what: "dirty write: two transactions overwrite each other's rows before commit",
        mode: "DEFERRED",
        outcome: "prevented: the second writer's first UPDATE gets BUSY",
        script: &[
            (0, "BEGIN", Work),
            (1, "BEGIN", Work),
            (0, "UPDATE test SET value = 11 WHERE id = 1", Work),
            (1, "UPDATE test SET value = 12 WHERE id = 1", Fail(BUSY)),
            (0, "UPDATE test SET value = 21 WHERE id = 2", Work),
            (0, "COMMIT", Work),
            (1, "UPDATE test SET value = 12 WHERE id = 1", Work),
            (1, "UPDATE test SET value = 22 WHERE id = 2", Work),
            (1, "COMMIT", Work),
            (0, READ, Give("1:12 2:22")),
        ],
    },
    Case {
        anomaly: "G0",
        what: "dirty write: two transactions overwrite each other's rows before commit",
        mode: "IMMEDIATE",
        outcome: "prevented: the second BEGIN waits its turn, or gets BUSY at the timeout",
        script: &[
            (0, "BEGIN IMMEDIATE", Work),
            (1, "BEGIN IMMEDIATE", Fail(BUSY)),
            (0, "UPDATE test SET value = 11 WHERE id = 1", Work),
            (0, "COMMIT", Work),
            (1, "BEGIN IMMEDIATE", Work),
            (1, READ, Give("1:11 2:20")),
            (1, "COMMIT", Work),
        ],
    },
    Case {
        anomaly: "G1a",
        what: "aborted read: a reader sees what is rolled back later",
        mode: "both",
        outcome: "prevented: the reader sees the last commit",
        script: &[
            (0, "BEGIN IMMEDIATE", Work),
            (0, "UPDATE test SET value = 101 WHERE id = 1", Work),
            (1, "BEGIN", Work),
            (1, READ, Give("1:10 2:20")),
            (0, "ROLLBACK", Work),
            (1, READ, Give("1:10 2:20")),
            (1, "COMMIT", Work),
        ],
    },
    Case {
        anomaly: "G1b",
        what: "intermediate read: a reader sees a value that its writer replaces before commit",
        mode: "both",
        outcome: "prevented: the reader sees the last commit",
        script: &[
            (0, "BEGIN IMMEDIATE", Work),
            (0, "UPDATE test SET value = 101 WHERE id = 1", Work),
            (1, "BEGIN", Work),
            (1, READ, Give("1:10 2:20")),
            (0, "UPDATE test SET value = 11 WHERE id = 1", Work),
            (0, "COMMIT", Work),
            (1, READ, Give("1:10 2:20")),
            (1, "COMMIT", Work),
            (1, READ, Give("1:11 2:20")),
        ],
    },
    Case {
        anomaly: "G1c",
        what: "circular information flow: each of two transactions sees the other's write",
        mode: "DEFERRED",
        outcome: "prevented: the second writer gets BUSY, and after a read of an older state BUSY_SNAPSHOT (517)",
        script: &[
            (0, "BEGIN", Work),
            (1, "BEGIN", Work),
            (0, "UPDATE test SET value = 11 WHERE id = 1", Work),
            (1, "UPDATE test SET value = 22 WHERE id = 2", Fail(BUSY)),
            (0, "SELECT value FROM test WHERE id = 2", Give("20")),
            (1, "SELECT value FROM test WHERE id = 1", Give("10")),
            (0, "COMMIT", Work),
            (1, "UPDATE test SET value = 22 WHERE id = 2", Fail(BUSY_SNAPSHOT)),
            (1, "ROLLBACK", Work),
        ],
    },
    Case {
        anomaly: "OTV",
        what: "observed transaction vanishes: a reader sees part of a transaction that another overwrites",
        mode: "both",
        outcome: "prevented: the reader keeps its snapshot",
        script: &[
            (0, "BEGIN IMMEDIATE", Work),
            (0, "UPDATE test SET value = 11 WHERE id = 1", Work),
            (0, "UPDATE test SET value = 19 WHERE id = 2", Work),
            (1, "BEGIN IMMEDIATE", Fail(BUSY)),
            (0, "COMMIT", Work),
            (2, "BEGIN", Work),
            (2, "SELECT value FROM test WHERE id = 1", Give("11")),
            (1, "BEGIN IMMEDIATE", Work),
            (1, "UPDATE test SET value = 12 WHERE id = 1", Work),
            (1, "UPDATE test SET value = 18 WHERE id = 2", Work),
            (2, "SELECT value FROM test WHERE id = 2", Give("19")),
            (1, "COMMIT", Work),
            (2, READ, Give("1:11 2:19")),
            (2, "COMMIT", Work),
        ],
    },
    Case {
        anomaly: "PMP",
        what: "predicate-many-preceders: a reader's second query of a predicate finds a new row",
        mode: "both",
        outcome: "prevented: the reader keeps its snapshot",
        script: &[
            (0, "BEGIN", Work),
            (0, "SELECT id, value FROM test WHERE value = 30", Give("")),
            (1, "INSERT INTO test VALUES (3, 30)", Work),
            (0, "SELECT id, value FROM test WHERE value % 3 = 0", Give("")),
            (0, "COMMIT", Work),
            (0, "SELECT id, value FROM test WHERE value % 3 = 0", Give("3:30")),
        ],
    },
    Case {
        anomaly: "PMP-write",
        what: "predicate-many-preceders for a write: a DELETE by predicate misses a concurrent UPDATE",
        mode: "DEFERRED",
        outcome: "prevented: a DELETE that has read nothing sees the newest state; one that has gets BUSY_SNAPSHOT (517)",
        script: &[
            (0, "BEGIN", Work),
            (1, "BEGIN", Work),
            (1, READ, Give("1:10 2:20")),
            (0, "UPDATE test SET value = value + 10", Work),
            (1, "DELETE FROM test WHERE value = 20", Fail(BUSY)),
            (0, "COMMIT", Work),
            (1, "DELETE FROM test WHERE value = 20", Fail(BUSY_SNAPSHOT)),
            (1, "ROLLBACK", Work),
            (1, "DELETE FROM test WHERE value = 20", Work),
            (1, READ, Give("2:30")),
        ],
    },
    Case {
        anomaly: "PMP-write",
        what: "predicate-many-preceders for a write: a DELETE by predicate misses a concurrent UPDATE",
        mode: "IMMEDIATE",
        outcome: "prevented: the second transaction begins after the first ended",
        script: &[
            (0, "BEGIN IMMEDIATE", Work),
            (0, "UPDATE test SET value = value + 10", Work),
            (1, "BEGIN IMMEDIATE", Fail(BUSY)),
            (0, "COMMIT", Work),
            (1, "BEGIN IMMEDIATE", Work),
            (1, "DELETE FROM test WHERE value = 20", Work),
            (1, "COMMIT", Work),
            (1, READ, Give("2:30")),
        ],
    },
    Case {
        anomaly: "P4",
        what: "lost update: two transactions read a row and both write what they computed",
        mode: "DEFERRED",
        outcome: "prevented: the second UPDATE gets BUSY, and after the first commit BUSY_SNAPSHOT (517)",
        script: &[
            (0, "BEGIN", Work),
            (1, "BEGIN", Work),
            (0, "SELECT value FROM test WHERE id = 1", Give("10")),
            (1, "SELECT value FROM test WHERE id = 1", Give("10")),
            (0, "UPDATE test SET value = 11 WHERE id = 1", Work),
            (1, "UPDATE test SET value = 11 WHERE id = 1", Fail(BUSY)),
            (0, "COMMIT", Work),
            (1, "UPDATE test SET value = 11 WHERE id = 1", Fail(BUSY_SNAPSHOT)),
            // The transaction stays open and readable; only its end gives it a new snapshot.
            (1, "SELECT value FROM test WHERE id = 1", Give("10")),
            (1, "ROLLBACK", Work),
            (1, "SELECT value FROM test WHERE id = 1", Give("11")),
        ],
    },
    Case {
        anomaly: "P4",
        what: "lost update: two transactions read a row and both write what they computed",
        mode: "IMMEDIATE",
        outcome: "prevented: the second transaction reads after the first committed",
        script: &[
            (0, "BEGIN IMMEDIATE", Work),
            (1, "BEGIN IMMEDIATE", Fail(BUSY)),
            (0, "UPDATE test SET value = value + 1 WHERE id = 1", Work),
            (0, "COMMIT", Work),
            (1, "BEGIN IMMEDIATE", Work),
            (1, "SELECT value FROM test WHERE id = 1", Give("11")),
            (1, "UPDATE test SET value = value + 1 WHERE id = 1", Work),
            (1, "COMMIT", Work),
            (0, READ, Give("1:12 2:20")),
        ],
    },
    Case {
        anomaly: "G-single",
        what: "read skew: a reader sees one row before and one after a transfer",
        mode: "both",
        outcome: "prevented: the reader keeps its snapshot",
        script: &[
            (0, "BEGIN", Work),
            (0, "SELECT value FROM test WHERE id = 1", Give("10")),
            (1, "BEGIN IMMEDIATE", Work),
            (1, "UPDATE test SET value = 12 WHERE id = 1", Work),
            (1, "UPDATE test SET value = 18 WHERE id = 2", Work),
            (1, "COMMIT", Work),
            (0, "SELECT value FROM test WHERE id = 2", Give("20")),
            (0, "COMMIT", Work),
        ],
    },
    Case {
        anomaly: "G-single, predicate",
        what: "read skew over a predicate: the second query finds rows the first would have",
        mode: "both",
        outcome: "prevented: the reader keeps its snapshot",
        script: &[
            (0, "BEGIN", Work),
            (0, "SELECT id, value FROM test WHERE value % 5 = 0 ORDER BY id", Give("1:10 2:20")),
            (1, "UPDATE test SET value = 12 WHERE value = 10", Work),
            (0, "SELECT id, value FROM test WHERE value % 3 = 0", Give("")),
            (0, "COMMIT", Work),
        ],
    },
    Case {
        anomaly: "G-single, write",
        what: "read skew that ends in a write: a DELETE by predicate after another's commit",
        mode: "DEFERRED",
        outcome: "prevented: the DELETE gets BUSY_SNAPSHOT (517)",
        script: &[
            (0, "BEGIN", Work),
            (0, "SELECT value FROM test WHERE id = 1", Give("10")),
            (1, "BEGIN IMMEDIATE", Work),
            (1, "UPDATE test SET value = 12 WHERE id = 1", Work),
            (1, "UPDATE test SET value = 18 WHERE id = 2", Work),
            (1, "COMMIT", Work),
            (0, "DELETE FROM test WHERE value = 20", Fail(BUSY_SNAPSHOT)),
            (0, "ROLLBACK", Work),
            (0, READ, Give("1:12 2:18")),
        ],
    },
    Case {
        anomaly: "G2-item",
        what: "write skew: two transactions read both rows and each writes another one",
        mode: "DEFERRED",
        outcome: "prevented: the second UPDATE gets BUSY, and after the first commit BUSY_SNAPSHOT (517)",
        script: &[
            (0, "BEGIN", Work),
            (1, "BEGIN", Work),
            (0, READ, Give("1:10 2:20")),
            (1, READ, Give("1:10 2:20")),
            (0, "UPDATE test SET value = 11 WHERE id = 1", Work),
            (1, "UPDATE test SET value = 21 WHERE id = 2", Fail(BUSY)),
            (0, "COMMIT", Work),
            (1, "UPDATE test SET value = 21 WHERE id = 2", Fail(BUSY_SNAPSHOT)),
            (1, "ROLLBACK", Work),
            (1, READ, Give("1:11 2:20")),
        ],
    },
    Case {
        anomaly: "G2-item",
        what: "write skew: two transactions read both rows and each writes another one",
        mode: "IMMEDIATE",
        outcome: "prevented: the second transaction begins after the first ended",
        script: &[
            (0, "BEGIN IMMEDIATE", Work),
            (0, READ, Give("1:10 2:20")),
            (1, "BEGIN IMMEDIATE", Fail(BUSY)),
            (0, "UPDATE test SET value = 11 WHERE id = 1", Work),
            (0, "COMMIT", Work),
            (1, "BEGIN IMMEDIATE", Work),
            (1, READ, Give("1:11 2:20")),
            (1, "ROLLBACK", Work),
        ],
    },
    Case {
        anomaly: "G2",
        what: "anti-dependency cycle: two transactions query a predicate and each inserts a row that meets it",
        mode: "DEFERRED",
        outcome: "prevented: the second INSERT gets BUSY, and after the first commit BUSY_SNAPSHOT (517)",
        script: &[
            (0, "BEGIN", Work),
            (1, "BEGIN", Work),
            (0, "SELECT id, value FROM test WHERE value % 3 = 0", Give("")),
            (1, "SELECT id, value FROM test WHERE value % 3 = 0", Give("")),
            (0, "INSERT INTO test VALUES (3, 30)", Work),
            (1, "INSERT INTO test VALUES (4, 42)", Fail(BUSY)),
            (0, "COMMIT", Work),
            (1, "INSERT INTO test VALUES (4, 42)", Fail(BUSY_SNAPSHOT)),
            (1, "ROLLBACK", Work),
            (1, "SELECT id, value FROM test WHERE value % 3 = 0", Give("3:30")),
        ],
    },
    Case {
        anomaly: "G2, two edges",
        what: "read-only anomaly (Fekete, O'Neil, O'Neil 2004): a reader between two writers sees an impossible order",
        mode: "DEFERRED",
        outcome: "prevented: the writer with the older snapshot gets BUSY_SNAPSHOT (517); the reader sees a true order",
        script: &[
            (0, "BEGIN", Work),
            (0, READ, Give("1:10 2:20")),
            (1, "BEGIN IMMEDIATE", Work),
            (1, "UPDATE test SET value = value + 5 WHERE id = 2", Work),
            (1, "COMMIT", Work),
            (2, "BEGIN", Work),
            (2, READ, Give("1:10 2:25")),
            (2, "COMMIT", Work),
            (0, "UPDATE test SET value = 0 WHERE id = 1", Fail(BUSY_SNAPSHOT)),
            (0, "ROLLBACK", Work),
            (0, READ, Give("1:10 2:25")),
        ],
    },
];

fn run(case: &Case, connections: &[Connection]) {
    for (step, (who, sql, must)) in case.script.iter().enumerate() {
        let result = connections[*who].query(sql, ());
        let answered = match &result {
            Ok(result) => result.rows.iter().map(|row| shown(row)).collect::<Vec<_>>().join(" "),
            Err(error) => format!("error {}", error.extended_code()),
        };
        let expected = match must {
            Work if result.is_ok() => continue,
            Work => "success".to_owned(),
            Give(rows) => (*rows).to_owned(),
            Fail(code) => format!("error {code}"),
        };
        let Case { anomaly, mode, .. } = case;
        assert_eq!(answered, expected, "{anomaly} {mode}, step {step}, connection {who}: {sql}");
    }
}

fn shown(row: &[Value]) -> String {
    let values = row.iter().map(|value| match value {
        Value::Integer(value) => value.to_string(),
        other => format!("{other:?}"),
    });
    values.collect::<Vec<_>>().join(":")
}

#[test]
fn every_anomaly_ends_as_the_guide_says() {
    for backend in Backend::ALL {
        for case in CASES {
            println!("{} {} {}", backend.name, case.anomaly, case.mode);
            let place = backend.place().unwrap();
            let database = place.open("isolation").unwrap();
            let connections: Vec<Connection> = (0..3).map(|_| database.connect().unwrap()).collect();
            for connection in &connections {
                connection.set_busy_timeout(Duration::ZERO).unwrap();
            }
            connections[0].execute("CREATE TABLE test(id INTEGER PRIMARY KEY, value INTEGER)", ()).unwrap();
            connections[0].execute("INSERT INTO test VALUES (1, 10), (2, 20)", ()).unwrap();
            run(case, &connections);
            let state = connections[2].query("PRAGMA integrity_check", ()).unwrap();
            assert_eq!(state.rows, [[Value::from("ok")]]);
        }
    }
}

#[test]
fn a_wrong_expectation_is_found() {
    let place = Backend::MEMORY.place().unwrap();
    let database = place.open("wrong").unwrap();
    let connections = [database.connect().unwrap()];
    connections[0].execute("CREATE TABLE test(id, value)", ()).unwrap();
    for must in [Give("1:1"), Fail(BUSY)] {
        // Leaked on purpose: a case is made of constants.
        let script: &'static [(usize, &'static str, Must)] = Vec::leak(vec![(0, READ, must)]);
        let case = Case { anomaly: "", what: "", mode: "", outcome: "", script };
        let run = std::panic::AssertUnwindSafe(|| run(&case, &connections));
        assert!(std::panic::catch_unwind(run).is_err());
    }
}

const OPENING: &str = "# Isolation

A transaction reads one snapshot: the state at its first read, consistent, durable and unmoving. There is one writer at a
time, and a transaction may write only if nothing was committed since its snapshot. Together that is *serializable*: every
anomaly below is prevented, in every mode, on every backend.

What a program sees instead of an anomaly is an error of the statement that would have caused it:

- **SQLITE_BUSY (5)**: another transaction writes, and did not end within the busy timeout (5 s unless set; zero below).
  The transaction goes on; the statement may be tried again.
- **SQLITE_BUSY_SNAPSHOT (517)**: the transaction has read a state that is not the newest any more, and now wants to write.
  Waiting cannot help: roll back and run it again. `BEGIN IMMEDIATE` never gets it, for it reads after it has its turn.

`EXCLUSIVE` is `IMMEDIATE` here. Statements outside a transaction are one of their own, and queue before they read.

The list is that of the Hermitage suite; G0 to G2 are Adya's names. `tests/sql/tests/isolation.rs` runs each case and checks
this table.

| anomaly | what it is | BEGIN | outcome |
|---|---|---|---|
";

#[test]
fn the_guide_holds_the_table() {
    let mut guide = OPENING.to_owned();
    for Case { anomaly, what, mode, outcome, .. } in CASES {
        writeln!(guide, "| {anomaly} | {what} | {mode} | {outcome} |").unwrap();
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/isolation.md");
    if std::env::var_os("TWILL_BLESS").is_some() {
        fs::write(&path, &guide).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    assert_eq!(written, guide, "docs/guides/isolation.md is not what the cases say; TWILL_BLESS=1 writes it");
}
