//! A statement as the ABI sees it: its cursor, and the rows that were not told yet.
//!
//! ```text
//! execute ─► reads: rows straight from the cursor into the caller's memory, until that is full
//!        └─► writes: to the end, rows into the caller's memory if they fit, else held here and told batch by batch
//! ```
//!
//! Invariants:
//! 1. No row of a write leaves before the write succeeded: what is in the caller's memory before that has no header.
//! 2. What the library's memory holds for the caller is kept until the statement's next call.

use std::ffi::{CString, c_char};

use twill_engine::{CellRef, Cursor, CursorRow, Facts, Ran, Taken, Value, ValueRef};

use crate::abi::{
    ENGINE_BATCH_IN_TRANSACTION, ENGINE_BATCH_MORE, ENGINE_BATCH_NAMES, ENGINE_BLOB, ENGINE_DONE,
    ENGINE_EXECUTE_DISCARD, ENGINE_EXECUTE_NAMES, ENGINE_EXECUTE_RESET, ENGINE_INTEGER, ENGINE_NULL,
    ENGINE_REAL, ENGINE_ROW, ENGINE_TEXT,
};
use crate::batches::{self, Finished, Header, Owned, Writer};
use crate::parameters::Block;
use crate::{Refusal, answer};

/// A batch in the library's memory ends here, unless its one row is longer.
pub(crate) const LIBRARY_BYTES: usize = 256 << 10;

/// A statement.
pub(crate) struct Prepared {
    cursor: Cursor,
    /// Its number in the table; 0 if it is in none.
    pub(crate) number: usize,
    parameters: usize,
    /// Scratch of the writer.
    heap: Vec<u8>,
    /// The batch that the last call left in the library's memory.
    elsewhere: Option<Owned>,
    /// Memory to use again.
    spare: Option<Owned>,
    held: Option<Held>,
    /// What `step` is at: a batch of one row.
    row: Option<Owned>,
    /// What the last call lent as text.
    text: CString,
}

/// Rows of a write that were not told yet.
struct Held {
    batch: Owned,
    next: u32,
    has_names: bool,
    ran: Ran,
}

/// Values to bind.
#[derive(Clone, Copy)]
pub(crate) enum Values<'a> {
    Block(Block<'a>),
    Copied(&'a [(usize, Value)]),
}

impl<'a> Values<'a> {
    fn with<T>(self, body: impl FnOnce(&mut dyn Iterator<Item = (usize, CellRef<'a>)>) -> T) -> T {
        match self {
            Self::Block(block) => body(&mut block.values()),
            Self::Copied(values) => {
                body(&mut values.iter().map(|(parameter, value)| (*parameter, ValueRef::from(value).into())))
            }
        }
    }
}

/// How a statement is to be run.
#[derive(Clone, Copy)]
pub(crate) struct Execution<'a> {
    pub(crate) values: Option<Values<'a>>,
    /// 0: as many as fit.
    pub(crate) rows_max: u32,
    pub(crate) flags: u32,
}

impl Execution<'_> {
    const fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// Where a batch goes.
pub(crate) enum Room<'a> {
    Caller(&'a mut [u8]),
    /// Into memory that is handed on, at most so long.
    Library {
        bytes_max: usize,
    },
}

impl Room<'_> {
    const fn is_caller(&self) -> bool {
        matches!(self, Self::Caller(_))
    }

    fn bytes_max(&self) -> usize {
        match self {
            Self::Caller(out) => out.len(),
            Self::Library { bytes_max } => *bytes_max,
        }
    }

    fn writer<'a>(
        &'a mut self,
        heap: &'a mut Vec<u8>,
        spare: &mut Option<Owned>,
        bytes_max: usize,
    ) -> Writer<'a> {
        match self {
            Self::Caller(out) => Writer::into_place(out, heap),
            Self::Library { .. } => Writer::into_library(spare.take().unwrap_or_default(), bytes_max, heap),
        }
    }
}

/// What an execution answers.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) in_transaction: bool,
    /// The batch, if it went to the library's memory to be handed on.
    pub(crate) batch: Option<Owned>,
}

impl Prepared {
    pub(crate) fn new(cursor: Cursor) -> Result<Self, Refusal> {
        let parameters = cursor.look(|facts| facts.parameters())?;
        Ok(Self {
            cursor,
            number: 0,
            parameters,
            heap: Vec::new(),
            elsewhere: None,
            spare: None,
            held: None,
            row: None,
            text: CString::default(),
        })
    }

    pub(crate) const fn cursor(&self) -> &Cursor {
        &self.cursor
    }

    /// What the compiled statement tells of itself.
    pub(crate) fn look<T>(&self, look: impl FnOnce(Facts<'_>) -> T) -> Result<T, Refusal> {
        Ok(self.cursor.look(look)?)
    }

    pub(crate) fn is_active(&self) -> bool {
        self.held.is_some() || self.cursor.is_standing()
    }

    /// Keeps a text for the caller to read.
    pub(crate) fn lend(&mut self, text: String) -> *const c_char {
        self.text = answer::c_text(text.into_bytes());
        self.text.as_ptr()
    }

    pub(crate) fn bind(&mut self, block: &Block<'_>) -> Result<(), Refusal> {
        self.check_parameters(Values::Block(*block))?;
        self.forget_rows();
        Ok(self.cursor.bind(&mut block.values())?)
    }

    pub(crate) fn bind_one(&mut self, parameter: usize, value: CellRef<'_>) -> Result<(), Refusal> {
        self.check_parameter(parameter)?;
        self.forget_rows();
        Ok(self.cursor.bind(&mut std::iter::once((parameter, value)))?)
    }

    pub(crate) fn clear_bindings(&mut self) -> Result<(), Refusal> {
        self.forget_rows();
        Ok(self.cursor.clear_bindings()?)
    }

    pub(crate) fn reset(&mut self) -> Result<(), Refusal> {
        self.forget_rows();
        Ok(self.cursor.reset()?)
    }

    fn forget_rows(&mut self) {
        self.held = None;
        self.row = None;
    }

    fn check_parameter(&self, parameter: usize) -> Result<(), Refusal> {
        if (1..=self.parameters).contains(&parameter) {
            return Ok(());
        }
        let parameters = self.parameters;
        Err(Refusal::out_of_range(format!(
            "there is no parameter {parameter}; the statement has {parameters}"
        )))
    }

    fn check_parameters(&self, values: Values<'_>) -> Result<(), Refusal> {
        values.with(|values| {
            for (parameter, _) in values {
                self.check_parameter(parameter)?;
            }
            Ok(())
        })
    }

    /// Runs the statement from its start.
    pub(crate) fn execute(
        &mut self,
        execution: &Execution<'_>,
        mut room: Room<'_>,
    ) -> Result<Answer, Refusal> {
        if let Some(values) = execution.values {
            self.check_parameters(values)?;
        }
        self.forget_rows();
        self.recycle();
        let streams = self.cursor.streams();
        let (is_caller, batch_max) = (room.is_caller(), room.bytes_max());
        let bytes_max = if streams { batch_max } else { usize::MAX };
        let identity = self.identity();
        let Self { cursor, heap, spare, .. } = self;
        let mut fill = Fill::new(room.writer(heap, spare, bytes_max), execution, streams, spare);
        let sink = |row: CursorRow<'_>| fill.take(&row);
        let ran = match execution.values {
            Some(values) => values.with(|values| cursor.execute(Some(values), sink))?,
            None => cursor.execute(None, sink)?,
        };
        if fill.wants_names {
            let names = cursor.look(|facts| names(facts.columns(), |column| facts.column_name(column)))?;
            fill.push_names(&names);
        }
        let Fill { mut writer, told, has_names, overflowed, .. } = fill;
        let resets = execution.has(ENGINE_EXECUTE_RESET);
        if overflowed || resets {
            cursor.reset()?;
        }
        if overflowed {
            return Err(Refusal::too_big());
        }
        writer.set_columns(ran.columns);
        let has_too_many = execution.rows_max > 0 && told > execution.rows_max;
        let is_too_long = told > 1 && writer.length() > batch_max;
        if !streams && !resets && !writer.is_in_place() && (is_caller || has_too_many || is_too_long) {
            if let Finished::Library(batch) = writer.finish(&Header::default()) {
                self.held = Some(Held { batch, next: 0, has_names, ran });
            }
            return Ok(self.tell_held(execution.rows_max, execution.flags, room));
        }
        let has_more = cursor.is_standing();
        let finished = writer.finish(&header_of(&ran, has_more, has_names, identity));
        Ok(self.conclude(&ran, has_more, finished, room))
    }

    /// Goes on with a statement that has rows left.
    pub(crate) fn next(&mut self, rows_max: u32, flags: u32, mut room: Room<'_>) -> Result<Answer, Refusal> {
        self.row = None;
        self.recycle();
        if self.held.is_some() {
            return Ok(self.tell_held(rows_max, flags, room));
        }
        let execution = Execution { values: None, rows_max, flags: flags & ENGINE_EXECUTE_RESET };
        let bytes_max = room.bytes_max();
        let identity = self.identity();
        let Self { cursor, heap, spare, .. } = self;
        let mut fill = Fill::new(room.writer(heap, spare, bytes_max), &execution, true, spare);
        let ran = cursor.fetch(|row| fill.take(&row))?;
        let Fill { mut writer, overflowed, .. } = fill;
        if overflowed || execution.has(ENGINE_EXECUTE_RESET) {
            cursor.reset()?;
        }
        if overflowed {
            return Err(Refusal::too_big());
        }
        writer.set_columns(ran.columns);
        let has_more = cursor.is_standing();
        let finished = writer.finish(&header_of(&ran, has_more, false, identity));
        Ok(self.conclude(&ran, has_more, finished, room))
    }

    /// Tells rows of a write.
    fn tell_held(&mut self, rows_max: u32, flags: u32, mut room: Room<'_>) -> Answer {
        let Some(mut held) = self.held.take() else { return Answer::default() };
        let bytes_max = room.bytes_max();
        let identity = self.identity();
        let Self { heap, spare, .. } = self;
        let mut writer = room.writer(heap, spare, bytes_max);
        let has_names = held.has_names && held.next == 0;
        let names = u32::from(has_names);
        while let Some(row) = batches::row(held.batch.bytes(), held.next) {
            if rows_max > 0 && writer.rows() == rows_max.saturating_add(names) {
                break;
            }
            if !writer.push(&row) {
                if writer.rows() > names {
                    break;
                }
                let needed = writer.length_with(&row).max(LIBRARY_BYTES);
                writer.move_to_library(spare.take().unwrap_or_default(), needed);
                if !writer.push(&row) {
                    break;
                }
            }
            held.next += 1;
        }
        writer.set_columns(held.ran.columns);
        let ran = held.ran;
        let has_more = held.next < batches::rows(held.batch.bytes()) && flags & ENGINE_EXECUTE_RESET == 0;
        let finished = writer.finish(&header_of(&ran, has_more, has_names, identity));
        if has_more {
            self.held = Some(held);
        }
        self.conclude(&ran, has_more, finished, room)
    }

    /// Steps by one row.
    pub(crate) fn step(&mut self) -> Result<Answer, Refusal> {
        if let Some(row) = self.row.take() {
            self.spare = Some(row);
        }
        let room = Room::Library { bytes_max: usize::MAX };
        let mut answer = if self.is_active() {
            self.next(1, 0, room)?
        } else {
            self.execute(&Execution { values: None, rows_max: 1, flags: 0 }, room)?
        };
        let batch = answer.batch.take().unwrap_or_default();
        answer.code = if batches::rows(batch.bytes()) == 0 {
            self.spare = Some(batch);
            ENGINE_DONE
        } else {
            self.row = Some(batch);
            ENGINE_ROW
        };
        Ok(answer)
    }

    /// A cell of the row that `step` is at.
    pub(crate) fn cell(&self, column: usize) -> Result<Cell<'_>, Refusal> {
        let row = self.row.as_ref().and_then(|batch| batches::row(batch.bytes(), 0));
        let Some(row) = row else {
            return Err(Refusal::misuse("the statement is at no row: engine_step did not answer ENGINE_ROW"));
        };
        row.get(column)
            .map(Cell)
            .ok_or_else(|| Refusal::out_of_range(format!("the row has no column {column}")))
    }

    /// A batch of the columns and parameters.
    pub(crate) fn describe(&mut self, mut room: Room<'_>) -> Result<Answer, Refusal> {
        const COLUMN: i64 = 1;
        const PARAMETER: i64 = 2;
        let told = self.cursor.look(|facts| {
            let columns = (0..facts.columns())
                .map(|column| (COLUMN, facts.column_name(column), facts.column_declared_type(column)));
            let parameters =
                (1..=facts.parameters()).map(|parameter| (PARAMETER, facts.parameter_name(parameter), None));
            columns.chain(parameters).collect::<Vec<_>>()
        })?;
        self.recycle();
        let identity = self.identity();
        let Self { heap, spare, .. } = self;
        let mut writer = room.writer(heap, spare, usize::MAX);
        writer.set_columns(3);
        for (kind, name, declared) in &told {
            let cells = [CellRef::Integer(*kind), text_cell(name.as_deref()), text_cell(declared.as_deref())];
            if !writer.push(&cells.as_slice()) {
                writer.move_to_library(spare.take().unwrap_or_default(), usize::MAX);
                writer.push(&cells.as_slice());
            }
        }
        let ran = Ran::default();
        let finished = writer.finish(&header_of(&ran, false, false, identity));
        Ok(self.conclude(&ran, false, finished, room))
    }

    /// The batch that the last call left in the library's memory.
    pub(crate) const fn take_batch(&mut self) -> Option<Owned> {
        self.elsewhere.take()
    }

    /// Uses the memory of the last call again.
    fn recycle(&mut self) {
        if let Some(batch) = self.elsewhere.take()
            && batch.bytes().len() <= LIBRARY_BYTES
        {
            self.spare = Some(batch);
        }
    }

    const fn identity(&self) -> (usize, usize) {
        (self.number, self.parameters)
    }

    fn conclude(&mut self, ran: &Ran, has_more: bool, finished: Finished, room: Room<'_>) -> Answer {
        let batch = match (finished, room) {
            (Finished::InPlace, _) => None,
            (Finished::Library(batch), Room::Caller(out)) => {
                batches::point_to(out, &batch);
                self.elsewhere = Some(batch);
                None
            }
            (Finished::Library(batch), Room::Library { .. }) => Some(batch),
        };
        let code = if has_more { ENGINE_ROW } else { ENGINE_DONE };
        Answer { code, in_transaction: ran.in_transaction, batch }
    }
}

/// A run's rows on their way into a batch.
struct Fill<'w, 's> {
    writer: Writer<'w>,
    spare: &'s mut Option<Owned>,
    rows_max: u32,
    discards: bool,
    resets: bool,
    streams: bool,
    wants_names: bool,
    has_names: bool,
    /// Rows that were written, without the names.
    told: u32,
    overflowed: bool,
}

impl<'w, 's> Fill<'w, 's> {
    fn new(
        writer: Writer<'w>,
        execution: &Execution<'_>,
        streams: bool,
        spare: &'s mut Option<Owned>,
    ) -> Self {
        let discards = execution.has(ENGINE_EXECUTE_DISCARD);
        Self {
            writer,
            spare,
            rows_max: execution.rows_max,
            discards,
            resets: execution.has(ENGINE_EXECUTE_RESET),
            streams,
            wants_names: execution.has(ENGINE_EXECUTE_NAMES) && !discards,
            has_names: false,
            told: 0,
            overflowed: false,
        }
    }

    #[inline]
    fn take(&mut self, row: &CursorRow<'_>) -> Taken {
        if self.discards {
            return Taken::Yes;
        }
        if self.wants_names {
            let names = names(row.columns(), |column| row.column_name(column));
            self.push_names(&names);
        }
        let is_full = self.rows_max > 0 && self.told == self.rows_max;
        if is_full && self.resets {
            // A write goes on to its end; the rest of its rows are not wanted.
            return Taken::Yes;
        }
        if is_full && self.writer.is_in_place() {
            self.writer.move_to_library(self.spare.take().unwrap_or_default(), usize::MAX);
        }
        if !self.writer.push(row) && !self.push_at_length(row) {
            return if self.streams { Taken::NoRoom } else { Taken::Yes };
        }
        self.told += 1;
        if self.streams && self.told == self.rows_max { Taken::Last } else { Taken::Yes }
    }

    /// A row that has no room where the batch is.
    #[cold]
    fn push_at_length(&mut self, row: &CursorRow<'_>) -> bool {
        if self.told > 0 && (self.streams || self.resets) {
            return false;
        }
        let bytes_max = if self.streams || self.resets {
            self.writer.length_with(row).max(LIBRARY_BYTES)
        } else {
            usize::MAX
        };
        self.writer.move_to_library(self.spare.take().unwrap_or_default(), bytes_max);
        let fits = self.writer.push(row);
        self.overflowed |= !fits;
        fits
    }

    #[cold]
    fn push_names(&mut self, names: &[String]) {
        self.wants_names = false;
        self.has_names = true;
        let cells: Vec<CellRef<'_>> = names.iter().map(|name| CellRef::Text(name.as_bytes())).collect();
        if !self.writer.push(&cells.as_slice()) {
            let needed = self.writer.length_with(&cells.as_slice()).max(LIBRARY_BYTES);
            self.writer.move_to_library(self.spare.take().unwrap_or_default(), needed);
            self.overflowed |= !self.writer.push(&cells.as_slice());
        }
    }
}

fn header_of(ran: &Ran, has_more: bool, has_names: bool, (number, parameters): (usize, usize)) -> Header {
    let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    Header {
        flags: flag(has_more, ENGINE_BATCH_MORE)
            | flag(has_names, ENGINE_BATCH_NAMES)
            | flag(ran.in_transaction, ENGINE_BATCH_IN_TRANSACTION),
        code: if has_more { ENGINE_ROW } else { ENGINE_DONE },
        changes: count(ran.changes),
        total_changes: count(ran.total_changes),
        last_insert_rowid: ran.last_insert_rowid,
        statement: number as u64,
        compiled: ran.recompiled,
        parameters: u32::try_from(parameters).unwrap_or(u32::MAX),
    }
}

fn names(columns: usize, name: impl Fn(usize) -> Option<String>) -> Vec<String> {
    (0..columns).map(|column| name(column).unwrap_or_default()).collect()
}

fn text_cell(text: Option<&str>) -> CellRef<'_> {
    text.map_or(CellRef::Null, |text| CellRef::Text(text.as_bytes()))
}

/// A value of the row that `step` is at.
#[derive(Clone, Copy)]
pub(crate) struct Cell<'a>(CellRef<'a>);

impl<'a> Cell<'a> {
    /// Its type, by SQLite's number.
    pub(crate) const fn kind(self) -> u8 {
        match self.0 {
            CellRef::Integer(_) => ENGINE_INTEGER,
            CellRef::Real(_) => ENGINE_REAL,
            CellRef::Text(_) => ENGINE_TEXT,
            CellRef::Blob(_) => ENGINE_BLOB,
            CellRef::Null => ENGINE_NULL,
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "cut towards zero, as documented")]
    pub(crate) const fn to_integer(self) -> i64 {
        match self.0 {
            CellRef::Integer(value) => value,
            CellRef::Real(value) => value as i64,
            CellRef::Text(_) | CellRef::Blob(_) | CellRef::Null => 0,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "the nearest double, as SQLite converts")]
    pub(crate) const fn to_real(self) -> f64 {
        match self.0 {
            CellRef::Integer(value) => value as f64,
            CellRef::Real(value) => value,
            CellRef::Text(_) | CellRef::Blob(_) | CellRef::Null => 0.0,
        }
    }

    pub(crate) const fn bytes(self) -> Option<&'a [u8]> {
        match self.0 {
            CellRef::Text(bytes) | CellRef::Blob(bytes) => Some(bytes),
            CellRef::Null | CellRef::Integer(_) | CellRef::Real(_) => None,
        }
    }
}
