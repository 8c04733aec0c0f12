// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether a test has noticed that a rule is broken.

use selftests::test_device::BESIDE_FREEZE;

use crate::judge::Ran;
use crate::outcome::{TestOutcome, Verdict};
use crate::suite::{Kind, Test};

/// The answer of one test to a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The test has failed, or a report of the kernel has ended the machine while it ran.
    Caught(String),
    /// The test has passed.
    Survived,
    /// Neither: the test has said nothing, and nothing tells that the rule was the reason.
    Unclear(String),
}

impl Seen {
    /// The answer of `test`, which ran alone on these machines and went like this.
    pub(crate) fn by(test: &Test, outcome: &TestOutcome, machines: &[&Ran]) -> Self {
        let failed = outcome.cells.iter().find(|cell| cell.verdict == Verdict::Failed);
        if let Some(cell) = failed {
            let why = cell.detail.as_deref().unwrap_or_default();
            return Self::Caught(format!("hop {}: {}", cell.hop, summary(why)));
        }
        let began = || machines.iter().filter(|ran| has_begun(ran, test));
        if let Some(report) = began().find_map(|ran| report(ran)) {
            return Self::Caught(report);
        }
        if let Some(alarm) = machines.iter().find_map(|ran| ran.record.alarm.as_ref()) {
            return Self::Unclear(format!("{} in hop {}: {}", alarm.kind, alarm.hop, alarm.detail));
        }
        if outcome.passed() {
            return Self::Survived;
        }
        let word = if outcome.is_not_applicable() { "makes no sense here" } else { "says nothing" };
        Self::Unclear(format!("the test {word}"))
    }
}

/// Whether a step of the test has begun; tests inside the kernel begin with it.
fn has_begun(ran: &Ran, test: &Test) -> bool {
    match test.kind {
        Kind::FlbLog | Kind::KhoLog | Kind::KUnit => !ran.record.hops.is_empty(),
        _ => {
            let is_mine = |name: &str| name.split('/').next() == Some(test.name.as_str());
            let mut steps = ran.record.hops.iter().flat_map(|hop| &hop.steps);
            steps.any(|step| is_mine(&step.name))
        }
    }
}

/// The kernel's complaint, or that it fell silent.
fn report(ran: &Ran) -> Option<String> {
    let alarm = ran.record.alarm.as_ref().filter(|alarm| alarm.is_of_kernel());
    if let Some(alarm) = alarm {
        return Some(format!("{} in hop {}: {}", alarm.kind, alarm.hop, alarm.detail));
    }
    let mut log = ran.record.hops.iter().flat_map(|hop| &hop.log);
    log.find(|line| line.contains(BESIDE_FREEZE)).cloned()
}

/// The first lines of a failure, as one.
fn summary(why: &str) -> String {
    why.lines().take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Pid1;
    use crate::judge;
    use crate::kernel::Profile;
    use crate::suite::{self, Platform, Role, Suite};
    use crate::vm::{Port, Watch};
    use std::time::Duration;

    const NAME: &str = "a_copy_of_the_descriptor_keeps_the_session";

    /// The answer if the first hop says this after PID 1 has begun; `C` is its log, `K` its port.
    fn seen(said: &[&str]) -> Seen {
        let test = suite::select(Suite::All, &[NAME]).unwrap().remove(0);
        let hops = "rust,rust".parse().unwrap();
        let tests = [test.clone()];
        let platform = Platform { guest: &Pid1::PLAIN, profile: Profile::Release };
        let vm = suite::machines(&tests, &hops, platform).remove(0);
        assert_eq!(vm.role, Role::Chain);
        let init = r#"K # event {"event":"init","hop":1,"release":"7.3.4-rust"}"#;
        let boot = ["C [ 0.0] Linux version 7.3.4-rust (x)", "K KTAP version 1", init];
        let mut watch = Watch::new(|_| true);
        for line in boot.iter().chain(said) {
            let port = if line.starts_with('C') { Port::Console } else { Port::Control };
            watch.line(port, &line[2..], Duration::ZERO);
        }
        let ran = Ran { vm, record: watch.finish(), log: "/tmp/chain.log".into(), retry: None };
        Seen::by(&test, &judge::test(&test, &[&ran]), &[&ran])
    }

    fn step(name: &str) -> String {
        format!(r#"K # event {{"event":"step","name":"{name}"}}"#)
    }

    #[test]
    fn a_test_that_fails_has_caught_it() {
        let step = step(&format!("{NAME}/here"));
        let failed = format!("K not ok 2 {NAME}/here");
        let Seen::Caught(why) = seen(&[&step, "K # the name is free", &failed]) else {
            panic!("not caught")
        };
        assert_eq!(why, format!("hop 1: `{NAME}/here` failed the name is free"));
    }

    #[test]
    fn a_report_counts_once_the_test_has_begun() {
        let (mine, other) = (step(&format!("{NAME}/here")), step("a_copy/here"));
        let panic = "C [ 1.0] Kernel panic - not syncing: x";
        assert!(
            matches!(seen(&[&mine, panic]), Seen::Caught(why) if why.starts_with("kernel panic in hop 1"))
        );
        assert!(
            matches!(seen(&[&other, panic]), Seen::Unclear(why) if why.starts_with("kernel panic in hop 1"))
        );
        let beside = format!("C [ 1.0] luo_test: {BESIDE_FREEZE}");
        assert!(
            matches!(seen(&[&mine, &beside]), Seen::Caught(why) if why.contains(BESIDE_FREEZE))
        );
    }

    #[test]
    fn the_end_of_pid_1_tells_nothing() {
        let mine = step(&format!("{NAME}/here"));
        assert!(matches!(seen(&[&mine, "K Bail out! reboot"]), Seen::Unclear(_)));
        assert_eq!(seen(&[&mine]), Seen::Unclear("the test says nothing".into()));
    }
}
