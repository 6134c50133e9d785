//! The operating system's files. Locks are open-file-description locks where the system has them (Linux): a POSIX
//! lock would be dropped by any other close of the same file in the process, for instance by another SQLite library.
//!
//! On systems without them the whole file is locked with `flock`, which keeps our own processes apart but does not
//! speak with stock SQLite.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Access, Disk, DiskFile, FileIdentity, FileStamp, LockKind};

/// The operating system's disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

struct OsFile(File);

/// The directory that holds `path`.
fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

impl Disk for OsDisk {
    fn open(
        &self,
        path: &Path,
        access: Access,
        like: Option<&dyn DiskFile>,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let existed = access != Access::Create || path.exists();
        let mut options = OpenOptions::new();
        options.read(true).write(access != Access::Read).custom_flags(libc::O_CLOEXEC);
        if access == Access::Create {
            options.create(true).truncate(false).mode(0o644);
        }
        let file = options.open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        if let (false, Some(like)) = (existed, like) {
            file.set_permissions(Permissions::from_mode(like.permissions()?))?;
        }
        Ok(Arc::new(OsFile(file)))
    }

    fn delete(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(directory(path))?.sync_all()
    }

    fn check_beside(&self, path: &Path) -> io::Result<()> {
        let flags = nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK;
        nix::unistd::access(&directory(path), flags).map_err(io::Error::from)
    }

    fn identity(&self, path: &Path) -> io::Result<FileIdentity> {
        let metadata = std::fs::metadata(path)?;
        Ok(FileIdentity { device: metadata.dev(), inode: metadata.ino() })
    }

    fn scratch(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = tempfile::tempfile_in(directory(path)).or_else(|_| tempfile::tempfile())?;
        Ok(Arc::new(OsFile(file)))
    }
}

impl DiskFile for OsFile {
    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<usize> {
        let mut total = 0;
        while !buf.is_empty() {
            match self.0.read_at(buf, offset) {
                Ok(0) => break,
                Ok(read) => {
                    total += read;
                    offset += read as u64;
                    buf = buf.get_mut(read..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn try_lock(&self, kind: LockKind) -> io::Result<bool> {
        locks::try_lock(&self.0, kind)
    }

    fn is_locked_at(&self, offset: u64) -> io::Result<bool> {
        locks::is_locked_at(&self.0, offset)
    }

    fn unlock(&self) -> io::Result<()> {
        locks::unlock(&self.0)
    }

    fn identity(&self) -> io::Result<FileIdentity> {
        let metadata = self.0.metadata()?;
        Ok(FileIdentity { device: metadata.dev(), inode: metadata.ino() })
    }

    fn stamp(&self) -> io::Result<FileStamp> {
        let metadata = self.0.metadata()?;
        let modified_ns = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Ok(FileStamp { len: metadata.len(), modified_ns })
    }

    fn permissions(&self) -> io::Result<u32> {
        Ok(self.0.metadata()?.permissions().mode() & 0o777)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod locks {
    use std::fs::File;
    use std::io;

    use nix::errno::Errno;
    use nix::fcntl::{FcntlArg, fcntl};

    use super::LockKind;
    use crate::lock::{LOCK_BYTES_LEN, LOCK_BYTES_START};

    fn range(kind: i32, start: u64, len: u64) -> io::Result<libc::flock> {
        let narrow = |_| io::Error::from(io::ErrorKind::InvalidInput);
        Ok(libc::flock {
            l_type: i16::try_from(kind).map_err(narrow)?,
            l_whence: i16::try_from(libc::SEEK_SET).map_err(narrow)?,
            l_start: libc::off_t::try_from(start).map_err(narrow)?,
            l_len: libc::off_t::try_from(len).map_err(narrow)?,
            l_pid: 0,
        })
    }

    pub(super) fn try_lock(file: &File, kind: LockKind) -> io::Result<bool> {
        let kind = match kind {
            LockKind::Shared => libc::F_RDLCK,
            LockKind::Exclusive => libc::F_WRLCK,
        };
        match fcntl(file, FcntlArg::F_OFD_SETLK(&range(kind, LOCK_BYTES_START, LOCK_BYTES_LEN)?)) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn is_locked_at(file: &File, offset: u64) -> io::Result<bool> {
        let mut probe = range(libc::F_WRLCK, offset, 1)?;
        fcntl(file, FcntlArg::F_OFD_GETLK(&mut probe))?;
        Ok(i32::from(probe.l_type) != libc::F_UNLCK)
    }

    pub(super) fn unlock(file: &File) -> io::Result<()> {
        let all = range(libc::F_UNLCK, LOCK_BYTES_START, LOCK_BYTES_LEN)?;
        fcntl(file, FcntlArg::F_OFD_SETLK(&all)).map(|_| ()).map_err(Into::into)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod locks {
    use std::fs::{File, TryLockError};
    use std::io;

    use super::LockKind;

    pub(super) fn try_lock(file: &File, kind: LockKind) -> io::Result<bool> {
        let outcome = match kind {
            LockKind::Shared => file.try_lock_shared(),
            LockKind::Exclusive => file.try_lock(),
        };
        match outcome {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    pub(super) fn is_locked_at(_file: &File, _offset: u64) -> io::Result<bool> {
        Ok(false)
    }

    pub(super) fn unlock(file: &File) -> io::Result<()> {
        file.unlock()
    }
}
