//! The committed `include/engine.h` is what cbindgen makes of the sources.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "test code")]

use std::path::Path;

/// The files with functions and types of the ABI, in the header's order.
const SOURCES: [&str; 8] = [
    "src/lib.rs",
    "src/abi.rs",
    "src/settings.rs",
    "src/statements.rs",
    "src/asynchronous.rs",
    "src/mailbox.rs",
    "src/callbacks.rs",
    "src/copying.rs",
];

#[test]
fn header_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    let mut made = Vec::new();
    SOURCES
        .iter()
        .fold(cbindgen::Builder::new().with_config(config), |builder, source| {
            builder.with_src(root.join(source))
        })
        .generate()
        .expect("cbindgen reads the sources")
        .write(&mut made);
    let made = String::from_utf8(made).expect("a header is UTF-8");
    let committed = root.join("include/engine.h");
    if std::env::var_os("TWILL_BLESS").is_some() {
        std::fs::write(&committed, &made).expect("include/engine.h is writable");
    }
    let current = std::fs::read_to_string(&committed).unwrap_or_default();
    assert!(
        current == made,
        "include/engine.h is not what the sources say; TWILL_BLESS=1 cargo test -p twill-c rewrites it. Expected:\n{made}"
    );
}
