//! Runs other programs: with their output shown, or read, and always with the command line in the error.
//!
//! Invariants:
//! 1. No shell is involved: arguments arrive as they were given.
//! 2. A program that is missing, fails or dies of a signal is an error that shows what was run and where.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// A command line to be run.
pub(crate) struct Program {
    command: Command,
}

impl Program {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self { command: Command::new(program) }
    }

    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it with its output shown.
    pub(crate) fn run(mut self) -> Result<()> {
        let status = self.command.status().with_context(|| format!("starting {}", self.describe()))?;
        if !status.success() {
            bail!("{} ended with {status}", self.describe());
        }
        Ok(())
    }

    /// Runs it and gives its standard output; its standard error is shown only if it fails.
    pub(crate) fn output(mut self) -> Result<String> {
        self.command.stdin(Stdio::null());
        let output = self.command.output().with_context(|| format!("starting {}", self.describe()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!("{} ended with {}\n{text}{complaint}", self.describe(), output.status);
        }
        Ok(text)
    }

    /// Starts it with its standard output piped to the caller.
    pub(crate) fn start(mut self) -> Result<Child> {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped());
        self.command.spawn().with_context(|| format!("starting {}", self.describe()))
    }

    fn describe(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        match self.command.get_current_dir() {
            Some(directory) => format!("`{line}` in {}", directory.display()),
            None => format!("`{line}`"),
        }
    }
}

/// Whether a program of this name can be found on `PATH`.
pub(crate) fn is_installed(name: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|directory| directory.join(name).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_the_command_and_what_it_said() {
        let script = Program::new("sh").args(["-c", "echo out; echo why >&2; exit 3"]);
        let error = script.output().unwrap_err().to_string();
        for part in ["sh -c", "exit status: 3", "out\n", "why"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(Program::new("sh").args(["-c", "exit 1"]).run().is_err());
        assert!(Program::new("no-such-program").run().is_err());
        assert_eq!(Program::new("sh").args(["-c", "echo fine"]).output().unwrap(), "fine\n");
    }

    #[test]
    fn installed_programs_are_found_by_name() {
        assert!(is_installed("sh"));
        assert!(!is_installed("no-such-program"));
    }
}
