//! Differential SQL: thousands of random statements whose answers must equal plain libSQL's.
//!
//! `TWILL_SEED` and `TWILL_STATEMENTS` choose other runs; a mismatch prints the seed that repeats it. Long runs:
//! `cargo run --release -p twill-tests-sql --bin differential -- --statements 1000000 --backend file`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, missing_docs, reason = "test code")]

use twill_tests_sql::{Backend, DIFFERENCES, Lie, Settings, Subject, run};

const STATEMENTS: u64 = 6000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

fn compare(subject: Subject) {
    let settings = Settings {
        subject,
        seed: number("TWILL_SEED", 1),
        statements: number("TWILL_STATEMENTS", STATEMENTS),
        shrink: true,
    };
    println!("{}: TWILL_SEED={} TWILL_STATEMENTS={}", subject.name(), settings.seed, settings.statements);
    match run(settings, |_| {}) {
        Ok(report) => println!("{report:?}"),
        Err(mismatch) => panic!("{mismatch}"),
    }
}

#[test]
fn memory_answers_as_plain_libsql() {
    compare(Subject::Engine(Backend::MEMORY));
}

#[test]
fn file_answers_as_plain_libsql() {
    compare(Subject::Engine(Backend::FILE));
}

#[test]
fn the_statements_are_deterministic() {
    compare(Subject::Plain);
}

#[test]
fn the_statements_reach_what_they_are_for() {
    let settings = Settings { subject: Subject::Plain, seed: 1, statements: STATEMENTS, shrink: false };
    let report = run(settings, |_| {}).unwrap();
    for word in [
        "CREATE",
        "DROP",
        "ALTER",
        "INSERT",
        "REPLACE",
        "UPDATE",
        "DELETE",
        "SELECT",
        "WITH",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT",
        "RELEASE",
        "ATTACH",
        "DETACH",
        "VACUUM",
        "PRAGMA",
        "ANALYZE",
        "REINDEX",
        "EXPLAIN",
    ] {
        assert!(report.succeeded.contains_key(word), "no {word} succeeded");
    }
    // Busy, a stale snapshot, and each kind of constraint.
    for code in [5, 517, 275, 787, 1299, 1555, 2067] {
        assert!(report.errors.contains_key(&code), "nothing failed with {code}: {:?}", report.errors);
    }
    let failed: u64 = report.errors.values().sum();
    assert!(failed * 2 < report.statements, "most statements must succeed: {:?}", report.errors);
}

#[test]
fn lies_are_found() {
    for lie in [Lie::DropRow, Lie::LoseInsert, Lie::OtherCode, Lie::KeepSavepoint] {
        let settings =
            Settings { subject: Subject::Lying(lie), seed: 1, statements: STATEMENTS, shrink: false };
        let mismatch = run(settings, |_| {}).expect_err("a lying database must be found out");
        println!("{lie:?}: {mismatch}");
    }
}

#[test]
fn every_deliberate_difference_has_a_reason() {
    for difference in DIFFERENCES {
        assert!(difference.reason.split(' ').count() > 4, "{}", difference.about);
    }
}
