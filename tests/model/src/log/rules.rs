//! The rules of the log; each is kept, or broken by one of [`crate::variants`].

/// How slots are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `log/<epoch>/<seq>`: a fence ends its epoch's folder.
    Folders,
    /// `log/<seq>`: a record carries its epoch, and one of a lower epoch than the last fence's is void.
    Flat,
}

/// Where an opener puts its fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FenceAt {
    /// At the first slot of the epoch that is free, found by attempt.
    FirstFree,
    /// After the last slot that LIST named.
    AfterLastListed,
}

/// What an opener does when its fence meets another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Epochs {
    /// It derives the epoch again: walks into the epoch that the other's fence names.
    Derived,
    /// It keeps the epoch it had in mind, and puts the fence into the next slot.
    Kept,
}

/// What an opener must have done before its first acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gate {
    /// A PUT of the branch record with If-Match on the ETag it began with.
    RecordSwap,
    /// A GET of the branch record that shows a floor not above the fence.
    FloorRead,
    /// Nothing.
    None,
}

/// From when on an owner may PUT records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Send {
    /// From when it has passed the gate.
    AfterGate,
    /// From its fence on; only the acknowledgement waits for the gate.
    AfterFence,
}

/// What an opener does on 412 from the branch record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Swap412 {
    /// Throws away all it has read and starts again.
    StartsAgain,
    /// Takes the new ETag and tries once more.
    TriesAgain,
}

/// What a writer does with a commit whose PUT is ambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ambiguous {
    /// Tries the same slot again with the same bytes.
    SameSlot,
    /// Moves it to the next slot.
    NextSlot,
}

/// What a writer takes "exists" for, after an ambiguous attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exists {
    /// Reads the object back and compares.
    ReadBack,
    /// Its own first attempt.
    TakenForOwn,
}

/// The rules of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one rule, kept or broken, and reads as a sentence"
)]
pub struct Rules {
    /// Rule 1 and 2.
    pub layout: Layout,
    /// Rule 4.
    pub fence_at: FenceAt,
    /// Rule 3.
    pub epochs: Epochs,
    /// Rule 8.
    pub gate: Gate,
    /// Rule 8.
    pub send: Send,
    /// Rule 8.
    pub swap_412: Swap412,
    /// Rule 5.
    pub ambiguous: Ambiguous,
    /// Rule 5.
    pub exists: Exists,
    /// Rule 4: a slot is acknowledged only when every slot up to it is owned.
    pub acknowledged_in_order: bool,
    /// Rule 9: fences are never deleted.
    pub fences_kept: bool,
    /// Rule 9: nothing is deleted that the floor in the branch record does not allow.
    pub floor_before_delete: bool,
    /// Rule 9: what is merged is published before its parts are deleted.
    pub merged_before_delete: bool,
    /// Rule 18: a reader checks that LSNs follow each other, and each record builds on the one before.
    pub follower_checks: bool,
}

impl Rules {
    /// The protocol.
    #[must_use]
    pub const fn protocol() -> Self {
        Self {
            layout: Layout::Folders,
            fence_at: FenceAt::FirstFree,
            epochs: Epochs::Derived,
            gate: Gate::RecordSwap,
            send: Send::AfterGate,
            swap_412: Swap412::StartsAgain,
            ambiguous: Ambiguous::SameSlot,
            exists: Exists::ReadBack,
            acknowledged_in_order: true,
            fences_kept: true,
            floor_before_delete: true,
            merged_before_delete: true,
            follower_checks: true,
        }
    }
}
