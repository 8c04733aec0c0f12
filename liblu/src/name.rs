// SPDX-License-Identifier: MIT OR Apache-2.0

//! Names of sessions.

use std::fmt;
use std::str::FromStr;

use liveupdate_uapi::SESSION_NAME_LENGTH;
use rustix::io::Errno;

use crate::{Error, ErrorKind, Result};

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
/// # Ok::<(), liblu::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionName([u8; SESSION_NAME_LENGTH]);

/// The beginning of names that were made by hashing.
#[cfg(feature = "hash")]
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
    /// [`ErrorKind::InvalidName`] if there are none, too many, or a NUL is among them.
    ///
    /// ```
    /// use liblu::SessionName;
    ///
    /// assert!(SessionName::new([b'x'; 63]).is_ok());
    /// assert!(SessionName::new([b'x'; 64]).is_err());
    /// ```
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self> {
        let bytes = bytes.as_ref();
        if bytes.is_empty() {
            return Err(invalid("a session's name must not be empty"));
        }
        if bytes.contains(&0) {
            return Err(invalid("a session's name must not contain NUL"));
        }
        let mut name = [0; SESSION_NAME_LENGTH];
        match name.get_mut(..bytes.len()) {
            Some(to) if bytes.len() <= Self::MAX_LENGTH => to.copy_from_slice(bytes),
            _ => return Err(too_long(bytes.len())),
        }
        Ok(Self(name))
    }

    /// The name for a label of any length: the label itself if it can be a name, and else `lu-` and
    /// the base32 of its SHA-256 in small letters, 55 bytes.
    ///
    /// Labels that begin with `lu-` are hashed too, so that two labels never have one name. It takes the
    /// feature `hash`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`] if the label is empty or contains NUL.
    ///
    /// ```
    /// use liblu::SessionName;
    ///
    /// assert_eq!(SessionName::of_label("vm-17")?.as_bytes(), b"vm-17");
    /// let long = SessionName::of_label(&"x".repeat(100))?;
    /// assert!(long.as_bytes().starts_with(b"lu-"));
    /// assert_eq!(long.as_bytes().len(), 55);
    /// # Ok::<(), liblu::Error>(())
    /// ```
    #[cfg(feature = "hash")]
    pub fn of_label(label: &str) -> Result<Self> {
        use sha2::{Digest, Sha256};

        let is_short = label.len() <= Self::MAX_LENGTH && !label.starts_with(HASHED);
        if is_short || label.contains('\0') {
            return Self::new(label);
        }
        let hash = base32().encode(&Sha256::digest(label));
        Self::new(format!("{HASHED}{hash}"))
    }

    /// The name for a label in a namespace, such as a unit or a user: that of the label
    /// `NAMESPACE/LABEL`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidName`] if the namespace is empty or has a slash, or one of the two has a NUL.
    ///
    /// ```
    /// use liblu::SessionName;
    ///
    /// let name = SessionName::in_namespace("vmm@17.service", "memory")?;
    /// assert_eq!(name.as_bytes(), b"vmm@17.service/memory");
    /// # Ok::<(), liblu::Error>(())
    /// ```
    #[cfg(feature = "hash")]
    pub fn in_namespace(namespace: &str, label: &str) -> Result<Self> {
        if namespace.is_empty() || namespace.contains('/') {
            return Err(invalid("a namespace must not be empty or contain `/`"));
        }
        Self::of_label(&format!("{namespace}/{label}"))
    }

    /// The bytes, without NUL.
    ///
    /// ```
    /// assert_eq!(liblu::SessionName::new("db")?.as_bytes(), b"db");
    /// # Ok::<(), liblu::Error>(())
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
    pub(crate) fn from_array(bytes: &[u8; SESSION_NAME_LENGTH]) -> Result<Self> {
        let length = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Self::new(bytes.get(..length).unwrap_or_default())
    }
}

fn invalid(why: &'static str) -> Error {
    Error::new(ErrorKind::InvalidName, why)
}

fn too_long(length: usize) -> Error {
    let max = SessionName::MAX_LENGTH;
    let why = format!("a session's name has at most {max} bytes, not {length}");
    Error::new(ErrorKind::InvalidName, why).caused_by(Errno::NAMETOOLONG)
}

/// Without padding, in small letters.
#[cfg(feature = "hash")]
fn base32() -> data_encoding::Encoding {
    let mut specification = data_encoding::Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    #[expect(clippy::expect_used, reason = "32 different letters are an encoding; a test says so")]
    specification.encoding().expect("an encoding")
}

impl FromStr for SessionName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
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
            let error = SessionName::in_namespace(namespace, "x").unwrap_err();
            assert!(error.to_string().contains("namespace"));
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
            prop_assert_eq!(SessionName::from_array(&name.to_array()).unwrap(), name);
        }

        #[test]
        fn every_label_has_a_name(label in "[^\\x00]{1,200}") {
            let name = SessionName::of_label(&label).unwrap();
            prop_assert!(name.as_bytes().len() <= SessionName::MAX_LENGTH);
        }
    }
}
