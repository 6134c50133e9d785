//! Both sides of a differential run: the same databases, the same connections, one step at a time.
//!
//! Invariants:
//! 1. Every step runs on the oracle and on the subject, in that order, with the same text but for the names of files.
//! 2. Both sides start from the same page size, auto_vacuum and encoding, with one table `anchor` in `main` and in the
//!    database that `{aux}` names.

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use twill_engine::{Database, Value};

use crate::answer::{Answer, Outcome, shown_values};
use crate::backend::{Backend, Place};
use crate::client::{Client, EngineClient, Lie, LyingClient, PlainClient};
use crate::differences;
use crate::model::Model;

/// What is compared with plain libSQL.
#[derive(Clone, Copy)]
pub enum Subject {
    /// The engine on a backend.
    Engine(Backend),
    /// Plain libSQL itself: shows that the statements are deterministic.
    Plain,
    /// Plain libSQL with a fault: shows that faults are found.
    Lying(Lie),
}

impl Subject {
    /// What test output calls it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Engine(backend) => backend.name,
            Self::Plain => "plain",
            Self::Lying(_) => "lying",
        }
    }
}

/// How the databases of an episode are made.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) page_size: u32,
    pub(crate) aux_page_size: u32,
    pub(crate) auto_vacuum: u8,
    pub(crate) encoding: &'static str,
    pub(crate) connections: usize,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) connection: usize,
    pub(crate) action: Action,
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Statement {
        sql: String,
        params: Vec<Value>,
    },
    /// Both sides read their schemas, so that the model can be read off the oracle without it knowing more.
    Look,
    /// The connection is closed, with what it has open, and opened again.
    Reconnect,
    /// Every connection and every database is closed and opened again.
    Reopen,
    /// Everything both sides hold is compared, by connections of their own.
    Check,
}

/// What a step answered on each side where they disagree.
#[derive(Clone, Debug)]
pub(crate) struct Disagreement {
    pub(crate) sql: String,
    pub(crate) subject: String,
    pub(crate) oracle: String,
}

/// Where one side's databases are.
enum Site {
    Engine { place: Place, open: Option<Database> },
    Plain(TempDir),
}

/// The two sides.
pub(crate) struct World {
    shape: Shape,
    kind: Subject,
    subject: Vec<Box<dyn Client>>,
    oracle: Vec<PlainClient>,
    subject_site: Site,
    oracle_site: Site,
    /// Connections whose `sqlite3_changes` is not compared until the next statement that sets it.
    unsure_changes: Vec<bool>,
    /// What the last [`Action::Look`] saw.
    pub(crate) looked: Option<Model>,
}

impl Site {
    fn plain() -> Result<Self> {
        Ok(Self::Plain(tempfile::Builder::new().prefix("twill-oracle-").tempdir()?))
    }

    fn name(&self, database: &str) -> String {
        match self {
            Self::Engine { place, .. } => place.url(database),
            Self::Plain(directory) => directory.path().join(database).display().to_string(),
        }
    }

    fn connect(&mut self, database: &str) -> Result<Box<dyn Client>> {
        match self {
            Self::Engine { place, open } => {
                if database != "main" {
                    return Ok(Box::new(EngineClient::connect(&place.open(database)?)?));
                }
                let handle = match open {
                    Some(handle) => handle,
                    None => open.insert(place.open(database)?),
                };
                Ok(Box::new(EngineClient::connect(handle)?))
            }
            Self::Plain(_) => Ok(Box::new(self.connect_plain(database)?)),
        }
    }

    fn connect_plain(&self, database: &str) -> Result<PlainClient> {
        Ok(PlainClient::open(Some(self.name(database).as_ref()))?)
    }

    fn close(&mut self) -> Result<()> {
        if let Self::Engine { open, .. } = self
            && let Some(database) = open.take()
        {
            database.close().context("closing the engine's database")?;
        }
        Ok(())
    }

    /// The statement with this side's names of files.
    fn text(&self, sql: &str) -> String {
        if !sql.contains('{') {
            return sql.to_owned();
        }
        let mut text = sql.replace("{aux}", &self.name("aux")).replace("{main}", &self.name("main"));
        while let Some((before, after)) = text.split_once("{copy") {
            let (number, rest) = after.split_once('}').unwrap_or((after, ""));
            text = format!("{before}{}{rest}", self.name(&format!("copy{number}")));
        }
        text
    }

    fn prepare(&mut self, database: &str, shape: &Shape) -> Result<()> {
        let page_size = if database == "main" { shape.page_size } else { shape.aux_page_size };
        let is_plain = matches!(self, Self::Plain(_));
        let mut client = self.connect(database)?;
        let mut setup = vec![
            format!("PRAGMA encoding='{}'", shape.encoding),
            format!("PRAGMA page_size={page_size}"),
            format!("PRAGMA auto_vacuum={}", shape.auto_vacuum),
        ];
        if is_plain {
            setup.push("PRAGMA journal_mode=wal".to_owned());
        }
        setup.push("CREATE TABLE anchor(a)".to_owned());
        for sql in setup {
            let answer = client.run(&sql, &[]);
            ensure!(answer.outcome.code() == 0, "{sql}: {answer}");
        }
        Ok(())
    }
}

impl World {
    pub(crate) fn new(subject: Subject, shape: &Shape) -> Result<Self> {
        let mut oracle_site = Site::plain()?;
        let mut subject_site = match subject {
            Subject::Engine(backend) => Site::Engine { place: backend.place()?, open: None },
            Subject::Plain | Subject::Lying(_) => Site::plain()?,
        };
        for site in [&mut oracle_site, &mut subject_site] {
            site.prepare("main", shape)?;
            site.prepare("aux", shape)?;
        }
        let mut world = Self {
            shape: shape.clone(),
            kind: subject,
            subject: Vec::new(),
            oracle: Vec::new(),
            subject_site,
            oracle_site,
            unsure_changes: vec![false; shape.connections],
            looked: None,
        };
        world.connect_all()?;
        Ok(world)
    }

    fn connect_all(&mut self) -> Result<()> {
        for _ in 0..self.shape.connections {
            self.oracle.push(self.oracle_site.connect_plain("main")?);
            let subject = self.connect_subject()?;
            self.subject.push(subject);
        }
        Ok(())
    }

    fn connect_subject(&mut self) -> Result<Box<dyn Client>> {
        match self.kind {
            Subject::Lying(lie) => {
                Ok(Box::new(LyingClient::new(self.subject_site.connect_plain("main")?, lie)))
            }
            Subject::Engine(_) | Subject::Plain => self.subject_site.connect("main"),
        }
    }

    /// The oracle's connection.
    pub(crate) fn oracle(&self, connection: usize) -> Option<&PlainClient> {
        self.oracle.get(connection)
    }

    /// Runs a step. Answers the oracle's answer to a statement, and the disagreement if there is one.
    pub(crate) fn run(&mut self, step: &Step) -> Result<(Option<Answer>, Option<Disagreement>)> {
        match &step.action {
            Action::Statement { sql, params } => {
                let (Some(subject), Some(oracle)) =
                    (self.subject.get_mut(step.connection), self.oracle.get_mut(step.connection))
                else {
                    return Ok((None, None));
                };
                let is_engine = matches!(self.kind, Subject::Engine(_));
                let applies = differences::of(sql);
                let asked = applies.and_then(|difference| difference.oracle_runs).unwrap_or(sql);
                let expected = oracle.run(&self.oracle_site.text(asked), params);
                let answered =
                    subject.run(&self.subject_site.text(if is_engine { sql } else { asked }), params);
                let difference = applies.filter(|_| is_engine);
                let mut answered = answered;
                if let Some(unsure) = self.unsure_changes.get_mut(step.connection) {
                    *unsure = differences::leaves_changes_alone(sql, &answered, &expected, *unsure);
                    if *unsure {
                        answered.changes = expected.changes;
                    }
                }
                let equal = match difference {
                    Some(difference) => (difference.accepts)(&answered, &expected),
                    None => answered == expected,
                };
                if equal && difference.is_some() && answered.outcome.code() != expected.outcome.code() {
                    // One side may have begun to read where the other was refused: now both have.
                    let schema = if sql.contains(" aux.") { "aux" } else { "main" };
                    let look = format!("SELECT count(*) FROM {schema}.sqlite_schema");
                    oracle.run(&look, &[]);
                    subject.run(&look, &[]);
                }
                if is_engine && differences::leaves_schemas_alone(sql, &answered, &expected) {
                    const FORGET: &str = "PRAGMA writable_schema=RESET";
                    oracle.run(FORGET, &[]);
                    subject.run(FORGET, &[]);
                }
                if is_engine && differences::leaves_snapshots_alone(&answered, &expected) {
                    for schema in ["main", "aux"] {
                        let look = format!("SELECT count(*) FROM {schema}.sqlite_schema");
                        oracle.run(&look, &[]);
                        subject.run(&look, &[]);
                    }
                }
                let disagreement = (!equal).then(|| Disagreement {
                    sql: format!("{sql}  {}", shown_values(params)),
                    subject: answered.to_string(),
                    oracle: expected.to_string(),
                });
                Ok((Some(expected), disagreement))
            }
            Action::Look => Ok((None, self.look(step.connection))),
            Action::Reconnect => {
                self.reconnect(step.connection)?;
                Ok((None, None))
            }
            Action::Reopen => {
                self.oracle.clear();
                self.subject.clear();
                self.subject_site.close()?;
                self.connect_all()?;
                Ok((None, None))
            }
            Action::Check => Ok((None, self.check()?)),
        }
    }

    fn look(&mut self, connection: usize) -> Option<Disagreement> {
        let oracle = Model::read(self.oracle.get_mut(connection)?);
        let subject = Model::read(&mut **self.subject.get_mut(connection)?);
        let disagreement = (oracle != subject).then(|| Disagreement {
            sql: "(reading all schemas)".to_owned(),
            subject: format!("{subject:?}"),
            oracle: format!("{oracle:?}"),
        });
        self.looked = Some(oracle);
        disagreement
    }

    fn reconnect(&mut self, connection: usize) -> Result<()> {
        if connection >= self.oracle.len() {
            return Ok(());
        }
        drop(self.oracle.remove(connection));
        drop(self.subject.remove(connection));
        self.oracle.insert(connection, self.oracle_site.connect_plain("main")?);
        let subject = self.connect_subject()?;
        self.subject.insert(connection, subject);
        Ok(())
    }

    /// Compares everything committed: the schema, all rows, sizes and integrity.
    fn check(&mut self) -> Result<Option<Disagreement>> {
        for database in ["main", "aux"] {
            let mut oracle = self.oracle_site.connect_plain(database)?;
            let mut subject = self.subject_site.connect(database)?;
            let mut questions: Vec<String> = [
                "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema ORDER BY rowid",
                "PRAGMA page_count",
                "PRAGMA freelist_count",
                "PRAGMA user_version",
                "PRAGMA schema_version",
                "PRAGMA foreign_key_check",
                "PRAGMA integrity_check",
            ]
            .map(str::to_owned)
            .to_vec();
            let tables = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY rowid";
            if let Outcome::Rows(_, names) = oracle.run(tables, &[]).outcome {
                questions.extend(names.iter().filter_map(|row| match row.first() {
                    Some(Value::Text(name)) => Some(format!("SELECT * FROM \"{name}\"")),
                    _ => None,
                }));
            }
            for sql in questions {
                let (expected, answered) = (oracle.run(&sql, &[]), subject.run(&sql, &[]));
                let damaged = sql == "PRAGMA integrity_check" && !is_ok(&answered) && is_ok(&expected);
                if answered != expected || damaged {
                    return Ok(Some(Disagreement {
                        sql: format!("{sql} (comparing all of {database})"),
                        subject: answered.to_string(),
                        oracle: expected.to_string(),
                    }));
                }
            }
        }
        Ok(None)
    }
}

fn is_ok(answer: &Answer) -> bool {
    matches!(&answer.outcome, Outcome::Rows(_, rows) if *rows == [[Value::Text("ok".to_owned())]])
}
