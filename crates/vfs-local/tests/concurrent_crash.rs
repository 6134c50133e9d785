//! Simulated power loss under concurrent writers and the background checkpoint: whatever was acknowledged to any thread
//! is there, as a prefix of the order in which the commits were appended. `TWILL_CRASH_SEEDS`, `TWILL_CRASH_SEED` as in
//! `crash.rs`; here the interleaving is the system's, so a seed repeats the disk's choices only.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "test code"
)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use common::{append, image, read_all};
use twill_types::{Door, Lsn};
use twill_vfs_local::disk::{Fault, SimDisk};
use twill_vfs_local::{LocalFileStorage, LocalOptions};
use twill_vfs_trait::{Storage, StorageError};

const THREADS: u32 = 4;
const PAGES: u32 = THREADS + 1;

fn open(disk: &SimDisk) -> Result<Arc<LocalFileStorage>, String> {
    let options = LocalOptions { checkpoint_frames: 12, wal_frames_max: 40, ..LocalOptions::default() };
    LocalFileStorage::open_on(Arc::new(disk.clone()), Path::new("/sim/app.db"), options, <dyn Door>::system())
        .map_err(|error| error.to_string())
}

/// What the threads of one life saw.
#[derive(Default)]
struct Seen {
    /// Which thread's page got which fill, by LSN.
    appended: BTreeMap<Lsn, (u32, u32)>,
    acknowledged: Lsn,
    /// Commits whose append failed; the power may have gone right after it.
    attempted: Vec<(u32, u32)>,
}

/// The pages after one more commit of `page` with `fill`.
fn after(pages: &[Vec<u8>], page: u32, fill: u32) -> Vec<Vec<u8>> {
    let mut pages = pages.to_vec();
    pages.resize(PAGES as usize, vec![0; 512]);
    pages[0] = image(1, fill, PAGES);
    pages[page as usize - 1] = image(page, fill, PAGES);
    pages
}

fn life(storage: &LocalFileStorage, fills: &AtomicU32) -> Seen {
    let seen = Mutex::new(Seen::default());
    std::thread::scope(|scope| {
        for page in 2..2 + THREADS {
            let seen = &seen;
            scope.spawn(move || {
                for _ in 0..200 {
                    let fill = fills.fetch_add(1, Ordering::SeqCst);
                    let at = match append(storage, &[page], fill, PAGES) {
                        Ok(at) => at,
                        Err(error) => {
                            assert!(!matches!(error, StorageError::Conflict { .. }), "{error}");
                            return seen.lock().unwrap().attempted.push((page, fill));
                        }
                    };
                    seen.lock().unwrap().appended.insert(at.lsn(), (page, fill));
                    if storage.wait_durable(&at).is_err() {
                        return;
                    }
                    let mut seen = seen.lock().unwrap();
                    seen.acknowledged = seen.acknowledged.max(at.lsn());
                }
            });
        }
    });
    seen.into_inner().unwrap()
}

fn check(base: &[Vec<u8>], seen: &Seen, found: &[Vec<u8>]) {
    let mut state = base.to_vec();
    let mut possible = Vec::new();
    if seen.acknowledged == Lsn::ZERO {
        possible.push(state.clone());
    }
    for (lsn, (page, fill)) in &seen.appended {
        state = after(&state, *page, *fill);
        if *lsn >= seen.acknowledged {
            possible.push(state.clone());
        }
    }
    possible.extend(seen.attempted.iter().map(|(page, fill)| after(&state, *page, *fill)));
    let fills: Vec<_> =
        found.iter().map(|page| u32::from_be_bytes(page[508..512].try_into().unwrap())).collect();
    assert!(
        possible.iter().any(|state| state == found),
        "not a state after {}: {fills:?}",
        seen.acknowledged
    );
}

fn run(seed: u64) {
    let disk = SimDisk::new(seed);
    let fills = AtomicU32::new(1);
    let mut base: Vec<Vec<u8>> = Vec::new();
    for round in 0..4 {
        let storage = open(&disk).unwrap();
        let at = disk.operations() + 20 + (seed * 31 + round * 97) % 500;
        disk.fail_at(at, if (seed + round).is_multiple_of(5) { Fault::Broken } else { Fault::Crash });
        let seen = life(&storage, &fills);
        drop(storage);
        disk.restart();
        let storage = open(&disk).unwrap();
        let found = read_all(&*storage, &storage.snapshot().unwrap());
        check(&base, &seen, &found);
        base = found;
    }
}

#[test]
fn a_power_loss_under_concurrent_writers_leaves_a_prefix_with_everything_acknowledged() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let seeds = match number("TWILL_CRASH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TWILL_CRASH_SEEDS").unwrap_or(200).min(2000),
    };
    for seed in seeds {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("repeat with TWILL_CRASH_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
