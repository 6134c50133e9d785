//! Results as files: JSON with the raw rounds, a page for people, and plots.
//!
//! Invariants:
//! 1. The JSON is complete: page and plots are made of it alone.
//! 2. Each file is written beside its place and renamed.

pub(crate) mod page;
pub(crate) mod plots;

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::lines::CONNECTIONS;
use crate::machine::Machine;
use crate::rounds::Line;
use crate::stage::Stage;

/// Name and version of the JSON.
const FORMAT: &str = "twill-bench file 1";

/// Everything a run found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) format: String,
    pub(crate) version: String,
    /// A smoke run: no number means anything.
    pub(crate) quick: bool,
    pub(crate) finished_unix_s: u64,
    pub(crate) rounds: usize,
    pub(crate) machine: Machine,
    pub(crate) sizes: Sizes,
    pub(crate) lines: Vec<Line>,
}

/// How much was measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Sizes {
    pub(crate) large_rows: i64,
    pub(crate) small_rows: i64,
    pub(crate) read_ms: u128,
    pub(crate) commit_ms: u128,
    pub(crate) opens: usize,
}

impl Results {
    pub(crate) fn new(stage: &Stage, machine: Machine, quick: bool, rounds: usize, lines: Vec<Line>) -> Self {
        let since_epoch = stage.door.wall_now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let scale = stage.scale;
        Self {
            format: FORMAT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            quick,
            finished_unix_s: since_epoch.as_secs(),
            rounds,
            machine,
            sizes: Sizes {
                large_rows: scale.large_rows,
                small_rows: scale.small_rows,
                read_ms: scale.read_time.as_millis(),
                commit_ms: scale.commit_time.as_millis(),
                opens: scale.opens,
            },
            lines,
        }
    }

    /// The lines of durable commits by their number of connections, as far as they were measured.
    pub(crate) fn commits(&self) -> Vec<(usize, &Line)> {
        self.by_count(&CONNECTIONS, "autocommit insert, ", "connection")
    }

    /// The lines called `<prefix><count> <what>` or `<what>s`.
    fn by_count(&self, counts: &[usize], prefix: &str, what: &str) -> Vec<(usize, &Line)> {
        let find = |count: &usize| {
            let name = crate::lines::counted(*count, what);
            self.lines.iter().find(|line| line.name == format!("{prefix}{name}")).map(|line| (*count, line))
        };
        counts.iter().filter_map(find).collect()
    }
}

/// Writes `file.json`, `file.md` and the plots.
pub(crate) fn write(directory: &Path, results: &Results) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    let mut json = serde_json::to_string_pretty(results).context("writing JSON")?;
    json.push('\n');
    replace(directory, "file.json", &json)?;
    for (name, svg) in plots::draw(results)? {
        replace(directory, name, &svg)?;
    }
    replace(directory, "file.md", &page::page(results))
}

/// Writes a file beside its place and renames it.
pub(crate) fn replace(directory: &Path, name: &str, text: &str) -> Result<()> {
    let path = directory.join(name);
    let write = || -> Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(text.as_bytes())?;
        let file = file.persist(&path)?;
        make_readable(&file)
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Temporary files are private; results are not.
fn make_readable(file: &std::fs::File) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(file.set_permissions(std::fs::Permissions::from_mode(0o644))?)
}
