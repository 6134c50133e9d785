//! What a call of the C ABI costs: `cargo run --release -p twill-c --example speed`.
//!
//! Prints nanoseconds a call (the median of rounds), over a table of 10,000 rows of five columns in a file.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::undocumented_unsafe_blocks,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "a measurement that calls an extern \"C\" surface"
)]

use std::time::Instant;

use engine::*;

const ROUNDS: usize = 9;
const OUT_BYTES: usize = 64 << 10;

fn prepare(handle: usize, sql: &str) -> usize {
    let statement = unsafe { engine_prepare(handle, sql.as_ptr().cast(), sql.len(), std::ptr::null_mut()) };
    assert_ne!(statement, 0, "{sql}");
    statement
}

/// A block of one integer.
fn block(value: i64) -> [u8; 24] {
    let mut block = [0; 24];
    block[0] = 1;
    block[8] = ENGINE_INTEGER;
    block[16..].copy_from_slice(&value.to_le_bytes());
    block
}

fn measure(what: &str, calls: usize, mut call: impl FnMut(usize)) {
    let mut rounds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            (0..calls).for_each(&mut call);
            began.elapsed().as_nanos() / calls as u128
        })
        .collect();
    rounds.sort_unstable();
    println!("{:>9} ns  {what}", rounds[ROUNDS / 2]);
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}?synchronous=off", directory.path().join("speed.db").display());
    let handle = unsafe { engine_open_with(url.as_ptr().cast(), url.len(), 0) };
    let script = c"CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER, b REAL, c TEXT, d TEXT); CREATE TABLE w(a); \
                   WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) \
                   INSERT INTO t SELECT i, i * 7, i / 3.0, 'name ' || i, 'some longer text of row ' || i FROM n";
    unsafe { engine_query(handle, script.as_ptr()) };
    let mut out = vec![0_u64; OUT_BYTES / 8];
    let memory: *mut u8 = out.as_mut_ptr().cast();

    let get = prepare(handle, "SELECT * FROM t WHERE id = ?1");
    measure("get: execute with a block, one row of five cells", 20_000, |n| {
        let block = block((n % 10_000) as i64 + 1);
        let code = unsafe {
            engine_execute(get, block.as_ptr(), block.len(), memory, OUT_BYTES, 1, ENGINE_EXECUTE_RESET)
        };
        assert_eq!(code, ENGINE_DONE);
    });
    let one = prepare(handle, "SELECT 1");
    measure("get: SELECT 1", 20_000, |_| {
        let code =
            unsafe { engine_execute(one, std::ptr::null(), 0, memory, OUT_BYTES, 1, ENGINE_EXECUTE_RESET) };
        assert_eq!(code, ENGINE_DONE);
    });
    measure("a call that does nothing: engine_reset", 200_000, |_| assert_eq!(engine_reset(one), ENGINE_OK));
    measure("engine_in_transaction", 200_000, |_| assert_eq!(engine_in_transaction(handle), 0));
    let all = prepare(handle, "SELECT * FROM t");
    measure("all: 10,000 rows of five cells, in batches of 64 KiB", 20, |_| {
        let mut code = unsafe { engine_execute(all, std::ptr::null(), 0, memory, OUT_BYTES, 0, 0) };
        while code == ENGINE_ROW {
            code = unsafe { engine_next(all, memory, OUT_BYTES, 0, 0) };
        }
        assert_eq!(code, ENGINE_DONE);
    });
    measure("step: a row of five cells", 20_000, |_| assert!(engine_step(all) >= ENGINE_ROW));
    engine_reset(all);
    measure("prepare and finalize", 5_000, |_| {
        assert_eq!(engine_finalize(prepare(handle, "SELECT * FROM t WHERE id = ?1")), ENGINE_OK);
    });
    let insert = prepare(handle, "INSERT INTO w VALUES (?1)");
    let mut run = |n: usize| {
        let block = block(n as i64);
        let code = unsafe {
            engine_execute(insert, block.as_ptr(), block.len(), memory, OUT_BYTES, 0, ENGINE_EXECUTE_DISCARD)
        };
        assert_eq!(code, ENGINE_DONE);
    };
    measure("run: an insert of its own, synchronous=off", 2_000, &mut run);
    unsafe { engine_query(handle, c"BEGIN".as_ptr()) };
    measure("run: an insert in a transaction", 20_000, &mut run);
    unsafe { engine_query(handle, c"COMMIT".as_ptr()) };
    unsafe { engine_async_start(handle, None, std::ptr::null_mut()) };
    measure("async: point read, waited for", 2_000, |n| {
        let block = block((n % 10_000) as i64 + 1);
        let request =
            unsafe { engine_async_execute(get, block.as_ptr(), block.len(), 0, 1, ENGINE_EXECUTE_RESET, 0) };
        assert_eq!(engine_async_wait(handle, request, -1), ENGINE_OK);
        assert_eq!(unsafe { engine_async_take(handle, request, memory, OUT_BYTES) }, ENGINE_DONE);
    });
    engine_close(handle);
}
