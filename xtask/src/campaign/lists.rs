// SPDX-License-Identifier: MIT OR Apache-2.0

//! Hops, machines and targets of campaigns.

use super::Part;

/// Hops of `debug`: a live update from and to each implementation.
pub(super) const MIXED: &[&str] = &["rust,rust", "c,rust", "rust,c", "rust,c,rust"];

/// Hops of `mixed`: an orchestrator with the other handler of memfds, from and to each of these and of the usual
/// kernels; and C that takes memory over by runs.
pub(super) const PARTS: &[&str] = &[
    "rust+memfd_c,c+memfd_rust,rust+memfd_c",
    "c+memfd_rust,rust,c+memfd_rust",
    "rust+memfd_c,c,rust+memfd_c",
    "c+memfd_rust,c,c+memfd_rust",
    "rust+memfd_c,rust,rust+memfd_c",
    "c+runs,rust,c+runs",
];

/// Machines for which the libraries compile, besides the host.
pub(super) const MACHINES: &[&str] =
    &["aarch64-unknown-linux-musl", "aarch64-unknown-linux-gnu", "x86_64-unknown-linux-musl"];

/// Fuzz targets, with the folder of their crate.
pub(super) const TARGETS: &[(&str, &str)] = &[
    ("manifest", "liblu"),
    ("passing", "liblu"),
    ("frames", "luod"),
    ("image", "luod"),
    ("owner", "luod"),
    ("policy", "luod"),
    ("registry", "luod"),
];

/// The test of a guest that is updated again and again.
const LONG_LIFE: &str = "a_guest_does_not_notice_that_its_host_is_updated";

/// Virtual machines over updates of their host.
pub(super) fn of_guests(task: impl Fn(&str, &[&str], u64) -> Part) -> Vec<Part> {
    let on_debian = ["rust,rust", "c,c", "c,rust", "rust*5"];
    let on_debian =
        on_debian.map(|hops| task(hops, &["vm-test", "--suite", "vm", "--hops", hops], 90));
    let mut ours = vec!["vm-test", "--suite", "vmm"];
    ours.extend(["rust,rust", "c,c", "c,rust", "rust,c,rust"].iter().flat_map(|it| ["--hops", it]));
    let long = ["vm-test", "--hops", "rust*101", "--test", LONG_LIFE];
    let others = [
        task("our VMM", &ours, 60),
        task("100 updates", &long, 90),
        task("instructions", &["bench", "vmm"], 60),
    ];
    on_debian.into_iter().chain(others).collect()
}
