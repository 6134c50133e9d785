//! The arrows between the crates, as `ARCHITECTURE.md` draws them.
//!
//! Invariants:
//! 1. A crate depends only on the crates in its row of [`ARROWS`]; build dependencies count as normal ones.
//! 2. A development dependency may besides reach `twill-vfs-trait`, for its conformance suite, and the crate itself.
//! 3. Crates that exist to try the others (those under [`SEE_ALL`]) may depend on all, and only each other on them.
//! 4. A library of the outside that is named in [`OUTSIDE`] is reached from the crates in its row alone.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Complaint;
use crate::program::Program;
use crate::workspace::Workspace;

const CHECK: &str = "arrows";

/// Each crate of the product and what it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("twill-types", &[]),
    ("twill-libsql", &["twill-types"]),
    ("twill-vfs-trait", &["twill-types"]),
    ("twill-vfs-shim", &["twill-types", "twill-vfs-trait", "twill-libsql"]),
    ("twill-vfs-local", &["twill-types", "twill-vfs-trait"]),
    ("twill-commitlog-cas", &["twill-types"]),
    (
        "twill-engine",
        &["twill-types", "twill-vfs-trait", "twill-vfs-shim", "twill-vfs-local", "twill-libsql"],
    ),
    ("twill-c", &["twill-types", "twill-engine"]),
    ("twill-cli", &["twill-types", "twill-engine"]),
];

/// Where the crates are that try the others.
const SEE_ALL: &[&str] = &["tests/", "bench/", "xtask/"];

/// Libraries of the outside that would otherwise leak through the house, and who may name them.
const OUTSIDE: &[(&str, &[&str])] = &[
    ("libsql-ffi", &["twill-libsql"]),
    ("libsql-rusqlite", &["twill-engine"]),
    ("libsql-sys", &[]),
    ("rusqlite", &[]),
];

/// One dependency as a manifest declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Arrow {
    from: String,
    to: String,
    for_development: bool,
    manifest: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Checks every manifest of the workspace, as cargo reads it.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<Complaint>> {
    let json = Program::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .directory(workspace.root())
        .output()?;
    let metadata: Metadata = serde_json::from_str(&json).context("reading cargo metadata")?;
    let root = format!("{}/", workspace.root().display());
    let (all, product): (Vec<_>, Vec<_>) = metadata.packages.iter().partition(|package| {
        let manifest = package.manifest_path.trim_start_matches(&root);
        SEE_ALL.iter().any(|directory| manifest.starts_with(directory))
    });
    let see_all: Vec<&str> = all.iter().map(|package| package.name.as_str()).collect();
    let mut complaints = Vec::new();
    for package in product {
        let manifest = package.manifest_path.trim_start_matches(&root).to_owned();
        let arrows = package.dependencies.iter().map(|dependency| Arrow {
            from: package.name.clone(),
            to: dependency.name.clone(),
            for_development: dependency.kind.as_deref() == Some("dev"),
            manifest: manifest.clone(),
        });
        complaints.extend(judge(&package.name, &manifest, &arrows.collect::<Vec<_>>(), &see_all));
    }
    Ok(complaints)
}

/// Judges one crate of the product; `see_all` names the crates on which none of them may depend.
fn judge(package: &str, manifest: &str, arrows: &[Arrow], see_all: &[&str]) -> Vec<Complaint> {
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package) else {
        let message =
            format!("{package} has no row in the table of arrows: give it one in xtask/src/tidy/arrows.rs");
        return vec![Complaint::new(CHECK, manifest, 0, package, message)];
    };
    arrows.iter().filter_map(|arrow| refuse(arrow, allowed, see_all)).collect()
}

fn refuse(arrow: &Arrow, allowed: &[&str], see_all: &[&str]) -> Option<Complaint> {
    let Arrow { from, to, for_development, manifest } = arrow;
    let ours = see_all.contains(&to.as_str()) || ARROWS.iter().any(|(name, _)| name == to);
    let message = if ours {
        let to_try = *for_development && (to == "twill-vfs-trait" || to == from);
        if to_try || allowed.contains(&to.as_str()) {
            return None;
        }
        format!("{from} must not depend on {to}: ARCHITECTURE.md has the arrows that may exist")
    } else {
        let (_, users) = OUTSIDE.iter().find(|(name, _)| name == to)?;
        if users.contains(&from.as_str()) || *for_development {
            return None;
        }
        format!("{from} must not depend on {to}: only {users:?} may")
    };
    Some(Complaint::new(CHECK, manifest, 0, to, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(from: &str, to: &str, for_development: bool) -> usize {
        let manifest = "Cargo.toml".to_owned();
        let arrow = Arrow { from: from.to_owned(), to: to.to_owned(), for_development, manifest };
        judge(from, "Cargo.toml", &[arrow], &["twill-crash"]).len()
    }

    #[test]
    fn the_arrows_of_the_table_pass_and_every_other_is_refused() {
        for (from, allowed) in ARROWS {
            for (to, _) in ARROWS {
                assert_eq!(complaints(from, to, false), usize::from(!allowed.contains(to)), "{from} -> {to}");
            }
        }
    }

    #[test]
    fn backends_never_see_each_other_nor_what_is_above() {
        let forbidden = [
            ("twill-vfs-local", "twill-vfs-shim"),
            ("twill-commitlog-cas", "twill-vfs-trait"),
            ("twill-vfs-trait", "twill-libsql"),
            ("twill-types", "twill-vfs-trait"),
            ("twill-c", "twill-vfs-local"),
            ("twill-vfs-shim", "twill-engine"),
            ("twill-engine", "twill-crash"),
        ];
        for (from, to) in forbidden {
            assert_eq!(complaints(from, to, false), 1, "{from} -> {to}");
        }
    }

    #[test]
    fn a_development_dependency_reaches_the_conformance_suite_and_nothing_else() {
        assert_eq!(complaints("twill-types", "twill-vfs-trait", true), 0);
        assert_eq!(complaints("twill-vfs-trait", "twill-vfs-trait", true), 0);
        assert_eq!(complaints("twill-vfs-local", "twill-engine", true), 1);
    }

    #[test]
    fn libsql_is_reached_through_its_own_crate() {
        assert_eq!(complaints("twill-libsql", "libsql-ffi", false), 0);
        assert_eq!(complaints("twill-vfs-shim", "libsql-ffi", false), 1);
        assert_eq!(complaints("twill-c", "libsql-rusqlite", false), 1);
        assert_eq!(complaints("twill-vfs-shim", "thiserror", false), 0);
    }

    #[test]
    fn a_crate_without_a_row_is_refused() {
        assert_eq!(judge("twill-new", "Cargo.toml", &[], &[]).len(), 1);
    }

    #[test]
    fn the_table_has_no_cycle() {
        for (index, (from, allowed)) in ARROWS.iter().enumerate() {
            for to in *allowed {
                let target = ARROWS.iter().position(|(name, _)| name == to).unwrap();
                assert!(target < index, "{from} -> {to} points down the table");
            }
        }
    }
}
