//! A branch record in an object of its own: the log's part, and bytes of the layers above, carried along unread.
//!
//! ```text
//!   0 magic "TWILLBRN" │ 8 version (2) │ 10 zero (2) │ 12 bytes of the rest (4) │ 16 database │ 32 timeline
//!  48 stamp │ 64 epoch │ 72 writer │ 88 floor │ 128 horizon │ 168 the rest … │ XXH3-64 of everything before it
//!  a position: epoch │ seq │ LSN │ checksum of the record before │ time of the commit before, 8 bytes each
//! ```
//! Integers are little-endian.
//!
//! Invariants: those of [`crate::register`], and:
//! 1. A swap whose reply was lost is settled by reading back: one's own stamp means it was done.
//! 2. It is repeated only while the object still is the version it began with, with the same bytes.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectStore, PutMode, PutResult, UpdateVersion};
use twill_types::{Epoch, Lsn, Seq, TimelineId};

use crate::environment::Environment;
use crate::error::LogError;
use crate::options::Options;
use crate::position::{Checksum, CommitTime, DatabaseId, Identity, Position, Slot, Stamp, WriterId};
use crate::record::checksum;
use crate::register::{Loaded, LogState, Register, Swapped, Version};
use crate::reply::Reply;
use crate::requests::{Client, Patience, get_versioned, put_once};
use crate::settle::{Settled, settle};

const MAGIC: &[u8; 8] = b"TWILLBRN";
const FORMAT_VERSION: u16 = 1;
const TRAILER_BYTES: usize = 8;

/// A branch record in an object of its own.
#[derive(Clone)]
pub struct ObjectRegister {
    store: Arc<dyn ObjectStore>,
    path: Path,
    identity: Identity,
    environment: Arc<dyn Environment>,
    options: Options,
}

/// The version of a load: what a swap compares with, and what it carries along.
struct ObjectVersion {
    version: UpdateVersion,
    rest: Bytes,
}

impl Client for ObjectRegister {
    fn store(&self) -> &dyn ObjectStore {
        self.store.as_ref()
    }

    fn environment(&self) -> &dyn Environment {
        self.environment.as_ref()
    }

    fn options(&self) -> &Options {
        &self.options
    }
}

impl ObjectRegister {
    /// The record at `path`. Sends nothing.
    #[must_use]
    pub fn new(
        store: Arc<dyn ObjectStore>,
        path: Path,
        identity: Identity,
        environment: Arc<dyn Environment>,
        options: Options,
    ) -> Self {
        Self { store, path, identity, environment, options }
    }

    /// Creates the record of a new timeline that begins after commit `base`, if there is none at this path. Gives the
    /// record that is there now, whoever created it.
    ///
    /// # Errors
    /// That of the store, or of a record of another log at this path.
    pub async fn create(&self, base: Lsn, rest: Bytes) -> Result<Loaded, LogError> {
        let mut stamp = Stamp::default();
        self.environment.fill_random(&mut stamp.0);
        let beginning = Position::beginning(base);
        let state = LogState { floor: beginning, horizon: beginning, stamp, ..LogState::default() };
        match settle(self, &self.path, &self.encode(&state, &rest)).await {
            Settled::Own { .. } | Settled::Taken(_) => self.load().await,
            Settled::Failed { error, .. } => Err(error),
        }
    }

    /// The bytes of the layers above, as `loaded` found them.
    #[must_use]
    pub fn rest(loaded: &Loaded) -> Bytes {
        loaded.version.downcast_ref::<ObjectVersion>().map(|version| version.rest.clone()).unwrap_or_default()
    }

    /// Replaces the bytes of the layers above, leaving the log's part as it was in `loaded`, but for the stamp.
    ///
    /// # Errors
    /// As [`Register::swap`].
    pub async fn swap_rest(&self, loaded: Loaded, rest: Bytes) -> Result<Swapped, LogError> {
        let mut stamp = Stamp::default();
        self.environment.fill_random(&mut stamp.0);
        self.replace(loaded.version, LogState { stamp, ..loaded.state }, Some(rest)).await
    }

    async fn read(&self, patience: &mut Patience<'_>) -> Result<(Loaded, UpdateVersion), LogError> {
        let object = self.path.to_string();
        let Some((bytes, version)) = get_versioned(self, &self.path, patience).await? else {
            return Err(LogError::NoRecord { object });
        };
        let (state, rest) = self.decode(&bytes)?;
        let kept: Version = Arc::new(ObjectVersion { version: version.clone(), rest });
        Ok((Loaded { state, version: kept }, version))
    }

    async fn replace(
        &self,
        version: Version,
        state: LogState,
        rest: Option<Bytes>,
    ) -> Result<Swapped, LogError> {
        let Some(old) = version.downcast_ref::<ObjectVersion>() else {
            return Err(LogError::invalid("a version of another register"));
        };
        let rest = rest.unwrap_or_else(|| old.rest.clone());
        let bytes = self.encode(&state, &rest);
        let mut patience = Patience::new(self);
        loop {
            let mode = PutMode::Update(old.version.clone());
            let limit = patience.attempt_timeout();
            let error = match put_once(self, limit, &self.path, &bytes, mode).await {
                Ok(PutResult { e_tag: Some(e_tag), version, .. }) => {
                    let version = UpdateVersion { e_tag: Some(e_tag), version };
                    let version: Version = Arc::new(ObjectVersion { version, rest });
                    return Ok(Swapped::Done(Loaded { state, version }));
                }
                // Done, but the new version has to be read.
                Ok(_) => LogError::Superseded,
                Err(Reply::Refused(error) | Reply::NotFound(error)) => return Err(error),
                Err(Reply::NotApplied(error) | Reply::Ambiguous(error) | Reply::Exists(error)) => error,
            };
            let (now, found) = self.read(&mut patience).await?;
            if now.state.stamp == state.stamp {
                return Ok(Swapped::Done(now));
            }
            // Our own swap may have been done and overwritten since; then, too, the caller has to look again.
            if found != old.version {
                return Ok(Swapped::Changed);
            }
            patience.pause(error).await?;
        }
    }

    fn encode(&self, state: &LogState, rest: &Bytes) -> Bytes {
        let mut out = BytesMut::with_capacity(168 + rest.len() + TRAILER_BYTES);
        out.put_slice(MAGIC);
        out.put_u16_le(FORMAT_VERSION);
        out.put_u16_le(0);
        out.put_u32_le(u32::try_from(rest.len()).unwrap_or(u32::MAX));
        out.put_slice(&self.identity.database.0);
        out.put_slice(&self.identity.timeline.0);
        out.put_slice(&state.stamp.0);
        out.put_u64_le(state.epoch.0);
        out.put_slice(&state.writer.0);
        for position in [&state.floor, &state.horizon] {
            out.put_u64_le(position.slot.epoch.0);
            out.put_u64_le(position.slot.seq.0);
            out.put_u64_le(position.lsn.get());
            out.put_u64_le(position.previous.0);
            out.put_u64_le(position.time.0);
        }
        out.put_slice(rest);
        let whole = checksum(&out);
        out.put_u64_le(whole.0);
        out.freeze()
    }

    fn decode(&self, bytes: &Bytes) -> Result<(LogState, Bytes), LogError> {
        let object = self.path.to_string();
        let short = |error: TryGetError| LogError::corrupt(&object, "a branch record", error);
        let end = bytes.len().saturating_sub(TRAILER_BYTES);
        let mut trailer = bytes.get(end..).unwrap_or_default();
        let written = Checksum(trailer.try_get_u64_le().map_err(short)?);
        let computed = checksum(bytes.get(..end).unwrap_or_default());
        let mut rest = bytes.slice(..end);
        let mut magic = [0; 8];
        rest.try_copy_to_slice(&mut magic).map_err(short)?;
        if magic != *MAGIC || computed != written {
            return Err(LogError::corrupt(
                &object,
                format!("a branch record with checksum {written}"),
                computed,
            ));
        }
        let version = rest.try_get_u16_le().map_err(short)?;
        if version > FORMAT_VERSION {
            return Err(LogError::NewerFormat { object, found: version, supported: FORMAT_VERSION });
        }
        let (identity, state, length) = decode_fields(&mut rest).map_err(short)?;
        if identity != self.identity {
            let expected =
                format!("database {}, timeline {}", self.identity.database, self.identity.timeline);
            let found = format!("{}, {}", identity.database, identity.timeline);
            return Err(LogError::corrupt(&object, expected, found));
        }
        if length != rest.len() || version == 0 {
            let found = format!("{} (version {version})", rest.len());
            return Err(LogError::corrupt(&object, format!("{length} further bytes"), found));
        }
        Ok((state, rest))
    }
}

fn decode_fields(rest: &mut Bytes) -> Result<(Identity, LogState, usize), TryGetError> {
    rest.try_get_u16_le()?;
    let length = rest.try_get_u32_le()? as usize;
    let (database, timeline) = (DatabaseId(id(rest)?), TimelineId(id(rest)?));
    let stamp = Stamp(id(rest)?);
    let epoch = Epoch(rest.try_get_u64_le()?);
    let writer = WriterId(id(rest)?);
    let (floor, horizon) = (position(rest)?, position(rest)?);
    Ok((Identity { database, timeline }, LogState { floor, horizon, epoch, writer, stamp }, length))
}

fn id(rest: &mut Bytes) -> Result<[u8; 16], TryGetError> {
    let mut id = [0; 16];
    rest.try_copy_to_slice(&mut id)?;
    Ok(id)
}

fn position(rest: &mut Bytes) -> Result<Position, TryGetError> {
    let slot = Slot { epoch: Epoch(rest.try_get_u64_le()?), seq: Seq(rest.try_get_u64_le()?) };
    let (lsn, previous) = (Lsn::new(rest.try_get_u64_le()?), Checksum(rest.try_get_u64_le()?));
    Ok(Position { slot, lsn, previous, time: CommitTime(rest.try_get_u64_le()?) })
}

impl Register for ObjectRegister {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, LogError>> {
        async move { Ok(self.read(&mut Patience::new(self)).await?.0) }.boxed()
    }

    fn swap(&self, version: Version, state: LogState) -> BoxFuture<'_, Result<Swapped, LogError>> {
        self.replace(version, state, None).boxed()
    }
}
