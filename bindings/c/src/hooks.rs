//! Hooks that C implements.
//!
//! Invariants:
//! 1. While a hook is set that only its own thread may call, no other thread runs a statement of the connection
//!    (`Connection::hook_thread`).

use std::ffi::CString;
use std::sync::atomic::Ordering;

use twill_engine::{Action, Change};

use crate::abi::{engine_commit_hook, engine_rollback_hook, engine_update_hook};
use crate::connections::ConnectionCall;
use crate::functions::Context;
use crate::{Refusal, answer};

/// SQLite's numbers of what happened to a row.
const SQLITE_DELETE: i32 = 9;
const SQLITE_INSERT: i32 = 18;
const SQLITE_UPDATE: i32 = 23;

/// The connection belongs to the hook's thread, if only that may call it. Once set this stays: another hook of that thread
/// may be left.
fn bind_to_thread(call: &ConnectionCall<'_>, context: &Context) {
    if context.thread() != 0 {
        call.held.hook_thread.store(context.thread(), Ordering::Relaxed);
    }
}

pub(crate) fn set_update(
    call: &ConnectionCall<'_>,
    hook: engine_update_hook,
    context: Context,
) -> Result<(), Refusal> {
    let Some(hook) = hook else { return Ok(call.connection.set_update_hook(None)?) };
    bind_to_thread(call, &context);
    let mut names = Names::default();
    let told = move |change: Change<'_>| {
        let context = &context;
        if !context.may_call() {
            return;
        }
        let action = match change.action {
            Action::Insert => SQLITE_INSERT,
            Action::Update => SQLITE_UPDATE,
            Action::Delete => SQLITE_DELETE,
        };
        let (schema, table) = names.of(change.schema, change.table);
        // SAFETY: the hook was promised to be callable with its context until that is released.
        unsafe { hook(context.pointer(), action, schema.as_ptr(), table.as_ptr(), change.rowid) }
    };
    Ok(call.connection.set_update_hook(Some(Box::new(told)))?)
}

pub(crate) fn set_commit(
    call: &ConnectionCall<'_>,
    hook: engine_commit_hook,
    context: Context,
) -> Result<(), Refusal> {
    let Some(hook) = hook else { return Ok(call.connection.set_commit_hook(None)?) };
    bind_to_thread(call, &context);
    let asked = move || {
        let context = &context;
        // SAFETY: the hook was promised to be callable with its context until that is released.
        !context.may_call() || unsafe { hook(context.pointer()) } == 0
    };
    Ok(call.connection.set_commit_hook(Some(Box::new(asked)))?)
}

pub(crate) fn set_rollback(
    call: &ConnectionCall<'_>,
    hook: engine_rollback_hook,
    context: Context,
) -> Result<(), Refusal> {
    let Some(hook) = hook else { return Ok(call.connection.set_rollback_hook(None)?) };
    bind_to_thread(call, &context);
    let told = move || {
        let context = &context;
        if context.may_call() {
            // SAFETY: the hook was promised to be callable with its context until that is released.
            unsafe { hook(context.pointer()) }
        }
    };
    Ok(call.connection.set_rollback_hook(Some(Box::new(told)))?)
}

/// The names of the last change, as C reads them: most changes are of the same table as the one before.
#[derive(Default)]
struct Names {
    schema: CString,
    table: CString,
}

impl Names {
    fn of(&mut self, schema: &str, table: &str) -> (&CString, &CString) {
        for (kept, name) in [(&mut self.schema, schema), (&mut self.table, table)] {
            if kept.as_bytes() != name.as_bytes() {
                *kept = answer::c_text(name.as_bytes().to_vec());
            }
        }
        (&self.schema, &self.table)
    }
}
