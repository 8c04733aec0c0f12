// SPDX-License-Identifier: MIT OR Apache-2.0

//! Why a kernel is no target, or may be none.

use super::{Format, Unread};

/// Why a kernel cannot take over. Each is a sentence with the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its configuration has the option off.
    #[error(
        "the target kernel was built without CONFIG_{0}, so all that is handed over would be lost; \
         choose a kernel with this option"
    )]
    OptionOff(&'static str),
    /// Neither formats nor any other trace of LUO.
    #[error(
        "the target kernel has no Live Update Orchestrator, so all that is handed over would be lost; \
         choose Linux 7.3 or later with CONFIG_KEXEC_HANDOVER and CONFIG_LIVEUPDATE"
    )]
    NoOrchestrator,
    /// It has the format in other versions.
    #[error(
        "this kernel hands over {wanted}, the target kernel reads {}; \
         choose a kernel that reads {wanted}, or update with a reboot",
        list(.known)
    )]
    OtherVersion {
        /// What is handed over.
        wanted: Format,
        /// What the target knows of the same family.
        known: Vec<Format>,
    },
    /// It does not have the format, and no module can bring it.
    #[error(
        "the target kernel does not read {0} and takes no modules; \
         choose a kernel with the driver of {0}, or stop the programs that preserve such files"
    )]
    Missing(Format),
}

/// Why it is not known whether a kernel can take over. Each is a sentence with the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// The image was not read to its end.
    #[error(
        "the target's image was not read to its end: {0}; check the file, or give the vmlinux of this kernel"
    )]
    Unread(#[from] Unread),
    /// A handler in a module is not in the image.
    #[error(
        "{0} is not in the target's image, and its handler may be in a module; \
         see that the target has this module and loads it before its programs retrieve"
    )]
    MaybeInModule(Format),
    /// The name is a part of some text.
    #[error(
        "the target's image has the name {0} only within other text, so it may know this format or not; \
         ask the vendor of the kernel, or try the update on a machine for tests"
    )]
    OnlyMentioned(Format),
    /// LUO is there, and its formats are not to be seen.
    #[error(
        "the target kernel has live updates, but {0} is not to be seen in its image; \
         ask the vendor of the kernel, or try the update on a machine for tests"
    )]
    NotSeen(Format),
    /// The section `.liveupdate_features` has the name without a version.
    #[error(
        "the target kernel describes {0} by features instead of a version, which cannot be compared here; \
         update this program"
    )]
    ByFeatures(Format),
}

fn list(formats: &[Format]) -> String {
    formats.iter().map(Format::as_str).collect::<Vec<_>>().join(", ")
}
