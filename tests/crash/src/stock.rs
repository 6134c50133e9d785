//! Stock SQLite, by its shell `sqlite3`: the second opinion on our files.
//!
//! Every call is a process of its own, so it opens, recovers, and closes the file as a stranger would.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};

use crate::examine::Reader;

/// The shell, on one database file.
#[derive(Clone, Debug)]
pub struct Stock {
    path: PathBuf,
}

impl Stock {
    /// Whether the shell is installed.
    #[must_use]
    pub fn is_installed() -> bool {
        let asked =
            Command::new("sqlite3").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    }

    /// The shell on a file.
    #[must_use]
    pub fn on(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// A shell that ignores the user's settings, with the file still to be given.
    #[must_use]
    pub fn command() -> Command {
        let mut command = Command::new("sqlite3");
        command.args(["-init", "/dev/null", "-batch", "-noheader", "-list", "-separator", "|", "-bail"]);
        command
    }

    /// Runs statements and dot commands, one to an argument, and returns what the shell printed.
    ///
    /// # Errors
    /// What the shell wrote to its error output.
    pub fn run(&self, statements: &[&str]) -> Result<String> {
        let Output { status, stdout, stderr } = Self::command()
            .arg(&self.path)
            .args(statements)
            .stdin(Stdio::null())
            .output()
            .context("running sqlite3")?;
        let complaint = String::from_utf8_lossy(&stderr);
        ensure!(status.success() && complaint.is_empty(), "sqlite3 says {status}: {}", complaint.trim());
        String::from_utf8(stdout).context("sqlite3 answered something else than UTF-8")
    }
}

impl Reader for Stock {
    fn rows(&mut self, sql: &str) -> Result<Vec<Vec<String>>> {
        let output = self.run(&[sql]).with_context(|| sql.to_owned())?;
        Ok(output.lines().map(|line| line.split('|').map(ToOwned::to_owned).collect()).collect())
    }
}

/// Copies a database and its WAL, as they lie, to `to`.
///
/// # Errors
/// Those of the file system.
pub fn copy_files(from: &Path, to: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-journal", "-shm"] {
        let (from, to) = (beside(from, suffix), beside(to, suffix));
        if to.exists() {
            std::fs::remove_file(&to).with_context(|| format!("removing {}", to.display()))?;
        }
        if from.exists() && suffix != "-shm" {
            std::fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
        }
    }
    Ok(())
}

/// The path with a suffix, as SQLite names its files.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
