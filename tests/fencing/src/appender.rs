//! The process that appends.
//!
//! Its arguments are `name=value`, see [`Task`]. It says, one line each, flushed at once:
//!
//! ```text
//! opened <epoch>                      the log is open for writing
//! stopping <point>                    it stops itself now, at the point it was told
//! ack <epoch> <lsn> <payload>         durable
//! not <payload> <why>                 not applied, for ever
//! unknown <payload> <why>             indeterminate
//! refused <payload> <why>             the log took no more commits
//! failed <why>                        it could not open the log
//! done                                the end, reached in good order
//! ```
//!
//! Invariants:
//! 1. It stops inside the call of a named point, by SIGSTOP to itself: no instruction of the log after that point runs
//!    until somebody resumes it.
//! 2. What it says of a commit it was told of that commit.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use nix::sys::signal::{Signal, raise};
use object_store::path::Path;
use twill_commitlog_cas::{
    DatabaseId, Environment, Identity, Log, NewCommit, ObjectRegister, Opened, Options, Outcome, Point, Site,
    TokioEnvironment,
};
use twill_s3_server::Login;
use twill_types::{Door, TimelineId};

/// What a process is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Names its commits: `<writer>-<number>`.
    pub writer: String,
    /// Commits to append.
    pub commits: usize,
    /// So many at once, then it waits for all of them.
    pub at_once: usize,
    /// Stops itself at this point, the so-many-th time it comes by (from 1).
    pub stop_at: Option<(Point, u64)>,
    /// Opens the log again so often after it was fenced or poisoned.
    pub reopens: usize,
    /// Waits so long between rounds of commits.
    pub pause: Duration,
    /// The log's deadline for one commit.
    pub deadline: Duration,
}

impl Default for Task {
    fn default() -> Self {
        Self {
            writer: "a".to_owned(),
            commits: 20,
            at_once: 1,
            stop_at: None,
            reopens: 0,
            pause: Duration::ZERO,
            deadline: Duration::from_secs(20),
        }
    }
}

/// The folder of the timeline in the bucket.
pub const ROOT: &str = "timeline";

/// Whose log the processes write.
#[must_use]
pub fn identity() -> Identity {
    Identity { database: DatabaseId([7; 16]), timeline: TimelineId([9; 16]) }
}

impl Task {
    /// The arguments that [`run`] reads.
    #[must_use]
    pub fn arguments(&self, login: &Login) -> Vec<String> {
        let mut arguments = vec![
            format!("endpoint={}", login.endpoint),
            format!("bucket={}", login.bucket),
            format!("access_key={}", login.access_key),
            format!("secret_key={}", login.secret_key),
            format!("writer={}", self.writer),
            format!("commits={}", self.commits),
            format!("at_once={}", self.at_once),
            format!("reopens={}", self.reopens),
            format!("pause_ms={}", self.pause.as_millis()),
            format!("deadline_ms={}", self.deadline.as_millis()),
        ];
        if let Some((point, time)) = self.stop_at {
            arguments.push(format!("stop_at={point}"));
            arguments.push(format!("stop_time={time}"));
        }
        arguments
    }

    fn parse(arguments: &[String]) -> Result<(Self, Login)> {
        let named: BTreeMap<&str, &str> =
            arguments.iter().filter_map(|argument| argument.split_once('=')).collect();
        let text = |name: &str| named.get(name).copied().with_context(|| format!("{name}= is missing"));
        let number = |name: &str| -> Result<u64> { text(name)?.parse().with_context(|| format!("{name}=")) };
        let login = Login {
            endpoint: text("endpoint")?.to_owned(),
            bucket: text("bucket")?.to_owned(),
            access_key: text("access_key")?.to_owned(),
            secret_key: text("secret_key")?.to_owned(),
            timeout: Duration::from_secs(30),
        };
        let stop_at = match named.get("stop_at") {
            Some(name) => {
                let point = Point::ALL.iter().find(|point| point.name() == *name);
                Some((*point.with_context(|| format!("no point {name}"))?, number("stop_time")?))
            }
            None => None,
        };
        let task = Self {
            writer: text("writer")?.to_owned(),
            commits: usize::try_from(number("commits")?)?,
            at_once: usize::try_from(number("at_once")?)?,
            stop_at,
            reopens: usize::try_from(number("reopens")?)?,
            pause: Duration::from_millis(number("pause_ms")?),
            deadline: Duration::from_millis(number("deadline_ms")?),
        };
        Ok((task, login))
    }

    fn options(&self) -> Options {
        Options {
            commit_deadline: self.deadline,
            attempt_timeout: Duration::from_millis(1000),
            backoff_max: Duration::from_millis(500),
            ..Options::default()
        }
    }
}

/// The site of the one timeline, for a process or for a test.
///
/// # Errors
/// When the login's endpoint is no URL.
pub fn site(login: &Login, environment: Arc<dyn Environment>, options: Options) -> Result<Site> {
    let store: Arc<dyn object_store::ObjectStore> = Arc::new(login.client()?);
    let register = ObjectRegister::new(
        Arc::clone(&store),
        Path::from(format!("{ROOT}/branch")),
        identity(),
        Arc::clone(&environment),
        options.clone(),
    );
    let (root, register) = (Path::from(ROOT), Arc::new(register));
    Ok(Site { store, root, identity: identity(), register, environment, options })
}

/// The real environment, but for one point.
struct Stopping {
    real: TokioEnvironment,
    stop_at: Option<(Point, u64)>,
    passed: AtomicU64,
}

impl Environment for Stopping {
    fn now(&self) -> Duration {
        self.real.now()
    }

    fn wall_now(&self) -> SystemTime {
        self.real.wall_now()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        self.real.fill_random(bytes);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.real.sleep(duration)
    }

    fn point(&self, point: Point) -> BoxFuture<'static, ()> {
        if let Some((stop_at, time)) = self.stop_at
            && stop_at == point
            && self.passed.fetch_add(1, Ordering::Relaxed) + 1 == time
        {
            say(&format!("stopping {point}"));
            // A signal that cannot be raised would show as a process that did not stop, which the test sees.
            raise(Signal::SIGSTOP).ok();
        }
        futures_util::future::ready(()).boxed()
    }
}

/// Says one line; one whose reader is gone is lost, as the process soon will be.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}

fn flat(error: &impl std::fmt::Display) -> String {
    error.to_string().replace('\n', " ")
}

/// Does what the arguments say.
///
/// # Errors
/// For arguments that make no sense. What the log says is said on the output, and is no error of the process.
pub fn run(arguments: &[String]) -> Result<()> {
    let (task, login) = Task::parse(arguments)?;
    if task.at_once == 0 {
        bail!("at_once=0 appends nothing");
    }
    let environment = Arc::new(Stopping {
        real: TokioEnvironment::new(<dyn Door>::system()),
        stop_at: task.stop_at,
        passed: AtomicU64::new(0),
    });
    let site = site(&login, environment, task.options())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(append_all(&task, &site));
    Ok(())
}

async fn append_all(task: &Task, site: &Site) {
    let (mut number, mut openings) = (0, 0);
    while number < task.commits && openings <= task.reopens {
        openings += 1;
        let Opened { log, driver, .. } = match Log::open(site).await {
            Ok(opened) => opened,
            Err(error) => {
                say(&format!("failed {}", flat(&error)));
                continue;
            }
        };
        say(&format!("opened {}", log.epoch().0));
        let driver = tokio::spawn(driver);
        let mut sound = true;
        while sound && number < task.commits {
            let round = task.at_once.min(task.commits - number);
            sound = append_round(task, &log, number..number + round).await;
            number += round;
            tokio::time::sleep(task.pause).await;
        }
        // An error of closing is the first failure, which was said of the commit it befell.
        log.close().await.ok();
        driver.await.ok();
    }
    say("done");
}

/// Appends commits and says what became of each. False: the log takes no more.
async fn append_round(task: &Task, log: &Log, numbers: std::ops::Range<usize>) -> bool {
    let mut sound = true;
    let mut appended = Vec::new();
    for number in numbers {
        let payload = format!("{}-{number}", task.writer);
        match log.append(NewCommit::new(payload.clone())) {
            Ok(lsn) => appended.push((lsn, payload)),
            Err(error) => {
                sound = false;
                say(&format!("refused {payload} {}", flat(&error)));
            }
        }
    }
    for (lsn, payload) in appended {
        match log.wait_durable(lsn).await {
            Outcome::Durable => say(&format!("ack {} {lsn} {payload}", log.epoch().0)),
            Outcome::NotApplied(why) | Outcome::Fenced(why) => {
                sound = false;
                say(&format!("not {payload} {}", flat(&why)));
            }
            Outcome::Indeterminate(why) => {
                sound = false;
                say(&format!("unknown {payload} {}", flat(&why)));
            }
        }
    }
    sound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_survives_its_arguments() {
        let login = Login {
            endpoint: "http://127.0.0.1:1".to_owned(),
            bucket: "bucket".to_owned(),
            access_key: "key".to_owned(),
            secret_key: "secret=with=signs".to_owned(),
            timeout: Duration::from_secs(30),
        };
        let task = Task {
            writer: "b".to_owned(),
            commits: 3,
            at_once: 2,
            stop_at: Some((Point::AfterFencePut, 4)),
            reopens: 1,
            pause: Duration::from_millis(5),
            deadline: Duration::from_millis(700),
        };
        assert_eq!(Task::parse(&task.arguments(&login)).unwrap(), (task, login));
    }
}
