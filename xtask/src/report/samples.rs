// SPDX-License-Identifier: MIT OR Apache-2.0

//! Outcomes for the tests of all reports.

use std::path::PathBuf;
use std::time::Duration;

use crate::outcome::{Cell, Mark, Outcome, Retry, TestOutcome, Trouble, Update, Verdict};

/// A chain of two C kernels in which everything passed.
pub(super) fn all_passed() -> Outcome {
    let both = [Verdict::Prepared, Verdict::Passed];
    let mut simple = test("upstream", "luo_kexec_simple", &both);
    simple.cells[0].elapsed = Some(Duration::from_millis(340));
    simple.cells[1].elapsed = Some(Duration::from_millis(1234));
    let mut device = test("upstream", "liveupdate", &[Verdict::Passed, Verdict::Passed]);
    for cell in &mut device.cells {
        cell.subtests = 15;
    }
    Outcome {
        tests: vec![device, simple, test("scenarios", "memfd", &both)],
        updates: vec![update(1, &[("init", 650_500), ("device opened", 900_000)])],
        ..empty()
    }
}

/// A test failed in hop 2, and the guest forgot another.
pub(super) fn failed() -> Outcome {
    let mut outcome = all_passed();
    let detail = "exit code 1\n# luo_kexec_simple.c:57: session\tnot found\n\n# <end> & \"done\"\n";
    outcome.tests[1].cells[1] = cell(2, Verdict::Failed, Some(detail));
    outcome.tests[2].cells[1] = cell(2, Verdict::Missing, None);
    outcome
}

/// The second kernel panicked, with escapes and other dirt in its log.
pub(super) fn troubled() -> Outcome {
    let excerpt = [
        "[    1.234567] Kernel panic - not syncing: \x1b[31mKHO\x1b[0m \u{0}\u{ffff}<broken>\r",
        "",
        "[    1.234600] CPU: 0 PID: 1 Comm: swapper/0",
    ];
    Outcome {
        troubles: vec![Trouble {
            hop: 2,
            what: "kernel panic in hop 2 (c): KHO".into(),
            excerpt: excerpt.map(String::from).to_vec(),
            log: PathBuf::from("/tmp/logs/c-c.log"),
        }],
        retries: vec![Retry {
            machine: "boot-1".into(),
            defect: "it lost a page",
            report: "https://qemu.example/1",
            log: PathBuf::from("/tmp/logs/boot-1.qemu-defect.log"),
        }],
        ..all_passed()
    }
}

/// Nothing ran.
pub(super) fn empty() -> Outcome {
    Outcome {
        chain: vec!["c".into(), "c".into()],
        profile: "release".into(),
        accel: "tcg".into(),
        linux: "7.3.4".into(),
        started: 1_800_000_000,
        elapsed: Duration::from_millis(42_123),
        tests: Vec::new(),
        updates: Vec::new(),
        troubles: Vec::new(),
        retries: Vec::new(),
        logs: vec![PathBuf::from("/tmp/logs/c-c.log")],
    }
}

/// Ten hops, the last of which no test reached.
pub(super) fn long_chain() -> Outcome {
    let chain: Vec<_> = ["c", "rust"].into_iter().cycle().take(10).map(String::from).collect();
    let mut steady = vec![Verdict::Passed; 8];
    steady.resize(10, Verdict::Missing);
    let mut sessions = test("scenarios", "many_sessions_and_files", &steady);
    for cell in &mut sessions.cells {
        cell.elapsed = Some(Duration::from_millis(2500));
    }
    let late = test("upstream", "luo_kexec_simple", &[Verdict::Prepared, Verdict::Passed]);
    Outcome { chain, tests: vec![sessions, late], ..empty() }
}

/// A test with these verdicts in hop 1, 2, and so on.
pub(super) fn test(suite: &str, name: &str, verdicts: &[Verdict]) -> TestOutcome {
    let cells = (1..).zip(verdicts).map(|(hop, verdict)| cell(hop, *verdict, None)).collect();
    TestOutcome { suite: suite.into(), name: name.into(), cells }
}

/// A cell of which nothing else is known.
pub(super) fn cell(hop: usize, verdict: Verdict, detail: Option<&str>) -> Cell {
    Cell { hop, verdict, detail: detail.map(String::from), elapsed: None, subtests: 0 }
}

/// An update from C to C with marks at so many microseconds.
pub(super) fn update(hop: usize, marks: &[(&str, u64)]) -> Update {
    let mark = |&(name, micros): &(&str, u64)| Mark {
        name: name.into(),
        after: Duration::from_micros(micros),
    };
    let marks = marks.iter().map(mark).collect();
    Update { hop, from: "c".into(), to: "c".into(), by: None, marks }
}
