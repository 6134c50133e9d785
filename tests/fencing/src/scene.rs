//! Starting processes, moving them along, and judging what they said.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::runtime::Runtime;
use twill_commitlog_cas::{
    Commit, Environment, Log, ObjectRegister, Opened, Options, Raise, Site, TokioEnvironment, collect,
    recover,
};
use twill_s3_server::{BUCKET, Latency, Login, S3Server};
use twill_types::{Door, Lsn};

use crate::appender::{Task, identity, site};

/// No process needs so long for its next word.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store with an empty log, and a runtime to look at it.
pub struct Scene {
    /// The store.
    pub server: S3Server,
    /// How processes reach it.
    pub login: Login,
    /// The program of the processes.
    pub program: PathBuf,
    /// The log, for the test's own use.
    pub site: Site,
    /// For the test's own use.
    pub runtime: Runtime,
}

impl Scene {
    /// A store on a loopback port, as slow as `latency`. `program` is the appender's.
    ///
    /// # Errors
    /// When the store cannot be started.
    pub fn new(program: &str, latency: Latency) -> Result<Self> {
        Self::listening(program, latency, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Likewise, elsewhere.
    ///
    /// # Errors
    /// As [`Scene::new`].
    pub fn listening(program: &str, latency: Latency, listen: SocketAddr) -> Result<Self> {
        let options = twill_s3_server::Options { latency, listen, ..Default::default() };
        let server = S3Server::start(options)?;
        let login = Login::to(&server, BUCKET);
        let environment: Arc<dyn Environment> = Arc::new(TokioEnvironment::new(<dyn Door>::system()));
        let options = Options::default();
        let site = site(&login, Arc::clone(&environment), options.clone())?;
        let path = object_store::path::Path::from(format!("{}/branch", crate::appender::ROOT));
        let register = ObjectRegister::new(Arc::clone(&site.store), path, identity(), environment, options);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(register.create(Lsn::ZERO, Bytes::new()))?;
        Ok(Self { server, login, program: PathBuf::from(program), site, runtime })
    }

    /// Starts a process.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, task: &Task) -> Result<Process> {
        self.start_by(task, &[])
    }

    /// Likewise, by a program that starts programs: `ip netns exec <name>`, say.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_by(&self, task: &Task, by: &[&str]) -> Result<Process> {
        let mut command = match by.split_first() {
            Some((starter, arguments)) => {
                let mut command = Command::new(starter);
                command.args(arguments).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        command.args(task.arguments(&self.login)).stdin(Stdio::null()).stdout(Stdio::piped());
        Process::start(task.writer.clone(), &mut command)
    }

    /// Starts a process and lets it run to its end.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub fn complete(&self, task: &Task) -> Result<Said> {
        self.start(task)?.finish()
    }

    /// The history as it is now.
    ///
    /// # Errors
    /// That of reading.
    pub fn history(&self) -> Result<Vec<Commit>> {
        Ok(self.runtime.block_on(recover(&self.site))?.commits)
    }

    /// Gives up everything that is in the history now, as a retention that has run out does: commits a little, raises
    /// floor and horizon, deletes. Returns what was given up and how many objects were deleted.
    ///
    /// # Errors
    /// That of the log.
    pub fn outlive_retention(&self, said: &mut Said) -> Result<(Vec<Commit>, u64)> {
        self.runtime.block_on(async {
            let Opened { log, driver, recovered } = Log::open(&self.site).await?;
            let driver = tokio::spawn(driver);
            let mut kept_nothing = recovered.commits;
            let mut commit = async |number: usize| -> Result<Commit> {
                let payload = format!("keeper-{number}");
                let lsn = log.append(twill_commitlog_cas::NewCommit::new(payload.clone()))?;
                let outcome = log.wait_durable(lsn).await;
                ensure!(outcome.is_durable(), "{payload}: {outcome:?}");
                said.acknowledged.insert(payload.clone(), (log.epoch().0, lsn.get()));
                let slot = log.durable_position().slot;
                Ok(Commit {
                    lsn,
                    slot,
                    time: Default::default(),
                    token: Default::default(),
                    payload: payload.into(),
                })
            };
            for number in 0..3 {
                kept_nothing.push(commit(number).await?);
            }
            let end = log.durable_position();
            log.raise(Raise { floor: Some(end), horizon: Some(end) }).await?;
            let deleted = collect(&self.site, &[]).await?.records;
            for number in 3..6 {
                commit(number).await?;
            }
            log.close().await?;
            driver.await?;
            Ok((kept_nothing, deleted))
        })
    }

    /// Judges what the processes said by the history: that which was given up before, and that which is there now.
    ///
    /// # Errors
    /// The first invariant of this crate that does not hold.
    pub fn judge(&self, given_up: &[Commit], said: &[&Said]) -> Result<Vec<Commit>> {
        let mut history = given_up.to_vec();
        let floor = self.runtime.block_on(self.site.register.load())?.state.floor.lsn;
        ensure!(floor.get() == u64::try_from(given_up.len())?, "the floor is at {floor}");
        history.extend(self.history()?);
        let mut places = BTreeMap::new();
        for (place, commit) in history.iter().enumerate() {
            ensure!(
                commit.lsn.get() == u64::try_from(place)? + 1,
                "commit {} is at place {place}",
                commit.lsn
            );
            let payload = String::from_utf8(commit.payload.to_vec())?;
            let known = payload.split_once('-').is_some_and(|(writer, _)| {
                writer == "keeper" || said.iter().any(|said| said.writer == writer)
            });
            ensure!(known, "nobody appended {payload}");
            ensure!(places.insert(payload.clone(), commit).is_none(), "{payload} is in the history twice");
        }
        let mut acknowledged = BTreeSet::new();
        for said in said {
            for (payload, (epoch, lsn)) in &said.acknowledged {
                ensure!(acknowledged.insert(*lsn), "LSN {lsn} was acknowledged twice");
                let found =
                    places.get(payload).with_context(|| format!("{payload}, acknowledged, is lost"))?;
                let place = (found.slot.epoch.0, found.lsn.get());
                ensure!(
                    place == (*epoch, *lsn),
                    "{payload}: acknowledged at {:?}, is at {place:?}",
                    (epoch, lsn)
                );
            }
            for (payload, why) in &said.not_applied {
                ensure!(!places.contains_key(payload), "{payload} is in the history, but: {why}");
            }
        }
        Ok(history)
    }
}

/// What a process said.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// Its name.
    pub writer: String,
    /// Epochs in which it opened the log.
    pub opened: Vec<u64>,
    /// Payloads that are durable, with epoch and LSN.
    pub acknowledged: BTreeMap<String, (u64, u64)>,
    /// Payloads that were not applied, and why.
    pub not_applied: BTreeMap<String, String>,
    /// Payloads of unknown fate, and why.
    pub unknown: BTreeMap<String, String>,
    /// Why it could not open the log.
    pub failed: Vec<String>,
    /// Whether it reached its end.
    pub done: bool,
}

impl Said {
    fn hear(&mut self, line: &str) -> Result<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (payload, why) = rest.split_once(' ').unwrap_or((rest, ""));
        match word {
            "opened" => self.opened.push(rest.parse()?),
            "stopping" => {}
            "ack" => {
                let [epoch, lsn, payload] = rest.split(' ').collect::<Vec<_>>()[..] else {
                    bail!("{line}");
                };
                let told = self.acknowledged.insert(payload.to_owned(), (epoch.parse()?, lsn.parse()?));
                ensure!(told.is_none(), "{payload} was acknowledged twice");
            }
            "not" | "refused" => {
                self.not_applied.insert(payload.to_owned(), why.to_owned());
            }
            "unknown" => {
                self.unknown.insert(payload.to_owned(), why.to_owned());
            }
            "failed" => self.failed.push(rest.to_owned()),
            "done" => self.done = true,
            _ => bail!("a process said: {line}"),
        }
        Ok(())
    }
}

/// A running process. Killed when dropped.
pub struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    said: Said,
}

impl Process {
    fn start(writer: String, command: &mut Command) -> Result<Self> {
        let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
        let out = child.stdout.take().context("no output")?;
        let (sender, lines) = mpsc::channel();
        // Ends with the process, whose end closes the pipe.
        <dyn Door>::system().spawn(
            "reads a process",
            Box::new(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            }),
        )?;
        Ok(Self { child, lines, said: Said { writer, ..Said::default() } })
    }

    /// What it has said until the line that `wanted` picks.
    ///
    /// # Errors
    /// When it ends, or says nothing for a minute, before that.
    pub fn hear_until(&mut self, wanted: impl Fn(&str, &Said) -> bool) -> Result<&Said> {
        loop {
            let line = self
                .lines
                .recv_timeout(PATIENCE)
                .with_context(|| format!("{} said nothing more after {:?}", self.said.writer, self.said))?;
            self.said.hear(&line)?;
            if wanted(&line, &self.said) {
                return Ok(&self.said);
            }
        }
    }

    /// Waits until it has stopped itself.
    ///
    /// # Errors
    /// When it ends or goes on instead.
    pub fn wait_stopped(&mut self) -> Result<()> {
        self.hear_until(|line, _| line.starts_with("stopping "))?;
        let stat = format!("/proc/{}/stat", self.child.id());
        let door = <dyn Door>::system();
        for _ in 0..PATIENCE.as_millis() {
            let text = std::fs::read_to_string(&stat).with_context(|| stat.clone())?;
            // The state follows the name, which is in parentheses.
            if text.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')) {
                return Ok(());
            }
            door.sleep(Duration::from_millis(1));
        }
        bail!("it said that it stops, and did not")
    }

    /// Resumes it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resume(&self) -> Result<()> {
        Ok(kill(self.pid()?, Signal::SIGCONT)?)
    }

    /// Kills it, as `kill -9` does, and returns what it had said.
    ///
    /// # Errors
    /// When it was gone before.
    pub fn kill(mut self) -> Result<Said> {
        kill(self.pid()?, Signal::SIGKILL)?;
        self.child.wait()?;
        self.hear_rest()?;
        Ok(std::mem::take(&mut self.said))
    }

    /// Waits for its end, which it must reach in good order, and returns all that it said.
    ///
    /// # Errors
    /// When it says nothing for a minute, or ends otherwise.
    pub fn finish(mut self) -> Result<Said> {
        while !self.said.done {
            self.hear_until(|_, _| true)?;
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "{}: {status}", self.said.writer);
        self.hear_rest()?;
        Ok(std::mem::take(&mut self.said))
    }

    fn hear_rest(&mut self) -> Result<()> {
        while let Ok(line) = self.lines.recv() {
            self.said.hear(&line)?;
        }
        Ok(())
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
