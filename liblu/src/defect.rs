// SPDX-License-Identifier: MIT OR Apache-2.0

//! Known defects of releases, as data.

use std::fmt;

use crate::Release;

/// A version: major, minor, patch.
type Version = (u32, u32, u32);

/// Something that is known to be wrong with some releases of Linux.
///
/// Distributions mend without changing the number, so a release may be better than this says.
///
/// ```
/// use liblu::Defect;
///
/// let defects = Defect::of(&"6.19.3".parse().unwrap());
/// assert!(defects.iter().any(|defect| defect.cve == Some("CVE-2026-43389")));
/// assert!(Defect::of(&"7.3.4".parse().unwrap()).is_empty());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defect {
    /// A short name for programs, which does not change.
    pub id: &'static str,
    /// Its number in the list of Common Vulnerabilities and Exposures, if it has one.
    pub cve: Option<&'static str>,
    /// What happens, as a sentence without a full stop.
    pub what: &'static str,
    /// What to do, as a sentence without a full stop.
    pub advice: &'static str,
    /// The first and the first mended release of each series that has it. A release candidate counts
    /// as its release.
    affected: &'static [(Version, Version)],
}

/// What makes this library remember which files could not be restored.
pub(crate) const RETRIEVE_RETRY: Defect = Defect {
    id: "retrieve-retry",
    cve: Some("CVE-2026-43489"),
    what: "after a file could not be restored, asking for it again, finishing its session, or closing \
           it, works on memory that was given back",
    advice: "this library neither asks again nor finishes such a session, and holds it until the \
             process ends; keep a descriptor of it, and do no more with it, until the next boot",
    affected: &[((6, 19, 0), (6, 19, 9))],
};

/// What makes this library remember which files it has preserved.
pub(crate) const DOUBLE_PRESERVE: Defect = Defect {
    id: "double-preserve",
    cve: None,
    what: "one memfd can be preserved under two tokens, and the next kernel restores its pages twice",
    advice: "preserve each file once",
    affected: &[((6, 19, 0), (7, 1, 0))],
};

/// All of them, the worst first.
const DEFECTS: &[Defect] = &[
    Defect {
        id: "memfd-dirty",
        cve: Some("CVE-2026-43389"),
        what: "pages of a memfd that are written to after they were preserved may be lost in the \
               next kernel when memory is short",
        advice: "update to 6.19.9, 7.0 or later before you rely on it",
        affected: &[((6, 19, 0), (6, 19, 9))],
    },
    RETRIEVE_RETRY,
    DOUBLE_PRESERVE,
    Defect {
        id: "changes-during-reboot",
        cve: None,
        what: "a session that is changed while the kernel is being left may be handed over damaged",
        advice: "stop whoever uses sessions before reboot(2)",
        affected: &[((6, 19, 0), (7, 2, 0))],
    },
    Defect {
        id: "wrong-direction",
        cve: None,
        what: "sessions do not know their direction: files preserved in one of the last kernel do not \
               reach the next, and other wrong commands make the kernel warn, so that a machine that \
               panics on warnings dies",
        advice: "know the direction of a session that somebody sends, for it cannot be checked",
        affected: &[((6, 19, 0), (7, 2, 0))],
    },
    Defect {
        id: "no-seals",
        cve: None,
        what: "the seals of a memfd do not survive",
        advice: "seal it again when it is retrieved",
        affected: &[((6, 19, 0), (7, 1, 0))],
    },
    Defect {
        id: "few-files",
        cve: None,
        what: "a session has at most 128 files, and there are at most about 800 sessions",
        advice: "preserve fewer and larger files",
        affected: &[((6, 19, 0), (7, 2, 0))],
    },
    Defect {
        id: "no-deferred-init",
        cve: None,
        what: "Kexec Handover cannot be built with deferred initialisation of memory, so kernels of \
               distributions are without it as a rule",
        advice: "look for CONFIG_KEXEC_HANDOVER",
        affected: &[((6, 19, 0), (7, 2, 0))],
    },
];

impl Defect {
    /// What is known about a release, the worst first.
    ///
    /// ```
    /// for defect in liblu::Defect::of(&liblu::Release::running()) {
    ///     eprintln!("{defect}");
    /// }
    /// ```
    pub fn of(release: &Release) -> Vec<Self> {
        DEFECTS.iter().filter(|defect| defect.is_in(release)).copied().collect()
    }

    /// Whether a release has it.
    pub(crate) fn is_in(&self, release: &Release) -> bool {
        let version = release.numbers();
        self.affected.iter().any(|(first, mended)| (*first..*mended).contains(&version))
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cve.unwrap_or(self.id), self.what)?;
        write!(f, "; {}", self.advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(release: &str) -> Vec<&'static str> {
        Defect::of(&release.parse().unwrap()).iter().map(|defect| defect.id).collect()
    }

    #[test]
    fn a_release_has_the_defects_of_its_series() {
        assert!(ids("6.19.8").contains(&"memfd-dirty"));
        assert!(!ids("6.19.9").contains(&"memfd-dirty"));
        assert!(!ids("7.0.0").contains(&"memfd-dirty"));
        assert!(ids("6.19.8").contains(&"retrieve-retry"));
        assert!(!ids("6.19.9").contains(&"retrieve-retry"));
        assert!(ids("7.0.5").contains(&"double-preserve") && ids("7.0.5").contains(&"no-seals"));
        assert_eq!(
            ids("7.1.2"),
            ["changes-during-reboot", "wrong-direction", "few-files", "no-deferred-init"]
        );
        assert!(ids("7.3.4").is_empty() && ids("6.18.0").is_empty());
    }

    #[test]
    fn ids_are_unique_and_texts_are_sentences() {
        let mut ids: Vec<_> = DEFECTS.iter().map(|defect| defect.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), DEFECTS.len());
        for text in DEFECTS.iter().flat_map(|defect| [defect.what, defect.advice]) {
            assert!(!text.ends_with('.') && !text.contains("  "), "{text}");
        }
    }
}
