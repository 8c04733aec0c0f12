// SPDX-License-Identifier: MIT OR Apache-2.0

//! The owner by which an agent knows this process, and the names that it gives to the sessions of an owner.

use crate::{Result, ServiceName, SessionName};

/// The owners by which an agent may know this process: its system service, and its user.
pub(super) fn of_this_process() -> Vec<String> {
    let cgroup = std::fs::read("/proc/self/cgroup").unwrap_or_default();
    let service = ServiceName::of_cgroup(&cgroup).ok().flatten();
    let user = format!("user:{}", rustix::process::getuid().as_raw());
    service.map(|service| format!("unit:{service}")).into_iter().chain([user]).collect()
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
