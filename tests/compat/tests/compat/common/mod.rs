//! Stock SQLite by its shell, ours by the engine, and a directory to meet in.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use twill_engine::{Connection, Database, Value};

/// A directory with one database file, gone at the end.
pub struct Place {
    pub directory: tempfile::TempDir,
    pub path: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.db");
        Self { directory, path }
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.path.display())
    }

    pub fn beside(&self, suffix: &str) -> PathBuf {
        beside(&self.path, suffix)
    }

    /// The names in the directory.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A copy of the files as they lie, which is what a killed process leaves.
    pub fn copy(&self) -> Self {
        let copy = Self::new();
        for suffix in ["", "-wal", "-journal"] {
            if self.beside(suffix).exists() {
                std::fs::copy(self.beside(suffix), copy.beside(suffix)).unwrap();
            }
        }
        copy
    }

    /// Runs statements in ours, and closes it.
    #[track_caller]
    pub fn ours(&self, sql: &str) -> String {
        let database = Database::open(&self.url()).unwrap();
        let rows = ours(&database.connect().unwrap(), sql);
        database.close().unwrap();
        rows
    }

    /// Runs statements in stock SQLite.
    #[track_caller]
    pub fn stock(&self, sql: &str) -> String {
        stock(&self.path, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The last statement's rows, as the shell prints them.
#[track_caller]
pub fn ours(connection: &Connection, sql: &str) -> String {
    let result = connection.run_script(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let show = |value: Value| match value {
        Value::Null => String::new(),
        Value::Integer(value) => value.to_string(),
        Value::Real(value) if value == value.trunc() => format!("{value:.1}"),
        Value::Real(value) => value.to_string(),
        Value::Text(value) => value,
        Value::Blob(value) => format!("{value:02X?}"),
    };
    let row = |row: Vec<Value>| row.into_iter().map(show).collect::<Vec<_>>().join("|");
    result.rows.into_iter().map(row).collect::<Vec<_>>().join("\n")
}

/// Whether the shell is there; says so where it is not.
pub fn has_stock() -> bool {
    let asked = Command::new("sqlite3").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = asked.is_ok_and(|status| status.success());
    if !there {
        println!("SKIPPED: sqlite3 is not installed");
    }
    there
}

pub fn shell(path: &Path) -> Command {
    let mut command = Command::new("sqlite3");
    command.args(["-init", "/dev/null", "-batch", "-noheader", "-list", "-bail"]).arg(path);
    command
}

/// What the shell answers: its output, or its complaint.
pub fn stock(path: &Path, sql: &str) -> Result<String, String> {
    let output = shell(path).arg(sql).stdin(Stdio::null()).output().unwrap();
    if output.status.success() && output.stderr.is_empty() {
        Ok(String::from_utf8(output.stdout).unwrap().trim_end().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// A shell that stays open.
pub struct Held {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Held {
    pub fn on(path: &Path) -> Self {
        let mut child = shell(path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    /// Runs statements, and returns when they are done.
    pub fn run(&mut self, sql: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        writeln!(input, "{sql}\nSELECT 'done';").unwrap();
        let mut line = String::new();
        while line.trim_end() != "done" {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the shell ended: {sql}");
        }
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The end of its input.
    pub fn close(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// Runs `opens` in a process of its own, as `prefix` says.
pub fn opens(prefix: &[&str], program: &Path, url: &str, sql: &str) -> String {
    let mut words = prefix.iter().map(|word| std::ffi::OsString::from(*word)).collect::<Vec<_>>();
    words.extend([program.as_os_str().to_owned(), url.into(), sql.into()]);
    let output = Command::new(&words[0]).args(&words[1..]).current_dir("/").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// The program `opens`.
pub fn opens_program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_opens"))
}

/// Fills table `t` with rows whose bytes follow from their number; works in ours and in stock SQLite.
pub const FILL: &str =
    "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, bytes BLOB); CREATE INDEX t_name ON t(name);
    WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 300)
    INSERT INTO t SELECT i, 'naïve ' || i || ' 名', zeroblob(i * 7 % 3000) FROM n;";
/// What every reader must answer about [`FILL`].
pub const SUMMARY: &str =
    "SELECT count(*), sum(id), sum(length(name)), sum(length(bytes)), min(name), max(name) FROM t;";

/// [`SUMMARY`] of an untouched [`FILL`], computed by stock SQLite in memory.
pub fn summary() -> String {
    stock(Path::new(":memory:"), &format!("{FILL}{SUMMARY}")).unwrap()
}
