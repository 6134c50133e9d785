//! What writers and readers see of each other through the shim: durability, queueing, failures.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    dead_code,
    reason = "test code"
)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use common::{connect, place};
use twill_types::{Door, Lsn, PageNo};
use twill_vfs_trait::{
    Checkpointed, Commit, Medium, MemoryStorage, Snapshot, Storage, StorageError, Wait, WriteTicket,
};

/// A medium that persists only when told, or fails.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
    persists: AtomicU64,
}

#[derive(Default)]
struct State {
    closed: bool,
    waiting: u64,
    failure: Option<StorageError>,
}

struct Gated(Arc<Gate>);

impl Medium for Gated {
    fn persist(&self, _: Lsn, _: Lsn) -> Result<(), StorageError> {
        self.0.persists.fetch_add(1, Ordering::SeqCst);
        let mut state = self.0.state.lock().unwrap();
        state.waiting += 1;
        self.0.changed.notify_all();
        state = self.0.changed.wait_while(state, |state| state.closed).unwrap();
        state.waiting -= 1;
        state.failure.take().map_or(Ok(()), Err)
    }
}

impl Gate {
    fn set(&self, closed: bool) {
        self.state.lock().unwrap().closed = closed;
        self.changed.notify_all();
    }

    fn wait_until_persisting(&self) {
        drop(self.changed.wait_while(self.state.lock().unwrap(), |state| state.waiting == 0).unwrap());
    }

    fn fail_next(&self, failure: StorageError) {
        self.state.lock().unwrap().failure = Some(failure);
    }
}

/// A storage at `name` with a table `t(a UNIQUE)`, behind an open gate.
fn gated(name: &str) -> (Arc<Gate>, Arc<MemoryStorage>) {
    let gate = Arc::new(Gate::default());
    let storage =
        Arc::new(MemoryStorage::with_medium(<dyn Door>::system(), Box::new(Gated(Arc::clone(&gate)))));
    place(name, Arc::clone(&storage) as Arc<dyn Storage>);
    connect(name).run("CREATE TABLE t(a UNIQUE)");
    (gate, storage)
}

fn indeterminate() -> StorageError {
    StorageError::Indeterminate { what: "lost reply".to_owned(), source: None }
}

#[test]
fn writers_queue_fairly_and_share_persists() {
    let (gate, storage) = gated("queue");
    let before = gate.persists.load(Ordering::SeqCst);
    gate.set(true);
    std::thread::scope(|scope| {
        for writer in 0..16 {
            scope.spawn(move || {
                let one = connect("queue");
                one.session.prelock(&["main"]).unwrap();
                one.run(&format!("INSERT INTO t VALUES ({writer})"));
                one.session.settle().unwrap();
            });
        }
        gate.wait_until_persisting();
        // All sixteen have appended once the ticket's base says so, though not one is durable.
        while storage.begin_write(Wait::forever()).unwrap().base().lsn().get() < 17 {
            std::thread::yield_now();
        }
        assert_eq!(storage.snapshot().unwrap().lsn(), Lsn::new(1));
        gate.set(false);
    });
    assert_eq!(connect("queue").rows("SELECT count(*) FROM t"), "16");
    assert_eq!(gate.persists.load(Ordering::SeqCst) - before, 2, "the first commit, then the fifteen others");
}

#[test]
fn without_a_reservation_a_write_retries_from_the_newest_appended_state() {
    let (gate, storage) = gated("retry");
    gate.set(true);
    std::thread::scope(|scope| {
        scope.spawn(|| connect("retry").run("INSERT INTO t VALUES (1)"));
        gate.wait_until_persisting();
        scope.spawn(|| connect("retry").run("INSERT INTO t SELECT max(a) + 1 FROM t"));
        while storage.begin_write(Wait::forever()).unwrap().base().lsn().get() < 3 {
            std::thread::yield_now();
        }
        gate.set(false);
    });
    assert_eq!(connect("retry").rows("SELECT group_concat(a) FROM t"), "1,2");
}

#[test]
fn settling_later_moves_the_wait_and_its_outcome_out_of_the_statement() {
    let (gate, storage) = gated("later");
    gate.set(true);
    let one = connect("later");
    let appended = |sql: &str| {
        one.session.prelock(&["main"]).unwrap();
        let (code, newest) = one.session.settling_later(|| one.code(sql));
        assert_eq!(code, 0);
        newest.unwrap().1
    };
    let before = one.session.last_commit();
    let first = appended("INSERT INTO t VALUES (1)");
    assert_eq!(one.session.last_commit(), before, "not durable, so not told");
    assert_eq!(storage.snapshot().unwrap().lsn(), Lsn::new(1));
    std::thread::scope(|scope| {
        let settling = scope.spawn(|| one.session.settle());
        gate.wait_until_persisting();
        assert!(!settling.is_finished());
        gate.set(false);
        settling.join().unwrap().unwrap();
    });
    assert_eq!(one.session.last_commit(), Some(first.id()));
    // One that changes nothing has read a state that must become durable.
    let again = appended("INSERT OR IGNORE INTO t VALUES (1)");
    assert_eq!(again.id(), first.id());
    one.session.settle().unwrap();
    gate.fail_next(indeterminate());
    let lost = appended("INSERT INTO t VALUES (2)");
    assert!(matches!(one.session.settle(), Err(StorageError::Indeterminate { .. })));
    assert_ne!(one.session.last_commit(), Some(lost.id()));
    assert_eq!(one.rows("SELECT a FROM t"), "1", "its own cache does not show what is not durable");
    // The next statement waits for its commit by itself again.
    drop(one.session.settling_later(|| ()));
    assert_ne!(one.code("INSERT INTO t VALUES (3)"), 0, "poisoned");
}

#[test]
fn settling_later_a_statement_meets_a_schema_that_is_not_durable_yet() {
    let (gate, _storage) = gated("schema-later");
    let one = connect("schema-later");
    assert_eq!(one.rows("SELECT count(*) FROM t"), "0");
    gate.set(true);
    std::thread::scope(|scope| {
        scope.spawn(|| connect("schema-later").run("CREATE TABLE u(y)"));
        gate.wait_until_persisting();
        one.session.prelock(&["main"]).unwrap();
        // Compiled for the schema before; it compiles itself again, for the one that was appended.
        let (code, newest) = one.session.settling_later(|| one.code("INSERT INTO t VALUES (5)"));
        gate.set(false);
        assert_eq!(code, 0);
        assert_eq!(newest.unwrap().1.lsn(), Lsn::new(3));
        one.session.settle().unwrap();
    });
    assert_eq!(one.rows("SELECT a FROM t"), "5");
}

#[test]
fn a_write_that_changes_nothing_waits_for_what_it_read() {
    let (gate, _storage) = gated("no-commit");
    gate.set(true);
    gate.fail_next(indeterminate());
    std::thread::scope(|scope| {
        let first = scope.spawn(|| connect("no-commit").code("INSERT INTO t VALUES (1)"));
        gate.wait_until_persisting();
        let second = scope.spawn(|| {
            let one = connect("no-commit");
            one.session.prelock(&["main"]).unwrap();
            let code = one.code("INSERT OR IGNORE INTO t VALUES (1)");
            (code, one.session.take_error())
        });
        std::thread::sleep(Duration::from_millis(50));
        assert!(!second.is_finished(), "the row it ignored is not durable");
        gate.set(false);
        assert_eq!(first.join().unwrap(), 1034);
        let (code, error) = second.join().unwrap();
        assert_ne!(code, 0);
        assert!(matches!(error, Some(StorageError::Indeterminate { .. } | StorageError::Poisoned { .. })));
    });
    assert_eq!(connect("no-commit").rows("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_failed_commit_rolls_back_and_poisons_writes_but_not_reads() {
    let (gate, _storage) = gated("fail");
    let one = connect("fail");
    one.run("INSERT INTO t VALUES (1)");
    gate.fail_next(indeterminate());
    one.run("PRAGMA cache_size=5; BEGIN");
    one.run("WITH RECURSIVE n(i) AS (VALUES(2) UNION ALL SELECT i+1 FROM n WHERE i<2000) INSERT INTO t SELECT hex(zeroblob(100)) || i FROM n");
    assert_eq!(one.code("COMMIT"), 1034);
    assert!(matches!(one.session.take_error(), Some(StorageError::Indeterminate { .. })));
    assert!(one.db.is_autocommit());
    assert_eq!(one.rows("SELECT a FROM t"), "1");
    assert_eq!(one.code("INSERT INTO t VALUES (2)"), 778);
    assert!(matches!(one.session.take_error(), Some(StorageError::Poisoned { .. })));
    assert_eq!(one.rows("SELECT a FROM t"), "1");
    assert_eq!(connect("fail").rows("PRAGMA integrity_check"), "ok");
}

#[test]
fn a_reader_that_turns_writer_on_an_old_snapshot_gets_busy_snapshot() {
    let (_gate, storage) = gated("stale");
    let (one, two) = (connect("stale"), connect("stale"));
    one.run("BEGIN");
    assert_eq!(one.rows("SELECT count(*) FROM t"), "0");
    two.run("INSERT INTO t VALUES (1)");
    assert_eq!(one.code("INSERT INTO t VALUES (2)"), 517);
    assert_eq!(one.rows("SELECT count(*) FROM t"), "0", "the transaction stays open and readable");
    drop(storage.begin_write(Wait::none()).expect("the slot was given back"));
    one.run("ROLLBACK; INSERT INTO t VALUES (2)");
    assert_eq!(one.rows("SELECT count(*) FROM t"), "2");
    one.run("BEGIN");
    assert_eq!(one.rows("SELECT count(*) FROM t"), "2");
    one.run("INSERT INTO t VALUES (3); COMMIT");
}

#[test]
fn readers_keep_their_snapshot_across_commits() {
    let (_gate, _storage) = gated("snapshot");
    let (one, two) = (connect("snapshot"), connect("snapshot"));
    two.run("INSERT INTO t VALUES (1)");
    one.run("BEGIN");
    assert_eq!(one.rows("SELECT count(*) FROM t"), "1");
    two.run("INSERT INTO t VALUES (2); DELETE FROM t WHERE a = 1; CREATE TABLE u(x)");
    assert_eq!(one.rows("SELECT a FROM t"), "1");
    assert_eq!(one.code("SELECT * FROM u"), 1);
    one.run("COMMIT");
    assert_eq!(one.rows("SELECT a FROM t"), "2");
    assert_eq!(one.rows("SELECT count(*) FROM u"), "0");
}

#[test]
fn the_busy_timeout_is_honoured_once_and_an_interrupt_ends_the_wait() {
    let (_gate, storage) = gated("busy");
    let held = storage.begin_write(Wait::none()).unwrap();
    let one = connect("busy");
    one.run("PRAGMA busy_timeout=60");
    assert_eq!(one.code("INSERT INTO t VALUES (1)"), 5);
    assert_eq!(one.session.busy_timeout().as_millis(), 60, "set before the first access");
    assert!(matches!(one.session.take_error(), Some(StorageError::Busy { .. })));
    one.run("PRAGMA busy_timeout=0");
    assert_eq!(one.code("INSERT INTO t VALUES (1)"), 5);
    one.run("PRAGMA busy_timeout=100000");
    let cancel = one.session.cancel().clone();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let one = one;
            (one.code("INSERT INTO t VALUES (1)"), one)
        });
        std::thread::sleep(Duration::from_millis(20));
        cancel.cancel();
        let (code, one) = waiting.join().unwrap();
        assert_eq!(code, 9);
        cancel.reset();
        drop(held);
        one.run("INSERT INTO t VALUES (1)");
        assert_eq!(one.rows("SELECT count(*) FROM t"), "1");
    });
}

#[test]
fn a_statement_that_stands_never_goes_on_from_a_state_that_is_not_durable() {
    for reader in ["SELECT a FROM t", "SELECT name FROM b.sqlite_schema UNION ALL SELECT 2"] {
        let name = format!("standing{}", reader.len());
        let (gate, _storage) = gated(&name);
        let one = connect(&name);
        one.run("ATTACH 'standing-b' AS b; CREATE TABLE IF NOT EXISTS b.u(x)");
        one.run("INSERT INTO t VALUES (1), (2)");
        let mut standing = one.db.prepare(reader).unwrap();
        let mut rows = standing.query([]).unwrap();
        assert!(rows.next().unwrap().is_some());
        gate.fail_next(indeterminate());
        let (code, newest) = one.session.settling_later(|| one.code("INSERT INTO t VALUES (3)"));
        let settled = one.session.settle();
        assert!(code != 0 || settled.is_err(), "it is told");
        assert!(newest.is_none(), "nothing is left to wait for");
        // Perhaps the failed commit ended the statement; if not, it stands on what was durable.
        while let Ok(Some(row)) = rows.next() {
            assert_ne!(row.get_ref(0).unwrap().as_i64().ok(), Some(3));
        }
        assert_eq!(one.rows("SELECT count(*) FROM t"), "2");
    }
}

#[test]
fn an_unused_reservation_is_given_back() {
    let (_gate, storage) = gated("unused");
    let one = connect("unused");
    one.session.prelock(&["main", "temp", "nowhere"]).unwrap();
    assert!(storage.begin_write(Wait::none()).is_err());
    assert_eq!(one.code("INSERT INTO missing VALUES (1)"), 1);
    one.session.settle().unwrap();
    drop(storage.begin_write(Wait::none()).unwrap());
}

#[test]
fn a_commit_over_two_databases_is_atomic_in_each_but_not_as_one() {
    let (gate, _storage) = gated("pair-b");
    let one = connect("pair-a");
    one.run("CREATE TABLE t(a); ATTACH 'pair-b' AS b");
    gate.fail_next(indeterminate());
    one.run(
        "BEGIN; INSERT INTO main.t VALUES (1); INSERT INTO main.t SELECT hex(zeroblob(3000)) FROM main.t",
    );
    one.run("INSERT INTO b.t VALUES (1)");
    assert_eq!(one.code("COMMIT"), 1034, "told as indeterminate, because one of the two is");
    assert_eq!(one.rows("SELECT count(*) FROM main.t"), "2", "main had its own durable commit");
    assert_eq!(connect("pair-a").rows("SELECT count(*) FROM t"), "2");
    assert_eq!(connect("pair-a").rows("PRAGMA integrity_check"), "ok");
    assert_eq!(connect("pair-b").rows("SELECT count(*) FROM t"), "0", "never half of b's");
    one.run("INSERT INTO main.t VALUES (3)");
    assert_eq!(one.rows("SELECT count(*) FROM main.t"), "3");
}

/// Answers the next append with Full, applying nothing.
struct FullOnce {
    inner: MemoryStorage,
    full: AtomicBool,
}

impl Storage for FullOnce {
    fn snapshot(&self) -> Result<Snapshot, StorageError> {
        self.inner.snapshot()
    }
    fn read_page(&self, at: &Snapshot, page: PageNo, buf: &mut [u8]) -> Result<(), StorageError> {
        self.inner.read_page(at, page, buf)
    }
    fn begin_write(&self, wait: Wait) -> Result<WriteTicket, StorageError> {
        self.inner.begin_write(wait)
    }
    fn append(&self, ticket: WriteTicket, commit: Commit<'_>) -> Result<Snapshot, StorageError> {
        if self.full.swap(false, Ordering::SeqCst) {
            return Err(StorageError::Full { what: "test".to_owned(), source: None });
        }
        self.inner.append(ticket, commit)
    }
    fn wait_durable(&self, at: &Snapshot) -> Result<(), StorageError> {
        self.inner.wait_durable(at)
    }
    fn prefetch(&self, at: &Snapshot, pages: &[PageNo]) {
        self.inner.prefetch(at, pages);
    }
    fn checkpoint(&self) -> Result<Checkpointed, StorageError> {
        self.inner.checkpoint()
    }
    fn close(&self) -> Result<(), StorageError> {
        self.inner.close()
    }
}

#[test]
fn a_full_medium_fails_the_transaction_whole_and_the_next_one_works() {
    let storage = Arc::new(FullOnce { inner: MemoryStorage::new(), full: AtomicBool::new(false) });
    place("full", Arc::clone(&storage) as Arc<dyn Storage>);
    let one = connect("full");
    one.run("PRAGMA cache_size=5; CREATE TABLE t(a)");
    let insert = "WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<1000) INSERT INTO t SELECT hex(zeroblob(100)) FROM n";
    storage.full.store(true, Ordering::SeqCst);
    assert_eq!(one.code(insert), 13);
    assert_eq!(one.rows("SELECT count(*) FROM t"), "0");
    one.run(insert);
    assert_eq!(one.rows("SELECT count(*) FROM t"), "1000");
    assert_eq!(connect("full").rows("PRAGMA integrity_check"), "ok");
}

/// A storage in which another connection commits right after the nth snapshot was taken.
struct Overtaken {
    inner: Arc<MemoryStorage>,
    snapshots_left: AtomicU64,
    direct: String,
}

impl Storage for Overtaken {
    fn snapshot(&self) -> Result<Snapshot, StorageError> {
        let snapshot = self.inner.snapshot();
        if self.snapshots_left.fetch_sub(1, Ordering::SeqCst) == 1 {
            connect(&self.direct).run("CREATE TABLE t(a); INSERT INTO t VALUES (1)");
        }
        snapshot
    }
    fn read_page(&self, at: &Snapshot, page: PageNo, buf: &mut [u8]) -> Result<(), StorageError> {
        self.inner.read_page(at, page, buf)
    }
    fn begin_write(&self, wait: Wait) -> Result<WriteTicket, StorageError> {
        self.inner.begin_write(wait)
    }
    fn append(&self, ticket: WriteTicket, commit: Commit<'_>) -> Result<Snapshot, StorageError> {
        self.inner.append(ticket, commit)
    }
    fn wait_durable(&self, at: &Snapshot) -> Result<(), StorageError> {
        self.inner.wait_durable(at)
    }
    fn prefetch(&self, _: &Snapshot, _: &[PageNo]) {}
    fn checkpoint(&self) -> Result<Checkpointed, StorageError> {
        self.inner.checkpoint()
    }
    fn close(&self) -> Result<(), StorageError> {
        self.inner.close()
    }
}

#[test]
fn a_reader_of_an_empty_database_is_not_disturbed_by_its_first_commit() {
    for nth in 1..=6 {
        let (direct, name) = (format!("direct{nth}"), format!("overtaken{nth}"));
        let inner = Arc::new(MemoryStorage::new());
        place(&direct, Arc::clone(&inner) as Arc<dyn Storage>);
        let storage = Overtaken {
            inner: Arc::clone(&inner),
            snapshots_left: AtomicU64::new(nth),
            direct: direct.clone(),
        };
        place(&name, Arc::new(storage));
        let reader = connect(&name);
        let tables =
            reader.db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, u32>(0));
        assert!(matches!(tables, Ok(0 | 1)), "overtaken after snapshot {nth}: {tables:?}");
        let later: Vec<_> = (0..6).map(|_| reader.rows("SELECT count(*) FROM sqlite_schema")).collect();
        assert!(later.is_sorted() && later.last().is_some_and(|last| last == "1"), "{nth}: {later:?}");
    }
}
