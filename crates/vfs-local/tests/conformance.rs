//! The suite every backend must pass, over real files and over a disk that forgets what was not synced.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    missing_docs,
    reason = "test code"
)]

#[path = "common/gate.rs"]
mod gate;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gate::{Gate, GateDisk, Headered};
use twill_types::Door;
use twill_vfs_local::disk::{Disk, OsDisk, SimDisk};
use twill_vfs_local::{LocalFileStorage, LocalOptions, Mode};
use twill_vfs_trait::Storage;
use twill_vfs_trait::conformance::{Ability, Backend, Fault};

const ABILITIES: &[Ability] = &[
    Ability::Reopen,
    Ability::Crash,
    Ability::ReadOnly,
    Ability::Hold,
    Ability::CountPersists,
    Ability::Fail(Fault::Indeterminate),
    Ability::Fail(Fault::Full),
];

enum Medium {
    Real(tempfile::TempDir),
    Simulated(SimDisk),
}

struct Place {
    medium: Medium,
    gate: Arc<Gate>,
}

/// While the background checkpoint works all the time, a held or failing sync may be its own.
const ABILITIES_WHILE_CHECKPOINTING: &[Ability] = &[Ability::Reopen, Ability::Crash, Ability::ReadOnly];

struct Local {
    simulated: bool,
    /// A tiny log makes the background checkpoint work all the time.
    checkpoint_frames: u32,
}

impl Local {
    fn open_as(&self, place: &Place, mode: Mode) -> Arc<dyn Storage> {
        let (inner, path): (Arc<dyn Disk>, PathBuf) = match &place.medium {
            Medium::Real(dir) => (Arc::new(OsDisk), dir.path().join("app.db")),
            Medium::Simulated(disk) => (Arc::new(disk.clone()), PathBuf::from("/sim/app.db")),
        };
        let disk = Arc::new(GateDisk { inner, gate: Arc::clone(&place.gate) });
        let checkpoint_frames = self.checkpoint_frames;
        let options = LocalOptions { mode, checkpoint_frames, ..LocalOptions::default() };
        let storage = LocalFileStorage::open_on(disk, &path, options, <dyn Door>::system()).unwrap();
        Arc::new(Headered(storage))
    }
}

impl Backend for Local {
    type Place = Place;

    fn name(&self) -> String {
        let medium = if self.simulated { "a simulated disk" } else { "real files" };
        format!("LocalFileStorage on {medium}")
    }

    fn abilities(&self) -> &[Ability] {
        if self.checkpoint_frames < 1000 { ABILITIES_WHILE_CHECKPOINTING } else { ABILITIES }
    }

    fn create(&self) -> Place {
        let medium = if self.simulated {
            Medium::Simulated(SimDisk::new(7))
        } else {
            Medium::Real(tempfile::tempdir().unwrap())
        };
        Place { medium, gate: Arc::default() }
    }

    fn open(&self, place: &Place) -> Arc<dyn Storage> {
        self.open_as(place, Mode::ReadWriteCreate)
    }

    fn open_read_only(&self, place: &Place) -> Arc<dyn Storage> {
        self.open_as(place, Mode::ReadOnly)
    }

    fn crash(&self, place: &Place, storage: Arc<dyn Storage>) {
        if let Medium::Simulated(disk) = &place.medium {
            disk.restart();
        }
        drop(storage);
    }

    fn hold(&self, place: &Place) {
        place.gate.hold(true);
    }

    fn release(&self, place: &Place) {
        place.gate.hold(false);
    }

    fn persists(&self, place: &Place) -> u64 {
        place.gate.syncs.load(Ordering::SeqCst)
    }

    fn fail_next(&self, place: &Place, fault: Fault) {
        match fault {
            Fault::Full => place.gate.fail_write.store(true, Ordering::SeqCst),
            Fault::Indeterminate | Fault::NotApplied => place.gate.fail_sync.store(true, Ordering::SeqCst),
        }
    }
}

mod real_files {
    twill_vfs_trait::conformance_suite!(crate::Local { simulated: false, checkpoint_frames: 1000 });
}

mod real_files_with_a_tiny_log {
    twill_vfs_trait::conformance_suite!(crate::Local { simulated: false, checkpoint_frames: 3 });
}

mod simulated_disk {
    twill_vfs_trait::conformance_suite!(crate::Local { simulated: true, checkpoint_frames: 1000 });
}

mod simulated_disk_with_a_tiny_log {
    twill_vfs_trait::conformance_suite!(crate::Local { simulated: true, checkpoint_frames: 5 });
}
