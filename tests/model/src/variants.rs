//! The broken protocols that must be found out: each is the protocol but for one rule.
//!
//! A variant says which rule it breaks, in which model and bound, which property that costs, and in how many steps at
//! least. (Flat slots with the epoch kept is shown without the gate of rule 8, which would hide it.) A variant whose counterexample is not found is a defect of the model: it would then not notice either if
//! the design broke the rule. The bound of each is the smallest found in which the rule is missed.

use crate::branch::{BranchModel, PinHolds};
use crate::check::{Counterexample, Explored, Progress, Search, explore};
use crate::layers::LayersModel;
use crate::log::LogModel;
use crate::log::rules::{Ambiguous, Epochs, Exists, FenceAt, Gate, Layout, Rules, Send, Swap412};
use crate::{branch, layers, log};

/// A model and its bound.
#[derive(Clone, Copy, Debug)]
pub enum Case {
    /// The log.
    Log(log::Bounds),
    /// Branches.
    Branch(branch::Bounds),
    /// The two registers.
    Layers(layers::Bounds),
}

impl Case {
    /// Explores it.
    #[must_use]
    pub fn explore(self, search: &Search<'_>) -> Explored {
        match self {
            Self::Log(bounds) => explore(LogModel { bounds }, search),
            Self::Branch(bounds) => explore(BranchModel { bounds }, search),
            Self::Layers(bounds) => explore(LayersModel { bounds }, search),
        }
    }
}

/// A protocol that is broken.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// What it does.
    pub name: &'static str,
    /// The rule of the protocol that it breaks.
    pub rule: &'static str,
    /// The property that this costs; another may be found broken in the same exploration.
    pub costs: &'static str,
    /// Steps of the shortest trace to that.
    pub steps: usize,
    /// Where it is found.
    pub case: Case,
}

impl Variant {
    /// The shortest counterexample to the property it costs, and how far the first exploration had to go for one;
    /// `None` when there is none within `limit` reached states.
    ///
    /// The checker goes on for a moment after a first counterexample and then shows the last, so that a shorter one
    /// is asked for until there is none.
    #[must_use]
    pub fn find(&self, limit: usize) -> Option<(Counterexample, Progress)> {
        let mut search = Search { limit: Some(limit), ..Search::default() };
        let first = self.case.explore(&search);
        let mut shortest = first.counterexamples.into_iter().find(|found| found.property == self.costs)?;
        loop {
            search.steps_max = Some(shortest.steps.len().saturating_sub(1));
            let shorter = self.case.explore(&search).counterexamples;
            match shorter.into_iter().find(|found| found.property == self.costs) {
                Some(found) => shortest = found,
                None => return Some((shortest, first.progress)),
            }
        }
    }
}

const HISTORY: &str = "durable history grows only as a prefix";
const CONTIGUOUS: &str = "LSNs are contiguous";
const ACKNOWLEDGED: &str = "every acknowledged commit is in the history";
const BASE: &str = "the base of a branch is there";
const NAMED: &str = "a commit is acknowledged only where a branch is";

/// Every variant, by model.
#[must_use]
pub fn all() -> Vec<Variant> {
    let mut all = of_the_log();
    all.extend(of_the_log_beside_collection());
    all.extend(of_branches());
    all.extend(of_ends_of_branches());
    all.extend(of_layers());
    all
}

fn log_variant(
    (name, rule, costs, steps): (&'static str, &'static str, &'static str, usize),
    rules: Rules,
    bounds: impl Fn(log::Bounds) -> log::Bounds,
) -> Variant {
    Variant { name, rule, costs, steps, case: Case::Log(bounds(log::Bounds::small(rules))) }
}

fn of_the_log() -> Vec<Variant> {
    let sound = Rules::protocol();
    let four_commits = |bounds| log::Bounds { commits: 4, late: 0, lost: 0, crashes: 0, ..bounds };
    let same = |bounds| bounds;
    let crash = |bounds| log::Bounds { commits: 2, late: 0, lost: 0, ..bounds };
    vec![
        log_variant(
            ("flat slots, and a lower epoch's record is void", "2", CONTIGUOUS, 14),
            Rules { layout: Layout::Flat, ..sound },
            four_commits,
        ),
        log_variant(
            (
                "flat slots, and the epoch is kept over a lost race for the fence",
                "3",
                "a record builds on the one before it",
                11,
            ),
            Rules { layout: Layout::Flat, epochs: Epochs::Kept, gate: Gate::None, ..sound },
            same,
        ),
        log_variant(
            (
                "the epoch is kept over a lost race for the fence",
                "3",
                "a record builds on the one before it",
                20,
            ),
            Rules { epochs: Epochs::Kept, ..sound },
            crash,
        ),
        log_variant(
            ("the fence goes after the last slot that LIST named", "4", ACKNOWLEDGED, 12),
            Rules { fence_at: FenceAt::AfterLastListed, ..sound },
            same,
        ),
        log_variant(
            ("a slot is acknowledged before those before it", "4", ACKNOWLEDGED, 7),
            Rules { acknowledged_in_order: false, ..sound },
            same,
        ),
        log_variant(
            ("an ambiguous commit moves to another slot", "5", CONTIGUOUS, 7),
            Rules { ambiguous: Ambiguous::NextSlot, ..sound },
            same,
        ),
        log_variant(
            ("what exists after an ambiguous attempt is taken for one's own", "5", ACKNOWLEDGED, 10),
            Rules { exists: Exists::TakenForOwn, ..sound },
            same,
        ),
    ]
}

fn of_the_log_beside_collection() -> Vec<Variant> {
    let sound = Rules::protocol();
    let floor = |bounds| log::Bounds { commits: 2, floors: 1, late: 0, ..bounds };
    let merging = |bounds| log::Bounds { commits: 2, floors: 1, merging: true, ..bounds };
    let following =
        |bounds| log::Bounds { commits: 2, late: 0, lost: 0, floors: 1, following: true, ..bounds };
    vec![
        log_variant(
            ("nothing is done to the branch record before the first acknowledgement", "8", ACKNOWLEDGED, 15),
            Rules { gate: Gate::None, ..sound },
            floor,
        ),
        log_variant(
            (
                "the floor is read again, and not swapped, before the first acknowledgement",
                "8",
                ACKNOWLEDGED,
                15,
            ),
            Rules { gate: Gate::FloorRead, ..sound },
            floor,
        ),
        log_variant(
            ("records are sent before the gate, and only acknowledged after it", "8", CONTIGUOUS, 17),
            Rules { send: Send::AfterFence, ..sound },
            floor,
        ),
        log_variant(
            ("on 412 the branch record is swapped again without reading again", "8", ACKNOWLEDGED, 15),
            Rules { swap_412: Swap412::TriesAgain, ..sound },
            floor,
        ),
        log_variant(
            ("fences are deleted", "9", ACKNOWLEDGED, 11),
            Rules { fences_kept: false, ..sound },
            floor,
        ),
        log_variant(
            ("slots are deleted before the floor is raised", "9", HISTORY, 7),
            Rules { floor_before_delete: false, ..sound },
            floor,
        ),
        log_variant(
            ("slots are deleted before what merges them is published", "9", "every commit stays readable", 8),
            Rules { merged_before_delete: false, ..sound },
            merging,
        ),
        log_variant(
            (
                "a follower does not check that records follow each other",
                "18",
                "a follower reads the history alone",
                21,
            ),
            Rules { follower_checks: false, ..sound },
            following,
        ),
    ]
}

const BRANCHES: branch::Bounds = branch::Bounds {
    rules: branch::Rules::protocol(),
    commits: 2,
    checkpoints: 2,
    creations: 1,
    deletions: 0,
    resets: 0,
    rounds: 1,
    openings: 1,
    clones: 0,
};

fn branch_variant(
    (name, rule, costs, steps): (&'static str, &'static str, &'static str, usize),
    bounds: branch::Bounds,
) -> Variant {
    Variant { name, rule, costs, steps, case: Case::Branch(bounds) }
}

fn of_branches() -> Vec<Variant> {
    let sound = branch::Rules::protocol();
    let with = |rules| branch::Bounds { rules, ..BRANCHES };
    let children =
        branch::Bounds { creations: 2, rounds: 2, openings: 2, checkpoints: 1, clones: 1, ..BRANCHES };
    let reuse = branch::Rules { timelines_never_reused: false, ..sound };
    let chain = branch::Rules { pin_names_whole_chain: false, ..sound };
    let unpin = branch::Rules { clone_before_unpin: false, ..sound };
    vec![
        branch_variant(
            ("a timeline's id is given away again", "13", NAMED, 19),
            branch::Bounds {
                rules: reuse,
                creations: 2,
                deletions: 1,
                openings: 2,
                checkpoints: 0,
                rounds: 0,
                ..BRANCHES
            },
        ),
        branch_variant(
            ("a branch is created before its pin", "14", BASE, 11),
            with(branch::Rules { pin_before_floor_read: false, ..sound }),
        ),
        branch_variant(
            ("a pin holds an LSN, not the base", "14", BASE, 12),
            with(branch::Rules { pin_holds: PinHolds::Lsn, ..sound }),
        ),
        branch_variant(
            ("the LSN is compared with the floor, not the base's checkpoint", "14", BASE, 12),
            with(branch::Rules { checkpoint_compared: false, ..sound }),
        ),
        branch_variant(
            ("a grandchild's pin does not name the grandparent", "14", BASE, 22),
            branch::Bounds { rules: chain, ..children },
        ),
        branch_variant(
            ("pins are listed before the floor is persisted", "14", BASE, 12),
            with(branch::Rules { floor_before_list: false, ..sound }),
        ),
        branch_variant(
            ("a pin that nobody claims is collected without a tombstone", "14", BASE, 13),
            with(branch::Rules { unclaimed_pin_tombstoned: false, ..sound }),
        ),
        branch_variant(
            ("a child gives up its pin before it has its clone", "15", BASE, 13),
            branch::Bounds { rules: unpin, checkpoints: 1, clones: 1, ..BRANCHES },
        ),
    ]
}

fn of_ends_of_branches() -> Vec<Variant> {
    let sound = branch::Rules::protocol();
    let ending = branch::Bounds { openings: 2, creations: 0, checkpoints: 0, rounds: 0, ..BRANCHES };
    let unsealed = branch::Rules { sealed_first: false, ..sound };
    let early = branch::Rules { pins_listed_after_tombstone: false, ..sound };
    vec![
        branch_variant(
            ("a branch is deleted without a seal before", "15", NAMED, 6),
            branch::Bounds { rules: unsealed, deletions: 1, ..ending },
        ),
        branch_variant(
            ("a branch is reset without a seal before", "15", NAMED, 9),
            branch::Bounds { rules: unsealed, resets: 1, ..ending },
        ),
        branch_variant(
            ("a deletion deletes the seal", "9", NAMED, 9),
            branch::Bounds { rules: branch::Rules { seals_kept: false, ..sound }, deletions: 1, ..ending },
        ),
        branch_variant(
            ("a deletion lists pins before its tombstone", "15", BASE, 12),
            branch::Bounds { rules: early, deletions: 1, creations: 1, ..ending },
        ),
        branch_variant(
            (
                "a reset seals before its record claims the pin",
                "15",
                "a seal leads to a timeline whose base is there",
                12,
            ),
            branch::Bounds {
                rules: branch::Rules { reset_claimed_before_seal: false, ..sound },
                resets: 1,
                checkpoints: 2,
                rounds: 1,
                ..ending
            },
        ),
    ]
}

fn of_layers() -> Vec<Variant> {
    let sound = layers::Rules::protocol();
    let variant = |(name, rule, costs, steps), rules| {
        let bounds = layers::Bounds {
            rules,
            processes: 2,
            openings: 3,
            commits: 2,
            flushes: 2,
            compactions: 1,
            sweeps: 1,
        };
        Variant { name, rule, costs, steps, case: Case::Layers(bounds) }
    };
    vec![
        variant(
            ("what is not durable is applied", "10", "the layers hold the durable history", 7),
            layers::Rules { durable_applied_only: false, ..sound },
        ),
        variant(
            (
                "the floor is raised above what is flushed",
                "10",
                "every LSN is in the layers or in the log",
                9,
            ),
            layers::Rules { floor_at_flushed: false, ..sound },
        ),
        variant(
            (
                "the flushed LSN is not read again under SlateDB's fence",
                "11",
                "the applied LSN never goes back",
                16,
            ),
            layers::Rules { flushed_read_again: false, ..sound },
        ),
        variant(
            (
                "a reader stays on its manifest when a layer is gone",
                "11",
                "no reader fails for a deleted layer",
                12,
            ),
            layers::Rules { manifest_read_again: false, ..sound },
        ),
        variant(
            (
                "a manifest is written without a look at the boundary",
                "12",
                "every LSN is in the layers or in the log",
                18,
            ),
            layers::Rules { boundary_looked_at: false, ..sound },
        ),
        variant(
            (
                "the manifest is read before the branch record",
                "8",
                "an opener's manifest is not below its floor",
                12,
            ),
            layers::Rules { record_before_manifest: false, ..sound },
        ),
    ]
}
