// SPDX-License-Identifier: MIT OR Apache-2.0

//! Names of sessions.

use std::fmt;
use std::str::FromStr;

use data_encoding::{Encoding, Specification};
use liveupdate_uapi::SESSION_NAME_LENGTH;
use sha2::{Digest, Sha256};

/// The name of a session: 1 to 63 bytes without NUL.
///
/// Names are known to everybody who may open the device, and stand in `/proc/PID/fd`: they must not
/// hold secrets. `systemd` is systemd's own.
///
/// ```
/// use liblu::SessionName;
///
/// let name: SessionName = "vm-17".parse()?;
/// assert_eq!(name.as_bytes(), b"vm-17");
/// assert_eq!(name.to_string(), "vm-17");
/// assert!("".parse::<SessionName>().is_err());
/// # Ok::<(), liblu::NameError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionName([u8; SESSION_NAME_LENGTH]);

/// Why something is no name of a session.
///
/// ```
/// use liblu::{NameError, SessionName};
///
/// assert_eq!(SessionName::new(b"a\0b"), Err(NameError::Nul));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It has no bytes.
    #[error("a session's name must not be empty")]
    Empty,
    /// It has more than 63 bytes. [`SessionName::of_label`] makes a name of any label.
    #[error("a session's name has at most {max} bytes, not {0}", max = SessionName::MAX_LENGTH)]
    TooLong(usize),
    /// It has a NUL inside.
    #[error("a session's name must not contain NUL")]
    Nul,
    /// A namespace has a slash, or nothing.
    #[error("a namespace must not be empty or contain `/`")]
    Namespace,
}

/// What names that were made by hashing begin with.
const HASHED: &str = "lu-";

impl SessionName {
    /// Bytes that a name has at most.
    ///
    /// ```
    /// assert_eq!(liblu::SessionName::MAX_LENGTH, 63);
    /// ```
    pub const MAX_LENGTH: usize = SESSION_NAME_LENGTH - 1;

    /// The name with these bytes.
    ///
    /// # Errors
    ///
    /// [`NameError`] if there are none, too many, or a NUL is among them.
    ///
    /// ```
    /// use liblu::{NameError, SessionName};
    ///
    /// assert!(SessionName::new([b'x'; 63]).is_ok());
    /// assert_eq!(SessionName::new([b'x'; 64]), Err(NameError::TooLong(64)));
    /// ```
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, NameError> {
        let bytes = bytes.as_ref();
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.contains(&0) {
            return Err(NameError::Nul);
        }
        let mut name = [0; SESSION_NAME_LENGTH];
        match name.get_mut(..bytes.len()) {
            Some(to) if bytes.len() <= Self::MAX_LENGTH => to.copy_from_slice(bytes),
            _ => return Err(NameError::TooLong(bytes.len())),
        }
        Ok(Self(name))
    }

    /// The name for a label of any length: the label itself if it can be a name, and else `lu-` and
    /// the base32 of its SHA-256 in small letters, 55 bytes.
    ///
    /// Labels that begin with `lu-` are hashed too, so that two labels never have one name.
    ///
    /// # Errors
    ///
    /// [`NameError::Empty`] and [`NameError::Nul`].
    ///
    /// ```
    /// use liblu::SessionName;
    ///
    /// assert_eq!(SessionName::of_label("vm-17")?.as_bytes(), b"vm-17");
    /// let long = SessionName::of_label(&"x".repeat(100))?;
    /// assert!(long.as_bytes().starts_with(b"lu-"));
    /// assert_eq!(long.as_bytes().len(), 55);
    /// # Ok::<(), liblu::NameError>(())
    /// ```
    pub fn of_label(label: &str) -> Result<Self, NameError> {
        match Self::new(label) {
            Err(NameError::TooLong(_)) => {}
            Ok(_) if label.starts_with(HASHED) => {}
            done => return done,
        }
        let hash = base32().encode(&Sha256::digest(label));
        Self::new(format!("{HASHED}{hash}"))
    }

    /// The name for a label in a namespace, such as a unit or a user: that of the label
    /// `NAMESPACE/LABEL`.
    ///
    /// # Errors
    ///
    /// [`NameError::Namespace`] if the namespace is empty or has a slash, [`NameError::Nul`].
    ///
    /// ```
    /// use liblu::SessionName;
    ///
    /// let name = SessionName::in_namespace("vmm@17.service", "memory")?;
    /// assert_eq!(name.as_bytes(), b"vmm@17.service/memory");
    /// # Ok::<(), liblu::NameError>(())
    /// ```
    pub fn in_namespace(namespace: &str, label: &str) -> Result<Self, NameError> {
        if namespace.is_empty() || namespace.contains('/') {
            return Err(NameError::Namespace);
        }
        Self::of_label(&format!("{namespace}/{label}"))
    }

    /// The bytes, without NUL.
    ///
    /// ```
    /// assert_eq!(liblu::SessionName::new("db")?.as_bytes(), b"db");
    /// # Ok::<(), liblu::NameError>(())
    /// ```
    pub fn as_bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        end.and_then(|end| self.0.get(..end)).unwrap_or(&self.0)
    }

    /// As commands take it.
    pub(crate) fn to_array(self) -> [u8; SESSION_NAME_LENGTH] {
        self.0
    }

    /// As the kernel returns it: up to the first NUL.
    pub(crate) fn from_array(bytes: &[u8; SESSION_NAME_LENGTH]) -> Result<Self, NameError> {
        let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Self::new(bytes.get(..length).unwrap_or_default())
    }
}

/// Without padding, in small letters.
fn base32() -> Encoding {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    #[expect(clippy::expect_used, reason = "32 different letters are an encoding; a test says so")]
    specification.encoding().expect("an encoding")
}

impl FromStr for SessionName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

/// What is no printable ASCII is escaped.
impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().escape_ascii().fmt(f)
    }
}

impl fmt::Debug for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hashed_names_do_not_change() {
        // Base32 of the SHA-256 of 64 times `x`, by another program.
        let name = SessionName::of_label(&"x".repeat(64)).unwrap();
        let hash = "ptqqbfy7mttqahup4wsrs47m37q45vbl57t65dk72yqzkbvvhe6a";
        assert_eq!(name.to_string(), format!("lu-{hash}"));
        assert_eq!(SessionName::of_label("lu-").unwrap().as_bytes().len(), 55);
    }

    #[test]
    fn namespaces_have_no_slash() {
        for namespace in ["", "a/b"] {
            assert_eq!(SessionName::in_namespace(namespace, "x"), Err(NameError::Namespace));
        }
        let one = SessionName::in_namespace("a", "b/c").unwrap();
        assert_eq!(one.as_bytes(), b"a/b/c");
    }

    #[test]
    fn odd_bytes_are_escaped() {
        assert_eq!(SessionName::new(b"a\n\xff").unwrap().to_string(), "a\\n\\xff");
    }

    proptest! {
        #[test]
        fn what_the_kernel_returns_is_the_same(bytes in proptest::collection::vec(1_u8.., 1..=63)) {
            let name = SessionName::new(&bytes).unwrap();
            prop_assert_eq!(name.as_bytes(), &bytes[..]);
            prop_assert_eq!(SessionName::from_array(&name.to_array()), Ok(name));
        }

        #[test]
        fn every_label_has_a_name(label in "[^\\x00]{1,200}") {
            let name = SessionName::of_label(&label).unwrap();
            prop_assert!(name.as_bytes().len() <= SessionName::MAX_LENGTH);
        }
    }
}
