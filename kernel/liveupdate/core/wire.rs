// SPDX-License-Identifier: GPL-2.0

//! The format of the handover.
//!
//! Bit-compatible with Linux 7.3: `include/linux/kho/abi/{luo,block}.h`. All numbers are in the
//! byte order of the machine, which a kexec does not change. Addresses are physical; 0 stands for
//! none.

use core::ffi::CStr;

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    damage::Damage,
    name::{Compatible, SessionName},
};

/// Name of the KHO subtree that holds a [`LuoSer`].
pub const SUBTREE: &CStr = c"LUO";

/// The only format that this implementation reads and writes, padded with NUL.
pub const COMPATIBLE: [u8; 8] = *b"luo-v5\0\0";

/// The root of everything that is handed over.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C)]
pub struct LuoSer {
    /// The format: [`COMPATIBLE`].
    pub compatible: [u8; 8],
    /// Number of live updates so far, this one included.
    pub liveupdate_num: u64,
    /// First block of the chain of [`SessionSer`].
    pub sessions: u64,
    /// The page of [`FlbSer`], which begins with a [`FlbHeaderSer`].
    pub flbs: u64,
}

/// The head of each block of a chain; entries follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C)]
pub struct BlockHeader {
    /// The next block.
    pub next: u64,
    /// Entries in this block; none only in the last block of a chain.
    pub count: u64,
}

/// A session.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C)]
pub struct SessionSer {
    /// NUL-terminated name.
    pub name: [u8; SessionName::SIZE],
    /// First block of the chain of [`FileSer`].
    pub files: u64,
    /// Files in that chain.
    pub count: u64,
}

/// A file of a session.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C)]
pub struct FileSer {
    /// NUL-terminated name of the handler.
    pub compatible: [u8; Compatible::SIZE],
    /// A number of the handler; opaque.
    pub data: u64,
    /// The token under which the file was preserved.
    pub token: u64,
}

/// The head of the page of FLB entries.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C)]
pub struct FlbHeaderSer {
    /// Pages, this one included: always 1.
    pub pages: u64,
    /// Entries that follow.
    pub count: u64,
}

/// File-lifecycle-bound state (FLB).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, PartialEq, Eq)]
#[repr(C)]
pub struct FlbSer {
    /// NUL-terminated name of the FLB.
    pub name: [u8; Compatible::SIZE],
    /// A number of the FLB's owner; opaque.
    pub data: u64,
    /// Files that depend on it.
    pub count: u64,
}

impl FlbHeaderSer {
    /// The head of a page with `count` FLB entries.
    pub const fn new(count: u64) -> Self {
        Self { pages: 1, count }
    }
}

const _: () = {
    assert!(size_of::<LuoSer>() == 32);
    assert!(size_of::<BlockHeader>() == 16);
    assert!(size_of::<SessionSer>() == 80);
    assert!(size_of::<FileSer>() == 64);
    assert!(size_of::<FlbHeaderSer>() == 16);
    assert!(size_of::<FlbSer>() == 64);
};

impl LuoSer {
    /// An empty handover that will be live update `number`.
    pub const fn new(number: u64) -> Self {
        Self {
            compatible: COMPATIBLE,
            liveupdate_num: number,
            sessions: 0,
            flbs: 0,
        }
    }

    /// Refuses formats that this implementation does not know.
    pub fn check(&self) -> Result<(), Damage> {
        if self.compatible == COMPATIBLE {
            Ok(())
        } else {
            Err(Damage::Format(self.compatible))
        }
    }
}

#[cfg(any(test, CONFIG_LIVEUPDATE_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(luo_core_wire))]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn the_root_is_what_linux_7_3_writes() {
        let root = LuoSer {
            sessions: 0x1000,
            flbs: 0x2000,
            ..LuoSer::new(7)
        };
        let mut expected = [0_u8; 32];
        expected[..6].copy_from_slice(b"luo-v5");
        expected[8..16].copy_from_slice(&7_u64.to_ne_bytes());
        expected[16..24].copy_from_slice(&0x1000_u64.to_ne_bytes());
        expected[24..].copy_from_slice(&0x2000_u64.to_ne_bytes());
        assert_eq!(root.as_bytes(), expected);
    }

    #[test]
    fn another_format_is_refused() {
        let mut root = LuoSer::new(1);
        assert_eq!(root.check(), Ok(()));
        root.compatible = *b"luo-v6\0\0";
        assert_eq!(root.check(), Err(Damage::Format(*b"luo-v6\0\0")));
        root.compatible = *b"luo-v5\0x";
        assert!(root.check().is_err());
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "small numbers, and a test may panic"
)]
mod host_tests;
