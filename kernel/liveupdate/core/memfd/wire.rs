// SPDX-License-Identifier: GPL-2.0

//! Structures of the handover of a memfd.

use core::ffi::CStr;

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Name of the handler.
pub const COMPATIBLE: &CStr = c"memfd-v2";

/// The seals of `fcntl(F_ADD_SEALS)` that the format knows: all up to `F_SEAL_EXEC`.
pub const SEALS: u32 = 0x3f;

/// The largest size of a file, `MAX_LFS_FILESIZE`.
const MAX_SIZE: u64 = i64::MAX as u64;

/// Why a memfd of the previous kernel cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file is larger than a file can be.
    Size(u64),
    /// A later version of the format: seals that are not known.
    Seals(u32),
    /// A later version of the format: flags that are not known.
    Flags(u32),
    /// There are more folios than pages.
    Folios(u64),
    /// The table of folios has an impossible order, number of pages or kind.
    Table,
    /// The table is longer or shorter than the number of its pages says, or leads back to itself.
    Length,
    /// A folio is outside of the file, or has flags that are not known.
    Folio(u64),
}

/// A memfd.
#[derive(
    Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq,
)]
#[repr(C)]
pub struct MemfdSer {
    /// The position of the file.
    pub position: u64,
    /// The size of the file, in bytes.
    pub size: u64,
    /// Its seals.
    pub seals: u32,
    /// No flag is known.
    pub flags: u32,
    /// Entries of the table.
    pub count: u64,
    /// The table, of [`FolioSer`] in `memfd-v2`; not used if there are no entries.
    pub folios: TableSer,
}

/// Memory in pages, `struct kho_vmalloc`.
#[derive(
    Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq,
)]
#[repr(C)]
pub struct TableSer {
    /// The address of the first chunk: see [`Chunks`](super::table::Chunks).
    pub first: u64,
    /// Pages of the smallest size in all.
    pub pages: u32,
    /// `KHO_VMALLOC_*`.
    pub flags: u16,
    /// Each block has two to the power of this many pages.
    pub order: u16,
}

impl TableSer {
    /// `KHO_VMALLOC_ALLOC`: memory of `vmalloc()`, which is what Linux 7.3 expects.
    pub const ALLOC: u16 = 1;
    /// `KHO_VMALLOC_HUGE_VMAP`: it may be mapped by huge pages.
    pub const HUGE_VMAP: u16 = 2;
    /// Orders of the page allocator.
    const MAX_ORDER: u16 = 10;
}

/// A folio of the file.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C)]
pub struct FolioSer {
    /// The page frame in the lower 52 bits, flags above. A frame of 0 is no folio.
    packed: u64,
    /// The page of the file that it begins with.
    pub index: u64,
}

/// Flags of a folio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u64);

impl Flags {
    /// It has data; it must be written out before it is dropped.
    pub const DIRTY: Self = Self(1);
    /// Its content is valid; otherwise it was allocated and is to be zeroed.
    pub const UPTODATE: Self = Self(2);
    /// All that Linux 7.3 sets.
    pub const DATA: Self = Self(3);

    /// Whether all of `flags` are set.
    #[inline]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl FolioSer {
    const FRAME_BITS: u32 = 52;
    const FRAME_MASK: u64 = (1 << Self::FRAME_BITS) - 1;

    /// The folio that begins with page frame `frame`, which has no more than 52 bits.
    #[inline]
    pub const fn new(frame: u64, flags: Flags, index: u64) -> Self {
        Self {
            packed: (frame & Self::FRAME_MASK) | (flags.0 << Self::FRAME_BITS),
            index,
        }
    }

    /// The same, so many pages further in memory and in the file; `None` behind the last frame.
    #[inline]
    pub(crate) const fn moved(&self, pages: u64) -> Option<Self> {
        let frame = (self.packed & Self::FRAME_MASK).saturating_add(pages);
        match self.index.checked_add(pages) {
            Some(index) if frame <= Self::FRAME_MASK => Some(Self {
                packed: (self.packed & !Self::FRAME_MASK) | frame,
                index,
            }),
            _ => None,
        }
    }

    /// How many entries there can be from this one on that are so many pages apart, in a file of
    /// `pages` pages.
    pub(crate) fn steps(&self, stride: u64, pages: u64) -> usize {
        let in_file = pages.saturating_sub(self.index).div_ceil(stride.max(1));
        let in_memory = (!self.packed & Self::FRAME_MASK).checked_div(stride);
        let steps = in_file.min(in_memory.unwrap_or(0));
        usize::try_from(steps).unwrap_or(usize::MAX)
    }

    /// The same, so many pages further, if it is known that there can be one.
    #[inline]
    pub(crate) const fn next(&self, stride: u64) -> Self {
        Self {
            packed: self.packed.wrapping_add(stride),
            index: self.index.wrapping_add(stride),
        }
    }

    /// The page frame that it begins with; `None` if the entry is not used.
    #[inline]
    pub const fn frame(&self) -> Option<u64> {
        match self.packed & Self::FRAME_MASK {
            0 => None,
            frame => Some(frame),
        }
    }

    /// Its flags, if all are known.
    #[inline]
    pub const fn flags(&self) -> Option<Flags> {
        match self.packed >> Self::FRAME_BITS {
            flags @ 0..=3 => Some(Flags(flags)),
            _ => None,
        }
    }
}

const _: () = {
    assert!(size_of::<MemfdSer>() == 48);
    assert!(size_of::<TableSer>() == 16);
    assert!(size_of::<FolioSer>() == 16);
};

impl MemfdSer {
    /// Checks everything but the table's content, which is of entries of this type. Returns the
    /// pages of the file.
    ///
    /// # Errors
    ///
    /// The first [`Damage`] that is found.
    pub fn check<Entry>(&self, page_size: u64) -> Result<u64, Damage> {
        if self.size > MAX_SIZE {
            return Err(Damage::Size(self.size));
        }
        if self.seals & !SEALS != 0 {
            return Err(Damage::Seals(self.seals));
        }
        if self.flags != 0 {
            return Err(Damage::Flags(self.flags));
        }
        let pages = self.size.div_ceil(page_size);
        if self.count > pages {
            return Err(Damage::Folios(self.count));
        }
        if self.count > 0 {
            let per_page = page_size.checked_div(size_of::<Entry>() as u64);
            self.folios.check(self.count, per_page.unwrap_or(0))?;
        }
        Ok(pages)
    }
}

impl TableSer {
    /// Checks that it can hold so many entries, of which each page has `per_page`, and is of a kind
    /// that is known.
    fn check(&self, count: u64, per_page: u64) -> Result<(), Damage> {
        let known = Self::ALLOC | Self::HUGE_VMAP;
        let room = u64::from(self.pages).saturating_mul(per_page);
        // Only the order's lowest bits count, which is fine after the first comparison.
        let block = 1_u32.wrapping_shl(self.order.into());
        let has_whole_blocks =
            self.order <= Self::MAX_ORDER && self.pages.checked_rem(block) == Some(0);
        if self.flags & !known != 0 || room < count || !has_whole_blocks {
            return Err(Damage::Table);
        }
        Ok(())
    }
}

#[cfg(any(test, CONFIG_LIVEUPDATE_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(luo_core_memfd_wire))]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn a_folio_is_what_linux_7_3_writes() {
        let folio = FolioSer::new(0x12_3456, Flags::DATA, 7);
        let mut expected = [0_u8; 16];
        expected[..8].copy_from_slice(&0x0030_0000_0012_3456_u64.to_ne_bytes());
        expected[8..].copy_from_slice(&7_u64.to_ne_bytes());
        assert_eq!(folio.as_bytes(), expected);
        assert_eq!(folio.frame(), Some(0x12_3456));
        assert_eq!(folio.flags(), Some(Flags::DATA));
        assert!(Flags::DATA.has(Flags::DIRTY));
        assert!(!Flags::DIRTY.has(Flags::DATA));
    }

    #[test]
    fn an_entry_may_be_unused_or_of_a_later_version() {
        assert_eq!(FolioSer::new(0, Flags::DIRTY, 1).frame(), None);
        let later = FolioSer {
            packed: 1 | 4 << 52,
            index: 0,
        };
        assert_eq!(later.flags(), None);
    }

    #[test]
    fn what_no_kernel_writes_is_refused() {
        let table = TableSer {
            first: 0x1000,
            pages: 1,
            flags: TableSer::ALLOC,
            order: 0,
        };
        let good = MemfdSer {
            size: 4097,
            seals: SEALS,
            count: 2,
            folios: table,
            ..MemfdSer::default()
        };
        assert_eq!(good.check::<FolioSer>(4096), Ok(2));
        assert_eq!(MemfdSer::default().check::<FolioSer>(4096), Ok(0));
        let with = |folios| MemfdSer { folios, ..good };
        for (bad, damage) in [
            (
                MemfdSer {
                    size: 1 << 63,
                    ..good
                },
                Damage::Size(1 << 63),
            ),
            (
                MemfdSer {
                    seals: 0x40,
                    ..good
                },
                Damage::Seals(0x40),
            ),
            (MemfdSer { flags: 1, ..good }, Damage::Flags(1)),
            (MemfdSer { count: 3, ..good }, Damage::Folios(3)),
            (with(TableSer { pages: 0, ..table }), Damage::Table),
            (with(TableSer { flags: 4, ..table }), Damage::Table),
            (with(TableSer { order: 1, ..table }), Damage::Table),
            (
                with(TableSer {
                    order: 99,
                    pages: 1 << 31,
                    ..table
                }),
                Damage::Table,
            ),
        ] {
            assert_eq!(bad.check::<FolioSer>(4096), Err(damage));
        }
    }
}
