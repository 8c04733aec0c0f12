// SPDX-License-Identifier: MIT OR Apache-2.0

//! Why there is no device: the system is asked, not guessed about.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Release;

/// Why the device cannot be opened.
///
/// ```
/// let why = liblu::Unavailable::NotEnabled;
/// assert_eq!(why.to_string(), "the kernel was booted without `liveupdate=on`");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The kernel is older than the Live Update Orchestrator.
    #[error("Linux {0} has no Live Update Orchestrator; 6.19 is the first that does")]
    TooOld(Release),
    /// The kernel was built without it.
    #[error("the kernel was built without CONFIG_{0}")]
    NotBuilt(&'static str),
    /// Nobody asked for it.
    #[error("the kernel was booted without `liveupdate=on`")]
    NotEnabled,
    /// Kexec Handover, on which it rests, is off.
    #[error("Kexec Handover is off; boot with `kho=on`")]
    KhoOff,
    /// It was asked for, and is not there. The kernel's log says why: most often there was no memory
    /// for KHO's scratch areas (`kho_scratch=`).
    #[error("the kernel was told to have live updates and does not; its log says why")]
    Failed,
    /// The kernel has it, and the node is not where it should be, as in a container.
    #[error("the kernel has live updates, but there is no {}", .0.display())]
    NoNode(PathBuf),
    /// There is no node, and `/proc` does not say why, as before it is mounted.
    #[error("there is no {}, and /proc cannot be read, which would say why", .0.display())]
    Unknown(PathBuf),
}

impl Unavailable {
    /// Whether this kernel cannot have received sessions. Each of these was found where `/proc/misc` could be
    /// read and lacks the device.
    pub(crate) fn is_certain(&self) -> bool {
        match self {
            Self::TooOld(_) | Self::NotBuilt(_) | Self::NotEnabled | Self::KhoOff => true,
            // The kernel has sessions, or might have some.
            Self::Failed | Self::NoNode(_) | Self::Unknown(_) => false,
        }
    }

    /// Looks at this system; there is no node at `path`.
    pub(crate) fn look(path: &Path) -> Self {
        judge(&Facts::gather(), path)
    }
}

/// What there is to know.
#[derive(Debug, Default)]
struct Facts {
    release: Option<Release>,
    /// `/proc/misc`: numbers and names of misc devices.
    misc: Option<String>,
    /// `/proc/cmdline`.
    cmdline: Option<String>,
    /// The kernel's configuration, if it can be found.
    config: Option<String>,
}

impl Facts {
    fn gather() -> Self {
        let release = Release::running();
        let places = [("/boot/config-", ""), ("/lib/modules/", "/config")];
        let config = places.iter().find_map(|(before, after)| {
            fs::read_to_string(format!("{before}{}{after}", release.text())).ok()
        });
        Self {
            misc: fs::read_to_string("/proc/misc").ok(),
            cmdline: fs::read_to_string("/proc/cmdline").ok(),
            config,
            release: Some(release),
        }
    }

    /// Whether an option is on; `None` if nobody knows.
    fn has(&self, option: &str) -> Option<bool> {
        let config = self.config.as_ref()?;
        Some(config.lines().any(|line| line == format!("CONFIG_{option}=y")))
    }
}

/// What the last of such parameters says.
fn parameter(cmdline: &str, name: &str) -> Option<bool> {
    let mut values = cmdline.split_ascii_whitespace().filter_map(|word| {
        let (key, value) = word.split_once('=')?;
        (key == name).then_some(value)
    });
    match values.next_back()?.to_ascii_lowercase().as_str() {
        "on" | "1" | "y" | "yes" | "t" | "true" => Some(true),
        _ => Some(false),
    }
}

fn judge(facts: &Facts, path: &Path) -> Unavailable {
    let (Some(misc), Some(cmdline)) = (&facts.misc, &facts.cmdline) else {
        return Unavailable::Unknown(path.to_owned());
    };
    let is_device = |line: &str| line.split_ascii_whitespace().nth(1) == Some("liveupdate");
    if misc.lines().any(is_device) {
        return Unavailable::NoNode(path.to_owned());
    }
    // The kernel was told to, so a release or a configuration that says otherwise may be that of another.
    if parameter(cmdline, "liveupdate") == Some(true) {
        return match (parameter(cmdline, "kho"), facts.has("KEXEC_HANDOVER_ENABLE_DEFAULT")) {
            (Some(false), _) | (None, Some(false)) => Unavailable::KhoOff,
            _ => Unavailable::Failed,
        };
    }
    if let Some(release) = facts.release.as_ref().filter(|release| release.is_before(6, 19)) {
        return Unavailable::TooOld(release.clone());
    }
    for option in ["KEXEC_HANDOVER", "LIVEUPDATE"] {
        if facts.has(option) == Some(false) {
            return Unavailable::NotBuilt(option);
        }
    }
    Unavailable::NotEnabled
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "CONFIG_KEXEC_HANDOVER=y\nCONFIG_LIVEUPDATE=y\n";

    fn facts(release: &str, cmdline: &str, config: Option<&str>) -> Facts {
        Facts {
            release: Some(release.parse().unwrap()),
            cmdline: Some(cmdline.into()),
            config: config.map(str::to_owned),
            misc: Some("10 58 kvm\n".into()),
        }
    }

    fn judged(facts: &Facts) -> Unavailable {
        judge(facts, Path::new("/dev/liveupdate"))
    }

    #[test]
    fn each_reason_is_told_from_the_others() {
        let old = facts("6.18.5", "quiet", None);
        assert_eq!(judged(&old), Unavailable::TooOld("6.18.5".parse().unwrap()));
        let without = facts("7.3.4", "quiet", Some("CONFIG_KEXEC_HANDOVER=y\n"));
        assert_eq!(judged(&without), Unavailable::NotBuilt("LIVEUPDATE"));
        assert_eq!(judged(&facts("7.3.4", "quiet", Some(CONFIG))), Unavailable::NotEnabled);
        let off = facts("7.3.4", "liveupdate=on liveupdate=off", Some(CONFIG));
        assert_eq!(judged(&off), Unavailable::NotEnabled);
        let no_kho = facts("7.3.4", "liveupdate=1", Some(CONFIG));
        assert_eq!(judged(&no_kho), Unavailable::KhoOff);
        let no_kho = facts("7.3.4", "liveupdate=on kho=off", None);
        assert_eq!(judged(&no_kho), Unavailable::KhoOff);
        // A release or a configuration of another kernel proves nothing.
        let odd =
            facts("6.18.5", "liveupdate=on", Some("CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT=y\n"));
        assert_eq!(judged(&odd), Unavailable::Failed);
        let failed = facts("7.3.4", "liveupdate=on kho=on", Some(CONFIG));
        assert_eq!(judged(&failed), Unavailable::Failed);
        let in_container = Facts { misc: Some("125 liveupdate\n".into()), ..failed };
        assert_eq!(judged(&in_container), Unavailable::NoNode("/dev/liveupdate".into()));
    }

    #[test]
    #[cfg_attr(miri, ignore = "rustix and Miri do not agree on uname")]
    fn a_system_that_says_nothing_has_an_answer() {
        let unknown = Unavailable::Unknown("/dev/liveupdate".into());
        assert_eq!(judged(&Facts::default()), unknown);
        assert_eq!(judged(&Facts { misc: None, ..facts("7.3.4", "liveupdate=on", None) }), unknown);
        assert_eq!(judged(&Facts { cmdline: None, ..facts("7.3.4", "", None) }), unknown);
        Unavailable::look(Path::new("/dev/liveupdate"));
    }
}
