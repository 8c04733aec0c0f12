// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tests that run inside the kernel and speak in its log.

use selftests::plan::Step;
use selftests::scenario::{self, Side};

use crate::judge::{failed, missing};
use crate::outcome::{Cell, Verdict};
use crate::suite::part_name;
use crate::vm::HopRecord;
use crate::vm::kernel_log;
use crate::vm::ktap::{self, Line, TestResult};

/// FLBs that `lib/tests/liveupdate.c` registers with every file handler.
const FLBS: usize = 3;

/// The beginning of its messages.
const FLB_PREFIX: &str = "liveupdate test: ";

/// The beginning of the verdicts of `lib/test_kho.c`.
const KHO_PREFIX: &str = "KHO restore ";

/// On which sides of a hop there is a kexec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kexec {
    /// The first hop of a chain.
    After,
    /// The last.
    Before,
    /// One in the middle.
    Both,
    /// One in the middle, where files of the previous kernel are not finished.
    Unfinished,
}

impl Kexec {
    /// Of hop `number` in a chain of `count`, two at least, which has these steps.
    pub(super) fn of(number: usize, count: usize, steps: &[Step]) -> Self {
        let holds_files = |step: &Step| {
            scenario::UNFINISHED.iter().any(|name| step.name == part_name(name, Side::Before))
        };
        match number {
            1 => Self::After,
            _ if number == count => Self::Before,
            _ if steps.iter().any(holds_files) => Self::Unfinished,
            _ => Self::Both,
        }
    }
}

/// Whether tests of chains look for this line. KUnit is none: its machine has one hop.
pub(super) fn is_evidence(line: &str) -> bool {
    line.contains(FLB_PREFIX) || line.contains(KHO_PREFIX)
}

/// Judges the FLB test in one hop.
///
/// Files come and go while a kernel runs, so preserve and unpreserve alternate. Each FLB must be
/// preserved when `reboot(2)` begins, and must not be preserved when the last kernel of the chain
/// ends. An FLB of the previous kernel is found once, and finished once unless files that depend on it
/// are not finished.
pub(super) fn flb(hop: usize, record: Option<&HopRecord>, kexec: Kexec) -> Cell {
    let (entered, left) = (kexec != Kexec::After, kexec != Kexec::Before);
    let Some(record) = record else {
        return missing(hop);
    };
    let lines: Vec<&str> = record.log.iter().filter_map(|line| message(line)).collect();
    let mut wrong: Vec<String> = Vec::new();
    for line in lines.iter().filter(|line| line.contains("ERROR") || line.contains("ailed")) {
        wrong.push(format!("it says: {line}"));
    }
    let registered = lines.iter().filter(|line| line.starts_with("Registered 3 FLBs with")).count();
    if registered == 0 {
        wrong.push("no file handler has the FLBs".into());
    }
    for flb in 0..FLBS {
        let name = format!("liveupdate-test-flb-v{flb}");
        let count = |what: &str| {
            let line = format!("{name}: {what}");
            lines.iter().filter(|there| **there == line).count()
        };
        let (preserved, unpreserved) =
            (count("preserve was triggered"), count("unpreserve was triggered"));
        if preserved != unpreserved + usize::from(left) {
            wrong.push(format!(
                "{name}: preserved {preserved} times, unpreserved {unpreserved} times"
            ));
        }
        let (found, finished) =
            (count("found flb data from the previous boot"), count("finish was triggered"));
        let is_finished = matches!(kexec, Kexec::Before | Kexec::Both);
        if (found, finished) != (usize::from(entered), usize::from(is_finished)) {
            wrong.push(format!("{name}: found {found} times, finished {finished} times"));
        }
    }
    if !wrong.is_empty() {
        return failed(hop, "the FLB test of the kernel failed", &wrong);
    }
    let verdict = if entered { Verdict::Passed } else { Verdict::Prepared };
    Cell { hop, verdict, detail: None, elapsed: None, subtests: FLBS }
}

/// Judges the KHO test in the hop that restores.
pub(super) fn kho(hop: usize, record: Option<&HopRecord>) -> Cell {
    let Some(record) = record else {
        return missing(hop);
    };
    let count = |what| {
        let what = format!("{KHO_PREFIX}{what}");
        record.log.iter().filter(|line| line.contains(&what)).count()
    };
    match (count("succeeded"), count("failed")) {
        (1, 0) => Cell { hop, verdict: Verdict::Passed, detail: None, elapsed: None, subtests: 0 },
        (0, 0) => missing(hop),
        (good, bad) => {
            let what = format!("the KHO test says succeeded {good} times and failed {bad} times");
            failed(hop, &what, &[])
        }
    }
}

/// Suites and examples that must be among the tests of the kernel.
const KUNIT: &[&str] = &[
    "kho_test_radix_runs",
    "luo_core_chain",
    "luo_core_command",
    "luo_core_lifecycle",
    "luo_core_name",
    "luo_core_refs",
    "luo_core_token",
    "luo_core_wire",
    "rust_doctest_kernel_fs_anon_inode_rs_",
    "rust_doctest_kernel_kho_rs_",
    "rust_doctest_kernel_liveupdate_file_rs_",
    "rust_doctest_kernel_liveupdate_flb_rs_",
    "rust_doctest_kernel_module_reference_rs_",
    "rust_doctest_kernel_sync_rwsem_rs_",
    "rust_doctest_kernel_uaccess_extensible_rs_",
];

/// Judges the tests that a kernel has run while it booted.
pub(super) fn kunit(hop: usize, record: Option<&HopRecord>) -> Cell {
    let Some(record) = record else {
        return missing(hop);
    };
    let lines = record.log.iter().map(|line| kernel_log::message(line));
    let results: Vec<_> = lines
        .filter_map(|line| match ktap::parse(line) {
            Line::Result(result) => Some(result),
            _ => None,
        })
        .collect();
    let bad = results.iter().filter(|result| !result.ok);
    let mut wrong: Vec<String> = bad.map(|result| format!("{} failed", result.name)).collect();
    for name in KUNIT {
        let is_there = |result: &&TestResult<'_>| result.name.starts_with(name) && result.ok;
        match results.iter().find(is_there) {
            Some(result) if result.excused => wrong.push(format!("{name} was skipped")),
            Some(_) => {}
            None => wrong.push(format!("{name} was not run")),
        }
    }
    if !wrong.is_empty() {
        return failed(hop, "tests inside the kernel failed", &wrong);
    }
    let passed = results.iter().filter(|result| !result.excused).count();
    Cell { hop, verdict: Verdict::Passed, detail: None, elapsed: None, subtests: passed }
}

fn message(line: &str) -> Option<&str> {
    line.split_once(FLB_PREFIX).map(|(_, message)| message)
}

#[cfg(test)]
mod tests {
    use selftests::plan::Action;

    use super::*;

    fn record(lines: &[&str]) -> HopRecord {
        let mut log = vec![
            "[ 0.1] liveupdate test: Registered 3 FLBs with file handler: [memfd-v2]".to_owned(),
        ];
        for line in lines {
            for flb in 0..FLBS {
                log.push(format!("[ 1.0] liveupdate test: liveupdate-test-flb-v{flb}: {line}"));
            }
        }
        HopRecord { log, ..HopRecord::default() }
    }

    const PRESERVE: &str = "preserve was triggered";
    const UNPRESERVE: &str = "unpreserve was triggered";
    const FOUND: &str = "found flb data from the previous boot";
    const FINISH: &str = "finish was triggered";

    #[test]
    fn tests_inside_the_kernel_must_all_be_there() {
        let line = |ok: &str, name: &str| format!("[    1.5]     {ok} 1 {name}");
        let mut log: Vec<String> = KUNIT.iter().map(|name| line("ok", name)).collect();
        let verdict = |log: &[String]| {
            kunit(1, Some(&HopRecord { log: log.to_vec(), ..HopRecord::default() })).verdict
        };
        assert_eq!(verdict(&log), Verdict::Passed);
        assert_eq!(verdict(&log[1..]), Verdict::Failed);
        log.push(line("not ok", "something_else"));
        assert_eq!(verdict(&log), Verdict::Failed);
    }

    #[test]
    fn flbs_are_preserved_when_a_kernel_is_left() {
        let verdict = |lines: &[&str]| flb(1, Some(&record(lines)), Kexec::After).verdict;
        assert_eq!(verdict(&[PRESERVE, UNPRESERVE, PRESERVE]), Verdict::Prepared);
        assert_eq!(verdict(&[PRESERVE, UNPRESERVE]), Verdict::Failed);
        assert_eq!(verdict(&[PRESERVE, PRESERVE]), Verdict::Failed);
        assert_eq!(verdict(&[PRESERVE, FOUND]), Verdict::Failed, "nothing to be found at first");
    }

    #[test]
    fn flbs_are_found_and_finished_once() {
        let verdict = |lines: &[&str]| flb(2, Some(&record(lines)), Kexec::Before).verdict;
        assert_eq!(verdict(&[FOUND, FINISH]), Verdict::Passed);
        assert_eq!(verdict(&[FOUND]), Verdict::Failed);
        assert_eq!(verdict(&[FOUND, FINISH, FINISH]), Verdict::Failed);
        assert_eq!(verdict(&[FOUND, FINISH, PRESERVE]), Verdict::Failed);
        assert_eq!(flb(2, None, Kexec::Before).verdict, Verdict::Missing);
    }

    #[test]
    fn flbs_of_unfinished_files_are_not_finished() {
        let name = part_name(scenario::UNFINISHED[0], Side::Before);
        let step = Step { name, action: Action::Carry, limit_ms: 0 };
        let kexec = Kexec::of(2, 3, &[step]);
        assert_eq!((kexec, Kexec::of(2, 3, &[])), (Kexec::Unfinished, Kexec::Both));
        let verdict = |kexec, lines: &[&str]| flb(2, Some(&record(lines)), kexec).verdict;
        assert_eq!(verdict(Kexec::Unfinished, &[FOUND, PRESERVE]), Verdict::Passed);
        assert_eq!(verdict(Kexec::Unfinished, &[FOUND, FINISH, PRESERVE]), Verdict::Failed);
        assert_eq!(verdict(Kexec::Both, &[FOUND, FINISH, PRESERVE]), Verdict::Passed);
        assert_eq!(verdict(Kexec::Both, &[FOUND, PRESERVE]), Verdict::Failed);
        assert_eq!(verdict(Kexec::Unfinished, &[PRESERVE]), Verdict::Failed);
    }

    #[test]
    fn an_error_of_the_test_is_shown() {
        let cell = flb(2, Some(&record(&[FOUND, FINISH, "ERROR - incorrect data"])), Kexec::Before);
        assert!(cell.detail.unwrap().contains("ERROR - incorrect data"));
    }

    #[test]
    fn kho_says_one_thing_once() {
        let verdict = |lines: &[&str]| {
            let log = lines.iter().map(|line| format!("[ 1.0] test_kho: {line}")).collect();
            kho(2, Some(&HopRecord { log, ..HopRecord::default() })).verdict
        };
        assert_eq!(verdict(&["KHO restore succeeded"]), Verdict::Passed);
        assert_eq!(verdict(&["KHO restore failed"]), Verdict::Failed);
        assert_eq!(verdict(&["KHO restore succeeded", "KHO restore succeeded"]), Verdict::Failed);
        assert_eq!(verdict(&[]), Verdict::Missing);
    }
}
