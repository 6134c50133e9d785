//! The documents exist, and what they promise can be typed.
//!
//! Invariants:
//! 1. README, ARCHITECTURE, GLOSSARY, CHANGELOG, both licences and the format index are there and not empty.
//! 2. Every `cargo xtask …` in a document is a command of xtask.
//! 3. Every relative link of a document leads to a file of the project.
//! 4. CHANGELOG.md has an `[Unreleased]` section (Keep a Changelog).

use anyhow::Result;

use super::Complaint;
use crate::workspace::Workspace;

const CHECK: &str = "documents";
const REQUIRED: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "GLOSSARY.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "docs/format/README.md",
];
const COMMANDS: &[&str] = &["test", "tidy", "pack", "demo"];

/// Checks the required documents and every markdown file.
pub(crate) fn check(workspace: &Workspace) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    for path in REQUIRED {
        if workspace.read(path).is_ok_and(|text| !text.trim().is_empty()) {
            continue;
        }
        complaints.push(Complaint::new(CHECK, path, 0, "", "the document is missing or empty"));
    }
    for path in workspace.files()?.iter().filter(|path| path.ends_with(".md")) {
        let text = workspace.read(path)?;
        complaints.extend(check_commands(path, &text));
        complaints.extend(check_links(path, &text, |target| workspace.has(target)));
    }
    if let Ok(changelog) = workspace.read("CHANGELOG.md") {
        complaints.extend(check_changelog(&changelog));
    }
    Ok(complaints)
}

fn check_changelog(text: &str) -> Option<Complaint> {
    if text.lines().any(|line| line.starts_with("## [Unreleased]")) {
        return None;
    }
    Some(Complaint::new(CHECK, "CHANGELOG.md", 0, "", "there is no `## [Unreleased]` section"))
}

fn check_commands(path: &str, text: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for rest in line.split("cargo xtask ").skip(1) {
            let command: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
            if !command.is_empty() && !COMMANDS.contains(&command.as_str()) {
                let message = format!("`cargo xtask {command}` is not a command");
                complaints.push(Complaint::new(CHECK, path, index + 1, &command, message));
            }
        }
    }
    complaints
}

fn check_links(path: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<Complaint> {
    let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut complaints = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for rest in line.split("](").skip(1) {
            let Some((target, _)) = rest.split_once(')') else { continue };
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || exists(&resolve(directory, file)) {
                continue;
            }
            let message = format!("the link leads nowhere: {target}");
            complaints.push(Complaint::new(CHECK, path, index + 1, target, message));
        }
    }
    complaints
}

/// `target` as seen from `directory`, with `..` taken out.
fn resolve(directory: &str, target: &str) -> String {
    let mut parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_does_not_exist_is_found() {
        assert_eq!(
            check_commands("README.md", "Run `cargo xtask test --fast`, or\n    cargo xtask demo\n"),
            []
        );
        let complaints = check_commands("README.md", "fine\n`cargo xtask deploy` and `cargo xtask fly`\n");
        assert_eq!(complaints.iter().map(|found| found.item.as_str()).collect::<Vec<_>>(), ["deploy", "fly"]);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let exists = |path: &str| path == "README.md" || path == "docs/format/file.md";
        let text =
            "[a](file.md) [b](../../README.md#use) [c](https://example.com/x) [d](#here) [e](./lost.md)";
        let complaints = check_links("docs/format/README.md", text, exists);
        assert_eq!(complaints.iter().map(|found| found.item.as_str()).collect::<Vec<_>>(), ["./lost.md"]);
    }

    #[test]
    fn an_empty_project_lacks_every_document() {
        let directory = tempfile::tempdir().unwrap();
        let complaints = check(&Workspace::at(directory.path())).unwrap();
        assert_eq!(complaints.len(), REQUIRED.len());
    }

    #[test]
    fn the_changelog_keeps_a_place_for_what_is_not_released() {
        assert!(check_changelog("# Changelog\n\n## [Unreleased]\n").is_none());
        assert!(check_changelog("# Changelog\n\n## [0.1.0]\n").is_some());
    }
}
