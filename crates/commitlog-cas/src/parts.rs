//! Large commits: their payload goes in parts, before their record.
//!
//! Invariants (rule 7):
//! 1. A part's name is used once: epochs have one owner, who numbers its parts.
//! 2. A record names its parts by number, length and checksum, and is attempted only when all are in the store.
//! 3. Parts that no record names are garbage, deleted once their epoch lies below the horizon (and so is fenced).

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use twill_types::Seq;

use crate::environment::Point;
use crate::error::LogError;
use crate::name;
use crate::position::{Checksum, Slot};
use crate::record::{self, Body, Header, Kind, PartReference};
use crate::settle::{Settled, settle};
use crate::site::Site;

/// Numbers the parts of an epoch.
pub(crate) struct Parts {
    next: u64,
}

/// A part to send.
pub(crate) struct Upload {
    number: u64,
    bytes: Bytes,
}

impl Parts {
    pub(crate) const fn new() -> Self {
        Self { next: 0 }
    }

    /// Cuts a payload, and gives each piece its name for ever.
    pub(crate) fn split(
        &mut self,
        payload: &Bytes,
        part_bytes: usize,
        uploads: &mut Vec<Upload>,
    ) -> Vec<PartReference> {
        let mut references = Vec::with_capacity(payload.len().div_ceil(part_bytes));
        let mut rest = payload.clone();
        while !rest.is_empty() {
            let bytes = rest.split_to(part_bytes.min(rest.len()));
            let number = self.next;
            self.next += 1;
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            references.push(PartReference { number, bytes: length, checksum: record::checksum(&bytes) });
            uploads.push(Upload { number, bytes });
        }
        references
    }
}

/// Sends the parts of the record with this header.
///
/// # Errors
/// Why one of them is not in the store, or may not be.
pub(crate) fn upload<'a>(
    site: &'a Site,
    record: &'a Header,
    uploads: Vec<Upload>,
) -> BoxFuture<'a, Result<(), LogError>> {
    async move {
        if uploads.is_empty() {
            return Ok(());
        }
        stream::iter(uploads)
            .map(|upload| upload_one(site, record, upload))
            .buffer_unordered(site.options.parts_at_once.max(1))
            .try_collect::<()>()
            .await?;
        site.environment.point(Point::AfterParts).await;
        Ok(())
    }
    .boxed()
}

async fn upload_one(site: &Site, record: &Header, upload: Upload) -> Result<(), LogError> {
    let epoch = record.slot.epoch;
    let header = Header {
        kind: Kind::Part,
        slot: Slot { epoch, seq: Seq(upload.number) },
        previous: Checksum::NONE,
        ..*record
    };
    let (bytes, _) = record::encode(&header, &Body::Part(upload.bytes), site.options.compression)?;
    let path = name::part_path(&site.root, epoch, upload.number);
    site.environment.point(Point::BeforePartPut).await;
    match settle(site, &path, &bytes).await {
        Settled::Own { .. } => Ok(()),
        Settled::Taken(_) => Err(LogError::corrupt(path.as_ref(), "this writer's part", "another")),
        Settled::Failed { error, .. } => Err(error),
    }
}
