//! Stops panics at the border to C.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `body`; a panic is logged and answered with `fallback`.
pub(crate) fn guard<T>(callback: &'static str, fallback: T, body: impl FnOnce() -> T) -> T {
    // AssertUnwindSafe: what a panic may leave half-done is private to one connection, and the fallback codes make
    // libSQL roll that connection's transaction back.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        tracing::error!(callback, "a storage callback panicked");
        fallback
    })
}

#[cfg(test)]
mod tests {
    use super::guard;

    #[test]
    fn a_panic_becomes_the_fallback() {
        assert_eq!(guard("test", 10, || panic!("boom")), 10);
        assert_eq!(guard("test", 10, || 0), 0);
    }
}
