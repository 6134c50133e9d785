//! x
pub use libsql_ffi as ffi;
