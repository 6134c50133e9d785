//! What the measurements run on: processors, kernel, file system, and how fast its disk makes bytes durable.
//!
//! Invariants:
//! 1. A description holds no path, host name or user name.
//! 2. The disk is probed before and after the lines, so that a disk that changed its mind is seen.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::statfs::{self, FsType};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::rounds::percentile;
use crate::stage::Stage;

/// Bytes of one write of the disk probe: a page and its frame header.
const PROBE_BYTES: usize = 4096 + 24;
/// Linux's numbers of file systems, `linux/magic.h`. Those without a name here are given as a number.
const FILESYSTEMS: &[(FsType, &str)] = &[
    (statfs::EXT4_SUPER_MAGIC, "ext4"),
    (statfs::XFS_SUPER_MAGIC, "xfs"),
    (statfs::BTRFS_SUPER_MAGIC, "btrfs"),
    (statfs::OVERLAYFS_SUPER_MAGIC, "overlayfs"),
    (statfs::NFS_SUPER_MAGIC, "nfs"),
    (statfs::TMPFS_MAGIC, "tmpfs"),
    (FsType(0x8584_58f6), "ramfs"),
];
const IN_MEMORY: &[&str] = &["tmpfs", "ramfs"];

/// A directory for databases, removed at the end.
pub(crate) struct Directory {
    root: TempDir,
    filesystem: String,
}

impl Directory {
    /// A new directory inside `parent`, or beside this program.
    pub(crate) fn create(parent: Option<&Path>) -> Result<Self> {
        let parent = match parent {
            Some(parent) => parent.to_owned(),
            None => {
                let program = std::env::current_exe().context("finding this program")?;
                program.parent().context("this program is in no directory")?.to_owned()
            }
        };
        let root = tempfile::Builder::new()
            .prefix("twill-bench-")
            .tempdir_in(&parent)
            .with_context(|| format!("making a directory in {}", parent.display()))?;
        let kind = statfs::statfs(root.path()).context("statfs")?.filesystem_type();
        let named = FILESYSTEMS.iter().find(|(number, _)| *number == kind);
        let filesystem = named.map_or_else(|| format!("{:#x}", kind.0), |(_, name)| (*name).to_owned());
        Ok(Self { root, filesystem })
    }

    /// The file system's name if what is written there is lost with the power.
    pub(crate) fn in_memory(&self) -> Option<&str> {
        IN_MEMORY.contains(&self.filesystem.as_str()).then_some(&self.filesystem)
    }

    /// A path inside.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }
}

/// The machine of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processors: usize,
    pub(crate) processor: String,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    pub(crate) filesystem: String,
    pub(crate) libsql: String,
    pub(crate) load_before: f64,
    pub(crate) load_after: f64,
    pub(crate) disk_before: DiskProbe,
    pub(crate) disk_after: DiskProbe,
}

/// Processors, memory and kernel of a run that needs no disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) processors: usize,
    pub(crate) processor: String,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    pub(crate) load_before: f64,
    pub(crate) load_after: f64,
}

impl Host {
    /// Looks at the machine.
    pub(crate) fn describe() -> Result<Self> {
        Ok(Self {
            processors: std::thread::available_parallelism().context("counting processors")?.get(),
            processor: field_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            memory_mib: memory_mib(),
            kernel: kernel(),
            load_before: load(),
            load_after: 0.0,
        })
    }

    /// Looks again after the measurements.
    pub(crate) fn finish(self) -> Self {
        Self { load_after: load(), ..self }
    }
}

/// How long it takes to append one frame to a file and to make it durable with fdatasync, alone.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct DiskProbe {
    pub(crate) writes: usize,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

impl Machine {
    /// Looks at the machine and probes its disk.
    pub(crate) fn describe(stage: &Stage, libsql: String) -> Result<Self> {
        let processors = std::thread::available_parallelism().context("counting processors")?.get();
        Ok(Self {
            processors,
            processor: field_of("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            memory_mib: memory_mib(),
            kernel: kernel(),
            filesystem: stage.directory.filesystem.clone(),
            libsql,
            load_before: load(),
            load_after: 0.0,
            disk_before: probe_disk(stage)?,
            disk_after: DiskProbe::default(),
        })
    }

    /// Looks again after the lines.
    pub(crate) fn finish(mut self, stage: &Stage) -> Result<Self> {
        self.load_after = load();
        self.disk_after = probe_disk(stage)?;
        Ok(self)
    }
}

fn probe_disk(stage: &Stage) -> Result<DiskProbe> {
    let path = stage.directory.path("disk-probe");
    let mut file = OpenOptions::new().append(true).create(true).open(&path).context("the disk probe")?;
    let mut times = (0..stage.scale.disk_writes)
        .map(|_| {
            stage.check()?;
            timed_write(stage, &mut file)
        })
        .collect::<Result<Vec<_>>>()?;
    std::fs::remove_file(&path).context("removing the disk probe")?;
    times.sort_unstable();
    Ok(DiskProbe { writes: times.len(), p50_us: percentile(&times, 0.50), p99_us: percentile(&times, 0.99) })
}

fn timed_write(stage: &Stage, file: &mut File) -> Result<Duration> {
    let began = stage.door.now();
    file.write_all(&[0xa5; PROBE_BYTES]).context("writing the disk probe")?;
    file.sync_data().context("fdatasync of the disk probe")?;
    Ok(stage.door.now() - began)
}

/// The value of the first `name : value` line of one of the kernel's own files.
fn field_of(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

fn memory_mib() -> u64 {
    field_of("/proc/meminfo", "MemTotal")
        .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib / 1024)
}

/// `Linux 6.1.0`: without what the builder of the kernel added.
fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = release.trim().split(['-', '+']).next().unwrap_or_default();
    format!("Linux {version}")
}

/// Threads that wanted to run, over the last minute.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|load| load.parse().ok()).unwrap_or(0.0)
}

/// What the kernel counted of this process's reads and writes, its threads' included.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Traffic {
    pub(crate) read_calls: u64,
    pub(crate) write_calls: u64,
    /// Bytes given to write calls.
    pub(crate) written_bytes: u64,
}

impl Traffic {
    /// The counts so far; zeros where the kernel does not tell.
    pub(crate) fn now() -> Self {
        let field = |name| field_of("/proc/self/io", name).and_then(|value| value.parse().ok()).unwrap_or(0);
        Self { read_calls: field("syscr"), write_calls: field("syscw"), written_bytes: field("wchar") }
    }

    /// What was added since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            read_calls: self.read_calls - before.read_calls,
            write_calls: self.write_calls - before.write_calls,
            written_bytes: self.written_bytes - before.written_bytes,
        }
    }
}
