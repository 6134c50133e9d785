//! Threads, chance and a replay: every thread writes down what it did and saw, and afterwards the commits are replayed
//! in their order and every sight is judged.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use twill_types::seeded::Chance;
use twill_types::{Cancel, Lsn};

use super::scene::{Content, Db, Draft, Seeded, page_no, pages, patiently};
use super::{Ability, Backend};
use crate::{Snapshot, StorageError, Wait};

const WRITERS: u32 = 4;
const READERS: u32 = 2;

/// What was seen of one state.
struct Sight {
    lsn: Lsn,
    count: u32,
    stamps: Vec<(u32, u64)>,
}

#[derive(Default)]
struct Journal {
    commits: Mutex<BTreeMap<Lsn, Draft>>,
    sights: Mutex<Vec<Sight>>,
}

impl Journal {
    fn look<B: Backend>(&self, db: &Db<'_, B>, at: &Snapshot, chance: &mut Chance) {
        let count = at.page_count();
        let looks = chance.below(6).min(count);
        let stamps = (0..looks)
            .map(|_| {
                let page = 1 + chance.below(count);
                (page, db.read(at, page))
            })
            .collect();
        self.sights.lock().unwrap().push(Sight { lsn: at.lsn(), count, stamps });
    }

    fn write<B: Backend>(&self, db: &Db<'_, B>, chance: &mut Chance) {
        let cancel = Cancel::new();
        let timeout = chance.one_in(6).then(|| Duration::from_micros(chance.below(80)));
        let wait = Wait { timeout: timeout.or(patiently().timeout), cancel: Some(cancel.clone()) };
        if chance.one_in(15) {
            cancel.cancel();
        }
        let ticket = match db.storage.begin_write(wait) {
            Ok(ticket) => ticket,
            Err(StorageError::Busy { .. }) if timeout.is_some() => return,
            Err(StorageError::Interrupted) if cancel.is_cancelled() => return,
            Err(error) => panic!("begin_write: {error}"),
        };
        self.look(db, ticket.base(), chance);
        if chance.one_in(8) {
            let base = ticket.base().clone();
            drop(ticket);
            db.storage.wait_durable(&base).unwrap();
            return;
        }
        let count = 2 + chance.below(18);
        let draft = Draft::new(count, pages(chance, count));
        let at = draft.append(&*db.storage, ticket).unwrap();
        let other = self.commits.lock().unwrap().insert(at.lsn(), draft);
        assert!(other.is_none(), "LSN {} was given twice", at.lsn());
        if chance.one_in(4) {
            self.look(db, &at, chance);
        }
        if !chance.one_in(5) {
            db.storage.wait_durable(&at).unwrap();
            assert!(db.snapshot().lsn() >= at.lsn(), "an acknowledged commit is not shown");
        }
    }

    fn read<B: Backend>(&self, db: &Db<'_, B>, pins: &mut Vec<Snapshot>, chance: &mut Chance) {
        let at = db.snapshot();
        if chance.one_in(3) {
            db.storage.prefetch(&at, &[page_no(1 + chance.below(30))]);
        }
        self.look(db, &at, chance);
        if pins.len() < 6 && chance.one_in(4) {
            pins.push(at);
        } else if !pins.is_empty() {
            let index = chance.below(u32::try_from(pins.len()).unwrap()) as usize;
            self.look(db, &pins[index], chance);
            if chance.one_in(5) {
                pins.swap_remove(index);
            }
        }
    }

    /// Replays the commits and judges every sight. Returns the last state.
    fn judge(self, start: Lsn) -> Content {
        let mut states = BTreeMap::from([(start, Content::empty())]);
        let mut content = Content::empty();
        let mut last = start;
        for (lsn, draft) in self.commits.into_inner().unwrap() {
            assert_eq!(lsn, last.next(), "a gap in the order");
            last = lsn;
            content = content.after(&draft);
            states.insert(lsn, content.clone());
        }
        for Sight { lsn, count, stamps } in self.sights.into_inner().unwrap() {
            let state = states.get(&lsn).unwrap_or_else(|| panic!("a reader saw LSN {lsn}, which never was"));
            assert_eq!(count, state.count, "page count of LSN {lsn}");
            for (page, stamp) in stamps {
                let expected = state.stamps.get(&page).copied().unwrap_or(0);
                assert_eq!(stamp, expected, "page {page} of LSN {lsn}");
            }
        }
        content
    }
}

/// Four writers that commit, roll back, time out and are interrupted, two readers that pin and unpin, a thread that
/// checkpoints.
pub(super) fn racing_threads_match_a_replay<B: Backend>(backend: &B) {
    let seeded = Seeded::new("racing_threads_match_a_replay", 1200);
    let db = Db::new(backend);
    let start = db.snapshot().lsn();
    let journal = Journal::default();
    let (writing, failed) = (AtomicU32::new(WRITERS), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for thread in 0..WRITERS + READERS {
            let (db, journal, writing, failed) = (&db, &journal, &writing, &failed);
            let mut chance = Chance::from_seed(seeded.seed ^ (u64::from(thread) << 48));
            scope.spawn(move || {
                let _failure = Flag(failed);
                if thread < WRITERS {
                    let _end = Count(writing);
                    (0..seeded.steps / WRITERS).for_each(|_| journal.write(db, &mut chance));
                    return;
                }
                let mut pins = Vec::new();
                while writing.load(Ordering::SeqCst) > 0 && !failed.load(Ordering::SeqCst) {
                    journal.read(db, &mut pins, &mut chance);
                    std::thread::yield_now();
                }
            });
        }
        scope.spawn(|| {
            while writing.load(Ordering::SeqCst) > 0 {
                db.storage.checkpoint().unwrap();
                std::thread::yield_now();
            }
        });
    });
    let newest = db.begin().base().clone();
    db.storage.wait_durable(&newest).unwrap();
    let content = journal.judge(start);
    db.assert_shows(&db.snapshot(), &content, "after the race");
    drop(newest);
    if db.offers(Ability::Reopen) {
        let db = db.reopen();
        db.assert_shows(&db.snapshot(), &content, "reopened after the race");
    }
}

/// Raised when its thread panics, so that the others stop.
struct Flag<'a>(&'a AtomicBool);

impl Drop for Flag<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

/// Counts down when its thread ends, in whatever way.
struct Count<'a>(&'a AtomicU32);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
