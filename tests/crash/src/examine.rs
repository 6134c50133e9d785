//! Reading a ledger back and judging it, through the engine or through stock SQLite, by the same queries.
//!
//! Invariants:
//! 1. Everything a ledger says about itself is checked: `integrity_check`, each body, the number of entries of each
//!    transaction, each balance from the transfers, the sum, and that no doomed row is there.
//! 2. What the ledger cannot know, namely which commits were acknowledged, is [`crate::model`]'s to judge.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use twill_engine::{Connection, Value};

use crate::ledger::{ACCOUNTS, OPENING_BALANCE, body};

/// Anything that answers SQL with text.
pub trait Reader {
    /// All rows; integers in decimal.
    ///
    /// # Errors
    /// When the query fails.
    fn rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>>;
}

impl Reader for &Connection {
    fn rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>> {
        let result = self.query(sql, ()).with_context(|| sql.to_owned())?;
        Ok(result.rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect())
    }
}

fn text(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Integer(value) => value.to_string(),
        Value::Real(value) => value.to_string(),
        Value::Text(value) => value,
        Value::Blob(value) => hex(&value),
    }
}

/// Bytes as SQL's `hex()` writes them.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02X}");
        hex
    })
}

/// A committed transaction's name.
pub type TransactionId = (i64, i64);

/// What a ledger holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Whether the tables are there.
    pub has_schema: bool,
    /// The transactions.
    pub commits: BTreeSet<TransactionId>,
    /// The rows of stock SQLite.
    pub visitors: BTreeSet<i64>,
    /// What is wrong, in words.
    pub faults: Vec<String>,
}

struct Transfer {
    parts: i64,
    payer: i64,
    payee: i64,
    amount: i64,
}

/// Reads and judges a ledger.
///
/// # Errors
/// When it cannot be read at all.
pub fn examine(mut reader: impl Reader) -> Result<Found> {
    let mut found = Found::default();
    let integrity = reader.rows("PRAGMA integrity_check")?;
    if integrity != [["ok"]] {
        found.faults.push(format!("integrity_check: {integrity:?}"));
    }
    let tables = reader.rows("SELECT count(*) FROM sqlite_master WHERE type = 'table'")?;
    match first_number(&tables) {
        0 => return Ok(found),
        5 => found.has_schema = true,
        other => {
            found.faults.push(format!("the schema is torn: {other} of 5 tables"));
            return Ok(found);
        }
    }
    let transfers = read_transfers(&mut reader, &mut found)?;
    check_entries(&mut reader, &transfers, &mut found)?;
    check_balances(&mut reader, &transfers, &mut found)?;
    for row in numbers(&reader.rows("SELECT id FROM visitor")?)? {
        found.visitors.extend(row.first());
    }
    found.commits = transfers.into_keys().collect();
    Ok(found)
}

fn first_number(rows: &[Vec<String>]) -> i64 {
    rows.first().and_then(|row| row.first()).and_then(|text| text.parse().ok()).unwrap_or(-1)
}

fn numbers(rows: &[Vec<String>]) -> Result<Vec<Vec<i64>>> {
    let row = |row: &Vec<String>| {
        row.iter()
            .map(|text| text.parse().with_context(|| format!("{text:?} is no number")))
            .collect::<Result<Vec<i64>>>()
    };
    rows.iter().map(row).collect()
}

fn read_transfers(reader: &mut impl Reader, found: &mut Found) -> Result<BTreeMap<TransactionId, Transfer>> {
    let mut transfers = BTreeMap::new();
    let rows = reader.rows("SELECT worker, seq, parts, payer, payee, amount, doomed FROM txn")?;
    for row in numbers(&rows)? {
        let [worker, seq, parts, payer, payee, amount, doomed] = *row else { continue };
        if doomed != 0 {
            found.faults.push(format!("transaction ({worker}, {seq}) was rolled back, and is there"));
        }
        transfers.insert((worker, seq), Transfer { parts, payer, payee, amount });
    }
    Ok(transfers)
}

fn check_entries(
    reader: &mut impl Reader,
    transfers: &BTreeMap<TransactionId, Transfer>,
    found: &mut Found,
) -> Result<()> {
    let mut pruned = BTreeMap::new();
    for row in numbers(&reader.rows("SELECT worker, seq FROM pruned")?)? {
        if let [worker, seq] = *row {
            pruned.insert(worker, seq);
        }
    }
    let mut parts: BTreeMap<TransactionId, i64> = BTreeMap::new();
    for mut row in reader.rows("SELECT worker, seq, part, hex(body) FROM entry")? {
        let bytes = row.pop().unwrap_or_default();
        let key = numbers(&[row])?.pop().unwrap_or_default();
        let [worker, seq, part] = *key else { continue };
        *parts.entry((worker, seq)).or_default() += 1;
        if bytes != hex(&body(worker, seq, part)) {
            found.faults.push(format!("entry ({worker}, {seq}, {part}) has other bytes than were written"));
        }
    }
    for ((worker, seq), transfer) in transfers {
        let expected = if pruned.get(worker).is_some_and(|upto| seq <= upto) { 0 } else { transfer.parts };
        let present = parts.remove(&(*worker, *seq)).unwrap_or(0);
        if present != expected {
            let what = format!("transaction ({worker}, {seq}) is torn: {present} of {expected} entries");
            found.faults.push(what);
        }
    }
    for (id, count) in parts {
        found.faults.push(format!("{count} entries of {id:?}, which is not there"));
    }
    Ok(())
}

fn check_balances(
    reader: &mut impl Reader,
    transfers: &BTreeMap<TransactionId, Transfer>,
    found: &mut Found,
) -> Result<()> {
    let mut expected: BTreeMap<i64, i64> = (1..=ACCOUNTS).map(|id| (id, OPENING_BALANCE)).collect();
    for transfer in transfers.values() {
        *expected.entry(transfer.payer).or_default() -= transfer.amount;
        *expected.entry(transfer.payee).or_default() += transfer.amount;
    }
    let rows = numbers(&reader.rows("SELECT id, balance FROM account")?)?;
    let balances: BTreeMap<i64, i64> =
        rows.iter().filter_map(|row| Some((*row.first()?, *row.get(1)?))).collect();
    if balances != expected {
        found.faults.push(format!("balances are {balances:?}, the transfers make {expected:?}"));
    }
    let sum: i64 = balances.values().sum();
    if sum != ACCOUNTS * OPENING_BALANCE {
        found.faults.push(format!("the accounts hold {sum} together"));
    }
    Ok(())
}
