//! A seeded stream of realistic statements on several connections.
//!
//! The generator knows what each connection can see (`model.rs`) and the state of its transaction, so most statements
//! are valid; a few are wrong on purpose (names that exist, columns that do not, constraints broken).
//!
//! Invariants:
//! 1. The stream depends on the seed and the oracle's answers alone.
//! 2. No statement asks for time, randomness or another connection's counters.
//! 3. Sizes are bounded: tables of some hundred rows, blobs up to 100 KB, triggers that touch one row.

mod control;
mod ddl;
mod dml;
mod expression;
mod query;

use twill_engine::Value;
use twill_types::seeded::Chance;

use crate::answer::{Answer, Outcome};
use crate::client::PlainClient;
use crate::model::{Model, Table};
use crate::world::{Action, Shape, Step};

/// The text with its parameters numbered in order, and the values it names: parts of a statement may have been dropped
/// after their values were bound. No literal of the generator has a question mark.
fn only_used(sql: &str, params: &[Value]) -> (String, Vec<Value>) {
    let mut pieces = sql.split('?');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    let mut used = Vec::new();
    for piece in pieces {
        let digits = piece.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = piece.split_at_checked(digits).unwrap_or(("", piece));
        let value = number.parse::<usize>().ok().and_then(|number| params.get(number.checked_sub(1)?));
        if let Some(value) = value {
            used.push(value.clone());
            text.push('?');
            text.push_str(&used.len().to_string());
        }
        text.push_str(rest);
    }
    (text, used)
}

/// What the generator knows of one connection.
#[derive(Default)]
struct Seat {
    model: Model,
    in_transaction: bool,
    savepoints: usize,
    /// The model must be read again when that is possible.
    stale: bool,
}

/// The stream.
pub(crate) struct Generator {
    random: Chance,
    seats: Vec<Seat>,
    seat: usize,
    /// Triggers may fire themselves: one trigger then, that inserts one row.
    recursive: bool,
    /// Whether values become parameters.
    binding: bool,
    params: Vec<Value>,
    copies: u32,
    steps: u64,
}

impl Generator {
    /// A stream, and the shape of the databases it is for.
    pub(crate) fn new(seed: u64) -> (Self, Shape) {
        let mut random = Chance::from_seed(seed);
        let sizes = [4096, 4096, 512, 1024, 8192, 65536];
        let shape = Shape {
            page_size: random.among(&sizes).copied().unwrap_or(4096),
            aux_page_size: random.among(&sizes).copied().unwrap_or(4096),
            auto_vacuum: random.among(&[0, 0, 1, 2]).copied().unwrap_or(0),
            encoding: random.pick(&["UTF-8", "UTF-8", "UTF-8", "UTF-16le", "UTF-16be"]),
            connections: 1 + random.index(3),
        };
        let seats = (0..shape.connections).map(|_| Seat { stale: true, ..Seat::default() }).collect();
        let generator = Self {
            recursive: random.percent(15),
            random,
            seats,
            seat: 0,
            binding: false,
            params: Vec::new(),
            copies: 0,
            steps: 0,
        };
        (generator, shape)
    }

    /// The connection whose turn it is; the caller may refresh its model with [`Generator::refresh`].
    pub(crate) fn turn(&mut self) -> usize {
        // Mostly the same connection goes on, so that transactions get somewhere.
        if self.random.percent(30) {
            self.seat = self.random.index(self.seats.len());
        }
        self.seat
    }

    /// The step to take before the model of the connection whose turn it is can be read, if it changed and reading is safe.
    pub(crate) fn wants_look(&mut self, oracle: &PlainClient) -> Option<Step> {
        let connection = self.seat;
        (self.seat().stale && oracle.may_peek()).then_some(Step { connection, action: Action::Look })
    }

    /// Takes over what the connection whose turn it is sees.
    pub(crate) fn refresh(&mut self, model: Model) {
        let seat = self.seat();
        seat.model = model;
        seat.stale = false;
    }

    /// The next step.
    pub(crate) fn step(&mut self) -> Step {
        const CHECK_EVERY: u64 = 250;
        self.steps += 1;
        let connection = self.seat;
        if self.steps.is_multiple_of(CHECK_EVERY) {
            return Step { connection, action: Action::Check };
        }
        match self.random.below(600) {
            0 => return Step { connection, action: Action::Reopen },
            1..=3 => return Step { connection, action: Action::Reconnect },
            _ => {}
        }
        self.params.clear();
        self.binding = false;
        let sql = self.statement();
        let (sql, params) = only_used(&sql, &std::mem::take(&mut self.params));
        Step { connection, action: Action::Statement { sql, params } }
    }

    /// What ends an episode: open transactions, then everything is compared.
    pub(crate) fn ending(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (connection, seat) in self.seats.iter().enumerate() {
            if seat.in_transaction {
                for sql in ["COMMIT", "ROLLBACK"] {
                    let action = Action::Statement { sql: sql.to_owned(), params: Vec::new() };
                    steps.push(Step { connection, action });
                }
            }
        }
        steps.push(Step { connection: 0, action: Action::Reopen });
        steps.push(Step { connection: 0, action: Action::Check });
        steps
    }

    fn statement(&mut self) -> String {
        if self.seat().in_transaction && self.random.percent(10) {
            return self.end_of_transaction();
        }
        let few_tables = self.seat().model.tables.len() < 3;
        let weights = if few_tables { [40, 20, 10, 10, 2] } else { [6, 42, 34, 14, 4] };
        match self.random.weighted(&weights) {
            0 => self.ddl(),
            1 => self.dml(),
            2 => self.query(),
            3 => self.transaction_control(),
            _ => self.pragma(),
        }
    }

    /// Learns from the oracle's answer to the step.
    pub(crate) fn observe(&mut self, step: &Step, answer: Option<&Answer>) {
        match &step.action {
            Action::Reopen => {
                self.seats.iter_mut().for_each(|seat| *seat = Seat { stale: true, ..Seat::default() })
            }
            Action::Reconnect => {
                if let Some(seat) = self.seats.get_mut(step.connection) {
                    *seat = Seat { stale: true, ..Seat::default() };
                }
            }
            Action::Check | Action::Look => {}
            Action::Statement { sql, .. } => {
                if let Some(answer) = answer {
                    self.observe_statement(step.connection, sql, answer);
                }
            }
        }
    }

    fn observe_statement(&mut self, connection: usize, sql: &str, answer: &Answer) {
        let failed = matches!(answer.outcome, Outcome::Failed { .. });
        let word = sql.split(' ').next().unwrap_or_default();
        let changes_schema = matches!(
            word,
            "CREATE" | "DROP" | "ALTER" | "ATTACH" | "DETACH" | "ROLLBACK" | "VACUUM" | "REINDEX"
        );
        if changes_schema && !failed {
            // Committed changes are seen by the others too.
            for (index, seat) in self.seats.iter_mut().enumerate() {
                seat.stale |= index == connection || answer.autocommit;
            }
        }
        let Some(seat) = self.seats.get_mut(connection) else { return };
        // A name that is gone: somebody else changed the schema.
        if let Outcome::Failed { code: 1, message } = &answer.outcome
            && message.starts_with("no such")
        {
            seat.stale = true;
        }
        seat.in_transaction = !answer.autocommit;
        if answer.autocommit {
            seat.savepoints = 0;
        } else if word == "SAVEPOINT" && !failed {
            seat.savepoints += 1;
        }
        if failed {
            return;
        }
        let grows = matches!(word, "INSERT" | "REPLACE");
        if (grows || word == "DELETE")
            && let Some(table) = seat.model.tables.iter_mut().find(|table| sql.contains(&table.path()))
        {
            let changes = i64::try_from(answer.changes).unwrap_or(0);
            table.rows += if grows { changes } else { -changes };
        }
    }

    fn seat(&mut self) -> &mut Seat {
        let last = self.seats.len().saturating_sub(1);
        #[expect(clippy::indexing_slicing, reason = "an episode has at least one connection")]
        &mut self.seats[self.seat.min(last)]
    }

    /// A table that the connection sees and `wanted` accepts.
    fn table(&mut self, wanted: impl Fn(&Table) -> bool) -> Option<Table> {
        let tables: Vec<Table> =
            self.seat().model.tables.iter().filter(|table| wanted(table)).cloned().collect();
        self.random.among(&tables).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_dropped_parts_are_dropped() {
        let params = [Value::Integer(1), Value::Integer(2), Value::Integer(3)];
        let (sql, used) = only_used("SELECT ?3, ?1 + a", &params);
        assert_eq!(sql, "SELECT ?1, ?2 + a");
        assert_eq!(used, [Value::Integer(3), Value::Integer(1)]);
    }

    #[test]
    fn a_seed_gives_the_same_statements() {
        let stream = |seed| {
            let (mut generator, _) = Generator::new(seed);
            (0..50)
                .map(|_| {
                    generator.turn();
                    generator.step()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(stream(3), stream(3));
        assert_ne!(stream(3), stream(4));
    }
}
