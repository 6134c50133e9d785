//! One connection and how its results are shown: what `twill sql` and the shell run statements with.
//!
//! Invariants:
//! 1. Nothing of a result is written before its first row is there or the statement is done: a statement that fails at
//!    once leaves no header behind.
//! 2. The output is flushed after each statement, so text and errors come in the order in which they happened.

use std::io::{self, Write};
use std::ops::{ControlFlow, Deref};
use std::sync::Arc;
use std::time::Duration;

use twill_engine::{Mode, Params, Statement, Value};
use twill_types::Door;

use crate::cell::Cell;
use crate::failure::Failure;
use crate::interrupt::{Interrupts, Work};
use crate::output::{Look, Sheet};
use crate::place::{Both, Opened};

/// A connection with its settings.
pub(crate) struct Session {
    opened: Opened,
    pub(crate) interrupts: Interrupts,
    pub(crate) look: Look,
    /// Whether the time of each statement is told.
    pub(crate) timer: bool,
    /// Whether changed rows are told.
    pub(crate) changes: bool,
    door: Arc<dyn Door>,
}

/// Values for named and numbered parameters, as the command line gave them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameters(pub(crate) Vec<(String, Value)>);

impl Session {
    /// Opens a database.
    pub(crate) fn open(
        url: &str,
        mode: Option<Mode>,
        interrupts: Interrupts,
        look: Look,
    ) -> Result<Self, Failure> {
        let opened = match mode {
            Some(mode) => Opened::with_mode(url, mode)?,
            None => Opened::as_url_says(url)?,
        };
        let door = <dyn Door>::system();
        Ok(Self { opened, interrupts, look, timer: false, changes: false, door })
    }

    /// Closes the database.
    pub(crate) fn close(self) -> Result<(), Failure> {
        self.opened.close()
    }

    /// Work on this session's connection begins.
    pub(crate) fn work(&self) -> Work {
        self.interrupts.work([self.connection.interrupt_handle()])
    }

    /// Runs one statement and writes its rows.
    pub(crate) fn run(&self, sql: &str, parameters: &Parameters, out: &mut dyn Write) -> Result<(), Failure> {
        let began = self.door.now();
        let changes_before = self.connection.total_changes();
        let work = self.work();
        let statement = self.connection.prepare(sql).map_err(|error| Failure::statement(error, sql))?;
        let values = parameters.of(&statement)?;
        if statement.columns().is_empty() {
            statement.execute(values).map_err(|error| Failure::statement(error, sql))?;
        } else {
            self.show(&statement, values, &work, out)?;
        }
        drop(work);
        if self.changes {
            self.tell_changes(changes_before, out).map_err(written)?;
        }
        if self.timer {
            tell_time(self.door.now().saturating_sub(began), out).map_err(written)?;
        }
        out.flush().map_err(written)
    }

    fn show(
        &self,
        statement: &Statement,
        values: Params,
        work: &Work,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let columns: Vec<String> = statement.columns().iter().map(|column| column.name.clone()).collect();
        let mut sheet = Unwritten { look: &self.look, columns, out: Some(out), begun: None };
        let mut trouble = None;
        let outcome = statement.query_each(values, |row| {
            let told = match work.check() {
                Ok(()) => sheet.begun().and_then(|sheet| {
                    let cells = Cell::all(&row).map_err(io::Error::other)?;
                    sheet.row(&cells)
                }),
                Err(interrupted) => {
                    trouble = Some(interrupted);
                    return Ok(ControlFlow::Break(()));
                }
            };
            match told {
                Ok(()) => Ok(ControlFlow::Continue(())),
                Err(error) => {
                    trouble = Some(written(error));
                    Ok(ControlFlow::Break(()))
                }
            }
        });
        outcome.map_err(|error| Failure::statement(error, statement.sql()))?;
        match trouble {
            Some(trouble) => Err(trouble),
            None => sheet.begun().and_then(Sheet::end).map_err(written),
        }
    }

    fn tell_changes(&self, before: u64, out: &mut dyn Write) -> io::Result<()> {
        let total = self.connection.total_changes();
        let changed = if total == before { 0 } else { self.connection.changes() };
        writeln!(out, "changes: {changed}   total_changes: {total}")
    }
}

impl Deref for Session {
    type Target = Both;

    fn deref(&self) -> &Both {
        &self.opened
    }
}

fn tell_time(elapsed: Duration, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "Run Time: real {:.3}", elapsed.as_secs_f64())
}

/// The failure of writing to the output.
pub(crate) fn written(error: io::Error) -> Failure {
    Failure::io("writing the output", error)
}

/// A result that is begun with its first row.
struct Unwritten<'a> {
    look: &'a Look,
    columns: Vec<String>,
    out: Option<&'a mut dyn Write>,
    begun: Option<Box<dyn Sheet + 'a>>,
}

impl<'a> Unwritten<'a> {
    fn begun(&mut self) -> io::Result<&mut (dyn Sheet + 'a)> {
        if let Some(out) = self.out.take() {
            self.begun = Some(self.look.begin(&self.columns, out)?);
        }
        match &mut self.begun {
            Some(sheet) => Ok(&mut **sheet),
            None => Err(io::Error::other("the result could not be begun")),
        }
    }
}

impl Parameters {
    /// The values of a statement's parameters, by position.
    fn of(&self, statement: &Statement) -> Result<Params, Failure> {
        let value = |(index, name): (usize, &Option<String>)| {
            let number = (index + 1).to_string();
            let bare =
                name.as_deref().map_or(number.as_str(), |name| name.trim_start_matches([':', '@', '$', '?']));
            let found = self.0.iter().find(|(given, _)| given == bare || Some(given) == name.as_ref());
            found.map(|(_, value)| value.clone()).ok_or_else(|| {
                let shown = name.as_deref().unwrap_or("?");
                Failure::Usage(format!("parameter {number} ({shown}) has no value: add --param {bare}=VALUE"))
            })
        };
        let values: Vec<Value> =
            statement.parameters().iter().enumerate().map(value).collect::<Result<_, _>>()?;
        Ok(if values.is_empty() { Params::None } else { Params::Positional(values) })
    }
}
