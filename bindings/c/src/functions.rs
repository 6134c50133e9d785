//! SQL functions that C implements.
//!
//! Invariants:
//! 1. A call has a number that is good on its thread while its callback runs; answering another one is an error.
//! 2. A context is released exactly once, after its last use, when nothing can call it any more.
//! 3. A group's number is used for one group only, and a group that a step was told of is ended once.

use std::cell::RefCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};

use twill_engine::{Aggregate, Arguments, CellRef, Connection, Error, FunctionOptions, Value, Window};

use crate::Refusal;
use crate::abi::{
    ENGINE_ANY_THREAD, ENGINE_DONE, ENGINE_FUNCTION_DETERMINISTIC, ENGINE_FUNCTION_DIRECTONLY,
    ENGINE_FUNCTION_INNOCUOUS, engine_aggregate_final, engine_aggregate_step, engine_call, engine_function,
    engine_release,
};
use crate::batches::{Finished, Header, Owned, Writer};
use crate::parameters::{Block, to_value};
use crate::process::this_thread;

/// What a callback is called with, by whom, and until when.
pub(crate) struct Context {
    pointer: *mut c_void,
    release: engine_release,
    /// The only thread that may call, or 0 for any.
    thread: usize,
}

// SAFETY: the pointer is only handed to the callback. One that only its own thread may call is called there alone; what is
// registered with ENGINE_ANY_THREAD was promised to be callable from any.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    pub(crate) fn new(pointer: *mut c_void, release: engine_release, flags: u32) -> Self {
        let thread = if flags & ENGINE_ANY_THREAD != 0 { 0 } else { this_thread() };
        Self { pointer, release, thread }
    }

    /// The only thread that may call, or 0 for any.
    pub(crate) const fn thread(&self) -> usize {
        self.thread
    }

    pub(crate) const fn pointer(&self) -> *mut c_void {
        self.pointer
    }

    pub(crate) fn may_call(&self) -> bool {
        self.thread == 0 || self.thread == this_thread()
    }

    fn check(&self) -> Result<(), Error> {
        if self.may_call() {
            return Ok(());
        }
        Err(Error::misuse(
            "a user function was called on another thread than the one that registered it, which is what asynchronous \
             requests do: register it with ENGINE_ANY_THREAD, or make the call synchronously",
        ))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: this is the one call that was promised to be possible, and the last with this context.
            unsafe { release(self.pointer) }
        }
    }
}

/// The caller's memory for arguments.
pub(crate) struct ArgumentPlace {
    start: *mut u8,
    length: usize,
}

// SAFETY: the memory was promised to be writable whenever the function may be called.
unsafe impl Send for ArgumentPlace {}
// SAFETY: a connection runs one call at a time.
unsafe impl Sync for ArgumentPlace {}

impl ArgumentPlace {
    pub(crate) const fn new(start: *mut u8, length: usize) -> Self {
        let length = if start.is_null() { 0 } else { length };
        Self { start, length }
    }

    /// Writes arguments as a batch, and calls `then` with it.
    fn with(&self, arguments: &Arguments<'_>, then: impl FnOnce(*const u8, usize)) {
        let cells: Vec<CellRef<'_>> = (0..arguments.len()).map(|index| arguments.cell(index)).collect();
        let mut heap = Vec::new();
        let mut writer = Writer::into_library(Owned::default(), usize::MAX, &mut heap);
        writer.push(&cells.as_slice());
        let Finished::Library(batch) = writer.finish(&Header { code: ENGINE_DONE, ..Header::default() })
        else {
            return;
        };
        let bytes = batch.bytes();
        if bytes.len() <= self.length {
            // SAFETY: the place was promised to hold `length` writable bytes, and is not ours.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start, bytes.len()) };
            then(self.start, bytes.len());
        } else {
            then(bytes.as_ptr(), bytes.len());
        }
    }
}

/// A call that waits for its answer.
struct Call {
    number: engine_call,
    answer: Option<Result<Value, Error>>,
}

thread_local! {
    static CALLS: RefCell<Vec<Call>> = const { RefCell::new(Vec::new()) };
}

/// Runs a callback under a new call number, and answers what it answered; NULL if it did not.
fn called(callback: impl FnOnce(engine_call)) -> Result<Value, Error> {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    CALLS.with(|calls| calls.borrow_mut().push(Call { number, answer: None }));
    callback(number);
    let call = CALLS.with(|calls| calls.borrow_mut().pop());
    call.and_then(|call| call.answer).unwrap_or(Ok(Value::Null))
}

fn set_answer(number: engine_call, answer: Result<Value, Error>) -> Result<(), Refusal> {
    let is_set = CALLS.try_with(|calls| {
        let mut calls = calls.borrow_mut();
        match calls.last_mut() {
            Some(call) if call.number == number => {
                call.answer = Some(answer);
                true
            }
            _ => false,
        }
    });
    match is_set {
        Ok(true) => Ok(()),
        _ => Err(Refusal::misuse("this call of a function is not running on this thread")),
    }
}

/// Answers a call with a value.
pub(crate) fn answer(number: engine_call, block: &Block<'_>) -> Result<(), Refusal> {
    let mut values = block.values();
    match (values.next(), values.next()) {
        (Some((_, value)), None) => set_answer(number, Ok(to_value(value))),
        _ => Err(Refusal::misuse("a call is answered by a block of one value")),
    }
}

/// Answers a call with an error.
pub(crate) fn fail(number: engine_call, code: i32, message: &str) -> Result<(), Refusal> {
    let error = if code == 0 { Error::other(message) } else { Error::new(code, message) };
    set_answer(number, Err(error))
}

fn options(flags: u32) -> Result<FunctionOptions, Refusal> {
    const KNOWN: u32 = ENGINE_FUNCTION_DETERMINISTIC
        | ENGINE_FUNCTION_DIRECTONLY
        | ENGINE_FUNCTION_INNOCUOUS
        | ENGINE_ANY_THREAD;
    if flags & !KNOWN != 0 {
        return Err(Refusal::misuse(format!("unknown function flags {flags:#x}")));
    }
    Ok(FunctionOptions {
        deterministic: flags & ENGINE_FUNCTION_DETERMINISTIC != 0,
        direct_only: flags & ENGINE_FUNCTION_DIRECTONLY != 0,
        innocuous: flags & ENGINE_FUNCTION_INNOCUOUS != 0,
    })
}

/// Adds a function.
pub(crate) fn create(
    connection: &Connection,
    name: &str,
    arguments: i32,
    flags: u32,
    function: engine_function,
    context: Context,
    place: ArgumentPlace,
) -> Result<(), Refusal> {
    let function = function.ok_or_else(|| Refusal::misuse("the function is NULL"))?;
    let body = move |arguments: &Arguments<'_>| {
        let (context, place) = (&context, &place);
        context.check()?;
        called(|call| {
            place.with(arguments, |start, length| {
                // SAFETY: the function was promised to be callable with its context until that is released.
                unsafe { function(context.pointer(), call, start, length) }
            });
        })
    };
    Ok(connection.create_scalar_function(name, arguments, options(flags)?, body)?)
}

/// Adds an aggregate function.
pub(crate) fn create_aggregate(
    connection: &Connection,
    name: &str,
    arguments: i32,
    flags: u32,
    (step, last): (engine_aggregate_step, engine_aggregate_final),
    context: Context,
    place: ArgumentPlace,
) -> Result<(), Refusal> {
    if step.is_none() || last.is_none() {
        return Err(Refusal::misuse("the aggregate's step or final is NULL"));
    }
    let groups = Groups { step, last, context, place };
    Ok(connection.create_aggregate_function(name, arguments, options(flags)?, groups)?)
}

struct Groups {
    step: engine_aggregate_step,
    last: engine_aggregate_final,
    context: Context,
    place: ArgumentPlace,
}

/// A group under way.
struct Group {
    number: usize,
}

impl Aggregate for Groups {
    type State = Group;

    fn start(&self) -> Group {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        Group { number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    fn step(&self, group: &mut Group, arguments: &Arguments<'_>) -> Result<(), Error> {
        self.context.check()?;
        let Some(step) = self.step else { return Ok(()) };
        let outcome = called(|call| {
            self.place.with(arguments, |start, length| {
                // SAFETY: the step was promised to be callable with its context until that is released.
                unsafe { step(self.context.pointer(), group.number, call, start, length) }
            });
        });
        outcome.map(drop)
    }

    fn finish(&self, group: Group) -> Result<Value, Error> {
        self.context.check()?;
        let Some(last) = self.last else { return Ok(Value::Null) };
        called(|call| {
            // SAFETY: the final was promised to be callable with its context until that is released.
            unsafe { last(self.context.pointer(), group.number, call) }
        })
    }
}

/// Adds a window function.
#[expect(
    clippy::too_many_arguments,
    reason = "those of the C function, two by two where they belong together"
)]
pub(crate) fn create_window(
    connection: &Connection,
    name: &str,
    arguments: i32,
    flags: u32,
    (step, inverse): (engine_aggregate_step, engine_aggregate_step),
    (value, last): (engine_aggregate_final, engine_aggregate_final),
    context: Context,
    place: ArgumentPlace,
) -> Result<(), Refusal> {
    if step.is_none() || inverse.is_none() || value.is_none() || last.is_none() {
        return Err(Refusal::misuse("the window function's step, inverse, value or final is NULL"));
    }
    let groups = Windows { groups: Groups { step, last, context, place }, inverse, value };
    Ok(connection.create_window_function(name, arguments, options(flags)?, groups)?)
}

struct Windows {
    groups: Groups,
    inverse: engine_aggregate_step,
    value: engine_aggregate_final,
}

impl Aggregate for Windows {
    type State = Group;

    fn start(&self) -> Group {
        self.groups.start()
    }

    fn step(&self, group: &mut Group, arguments: &Arguments<'_>) -> Result<(), Error> {
        self.groups.step(group, arguments)
    }

    fn finish(&self, group: Group) -> Result<Value, Error> {
        self.groups.finish(group)
    }
}

impl Window for Windows {
    fn inverse(&self, group: &mut Group, arguments: &Arguments<'_>) -> Result<(), Error> {
        let Groups { context, place, .. } = &self.groups;
        context.check()?;
        let Some(inverse) = self.inverse else { return Ok(()) };
        let outcome = called(|call| {
            place.with(arguments, |start, length| {
                // SAFETY: the inverse was promised to be callable with its context until that is released.
                unsafe { inverse(context.pointer(), group.number, call, start, length) }
            });
        });
        outcome.map(drop)
    }

    fn value(&self, group: Option<&Group>) -> Result<Value, Error> {
        let Groups { context, .. } = &self.groups;
        context.check()?;
        let Some(value) = self.value else { return Ok(Value::Null) };
        // A window without rows has a group of its own, which ends here.
        let Some(group) = group else { return self.groups.finish(self.groups.start()) };
        called(|call| {
            // SAFETY: the value was promised to be callable with its context until that is released.
            unsafe { value(context.pointer(), group.number, call) }
        })
    }
}
