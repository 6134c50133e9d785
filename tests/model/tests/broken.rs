//! Every broken protocol must be found out, in the fewest steps it takes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    reason = "test code"
)]

use twill_tests_model::variants::{self, Variant};

fn find(variant: &Variant) -> Result<(), String> {
    let Some((found, _)) = variant.find(20_000_000) else {
        return Err(format!("rule {}: {}: not found out", variant.rule, variant.name));
    };
    println!("rule {}: {}\n{found}\n", variant.rule, variant.name);
    if found.steps.len() == variant.steps {
        Ok(())
    } else {
        Err(format!("{}: found in {} steps, not {}", variant.name, found.steps.len(), variant.steps))
    }
}

fn find_all(rules: &[&str]) {
    let chosen: Vec<Variant> =
        variants::all().into_iter().filter(|variant| rules.contains(&variant.rule)).collect();
    assert!(!chosen.is_empty(), "no variant breaks {rules:?}");
    let failures: Vec<String> = chosen.iter().filter_map(|variant| find(variant).err()).collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn slots_epochs_and_fences() {
    find_all(&["2", "3", "4", "5"]);
}

#[test]
fn opening_against_collection() {
    find_all(&["8", "9"]);
}

#[test]
fn two_registers() {
    find_all(&["10", "11", "12"]);
}

#[test]
fn branches_pins_and_seals() {
    find_all(&["13", "14", "15"]);
}

#[test]
fn readers() {
    find_all(&["18"]);
}

#[test]
fn each_variant_belongs_to_a_test() {
    let tested = ["2", "3", "4", "5", "8", "9", "10", "11", "12", "13", "14", "15", "18"];
    for variant in variants::all() {
        assert!(tested.contains(&variant.rule), "{} breaks rule {}", variant.name, variant.rule);
    }
}
