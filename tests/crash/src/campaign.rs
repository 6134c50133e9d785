//! The driver: starts a worker, ends it, reads the database back, and goes on with the same files.
//!
//! ```text
//! round:  start worker ─ lines until it is dead ─ copy of the files: stock SQLite reads it
//!         ─ ours reads the files: here, in another process, in one that is killed too, or in the next round's worker
//!         ─ sometimes stock SQLite writes a row, and leaves its WAL or not ─ next round
//! ```
//!
//! Invariants:
//! 1. What was acknowledged is known from the pipe alone, read to its end after the process is dead.
//! 2. Stock SQLite and ours must find the same commits in the same files.
//! 3. A fault ends the campaign at once, and the files are kept as they are.
//!
//! A failed campaign is repeated by its seed up to the scheduling of threads and the moment of a signal, which are the
//! operating system's.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use twill_engine::Database;
use twill_types::Door;
use twill_types::seeded::Chance;

use crate::examine::{Found, TransactionId, examine};
use crate::model::Model;
use crate::plan::{End, Needs, Planner, arming, needs};
use crate::stock::{Stock, beside, copy_files};
use crate::worker::{CROWD, Options};

/// What was done and seen.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// Processes that died by a signal, their own or ours.
    pub kills: u64,
    /// Of these, by SIGKILL from outside at a random time.
    pub kills_at_random: u64,
    /// Of these, at each named failpoint.
    pub kills_at_failpoint: BTreeMap<String, u64>,
    /// Of these, while another reading process recovered the files.
    pub kills_after_recovery: u64,
    /// Rounds that ended by a clean close.
    pub clean_closes: u64,
    /// Databases made.
    pub databases: u64,
    /// Commits that were acknowledged.
    pub acknowledged: u64,
    /// Commits found that nobody had acknowledged yet.
    pub found_unacknowledged: u64,
    /// Times ours read a database back.
    pub readings: u64,
    /// Times stock SQLite read a copy taken right after the kill.
    pub stock_readings: u64,
    /// Times stock SQLite wrote to our database in between.
    pub stock_writes: u64,
    /// Kills per `synchronous`.
    pub synchronous: BTreeMap<String, u64>,
}

/// A series of rounds.
pub struct Campaign {
    program: PathBuf,
    directory: PathBuf,
    door: Arc<dyn Door>,
    seed: u64,
    chance: Chance,
    planner: Planner,
    has_stock: bool,
    lab: Option<Lab>,
    /// What happened.
    pub tally: Tally,
}

/// One database and what is known of it.
struct Lab {
    path: PathBuf,
    model: Model,
    page_size: u32,
    auto_vacuum: u32,
    rounds: i64,
    rounds_max: i64,
    /// What stock SQLite found in the present files; ours must find the same.
    stock_found: Option<BTreeSet<TransactionId>>,
    unread: bool,
}

/// How long a process may take to be killed, to close, or to reach its failpoint.
const ROUND_MAX: Duration = Duration::from_millis(1500);
const CLOSE_MAX: Duration = Duration::from_secs(60);
const WORKERS: i64 = 4;
const FILE_BYTES_MAX: u64 = 5 << 20;
/// Numbers between the first commits of two rounds.
const ROUND_STRIDE: i64 = 1_000_000;

impl Campaign {
    /// A campaign in a directory, with the program that has the `worker` and `read` commands.
    #[must_use]
    pub fn new(program: &Path, directory: &Path, seed: u64) -> Self {
        Self {
            program: program.to_owned(),
            directory: directory.to_owned(),
            door: <dyn Door>::system(),
            seed,
            chance: Chance::from_seeds(&[seed, 1]),
            planner: Planner::new(seed),
            has_stock: Stock::is_installed(),
            lab: None,
            tally: Tally::default(),
        }
    }

    /// Whether stock SQLite takes part.
    #[must_use]
    pub fn has_stock(&self) -> bool {
        self.has_stock
    }

    /// Runs rounds until `enough`.
    ///
    /// # Errors
    /// The first fault, with the round it belongs to. The files are still there.
    pub fn run(&mut self, mut enough: impl FnMut(&Tally) -> bool) -> Result<()> {
        while !enough(&self.tally) {
            let end = self.planner.choose(&mut self.chance);
            self.round(&end).with_context(|| {
                let lab = self.lab.as_ref();
                format!(
                    "seed {}, database {}, round {}, {end:?}",
                    self.seed,
                    lab.map(|lab| lab.path.display().to_string()).unwrap_or_default(),
                    lab.map_or(0, |lab| lab.rounds)
                )
            })?;
        }
        Ok(())
    }

    fn round(&mut self, end: &End) -> Result<()> {
        let need = match end {
            End::Failpoint { name, .. } => Some(needs(name)),
            End::Kill(_) | End::Close(_) => None,
        };
        let mut lab = match self.lab.take() {
            Some(lab) if !lab.is_full() && need != Some(Needs::NewDatabase) => lab,
            finished => self.new_lab(finished.as_ref())?,
        };
        let outcome = self.round_in(&mut lab, end, need);
        self.lab = Some(lab);
        outcome
    }

    fn new_lab(&mut self, finished: Option<&Lab>) -> Result<Lab> {
        for suffix in ["", "-wal"] {
            let old = finished.map(|lab| beside(&lab.path, suffix)).filter(|old| old.exists());
            if let Some(old) = old {
                std::fs::remove_file(&old).with_context(|| format!("removing {}", old.display()))?;
            }
        }
        self.tally.databases += 1;
        let path = self.directory.join(format!("crash-{}.db", self.tally.databases));
        Ok(Lab {
            path,
            model: Model::default(),
            page_size: self.chance.pick(&[4096, 4096, 4096, 512, 1024, 8192, 65536]),
            auto_vacuum: self.chance.pick(&[0, 0, 1, 2]),
            rounds: 0,
            rounds_max: self.chance.range(3..=14),
            stock_found: None,
            unread: false,
        })
    }

    fn round_in(&mut self, lab: &mut Lab, end: &End, need: Option<Needs>) -> Result<()> {
        let first = lab.rounds * ROUND_STRIDE + 1;
        lab.rounds += 1;
        let synchronous = self.chance.pick(&["full", "full", "full", "normal", "off"]);
        let workers = if matches!(need, None | Some(Needs::Writing)) && self.chance.percent(30) {
            CROWD
        } else {
            WORKERS
        };
        let options = Options {
            url: lab.url(synchronous),
            first,
            workers,
            seed: self.chance.next(),
            page_size: lab.page_size,
            auto_vacuum: lab.auto_vacuum,
            examine: lab.unread,
            restless: need == Some(Needs::Restlessness) || self.chance.percent(20),
        };
        lab.model.begin_round(first, workers);
        let status = self.run_worker(lab, &options, end)?;
        let clean = status.success();
        lab.model.end_round(clean);
        self.count(end, status, synchronous)?;
        if clean {
            ensure!(!beside(&lab.path, "-wal").exists(), "a clean close left the -wal");
        }
        self.ask_stock(lab)?;
        self.read_back(lab, synchronous)?;
        self.let_stock_write(lab)
    }

    fn count(&mut self, end: &End, status: ExitStatus, synchronous: &str) -> Result<()> {
        const SIGABRT: i32 = 6;
        const SIGKILL: i32 = 9;
        let tally = &mut self.tally;
        match (end, status.signal()) {
            (End::Failpoint { name, .. }, Some(SIGABRT)) => {
                *tally.kills_at_failpoint.entry((*name).to_owned()).or_default() += 1;
            }
            (End::Failpoint { name, .. }, Some(SIGKILL)) => {
                self.planner.retry(name);
                tally.kills_at_random += 1;
            }
            (End::Failpoint { name, .. }, None) if status.success() => {
                self.planner.retry(name);
                tally.clean_closes += 1;
                return Ok(());
            }
            (End::Kill(_), Some(SIGKILL)) => tally.kills_at_random += 1,
            (End::Close(_), None) if status.success() => {
                tally.clean_closes += 1;
                return Ok(());
            }
            _ => bail!("the worker ended by {status}"),
        }
        tally.kills += 1;
        *tally.synchronous.entry(synchronous.to_owned()).or_default() += 1;
        Ok(())
    }

    fn run_worker(&mut self, lab: &mut Lab, options: &Options, end: &End) -> Result<ExitStatus> {
        let mut command = Command::new(&self.program);
        command.arg("worker").args(options.arguments()).env_remove("FAILPOINTS");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        if let End::Failpoint { name, passes } = end {
            command.env("FAILPOINTS", arming(name, *passes));
        }
        let mut child = command.spawn().context("starting a worker")?;
        let output = child.stdout.take().context("the worker's output is piped")?;
        let (sender, lines) = channel();
        let outcome = std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut output = BufReader::new(output);
                let mut line = Vec::new();
                // A line without its end was cut off by the kill: nobody was told it.
                while output.read_until(b'\n', &mut line).is_ok() && line.pop() == Some(b'\n') {
                    if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                        return;
                    }
                    line.clear();
                }
            });
            let outcome = self.follow(lab, &mut child, &lines, end);
            if outcome.is_err() {
                // The reader thread ends with the pipe.
                let _ = child.kill();
            }
            drop(lines);
            outcome
        });
        let status = child.wait().context("waiting for the worker")?;
        outcome.map(|()| status)
    }

    /// Takes the worker's lines until there are no more, and ends it in time.
    fn follow(
        &mut self,
        lab: &mut Lab,
        child: &mut Child,
        lines: &Receiver<String>,
        end: &End,
    ) -> Result<()> {
        let started = self.door.now();
        let closing = match end {
            End::Close(_) => true,
            End::Failpoint { name, .. } => needs(name) == Needs::Closing,
            End::Kill(_) => false,
        };
        let mut deadline = started
            + match end {
                End::Kill(after) | End::Close(after) => *after,
                End::Failpoint { .. } if closing => Duration::from_millis(60),
                End::Failpoint { .. } => ROUND_MAX,
            };
        let mut told = false;
        loop {
            match lines.recv_timeout(deadline.saturating_sub(self.door.now())) {
                Ok(line) => self.take(lab, &line)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) if closing && !told => {
                    told = true;
                    deadline = self.door.now() + CLOSE_MAX;
                    let mut input = child.stdin.take().context("the worker's input is piped")?;
                    // A worker that has just died does not read it.
                    let _ = input.write_all(b"stop\n");
                }
                Err(RecvTimeoutError::Timeout) if closing => bail!("the worker does not close"),
                Err(RecvTimeoutError::Timeout) => {
                    child.kill().context("killing the worker")?;
                    deadline = self.door.now() + CLOSE_MAX;
                }
            }
        }
    }

    fn take(&mut self, lab: &mut Lab, line: &str) -> Result<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "open" | "closed" => Ok(()),
            "schema" => {
                lab.model.acknowledge_schema();
                Ok(())
            }
            "found" => self.judge(lab, &serde_json::from_str(rest)?),
            "ack" => {
                let (worker, seq) = rest.split_once(' ').context("an ack without a number")?;
                self.tally.acknowledged += 1;
                match lab.model.acknowledge((worker.parse()?, seq.parse()?)) {
                    None => Ok(()),
                    Some(fault) => bail!(fault),
                }
            }
            _ => bail!("the worker says: {line}"),
        }
    }

    /// Judges what ours read, and takes it as the truth.
    fn judge(&mut self, lab: &mut Lab, found: &Found) -> Result<()> {
        let mut faults = lab.model.judge(found);
        if let Some(stock) = lab.stock_found.take()
            && stock != found.commits
        {
            let only_ours: Vec<_> = found.commits.difference(&stock).collect();
            let only_stock: Vec<_> = stock.difference(&found.commits).collect();
            faults.push(format!("only ours finds {only_ours:?}, only stock SQLite finds {only_stock:?}"));
        }
        ensure!(faults.is_empty(), "ours finds: {}", faults.join("; "));
        self.tally.readings += 1;
        self.tally.found_unacknowledged += lab.model.accept(found) as u64;
        lab.unread = false;
        Ok(())
    }

    /// Stock SQLite recovers and reads a copy.
    fn ask_stock(&mut self, lab: &mut Lab) -> Result<()> {
        lab.stock_found = None;
        if !self.has_stock || !lab.path.exists() {
            return Ok(());
        }
        let copy = self.directory.join("copy.db");
        copy_files(&lab.path, &copy)?;
        let found = examine(Stock::on(&copy)).context("stock SQLite reads the copy")?;
        let faults = lab.model.judge(&found);
        ensure!(faults.is_empty(), "stock SQLite finds: {}", faults.join("; "));
        self.tally.stock_readings += 1;
        lab.stock_found = Some(found.commits);
        Ok(())
    }

    fn read_back(&mut self, lab: &mut Lab, synchronous: &str) -> Result<()> {
        let found = match self.chance.below(4) {
            0 => {
                lab.unread = true;
                return Ok(());
            }
            1 => {
                let database = Database::open(&lab.url(synchronous)).context("opening after the crash")?;
                let found = examine(&database.connect()?)?;
                database.close().context("closing after the crash")?;
                found
            }
            how => self.read_elsewhere(&lab.url(synchronous), how == 3)?,
        };
        self.judge(lab, &found)
    }

    /// Another process reads, and closes or aborts.
    fn read_elsewhere(&mut self, url: &str, abort: bool) -> Result<Found> {
        let end = if abort { "abort" } else { "close" };
        let output = Command::new(&self.program)
            .args(["read", url, end])
            .env_remove("FAILPOINTS")
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("starting a reader")?;
        ensure!(output.status.success() != abort, "the reader ended by {}", output.status);
        if abort {
            self.tally.kills_after_recovery += 1;
            self.tally.kills += 1;
        }
        serde_json::from_slice(&output.stdout).context("the reader's answer")
    }

    fn let_stock_write(&mut self, lab: &mut Lab) -> Result<()> {
        if !self.has_stock || lab.model.required() == 0 || !self.chance.percent(15) {
            return Ok(());
        }
        let id = lab.rounds;
        let insert = format!("INSERT INTO visitor VALUES({id}, 'stock')");
        let stock = Stock::on(&lab.path);
        if self.chance.percent(50) {
            stock.run(&[".dbconfig no_ckpt_on_close on", &insert])?;
        } else {
            stock.run(&[&insert])?;
        }
        lab.model.visit(id);
        self.tally.stock_writes += 1;
        Ok(())
    }
}

impl Lab {
    fn url(&self, synchronous: &str) -> String {
        format!("file://{}?synchronous={synchronous}", self.path.display())
    }

    fn is_full(&self) -> bool {
        let bytes = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        self.rounds >= self.rounds_max || bytes > FILE_BYTES_MAX
    }
}

/// The `read` command: prints what a database holds, and closes it or dies.
///
/// # Errors
/// When it cannot be read or closed.
pub fn read(url: &str, end: &str) -> Result<()> {
    let database = Database::open(url).context("opening")?;
    let connection = database.connect()?;
    let found = serde_json::to_string(&examine(&connection)?)?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{found}")?;
    out.flush()?;
    if end == "abort" {
        std::process::abort();
    }
    connection.close()?;
    database.close().context("closing")
}
