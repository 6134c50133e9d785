//! Memory holds: a million queries, and a million statements that nobody finalizes, but whose connections are closed.
//!
//! In CI a sample; `TWILL_LEAK_TIMES=1000000 cargo test --release -p twill-c --test memory` is the long run. What is held to
//! is the resident memory of the process after a warm-up: it may grow by less than a byte for each ten repetitions, or
//! by what the allocator's own slack is.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    reason = "test code that calls an extern \"C\" surface"
)]
#![cfg(target_os = "linux")]

use engine::*;

const OUT_BYTES: usize = 4096;
/// What the allocator and the page cache of the engine may keep.
const SLACK_BYTES: u64 = 8 << 20;

fn times() -> u64 {
    std::env::var("TWILL_LEAK_TIMES").map_or(20_000, |text| text.parse().unwrap())
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Runs `once` so often, and checks that the second half of it needed no more memory than the first.
fn holds_memory(what: &str, times: u64, mut once: impl FnMut(u64)) {
    (0..times / 2).for_each(&mut once);
    let half_way = resident_bytes();
    (times / 2..times).for_each(&mut once);
    let end = resident_bytes();
    println!("{what}, {times} times: {} KiB half way, {} KiB at the end", half_way / 1024, end / 1024);
    assert!(end < half_way + SLACK_BYTES + times / 10, "{what}: {half_way} bytes half way, {end} at the end");
}

fn prepare(handle: usize, sql: &str) -> usize {
    unsafe { engine_prepare(handle, sql.as_ptr().cast(), sql.len(), std::ptr::null_mut()) }
}

/// One test, so that nothing else runs in the process that is measured.
#[test]
fn queries_and_abandoned_statements_hold_memory() {
    let times = times();
    let handle = unsafe { engine_open(c"memory://leak".as_ptr()) };
    unsafe {
        engine_query(
            handle,
            c"CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 'one'), (2, zeroblob(5000))".as_ptr(),
        )
    };
    let mut out = vec![0_u8; OUT_BYTES];
    let select = prepare(handle, "SELECT a, b FROM t ORDER BY a");
    holds_memory("a query whose second batch is the library's own", times, |_| {
        let code = unsafe { engine_execute(select, std::ptr::null(), 0, out.as_mut_ptr(), OUT_BYTES, 0, 0) };
        assert_eq!(code, ENGINE_ROW);
        let code = unsafe { engine_next(select, out.as_mut_ptr(), OUT_BYTES, 0, 0) };
        assert_eq!(code, ENGINE_DONE);
        engine_batch_free(engine_batch_take(select).cast(), std::ptr::null_mut());
    });
    holds_memory("a failing query and its message", times, |_| {
        assert_eq!(prepare(handle, "SELECT nothing"), 0);
        assert!(!engine_last_error(handle).is_null());
    });
    assert_eq!(unsafe { engine_async_start(handle, None, std::ptr::null_mut()) }, ENGINE_OK);
    holds_memory("a request whose result is lent", times / 4, |_| {
        let sql = "SELECT zeroblob(5000)";
        let request = unsafe {
            engine_async_query(handle, sql.as_ptr().cast(), sql.len(), std::ptr::null(), 0, 0, 0, 0, 0)
        };
        assert_eq!(engine_async_wait(handle, request, -1), ENGINE_OK);
        let code = unsafe { engine_async_take(handle, request, out.as_mut_ptr(), OUT_BYTES) };
        assert_eq!(code, ENGINE_DONE);
        let address = usize::try_from(u64::from_le_bytes(out[56..64].try_into().unwrap())).unwrap();
        let batch: *mut u8 = std::ptr::with_exposed_provenance_mut(address);
        engine_batch_free(batch.cast(), std::ptr::null_mut());
    });
    holds_memory("100 statements that are never finalized, and their connection", times / 100, |n| {
        let handle = unsafe { engine_open(c"memory://leak".as_ptr()) };
        for _ in 0..100 {
            let statement = prepare(handle, "SELECT a, b FROM t WHERE a = ?1");
            assert_ne!(statement, 0);
            if n % 2 == 0 {
                assert_eq!(engine_step(statement), ENGINE_DONE);
            }
        }
        engine_close(handle);
    });
    engine_close(handle);
}
