//! Where the engine answers otherwise than plain libSQL on purpose: the whole list, each with its reason.
//!
//! Invariants:
//! 1. A difference excuses one kind of statement only, and says what both answers must still be.
//! 2. Beside this list, only the *wording* of the errors BUSY, READONLY, IOERR, FULL, CANTOPEN and NOTADB may differ
//!    (`answer.rs`), never their codes; `sqlite3_changes` after BUSY ([`leaves_changes_alone`]); the order in which
//!    schemas are listed after a VACUUM that is BUSY ([`leaves_schemas_alone`]); and which snapshots a transaction has
//!    pinned after BUSY ([`leaves_snapshots_alone`]).

use crate::answer::{Answer, Outcome};

const BUSY: i32 = 5;

/// A deliberate difference.
pub struct Difference {
    /// What statements it is about.
    pub about: &'static str,
    /// Why the engine answers so.
    pub reason: &'static str,
    /// What the oracle runs in the statement's place, where running it would change the oracle.
    pub oracle_runs: Option<&'static str>,
    applies: fn(&str) -> bool,
    pub(crate) accepts: fn(subject: &Answer, oracle: &Answer) -> bool,
}

/// All of them.
pub const DIFFERENCES: &[Difference] = &[
    Difference {
        about: "PRAGMA journal_mode = X",
        reason: "the storage is the log: the mode is always wal, and the answer says so",
        oracle_runs: Some("PRAGMA journal_mode"),
        applies: |sql| sql.starts_with("PRAGMA journal_mode="),
        accepts: PartialEq::eq,
    },
    Difference {
        about: "PRAGMA locking_mode = X",
        reason: "connections of a process share the storage: the mode is always normal, and the answer says so",
        oracle_runs: Some("PRAGMA locking_mode"),
        applies: |sql| sql.starts_with("PRAGMA locking_mode="),
        accepts: PartialEq::eq,
    },
    Difference {
        about: "PRAGMA page_size = another size, on a database with pages",
        reason: "libSQL ignores it without a word in WAL mode; the engine refuses it",
        oracle_runs: None,
        applies: |sql| sql.starts_with("PRAGMA page_size="),
        accepts: |subject, oracle| {
            subject.outcome.code() == 1 && oracle.outcome.code() == 0 || subject == oracle
        },
    },
    Difference {
        about: "PRAGMA wal_autocheckpoint = N, PRAGMA journal_size_limit = N",
        reason: "the storage bounds its log by itself: setting it is refused",
        oracle_runs: Some("PRAGMA wal_autocheckpoint"),
        applies: |sql| {
            sql.starts_with("PRAGMA wal_autocheckpoint=") || sql.starts_with("PRAGMA journal_size_limit=")
        },
        accepts: |subject, oracle| subject.outcome.code() == 1 && oracle.outcome.code() == 0,
    },
    Difference {
        about: "PRAGMA wal_checkpoint",
        reason: "the numbers count frames of two different logs; the shape of the answer and errors are equal",
        oracle_runs: None,
        applies: |sql| sql.starts_with("PRAGMA wal_checkpoint"),
        accepts: |subject, oracle| match (&subject.outcome, &oracle.outcome) {
            (Outcome::Rows(names, rows), Outcome::Rows(other_names, other_rows)) => {
                names == other_names
                    && rows.len() == other_rows.len()
                    && rows.iter().all(|row| row.len() == 3)
            }
            (subject, oracle) => subject == oracle,
        },
    },
    Difference {
        about: "VACUUM in a transaction, CREATE VIRTUAL TABLE of a table there is, while another connection writes",
        reason: "libSQL sees what is wrong only as they run, and the engine queues for the writer slot before: BUSY, not ERROR",
        oracle_runs: None,
        applies: |sql| sql.starts_with("VACUUM") || sql.starts_with("CREATE VIRTUAL TABLE "),
        accepts: |subject, oracle| {
            subject == oracle || oracle.outcome.code() == 1 && subject.outcome.code() == 5
        },
    },
    Difference {
        about: "CREATE IF NOT EXISTS and DROP IF EXISTS with nothing to do, while another connection writes",
        reason: "SQLite counts them as writes, so the engine queues for the writer slot: BUSY, where libSQL finds nothing to do",
        oracle_runs: None,
        applies: |sql| {
            (sql.starts_with("CREATE ") && sql.contains(" IF NOT EXISTS "))
                || (sql.starts_with("DROP ") && sql.contains(" IF EXISTS "))
        },
        accepts: |subject, oracle| {
            let nothing_done = matches!(&oracle.outcome, Outcome::Rows(_, rows) if rows.is_empty());
            subject == oracle || nothing_done && subject.outcome.code() == 5
        },
    },
    Difference {
        about: "a write to what another connection dropped or renamed, while that connection writes",
        reason: "libSQL may have read the new schema before it fails: ERROR; the engine queues for the writer slot first: BUSY",
        oracle_runs: None,
        applies: |sql| ["INSERT ", "UPDATE ", "DELETE ", "REPLACE "].iter().any(|word| sql.starts_with(word)),
        accepts: |subject, oracle| {
            let outgrown = matches!(
                &oracle.outcome,
                Outcome::Failed { code: 1, message } if message.contains("no such ")
            );
            subject == oracle || outgrown && subject.outcome.code() == 5
        },
    },
];

/// The difference that a statement falls under.
pub(crate) fn of(sql: &str) -> Option<&'static Difference> {
    DIFFERENCES.iter().find(|difference| (difference.applies)(sql))
}

/// Whether `sqlite3_changes` is not compared after this statement.
///
/// A statement that finds no writer slot never starts in the engine, so the count of the one before it stays; libSQL
/// starts it and sets the count to zero. The two agree again once a statement that changes rows has started.
pub(crate) fn leaves_changes_alone(sql: &str, subject: &Answer, oracle: &Answer, already: bool) -> bool {
    if subject.outcome.code() == BUSY && oracle.outcome.code() == BUSY {
        return true;
    }
    let sets_changes = ["INSERT", "UPDATE", "DELETE", "REPLACE"].iter().any(|word| sql.starts_with(word));
    already && !(sets_changes && oracle.outcome.code() == 0)
}

/// Whether both sides are to forget their schemas after this statement, so that they list them in one order again.
///
/// A VACUUM that finds no writer slot never starts in the engine; libSQL starts it, and forgets the schemas it has in memory
/// as it fails. It lists tables in the order of a hash table, which depends on what was read into it when.
pub(crate) fn leaves_schemas_alone(sql: &str, subject: &Answer, oracle: &Answer) -> bool {
    sql.starts_with("VACUUM") && subject.outcome.code() == BUSY && oracle.outcome.code() == BUSY
}

/// Whether both sides are to read every schema after this statement, so that they look at the same snapshots again.
///
/// Inside a transaction, a write that finds no writer slot never starts in the engine; libSQL starts it, and may have
/// pinned a snapshot of another schema, which the statement reads, before it is refused.
pub(crate) fn leaves_snapshots_alone(subject: &Answer, oracle: &Answer) -> bool {
    subject.outcome.code() == BUSY
        && oracle.outcome.code() == BUSY
        && !subject.autocommit
        && !oracle.autocommit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, width: usize) -> Answer {
        let names = (0..width).map(|column| column.to_string()).collect();
        let row = vec![twill_engine::Value::Integer(0); width];
        let outcome = Outcome::Rows(names, vec![row; count]);
        Answer { outcome, changes: 0, last_insert_rowid: 0, autocommit: true }
    }

    fn failed(code: i32) -> Answer {
        let outcome = Outcome::Failed { code, message: String::new() };
        Answer { outcome, changes: 0, last_insert_rowid: 0, autocommit: true }
    }

    #[test]
    fn an_excuse_covers_its_statement_alone() {
        assert!(of("PRAGMA journal_mode").is_none());
        assert!(of("PRAGMA page_size").is_none());
        assert!(of("SELECT 'PRAGMA journal_mode=wal'").is_none());
        assert!(of("SELECT * FROM t0").is_none());
    }

    #[test]
    fn an_excuse_does_not_take_every_answer() {
        let accepts =
            |sql: &str, subject: &Answer, oracle: &Answer| (of(sql).unwrap().accepts)(subject, oracle);
        assert!(!accepts("PRAGMA journal_mode=delete", &rows(1, 1), &rows(1, 2)));
        assert!(!accepts("PRAGMA page_size=512", &failed(10), &rows(0, 0)));
        assert!(!accepts("PRAGMA page_size=512", &failed(1), &failed(5)));
        assert!(!accepts("PRAGMA wal_autocheckpoint=0", &rows(1, 1), &rows(1, 1)));
        assert!(accepts("PRAGMA wal_checkpoint(FULL)", &rows(1, 3), &rows(1, 3)));
        assert!(!accepts("PRAGMA wal_checkpoint(FULL)", &rows(0, 3), &rows(1, 3)));
        assert!(!accepts("PRAGMA wal_checkpoint(FULL)", &failed(5), &rows(1, 3)));
        assert!(
            !accepts("INSERT INTO t0 VALUES (1)", &failed(5), &failed(1)),
            "another error than a missing table"
        );
        assert!(!accepts("INSERT INTO t0 VALUES (1)", &failed(5), &rows(0, 0)));
    }

    #[test]
    fn schemas_are_forgotten_only_after_a_vacuum_that_is_busy_on_both_sides() {
        assert!(leaves_schemas_alone("VACUUM", &failed(5), &failed(5)));
        assert!(!leaves_schemas_alone("VACUUM", &failed(5), &failed(1)));
        assert!(!leaves_schemas_alone("VACUUM", &rows(0, 0), &rows(0, 0)));
        assert!(!leaves_schemas_alone("INSERT INTO t0 VALUES (1)", &failed(5), &failed(5)));
    }
}
