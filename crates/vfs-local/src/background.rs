//! The background thread: checkpoints when the WAL is long, sweeps the spill when pins go.
//!
//! Invariants:
//! 1. The thread keeps nothing of the storage alive while it sleeps: it holds a weak reference.
//! 2. After [`Background::stop`] returned, it does not run any more.
//!
//! A failed checkpoint is logged and tried again at the next signal: nothing was lost.

use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use twill_types::Door;

use crate::storage::{Core, locked};

/// What the thread is asked to do.
#[derive(Default)]
pub(crate) struct Signal {
    asked: Mutex<Asked>,
    changed: Condvar,
}

#[derive(Default)]
struct Asked {
    checkpoint: bool,
    sweep: bool,
    stop: bool,
}

impl Signal {
    fn ask(&self, change: impl FnOnce(&mut Asked) -> &mut bool) {
        let mut asked = locked(&self.asked);
        if !std::mem::replace(change(&mut asked), true) {
            self.changed.notify_one();
        }
    }

    /// Asks for a checkpoint.
    pub(crate) fn checkpoint(&self) {
        self.ask(|asked| &mut asked.checkpoint);
    }

    /// Asks for a sweep of the spill.
    pub(crate) fn sweep(&self) {
        self.ask(|asked| &mut asked.sweep);
    }

    fn stop(&self) {
        self.ask(|asked| &mut asked.stop);
    }

    fn next(&self) -> Asked {
        let asked = locked(&self.asked);
        let idle = |asked: &mut Asked| !(asked.checkpoint || asked.sweep || asked.stop);
        let mut asked = self.changed.wait_while(asked, idle).unwrap_or_else(PoisonError::into_inner);
        let stop = asked.stop;
        Asked { stop, ..std::mem::take(&mut *asked) }
    }
}

/// The running thread.
pub(crate) struct Background {
    signal: Arc<Signal>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Background {
    /// Starts it.
    pub(crate) fn start(core: &Arc<Core>, door: &Arc<dyn Door>) -> std::io::Result<Self> {
        let signal = Arc::clone(&core.signal);
        let weak = Arc::downgrade(core);
        let body = {
            let signal = Arc::clone(&signal);
            Box::new(move || run(&signal, &weak))
        };
        let thread = door.spawn("twill-checkpoint", body)?;
        Ok(Self { signal, thread: Mutex::new(Some(thread)) })
    }

    /// Ends the thread and waits for it.
    pub(crate) fn stop(&self) {
        self.signal.stop();
        let thread = locked(&self.thread).take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the checkpoint thread panicked");
        }
    }
}

fn run(signal: &Signal, core: &Weak<Core>) {
    loop {
        let asked = signal.next();
        let Some(core) = core.upgrade() else { return };
        if asked.stop {
            return;
        }
        if asked.sweep {
            core.sweep();
        }
        if asked.checkpoint
            && let Err(error) = core.background_checkpoint()
        {
            tracing::warn!(%error, path = %core.path.display(), "the background checkpoint failed");
        }
    }
}
