//! Names of the log's objects, and what a LIST of them means.
//!
//! ```text
//! <root>/log/<epoch>/<seq>            a slot
//! <root>/log/<epoch>/<last>.<first>   a merged object: the records of slots first..=last
//! <root>/parts/<epoch>/<number>       a part of a large commit
//! ```
//! Numbers are decimal, padded with zeros to 20 digits, so that a LIST is sorted by epoch and slot.
//!
//! Invariants:
//! 1. A merged object is named by its *last* slot first. A LIST that walks the keys in order while merging runs then
//!    never misses a record: where it passes `<last>.<first>` before that is published, it has already passed the slots
//!    (which are deleted only afterwards); otherwise it sees the merged object. Named by the first slot, it could pass
//!    the name too early and the slots too late.
//! 2. A name that this module does not produce is nobody's; it is passed over.

use object_store::path::Path;
use twill_types::{Epoch, Seq};

use crate::position::Slot;

/// An object below `log/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogName {
    /// One record.
    Slot(Slot),
    /// The records of `first..=last.seq` of `last.epoch`.
    Merged { first: Seq, last: Slot },
}

impl LogName {
    /// The last slot the object holds: where a LIST sorts it.
    pub(crate) const fn last(self) -> Slot {
        match self {
            Self::Slot(slot) | Self::Merged { last: slot, .. } => slot,
        }
    }

    /// The first slot the object holds.
    #[cfg(test)]
    pub(crate) const fn first(self) -> Slot {
        match self {
            Self::Slot(slot) => slot,
            Self::Merged { first, last } => Slot { epoch: last.epoch, seq: first },
        }
    }

    /// The object's key.
    pub(crate) fn path(self, root: &Path) -> Path {
        match self {
            Self::Slot(slot) => child(root, &format!("log/{:020}/{:020}", slot.epoch.0, slot.seq.0)),
            Self::Merged { first, last } => {
                child(root, &format!("log/{:020}/{:020}.{:020}", last.epoch.0, last.seq.0, first.0))
            }
        }
    }

    /// The name a key says, if it says one.
    pub(crate) fn parse(root: &Path, path: &Path) -> Option<Self> {
        let (folder, file) = rest(root, path)?.strip_prefix("log/")?.split_once('/')?;
        let epoch = Epoch(number(folder)?);
        match file.split_once('.') {
            None => Some(Self::Slot(Slot { epoch, seq: Seq(number(file)?) })),
            Some((last, first)) => {
                let (last, first) = (Seq(number(last)?), Seq(number(first)?));
                (first <= last).then_some(Self::Merged { first, last: Slot { epoch, seq: last } })
            }
        }
    }
}

/// The folder of all slots.
pub(crate) fn log_folder(root: &Path) -> Path {
    child(root, "log")
}

/// The folder of an epoch's slots.
pub(crate) fn epoch_folder(root: &Path, epoch: Epoch) -> Path {
    child(root, &format!("log/{:020}", epoch.0))
}

/// The folder of all parts.
pub(crate) fn parts_folder(root: &Path) -> Path {
    child(root, "parts")
}

/// What a LIST starts after to see `slot`, everything behind it, and every merged object that holds it.
pub(crate) fn list_after(root: &Path, slot: Slot) -> Path {
    match slot.seq.0.checked_sub(1) {
        // "log/<epoch>" sorts before "log/<epoch>/…" and after every lower epoch.
        None => epoch_folder(root, slot.epoch),
        // Behind "<seq>.<first>" of the slot before, which does not hold this one: '/' < digits < 'z'.
        Some(before) => child(root, &format!("log/{:020}/{before:020}.z", slot.epoch.0)),
    }
}

/// A part's key.
pub(crate) fn part_path(root: &Path, epoch: Epoch, number: u64) -> Path {
    child(root, &format!("parts/{:020}/{number:020}", epoch.0))
}

/// The epoch and number that a part's key says.
pub(crate) fn parse_part(root: &Path, path: &Path) -> Option<(Epoch, u64)> {
    let (folder, file) = rest(root, path)?.strip_prefix("parts/")?.split_once('/')?;
    Some((Epoch(number(folder)?), number(file)?))
}

fn child(root: &Path, name: &str) -> Path {
    if root.as_ref().is_empty() { Path::from(name) } else { Path::from(format!("{root}/{name}")) }
}

fn rest<'a>(root: &Path, path: &'a Path) -> Option<&'a str> {
    let path = path.as_ref();
    if root.as_ref().is_empty() { Some(path) } else { path.strip_prefix(root.as_ref())?.strip_prefix('/') }
}

/// A number as names write it: 20 digits, no sign, below 2^64.
fn number(text: &str) -> Option<u64> {
    let digits = text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(root: &str, name: LogName, expect: &str) {
        let root = Path::from(root);
        let path = name.path(&root);
        assert_eq!(path.as_ref(), expect);
        assert_eq!(LogName::parse(&root, &path), Some(name));
    }

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let merged = LogName::Merged { first: Seq(3), last: Slot::new(2, 9) };
        let seq = "00000000000000000007";
        check("t", LogName::Slot(Slot::new(1, 7)), &format!("t/log/00000000000000000001/{seq}"));
        check("", LogName::Slot(Slot::new(1, 7)), &format!("log/00000000000000000001/{seq}"));
        let merged_name = "a/b/log/00000000000000000002/00000000000000000009.00000000000000000003";
        check("a/b", merged, merged_name);
        check("t", LogName::Slot(Slot::new(u64::MAX, u64::MAX)), &format!("t/log/{0}/{0}", u64::MAX));
        assert_eq!(merged.first(), Slot::new(2, 3));
    }

    #[test]
    fn what_nobody_wrote_is_passed_over() {
        let root = Path::from("t");
        let digits = "00000000000000000001";
        for path in [
            "t/log/1/2".to_owned(),
            format!("t/log/{digits}"),
            format!("t/log/{digits}/+0000000000000000001"),
            format!("t/log/{digits}/{digits}.x"),
            format!("t/log/{digits}/{digits}.00000000000000000002"),
            format!("t/log/{digits}/99999999999999999999"),
            format!("other/log/{digits}/{digits}"),
            format!("tlog/{digits}/{digits}"),
            format!("t/log/{digits}/{digits}/{digits}"),
        ] {
            assert_eq!(LogName::parse(&root, &Path::from(path.as_str())), None, "{path}");
        }
    }

    #[test]
    fn a_list_from_a_slot_sees_it_and_what_holds_it_and_nothing_before() {
        let root = Path::from("t");
        let slot = |epoch, seq| LogName::Slot(Slot::new(epoch, seq)).path(&root);
        let merged =
            |first, last| LogName::Merged { first: Seq(first), last: Slot::new(2, last) }.path(&root);
        let after = list_after(&root, Slot::new(2, 5));
        for seen in [slot(2, 5), slot(2, 6), slot(3, 0), merged(0, 5), merged(2, 9)] {
            assert!(seen > after, "{seen}");
        }
        for unseen in [slot(2, 4), slot(1, 9), merged(0, 4), merged(4, 4)] {
            assert!(unseen <= after, "{unseen}");
        }
        let start = list_after(&root, Slot::new(2, 0));
        assert!(slot(2, 0) > start && merged(0, 0) > start && slot(1, u64::MAX) < start);
    }

    #[test]
    fn invariant_1_a_merged_object_sorts_behind_every_slot_it_holds() {
        let root = Path::from("t");
        let merged = LogName::Merged { first: Seq(3), last: Slot::new(2, 9) }.path(&root);
        for seq in 3..=9 {
            assert!(LogName::Slot(Slot::new(2, seq)).path(&root) < merged);
        }
        assert!(merged < LogName::Slot(Slot::new(2, 10)).path(&root));
    }

    #[test]
    fn a_part_is_named_by_epoch_and_number() {
        let root = Path::from("t");
        let path = part_path(&root, Epoch(3), 12);
        assert_eq!(path.as_ref(), "t/parts/00000000000000000003/00000000000000000012");
        assert_eq!(parse_part(&root, &path), Some((Epoch(3), 12)));
    }
}
