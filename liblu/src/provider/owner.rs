// SPDX-License-Identifier: MIT OR Apache-2.0

//! The owner by which an agent knows this process, and the names that it gives to the sessions of an owner.

use crate::{Result, SessionName};

/// The owners by which an agent may know this process: its system service, and its user.
pub(super) fn of_this_process() -> Vec<String> {
    let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let unit = unit(&cgroup).map(|unit| format!("unit:{unit}"));
    let user = format!("user:{}", rustix::process::getuid().as_raw());
    unit.into_iter().chain([user]).collect()
}

/// The system service of a process, by its line in `/proc/self/cgroup`: the first service behind slices.
fn unit(cgroup: &str) -> Option<&str> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let unit = path.split('/').find(|part| part.strip_suffix(".slice").is_none())?;
    // Services of user managers are below one of these.
    let is_users = unit.starts_with("user@");
    let is_service = unit.strip_suffix(".service").is_some_and(|name| !name.is_empty());
    (is_service && !is_users).then_some(unit)
}

/// The names of the sessions of owners with this label.
#[cfg(feature = "hash")]
pub(super) fn names(owners: &[String], label: &str) -> impl Iterator<Item = Result<SessionName>> {
    owners.iter().map(move |owner| SessionName::in_namespace(owner, label))
}

/// None: an agent makes names by hashing.
#[cfg(not(feature = "hash"))]
pub(super) fn names(_: &[String], _: &str) -> impl Iterator<Item = Result<SessionName>> {
    std::iter::empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_the_system_is_the_owner_of_its_processes() {
        assert_eq!(unit("0::/system.slice/vmm@17.service\n"), Some("vmm@17.service"));
        assert_eq!(
            unit("0::/system.slice/system-vmm.slice/vmm@1.service/child\n"),
            Some("vmm@1.service")
        );
        for other in [
            "",
            "0::/\n",
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service\n",
            "0::/user.slice/user-0.slice/session-1.scope\n",
            "1:cpu:/system.slice/vmm.service\n",
        ] {
            assert_eq!(unit(other), None, "{other}");
        }
    }
}
