//! A function fits a screen, a file a sitting.
//!
//! Invariants:
//! 1. A function, from its `fn` to its closing brace, has at most [`FUNCTION_LINES_MAX`] lines; tests count too.
//! 2. A file has at most [`FILE_LINES_MAX`] lines before its test module; files of test code are not limited.

use syn::spanned::Spanned;
use syn::visit::Visit;

use super::Complaint;
use super::source::Source;

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 800;

/// Checks one file.
pub(crate) fn check(source: &Source<'_>) -> Vec<Complaint> {
    let mut functions = Functions { path: source.path, complaints: Vec::new() };
    functions.visit_file(&source.syntax);
    let mut complaints = functions.complaints;
    let lines = source.lines_without_tests();
    if lines > FILE_LINES_MAX && !source.is_test() {
        let message =
            format!("{lines} lines without tests; split it along a seam (at most {FILE_LINES_MAX})");
        complaints.push(Complaint::new("file-length", source.path, 0, "", message));
    }
    complaints
}

struct Functions<'a> {
    path: &'a str,
    complaints: Vec<Complaint>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let first = signature.span().start().line;
        let lines = body.span().end().line - first + 1;
        if lines > FUNCTION_LINES_MAX {
            let name = signature.ident.to_string();
            let message =
                format!("{name} has {lines} lines; split it along a seam (at most {FUNCTION_LINES_MAX})");
            self.complaints.push(Complaint::new("function-length", self.path, first, &name, message));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.measure(&function.sig, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.measure(&function.sig, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(body) = &function.default {
            self.measure(&function.sig, body);
        }
        syn::visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> Vec<String> {
        let source = Source::parse(path, text).unwrap();
        check(&source)
            .into_iter()
            .map(|complaint| format!("{}:{}", complaint.check, complaint.item))
            .collect()
    }

    fn function(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    step();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_of_the_limit_passes_and_one_line_more_does_not() {
        assert_eq!(complaints("a.rs", &function(FUNCTION_LINES_MAX)), [""; 0]);
        assert_eq!(complaints("a.rs", &function(FUNCTION_LINES_MAX + 1)), ["function-length:long"]);
    }

    #[test]
    fn methods_trait_methods_and_tests_are_measured_as_well() {
        let long = function(FUNCTION_LINES_MAX + 1);
        for text in [
            format!("impl A {{\n{long}}}\n"),
            format!("trait A {{\n{long}}}\n"),
            format!("#[cfg(test)]\nmod tests {{\n{long}}}\n"),
        ] {
            assert_eq!(complaints("a.rs", &text), ["function-length:long"], "{text}");
        }
    }

    #[test]
    fn a_long_file_is_a_complaint_unless_its_length_is_tests() {
        let long = "const A: u8 = 0;\n".repeat(FILE_LINES_MAX + 1);
        assert_eq!(complaints("src/a.rs", &long), ["file-length:"]);
        assert_eq!(complaints("src/a/tests.rs", &long), [""; 0]);
        assert_eq!(complaints("src/a.rs", &format!("#[cfg(test)]\nmod tests {{\n{long}}}\n")), [""; 0]);
    }
}
