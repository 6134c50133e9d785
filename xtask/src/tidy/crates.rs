//! Every manifest says what its crate is for and takes its lints from the workspace.
//!
//! Invariants:
//! 1. `description` is a sentence a stranger understands: at least four words.
//! 2. `[lints] workspace = true`, so that no crate escapes the workspace's lints by forgetting them.

use anyhow::{Context, Result};

use super::Complaint;
use crate::workspace::Workspace;

const CHECK: &str = "crates";

/// Checks every `Cargo.toml` that declares a package.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    for path in workspace.files()?.iter().filter(|path| path.ends_with("/Cargo.toml")) {
        let manifest = workspace.read(path)?.parse().with_context(|| format!("parsing {path}"))?;
        complaints.extend(check_manifest(path, &manifest));
    }
    Ok(complaints)
}

fn check_manifest(path: &str, manifest: &toml::Table) -> Vec<Complaint> {
    let get = |table: &str, key: &str| manifest.get(table).and_then(|table| table.get(key));
    let mut complaints = Vec::new();
    let description = get("package", "description").and_then(toml::Value::as_str).unwrap_or_default();
    if description.split_whitespace().count() < 4 {
        let message = "package.description must say in a sentence what the crate is for";
        complaints.push(Complaint::new(CHECK, path, 0, "description", message));
    }
    if get("lints", "workspace").and_then(toml::Value::as_bool) != Some(true) {
        let message = "add [lints] workspace = true";
        complaints.push(Complaint::new(CHECK, path, 0, "lints", message));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_needs_a_description_and_the_lints() {
        let cases = [
            ("[package]\ndescription = \"Pages in a plain file.\"\n[lints]\nworkspace = true", 0),
            ("[package]\ndescription = \"x\"\n[lints]\nworkspace = true", 1),
            ("[package]\ndescription = \"Pages in a plain file.\"", 1),
            ("[package]\nname = \"y\"", 2),
        ];
        for (manifest, expected) in cases {
            assert_eq!(
                check_manifest("a/Cargo.toml", &manifest.parse().unwrap()).len(),
                expected,
                "{manifest}"
            );
        }
    }
}
