//! The checks of taste: what a reviewer would have to say in every second change, said by a program instead.
//!
//! Each check is a pure function from text to [`Complaint`]s, tested with an example that fails. What a check cannot
//! know is written in `xtask/allowed.toml`, one entry with a reason for each exception.
//!
//! Invariants:
//! 1. Every complaint names the file and, where there is one, the line, so that an editor can jump to it.
//! 2. An entry of the allow list that excuses nothing is a complaint itself: the list only shrinks by being true.
//! 3. All complaints are printed, not only the first.
//!
//! Refuses: a crate that the table of arrows does not know. A new crate gets a row there first.

mod allowed;
mod arrows;
mod crates;
mod documents;
mod lengths;
mod names;
mod source;
mod text;
mod unsafety;

use std::fmt;

use anyhow::{Result, bail};

use crate::workspace::Workspace;

/// Something to put right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Complaint {
    /// Which check complains; the word that `xtask/allowed.toml` uses.
    pub check: &'static str,
    /// Relative to the root of the workspace.
    pub file: String,
    /// From 1; 0 where the complaint is about the whole file.
    pub line: usize,
    /// The item complained about, as the allow list names it; empty where it is the whole file.
    pub item: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Complaint {
    fn new(check: &'static str, file: &str, line: usize, item: &str, message: impl Into<String>) -> Self {
        Self { check, file: file.to_owned(), line, item: item.to_owned(), message: message.into() }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: [{}] {}", self.file, self.line.max(1), self.check, self.message)
    }
}

/// Runs every check and fails if one complains.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let (complaints, checked) = check(workspace)?;
    for complaint in &complaints {
        println!("{complaint}");
    }
    if !complaints.is_empty() {
        bail!("tidy has {} complaints", complaints.len());
    }
    println!("tidy: {checked} files, no complaints");
    Ok(())
}

/// Every complaint about the workspace, and how many files were looked at.
fn check(workspace: &Workspace) -> Result<(Vec<Complaint>, usize)> {
    let files = workspace.files()?;
    let mut complaints = arrows::check(workspace)?;
    complaints.extend(crates::check(workspace)?);
    complaints.extend(documents::check(workspace)?);
    let mut unsafe_files = Vec::new();
    for path in &files {
        complaints.extend(names::check_path(path));
        // Not UTF-8: a fixture, a picture. There is no prose to judge in it.
        let Ok(content) = workspace.read(path) else { continue };
        complaints.extend(text::check(path, &content));
        if path.ends_with(".rs") {
            let source = source::Source::parse(path, &content)?;
            complaints.extend(source::check_module_doc(&source));
            complaints.extend(lengths::check(&source));
            complaints.extend(names::check(&source));
            complaints.extend(text::check_tokens(&source));
            if unsafety::first_use(&source).is_some() {
                unsafe_files.push(source);
            }
        }
    }
    complaints.extend(unsafety::check(&unsafe_files));
    let mut complaints = allowed::Allowed::load(workspace)?.excuse(complaints);
    complaints.sort();
    Ok((complaints, files.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_reads_as_editors_expect() {
        let complaint = Complaint::new("names", "crates/a/src/b.rs", 0, "", "rename it");
        assert_eq!(complaint.to_string(), "crates/a/src/b.rs:1: [names] rename it");
    }
}
