//! What a commit may be, what a read may ask, and what a page holds that nobody wrote.

use super::scene::{Content, Db, Draft, bytes_of, page_no, size, stamp};
use super::{Ability, Backend};
use crate::{Commit, PageImage, StorageError};

/// Appends what must be refused.
fn assert_invalid<B: Backend>(db: &Db<'_, B>, rule: &str, commit: Commit<'_>) {
    let before = db.snapshot().id();
    match db.storage.append(db.begin(), commit) {
        Err(StorageError::Invalid { .. }) => {}
        other => panic!("{rule}: append answers {other:?}"),
    }
    let ticket =
        db.try_begin().unwrap_or_else(|error| panic!("{rule}: the slot was not given back: {error}"));
    assert_eq!(ticket.base().id(), before, "{rule}: something was applied");
}

/// Each rule of [`Commit`], on an empty database and on a written one.
pub(super) fn a_commit_that_breaks_a_rule_is_invalid_and_leaves_no_trace<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let small = size(512);
    let bytes = bytes_of(small, 1, stamp());
    let page = |number| PageImage { page: page_no(number), bytes: &bytes };
    let mut content = Content::empty();
    for round in 0..2 {
        let cases: [(&str, u32, Vec<PageImage<'_>>); 9] = [
            ("no page", 1, vec![]),
            ("no page and no page count", 0, vec![]),
            ("twice the same page", 3, vec![page(2), page(2)]),
            ("descending pages", 3, vec![page(3), page(1)]),
            ("a page beyond the count", 3, vec![page(1), page(4)]),
            ("a page of an empty database", 0, vec![page(1)]),
            ("a short image", 3, vec![page(1), PageImage { page: page_no(2), bytes: &bytes[..511] }]),
            ("an empty image", 3, vec![PageImage { page: page_no(1), bytes: &[] }]),
            ("a long image", 3, vec![PageImage { page: page_no(1), bytes: &[7; 1024] }]),
        ];
        for (rule, page_count, pages) in &cases {
            assert_invalid(&db, rule, Commit { page_size: small, page_count: *page_count, pages });
        }
        if round == 1 {
            let image = PageImage { page: page_no(1), bytes: &[7; 4096] };
            let commit = Commit { page_size: size(4096), page_count: 3, pages: &[image] };
            assert_invalid(&db, "another page size", commit);
        }
        let draft = Draft::new(3, [1, 3]);
        content = content.after(&draft);
        let at = db.commit(&draft);
        db.assert_shows(&at, &content, "after refused commits");
    }
}

/// A ticket of another storage applies nothing anywhere, and its own slot comes back.
pub(super) fn a_foreign_ticket_is_invalid<B: Backend>(backend: &B) {
    let (one, other) = (Db::new(backend), Db::new(backend));
    let draft = Draft::new(2, [1, 2]);
    let (at, elsewhere) = (one.commit(&draft), other.commit(&draft));
    let outcome = Draft::new(2, [1]).append(&*one.storage, other.begin());
    assert!(matches!(outcome, Err(StorageError::Invalid { .. })), "{outcome:?}");
    assert_eq!(one.begin().base().id(), at.id());
    assert_eq!(other.begin().base().id(), elsewhere.id(), "the foreign slot was not given back untouched");
}

/// Even one that looks the same.
pub(super) fn a_foreign_snapshot_is_invalid<B: Backend>(backend: &B) {
    let (one, other) = (Db::new(backend), Db::new(backend));
    one.commit(&Draft::new(2, [1, 2]));
    let foreign = other.commit(&Draft::new(2, [1, 2]));
    let mut bytes = vec![0; 512];
    let read = one.storage.read_page(&foreign, page_no(1), &mut bytes);
    assert!(matches!(read, Err(StorageError::Invalid { .. })), "{read:?}");
    let wait = one.storage.wait_durable(&foreign);
    assert!(matches!(wait, Err(StorageError::Invalid { .. })), "{wait:?}");
    one.storage.prefetch(&foreign, &[page_no(1)]);
    one.commit(&Draft::new(2, [1]));
}

/// A page beyond the count of the snapshot, or a buffer that is not one page.
pub(super) fn a_read_that_breaks_a_rule_is_invalid<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let empty = db.snapshot();
    let three = db.commit(&Draft::new(3, [1, 2, 3]));
    let two = db.commit(&Draft::new(2, [1]));
    let invalid = |at, page, len: usize| {
        let read = db.storage.read_page(at, page_no(page), &mut vec![0; len]);
        assert!(matches!(read, Err(StorageError::Invalid { .. })), "page {page} into {len} bytes: {read:?}");
    };
    invalid(&empty, 1, empty.page_size().bytes());
    invalid(&three, 4, 512);
    invalid(&three, u32::MAX, 512);
    invalid(&two, 3, 512);
    for len in [0, 511, 513, 1024] {
        invalid(&three, 1, len);
    }
    assert_ne!(db.read(&three, 3), 0);
    assert_ne!(db.read(&two, 1), 0);
}

/// From 512 to 65536 bytes.
pub(super) fn every_page_size_works<B: Backend>(backend: &B) {
    for power in 9..=16 {
        let page_size = size(1 << power);
        let db = Db::new(backend);
        let first = Draft::new(3, [1, 3]).of_size(page_size);
        let second = Draft::new(4, [2, 3]).of_size(page_size);
        let content = Content::empty().after(&first).after(&second);
        db.commit(&first);
        db.commit(&second);
        let seen = db.snapshot();
        assert_eq!(seen.page_size(), page_size);
        db.assert_shows(&seen, &content, "before a checkpoint");
        db.storage.checkpoint().unwrap();
        db.assert_shows(&seen, &content, "after a checkpoint");
        drop(seen);
        if backend.offers(Ability::Reopen) {
            let db = db.reopen();
            let seen = db.snapshot();
            assert_eq!(seen.page_size(), page_size);
            db.assert_shows(&seen, &content, "reopened");
        }
    }
}

/// What an empty database says of its page size is only a proposal.
pub(super) fn the_first_commit_decides_the_page_size<B: Backend>(backend: &B) {
    for (bytes, other) in [(512, 65536), (65536, 512), (8192, 4096)] {
        let db = Db::new(backend);
        let empty = db.snapshot();
        let at = db.commit(&Draft::new(1, [1]).of_size(size(bytes)));
        assert_eq!((at.page_size(), at.page_count()), (size(bytes), 1));
        let outcome = Draft::new(1, [1]).of_size(size(other)).append(&*db.storage, db.begin());
        assert!(matches!(outcome, Err(StorageError::Invalid { .. })), "{outcome:?}");
        assert_eq!(empty.page_count(), 0);
        assert_eq!(db.snapshot().page_size(), size(bytes));
    }
}

/// Pages within the count that no commit touched.
pub(super) fn pages_never_written_read_as_zeros<B: Backend>(backend: &B) {
    let db = Db::new(backend);
    let first = Draft::new(10, [1, 7]);
    let second = Draft::new(40, [20]);
    let content = Content::empty().after(&first);
    let at = db.commit(&first);
    db.assert_shows(&at, &content, "holes");
    let later = db.commit(&second);
    db.assert_shows(&later, &content.after(&second), "grown without writing");
    db.storage.checkpoint().unwrap();
    db.assert_shows(&at, &content, "holes after a checkpoint");
    db.assert_shows(&db.snapshot(), &content.after(&second), "grown, after a checkpoint");
    if backend.offers(Ability::Reopen) {
        drop((at, later));
        let db = db.reopen();
        db.assert_shows(&db.snapshot(), &content.after(&second), "reopened");
    }
}

/// What was cut off is gone for later states only, whatever is checkpointed in between.
pub(super) fn pages_cut_off_read_as_zeros_when_regrown<B: Backend>(backend: &B) {
    for checkpoint_after in 0..5 {
        let db = Db::new(backend);
        let mut content = Content::empty();
        let mut pinned = Vec::new();
        let drafts = [
            Draft::new(12, 1..=12),
            Draft::new(4, [2]),
            Draft::new(12, [1]),
            Draft::new(3, [3]),
            Draft::new(9, [6]),
        ];
        for (index, draft) in drafts.iter().enumerate() {
            content = content.after(draft);
            pinned.push((db.commit(draft), content.clone()));
            if index == checkpoint_after {
                db.storage.checkpoint().unwrap();
            }
            for (at, content) in &pinned {
                db.assert_shows(at, content, "shrunk and regrown");
            }
        }
        drop(pinned);
        if backend.offers(Ability::Reopen) {
            let db = db.reopen();
            db.assert_shows(&db.snapshot(), &content, "reopened after shrinking and growing");
        }
    }
}

/// Larger than any buffer a backend may have chosen for the common case.
pub(super) fn a_commit_of_many_pages_is_whole<B: Backend>(backend: &B) {
    const PAGES: u32 = 3000;
    let db = Db::new(backend);
    let first = Draft::new(PAGES, 1..=PAGES);
    let second = Draft::new(PAGES, (1..=PAGES).step_by(2));
    let content = Content::empty().after(&first);
    let at = db.commit(&first);
    let later = db.commit(&second);
    db.assert_shows(&at, &content, "a large commit");
    db.assert_shows(&later, &content.after(&second), "a large commit over it");
    if backend.offers(Ability::Reopen) {
        drop((at, later));
        let db = db.reopen();
        db.assert_shows(&db.snapshot(), &content.after(&second), "reopened");
    }
}
