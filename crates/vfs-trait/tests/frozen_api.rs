//! The trait is frozen: the crate's public API, read from its sources, must be `api.txt`.
//!
//! Made on the stable toolchain: `lib.rs` names what is exported, each module is parsed with `syn`, and every exported
//! item is printed without bodies, comments and private parts, sorted by name. A struct with private fields shows `..`.
//! The conformance suite is test code and not part of the frozen API. What a signature does not show, `Send` and
//! `Sync`, is fixed by a test of its own.
//!
//! `TWILL_BLESS=1 cargo test -p twill-vfs-trait --test frozen_api` writes `api.txt` anew.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    reason = "test code"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use syn::{
    Attribute, Fields, Ident, ImplItem, Item, ItemImpl, ItemUse, TraitItem, Type, UseTree, Visibility,
    parse_quote,
};
use twill_vfs_trait::{
    Checkpointed, Commit, MemoryStorage, PageImage, SlotGuard, Snapshot, StateId, Storage, StorageError,
    Wait, WriteTicket, WriterSlot,
};

const FROZEN: &str = "\
The public API of twill-vfs-trait differs from crates/vfs-trait/api.txt.

The Storage trait is frozen: the shim, every backend and the conformance suite are written against it, and new
abilities arrive as new ways to open a storage, not as changes of the trait. If this change is deliberate all the
same, bring the text up to date with
    TWILL_BLESS=1 cargo test -p twill-vfs-trait --test frozen_api
and let the commit say why the seam had to move.
";

#[test]
fn the_public_api_is_frozen() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (golden, found) = (root.join("api.txt"), public_api(&root.join("src")));
    if std::env::var_os("TWILL_BLESS").is_some() {
        fs::write(&golden, &found).unwrap();
    }
    let frozen = fs::read_to_string(&golden).expect("api.txt beside the crate's Cargo.toml");
    assert!(frozen == found, "{FROZEN}\n{}", difference(&frozen, &found));
}

/// The lines of one text that the other lacks.
fn difference(frozen: &str, found: &str) -> String {
    let lacking = |a: &str, b: &str, sign: &str| -> String {
        a.lines()
            .filter(|line| !b.lines().any(|other| other == *line))
            .map(|line| format!("{sign} {line}\n"))
            .collect()
    };
    lacking(frozen, found, "-") + &lacking(found, frozen, "+")
}

/// Everything reachable from `lib.rs`, item by item.
fn public_api(src: &Path) -> String {
    let mut exports: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for item in parse(&src.join("lib.rs")).items {
        match item {
            Item::Use(ItemUse { vis: Visibility::Public(_), tree, .. }) => collect(&tree, &mut exports),
            Item::Mod(item) if is_test_code(&item.attrs) || !is_public(&item.vis) => {}
            Item::Use(_) => {}
            other => panic!("lib.rs shall only name modules and exports, found {}", print(vec![other])),
        }
    }
    let mut api = BTreeMap::new();
    for (module, names) in &exports {
        let items = parse(&module_file(src, module)).items;
        for name in names {
            let text = print(exported(&items, name));
            assert!(!text.is_empty(), "{module}::{name} is exported but not found in its module");
            api.insert(name.clone(), text);
        }
    }
    let header = "The frozen public API of twill-vfs-trait. Written by tests/frozen_api.rs; do not edit.\n";
    api.into_values().fold(header.to_owned(), |text, item| text + "\n" + &item)
}

fn parse(path: &Path) -> syn::File {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn module_file(src: &Path, module: &str) -> PathBuf {
    let flat = src.join(format!("{module}.rs"));
    if flat.exists() { flat } else { src.join(module).join("mod.rs") }
}

/// `pub use module::Name` and `pub use module::{Name, Name}`; nothing else is used here.
fn collect(tree: &UseTree, exports: &mut BTreeMap<String, Vec<String>>) {
    let UseTree::Path(path) = tree else { panic!("an export must name its module") };
    let names = exports.entry(path.ident.to_string()).or_default();
    match &*path.tree {
        UseTree::Name(name) => names.push(name.ident.to_string()),
        UseTree::Group(group) => names.extend(group.items.iter().map(|item| match item {
            UseTree::Name(name) => name.ident.to_string(),
            _ => panic!("an export must be a plain name"),
        })),
        _ => panic!("an export must be a plain name"),
    }
}

/// The item of this name and its impls, stripped to what a user can see.
fn exported(items: &[Item], name: &str) -> Vec<Item> {
    let is = |ident: &Ident| ident == name;
    let mut found: Vec<Item> = items
        .iter()
        .filter(|item| match item {
            Item::Struct(item) => is(&item.ident),
            Item::Enum(item) => is(&item.ident),
            Item::Trait(item) => is(&item.ident),
            Item::Type(item) => is(&item.ident),
            Item::Fn(item) => is(&item.sig.ident),
            Item::Const(item) => is(&item.ident),
            _ => false,
        })
        .cloned()
        .map(signature)
        .collect();
    let mut impls: Vec<(String, Item)> = items
        .iter()
        .filter_map(|item| match item {
            Item::Impl(item) if concerns(item, name) => implementation(item.clone()),
            _ => None,
        })
        .map(|item| (print(vec![item.clone()]), item))
        .collect();
    impls.sort_by(|(one, _), (other, _)| one.cmp(other));
    found.extend(impls.into_iter().map(|(_, item)| item));
    found
}

fn concerns(item: &ItemImpl, name: &str) -> bool {
    match &*item.self_ty {
        Type::Path(path) => path.path.segments.last().is_some_and(|segment| segment.ident == name),
        Type::TraitObject(_) => panic!("an impl for a trait object: teach this test to print it"),
        _ => false,
    }
}

fn signature(item: Item) -> Item {
    match item {
        Item::Struct(mut item) => {
            keep_seen(&mut item.attrs);
            item.fields = visible(item.fields);
            Item::Struct(item)
        }
        Item::Enum(mut item) => {
            keep_seen(&mut item.attrs);
            for variant in &mut item.variants {
                keep_seen(&mut variant.attrs);
                variant.fields.iter_mut().for_each(|field| keep_seen(&mut field.attrs));
            }
            Item::Enum(item)
        }
        Item::Trait(mut item) => {
            keep_seen(&mut item.attrs);
            for member in &mut item.items {
                match member {
                    TraitItem::Fn(method) => {
                        keep_seen(&mut method.attrs);
                        if method.default.is_some() {
                            method.default = Some(parse_quote!({}));
                        }
                    }
                    TraitItem::Type(member) => keep_seen(&mut member.attrs),
                    TraitItem::Const(member) => keep_seen(&mut member.attrs),
                    _ => panic!("a trait member this test cannot print"),
                }
            }
            Item::Trait(item)
        }
        Item::Fn(mut item) => {
            keep_seen(&mut item.attrs);
            item.block = parse_quote!({});
            Item::Fn(item)
        }
        Item::Type(mut item) => {
            keep_seen(&mut item.attrs);
            Item::Type(item)
        }
        Item::Const(mut item) => {
            keep_seen(&mut item.attrs);
            Item::Const(item)
        }
        other => panic!("an item this test cannot print: {}", print(vec![other])),
    }
}

/// Public fields, and one that stands for all the others.
fn visible(fields: Fields) -> Fields {
    let Fields::Named(mut fields) = fields else {
        return fields;
    };
    let all = fields.named.len();
    fields.named = fields.named.into_iter().filter(|field| is_public(&field.vis)).collect();
    fields.named.iter_mut().for_each(|field| keep_seen(&mut field.attrs));
    if fields.named.len() < all {
        fields.named.push(parse_quote!(__private_fields: ()));
    }
    Fields::Named(fields)
}

/// The header of a trait's impl, the public members of a type's own. `None` when nothing is left to see.
fn implementation(mut item: ItemImpl) -> Option<Item> {
    keep_seen(&mut item.attrs);
    if item.trait_.is_some() {
        item.items.retain(|member| matches!(member, ImplItem::Type(_)));
        return Some(Item::Impl(item));
    }
    item.items.retain(|member| match member {
        ImplItem::Fn(method) => is_public(&method.vis),
        ImplItem::Const(member) => is_public(&member.vis),
        ImplItem::Type(member) => is_public(&member.vis),
        _ => true,
    });
    for member in &mut item.items {
        match member {
            ImplItem::Fn(method) => {
                keep_seen(&mut method.attrs);
                method.block = parse_quote!({});
            }
            ImplItem::Const(member) => keep_seen(&mut member.attrs),
            ImplItem::Type(member) => keep_seen(&mut member.attrs),
            _ => panic!("an impl member this test cannot print"),
        }
    }
    let header = ItemImpl { items: Vec::new(), ..item.clone() };
    item.items.sort_by_cached_key(|member| {
        print(vec![Item::Impl(ItemImpl { items: vec![member.clone()], ..header.clone() })])
    });
    (!item.items.is_empty()).then_some(Item::Impl(item))
}

/// Attributes that are part of the contract: derived traits, layout, `From` of an error's source.
fn keep_seen(attrs: &mut Vec<Attribute>) {
    attrs.retain(|attr| {
        ["derive", "non_exhaustive", "repr", "from", "deprecated"]
            .iter()
            .any(|name| attr.path().is_ident(name))
    });
}

fn is_public(vis: &Visibility) -> bool {
    matches!(vis, Visibility::Public(_))
}

/// Compiled for tests only, by `cfg(test)` or the feature of the suite.
fn is_test_code(attrs: &[Attribute]) -> bool {
    attrs.iter().any(|attr| {
        attr.path().is_ident("cfg") && {
            let condition = attr.meta.require_list().unwrap().tokens.to_string();
            condition == "test" || condition == "feature = \"conformance\""
        }
    })
}

fn print(items: Vec<Item>) -> String {
    prettyplease::unparse(&syn::File { shebang: None, attrs: Vec::new(), items })
        .replace("__private_fields: (),", "..")
}

/// What threads may do with each type. This fails to compile, or not at all.
#[test]
fn what_threads_may_share_is_frozen() {
    fn shared<T: Send + Sync + ?Sized>() {}
    fn sent<T: Send>() {}
    shared::<dyn Storage>();
    shared::<MemoryStorage>();
    shared::<Snapshot>();
    shared::<StateId>();
    shared::<StorageError>();
    shared::<Commit<'_>>();
    shared::<PageImage<'_>>();
    shared::<Wait>();
    shared::<WriterSlot>();
    shared::<SlotGuard>();
    shared::<Checkpointed>();
    sent::<WriteTicket>();
}
