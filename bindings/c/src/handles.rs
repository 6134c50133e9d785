//! Handles: numbers looked up in one table, each one connection.
//!
//! A handle is `generation << INDEX_BITS | index`. A closed slot's generation moves on before the slot is used
//! again, and a slot whose generations are used up is retired, so a number never names two connections.
//!
//! 1. No handle is 0, and none is above 2^52 where pointers have 64 bits: a JavaScript number holds it.
//! 2. The table's lock is never held while the engine runs, nor while anything is dropped.
//! 3. A connection runs one call at a time: a second one is refused, not queued; closing alone waits.
//! 4. A handle that fork() copied into a child is refused there, and never closed.
//! 5. A panic inside a call poisons its handle's lock, and the handle answers errors until it is closed.

use std::collections::VecDeque;
use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use twill_engine::{Connection, Database, InterruptHandle};
use twill_types::Door;

use crate::{Refusal, answer, texts};

/// Between two interrupts of a call that closing waits for.
const INTERRUPT_INTERVAL: Duration = Duration::from_millis(1);

const INDEX_BITS: u32 = if usize::BITS >= 64 { 20 } else { 12 };
const GENERATION_BITS: u32 = if usize::BITS >= 64 { 32 } else { 20 };
const _: () = assert!(INDEX_BITS + GENERATION_BITS <= 53, "a double holds every handle");
const INDEX_MASK: usize = (1 << INDEX_BITS) - 1;
const GENERATION_MAX: usize = (1 << GENERATION_BITS) - 1;

/// What a handle stands for.
struct Held {
    /// The process that opened it: the locks and threads below belong to that one alone.
    process: u32,
    interrupt: InterruptHandle,
    state: Mutex<State>,
}

struct State {
    /// None once closed.
    open: Option<(Connection, Database)>,
    answer: Option<Arc<CString>>,
    /// The message of the last call, if it failed.
    error: Option<Arc<CString>>,
}

static OPEN: Mutex<Table<Held>> = Mutex::new(Table::new());

/// Opens `url` and connects.
pub(crate) fn open(url: &str) -> Result<usize, Refusal> {
    let database = Database::open(url)?;
    let connection = database.connect()?;
    let held = Arc::new(Held {
        process: std::process::id(),
        interrupt: connection.interrupt_handle(),
        state: Mutex::new(State { open: Some((connection, database)), answer: None, error: None }),
    });
    let handle = table().insert(Arc::clone(&held));
    handle.ok_or_else(Refusal::too_many_handles)
}

/// Runs `sql`, or answers why it could not be read. An error of the engine is an answer; a refusal means that the
/// handle does not own it.
pub(crate) fn query(handle: usize, sql: Result<&str, Refusal>) -> Result<Arc<CString>, Refusal> {
    let held = find(handle)?;
    let mut state = enter(&held)?;
    let State { open: Some((connection, _)), .. } = &*state else { return Err(not_open()) };
    let outcome = sql.and_then(|sql| connection.run_script(sql).map_err(Refusal::from));
    let (answer, error) = match outcome {
        Ok(result) => (answer::of_result(&result), None),
        Err(refusal) => (answer::of_refusal(&refusal), Some(texts::message(&refusal))),
    };
    let answer = Arc::new(answer);
    state.error = error;
    state.answer = Some(Arc::clone(&answer));
    Ok(answer)
}

/// The message of the handle's last call, if it failed.
pub(crate) fn last_error(handle: usize) -> Result<Option<Arc<CString>>, Refusal> {
    let held = find(handle)?;
    let state = enter(&held)?;
    Ok(state.error.clone())
}

/// Takes the handle out of the table, interrupts a running call, waits for it, and closes the connection.
pub(crate) fn close(handle: usize) -> Result<(), Refusal> {
    if handle == 0 {
        return Ok(());
    }
    // A copy that fork() made is left alone: closing it would work on the parent's file.
    find(handle)?;
    let removed = table().remove(handle);
    let held = removed.ok_or_else(not_open)?;
    let mut state = stop(&held);
    state.answer = None;
    state.error = None;
    let open = state.open.take();
    drop(state);
    if let Some((connection, database)) = open {
        drop(connection);
        database.close()?;
    }
    Ok(())
}

fn table() -> MutexGuard<'static, Table<Held>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find(handle: usize) -> Result<Arc<Held>, Refusal> {
    let found = table().get(handle);
    let held = found.ok_or_else(not_open)?;
    if held.process != std::process::id() {
        return Err(Refusal::misuse("the handle was opened before fork(): it belongs to the parent process"));
    }
    Ok(held)
}

fn enter(held: &Held) -> Result<MutexGuard<'_, State>, Refusal> {
    held.state.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            Refusal::misuse("the handle is running another call: open one handle for each thread")
        }
        TryLockError::Poisoned(_) => {
            Refusal::misuse("an internal error broke this handle: close it and open another")
        }
    })
}

/// Interrupts until no call runs. Once is not enough: an interrupt that arrives before the engine has begun the
/// call, or between two statements of a script, finds nothing to stop.
fn stop(held: &Held) -> MutexGuard<'_, State> {
    let door = <dyn Door>::system();
    loop {
        match held.state.try_lock() {
            Ok(state) => return state,
            Err(TryLockError::Poisoned(broken)) => return broken.into_inner(),
            Err(TryLockError::WouldBlock) => {
                held.interrupt.interrupt();
                door.sleep(INTERRUPT_INTERVAL);
            }
        }
    }
}

fn not_open() -> Refusal {
    Refusal::misuse("not an open handle")
}

/// Slots with generations.
struct Table<T> {
    slots: Vec<Slot<T>>,
    /// Vacant slots, longest vacant first.
    vacant: VecDeque<usize>,
}

struct Slot<T> {
    /// Of the handle that is open, or that will be next.
    generation: usize,
    held: Option<Arc<T>>,
}

impl<T> Table<T> {
    const fn new() -> Self {
        Self { slots: Vec::new(), vacant: VecDeque::new() }
    }

    /// The new handle, or none when every index is in use or retired.
    fn insert(&mut self, held: Arc<T>) -> Option<usize> {
        let index = match self.vacant.pop_front() {
            Some(index) => index,
            None if self.slots.len() <= INDEX_MASK => {
                self.slots.push(Slot { generation: 1, held: None });
                self.slots.len() - 1
            }
            None => return None,
        };
        let slot = self.slots.get_mut(index)?;
        slot.held = Some(held);
        Some(slot.generation << INDEX_BITS | index)
    }

    fn get(&self, handle: usize) -> Option<Arc<T>> {
        let slot = self.slots.get(handle & INDEX_MASK)?;
        slot.held.as_ref().filter(|_| slot.generation == handle >> INDEX_BITS).cloned()
    }

    fn remove(&mut self, handle: usize) -> Option<Arc<T>> {
        let index = handle & INDEX_MASK;
        let slot = self.slots.get_mut(index).filter(|slot| slot.generation == handle >> INDEX_BITS)?;
        let held = slot.held.take()?;
        if slot.generation < GENERATION_MAX {
            slot.generation += 1;
            self.vacant.push_back(index);
        }
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_names_one_thing_only() {
        let mut table = Table::new();
        let first = table.insert(Arc::new("a")).unwrap();
        assert_eq!(table.get(first).as_deref(), Some(&"a"));
        assert_eq!(table.remove(first).as_deref(), Some(&"a"));
        assert_eq!(table.remove(first), None);
        let second = table.insert(Arc::new("b")).unwrap();
        assert_ne!(first, second);
        assert_eq!(second & INDEX_MASK, first & INDEX_MASK, "the slot is used again");
        assert_eq!(table.get(first), None);
        assert_eq!(table.get(second).as_deref(), Some(&"b"));
    }

    #[test]
    fn numbers_never_returned_name_nothing() {
        let mut table = Table::new();
        let handle = table.insert(Arc::new(())).unwrap();
        for wrong in [0, 1, handle - 1, handle + 1, handle ^ 1 << INDEX_BITS, usize::MAX] {
            assert!(table.get(wrong).is_none() && table.remove(wrong).is_none(), "{wrong:#x}");
        }
    }

    #[test]
    fn a_slot_out_of_generations_is_retired() {
        let mut table = Table::new();
        table.insert(Arc::new(0)).unwrap();
        table.slots[0].generation = GENERATION_MAX;
        let last = GENERATION_MAX << INDEX_BITS;
        assert!(table.remove(last).is_some());
        let next = table.insert(Arc::new(1)).unwrap();
        assert_eq!(next & INDEX_MASK, 1, "index 0 is not used again");
        assert!(table.get(last).is_none());
    }

    #[test]
    fn a_handle_whose_call_panicked_is_refused_until_it_is_closed() {
        let handle = open(":memory:").unwrap();
        let held = find(handle).unwrap();
        let call = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _state = held.state.lock();
            panic!("inside a call");
        }));
        assert!(call.is_err());
        let refusal = query(handle, Ok("SELECT 1")).unwrap_err();
        assert!(refusal.code == 21 && refusal.message.contains("internal error"), "{}", refusal.message);
        assert!(last_error(handle).unwrap_err().message.contains("internal error"));
        assert!(close(handle).is_ok());
        assert_eq!(query(handle, Ok("SELECT 1")).unwrap_err().message, "not an open handle");
    }

    #[test]
    fn a_full_table_says_so() {
        let mut table = Table::new();
        let held = Arc::new(());
        for _ in 0..=INDEX_MASK {
            table.insert(Arc::clone(&held)).unwrap();
        }
        assert_eq!(table.insert(Arc::clone(&held)), None);
        table.remove(1 << INDEX_BITS | 5).unwrap();
        assert_eq!(table.insert(held), Some(2 << INDEX_BITS | 5));
    }
}
