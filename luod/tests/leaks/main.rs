// SPDX-License-Identifier: MIT OR Apache-2.0

//! Requests leave no file descriptors behind. This test is alone in its process, since it counts them.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[path = "../agent/host.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod host;

use host::{Host, soon};

fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn ten_thousand_requests_leave_no_descriptors() {
    let host = Host::managed(100);
    let agent = host.agent();
    let round = |label: &str| {
        drop(agent.open(label, soon()).unwrap());
        agent.claim("none", soon()).unwrap_err();
        agent.open("", soon()).unwrap_err();
        agent.discard(label, soon()).unwrap();
    };
    round("warm");
    // The fake service manager has one or two registries at a time, and others of this process close theirs soon.
    let before = open_fds() + 4;
    for number in 0..2500 {
        round(&format!("vm-{}", number % 7));
    }
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    // The fake service manager holds copies of the sessions, which it closes soon after, too.
    while open_fds() > before || !host.kernel.sessions().is_empty() {
        let sessions = host.kernel.sessions().len();
        let open = open_fds();
        assert!(
            std::time::Instant::now() < end,
            "{open} of {before} are open, {sessions} sessions"
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
