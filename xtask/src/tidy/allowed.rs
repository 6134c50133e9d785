//! The exceptions: `xtask/allowed.toml`.
//!
//! ```toml
//! [[allow]]
//! check = "function-length"
//! file = "crates/vfs-trait/src/conformance/model.rs"
//! item = "run"
//! reason = "one table of cases; splitting it hides that it is complete"
//! ```
//!
//! Invariants:
//! 1. An entry excuses one check, for one file, for one item (or for the whole file, where the complaint is about it).
//! 2. A reason of fewer than four words is no reason.
//! 3. An entry that excuses nothing is a complaint.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Complaint;
use crate::workspace::Workspace;

const FILE: &str = "xtask/allowed.toml";

/// The parsed allow list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Allowed {
    #[serde(default)]
    allow: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    check: String,
    file: String,
    #[serde(default)]
    item: String,
    reason: String,
}

impl Allowed {
    pub(crate) fn load(workspace: &Workspace) -> Result<Self> {
        Self::parse(&workspace.read(FILE)?)
    }

    fn parse(text: &str) -> Result<Self> {
        let allowed: Self = toml::from_str(text).with_context(|| format!("parsing {FILE}"))?;
        for entry in &allowed.allow {
            let words = entry.reason.split_whitespace().count();
            ensure!(words >= 4, "{FILE}: {} of {} is excused without a reason", entry.check, entry.file);
        }
        Ok(allowed)
    }

    /// What is left of `complaints`, and a complaint for every entry that excused none.
    pub(crate) fn excuse(&self, complaints: Vec<Complaint>) -> Vec<Complaint> {
        let excuses = |entry: &Entry, complaint: &Complaint| {
            entry.check == complaint.check && entry.file == complaint.file && entry.item == complaint.item
        };
        let stale = self.allow.iter().filter(|entry| !complaints.iter().any(|found| excuses(entry, found)));
        let stale: Vec<Complaint> = stale
            .map(|entry| {
                let what = format!(
                    "{} {} of {} needs no excuse any more: remove it",
                    entry.check, entry.item, entry.file
                );
                Complaint::new("allowed", FILE, 0, &entry.item, what)
            })
            .collect();
        let mut left = complaints;
        left.retain(|complaint| !self.allow.iter().any(|entry| excuses(entry, complaint)));
        left.extend(stale);
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str =
        "[[allow]]\ncheck = \"file-length\"\nfile = \"a.rs\"\nreason = \"it is one long table\"\n";

    #[test]
    fn an_entry_excuses_its_own_complaint_only() {
        let allowed = Allowed::parse(ENTRY).unwrap();
        let excused = Complaint::new("file-length", "a.rs", 0, "", "long");
        let others = [
            Complaint::new("file-length", "b.rs", 0, "", "long"),
            Complaint::new("function-length", "a.rs", 0, "", "long"),
            Complaint::new("file-length", "a.rs", 3, "run", "long"),
        ];
        assert_eq!(allowed.excuse(vec![excused.clone()]), []);
        let mut all = others.to_vec();
        all.push(excused);
        assert_eq!(allowed.excuse(all), others);
    }

    #[test]
    fn a_stale_entry_is_a_complaint() {
        let left = Allowed::parse(ENTRY).unwrap().excuse(Vec::new());
        assert_eq!(left.len(), 1);
        assert!(left[0].message.contains("a.rs") && left[0].message.contains("remove it"), "{}", left[0]);
    }

    #[test]
    fn an_entry_without_a_reason_or_with_a_misspelt_key_is_refused() {
        assert!(Allowed::parse(&ENTRY.replace("it is one long table", "because")).is_err());
        assert!(Allowed::parse(&ENTRY.replace("reason", "why")).is_err());
    }
}
