//! What no committed file may contain: unfinished work, and the paths of one person's machine.
//!
//! Invariants:
//! 1. Unfinished work is looked for in tokens, so that a test or a document may speak of it.
//! 2. Foreign paths are looked for in every text file, documents and scripts included.

use proc_macro2::{TokenStream, TokenTree};

use super::Complaint;
use super::source::Source;

/// Written in parts, so that this file passes its own check.
const FOREIGN_PATHS: &[&str] = &[concat!("/wo", "rk/"), concat!("../sha", "red"), concat!("/home", "/")];

/// Judges any text file.
pub(crate) fn check(path: &str, text: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for foreign in FOREIGN_PATHS.iter().filter(|foreign| line.contains(**foreign)) {
            let message = format!("`{foreign}` is a path of one workplace");
            complaints.push(Complaint::new("paths", path, index + 1, foreign, message));
        }
    }
    complaints
}

/// Judges the tokens of a Rust file.
pub(crate) fn check_tokens(source: &Source<'_>) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    collect(source.tokens.clone(), source.path, &mut complaints);
    complaints
}

fn collect(tokens: TokenStream, path: &str, complaints: &mut Vec<Complaint>) {
    let mut before: Option<TokenTree> = None;
    for token in tokens {
        let unfinished = match (&before, &token) {
            (Some(TokenTree::Ident(name)), TokenTree::Punct(mark)) if mark.as_char() == '!' => {
                (name == "todo" || name == "unimplemented").then(|| format!("{name}!"))
            }
            (Some(TokenTree::Punct(mark)), TokenTree::Group(group)) if mark.as_char() == '#' => {
                ignores(group.stream()).then(|| "#[ignore]".to_owned())
            }
            _ => None,
        };
        if let Some(what) = unfinished {
            let line = token.span().start().line;
            let message = format!("`{what}` is unfinished work: finish it or leave it out");
            complaints.push(Complaint::new("unfinished", path, line, &what, message));
        }
        if let TokenTree::Group(group) = &token {
            collect(group.stream(), path, complaints);
        }
        before = Some(token);
    }
}

/// Whether an attribute is `ignore`, `ignore = "…"` or `cfg_attr(…, ignore)`.
fn ignores(attribute: TokenStream) -> bool {
    let mut tokens = attribute.into_iter();
    match (tokens.next(), tokens.next()) {
        (Some(TokenTree::Ident(name)), _) if name == "ignore" => true,
        (Some(TokenTree::Ident(name)), Some(TokenTree::Group(inside))) if name == "cfg_attr" => inside
            .stream()
            .into_iter()
            .any(|token| matches!(token, TokenTree::Ident(name) if name == "ignore")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfinished(text: &str) -> Vec<String> {
        check_tokens(&Source::parse("a.rs", text).unwrap())
            .into_iter()
            .map(|complaint| complaint.item)
            .collect()
    }

    #[test]
    fn unfinished_work_is_found_at_any_depth_and_not_in_words_about_it() {
        assert_eq!(unfinished("fn f() { if a { todo!() } }"), ["todo!"]);
        assert_eq!(unfinished("fn f() { wrap!(unimplemented!(\"later\")) }"), ["unimplemented!"]);
        assert_eq!(unfinished("mod m { #[test] #[ignore] fn f() {} }"), ["#[ignore]"]);
        assert_eq!(unfinished("#[test] #[ignore = \"slow\"] fn f() {}"), ["#[ignore]"]);
        assert_eq!(unfinished("#[test] #[cfg_attr(unix, ignore)] fn f() {}"), ["#[ignore]"]);
        assert_eq!(
            unfinished("/// Never todo!().\nfn f() { print(\"#[ignore] unimplemented!\"); }"),
            [""; 0]
        );
        assert_eq!(unfinished("fn todo() { ignore(!todo) }"), [""; 0]);
    }

    #[test]
    fn a_path_of_one_workplace_is_found_in_any_text() {
        for foreign in FOREIGN_PATHS {
            let text = format!("fine\nsee {foreign}notes.md\n");
            let complaints = check("docs/a.md", &text);
            assert_eq!(
                complaints.iter().map(|complaint| complaint.line).collect::<Vec<_>>(),
                [2],
                "{foreign}"
            );
        }
        assert_eq!(check("docs/a.md", "file:///abs/app.db, network/shared, ../docs\n"), []);
    }
}
