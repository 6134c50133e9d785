//! Random operations, one thread, against a model: the history as a list of whole states.
//!
//! Invariants of the model:
//! 1. `states[i]` is what the commit of LSN `first + i` left; the last one is the newest appended.
//! 2. `acknowledged` is the newest state known to be durable; what is shown lies between it and the newest.
//! 3. While durability is held back nothing shown is newer than `ceiling`, the newest state when that began.

use twill_types::Lsn;
use twill_types::seeded::Chance;

use super::scene::{Content, Db, Draft, End, Names, Seeded, bytes_of, page_no, pages, size};
use super::{Ability, Backend, Fault};
use crate::{PageImage, Snapshot, StorageError, Wait, WriteTicket};

/// Thousands of random operations; `TWILL_SEED` and `TWILL_STEPS` repeat or lengthen a run.
pub(super) fn random_operations_match_a_model<B: Backend>(backend: &B) {
    let seeded = Seeded::new("random_operations_match_a_model", 6000);
    let mut chance = Chance::from_seed(seeded.seed);
    let mut names = Names::default();
    let mut left = seeded.steps;
    while left > 0 {
        let mut model = Life::start(Db::new(backend), &mut chance, &mut names);
        let mut alive = true;
        while alive && left > 0 {
            left -= 1;
            alive = model.live_on(&mut left);
        }
        model.end();
    }
}

/// One database from its creation on.
struct Life<'m, 'b, B: Backend> {
    db: Db<'b, B>,
    chance: &'m mut Chance,
    names: &'m mut Names,
    first: Lsn,
    states: Vec<Content>,
    acknowledged: usize,
    pins: Vec<(Snapshot, usize)>,
    ticket: Option<WriteTicket>,
}

impl<'m, 'b, B: Backend> Life<'m, 'b, B> {
    fn start(db: Db<'b, B>, chance: &'m mut Chance, names: &'m mut Names) -> Self {
        let first = db.snapshot().lsn();
        let states = vec![Content::empty()];
        Self { db, chance, names, first, states, acknowledged: 0, pins: Vec::new(), ticket: None }
    }

    fn newest(&self) -> usize {
        self.states.len() - 1
    }

    /// The index of a state by its LSN.
    fn index(&self, at: &Snapshot) -> usize {
        let index =
            at.lsn().get().checked_sub(self.first.get()).and_then(|index| usize::try_from(index).ok());
        index.filter(|index| *index < self.states.len()).unwrap_or_else(|| panic!("{:?} never was", at.id()))
    }

    /// A random stretch of operations. False when this database is at its end.
    fn live_on(&mut self, left: &mut u32) -> bool {
        match self.chance.below(200) {
            0..=3 => self.hold(left),
            4..=7 => return self.fault(),
            8..=10 if self.db.offers(Ability::Reopen) => self.reopen(),
            11..=13 if self.db.offers(Ability::Crash) => self.crash(),
            14..=17 => {
                let done = self.db.storage.checkpoint().unwrap();
                assert!(done.moved_pages <= done.log_pages, "{done:?}");
            }
            18..=57 => self.acknowledge(),
            _ => self.step(None),
        }
        true
    }

    /// One operation that is allowed while durability is held back.
    fn step(&mut self, ceiling: Option<usize>) {
        match self.chance.below(20) {
            0..=2 => self.begin(),
            3 => drop(self.ticket.take()),
            4..=8 => self.append(),
            9 => self.break_a_rule(),
            10..=12 => self.look(ceiling),
            13 if !self.pins.is_empty() => {
                let index = self.any_pin();
                self.pins.swap_remove(index);
            }
            _ => self.read(),
        }
    }

    fn any_pin(&mut self) -> usize {
        self.chance.below(u32::try_from(self.pins.len()).unwrap()) as usize
    }

    fn begin(&mut self) {
        if self.ticket.is_some() {
            let outcome = self.db.storage.begin_write(Wait::none());
            assert!(matches!(outcome, Err(StorageError::Busy { .. })), "a taken slot answers {outcome:?}");
            return;
        }
        let ticket = self.db.begin();
        assert_eq!(self.index(ticket.base()), self.newest(), "a writer starts from the newest state");
        self.ticket = Some(ticket);
    }

    fn draft(&mut self) -> Draft {
        let newest = &self.states[self.newest()];
        let count = match self.chance.below(4) {
            0 => 1 + self.chance.below(24),
            1 => newest.count + 1 + self.chance.below(3),
            _ => newest.count.max(1),
        };
        Draft::new(count, pages(self.chance, count))
    }

    fn append(&mut self) {
        if self.ticket.is_none() {
            self.begin();
        }
        let draft = self.draft();
        let ticket = self.ticket.take().expect("begun");
        let at = draft.append(&*self.db.storage, ticket).expect("an append");
        self.states.push(self.states[self.newest()].after(&draft));
        assert_eq!(self.index(&at), self.newest(), "a commit follows the newest one");
        assert_eq!(at.page_count(), draft.count);
        self.names.meet(at.id(), &self.states[self.newest()]);
        if self.chance.one_in(3) {
            self.pins.push((at, self.newest()));
        }
    }

    fn break_a_rule(&mut self) {
        if self.ticket.is_none() {
            self.begin();
        }
        let ticket = self.ticket.take().expect("begun");
        let bytes = bytes_of(size(512), 1, 1);
        let page = |number| PageImage { page: page_no(number), bytes: &bytes };
        let (count, pages) = match self.chance.below(4) {
            0 => (4, vec![]),
            1 => (4, vec![page(3), page(2)]),
            2 => (4, vec![page(5)]),
            _ => (4, vec![PageImage { page: page_no(1), bytes: &bytes[1..] }]),
        };
        let commit = crate::Commit { page_size: size(512), page_count: count, pages: &pages };
        let outcome = self.db.storage.append(ticket, commit);
        assert!(matches!(outcome, Err(StorageError::Invalid { .. })), "{outcome:?}");
    }

    /// What `snapshot` shows is durable, whole and never goes back.
    fn look(&mut self, ceiling: Option<usize>) {
        let at = self.db.snapshot();
        let index = self.index(&at);
        assert!(index >= self.acknowledged, "snapshot() went back, or lost an acknowledged commit");
        assert!(index <= ceiling.unwrap_or(index), "snapshot() is ahead of durability");
        self.acknowledged = index;
        self.names.meet(at.id(), &self.states[index]);
        if ceiling.is_none() {
            // While durability is held back this would hang instead of fail, should the state not be durable.
            self.db.storage.wait_durable(&at).unwrap();
        }
        if self.chance.one_in(4) {
            self.db.assert_shows(&at, &self.states[index], "a snapshot");
        }
        if self.pins.len() < 12 {
            self.pins.push((at, index));
        }
    }

    fn read(&mut self) {
        if self.pins.is_empty() {
            return;
        }
        let chosen = self.any_pin();
        let (at, index) = &self.pins[chosen];
        let state = &self.states[*index];
        if self.chance.one_in(10) {
            self.db.assert_shows(at, state, "pinned");
        } else if state.count > 0 {
            let page = 1 + self.chance.below(state.count);
            if self.chance.one_in(4) {
                self.db.storage.prefetch(at, &[page_no(page)]);
            }
            let stamp = self.db.read(at, page);
            assert_eq!(stamp, state.stamps.get(&page).copied().unwrap_or(0), "page {page} of {:?}", at.id());
        }
    }

    /// Waits for some state, often the newest.
    fn acknowledge(&mut self) {
        let (at, index) = if self.ticket.is_none() && self.chance.one_in(2) {
            (self.db.begin().base().clone(), self.newest())
        } else if self.pins.is_empty() {
            return;
        } else {
            let chosen = self.any_pin();
            self.pins[chosen].clone()
        };
        self.db.storage.wait_durable(&at).unwrap();
        self.acknowledged = self.acknowledged.max(index);
    }

    /// Some operations while nothing becomes durable.
    fn hold(&mut self, left: &mut u32) {
        if !self.db.offers(Ability::Hold) {
            return;
        }
        let held = self.db.hold();
        let ceiling = self.newest();
        for _ in 0..self.chance.below(20).min(*left) {
            *left -= 1;
            self.step(Some(ceiling));
        }
        drop(held);
    }

    /// Lets the next commits fail. False when the database cannot be opened again afterwards.
    fn fault(&mut self) -> bool {
        let faults = [Fault::NotApplied, Fault::Indeterminate, Fault::Full];
        let fault = faults[self.chance.below(3) as usize];
        if !self.db.offers(Ability::Fail(fault)) {
            return true;
        }
        drop(self.ticket.take());
        if fault == Fault::Full {
            self.db.fail_next(fault);
            let outcome = self.draft().append(&*self.db.storage, self.db.begin());
            assert!(matches!(outcome, Err(StorageError::Full { .. })), "{outcome:?}");
            return true;
        }
        let newest = self.db.begin().base().clone();
        self.db.storage.wait_durable(&newest).unwrap();
        drop(newest);
        let durable = self.newest();
        self.acknowledged = durable;
        self.db.fail_next(fault);
        let draft = self.draft();
        self.states.push(self.states[durable].after(&draft));
        let error = self.db.try_commit(&draft).expect_err("a failed commit was acknowledged");
        let unknown = matches!(error, StorageError::Indeterminate { .. });
        assert!(unknown || fault == Fault::NotApplied, "an unknown outcome was told as {error:?}");
        match self.db.try_begin() {
            Err(StorageError::Poisoned { .. } | StorageError::Fenced { .. }) => {}
            other => panic!("a poisoned storage answers {other:?}"),
        }
        let seen = self.db.snapshot();
        assert_eq!(self.index(&seen), durable, "a poisoned storage shows its newest durable state");
        self.db.assert_shows(&seen, &self.states[durable], "poisoned");
        drop(seen);
        for _ in 0..10 {
            self.read();
        }
        if !unknown {
            self.states.pop();
        }
        if !self.db.offers(Ability::Reopen) {
            return false;
        }
        self.again(End::Failed);
        true
    }

    fn reopen(&mut self) {
        drop(self.ticket.take());
        self.acknowledged = self.newest();
        self.again(End::Closed);
    }

    fn crash(&mut self) {
        self.again(End::Crashed);
    }

    /// Opens again: what is found was acknowledged or came later, and it is a whole state.
    fn again(&mut self, end: End) {
        self.pins.clear();
        let ticket = self.ticket.take();
        self.db.open_again(end);
        drop(ticket);
        let at = self.db.snapshot();
        let found = Content::read(&*self.db.storage, &at);
        let same = |state: &Content| state.count == found.count && state.stamps == found.stamps;
        let survived = self.states.iter().rposition(same);
        let survived = survived
            .unwrap_or_else(|| panic!("opened again, {:?} shows {found:?}, which never was", at.id()));
        assert!(survived >= self.acknowledged, "opened again, an acknowledged commit is lost");
        self.names.meet(at.id(), &found);
        self.states = vec![found];
        self.first = at.lsn();
        self.acknowledged = 0;
    }

    /// Everything appended and not failed is there in the end.
    fn end(self) {
        let Self { db, states, pins, ticket, .. } = self;
        drop((pins, ticket));
        if db.try_begin().is_ok() {
            db.storage.close().expect("a clean close");
            if db.offers(Ability::Reopen) {
                let db = db.reopen();
                db.assert_shows(&db.snapshot(), &states[states.len() - 1], "at the end");
            }
        }
    }
}
