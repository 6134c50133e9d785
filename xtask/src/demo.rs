//! `cargo xtask demo`: the engine inside a Bun program, on data that somebody else made, through a kill.
//!
//! Runs `examples/bun-demo/app.ts`: it loads movies, airports and flights from vega-datasets; then it writes one commit
//! at a time, telling each acknowledgement, until it is killed with SIGKILL. A new process opens the file, runs queries
//! over all of it and must find everything that was acknowledged.
//!
//! Invariants:
//! 1. The database is made anew on each run; nothing of an earlier run can pass for this one's.
//! 2. The kill comes while rows are being written: acknowledgements are counted from the pipe, and the writer does not
//!    end by itself.
//! 3. The demo fails unless the new process finds at least as many rows as were acknowledged.
//!
//! On a crash of the demo itself: the writer's pipe breaks and it ends; the database stays in the target directory.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::bun::Example;
use crate::program::{self, Program};
use crate::workspace::Workspace;

/// The writer is killed once it has told this many acknowledgements.
const ACKNOWLEDGEMENTS_BEFORE_KILL: u64 = 500;

/// Runs the demo from end to end.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let example = Example::prepare(workspace)?;
    let file = fresh_database(&workspace.target_dir())?;
    let app = App { example, url: format!("file://{}", file.display()) };

    heading("Bun loads movies, airports and flights from vega-datasets");
    app.program("load", &[app.example.datasets().as_os_str()]).run()?;

    heading("It writes, one commit at a time, until kill -9 in the middle");
    let acknowledged = app.write_until_killed()?;
    println!("killed after {acknowledged} acknowledged commits");

    heading("A new process opens the file, queries it, and looks for every acknowledged commit");
    app.program("report", &[acknowledged.to_string().as_ref()]).run()?;

    heading("Where it is");
    agree_with_stock_sqlite(&file)?;
    let size = fs::metadata(&file).with_context(|| format!("looking at {}", file.display()))?.len();
    println!("{} ({} KiB), an ordinary SQLite database", file.display(), size / 1024);
    println!("look inside: sqlite3 {}", file.display());
    Ok(())
}

/// The example on one database.
struct App {
    example: Example,
    url: String,
}

impl App {
    /// `bun app.ts <command> <url> <rest>…`.
    fn program(&self, command: &str, rest: &[&OsStr]) -> Program {
        let mut arguments: Vec<&OsStr> = vec!["app.ts".as_ref(), command.as_ref(), self.url.as_ref()];
        arguments.extend(rest);
        self.example.program(&arguments)
    }

    /// Starts the writer, kills it with SIGKILL in the middle, and gives the number of commits it was told are durable.
    fn write_until_killed(&self) -> Result<u64> {
        let mut writer = self.program("serve-writes", &[]).start()?;
        let output = writer.stdout.take().context("the writer's output is piped")?;
        let mut acknowledged = 0;
        let mut killed = false;
        // What the writer had told when it died is still in the pipe, and counts: so read to the end.
        for line in BufReader::new(output).lines() {
            let line = line.context("reading the writer's acknowledgements")?;
            if let Some(count) = parse_acknowledgement(&line) {
                ensure!(count == acknowledged + 1, "acknowledgement {count} came after {acknowledged}");
                acknowledged = count;
            } else {
                println!("{line}");
            }
            if acknowledged >= ACKNOWLEDGEMENTS_BEFORE_KILL && !killed {
                // Child::kill is SIGKILL on Unix.
                writer.kill().context("killing the writer")?;
                killed = true;
            }
        }
        let status = writer.wait().context("waiting for the writer")?;
        ensure!(killed, "the writer ended by itself after {acknowledged} acknowledgements: {status}");
        Ok(acknowledged)
    }
}

/// `ack 17` is 17; other lines are the app's own words.
fn parse_acknowledgement(line: &str) -> Option<u64> {
    line.strip_prefix("ack ")?.trim().parse().ok()
}

/// The path of the demo's database, with nothing of an earlier run left.
fn fresh_database(directory: &Path) -> Result<PathBuf> {
    let directory = directory.canonicalize().with_context(|| format!("finding {}", directory.display()))?;
    let file = directory.join("demo.db");
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let path = directory.join(format!("demo.db{suffix}"));
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    Ok(file)
}

/// Where the `sqlite3` shell is installed, it must open the file and find nothing wrong.
fn agree_with_stock_sqlite(file: &Path) -> Result<()> {
    if !program::is_installed("sqlite3") {
        println!("(sqlite3 is not installed: its opinion was not asked)");
        return Ok(());
    }
    let answer =
        Program::new("sqlite3").args([file.as_os_str(), "PRAGMA integrity_check".as_ref()]).output()?;
    if answer.trim() != "ok" {
        bail!("sqlite3 finds the file damaged: {answer}");
    }
    println!("sqlite3 opens it: integrity_check ok");
    Ok(())
}

fn heading(text: &str) {
    println!("\n== {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(directory: &Path, script: &str) -> App {
        fs::write(directory.join("app.ts"), script).unwrap();
        let example = Example { directory: directory.to_owned(), bun: "sh".into(), library: "lib".into() };
        App { example, url: "file:///x.db".to_owned() }
    }

    #[test]
    fn the_writer_is_killed_in_the_middle_and_what_it_told_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let script = "i=0; while true; do i=$((i+1)); echo ack $i; done";
        let acknowledged = app(directory.path(), script).write_until_killed().unwrap();
        assert!(acknowledged >= ACKNOWLEDGEMENTS_BEFORE_KILL);
    }

    #[test]
    fn a_writer_that_ends_by_itself_or_skips_a_number_fails_the_demo() {
        let directory = tempfile::tempdir().unwrap();
        let error = app(directory.path(), "echo ack 1; exit 4").write_until_killed().unwrap_err().to_string();
        assert!(error.contains("ended by itself after 1") && error.contains('4'), "{error}");
        let error =
            app(directory.path(), "echo ack 1; echo ack 3").write_until_killed().unwrap_err().to_string();
        assert!(error.contains("acknowledgement 3 came after 1"), "{error}");
    }

    #[test]
    fn the_app_is_called_by_its_convention() {
        let directory = tempfile::tempdir().unwrap();
        let app = app(directory.path(), "echo $ENGINE_LIB $*");
        assert_eq!(app.program("load", &["dir".as_ref()]).output().unwrap(), "lib load file:///x.db dir\n");
    }

    #[test]
    fn nothing_of_an_earlier_run_is_left() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["demo.db", "demo.db-wal", "keep"] {
            fs::write(directory.path().join(name), "old").unwrap();
        }
        let file = fresh_database(directory.path()).unwrap();
        assert!(!file.exists() && !directory.path().join("demo.db-wal").exists());
        assert!(directory.path().join("keep").exists());
    }

    #[test]
    fn only_acknowledgements_are_counted() {
        let cases =
            [("ack 17", Some(17)), ("ack  3 ", Some(3)), ("ack x", None), ("back 1", None), ("", None)];
        for (line, expected) in cases {
            assert_eq!(parse_acknowledgement(line), expected, "{line}");
        }
    }
}
