//! The texts that C is reading, and what this thread was refused.
//!
//! Each thread holds on to the last text it was given of each kind, so that no other thread can free it:
//! 1. A text lent to a thread lives at least until that thread asks for the next one of its kind.
//! 2. Failures that no handle owns (a failed open, a closed handle, a handle in use) are the thread's own.
//!
//! A thread that is being torn down, whose slots are gone, gets static texts. On a thread's exit its texts go.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::sync::Arc;

use crate::abi::engine_failure;
use crate::connections::{Fault, Owner};
use crate::{Refusal, answer};

/// What went wrong, as C reads it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: i32,
    pub(crate) extended_code: i32,
    /// Byte offset in the SQL, or -1.
    pub(crate) offset: i64,
    pub(crate) message: CString,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let Refusal { code, extended_code, offset, message } = refusal;
        let offset = offset.and_then(|offset| i64::try_from(offset).ok()).unwrap_or(-1);
        Self { code, extended_code, offset, message: answer::c_text(message.into_bytes()) }
    }
}

#[derive(Default)]
struct Lent {
    /// What `engine_query` last returned here.
    answer: Option<Arc<CString>>,
    /// What `engine_last_error` or `engine_failure_of` last returned here.
    message: Option<Arc<Failure>>,
    /// The last failure here that no handle owns.
    error: Option<Arc<Failure>>,
    /// The handle that this thread was last refused, and why, until it makes a call.
    refused: Option<(usize, Arc<Failure>)>,
    /// What `engine_metrics` and `engine_url` last returned here.
    metrics: Option<CString>,
    url: Option<CString>,
}

thread_local! {
    static LENT: RefCell<Lent> = RefCell::new(Lent::default());
    /// Whether `refused` is set, for a cheap look.
    static IS_REFUSED: Cell<bool> = const { Cell::new(false) };
}

const ENDING_ANSWER: &CStr =
    c"{\"error\":{\"code\":21,\"extended_code\":21,\"message\":\"this thread is ending\"}}";
const ENDING: &CStr = c"this thread is ending";

/// Keeps `answer` for this thread, and lends it.
pub(crate) fn lend_answer(answer: Arc<CString>) -> *const c_char {
    let text = answer.as_ptr();
    let kept = LENT.try_with(|lent| lent.borrow_mut().answer = Some(answer));
    kept.map_or(ENDING_ANSWER.as_ptr(), |()| text)
}

/// Keeps a failure's message for this thread, and lends it; NULL for none.
pub(crate) fn lend_message(failure: Option<Arc<Failure>>) -> *const c_char {
    let text = failure.as_ref().map_or(ptr::null(), |failure| failure.message.as_ptr());
    let kept = LENT.try_with(|lent| lent.borrow_mut().message = failure);
    kept.map_or(ENDING.as_ptr(), |()| text)
}

/// Keeps a failure for this thread, and lends it as C's struct.
pub(crate) fn lend_failure(failure: Option<Arc<Failure>>) -> engine_failure {
    let (code, extended_code, offset, message_bytes) = failure.as_ref().map_or((0, 0, -1, 0), |failure| {
        (failure.code, failure.extended_code, failure.offset, failure.message.as_bytes().len())
    });
    engine_failure { code, extended_code, offset, message: lend_message(failure), message_bytes }
}

/// This thread's own failure.
pub(crate) fn own_error() -> Option<Arc<Failure>> {
    LENT.try_with(|lent| lent.borrow().error.clone()).ok().flatten()
}

/// Why this thread's last call on this handle was refused.
pub(crate) fn refused(handle: usize) -> Option<Arc<Failure>> {
    if !IS_REFUSED.get() {
        return None;
    }
    let refused = LENT.try_with(|lent| lent.borrow().refused.clone()).ok().flatten();
    refused.filter(|(refused, _)| *refused == handle).map(|(_, failure)| failure)
}

/// This thread's call was let in.
#[inline]
pub(crate) fn let_in() {
    if IS_REFUSED.get() {
        IS_REFUSED.set(false);
        let _ = LENT.try_with(|lent| lent.borrow_mut().refused = None);
    }
}

/// Makes a failure this thread's own unless a handle owns it.
pub(crate) fn settle_fault(fault: Fault) -> Arc<Failure> {
    let Fault { failure, owner } = fault;
    match owner {
        Owner::Handle => {}
        Owner::Thread => remember(Arc::clone(&failure), None),
        Owner::Refused(handle) => remember(Arc::clone(&failure), Some(handle)),
    }
    failure
}

fn remember(failure: Arc<Failure>, handle: Option<usize>) {
    // A thread that is being torn down has nobody left to ask.
    let _ = LENT.try_with(|lent| {
        let mut lent = lent.borrow_mut();
        if let Some(handle) = handle {
            lent.refused = Some((handle, Arc::clone(&failure)));
            IS_REFUSED.set(true);
        }
        lent.error = Some(failure);
    });
}

/// Makes `fault` this thread's own, and lends the answer that tells it.
pub(crate) fn refuse(fault: Fault) -> *const c_char {
    let failure = settle_fault(fault);
    lend_answer(Arc::new(answer::of_failure(&failure)))
}

/// This thread's last open or close went well.
pub(crate) fn forget_error() {
    let _ = LENT.try_with(|lent| lent.borrow_mut().error = None);
}

/// This thread is done with its last answer.
pub(crate) fn forget_answer() {
    let _ = LENT.try_with(|lent| lent.borrow_mut().answer = None);
}

/// Keeps a database's metrics for this thread, and lends them.
pub(crate) fn lend_metrics(json: String) -> *const c_char {
    lend(answer::c_text(json.into_bytes()), |lent| &mut lent.metrics)
}

/// Keeps a URL for this thread, and lends it.
pub(crate) fn lend_url(url: &str) -> *const c_char {
    lend(answer::c_text(url.as_bytes().to_vec()), |lent| &mut lent.url)
}

fn lend(text: CString, slot: impl FnOnce(&mut Lent) -> &mut Option<CString>) -> *const c_char {
    // A CString's bytes do not move with it.
    let pointer = text.as_ptr();
    let kept = LENT.try_with(|lent| *slot(&mut lent.borrow_mut()) = Some(text));
    kept.map_or(ptr::null(), |()| pointer)
}
