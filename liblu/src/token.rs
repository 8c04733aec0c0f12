// SPDX-License-Identifier: MIT OR Apache-2.0

//! The numbers by which a client knows the files of a session.

use std::fmt;

/// A client's name for a file, unique in its session.
///
/// Any number will do. The highest ones belong to this library ([`Token::MANIFEST`]).
///
/// ```
/// use liblu::Token;
///
/// let memory = Token::new(0x1000).expect("it is not reserved");
/// assert_eq!(memory.get(), 0x1000);
/// assert_eq!(memory.to_string(), "0x1000");
/// assert_eq!(Token::new(u64::MAX), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u64);

impl Token {
    /// The first number that belongs to this library.
    const RESERVED: u64 = u64::MAX - 0xff;

    /// The token of the manifest of a session.
    ///
    /// ```
    /// assert_eq!(liblu::Token::MANIFEST.get(), u64::MAX);
    /// ```
    pub const MANIFEST: Self = Self(u64::MAX);

    /// The token of no file: a question about the direction of a session must take no token of a
    /// client's.
    pub(crate) const PROBE: Self = Self(u64::MAX - 1);

    /// The token of a manifest that is too large for the first one.
    #[cfg(feature = "manifest")]
    pub(crate) const MANIFEST_2: Self = Self(u64::MAX - 2);

    /// The token of a manifest that is too large for the second one.
    #[cfg(feature = "manifest")]
    pub(crate) const MANIFEST_3: Self = Self(u64::MAX - 3);

    /// The token of this number; `None` for the 256 highest, which are reserved.
    ///
    /// ```
    /// assert!(liblu::Token::new(0).is_some());
    /// ```
    pub const fn new(number: u64) -> Option<Self> {
        if number < Self::RESERVED { Some(Self(number)) } else { None }
    }

    /// Whether it is one of the 256 highest.
    #[cfg(feature = "manifest")]
    pub(crate) fn is_reserved(self) -> bool {
        self.0 >= Self::RESERVED
    }

    /// The number, as the kernel has it.
    ///
    /// ```
    /// assert_eq!(liblu::Token::from(7).get(), 7);
    /// ```
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Small numbers are never reserved.
///
/// ```
/// assert_eq!(Some(liblu::Token::from(7)), liblu::Token::new(7));
/// ```
impl From<u32> for Token {
    fn from(number: u32) -> Self {
        Self(number.into())
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_are_reserved() {
        assert_eq!(Token::new(u64::MAX - 0x100).map(Token::get), Some(u64::MAX - 0x100));
        assert_eq!(Token::new(u64::MAX - 0xff), None);
        assert_eq!(Token::new(Token::MANIFEST.get()), None);
    }
}
