//! Where `unsafe` may be written: the crates that touch C, and one small file of the engine.
//!
//! Invariants:
//! 1. The word is looked for in tokens: blocks, functions, impls, extern blocks and macro bodies alike.
//! 2. The engine has at most one file with it, and that file is its `ffi` module.
//!
//! That each block has its `// SAFETY:` sentence is clippy's to check (`undocumented_unsafe_blocks`).

use proc_macro2::{TokenStream, TokenTree};

use super::Complaint;
use super::source::Source;

const CHECK: &str = "unsafe";
const ALLOWED: &[&str] = &["vendor/libsql/", "crates/vfs-shim/", "bindings/c/"];
const ENGINE: &str = "crates/engine/";

/// The line of the first `unsafe` in a file.
pub(crate) fn first_use(source: &Source<'_>) -> Option<usize> {
    line_of_unsafe(source.tokens.clone())
}

fn line_of_unsafe(tokens: TokenStream) -> Option<usize> {
    tokens.into_iter().find_map(|token| match token {
        TokenTree::Ident(name) if name == "unsafe" => Some(name.span().start().line),
        TokenTree::Group(group) => line_of_unsafe(group.stream()),
        TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_) => None,
    })
}

/// Judges the files in which `unsafe` is written.
pub(crate) fn check(sources: &[Source<'_>]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut engine_files = 0;
    for source in sources {
        let path = source.path;
        if ALLOWED.iter().any(|allowed| path.starts_with(allowed)) {
            continue;
        }
        let is_ffi = path.starts_with(ENGINE) && path.ends_with("/ffi.rs");
        engine_files += usize::from(is_ffi);
        let message = match (is_ffi, engine_files) {
            (true, 0 | 1) => continue,
            (true, _) => "the engine has a second ffi module: one small one is allowed",
            (false, _) => {
                "unsafe is written in vendor/libsql, vfs-shim, bindings/c and the engine's ffi.rs only"
            }
        };
        complaints.push(Complaint::new(CHECK, path, first_use(source).unwrap_or(0), "", message));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(files: &[&str]) -> Vec<String> {
        let text = "fn f() { unsafe { g() } }";
        let sources: Vec<_> = files.iter().map(|path| Source::parse(path, text).unwrap()).collect();
        check(&sources).into_iter().map(|complaint| complaint.file).collect()
    }

    #[test]
    fn unsafe_is_found_in_every_form() {
        let forms = [
            "fn f() { unsafe { g() } }",
            "unsafe fn f() {}",
            "unsafe impl Send for A {}",
            "unsafe extern \"C\" { fn f(); }",
            "macro_rules! m { () => { unsafe { g() } } }",
            "fn f() { m!(unsafe { g() }) }",
        ];
        for text in forms {
            assert_eq!(first_use(&Source::parse("a.rs", text).unwrap()), Some(1), "{text}");
        }
        let none = "//! unsafe\n#![expect(unsafe_code)]\nfn f() { print(\"unsafe\") }";
        assert_eq!(first_use(&Source::parse("a.rs", none).unwrap()), None);
    }

    #[test]
    fn it_stays_in_its_rooms() {
        assert_eq!(
            complaints(&["vendor/libsql/src/a.rs", "crates/vfs-shim/src/b.rs", "bindings/c/src/c.rs"]),
            [""; 0]
        );
        assert_eq!(complaints(&["crates/vfs-local/src/a.rs"]), ["crates/vfs-local/src/a.rs"]);
        assert_eq!(complaints(&["crates/engine/src/session.rs"]), ["crates/engine/src/session.rs"]);
        assert_eq!(complaints(&["crates/engine/src/ffi.rs"]), [""; 0]);
        assert_eq!(complaints(&["crates/engine/src/ffi/other.rs"]), ["crates/engine/src/ffi/other.rs"]);
        let two = ["crates/engine/src/a/ffi.rs", "crates/engine/src/ffi.rs"];
        assert_eq!(complaints(&two), ["crates/engine/src/ffi.rs"]);
    }
}
