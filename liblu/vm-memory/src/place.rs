// SPDX-License-Identifier: MIT OR Apache-2.0

//! The places of regions: what the state of a file in the manifest says.
//!
//! A byte with the version, then 24 bytes for each region, all little-endian.

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes as _, IntoBytes as _};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The version that is written, and the newest that is read.
const VERSION: u8 = 1;

/// A region: where the guest has it, and where its file has it.
#[derive(
    Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq, Eq, Unaligned,
)]
#[repr(C)]
pub(crate) struct Place {
    address: U64,
    length: U64,
    offset: U64,
}

impl Place {
    pub(crate) fn new(address: u64, length: u64, offset: u64) -> Self {
        Self { address: address.into(), length: length.into(), offset: offset.into() }
    }

    /// The guest's address of it.
    pub(crate) fn address(&self) -> u64 {
        self.address.get()
    }

    /// Its length in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length.get()
    }

    /// Where it begins in its file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset.get()
    }
}

/// The state of a file with these regions.
pub(crate) fn encode(places: &[Place]) -> Vec<u8> {
    [&[VERSION], places.as_bytes()].concat()
}

/// The regions of a state; `None` if it is of a later version, or damaged.
pub(crate) fn decode(state: &[u8]) -> Option<Vec<Place>> {
    let (version, rest) = state.split_first()?;
    let places = <[Place]>::ref_from_bytes(rest).ok()?;
    (*version == VERSION && !places.is_empty()).then(|| places.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_were_written() {
        let places = [Place::new(0, 640 << 10, 0), Place::new(1 << 32, 1 << 30, 640 << 10)];
        assert_eq!(decode(&encode(&places)).as_deref(), Some(&places[..]));
    }

    #[test]
    fn what_cannot_be_understood_is_no_list_of_places() {
        let state = encode(&[Place::new(0, 4096, 0)]);
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[VERSION]), None);
        assert_eq!(decode(&state[..state.len() - 1]), None);
        assert_eq!(decode(&[&[VERSION + 1], &state[1..]].concat()), None);
    }
}
