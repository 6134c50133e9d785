//! What a ledger must hold, from what its writers were told.
//!
//! Invariants:
//! 1. Everything acknowledged, and everything once read back after a crash, must be there.
//! 2. Of one round, one transaction per worker may be there besides: the one under way when the process died.
//!
//! It refuses to forget: a transaction that was accepted stays required to the end of the database.

use std::collections::{BTreeMap, BTreeSet};

use crate::examine::{Found, TransactionId};

/// The expectation.
#[derive(Clone, Debug, Default)]
pub struct Model {
    has_schema: bool,
    required: BTreeSet<TransactionId>,
    visitors: BTreeSet<i64>,
    /// Transactions that were begun and not acknowledged, in rounds since the last reading.
    under_way: BTreeSet<TransactionId>,
    last_of_round: BTreeMap<i64, i64>,
}

impl Model {
    /// A round begins, whose transactions are numbered from `first`.
    pub fn begin_round(&mut self, first: i64, workers: i64) {
        self.last_of_round = (0..workers).map(|worker| (worker, first - 1)).collect();
    }

    /// The schema's commit was acknowledged.
    pub fn acknowledge_schema(&mut self) {
        self.has_schema = true;
    }

    /// A commit was acknowledged. Returns what is wrong with that.
    pub fn acknowledge(&mut self, id: TransactionId) -> Option<String> {
        self.required.insert(id);
        let before = self.last_of_round.insert(id.0, id.1);
        (before != Some(id.1 - 1)).then(|| format!("{id:?} was acknowledged after {before:?}"))
    }

    /// The process of the round has ended: cleanly, or with one transaction per worker possibly under way.
    pub fn end_round(&mut self, cleanly: bool) {
        let last = std::mem::take(&mut self.last_of_round);
        if !cleanly {
            self.under_way.extend(last.into_iter().map(|(worker, seq)| (worker, seq + 1)));
        }
    }

    /// Stock SQLite has committed a row.
    pub fn visit(&mut self, id: i64) {
        self.visitors.insert(id);
    }

    /// How many commits must be there.
    #[must_use]
    pub fn required(&self) -> usize {
        self.required.len()
    }

    /// Everything that is wrong with what was found.
    #[must_use]
    pub fn judge(&self, found: &Found) -> Vec<String> {
        let mut faults = found.faults.clone();
        if !found.has_schema && self.has_schema {
            faults.push("the acknowledged schema is not there".to_owned());
        }
        let lost: Vec<_> = self.required.difference(&found.commits).collect();
        if !lost.is_empty() {
            faults.push(format!("{} acknowledged commits are lost: {lost:?}", lost.len()));
        }
        let allowed = |id: &&TransactionId| !self.required.contains(*id) && !self.under_way.contains(*id);
        let invented: Vec<_> = found.commits.iter().filter(allowed).collect();
        if !invented.is_empty() {
            faults.push(format!("commits that nobody can have made: {invented:?}"));
        }
        if found.visitors != self.visitors {
            faults.push(format!("stock SQLite's rows are {:?}, not {:?}", found.visitors, self.visitors));
        }
        faults
    }

    /// Takes what was read back as the truth from now on. Returns how many commits it has that were not acknowledged.
    pub fn accept(&mut self, found: &Found) -> usize {
        let before = self.required.len();
        self.has_schema |= found.has_schema;
        self.required.extend(found.commits.iter().copied());
        self.under_way.clear();
        self.required.len() - before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(commits: &[TransactionId]) -> Found {
        Found { has_schema: true, commits: commits.iter().copied().collect(), ..Found::default() }
    }

    #[test]
    fn acknowledged_commits_are_required_and_one_per_worker_is_allowed_besides() {
        let mut model = Model::default();
        model.begin_round(100, 2);
        model.acknowledge_schema();
        assert_eq!(model.acknowledge((0, 100)), None);
        assert_eq!(model.acknowledge((0, 101)), None);
        model.end_round(false);
        assert_eq!(model.judge(&found(&[(0, 100), (0, 101)])), [""; 0]);
        assert_eq!(model.judge(&found(&[(0, 100), (0, 101), (0, 102), (1, 100)])), [""; 0]);
        assert_eq!(model.judge(&found(&[(0, 100)])).len(), 1, "lost");
        assert_eq!(model.judge(&found(&[(0, 100), (0, 101), (0, 103)])).len(), 1, "invented");
        assert_eq!(model.judge(&Found::default()).len(), 2, "no schema, all lost");
        assert_eq!(model.accept(&found(&[(0, 100), (0, 101), (1, 100)])), 1);
        assert_eq!(model.judge(&found(&[(0, 100), (0, 101)])).len(), 1, "what was read once must stay");
        assert_eq!(
            model.judge(&found(&[(0, 100), (0, 101), (0, 102), (1, 100)])).len(),
            1,
            "and no other comes"
        );
    }

    #[test]
    fn a_gap_in_the_acknowledgements_is_a_fault() {
        let mut model = Model::default();
        model.begin_round(0, 1);
        assert!(model.acknowledge((0, 1)).is_some());
    }
}
