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
#[derive(Clone, Copy)]
pub struct Name<const N: usize>([u8; N]);

impl<const N: usize> Name<N> {
    /// Bytes of a name on the wire and in commands, its NUL included.
    pub const SIZE: usize = N;

    /// Reads a name up to its NUL; bytes behind that are ignored.
    ///
    /// # Errors
    ///
    /// [`Damage::Name`] if the name is empty or has no NUL.
    pub fn new(bytes: &[u8; N]) -> Result<Self, Damage> {
        let length = bytes.iter().position(|byte| *byte == 0);
        let text = length.and_then(|length| bytes.get(..length));
        let text = text.filter(|text| !text.is_empty()).ok_or(Damage::Name)?;
        // INVARIANT: The text is not empty, and ends where the first NUL is.
        Ok(Self::padded(text))
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

impl<const N: usize> Name<N> {
    /// The bytes as numbers of the same order, and those that are left: a name is compared in eight
    /// steps, and usually after two.
    fn words(&self) -> (impl Iterator<Item = u64> + '_, &[u8]) {
        let words = self.0.chunks_exact(size_of::<u64>());
        let rest = words.remainder();
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_be_bytes);
        (words.map(word), rest)
    }
}

impl<const N: usize> Ord for Name<N> {
    fn cmp(&self, other: &Self) -> Ordering {
        let ((words, rest), (others, others_rest)) = (self.words(), other.words());
        words.cmp(others).then_with(|| rest.cmp(others_rest))
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
        assert_eq!(Name::<4>::new(b"abcd"), Err(Damage::Name));
        assert_eq!(Name::<4>::new(b"\0bcd"), Err(Damage::Name));
        assert!(Name::<4>::new(b"abc\0").is_ok());
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
        fn names_have_the_order_of_bytes(one: [u8; 12], other: [u8; 12], same in 0..13_usize) {
            let mut other = other;
            other[..same].copy_from_slice(&one[..same]);
            let text = |bytes: [u8; 12]| bytes.map(|byte| byte | 1);
            let name = |bytes| Name::<13>::from_text(&text(bytes)).unwrap();
            let (one, other) = (name(one), name(other));
            prop_assert_eq!(one.cmp(&other), one.as_array().cmp(other.as_array()));
            prop_assert_eq!(one == other, one.as_array() == other.as_array());
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
