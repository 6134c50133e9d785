//! Words that say nothing are not used in names of ours: see `GLOSSARY.md` for the ones that say something.
//!
//! Invariants:
//! 1. A word counts only as a whole segment of a snake_case or CamelCase name: `metadata`, `determine` and
//!    `Terminate` are fine.
//! 2. Names are judged where they are defined (items, fields, variants, methods, files, directories), not where they
//!    are used: a name that another library chose may be called.
//! 3. A pair in [`FOREIGN`] is another project's own name for the thing, and stays.

use syn::visit::Visit;

use super::Complaint;
use super::source::Source;

const CHECK: &str = "names";
const FORBIDDEN: &[&str] =
    &["util", "utils", "manager", "managers", "helper", "helpers", "data", "info", "term", "terms"];
/// libSQL's WAL manager, SQLite's PRAGMA data_version, and std's `File::sync_data`.
const FOREIGN: &[&str] = &["wal_manager", "data_version", "sync_data"];

/// Judges the names that a file defines.
pub(crate) fn check(source: &Source<'_>) -> Vec<Complaint> {
    let mut names = Names { path: source.path, complaints: Vec::new() };
    names.visit_file(&source.syntax);
    names.complaints
}

/// Judges a path: each directory and the file's stem.
pub(crate) fn check_path(path: &str) -> Option<Complaint> {
    let words = path.split(['/', '.']).flat_map(forbidden_words).collect::<Vec<_>>();
    let word = words.first()?;
    Some(Complaint::new(CHECK, path, 0, "", format!("`{word}` in a path says nothing: name what is inside")))
}

/// The forbidden segments of one name.
fn forbidden_words(name: &str) -> Vec<String> {
    let mut snake = segments(name).join("_");
    for foreign in FOREIGN {
        snake = snake.replace(foreign, "");
    }
    snake.split('_').filter(|word| FORBIDDEN.contains(word)).map(ToOwned::to_owned).collect()
}

/// The words of a snake_case, kebab-case or CamelCase name, in lower case.
fn segments(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for letter in name.chars() {
        let separates = !letter.is_alphanumeric();
        if separates || (letter.is_uppercase() && after_lower) {
            words.push(String::new());
        }
        if let (false, Some(word)) = (separates, words.last_mut()) {
            word.extend(letter.to_lowercase());
        }
        after_lower = letter.is_lowercase() || letter.is_numeric();
    }
    words.retain(|word| !word.is_empty());
    words
}

struct Names<'a> {
    path: &'a str,
    complaints: Vec<Complaint>,
}

impl Names<'_> {
    fn judge(&mut self, name: &syn::Ident) {
        let text = name.to_string();
        if let Some(word) = forbidden_words(&text).first() {
            let message = format!("`{word}` in `{text}` says nothing: name the thing by the field's word");
            let line = name.span().start().line;
            self.complaints.push(Complaint::new(CHECK, self.path, line, &text, message));
        }
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "syn's enum grows with the language; the rest defines no name"
    )]
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            syn::Item::Const(item) => self.judge(&item.ident),
            syn::Item::Enum(item) => self.judge(&item.ident),
            syn::Item::Mod(item) => self.judge(&item.ident),
            syn::Item::Static(item) => self.judge(&item.ident),
            syn::Item::Struct(item) => self.judge(&item.ident),
            syn::Item::Trait(item) => self.judge(&item.ident),
            syn::Item::Type(item) => self.judge(&item.ident),
            syn::Item::Union(item) => self.judge(&item.ident),
            syn::Item::Macro(item) => item.ident.iter().for_each(|name| self.judge(name)),
            // Functions are judged by their signatures; an extern block names what another library chose.
            _ => {}
        }
        if !matches!(item, syn::Item::ForeignMod(_)) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        self.judge(&signature.ident);
        syn::visit::visit_signature(self, signature);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        field.ident.iter().for_each(|name| self.judge(name));
        syn::visit::visit_field(self, field);
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.judge(&variant.ident);
        syn::visit::visit_variant(self, variant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_counts_only_as_a_whole_segment() {
        let cases = [
            ("PageInfo", vec!["info"]),
            ("string_utils", vec!["utils"]),
            ("ConnectionManager", vec!["manager"]),
            ("TERM_MAX", vec!["term"]),
            ("Data2Info", vec!["info"]),
            ("metadata", vec![]),
            ("determine", vec![]),
            ("informed_helpless", vec![]),
            ("libsql_wal_manager", vec![]),
            ("wal_manager_info", vec!["info"]),
            ("data_version", vec![]),
        ];
        for (name, expected) in cases {
            assert_eq!(forbidden_words(name), expected, "{name}");
        }
    }

    #[test]
    fn every_kind_of_definition_is_judged_and_no_use_is() {
        let defined = "
            const DATA: u8 = 0; static DATA: u8 = 0; struct Data; enum Data {} mod data {} trait Data {}
            type Data = u8; union Data { a: u8 } macro_rules! data { () => {} } fn data() {}
            struct A { data: u8 } enum B { Data } impl A { fn data(&self) {} } trait C { fn data(&self); }
            fn outer() { fn data() {} }";
        let source = Source::parse("a.rs", defined).unwrap();
        assert_eq!(check(&source).len(), 15);
        let used = "use other::Data; extern \"C\" { fn data(); } fn f(x: Data) -> Info { x.data().info }";
        assert_eq!(check(&Source::parse("a.rs", used).unwrap()), []);
    }

    #[test]
    fn paths_are_judged_too() {
        assert!(check_path("crates/engine/src/utils.rs").is_some());
        assert!(check_path("crates/test-helpers/Cargo.toml").is_some());
        assert!(check_path("docs/data/a.md").is_some());
        assert!(check_path("crates/engine/src/database.rs").is_none());
    }
}
