//! Where the workspace is, and which files are its own.
//!
//! Invariants:
//! 1. Build output, dependencies of examples and version control are never walked: see [`Workspace::files`].
//! 2. Paths are relative to the root and use `/`, so that a complaint reads the same everywhere.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The checked-out project.
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace this program was built from.
    pub(crate) fn locate() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies at a root")?;
        ensure!(root.join("Cargo.toml").is_file(), "{} has no Cargo.toml: was it moved?", root.display());
        Ok(Self { root: root.to_owned() })
    }

    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The directory of the root `Cargo.toml`.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where cargo puts what it builds.
    pub(crate) fn target_dir(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| self.root.join("target"), |dir| self.root.join(dir))
    }

    /// Whether a file or directory of the project exists.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }

    /// The text of a file of the project.
    pub(crate) fn read(&self, path: &str) -> Result<String> {
        fs::read_to_string(self.root.join(path)).with_context(|| format!("reading {path}"))
    }

    /// Every file of the project, sorted.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let mut files = Vec::new();
        self.walk("", &mut files)?;
        files.sort_unstable();
        Ok(files)
    }

    fn walk(&self, directory: &str, files: &mut Vec<String>) -> Result<()> {
        let entries =
            fs::read_dir(self.root.join(directory)).with_context(|| format!("listing {directory:?}"))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if directory.is_empty() { name.clone() } else { format!("{directory}/{name}") };
            let kind = entry.file_type()?;
            if kind.is_dir() && !is_foreign(&name) {
                self.walk(&path, files)?;
            } else if kind.is_file() {
                files.push(path);
            }
        }
        Ok(())
    }
}

/// Directories that hold nothing of ours: `target`, `target-…`, `node_modules`, `.git`.
fn is_foreign(name: &str) -> bool {
    name == "target" || name.starts_with("target-") || name == "node_modules" || name == ".git"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_output_and_dependencies_are_not_walked() {
        let directory = tempfile::tempdir().unwrap();
        for path in ["src/a.rs", "target/b.rs", "target-x/c.rs", "app/node_modules/d.rs", ".git/e", ".ci/run"]
        {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert_eq!(Workspace::at(directory.path()).files().unwrap(), [".ci/run", "src/a.rs"]);
    }
}
