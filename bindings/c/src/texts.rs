//! The texts that C is reading.
//!
//! Each thread holds on to the last text it was given of each kind, so that no other thread can free it:
//! 1. A text lent to a thread lives at least until that thread asks for the next one of its kind.
//! 2. Errors that no handle owns (a failed open, a closed handle, a handle in use) are the thread's own.
//!
//! A thread that is being torn down, whose slots are gone, gets static texts. On a thread's exit its texts go.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::sync::Arc;

use crate::{Refusal, answer};

#[derive(Default)]
struct Lent {
    /// What `engine_query` last returned here.
    answer: Option<Arc<CString>>,
    /// What `engine_last_error` last returned here.
    message: Option<Arc<CString>>,
    /// The last error here that no handle owns.
    error: Option<Arc<CString>>,
}

thread_local! {
    static LENT: RefCell<Lent> = RefCell::new(Lent::default());
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

/// Keeps `message` for this thread, and lends it; NULL for none.
pub(crate) fn lend_message(message: Option<Arc<CString>>) -> *const c_char {
    let text = message.as_ref().map_or(ptr::null(), |message| message.as_ptr());
    let kept = LENT.try_with(|lent| lent.borrow_mut().message = message);
    kept.map_or(ENDING.as_ptr(), |()| text)
}

/// Lends this thread's own error; NULL for none.
pub(crate) fn lend_error() -> *const c_char {
    lend_message(LENT.try_with(|lent| lent.borrow().error.clone()).ok().flatten())
}

/// Makes `refusal` this thread's own error.
pub(crate) fn remember(refusal: &Refusal) {
    // A thread that is being torn down has nobody left to ask.
    let _ = LENT.try_with(|lent| lent.borrow_mut().error = Some(message(refusal)));
}

/// Makes `refusal` this thread's own error, and lends the answer that tells it.
pub(crate) fn refuse(refusal: &Refusal) -> *const c_char {
    remember(refusal);
    lend_answer(Arc::new(answer::of_refusal(refusal)))
}

/// This thread's last open or close went well.
pub(crate) fn forget_error() {
    let _ = LENT.try_with(|lent| lent.borrow_mut().error = None);
}

/// This thread is done with its last answer.
pub(crate) fn forget_answer() {
    let _ = LENT.try_with(|lent| lent.borrow_mut().answer = None);
}

/// The message as C reads it.
pub(crate) fn message(refusal: &Refusal) -> Arc<CString> {
    Arc::new(answer::c_text(refusal.message.clone().into_bytes()))
}
