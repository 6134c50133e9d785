//! The protocol, exhausted within small bounds. The number of states is part of the test: a model that has become
//! smaller by accident would be clean too.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    missing_docs,
    reason = "test code"
)]

use twill_tests_model::check::Search;
use twill_tests_model::variants::Case;
use twill_tests_model::{branch, layers, log};

fn exhaust(name: &str, case: Case, states: usize) {
    let explored = case.explore(&Search::default());
    for found in &explored.counterexamples {
        println!("{name}: {found}");
    }
    assert!(explored.counterexamples.is_empty(), "{name} is broken");
    assert!(explored.exhausted, "{name} is not exhausted");
    assert!(explored.never.is_empty(), "{name}: these never happen: {:?}", explored.never);
    assert_eq!(explored.progress.states, states, "{name}: distinct states");
}

const LOG: log::Bounds = log::Bounds::small(log::rules::Rules::protocol());

#[test]
fn a_window_of_three() {
    exhaust("window 3", Case::Log(log::Bounds { window: 3, lost: 0, ..LOG }), 410_104);
}

#[test]
fn three_processes() {
    exhaust("3 processes", Case::Log(log::Bounds { processes: 3, commits: 2, lost: 0, ..LOG }), 857_207);
}

#[test]
fn collection_beside_faults() {
    exhaust("floor", Case::Log(log::Bounds { floors: 1, commits: 2, late: 0, ..LOG }), 312_620);
}

#[test]
fn merging_and_following() {
    let bounds =
        log::Bounds { floors: 2, commits: 2, merging: true, following: true, late: 0, crashes: 0, ..LOG };
    exhaust("merging", Case::Log(bounds), 529_838);
}

const BRANCHES: branch::Bounds = branch::Bounds {
    rules: branch::Rules::protocol(),
    commits: 3,
    checkpoints: 2,
    creations: 1,
    deletions: 0,
    resets: 0,
    rounds: 1,
    openings: 1,
    clones: 0,
};

#[test]
fn branches_beside_collection() {
    exhaust("branches", Case::Branch(BRANCHES), 7_275);
}

#[test]
fn children_of_children_and_clones() {
    let bounds =
        branch::Bounds { commits: 2, checkpoints: 1, creations: 2, rounds: 2, clones: 1, ..BRANCHES };
    exhaust("children", Case::Branch(bounds), 101_906);
}

#[test]
fn deletion_beside_creation_and_collection() {
    let bounds = branch::Bounds { commits: 2, deletions: 1, openings: 2, ..BRANCHES };
    exhaust("deletion", Case::Branch(bounds), 188_489);
}

#[test]
fn reset_beside_collection() {
    let bounds = branch::Bounds { creations: 0, resets: 1, openings: 2, ..BRANCHES };
    exhaust("reset", Case::Branch(bounds), 58_901);
}

#[test]
fn two_registers() {
    let bounds = layers::Bounds {
        rules: layers::Rules::protocol(),
        processes: 2,
        openings: 3,
        commits: 2,
        flushes: 2,
        compactions: 1,
        sweeps: 1,
    };
    exhaust("layers", Case::Layers(bounds), 807_903);
}
