// SPDX-License-Identifier: GPL-2.0

//! Names: NUL-terminated text in an array of fixed size.

use core::{
    cmp::Ordering,
    fmt::{self, Write}, //
};

use crate::damage::Damage;

/// The name of a session: 1 to 63 bytes.
pub type SessionName = Name<64>;

/// The name of a file handler or of file-lifecycle-bound state (FLB): 1 to 47 bytes.
pub type Compatible = Name<48>;

/// A name that fits into `N` bytes with its NUL.
///
/// Names are bytes: they need not be UTF-8, and two names are the same if their bytes are.
///
/// # Invariants
///
/// The first byte is not NUL, the last one is, and so are all behind the first NUL.
// Aligned, so that it is copied and compared by words.
#[derive(Clone, Copy)]
#[repr(align(8))]
pub struct Name<const N: usize>([u8; N]);

impl<const N: usize> Name<N> {
    /// Bytes of a name on the wire and in commands, its NUL included.
    pub const SIZE: usize = N;

    /// Reads a name up to its NUL; bytes behind that are ignored.
    ///
    /// # Errors
    ///
    /// [`Damage::Name`] if the name is empty or has no NUL.
    #[inline]
    pub fn new(bytes: &[u8; N]) -> Result<Self, Damage> {
        let mut name = [0; N];
        let mut has_end = false;
        for (to, from) in name.chunks_exact_mut(WORD).zip(words(bytes)) {
            let text = up_to_nul(from);
            to.copy_from_slice(&text.unwrap_or(from).to_le_bytes());
            if text.is_some() {
                has_end = true;
                break;
            }
        }
        if !has_end || name.starts_with(&[0]) {
            return Err(Damage::Name);
        }
        // INVARIANT: The first byte was just looked at. The text ends in its last word, behind
        // which everything is NUL.
        Ok(Self(name))
    }

    /// Makes a name from text without NUL; `None` if it is empty, too long, or has one.
    pub fn from_text(text: &[u8]) -> Option<Self> {
        let fits = !text.is_empty() && text.len() < N && !text.contains(&0);
        // INVARIANT: The text is not empty, has no NUL, and leaves room for one.
        fits.then(|| Self::padded(text))
    }

    /// Text that is shorter than `N`, with NUL behind it.
    fn padded(text: &[u8]) -> Self {
        let mut name = [0; N];
        for (to, from) in name.iter_mut().zip(text) {
            *to = *from;
        }
        Self(name)
    }

    /// All bytes, NUL-terminated and padded with NUL.
    #[inline]
    pub fn as_array(&self) -> &[u8; N] {
        &self.0
    }

    /// The text without its NUL.
    #[inline]
    pub fn as_text(&self) -> &[u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        end.and_then(|end| self.0.get(..end)).unwrap_or(&self.0)
    }
}

/// Bytes of a word. The size of a name is a multiple of it.
const WORD: usize = size_of::<u64>();

/// The words of a name; the first byte is the lowest.
#[inline]
fn words<const N: usize>(bytes: &[u8; N]) -> impl Iterator<Item = u64> + '_ {
    const { assert!(N % WORD == 0, "names have whole words") };
    let words = bytes.chunks_exact(WORD);
    words.map(|word| word.try_into().map_or(0, u64::from_le_bytes))
}

/// The bytes of a word before its first NUL, if it has one.
#[inline]
fn up_to_nul(word: u64) -> Option<u64> {
    const LOWEST: u64 = u64::from_ne_bytes([0x01; WORD]);
    const HIGHEST: u64 = u64::from_ne_bytes([0x80; WORD]);
    // The lowest bit that is set here is the highest one of the first NUL.
    let nuls = word.wrapping_sub(LOWEST) & !word & HIGHEST;
    if nuls == 0 {
        return None;
    }
    let bits_before = nuls.trailing_zeros() & !7;
    Some(word & 1_u64.wrapping_shl(bits_before).wrapping_sub(1))
}

impl<const N: usize> Ord for Name<N> {
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        let mut pairs = words(&self.0).zip(words(&other.0));
        let differ = pairs.find(|(one, other)| one != other);
        differ.map_or(Ordering::Equal, |(one, other)| {
            one.swap_bytes().cmp(&other.swap_bytes())
        })
    }
}

impl<const N: usize> PartialOrd for Name<N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<const N: usize> PartialEq for Name<N> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<const N: usize> Eq for Name<N> {}

/// For logs and debugfs: quotes, backslashes and everything but printable ASCII are escaped.
impl<const N: usize> fmt::Display for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_text().iter().try_for_each(|byte| match byte {
            b' '..=b'~' if !b"\\\"".contains(byte) => f.write_char(char::from(*byte)),
            _ => write!(f, "\\x{byte:02x}"),
        })
    }
}

impl<const N: usize> fmt::Debug for Name<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(any(test, CONFIG_LIVEUPDATE_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::prelude::kunit_tests(luo_core_name))]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_up_to_its_nul() {
        let name = Name::<8>::new(b"vm-1\0xyz");
        assert_eq!(name, Name::new(b"vm-1\0\0\0\0"));
        assert_eq!(name.map(|name| *name.as_array()), Ok(*b"vm-1\0\0\0\0"));
        assert!(name.is_ok_and(|name| name.as_text() == b"vm-1"));
    }

    #[test]
    fn a_name_has_an_end_and_a_beginning() {
        assert_eq!(Name::<8>::new(b"abcdefgh"), Err(Damage::Name));
        assert_eq!(Name::<8>::new(b"\0bcdefgh"), Err(Damage::Name));
        assert!(Name::<8>::new(b"abcdefg\0").is_ok());
    }

    #[test]
    fn text_must_fit() {
        assert!(SessionName::from_text(&[b'x'; 63]).is_some());
        assert!(SessionName::from_text(&[b'x'; 64]).is_none());
        assert!(SessionName::from_text(b"").is_none());
        assert!(SessionName::from_text(b"a\0b").is_none());
    }

    #[test]
    fn bytes_decide_which_name_is_which() {
        let name = |text: &[u8]| SessionName::from_text(text);
        assert!(name(b"a") < name(b"b") && name(b"a") < name(b"aa"));
        assert!(name(b"\xff") != name(b"\xfe"));
    }
}

#[cfg(test)]
mod host_tests {
    use super::*;
    use std::{format, vec::Vec};

    use proptest::prelude::*;

    #[test]
    fn odd_bytes_are_escaped() {
        let name = SessionName::from_text(b"a b\\\n\xff").unwrap();
        assert_eq!(format!("{name}"), r"a b\x5c\x0a\xff");
    }

    proptest! {
        #[test]
        fn names_read_back(text in proptest::collection::vec(1_u8.., 1..64)) {
            let name = SessionName::from_text(&text).unwrap();
            prop_assert_eq!(name.as_text(), &text[..]);
            prop_assert_eq!(SessionName::new(name.as_array()), Ok(name));
            let shown = format!("{name}");
            prop_assert!(shown.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }

        #[test]
        fn names_have_the_order_of_bytes(one: [u8; 15], other: [u8; 15], same in 0..16_usize) {
            let mut other = other;
            other[..same].copy_from_slice(&one[..same]);
            let text = |bytes: [u8; 15]| bytes.map(|byte| byte | 1);
            let name = |bytes| Name::<16>::from_text(&text(bytes)).unwrap();
            let (one, other) = (name(one), name(other));
            prop_assert_eq!(one.cmp(&other), one.as_array().cmp(other.as_array()));
            prop_assert_eq!(one == other, one.as_array() == other.as_array());
        }

        #[test]
        fn a_name_ends_at_the_first_nul(bytes in any::<[u8; 16]>(), nul in 0..16_usize) {
            let mut bytes = bytes;
            bytes[nul] = 0;
            let text = bytes.split(|byte| *byte == 0).next().unwrap();
            let name = Name::<16>::new(&bytes).ok();
            prop_assert_eq!(name, Name::from_text(text));
            prop_assert!(name.is_none_or(|name| name.as_text() == text));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            SessionName::from_text(&bytes);
            if let Ok(array) = <&[u8; 8]>::try_from(&bytes[..]) {
                let _ = Name::<8>::new(array);
            }
        }
    }
}
