// SPDX-License-Identifier: GPL-2.0

//! Extensible commands: a structure whose first word is its size, and which may grow on both sides.
//!
//! The rules are those of fwctl and iommufd. A caller may know a shorter structure than this
//! kernel: what it does not know is taken as zero. It may know a longer one: what this kernel does
//! not know must be zero, or the caller wants something that it would not get.

/// Bytes of the size word that every command begins with.
pub const SIZE_WORD: usize = size_of::<u32>();

/// Which bytes of a command are read, and which must be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes that both sides know: copied in, and copied back out.
    pub known: usize,
    /// Bytes behind those that only the caller knows: they must be zero.
    pub beyond: usize,
}

/// The caller's structure ends before the last mandatory field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooShort;

impl Extent {
    /// The extent of a command that the caller says has `said` bytes, of which it needs `least`,
    /// and this kernel knows `full`.
    #[inline]
    pub fn of(said: u32, least: usize, full: usize) -> Result<Self, TooShort> {
        let said = usize::try_from(said).map_err(|_| TooShort)?;
        if said < least.max(SIZE_WORD) {
            return Err(TooShort);
        }
        Ok(Self {
            known: said.min(full),
            beyond: said.saturating_sub(full),
        })
    }
}

#[cfg(any(test, CONFIG_LIVEUPDATE_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(luo_core_command))]
mod tests {
    use super::*;

    #[test]
    fn both_sides_may_grow() {
        let extent = |said| Extent::of(said, 16, 24);
        assert_eq!(extent(0), Err(TooShort));
        assert_eq!(extent(15), Err(TooShort));
        assert_eq!(
            extent(16),
            Ok(Extent {
                known: 16,
                beyond: 0
            })
        );
        assert_eq!(
            extent(23),
            Ok(Extent {
                known: 23,
                beyond: 0
            })
        );
        assert_eq!(
            extent(24),
            Ok(Extent {
                known: 24,
                beyond: 0
            })
        );
        assert_eq!(
            extent(25),
            Ok(Extent {
                known: 24,
                beyond: 1
            })
        );
        let beyond = u32::MAX as usize - 24;
        assert_eq!(extent(u32::MAX), Ok(Extent { known: 24, beyond }));
    }

    #[test]
    fn the_size_word_is_never_optional() {
        assert_eq!(Extent::of(3, 0, 8), Err(TooShort));
        assert_eq!(
            Extent::of(4, 0, 8),
            Ok(Extent {
                known: 4,
                beyond: 0
            })
        );
    }
}
