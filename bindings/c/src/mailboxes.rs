//! Mailboxes: completions for a reader that no callback may reach, and endings for one that may not wait.
//!
//! A callback that arrives at a JavaScript thread which is gone crashes its runtime. A mailbox keeps completions until
//! they are asked for, and wakes its reader by a byte on a socket, which an event loop can wait for beside everything else;
//! a byte for a reader that is gone is refused by the kernel.
//!
//! ```text
//! worker ─► post ─► queue ─► take        a byte is sent exactly when the queue was empty before
//! ```
//!
//! Invariants:
//! 1. A completion that was posted is taken once, in the order of posting, unless its reader is gone.
//! 2. Whoever takes until nothing is left, after each byte, misses nothing.
//! 3. Nothing here waits: neither for a reader nor for a call that runs. What must wait, a close, runs on `reaper`.
//!
//! On a crash the process is gone with them. Memory is bounded by what the workers accept.
//! Refuses: a mailbox that was dropped.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use twill_types::Door;

use crate::table::Table;
use crate::{Refusal, connections};

static TABLE: Table<Arc<Mailbox>> = Table::new();

/// A connection's number and a request's.
pub(crate) type Posted = (usize, usize);

/// Where completions wait for their reader.
pub(crate) struct Mailbox {
    queue: Mutex<Queue>,
    /// The end that bytes are sent from.
    socket: UnixStream,
}

#[derive(Default)]
struct Queue {
    posted: VecDeque<Posted>,
    is_abandoned: bool,
}

impl Mailbox {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a completion, and wakes the reader if it may be asleep.
    pub(crate) fn post(&self, connection: usize, request: usize) {
        let mut queue = self.queue();
        if queue.is_abandoned {
            return;
        }
        queue.posted.push_back((connection, request));
        if queue.posted.len() == 1 && !self.wake() {
            *queue = Queue { posted: VecDeque::new(), is_abandoned: true };
        }
    }

    /// Sends the byte; false if nobody will ever read it.
    fn wake(&self) -> bool {
        loop {
            // SAFETY: the descriptor is open for as long as `self`, and one byte is readable.
            let sent = unsafe { libc::send(self.socket.as_raw_fd(), [1_u8].as_ptr().cast(), 1, SEND_FLAGS) };
            if sent == 1 {
                return true;
            }
            let kind = io::Error::last_os_error().kind();
            if kind != io::ErrorKind::Interrupted {
                // Bytes that are not read yet fill the socket: the reader is awake.
                return kind == io::ErrorKind::WouldBlock;
            }
        }
    }
}

#[cfg(target_os = "linux")]
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL;
/// Elsewhere the standard library makes sockets that raise no SIGPIPE.
#[cfg(not(target_os = "linux"))]
const SEND_FLAGS: i32 = 0;

/// A new mailbox: its number, and the descriptor to wait for, which is the caller's.
pub(crate) fn open() -> Result<(usize, RawFd), Refusal> {
    let unmade = |error: io::Error| Refusal::misuse(format!("no socket for a mailbox: {error}"));
    let (reader, socket) = UnixStream::pair().map_err(unmade)?;
    reader.set_nonblocking(true).map_err(unmade)?;
    socket.set_nonblocking(true).map_err(unmade)?;
    let mailbox = Arc::new(Mailbox { queue: Mutex::default(), socket });
    let number = TABLE.insert(|_| mailbox).ok_or_else(Refusal::too_many_handles)?;
    Ok((number, reader.into_raw_fd()))
}

/// The mailbox of a number.
pub(crate) fn find(number: usize) -> Result<Arc<Mailbox>, Refusal> {
    TABLE.get(number).ok_or_else(|| Refusal::misuse("not an open mailbox"))
}

/// Takes completions, as many as `out` holds.
pub(crate) fn take(number: usize, out: &mut [u64]) -> Result<usize, Refusal> {
    let mailbox = find(number)?;
    let mut queue = mailbox.queue();
    let mut taken = 0;
    for pair in out.chunks_exact_mut(2) {
        let (Some((connection, request)), [first, second]) = (queue.posted.pop_front(), pair) else { break };
        (*first, *second) = (connection as u64, request as u64);
        taken += 1;
    }
    Ok(taken)
}

/// Drops a mailbox; what is posted to it from then on is dropped too.
pub(crate) fn abandon(number: usize) {
    if let Some(mailbox) = TABLE.remove(number, |_| true) {
        *mailbox.queue() = Queue { posted: VecDeque::new(), is_abandoned: true };
    }
}

/// Connections to be closed by the one thread that does nothing else.
struct Reaper {
    condemned: Mutex<VecDeque<usize>>,
    work: Condvar,
}

/// Closes a connection soon, on another thread. If there is none to be had, here and now.
pub(crate) fn close_soon(connection: usize) {
    static REAPER: OnceLock<Option<Arc<Reaper>>> = OnceLock::new();
    let reaper = REAPER.get_or_init(|| {
        let reaper = Arc::new(Reaper { condemned: Mutex::default(), work: Condvar::new() });
        let own = Arc::clone(&reaper);
        let started = <dyn Door>::system().spawn("twill-reaper", Box::new(move || own.run()));
        started.ok().map(|_detached| reaper)
    });
    match reaper {
        Some(reaper) => {
            reaper.condemned.lock().unwrap_or_else(PoisonError::into_inner).push_back(connection);
            reaper.work.notify_one();
        }
        None => drop(connections::close(connection)),
    }
}

impl Reaper {
    fn run(&self) {
        loop {
            let mut condemned = self.condemned.lock().unwrap_or_else(PoisonError::into_inner);
            let next = loop {
                match condemned.pop_front() {
                    Some(next) => break next,
                    None => condemned = self.work.wait(condemned).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(condemned);
            // What closing could not do, nobody is there to hear.
            drop(crate::caught(|| connections::close(next)));
        }
    }
}
