//! Numbers that stand for things: one table of generations, looked up without a lock that two numbers share.
//!
//! A number is `generation << INDEX_BITS | index`. A vacated slot's generation moves on before the slot is used again, and a
//! slot whose generations are used up is retired, so a number never names two things.
//!
//! Invariants:
//! 1. No number is 0, and none is above 2^53 where pointers have 64 bits: a JavaScript number holds it.
//! 2. Segments of slots are made once and never move or go; a look-up touches its own slot's lock alone.
//! 3. No lock here is held while anything is dropped.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

const INDEX_BITS: u32 = if usize::BITS >= 64 { 22 } else { 12 };
const GENERATION_BITS: u32 = if usize::BITS >= 64 { 31 } else { 20 };
const _: () = assert!(INDEX_BITS + GENERATION_BITS <= 53, "a double holds every number");
const INDEX_MASK: usize = (1 << INDEX_BITS) - 1;
const GENERATION_MAX: usize = (1 << GENERATION_BITS) - 1;

/// Slots of the first segment; each further one has twice as many as the one before.
const SEGMENT_SLOTS: usize = 64;
const SEGMENTS: usize = (INDEX_BITS - SEGMENT_SLOTS.trailing_zeros() + 1) as usize;

/// The table.
pub(crate) struct Table<T> {
    segments: [OnceLock<Box<[Slot<T>]>>; SEGMENTS],
    vacant: Mutex<Vacant>,
}

struct Vacant {
    /// Vacated slots, longest vacant first.
    indices: VecDeque<usize>,
    /// Slots that were ever used.
    used: usize,
}

struct Slot<T>(Mutex<Content<T>>);

struct Content<T> {
    /// Of the number that is in use, or that will be next.
    generation: usize,
    held: Option<T>,
}

impl<T> Slot<T> {
    fn content(&self) -> MutexGuard<'_, Content<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Table<T> {
    pub(crate) const fn new() -> Self {
        Self {
            segments: [const { OnceLock::new() }; SEGMENTS],
            vacant: Mutex::new(Vacant { indices: VecDeque::new(), used: 0 }),
        }
    }

    /// A new number for what `make` makes of it, or none when every index is in use or retired.
    pub(crate) fn insert(&self, make: impl FnOnce(usize) -> T) -> Option<usize> {
        let index = {
            let mut vacant = self.vacant.lock().unwrap_or_else(PoisonError::into_inner);
            match vacant.indices.pop_front() {
                Some(index) => index,
                None if vacant.used <= INDEX_MASK => {
                    vacant.used += 1;
                    vacant.used - 1
                }
                None => return None,
            }
        };
        let (segment, offset) = place(index);
        let slots = self.segments.get(segment)?.get_or_init(|| {
            (0..SEGMENT_SLOTS << segment)
                .map(|_| Slot(Mutex::new(Content { generation: 1, held: None })))
                .collect()
        });
        let mut content = slots.get(offset)?.content();
        let number = content.generation << INDEX_BITS | index;
        content.held = Some(make(number));
        Some(number)
    }

    /// What a number stands for.
    pub(crate) fn get(&self, number: usize) -> Option<T> {
        let content = self.slot(number)?.content();
        match &content.held {
            Some(held) if content.generation == number >> INDEX_BITS => Some(held.clone()),
            _ => None,
        }
    }

    /// Takes it out if `matches`; its number names nothing from then on.
    pub(crate) fn remove(&self, number: usize, matches: impl FnOnce(&T) -> bool) -> Option<T> {
        let mut content = self.slot(number)?.content();
        if content.generation != number >> INDEX_BITS || !content.held.as_ref().is_some_and(matches) {
            return None;
        }
        let held = content.held.take();
        let is_worn = content.generation == GENERATION_MAX;
        if !is_worn {
            content.generation += 1;
        }
        drop(content);
        if !is_worn {
            let mut vacant = self.vacant.lock().unwrap_or_else(PoisonError::into_inner);
            vacant.indices.push_back(number & INDEX_MASK);
        }
        held
    }

    fn slot(&self, number: usize) -> Option<&Slot<T>> {
        let (segment, offset) = place(number & INDEX_MASK);
        self.segments.get(segment)?.get()?.get(offset)
    }
}

/// The segment of an index, and where in it.
fn place(index: usize) -> (usize, usize) {
    let segment = (index / SEGMENT_SLOTS + 1).ilog2();
    (segment as usize, index - SEGMENT_SLOTS * ((1 << segment) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_a_place_of_its_own() {
        let mut expected = (0, 0);
        for index in 0..10_000 {
            assert_eq!(place(index), expected, "{index}");
            expected.1 += 1;
            if expected.1 == SEGMENT_SLOTS << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(place(INDEX_MASK).0 < SEGMENTS);
    }

    #[test]
    fn a_number_names_one_thing_only() {
        let table = Table::new();
        let first = table.insert(|_| "a").unwrap();
        assert_eq!(table.get(first), Some("a"));
        assert_eq!(table.remove(first, |held| *held == "b"), None);
        assert_eq!(table.remove(first, |_| true), Some("a"));
        assert_eq!(table.remove(first, |_| true), None);
        let mut number = 0;
        let second = table
            .insert(|own| {
                number = own;
                "b"
            })
            .unwrap();
        assert_eq!(number, second);
        assert_ne!(first, second);
        assert_eq!(second & INDEX_MASK, first & INDEX_MASK, "the slot is used again");
        assert_eq!(table.get(first), None);
        assert_eq!(table.get(second), Some("b"));
    }

    #[test]
    fn numbers_never_returned_name_nothing() {
        let table = Table::new();
        let number = table.insert(|_| ()).unwrap();
        for wrong in [0, 1, number - 1, number + 1, number ^ 1 << INDEX_BITS, usize::MAX] {
            assert!(table.get(wrong).is_none() && table.remove(wrong, |()| true).is_none(), "{wrong:#x}");
        }
    }

    #[test]
    fn a_slot_out_of_generations_is_retired() {
        let table = Table::new();
        table.insert(|_| 0).unwrap();
        table.slot(0).unwrap().content().generation = GENERATION_MAX;
        let last = GENERATION_MAX << INDEX_BITS;
        assert!(table.remove(last, |_| true).is_some());
        let next = table.insert(|_| 1).unwrap();
        assert_eq!(next & INDEX_MASK, 1, "index 0 is not used again");
        assert!(table.get(last).is_none());
    }

    #[test]
    fn a_full_table_says_so() {
        let table = Table::new();
        for _ in 0..=INDEX_MASK {
            table.insert(|_| ()).unwrap();
        }
        assert_eq!(table.insert(|_| ()), None);
        table.remove(1 << INDEX_BITS | 5, |()| true).unwrap();
        assert_eq!(table.insert(|_| ()), Some(2 << INDEX_BITS | 5));
    }
}
