// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::guest::Pid1;
use crate::kernel::Profile;
use crate::suite::{Platform, Suite, machines, select};
use crate::vm::{Port, Watch};

const PLATFORM: Platform = Platform { guest: &Pid1::PLAIN, profile: Profile::Release };

/// A machine for one test of which so much was heard; then QEMU ended, if `end` says how.
fn heard(name: &str, lines: &[&str], end: Option<&str>) -> (Vec<Test>, Ran) {
    let tests = select(Suite::All, &[name]).unwrap();
    let vm = machines(&tests, &"c,c".parse().unwrap(), PLATFORM).remove(0);
    let mut watch = Watch::new(is_evidence);
    for (second, line) in (0..).zip(lines) {
        let port = if line.starts_with("C ") { Port::Console } else { Port::Control };
        watch.line(port, &line[2..], Duration::from_secs(second));
    }
    if let Some(end) = end {
        watch.raise("QEMU ended", end.into());
    }
    (tests, Ran { vm, record: watch.finish(), log: "vm.log".into(), retry: None })
}

fn judged(name: &str, lines: &[&str]) -> (TestOutcome, Vec<Trouble>) {
    let (tests, ran) = heard(name, lines, None);
    (test(&tests[0], &[&ran]), troubles(&ran))
}

fn boot(hop: usize) -> Vec<String> {
    vec![
        "C [ 0.0] Linux version 7.3.4-c (x)".into(),
        format!(r#"K # event {{"event":"init","hop":{hop},"release":"7.3.4-c"}}"#),
    ]
}

fn step_lines(name: &str, verdicts: &[&str]) -> Vec<String> {
    let begin = format!(r#"K # event {{"event":"step","name":"{name}"}}"#);
    let said = verdicts.iter().map(|verdict| format!("K {verdict} 2 {name}"));
    std::iter::once(begin).chain(said).collect()
}

fn staged_run(first: &[&str], second: &[&str]) -> (TestOutcome, Vec<Trouble>) {
    let name = "luo_kexec_simple";
    let mut lines = boot(1);
    lines.extend(step_lines(&format!("{name}/1"), first));
    lines.extend(boot(2));
    lines.extend(step_lines(&format!("{name}/2"), second));
    lines.push(r#"K # event {"event":"done"}"#.into());
    judged(name, &lines.iter().map(String::as_str).collect::<Vec<_>>())
}

fn verdicts(shown: &TestOutcome) -> Vec<Verdict> {
    shown.cells.iter().map(|cell| cell.verdict).collect()
}

#[test]
fn both_halves_make_a_test() {
    let (shown, troubles) = staged_run(&["ok"], &["ok"]);
    assert_eq!(verdicts(&shown), [Verdict::Prepared, Verdict::Passed]);
    assert!(shown.passed() && troubles.is_empty());
}

#[test]
fn a_half_that_fails_fails_the_test() {
    for (first, second) in [("not ok", "ok"), ("ok", "not ok")] {
        let (shown, _) = staged_run(&[first], &[second]);
        assert!(!shown.passed(), "{first}, {second}");
    }
}

#[test]
fn silence_is_not_success() {
    let (shown, _) = staged_run(&["ok"], &[]);
    assert_eq!(verdicts(&shown), [Verdict::Prepared, Verdict::Missing]);
    assert!(!shown.passed());
    let (shown, _) = judged("luo_kexec_simple", &[]);
    assert_eq!(verdicts(&shown), [Verdict::Missing, Verdict::Missing]);
}

#[test]
fn two_verdicts_are_none() {
    for said in [["ok", "not ok"], ["ok", "ok"]] {
        let (shown, _) = staged_run(&said, &["ok"]);
        let cell = &shown.cells[0];
        assert_eq!(cell.verdict, Verdict::Failed);
        assert!(cell.detail.as_ref().unwrap().contains("2 verdicts"), "{:?}", cell.detail);
    }
}

#[test]
fn a_verdict_without_a_step_is_none() {
    let mut lines = boot(1);
    lines.push("K ok 2 luo_kexec_simple/1".into());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let (shown, _) = judged("luo_kexec_simple", &lines);
    assert_eq!(shown.cells[0].verdict, Verdict::Failed);
}

#[test]
fn a_test_is_not_better_than_its_subtests() {
    let mut lines = boot(1);
    lines.push(r#"K # event {"event":"step","name":"liveupdate"}"#.into());
    lines.extend(["K   1..2", "K   ok 1 a", "K ok 2 liveupdate"].map(String::from));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let (shown, _) = judged("liveupdate", &lines);
    let detail = shown.cells[0].detail.as_ref().unwrap();
    assert!(detail.contains("says ok, but 1 of 2 subtests said how they went"), "{detail}");
}

#[test]
fn what_is_not_planned_is_trouble() {
    let mut lines = boot(1);
    lines.extend(["K 1..9", "K ok 1 other"].map(String::from));
    lines.push(r#"K # event {"event":"done"}"#.into());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let (_, troubles) = judged("liveupdate", &lines);
    let what: Vec<&str> = troubles.iter().map(|trouble| trouble.what.as_str()).collect();
    assert_eq!(what.len(), 3, "{what:?}");
    assert!(what[0].contains("`other`, which is not in the plan"));
    assert!(what[1].contains("another number of steps"));
    assert!(what[2].contains("done after 1 of 2 hops"));
}

#[test]
fn a_kernel_of_another_implementation_is_trouble() {
    let mut lines = boot(1);
    lines[0] = "C [ 0.0] Linux version 7.3.4-rust (x)".into();
    lines[1] = lines[1].replace("-c", "-rust");
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let (_, troubles) = judged("liveupdate", &lines);
    assert!(troubles[0].what.contains("no kernel of the implementation `c`"), "{troubles:?}");
}

#[test]
fn the_timeline_counts_from_the_reboot_call() {
    let mut lines = boot(1);
    lines.push(r#"K # event {"event":"reboot"}"#.into());
    lines.extend(boot(2));
    lines.push(r#"K # event {"event":"device-opened"}"#.into());
    let tests = select(Suite::All, &["liveupdate"]).unwrap();
    let vm = machines(&tests, &"c,c".parse().unwrap(), PLATFORM).remove(0);
    let mut watch = Watch::new(is_evidence);
    for (second, line) in (0..).zip(&lines) {
        let port = if line.starts_with("C ") { Port::Console } else { Port::Control };
        watch.line(port, &line[2..], Duration::from_secs(second));
    }
    let ran = Ran { vm, record: watch.finish(), log: "vm.log".into(), retry: None };
    let updates = updates(&ran);
    let marks = updates[0].marks.iter().map(|mark| (mark.name.as_str(), mark.after.as_secs()));
    let expected = [("new kernel's first line", 1), ("init", 2), ("device opened", 3)];
    assert_eq!(marks.collect::<Vec<_>>(), expected);
}

#[test]
fn a_callback_beside_freeze_is_a_trouble() {
    let mut lines = boot(1);
    lines.push("C [ 1.0] luo_test: beside freeze: retrieve 7 begins, 2 files are frozen".into());
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let (_, troubles) = judged("luo_kexec_simple", &lines);
    let [trouble] = &troubles[..] else { panic!("{troubles:?}") };
    assert!(trouble.what.contains("beside or after freeze in hop 1 (c)"), "{}", trouble.what);
    assert_eq!(trouble.excerpt.len(), 1);
}

#[test]
fn a_machine_that_has_shown_a_failure_of_its_own_has_not_only_ended() {
    let name = "luo_kexec_simple";
    let ended = |said: &[&str], beside: Option<&str>| {
        let mut lines = boot(1);
        lines.extend(step_lines(&format!("{name}/1"), said));
        lines.extend(beside.map(|line| format!("C [ 1.0] {line}")));
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        has_only_ended(&heard(name, &lines, Some("iotlb_to_section: Assertion")).1)
    };
    assert!(ended(&["ok"], None));
    assert!(ended(&[], None));
    assert!(!ended(&["not ok"], None));
    assert!(!ended(&["ok", "ok"], None));
    assert!(!ended(&["ok"], Some(BESIDE_FREEZE)));
}
