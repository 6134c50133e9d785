//! Storages that break one promise each, and the property that must notice.
