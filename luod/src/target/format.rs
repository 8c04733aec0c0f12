// SPDX-License-Identifier: MIT OR Apache-2.0

//! Names of formats, and the set of those in an image.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The format of something that is handed over: `luo-v5`, `memfd-v2`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Format(Box<str>);

/// The string is no name of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a format has 1 to {} printable characters without spaces", Format::MAX)]
pub struct FormatError;

/// The part of the kernel that a format belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Kexec Handover, the ground that LUO stands on.
    Kho,
    /// The orchestrator.
    Luo,
    /// A handler of files or a subsystem, which may be in a module.
    Handler,
}

impl Format {
    /// The longest name, in bytes: 48 with the NUL (`LIVEUPDATE_HNDL_COMPAT_LENGTH`).
    pub const MAX: usize = 47;

    /// A format by its name.
    ///
    /// # Errors
    ///
    /// The name is empty, too long, or has characters that names of formats do not have.
    pub fn new(name: &str) -> Result<Self, FormatError> {
        let printable = name.bytes().all(|byte| byte.is_ascii_graphic());
        if name.is_empty() || name.len() > Self::MAX || !printable {
            return Err(FormatError);
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without the version: `luo` of `luo-v5`, `kvm_vm_luo` of `kvm_vm_luo_v1`, `memfd` of
    /// `memfd-v2;vmalloc-v1`. A name without a version is a family of its own.
    pub fn family(&self) -> &str {
        version(&self.0).map_or(&self.0, |at| &self.0[..at])
    }

    /// Whether the name has a version.
    pub fn is_versioned(&self) -> bool {
        version(&self.0).is_some()
    }

    /// The part of the kernel that the format belongs to.
    pub fn owner(&self) -> Owner {
        match self.family() {
            "kho" => Owner::Kho,
            "luo" => Owner::Luo,
            _ => Owner::Handler,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Format {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        Self::new(name)
    }
}

/// The place of the first version in `name`: `-vN` or `_vN` after a letter or digit, at the end or
/// before a `;`.
fn version(name: &str) -> Option<usize> {
    let bytes = name.as_bytes();
    (1..bytes.len()).find(|&at| {
        let Some([b'-' | b'_', b'v', rest @ ..]) = bytes.get(at..) else { return false };
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        digits > 0 && matches!(rest.get(digits), None | Some(b';'))
    })
}

/// Where a name was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Among the strings of the kernel.
    Strings,
    /// In the section `.liveupdate_features`, which says it on purpose.
    Section,
}

/// The formats in an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Formats {
    pub(super) known: BTreeMap<Format, Source>,
    pub(super) mentions: BTreeSet<Box<str>>,
}

impl Formats {
    /// Where `format` stands as a name of its own, if anywhere.
    pub fn get(&self, format: &Format) -> Option<Source> {
        self.known.get(format).copied()
    }

    /// All names of formats, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&Format, Source)> {
        self.known.iter().map(|(format, &source)| (format, source))
    }

    /// All names of the same family with a version.
    pub fn of_family<'a>(&'a self, family: &'a str) -> impl Iterator<Item = &'a Format> {
        self.known.keys().filter(move |format| format.is_versioned() && format.family() == family)
    }

    /// Whether `format` is a part of some longer text or name.
    pub fn mentions(&self, format: &Format) -> bool {
        let name = format.as_str();
        let names = self.known.keys().filter(|&known| known != format).map(Format::as_str);
        self.mentions.iter().map(AsRef::as_ref).chain(names).any(|text| {
            text.match_indices(name).any(|(at, _)| {
                !text[at + name.len()..].starts_with(|next: char| next.is_ascii_digit())
            })
        })
    }

    /// Names and texts.
    pub(super) fn len(&self) -> usize {
        self.known.len() + self.mentions.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_the_name_before_the_version() {
        for (name, family) in [
            ("luo-v5", "luo"),
            ("kho-test-v1", "kho-test"),
            ("kvm_vm_luo_v1", "kvm_vm_luo"),
            ("memfd-v2;vmalloc-v1", "memfd"),
            ("a-v1-v2", "a-v1"),
        ] {
            let format = Format::new(name).unwrap();
            assert!(format.is_versioned() && format.family() == family, "{name}");
        }
        for name in ["luo", "-v5", "luo-v", "luo-v5x", "luov5", "v5"] {
            let format = Format::new(name).unwrap();
            assert!(!format.is_versioned() && format.family() == name, "{name}");
        }
    }

    #[test]
    fn owners_are_told_by_the_whole_family() {
        for (name, owner) in [
            ("kho-v4", Owner::Kho),
            ("luo-v5", Owner::Luo),
            ("luo-test-v1", Owner::Handler),
            ("kho-test-v1", Owner::Handler),
            ("memfd-v2", Owner::Handler),
        ] {
            assert_eq!(Format::new(name).unwrap().owner(), owner, "{name}");
        }
    }

    #[test]
    fn names_have_the_length_of_the_kernels_array() {
        assert!(Format::new(&"x".repeat(47)).is_ok());
        for name in ["", "a b", "a\0", "ä", &"x".repeat(48)] {
            assert_eq!(Format::new(name), Err(FormatError), "{name}");
        }
    }

    #[test]
    fn a_longer_version_is_no_mention() {
        let formats = Formats {
            mentions: ["xluo-v50", "luo-v6the_root", "luo-v7,luo-v8"].map(Into::into).into(),
            ..Formats::default()
        };
        let mentions = |name| formats.mentions(&Format::new(name).unwrap());
        assert!(!mentions("luo-v5"));
        assert!(
            mentions("luo-v50") && mentions("luo-v6") && mentions("luo-v7") && mentions("luo-v8")
        );
    }
}
