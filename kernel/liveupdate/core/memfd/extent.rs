// SPDX-License-Identifier: GPL-2.0

//! Extents: the format `memfd-v3`.
//!
//! A memfd is a [`MemfdSer`](super::wire::MemfdSer), as in `memfd-v2`, whose table has
//! [`ExtentSer`] instead of folios. The memory of an extent is preserved as blocks of any order,
//! which say nothing about the folios that were there.
//!
//! Linux 7.3 does not know this format.

use core::ffi::CStr;

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::memfd::wire::Damage;

/// Name of the handler.
pub const COMPATIBLE: &CStr = c"memfd-v3";

/// Folios that follow each other in the file and in memory. All are dirty, and their content is
/// valid.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C)]
pub struct ExtentSer {
    /// The page frame that it begins with.
    pub frame: u64,
    /// The page of the file that it begins with.
    pub index: u64,
    /// Folios in it.
    pub count: u32,
    /// Each has two to the power of this many pages.
    pub order: u16,
    /// No flag is known.
    pub flags: u16,
}

const _: () = assert!(size_of::<ExtentSer>() == 24);

/// An extent that is within its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The page frame that it begins with.
    pub frame: u64,
    /// The page of the file that it begins with.
    pub index: u64,
    /// Pages in it. Those behind frame and index are numbers that can be.
    pub pages: u64,
    /// The order of the folios that it was made of.
    pub order: u32,
}

impl ExtentSer {
    /// The largest order that can be: memory of 2^64 bytes, by pages of the smallest size.
    const MAX_ORDER: u16 = 51;

    /// Checks it. `pages` are those of the file.
    ///
    /// # Errors
    ///
    /// [`Damage::Folio`] if it is empty, outside of the file, or has an impossible order or flags
    /// that are not known. The last folio of a file may reach over its end.
    pub fn check(&self, pages: u64) -> Result<Extent, Damage> {
        self.extent(pages).ok_or(Damage::Folio(self.index))
    }

    fn extent(&self, pages: u64) -> Option<Extent> {
        if self.flags != 0 || self.order > Self::MAX_ORDER || self.frame == 0 {
            return None;
        }
        let folio = 1_u64.checked_shl(self.order.into())?;
        let before_last = u64::from(self.count.checked_sub(1)?).checked_mul(folio)?;
        let long = before_last.checked_add(folio)?;
        let last = self.index.checked_add(before_last)?;
        let _ = self.index.checked_add(long)?;
        let _ = self.frame.checked_add(long)?;
        (last < pages).then_some(Extent {
            frame: self.frame,
            index: self.index,
            pages: long,
            order: self.order.into(),
        })
    }
}

impl Extent {
    /// Leaves so many pages out, from the beginning.
    pub const fn advance(&mut self, pages: u64) {
        let pages = if pages < self.pages {
            pages
        } else {
            self.pages
        };
        // The pages behind an extent have numbers that can be.
        self.frame = self.frame.wrapping_add(pages);
        self.index = self.index.wrapping_add(pages);
        self.pages = self.pages.wrapping_sub(pages);
    }

    /// The orders that folios of its memory may have, as bits: `some`, and the one that its folios
    /// had.
    pub const fn orders(&self, some: u64) -> u64 {
        match 1_u64.checked_shl(self.order) {
            Some(had) => some | had,
            None => some,
        }
    }
}

#[cfg(any(test, CONFIG_LIVEUPDATE_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(luo_core_memfd_extent))]
mod tests {
    use super::*;

    const EXTENT: ExtentSer = ExtentSer {
        frame: 512,
        index: 8,
        count: 3,
        order: 2,
        flags: 0,
    };

    #[test]
    fn an_extent_is_within_its_file() {
        let extent = Extent {
            frame: 512,
            index: 8,
            pages: 12,
            order: 2,
        };
        assert_eq!(EXTENT.check(20), Ok(extent));
        // The last folio reaches over the end.
        assert_eq!(EXTENT.check(17), Ok(extent));
        assert_eq!(EXTENT.check(16), Err(Damage::Folio(8)));
        let mut rest = extent;
        rest.advance(8);
        let last = Extent {
            frame: 520,
            index: 16,
            pages: 4,
            order: 2,
        };
        assert_eq!(rest, last);
        rest.advance(5);
        assert_eq!(rest.pages, 0);
    }

    #[test]
    fn what_no_kernel_writes_is_refused() {
        for bad in [
            ExtentSer { flags: 1, ..EXTENT },
            ExtentSer { count: 0, ..EXTENT },
            ExtentSer { frame: 0, ..EXTENT },
            ExtentSer {
                order: 52,
                ..EXTENT
            },
            ExtentSer {
                order: 40,
                count: u32::MAX,
                ..EXTENT
            },
            ExtentSer {
                frame: u64::MAX - 11,
                ..EXTENT
            },
            ExtentSer {
                index: u64::MAX - 11,
                ..EXTENT
            },
        ] {
            assert_eq!(bad.check(u64::MAX), Err(Damage::Folio(bad.index)));
        }
    }

    #[test]
    fn folios_may_have_the_order_that_they_had() {
        let extent = EXTENT.check(20).map(|it| (it.orders(0), it.orders(0b1010)));
        assert_eq!(extent, Ok((0b100, 0b1110)));
    }
}
