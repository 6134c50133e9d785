//! A parsed Rust file, and the check that it opens with a module doc.
//!
//! Invariants:
//! 1. What lies in the file's trailing `#[cfg(test)] mod tests { … }` counts as test code, and so does every file in
//!    a `tests` directory or named `tests.rs`.
//! 2. A file that does not parse stops tidy with its name: the compiler will say the rest.

use anyhow::{Context, Result, anyhow};
use proc_macro2::TokenStream;
use syn::spanned::Spanned;

use super::Complaint;

/// A Rust file, as text, as syntax and as tokens.
pub(crate) struct Source<'a> {
    pub path: &'a str,
    pub text: String,
    pub syntax: syn::File,
    pub tokens: TokenStream,
}

impl<'a> Source<'a> {
    pub(crate) fn parse(path: &'a str, text: &str) -> Result<Self> {
        let syntax = syn::parse_file(text).with_context(|| format!("parsing {path}"))?;
        // Anything `syn` can parse is made of tokens.
        let tokens = text.parse().map_err(|error| anyhow!("{path}: {error}"))?;
        Ok(Self { path, text: text.to_owned(), syntax, tokens })
    }

    /// Whether the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        let mut parts = self.path.split('/').rev();
        let in_tests = |mut directories: std::iter::Rev<std::str::Split<'_, char>>| {
            directories.any(|directory| directory == "tests")
        };
        parts.next() == Some("tests.rs") || in_tests(parts)
    }

    /// How many lines come before the trailing test module; all of them where there is none.
    pub(crate) fn lines_without_tests(&self) -> usize {
        let last = self.syntax.items.last();
        match last.filter(|item| is_test_module(item)) {
            Some(module) => module.span().start().line - 1,
            None => self.text.lines().count(),
        }
    }
}

fn is_test_module(item: &syn::Item) -> bool {
    let syn::Item::Mod(module) = item else { return false };
    let cfg_test = |attribute: &syn::Attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|argument| argument.is_ident("test"))
    };
    module.content.is_some() && module.attrs.iter().any(cfg_test)
}

/// A file begins with `//!` and says something of substance: at least four words.
pub(crate) fn check_module_doc(source: &Source<'_>) -> Option<Complaint> {
    let doc: Vec<&str> = source.text.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let words = doc.iter().flat_map(|line| line.split_whitespace()).count();
    if words >= 4 {
        return None;
    }
    let message = if doc.is_empty() {
        "begin the file with a `//!` doc: what it is for, its invariants, what happens on a crash, what it refuses"
    } else {
        "the module doc says too little: what is the module for?"
    };
    Some(Complaint::new("module-doc", source.path, 1, "", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_needs_a_module_doc_of_some_substance() {
        let cases = [
            ("//! Moves durable commits into the database file.\n", true),
            ("//! Page numbers.\n//!\n//! Invariants: a number is never zero.\n", true),
            ("//! One commit, handed over.\n", true),
            ("//! x\n", false),
            ("//! Page numbers here\n", false),
            ("fn f() {}\n", false),
            ("// A comment that is long enough but is not a doc.\n", false),
            ("\n//! Comes after an empty line, so it does not begin the file.\n", false),
        ];
        for (text, passes) in cases {
            let source = Source::parse("a.rs", text).unwrap();
            assert_eq!(check_module_doc(&source).is_none(), passes, "{text}");
        }
    }

    #[test]
    fn only_a_trailing_test_module_is_left_out_of_the_length() {
        let test = "#[cfg(test)]\nmod tests {\n    fn t() {}\n}\n";
        let cases = [
            (format!("fn f() {{}}\n\n{test}"), 2),
            (format!("{test}fn f() {{}}\n"), 5),
            ("fn f() {}\nmod tests {}\n".to_owned(), 2),
            ("fn f() {}\n#[cfg(not(test))]\nmod tests {}\n".to_owned(), 3),
        ];
        for (text, expected) in cases {
            assert_eq!(Source::parse("a.rs", &text).unwrap().lines_without_tests(), expected, "{text}");
        }
    }

    #[test]
    fn test_files_are_known_by_their_place() {
        let cases = [
            ("crates/a/tests/b.rs", true),
            ("tests/src/lib.rs", true),
            ("crates/a/src/b/tests.rs", true),
            ("crates/a/src/tests_of_time.rs", false),
            ("crates/a/src/b.rs", false),
        ];
        for (path, expected) in cases {
            assert_eq!(Source::parse(path, "").unwrap().is_test(), expected, "{path}");
        }
    }
}
