// SPDX-License-Identifier: MIT OR Apache-2.0

//! System services: their names, and those of processes. An agent takes a service for the owner of its sessions.

use std::fmt;
use std::str::FromStr;

mod cgroup;

pub use cgroup::CgroupError;

/// The name of a service that can run: `NAME.service` or `NAME@INSTANCE.service`, never a template.
///
/// The rules are those of `systemd.unit(5)`: at most 255 ASCII letters, digits and `:-_.\`.
///
/// ```
/// use liblu::ServiceName;
///
/// assert!("vmm@17.service".parse::<ServiceName>().is_ok());
/// assert!("vmm@.service".parse::<ServiceName>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(Box<str>);

/// The text is no name of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a service is `NAME.service` or `NAME@INSTANCE.service`, at most {} letters, digits and `:-_.\\`",
    ServiceName::MAX
)]
pub struct ServiceNameError;

impl ServiceName {
    /// The longest name, in bytes.
    ///
    /// ```
    /// assert_eq!(liblu::ServiceName::MAX, 255);
    /// ```
    pub const MAX: usize = 255;

    /// The ending of all names of services.
    ///
    /// ```
    /// assert_eq!(liblu::ServiceName::SUFFIX, ".service");
    /// ```
    pub const SUFFIX: &str = ".service";

    /// The system service of a process, by the text of its `/proc/PID/cgroup`; `None` if it belongs to none, but
    /// to a user.
    ///
    /// It is the service whose cgroup is the outermost one in the path that is no slice. So neither a payload in
    /// cgroups of its own (`Delegate=`) nor a user in the tree of their service manager can pass for another
    /// service, whatever names they give to their cgroups.
    ///
    /// # Errors
    ///
    /// [`CgroupError`] if the text does not say in which cgroup the process is.
    ///
    /// ```
    /// use liblu::ServiceName;
    ///
    /// let service = ServiceName::of_cgroup(b"0::/system.slice/vmm@17.service/payload\n").unwrap();
    /// assert_eq!(service.unwrap().as_str(), "vmm@17.service");
    /// let user = b"0::/user.slice/user-1000.slice/user@1000.service/x.service\n";
    /// assert_eq!(ServiceName::of_cgroup(user), Ok(None));
    /// ```
    pub fn of_cgroup(text: &[u8]) -> Result<Option<Self>, CgroupError> {
        cgroup::service(text)
    }

    /// Whether names of units may have this character. `@` stands before the instance, and may be in it.
    ///
    /// ```
    /// assert!(liblu::ServiceName::allows('@') && !liblu::ServiceName::allows('/'));
    /// ```
    pub fn allows(character: char) -> bool {
        character.is_ascii_alphanumeric() || "@:-_.\\".contains(character)
    }

    /// The name.
    ///
    /// ```
    /// # use liblu::ServiceName;
    /// assert_eq!("vmm.service".parse::<ServiceName>().unwrap().as_str(), "vmm.service");
    /// ```
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the service manager of a user or of a capsule.
    fn is_manager(&self) -> bool {
        self.0.starts_with("user@") || self.0.starts_with("capsule@")
    }
}

/// Whether `name` is that of a slice, which is never an instance of a template.
fn is_slice(name: &str) -> bool {
    name.strip_suffix(".slice").is_some_and(|stem| !stem.contains('@') && is_stem(name, stem))
}

/// Whether `stem` is that of the unit `name`, which is no template.
fn is_stem(name: &str, stem: &str) -> bool {
    let is_plain_or_instance = stem
        .split_once('@')
        .is_none_or(|(prefix, instance)| !prefix.is_empty() && !instance.is_empty());
    !stem.is_empty()
        && name.len() <= ServiceName::MAX
        && stem.chars().all(ServiceName::allows)
        && is_plain_or_instance
}

impl FromStr for ServiceName {
    type Err = ServiceNameError;

    fn from_str(name: &str) -> Result<Self, ServiceNameError> {
        let stem = name.strip_suffix(Self::SUFFIX).ok_or(ServiceNameError)?;
        if is_stem(name, stem) { Ok(Self(name.into())) } else { Err(ServiceNameError) }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_systemds_rules() {
        let longest = format!("{}.service", "x".repeat(247));
        for name in ["a.service", "a@b.service", "a@b@c.service", r"a\x2d:_.b@%.service", &longest]
        {
            let is_good = !name.contains('%');
            assert_eq!(name.parse::<ServiceName>().is_ok(), is_good, "{name}");
        }
        let too_long = format!("x{longest}");
        for name in [
            "",
            ".service",
            "a",
            "a.Service",
            "a.service.d",
            "a.scope",
            "@.service",
            "@b.service",
            "a@.service",
            "a b.service",
            "a/b.service",
            "ä.service",
            "a\0.service",
            &too_long,
        ] {
            assert_eq!(name.parse::<ServiceName>(), Err(ServiceNameError), "{name}");
        }
    }

    #[test]
    fn slices_are_no_instances() {
        for name in ["-.slice", "system.slice", "system-vmm.slice", r"a-b\x2dc.slice"] {
            assert!(is_slice(name), "{name}");
        }
        for name in [".slice", "a@b.slice", "a@.slice", "a.slice.d", "a b.slice", "slice"] {
            assert!(!is_slice(name), "{name}");
        }
    }
}
