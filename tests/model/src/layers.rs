//! The log and SlateDB as two registers with a fence each.
//!
//! A process fences the log, and only later, before its first apply, SlateDB; between the two an older process may go
//! on flushing what was durable under it, compact, and raise the floor. SlateDB's fence is its manifest: a chain of
//! objects, each created under the next id, each naming the epoch of its writer. Old manifests are deleted, so an id
//! can be free again; the boundary file says up to which id that may be, and whoever created an id not above it has
//! created nothing.
//!
//! Abstracted, and not covered:
//! - The log is one register: an append lands if its writer is still the owner ([`crate::log`] shows why that holds).
//!   It has the branch record's gate, and slots that are deleted below the floor.
//! - An apply is one manifest: upload of the layer, its batch and its coalescing are not seen. What a manifest holds
//!   is the writer of each LSN up to its applied LSN.
//! - A compaction replaces every layer by one. Layers that are no longer named may be deleted at once: no clock, no
//!   grace.
//! - Named checkpoints and clones are in [`crate::branch`]. SlateDB's WAL is off.

pub mod flushing;
pub mod properties;

use stateright::{Model, Property};

use crate::layers::properties::Broken;

/// The most LSNs, and one.
pub const LSNS: usize = 5;
/// The most manifests.
pub const MANIFESTS: usize = 9;
/// The most processes.
pub const PROCESSES: usize = 3;

/// The rules of the two registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one rule, kept or broken, and reads as a sentence"
)]
pub struct Rules {
    /// Rule 10: only LSNs that are durable are applied.
    pub durable_applied_only: bool,
    /// Rule 10: the floor is not above what SlateDB has flushed, as its own epoch knows.
    pub floor_at_flushed: bool,
    /// Rule 11: the last flushed LSN is read again after SlateDB is fenced.
    pub flushed_read_again: bool,
    /// Rule 11: a reader over an older manifest reads the manifest again when a layer is gone.
    pub manifest_read_again: bool,
    /// Rule 12: whoever writes a manifest looks at the boundary file.
    pub boundary_looked_at: bool,
    /// Rule 8: the branch record is read before the manifest, so that the manifest is not below the floor.
    pub record_before_manifest: bool,
}

impl Rules {
    /// The protocol.
    #[must_use]
    pub const fn protocol() -> Self {
        Self {
            durable_applied_only: true,
            floor_at_flushed: true,
            flushed_read_again: true,
            manifest_read_again: true,
            boundary_looked_at: true,
            record_before_manifest: true,
        }
    }
}

/// How far an exploration goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// The rules that are followed.
    pub rules: Rules,
    /// Processes that are up at once.
    pub processes: u8,
    /// Openings.
    pub openings: u8,
    /// Commits.
    pub commits: u8,
    /// Flushes.
    pub flushes: u8,
    /// Compactions.
    pub compactions: u8,
    /// Rounds of deleting old manifests.
    pub sweeps: u8,
}

/// A manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Manifest {
    /// Whether the object is there.
    pub present: bool,
    /// SlateDB's epoch of its writer.
    pub epoch: u8,
    /// The last LSN in its layers.
    pub applied: u8,
    /// The writer of each LSN in its layers.
    pub writers: [u8; LSNS],
    /// Which compaction its layers are of.
    pub generation: u8,
}

/// How far a process is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Not running.
    #[default]
    Down,
    /// Has read the branch record.
    Record,
    /// Has read the manifest first, against the rule.
    ManifestFirst,
    /// Has read a manifest too.
    Manifest,
    /// Has fenced the log and read it.
    Fenced,
    /// Has passed the gate: writes.
    Open,
}

/// A process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    /// How far it is.
    pub stage: Stage,
    /// The number of its opening.
    pub id: u8,
    /// The branch record's ETag as read.
    pub etag: u8,
    /// The floor as read.
    pub floor: u8,
    /// The id of the manifest it works from.
    pub manifest: u8,
    /// SlateDB's epoch it has, 0 before it has fenced.
    pub epoch: u8,
    /// The last LSN that it takes to be flushed.
    pub flushed: u8,
    /// The last LSN that it knows to be durable.
    pub durable: u8,
    /// The writer of each LSN it has in memory.
    pub memory: [u8; LSNS],
    /// Whether a commit is in flight.
    pub in_flight: bool,
    /// Whether SlateDB told it that it is fenced.
    pub out: bool,
}

/// What of the bound is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spent {
    /// Openings.
    pub openings: u8,
    /// Commits begun.
    pub commits: u8,
    /// Flushes.
    pub flushes: u8,
    /// Compactions.
    pub compactions: u8,
    /// Sweeps.
    pub sweeps: u8,
}

/// Everything there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The last LSN in the log.
    pub last: u8,
    /// The writer of each LSN.
    pub writers: [u8; LSNS],
    /// Bits: slots that are there.
    pub slots: u8,
    /// The opening that owns the log.
    pub owner: u8,
    /// The branch record's ETag.
    pub etag: u8,
    /// The branch record's floor, an LSN.
    pub floor: u8,
    /// Manifests by id, from 1.
    pub manifests: [Manifest; MANIFESTS],
    /// The boundary file: ids up to this may have been deleted.
    pub boundary: u8,
    /// Layers of generations below this are deleted.
    pub layers_from: u8,
    /// Processes, in order.
    pub processes: [Process; PROCESSES],
    /// What was seen broken.
    pub broken: Broken,
    /// Remembered by the properties: the highest applied LSN of any newest manifest.
    pub applied: u8,
    /// What of the bound is used up.
    pub spent: Spent,
}

impl State {
    /// An empty database.
    #[must_use]
    pub fn new() -> Self {
        let mut manifests = [Manifest::default(); MANIFESTS];
        if let Some(first) = manifests.get_mut(1) {
            first.present = true;
        }
        Self {
            last: 0,
            writers: [0; LSNS],
            slots: 0,
            owner: 0,
            etag: 1,
            floor: 0,
            manifests,
            boundary: 0,
            layers_from: 0,
            processes: [Process::default(); PROCESSES],
            broken: Broken::default(),
            applied: 0,
            spent: Spent::default(),
        }
    }

    /// The process of an opening.
    #[must_use]
    pub fn process(&self, id: u8) -> Option<&Process> {
        self.processes.iter().find(|process| process.id == id && process.stage != Stage::Down)
    }

    /// The same, to change it.
    pub fn process_mut(&mut self, id: u8) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.id == id && process.stage != Stage::Down)
    }

    /// A manifest.
    #[must_use]
    pub fn manifest(&self, id: u8) -> Manifest {
        self.manifests.get(usize::from(id)).copied().unwrap_or_default()
    }

    /// The id of the newest manifest.
    #[must_use]
    pub fn newest(&self) -> u8 {
        let newest = self.manifests.iter().rposition(|manifest| manifest.present).unwrap_or(0);
        u8::try_from(newest).unwrap_or(u8::MAX)
    }

    /// PUT of a manifest with If-None-Match: whether it was created.
    pub fn create(&mut self, id: u8, manifest: Manifest) -> bool {
        match self.manifests.get_mut(usize::from(id)) {
            Some(place) if !place.present => {
                *place = Manifest { present: true, ..manifest };
                true
            }
            Some(_) | None => false,
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

/// One step. `by` is the opening that takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the fields are openings and LSNs, as the steps say")]
pub enum Action {
    /// A process reads the branch record; or, with that rule broken, the manifest.
    Begin,
    /// It reads the other of the two.
    ReadOther { by: u8 },
    /// It fences the log, and reads it.
    FenceLog { by: u8 },
    /// It PUTs the branch record.
    Gate { by: u8 },
    /// It begins a commit.
    Append { by: u8 },
    /// The commit lands, or does not, because another owns the log.
    Land { by: u8 },
    /// It fences SlateDB: creates a manifest with the next epoch.
    FenceLayers { by: u8 },
    /// It flushes up to an LSN: creates a manifest.
    Flush { by: u8, upto: u8 },
    /// It compacts: creates a manifest.
    Compact { by: u8 },
    /// It raises the floor to what it takes to be flushed.
    RaiseFloor { by: u8 },
    /// It reads a page from a layer.
    ReadPage { by: u8 },
    /// A slot below the floor is deleted.
    DeleteSlot { lsn: u8 },
    /// SlateDB's collector raises the boundary to below the newest manifest.
    RaiseBoundary,
    /// It deletes a manifest.
    DeleteManifest { id: u8 },
    /// It deletes the layers that the newest manifest does not name.
    DeleteLayers,
}

/// The model of the two registers.
#[derive(Clone, Copy, Debug)]
pub struct LayersModel {
    /// How far it goes, and by which rules.
    pub bounds: Bounds,
}

impl Model for LayersModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if !state.broken.any() {
            opening_actions(&self.bounds, state, actions);
            flushing::actions(&self.bounds, state, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        open_step(&self.bounds, &mut state, action)
            .or_else(|| flushing::step(&self.bounds, &mut state, action))?;
        properties::remember(&mut state);
        state.processes.sort_unstable();
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(&self.bounds)
    }
}

fn opening_actions(bounds: &Bounds, state: &State, actions: &mut Vec<Action>) {
    let up = state.processes.iter().filter(|process| process.stage != Stage::Down).count();
    if up < usize::from(bounds.processes) && state.spent.openings < bounds.openings {
        actions.push(Action::Begin);
    }
    for process in &state.processes {
        let by = process.id;
        match process.stage {
            Stage::Down => {}
            Stage::Record | Stage::ManifestFirst => actions.push(Action::ReadOther { by }),
            Stage::Manifest => actions.push(Action::FenceLog { by }),
            Stage::Fenced => actions.push(Action::Gate { by }),
            Stage::Open if process.in_flight => actions.push(Action::Land { by }),
            Stage::Open if state.spent.commits < bounds.commits => actions.push(Action::Append { by }),
            Stage::Open => {}
        }
    }
}

/// Takes a step of opening or writing; `None` when it is another's.
fn open_step(bounds: &Bounds, state: &mut State, action: Action) -> Option<()> {
    match action {
        Action::Begin => {
            state.spent.openings += 1;
            let (etag, floor, newest) = (state.etag, state.floor, state.newest());
            let id = state.spent.openings;
            let down = state.processes.iter_mut().find(|process| process.stage == Stage::Down)?;
            *down = if bounds.rules.record_before_manifest {
                Process { stage: Stage::Record, id, etag, floor, ..Process::default() }
            } else {
                Process { stage: Stage::ManifestFirst, id, manifest: newest, ..Process::default() }
            };
            Some(())
        }
        Action::ReadOther { by } => {
            let (etag, floor, newest) = (state.etag, state.floor, state.newest());
            let process = state.process_mut(by)?;
            if process.stage == Stage::Record {
                process.manifest = newest;
            } else {
                process.etag = etag;
                process.floor = floor;
            }
            process.stage = Stage::Manifest;
            Some(())
        }
        Action::FenceLog { by } => fence_log(state, by),
        Action::Gate { by } => {
            let passes = state.process(by)?.etag == state.etag;
            state.etag += u8::from(passes);
            let process = state.process_mut(by)?;
            *process = if passes {
                Process { stage: Stage::Open, etag: 0, floor: 0, ..*process }
            } else {
                Process::default()
            };
            Some(())
        }
        Action::Append { by } => {
            state.spent.commits += 1;
            let process = state.process_mut(by)?;
            process.in_flight = true;
            *process.memory.get_mut(usize::from(process.durable + 1))? = by;
            Some(())
        }
        Action::Land { by } => {
            let owned = state.owner == by;
            let process = state.process_mut(by)?;
            process.in_flight = false;
            if owned {
                process.durable += 1;
                let lsn = process.durable;
                state.last = lsn;
                state.slots |= 1 << lsn;
                *state.writers.get_mut(usize::from(lsn))? = by;
            }
            Some(())
        }
        _ => None,
    }
}

fn fence_log(state: &mut State, by: u8) -> Option<()> {
    let (last, slots, writers) = (state.last, state.slots, state.writers);
    let (floor, manifest) = (state.process(by)?.floor, state.manifest(state.process(by)?.manifest));
    state.owner = by;
    let readable = (floor + 1..=last).all(|lsn| slots & (1 << lsn) != 0);
    state.broken.opened_over_a_gap |= readable && floor > manifest.applied;
    let process = state.process_mut(by)?;
    if !readable {
        *process = Process::default();
        return Some(());
    }
    process.stage = Stage::Fenced;
    process.durable = last;
    process.flushed = manifest.applied;
    process.memory = writers;
    Some(())
}
