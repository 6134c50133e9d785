//! Ctrl-C.
//!
//! Invariants:
//! 1. The first signal asks the work under way to end; it rolls back and cleans up by itself. Without work under way the
//!    process ends at once, except in the interactive shell, which goes on.
//! 2. A second signal during the same work ends the process at once (not in the interactive shell, where it asks again).
//!    The database stays what it was: the engine is safe against that at every instruction.

use std::process;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use twill_engine::InterruptHandle;
use twill_types::Door;

use crate::failure::Failure;

/// Where signals arrive.
#[derive(Clone, Default)]
pub(crate) struct Interrupts(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The signal that came during this work; 0: none.
    requested: AtomicI32,
    outlives: AtomicBool,
    running: Mutex<Vec<InterruptHandle>>,
}

impl Interrupts {
    /// Listens from now on. SIGTERM and SIGHUP are taken, too, so that files half written are removed.
    pub(crate) fn install(door: &Arc<dyn Door>) -> Result<Self, Failure> {
        let failed = |error| Failure::io("listening for signals", error);
        let interrupts = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
        let shared = Arc::clone(&interrupts.0);
        let body = move || {
            for signal in &mut signals {
                shared.arrived(signal);
            }
        };
        door.spawn("signals", Box::new(body)).map_err(failed)?;
        Ok(interrupts)
    }

    /// From now on Ctrl-C ends work, never the process.
    pub(crate) fn outlive_work(&self) {
        self.0.outlives.store(true, Ordering::Release);
    }

    /// Work on these connections begins: a signal interrupts them, until the answer is dropped.
    pub(crate) fn work(&self, handles: impl IntoIterator<Item = InterruptHandle>) -> Work {
        let mut running = self.0.running();
        running.clear();
        // A signal that came while nothing ran, in the interactive shell, is not meant for this.
        self.0.requested.store(0, Ordering::Release);
        running.extend(handles);
        Work(Arc::clone(&self.0))
    }
}

/// Work under way.
pub(crate) struct Work(Arc<Shared>);

impl Work {
    /// Fails once a signal came.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.0.requested.load(Ordering::Acquire) {
            0 => Ok(()),
            _ => Err(Failure::Interrupted),
        }
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.check().is_err()
    }

    /// Further connections of the same work.
    pub(crate) fn also(&self, handle: InterruptHandle) {
        self.0.running().push(handle);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.running().clear();
        self.0.requested.store(0, Ordering::Release);
    }
}

impl Shared {
    fn running(&self) -> std::sync::MutexGuard<'_, Vec<InterruptHandle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrived(&self, signal: i32) {
        let goes_on = self.outlives.load(Ordering::Acquire) && signal == SIGINT;
        let running = self.running();
        let again = self.requested.swap(signal, Ordering::AcqRel) != 0;
        if !goes_on && (running.is_empty() || again) {
            process::exit(128 + signal);
        }
        for handle in running.iter() {
            handle.interrupt();
        }
    }
}
