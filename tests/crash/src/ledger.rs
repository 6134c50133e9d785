//! What the workers write: transactions whose every part is recomputable, so that a reader knows a torn one.
//!
//! ```text
//! txn      one row per committed transaction: who, its number, how many entries, and what it moved between accounts
//! entry    `parts` rows per transaction; each body follows from (worker, seq, part), in size too: up to many pages
//! account  balances; their sum never changes, and each follows from the rows of txn
//! pruned   up to which transaction a worker's entries were deleted
//! visitor  rows that stock SQLite wrote in between
//! ```
//!
//! Invariants:
//! 1. A transaction's rows are written in one transaction of the engine; none of them is ever changed afterwards, and
//!    its entries are deleted only together with a later `pruned` row.
//! 2. A row with `doomed = 1` is written only where a rollback follows.

use twill_types::seeded::Chance;

/// How many accounts there are.
pub const ACCOUNTS: i64 = 12;
/// What each held at first.
pub const OPENING_BALANCE: i64 = 1000;

/// Makes an empty database into a ledger, in one transaction.
pub const SCHEMA: &str = "
    CREATE TABLE txn(worker INTEGER, seq INTEGER, parts INTEGER, payer INTEGER, payee INTEGER, amount INTEGER,
        doomed INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(worker, seq)) WITHOUT ROWID;
    CREATE TABLE entry(id INTEGER PRIMARY KEY, worker INTEGER, seq INTEGER, part INTEGER, body BLOB,
        UNIQUE(worker, seq, part));
    CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
    CREATE TABLE pruned(worker INTEGER PRIMARY KEY, seq INTEGER NOT NULL);
    CREATE TABLE visitor(id INTEGER PRIMARY KEY, note TEXT);
    WITH RECURSIVE n(id) AS (VALUES(1) UNION ALL SELECT id + 1 FROM n WHERE id < 12)
        INSERT INTO account SELECT id, 1000 FROM n;
";

/// The body of an entry.
#[must_use]
pub fn body(worker: i64, seq: i64, part: i64) -> Vec<u8> {
    let mut chance = Chance::from_seeds(&[worker.cast_unsigned(), seq.cast_unsigned(), part.cast_unsigned()]);
    let len = match chance.below(20) {
        0 => chance.range(4_000..=30_000),
        1..=4 => chance.range(400..=3_000),
        _ => chance.range(0..=300),
    };
    chance.bytes(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_opens_as_many_accounts_as_it_says() {
        assert!(SCHEMA.contains(&format!("id < {ACCOUNTS})")));
        assert!(SCHEMA.contains(&format!("SELECT id, {OPENING_BALANCE} FROM")));
    }

    #[test]
    fn bodies_differ_in_content_and_in_size() {
        assert_eq!(body(1, 2, 3), body(1, 2, 3));
        let sizes: std::collections::BTreeSet<usize> = (0..200).map(|seq| body(1, seq, 0).len()).collect();
        assert!(sizes.len() > 50 && sizes.iter().any(|size| *size > 4_000), "{sizes:?}");
    }
}
