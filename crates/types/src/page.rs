//! Page numbers and page sizes, as SQLite defines them.

use std::fmt;
use std::num::NonZeroU32;

/// A page's number. Pages are numbered from 1; page 0 does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageNo(NonZeroU32);

impl PageNo {
    /// The first page, which holds the database header.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// `None` for 0.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number, never 0.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// Byte offset of this page in a flat file of `size` pages.
    #[must_use]
    pub const fn offset(self, size: PageSize) -> u64 {
        (self.0.get() as u64 - 1) * size.get() as u64
    }
}

impl fmt::Display for PageNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A page's size in bytes: a power of two from 512 to 65536.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageSize(u32);

/// A number that is no page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a page size: it must be a power of two from 512 to 65536")]
pub struct PageSizeError(pub u32);

impl PageSize {
    /// What SQLite gives a new database.
    pub const DEFAULT: Self = Self(4096);
    /// The largest page size.
    pub const MAX: Self = Self(65536);

    /// # Errors
    /// When `bytes` is not a power of two from 512 to 65536.
    pub const fn new(bytes: u32) -> Result<Self, PageSizeError> {
        if bytes >= 512 && bytes <= 65536 && bytes.is_power_of_two() {
            Ok(Self(bytes))
        } else {
            Err(PageSizeError(bytes))
        }
    }

    /// Reads the 16-bit field of a database header, where 1 stands for 65536.
    ///
    /// # Errors
    /// When the field names no page size.
    pub const fn from_header(field: u16) -> Result<Self, PageSizeError> {
        if field == 1 { Ok(Self(65536)) } else { Self::new(field as u32) }
    }

    /// Bytes in one page.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Bytes in one page, as a length.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_powers_of_two_from_512_to_65536() {
        for bytes in [512, 1024, 4096, 65536] {
            assert_eq!(PageSize::new(bytes).unwrap().get(), bytes);
        }
        for bytes in [0, 1, 256, 513, 4095, 131_072] {
            assert_eq!(PageSize::new(bytes), Err(PageSizeError(bytes)));
        }
        assert_eq!(PageSize::from_header(1).unwrap(), PageSize::MAX);
        assert_eq!(PageSize::from_header(4096).unwrap(), PageSize::DEFAULT);
    }

    #[test]
    fn pages_count_from_one() {
        assert_eq!(PageNo::new(0), None);
        assert_eq!(PageNo::FIRST.offset(PageSize::DEFAULT), 0);
        assert_eq!(PageNo::new(1 << 31).unwrap().offset(PageSize::MAX), ((1_u64 << 31) - 1) * 65536);
    }
}
