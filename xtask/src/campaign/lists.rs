// SPDX-License-Identifier: MIT OR Apache-2.0

//! Hops, machines and targets of campaigns.

use super::Part;

/// What long chains of kernels run: few steps, and free memory, of which each kernel that leaks leaves less.
pub(crate) const LONG_CHAIN: &[&str] = &[
    "an_flb_and_the_files_that_it_counts_agree_in_the_next_kernel",
    "free_memory_does_not_shrink_over_many_updates",
];

/// Hops of `debug`, with parameters of the kernels: a live update from and to each implementation, both formats of
/// memfds, and the other handler of memfds. `rust,c` is the beginning of `rust,c,rust`, and its boots are the same.
const DEBUG: &[(&str, &str)] = &[
    ("rust,rust", ""),
    ("rust,rust", "luo_memfd.extents=1"),
    ("c,rust", ""),
    ("rust,c,rust", ""),
    ("c,c", ""),
    ("rust+memfd_c,c+memfd_rust,rust+memfd_c", ""),
];

/// Hops of `mixed`: an orchestrator with the other handler of memfds, from and to each of these and of the usual
/// kernels; and C that takes memory over by runs.
const PARTS: &[&str] = &[
    "rust+memfd_c,c+memfd_rust,rust+memfd_c",
    "c+memfd_rust,rust,c+memfd_rust",
    "rust+memfd_c,c,rust+memfd_c",
    "c+memfd_rust,c,c+memfd_rust",
    "rust+memfd_c,rust,rust+memfd_c",
    "c+runs,rust,c+runs",
];

/// The parts of `debug`.
pub(super) fn of_debug(task: impl Fn(&str, &[&str], u64) -> Part) -> Vec<Part> {
    let of = |&(hops, parameters): &(&str, &str)| {
        let words = ["vm-test", "--profile", "debug", "--hops", hops];
        let more = ["--parameters", parameters];
        let more = if parameters.is_empty() { &[][..] } else { &more };
        task([hops, parameters].join(" ").trim_end(), &[&words, more].concat(), 90)
    };
    DEBUG.iter().map(of).collect()
}

/// The parts of `mixed`.
pub(super) fn of_parts(task: impl Fn(&str, &[&str], u64) -> Part) -> Vec<Part> {
    PARTS.iter().map(|hops| task(hops, &["vm-test", "--hops", hops], 60)).collect()
}

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
