//! The suite against the reference, and the suite against storages that break a promise.
//!
//! [`memory::Memory`] is [`MemoryStorage`] as it is; it cannot reopen. [`memory::Journaled`] keeps in the place what its
//! medium persisted and replays it on open, so that the properties of reopening, crashing and a full medium are proven
//! here too, before the first backend with a real medium exists.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    missing_docs,
    reason = "test code"
)]

#[path = "conformance/memory.rs"]
mod memory;
#[path = "conformance/mutants.rs"]
mod mutants;

mod reference {
    twill_vfs_trait::conformance_suite!(crate::memory::Memory);
}

mod journaled {
    twill_vfs_trait::conformance_suite!(crate::memory::Journaled);
}

use twill_vfs_trait::conformance::{Ability, Fault, Verdict, properties, run};

/// What the reference cannot rehearse is skipped, by name, and nothing else is.
#[test]
fn exactly_the_declared_gaps_are_skipped() {
    for (name, verdict) in run(&memory::Memory) {
        if let Verdict::Skipped(lacking) = verdict {
            let gaps = [
                Ability::Reopen,
                Ability::Crash,
                Ability::Fence,
                Ability::Expire,
                Ability::Fail(Fault::Full),
            ];
            assert!(lacking.iter().all(|ability| gaps.contains(ability)), "{name}: {lacking:?}");
        }
    }
    let skipped = run(&memory::Journaled).into_iter().find(|(_, verdict)| *verdict != Verdict::Held);
    assert_eq!(skipped, None);
}

#[test]
fn property_names_are_unique() {
    let mut names: Vec<_> = properties::<memory::Memory>().iter().map(|property| property.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}
