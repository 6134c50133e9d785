//! User functions, aggregates and hooks of `engine.h`.
//!
//! Invariants:
//! 1. A callback runs on the thread that makes the call or, in a request, on the connection's own; if it was not
//!    registered with ENGINE_ANY_THREAD, only on the thread that registered it: elsewhere a function is an error of the
//!    statement, and requests of a connection with such a hook are refused.
//! 2. An `engine_call` is good on its thread until its callback returns: another one is an error (`calls`).
//! 3. A release is called exactly once, after the last call with its context.
//!
//! It refuses calls of a callback into its own connection.

use std::ffi::{c_char, c_void};

use crate::abi::{
    ENGINE_OK, engine_aggregate_final, engine_aggregate_step, engine_call, engine_commit_hook,
    engine_function, engine_release, engine_rollback_hook, engine_update_hook,
};
use crate::connections::{self, coded};
use crate::functions::{self, ArgumentPlace, Context};
use crate::parameters::Block;
use crate::{borrow, borrow_bytes, borrow_text, engine_handle, hooks};

/// Adds a SQL function, or replaces one of the same name and number of arguments; `arguments` of -1 takes any number.
///
/// `flags`: ENGINE_FUNCTION_DETERMINISTIC, _DIRECTONLY, _INNOCUOUS, ENGINE_ANY_THREAD. The arguments of a call are written
/// into `place` (`place_bytes` long) if they fit there, else into memory of the library; `place` may be NULL.
/// `release`, which may be NULL, is called with `context` when the function was replaced or removed, or its connection
/// closed, on whatever thread does that; also if this fails. Returns ENGINE_OK or a code.
///
/// # Safety
/// `name` is NULL or points to a NUL-terminated string. `function` may be called with `context`, and `place` may be
/// written, until `release` is called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_create_function(
    handle: engine_handle,
    name: *const c_char,
    arguments: i32,
    flags: u32,
    function: engine_function,
    context: *mut c_void,
    release: engine_release,
    place: *mut u8,
    place_bytes: usize,
) -> i32 {
    coded(|| {
        let context = Context::new(context, release, flags);
        let place = ArgumentPlace::new(place, place_bytes);
        // SAFETY: the caller promises NULL or a NUL-terminated string.
        let name = unsafe { borrow(name, "name") };
        connections::on_connection(handle, |call| {
            functions::create(call.connection, name?, arguments, flags, function, context, place)
                .map(|()| ENGINE_OK)
        })
    })
}

/// Adds an aggregate function; see engine_create_function.
///
/// # Safety
/// As for engine_create_function, of `step` and `last`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_create_aggregate(
    handle: engine_handle,
    name: *const c_char,
    arguments: i32,
    flags: u32,
    step: engine_aggregate_step,
    last: engine_aggregate_final,
    context: *mut c_void,
    release: engine_release,
    place: *mut u8,
    place_bytes: usize,
) -> i32 {
    coded(|| {
        let context = Context::new(context, release, flags);
        let place = ArgumentPlace::new(place, place_bytes);
        // SAFETY: the caller promises NULL or a NUL-terminated string.
        let name = unsafe { borrow(name, "name") };
        connections::on_connection(handle, |call| {
            functions::create_aggregate(
                call.connection,
                name?,
                arguments,
                flags,
                (step, last),
                context,
                place,
            )
            .map(|()| ENGINE_OK)
        })
    })
}

/// Adds a window function, which is an aggregate function too. `inverse` is a step of a row that leaves the window;
/// `value` answers for the window as it is, which goes on. See engine_create_aggregate.
///
/// # Safety
/// As for engine_create_function, of `step`, `inverse`, `value` and `last`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_create_window(
    handle: engine_handle,
    name: *const c_char,
    arguments: i32,
    flags: u32,
    step: engine_aggregate_step,
    inverse: engine_aggregate_step,
    value: engine_aggregate_final,
    last: engine_aggregate_final,
    context: *mut c_void,
    release: engine_release,
    place: *mut u8,
    place_bytes: usize,
) -> i32 {
    coded(|| {
        let context = Context::new(context, release, flags);
        let place = ArgumentPlace::new(place, place_bytes);
        // SAFETY: the caller promises NULL or a NUL-terminated string.
        let name = unsafe { borrow(name, "name") };
        connections::on_connection(handle, |call| {
            let (rows, answers) = ((step, inverse), (value, last));
            functions::create_window(call.connection, name?, arguments, flags, rows, answers, context, place)
                .map(|()| ENGINE_OK)
        })
    })
}

/// Removes a function that was added with this number of arguments. Returns ENGINE_OK or a code.
///
/// # Safety
/// `name` is NULL or points to a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_remove_function(
    handle: engine_handle,
    name: *const c_char,
    arguments: i32,
) -> i32 {
    coded(|| {
        // SAFETY: the caller promises NULL or a NUL-terminated string.
        let name = unsafe { borrow(name, "name") };
        connections::on_connection(handle, |call| {
            call.connection.remove_function(name?, arguments)?;
            Ok(ENGINE_OK)
        })
    })
}

/// Answers a call of a user function with the one value of a parameter block, which is copied. Returns ENGINE_OK, or
/// ENGINE_MISUSE for a call that is not running on this thread or a bad block.
///
/// # Safety
/// `block` points to `length` readable bytes, and an address in its cell to what it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_call_result(call: engine_call, block: *const u8, length: usize) -> i32 {
    coded(|| {
        // SAFETY: the caller promises readable bytes.
        let block = unsafe { borrow_bytes(block, length, "block") }?;
        // SAFETY: the caller promises that addresses lead to what they say.
        let block = unsafe { Block::new(block) }?;
        functions::answer(call, &block)?;
        Ok(ENGINE_OK)
    })
}

/// Answers a call of a user function with an error: the statement fails with this (extended) code, 0 for SQLITE_ERROR,
/// and this message. Returns ENGINE_OK, or ENGINE_MISUSE for a call that is not running on this thread.
///
/// # Safety
/// `message` points to `length` readable bytes of UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_call_error(
    call: engine_call,
    code: i32,
    message: *const c_char,
    length: usize,
) -> i32 {
    coded(|| {
        // SAFETY: the caller promises readable bytes.
        let message = unsafe { borrow_text(message, length, "message") }?;
        functions::fail(call, code, message)?;
        Ok(ENGINE_OK)
    })
}

/// Sets, replaces or (with a NULL `hook`) removes the connection's update hook. `flags`: ENGINE_ANY_THREAD or 0. While a
/// hook without that flag is set, requests of the connection are refused. Returns ENGINE_OK or a code.
///
/// # Safety
/// `hook` may be called with `context` until `release` is called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_set_update_hook(
    handle: engine_handle,
    flags: u32,
    hook: engine_update_hook,
    context: *mut c_void,
    release: engine_release,
) -> i32 {
    coded(|| {
        let context = Context::new(context, release, flags);
        connections::on_connection(handle, |call| hooks::set_update(call, hook, context).map(|()| ENGINE_OK))
    })
}

/// Sets, replaces or removes the connection's commit hook; see engine_set_update_hook.
///
/// # Safety
/// `hook` may be called with `context` until `release` is called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_set_commit_hook(
    handle: engine_handle,
    flags: u32,
    hook: engine_commit_hook,
    context: *mut c_void,
    release: engine_release,
) -> i32 {
    coded(|| {
        let context = Context::new(context, release, flags);
        connections::on_connection(handle, |call| hooks::set_commit(call, hook, context).map(|()| ENGINE_OK))
    })
}

/// Sets, replaces or removes the connection's rollback hook; see engine_set_update_hook.
///
/// # Safety
/// `hook` may be called with `context` until `release` is called.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn engine_set_rollback_hook(
    handle: engine_handle,
    flags: u32,
    hook: engine_rollback_hook,
    context: *mut c_void,
    release: engine_release,
) -> i32 {
    coded(|| {
        let context = Context::new(context, release, flags);
        connections::on_connection(handle, |call| {
            hooks::set_rollback(call, hook, context).map(|()| ENGINE_OK)
        })
    })
}
