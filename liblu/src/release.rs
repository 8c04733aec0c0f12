// SPDX-License-Identifier: MIT OR Apache-2.0

//! Releases of the kernel.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A release of Linux, such as `7.3.4-1~bpo13+1`.
///
/// ```
/// use liblu::Release;
///
/// let release: Release = "7.3.4-amd64".parse().unwrap();
/// assert!(release.is_before(7, 4) && !release.is_before(7, 3));
/// assert_eq!(release.text(), "7.3.4-amd64");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    text: String,
    major: u32,
    minor: u32,
    patch: u32,
}

impl Release {
    /// That of the running kernel.
    ///
    /// ```
    /// assert!(!liblu::Release::running().text().is_empty());
    /// ```
    pub fn running() -> Self {
        let name = rustix::system::uname();
        Self::of(&name.release().to_string_lossy())
    }

    /// As uname(1) has it.
    ///
    /// ```
    /// println!("Linux {}", liblu::Release::running().text());
    /// ```
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is older than `major.minor`. One that cannot be read is older than everything.
    ///
    /// ```
    /// let release: liblu::Release = "6.18".parse().unwrap();
    /// assert!(release.is_before(6, 19));
    /// ```
    pub fn is_before(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) < (major, minor)
    }

    /// Major, minor and patch number.
    pub(crate) fn numbers(&self) -> (u32, u32, u32) {
        (self.major, self.minor, self.patch)
    }

    pub(crate) fn of(text: &str) -> Self {
        let end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
        let numbers = text.get(..end).unwrap_or_default();
        let mut numbers = numbers.split('.').map(|number| number.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Self { major: next(), minor: next(), patch: next(), text: text.to_owned() }
    }
}

impl FromStr for Release {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::of(text))
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_before_what_distributions_add() {
        for (text, numbers) in [
            ("7.3.4-1~bpo13+1", (7, 3, 4)),
            ("6.19-rc3", (6, 19, 0)),
            ("7.3.4.5", (7, 3, 4)),
            ("unknown", (0, 0, 0)),
            ("", (0, 0, 0)),
        ] {
            assert_eq!(Release::of(text).numbers(), numbers, "{text}");
        }
    }
}
