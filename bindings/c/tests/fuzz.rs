//! Random calls of the whole ABI, in random order, from many threads on the same handles: none crashes, none hangs.
//!
//! Each thread draws its calls from the seed and its own number; handles of every kind, right and wrong ones, live and dead,
//! are in one pool that all draw from. What is checked is what must hold whatever the order: codes are of the known
//! ones, batches are well-formed, a completion is told at most once and never after its connection was closed, and in
//! the end everything can be closed and nothing is left open.
//!
//! `TWILL_FUZZ_STEPS=1000000 TWILL_FUZZ_SEED=7 cargo test --release -p twill-c --test fuzz` is the long run;
//! tests/record.json is what it last gave.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::undocumented_unsafe_blocks,
    clippy::too_many_lines,
    clippy::disallowed_methods,
    missing_docs,
    reason = "test code that calls an extern \"C\" surface all over"
)]

use std::collections::HashSet;
use std::ffi::{CString, c_void};
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use engine::*;
use twill_types::seeded::Chance;

const THREADS: u64 = 8;
const OUT_BYTES: usize = 8192;
/// No call may take this long: closing interrupts, and nothing waits for anybody else.
const CALL_MAX: Duration = Duration::from_secs(60);

const SQL: [&str; 22] = [
    "SELECT 1",
    "SELECT ?1, ?2",
    "SELECT a, b FROM t ORDER BY a",
    "SELECT a, b FROM t WHERE a = :a",
    "INSERT INTO t VALUES (?1, ?2)",
    "INSERT INTO t SELECT a + 1, b FROM t LIMIT 3",
    "INSERT INTO t VALUES (1, 'x'), (2, 'gr\u{fc}n') RETURNING a, b",
    "UPDATE t SET b = b || 'x' WHERE a < 3 RETURNING b",
    "DELETE FROM t WHERE a > 2",
    "BEGIN",
    "BEGIN IMMEDIATE",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT s",
    "RELEASE s",
    "CREATE TABLE IF NOT EXISTS t(a INTEGER, b TEXT)",
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 2000) SELECT n, 'row ' || n FROM c",
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 200000) SELECT count(*) FROM c",
    "SELECT nothing FROM nowhere",
    "",
    "SELECT f(1), f('x')",
    "SELECT zeroblob(20000)",
];

#[derive(Default)]
struct Pool {
    handles: Mutex<Vec<usize>>,
    statements: Mutex<Vec<usize>>,
    tokens: Mutex<Vec<usize>>,
    requests: Mutex<Vec<(usize, usize)>>,
    contexts: Mutex<Vec<Arc<Told>>>,
    mailbox: usize,
    steps: AtomicU64,
}

/// What a connection's completions told.
#[derive(Default)]
struct Told {
    requests: Mutex<HashSet<usize>>,
    closed: AtomicUsize,
}

unsafe extern "C" fn completed(context: *mut c_void, request: usize) {
    let told = unsafe { &*context.cast::<Told>() };
    assert_eq!(told.closed.load(Ordering::SeqCst), 0, "told after close");
    assert!(told.requests.lock().unwrap().insert(request), "told twice");
}

unsafe extern "C" fn function(_: *mut c_void, call: usize, arguments: *const u8, length: usize) {
    let batch = unsafe { std::slice::from_raw_parts(arguments, length) };
    check_batch(batch, ENGINE_DONE);
    if batch[7] == 0 && length.is_multiple_of(3) {
        assert_eq!(unsafe { engine_call_error(call, 0, c"no".as_ptr(), 2) }, ENGINE_OK);
    } else {
        let block = [1_u8, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(unsafe { engine_call_result(call, block.as_ptr(), block.len()) }, ENGINE_OK);
    }
}

unsafe extern "C" fn hook(_: *mut c_void) -> i32 {
    0
}

unsafe extern "C" fn progress(_: *mut c_void, left: i32, pages: i32) -> i32 {
    assert!(left <= pages);
    0
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// A batch in its own memory is what docs/format/row-batch.md says.
fn check_batch(out: &[u8], code: i32) {
    assert_eq!(&out[..4], b"TWRB");
    assert_eq!(u32_at(out, 28) as i32, code);
    let (flags, rows, columns, stride, heap) =
        (u32_at(out, 4) as u32, u32_at(out, 8), u32_at(out, 12), u32_at(out, 16), u32_at(out, 20));
    let heap_bytes = u32_at(out, 24);
    if flags & ENGINE_BATCH_ELSEWHERE != 0 {
        return;
    }
    assert_eq!(heap, ENGINE_BATCH_HEADER + rows * stride);
    assert_eq!(u64_at(out, 64) as usize, heap + heap_bytes);
    assert!(heap + heap_bytes <= out.len());
    if rows > 0 {
        assert_eq!(stride, 8 * columns + columns.next_multiple_of(8));
    }
    for row in 0..rows {
        let start = ENGINE_BATCH_HEADER + row * stride;
        for column in 0..columns {
            let payload = start + 8 * column;
            match out[start + 8 * columns + column] {
                0x01 | 0x11 | 0x02 | 0x05 => {}
                0x03 | 0x13 | 0x04 => {
                    let end = u32_at(out, payload) + u32_at(out, payload + 4);
                    assert!(end < heap_bytes && out[heap + end] == 0);
                }
                tag => panic!("tag {tag:02x}"),
            }
        }
    }
}

fn check_code(code: i32) {
    const KNOWN: [i32; 13] = [0, 1, 4, 5, 6, 8, 9, 12, 17, 19, 21, 25, 14];
    let primary = code & 0xff;
    assert!(
        [ENGINE_ROW, ENGINE_DONE, ENGINE_PENDING].contains(&code) || KNOWN.contains(&primary),
        "code {code}: {:?}",
        unsafe { std::ffi::CStr::from_ptr(engine_last_error(0)) }
    );
}

fn pick(chance: &mut Chance, list: &Mutex<Vec<usize>>) -> usize {
    let list = list.lock().unwrap();
    match chance.below(20) {
        // A number that was never given, or names something else by now.
        0 => chance.below(1 << 30) as usize,
        1 => 0,
        _ if list.is_empty() => 0,
        _ => list[chance.below(list.len() as u64) as usize],
    }
}

fn block(chance: &mut Chance) -> Vec<u8> {
    let cells = chance.below(3) as u32;
    let mut block = Vec::from(cells.to_le_bytes());
    block.extend([0; 4]);
    for _ in 0..cells {
        let tag = [1, 0x11, 2, 3, 0x13, 4, 5, 5, 0x23, 99][chance.below(10) as usize];
        let (length, payload) = match tag {
            3 | 0x13 | 4 => (4_u32, 0_u64),
            0x11 => (0, 5_f64.to_bits()),
            // Of a text elsewhere, none.
            0x23 => (0, 1),
            _ => (0, chance.below(5)),
        };
        block.push(tag);
        block.extend([0; 3]);
        block.extend(length.to_le_bytes());
        block.extend(payload.to_le_bytes());
    }
    if chance.below(30) == 0 {
        block.truncate(chance.below(block.len() as u64 + 1) as usize);
    }
    block
}

fn open(chance: &mut Chance, pool: &Pool, url: &str) {
    if pool.handles.lock().unwrap().len() > 12 {
        return close(chance, pool);
    }
    let told = Arc::new(Told::default());
    let context = Arc::as_ptr(&told).cast_mut().cast::<c_void>();
    let url = match chance.below(3) {
        0 => "memory://fuzz",
        1 => ":memory:",
        _ => url,
    };
    let handle = match chance.below(3) {
        0 => unsafe { engine_async_open(url.as_ptr().cast(), url.len(), 0, Some(completed), context) },
        _ => {
            let handle = unsafe { engine_open_with(url.as_ptr().cast(), url.len(), 0) };
            if chance.below(2) == 0 {
                check_code(unsafe { engine_async_start(handle, Some(completed), context) });
            }
            handle
        }
    };
    if handle != 0 {
        engine_set_busy_timeout(handle, 20);
        pool.contexts.lock().unwrap().push(told);
        pool.handles.lock().unwrap().push(handle);
    }
}

fn close(chance: &mut Chance, pool: &Pool) {
    let handle = {
        let mut handles = pool.handles.lock().unwrap();
        if handles.is_empty() {
            return;
        }
        let index = chance.below(handles.len() as u64) as usize;
        handles.swap_remove(index)
    };
    engine_close(handle);
    engine_close(handle);
}

/// What a call is made with.
struct Drawn {
    handle: usize,
    statement: usize,
    sql: &'static str,
    capacity: usize,
    rows_max: u32,
    flags: u32,
    token: usize,
}

fn step(chance: &mut Chance, pool: &Pool, url: &str, out: &mut [u8]) {
    let drawn = Drawn {
        handle: pick(chance, &pool.handles),
        statement: pick(chance, &pool.statements),
        sql: SQL[chance.below(SQL.len() as u64) as usize],
        capacity: 88 + chance.below((OUT_BYTES - 87) as u64) as usize,
        rows_max: chance.below(4) as u32,
        flags: chance.below(8) as u32,
        token: if chance.below(3) == 0 { pick(chance, &pool.tokens) } else { 0 },
    };
    match chance.below(44_u32) {
        0 => open(chance, pool, url),
        1 if chance.below(3) == 0 => close(chance, pool),
        1 => {}
        which @ 2..=22 => statement_call(which, chance, pool, &drawn, out),
        which @ 23..=32 => request_call(which, chance, pool, &drawn, out),
        which => other_call(which, chance, pool, &drawn),
    }
}

/// Calls on statements.
fn statement_call(which: u32, chance: &mut Chance, pool: &Pool, drawn: &Drawn, out: &mut [u8]) {
    let Drawn { handle, statement, capacity, rows_max, flags, sql, .. } = *drawn;
    let (text, length) = (sql.as_ptr().cast(), sql.len());
    let memory = out.as_mut_ptr();
    match which {
        2..=5 => {
            let made = unsafe { engine_prepare(handle, text, length, std::ptr::null_mut()) };
            if made != 0 {
                pool.statements.lock().unwrap().push(made);
            }
        }
        6 | 7 => {
            let statement = {
                let mut statements = pool.statements.lock().unwrap();
                if statements.len() < 40 { statement } else { statements.pop().unwrap_or(0) }
            };
            check_code(engine_finalize(statement));
        }
        8..=13 => {
            let block = block(chance);
            let start = if chance.below(3) == 0 { std::ptr::null() } else { block.as_ptr() };
            let code =
                unsafe { engine_execute(statement, start, block.len(), memory, capacity, rows_max, flags) };
            check_code(code);
            check_batch(&out[..capacity], code);
        }
        14..=16 => {
            let code = unsafe { engine_next(statement, memory, capacity, rows_max, flags & 1) };
            check_code(code);
            check_batch(&out[..capacity], code);
        }
        17 | 18 => {
            check_code(engine_step(statement));
            let _ = engine_column_type(statement, 0);
            let _ = engine_column_integer(statement, rows_max as i32);
            let mut bytes = 0;
            let _ = unsafe { engine_column_bytes(statement, 1, &raw mut bytes) };
        }
        19 => {
            let block = block(chance);
            check_code(unsafe { engine_bind(statement, block.as_ptr(), block.len()) });
            check_code(engine_bind_integer(statement, rows_max as i32, 7));
        }
        20 => check_code(engine_reset(statement)),
        21 => {
            let _ = engine_statement_property(statement, flags as i32);
            let _ = engine_sql(statement, 1);
            let _ = engine_column_name(statement, 0);
            check_code(unsafe { engine_describe(statement, memory, OUT_BYTES) });
        }
        _ => {
            let batch = engine_batch_take(statement);
            engine_batch_free(batch.cast(), std::ptr::null_mut());
        }
    }
}

/// JSON queries and requests.
fn request_call(which: u32, chance: &mut Chance, pool: &Pool, drawn: &Drawn, out: &mut [u8]) {
    let Drawn { handle, statement, rows_max, flags, token, sql, .. } = *drawn;
    let (text, length) = (sql.as_ptr().cast(), sql.len());
    let memory = out.as_mut_ptr();
    match which {
        23 | 24 => {
            let sql = CString::new(sql).unwrap();
            let answer = unsafe { std::ffi::CStr::from_ptr(engine_query(handle, sql.as_ptr())) };
            assert!(answer.to_bytes().starts_with(b"{"));
        }
        25..=28 => {
            let block = block(chance);
            let start = if chance.below(3) == 0 { std::ptr::null() } else { block.as_ptr() };
            let request = unsafe {
                engine_async_query(handle, text, length, start, block.len(), 0, rows_max, flags, token)
            };
            if request != 0 {
                pool.requests.lock().unwrap().push((handle, request));
            }
        }
        29 => {
            let request =
                unsafe { engine_async_execute(statement, std::ptr::null(), 0, 2000, rows_max, flags, token) };
            let _ = engine_async_next(statement, 2000, rows_max, 0, token);
            if request != 0 {
                pool.requests.lock().unwrap().push((handle, request));
            }
        }
        30 | 31 => {
            let request = pool.requests.lock().unwrap().pop();
            if let Some((handle, request)) = request {
                check_code(engine_async_wait(handle, request, chance.below(3_i64)));
                let code = unsafe { engine_async_take(handle, request, memory, OUT_BYTES) };
                check_code(code);
                taken(out, code);
            }
        }
        _ => {
            let request = engine_async_poll(handle);
            if request != 0 {
                let code = unsafe { engine_async_take(handle, request, memory, OUT_BYTES) };
                check_code(code);
                taken(out, code);
            }
        }
    }
}

fn add_function(handle: usize, flags: u32) {
    let any = if flags & 1 == 0 { ENGINE_ANY_THREAD } else { 0 };
    check_code(unsafe {
        engine_create_function(
            handle,
            c"f".as_ptr(),
            1,
            any,
            Some(function),
            std::ptr::null_mut(),
            None,
            std::ptr::null_mut(),
            0,
        )
    });
}

/// Tokens, counts, callbacks, copies.
fn other_call(which: u32, chance: &mut Chance, pool: &Pool, drawn: &Drawn) {
    let Drawn { handle, statement, rows_max, flags, token, .. } = *drawn;
    match which {
        33 => {
            let mut tokens = pool.tokens.lock().unwrap();
            match chance.below(3) {
                0 => tokens.push(engine_token_new()),
                1 => {
                    let token = tokens.pop().unwrap_or(0);
                    drop(tokens);
                    check_code(engine_token_free(token));
                }
                _ => {
                    drop(tokens);
                    check_code(engine_token_cancel(token));
                }
            }
        }
        34 => {
            check_code(engine_interrupt(handle));
            check_code(engine_async_cancel(handle, rows_max as usize));
        }
        35 => {
            let mut status = engine_status::default();
            check_code(unsafe { engine_status_of(handle, &raw mut status) });
            let _ = engine_in_transaction(handle);
            let _ = engine_metrics(handle);
            let _ = engine_url(handle);
            let _ = unsafe { engine_failure_of(statement, std::ptr::null_mut()) };
        }
        36 => add_function(handle, flags),
        37 => {
            check_code(unsafe {
                engine_set_commit_hook(handle, ENGINE_ANY_THREAD, Some(hook), std::ptr::null_mut(), None)
            });
        }
        38 => {
            let other = pick(chance, &pool.handles);
            check_code(unsafe { engine_backup(handle, other, 3, Some(progress), std::ptr::null_mut()) });
        }
        40 => check_code(engine_async_start_mailbox(handle, pool.mailbox)),
        41 => {
            let mut taken = [0_u64; 8];
            let pairs = unsafe { engine_mailbox_take(pool.mailbox, taken.as_mut_ptr(), 4) };
            assert!((0..=4).contains(&pairs), "{pairs}");
        }
        42 => engine_statement_drop(std::ptr::null_mut(), std::ptr::without_provenance_mut(statement)),
        _ => {
            let mut length = 0;
            let image = unsafe { engine_serialize(handle, std::ptr::null(), &raw mut length) };
            if !image.is_null() {
                let copy = unsafe { engine_deserialize(image, length, 0) };
                engine_close(copy);
            }
            engine_batch_free(image.cast(), std::ptr::null_mut());
        }
    }
}

/// A result that was taken: one that is elsewhere is read there, and freed.
fn taken(out: &[u8], code: i32) {
    if code == ENGINE_PENDING || code == ENGINE_MISUSE {
        return;
    }
    check_batch(out, code);
    if u32_at(out, 4) as u32 & ENGINE_BATCH_ELSEWHERE != 0 {
        let (address, length) = (u64_at(out, 56) as usize, u64_at(out, 64) as usize);
        let start: *mut u8 = std::ptr::with_exposed_provenance_mut(address);
        check_batch(unsafe { std::slice::from_raw_parts(start, length) }, code);
        engine_batch_free(start.cast(), std::ptr::null_mut());
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn random_calls_from_many_threads_neither_crash_nor_hang() {
    let (steps, seed) = (number("TWILL_FUZZ_STEPS", 6000), number("TWILL_FUZZ_SEED", 1));
    println!("TWILL_FUZZ_STEPS={steps} TWILL_FUZZ_SEED={seed}");
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}?synchronous=off", directory.path().join("fuzz.db").display());
    let mut reader = -1;
    let pool = Pool { mailbox: unsafe { engine_mailbox_new(&raw mut reader) }, ..Pool::default() };
    assert_ne!(pool.mailbox, 0);
    let began = Instant::now();
    let slowest = Mutex::new(Duration::ZERO);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (pool, url, slowest) = (&pool, &url, &slowest);
            scope.spawn(move || {
                let mut chance = Chance::from_seeds(&[seed, thread]);
                let mut out = vec![0_u8; OUT_BYTES];
                while pool.steps.fetch_add(1, Ordering::Relaxed) < steps {
                    let began = Instant::now();
                    step(&mut chance, pool, url, &mut out);
                    let took = began.elapsed();
                    let mut slowest = slowest.lock().unwrap();
                    *slowest = took.max(*slowest);
                    assert!(took < CALL_MAX, "a call took {took:?}");
                }
            });
        }
    });
    let handles = std::mem::take(&mut *pool.handles.lock().unwrap());
    for handle in &handles {
        engine_close(*handle);
    }
    // Every connection is closed: nobody may be told any more.
    for told in pool.contexts.lock().unwrap().iter() {
        told.closed.store(1, Ordering::SeqCst);
    }
    for token in pool.tokens.lock().unwrap().drain(..) {
        engine_token_free(token);
    }
    for statement in pool.statements.lock().unwrap().iter() {
        assert_eq!(engine_finalize(*statement), ENGINE_MISUSE, "its connection is closed");
    }
    engine_mailbox_drop(std::ptr::null_mut(), std::ptr::without_provenance_mut(pool.mailbox));
    drop(unsafe { std::fs::File::from_raw_fd(reader) });
    let slowest = *slowest.lock().unwrap();
    println!("{steps} calls in {:?}, the slowest {slowest:?}", began.elapsed());
}
