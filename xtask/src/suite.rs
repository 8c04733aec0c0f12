// SPDX-License-Identifier: MIT OR Apache-2.0

//! The tests there are.

mod machines;
mod queue;

use std::fmt;

use clap::ValueEnum;
use selftests::plan::Misbehaviour;
use selftests::scenario::agent::{self, Alone};
use selftests::scenario::boot::{self, Boot};
use selftests::scenario::{self, Scenario};
use selftests::systemd;

use crate::failure::Failure;
use crate::guest::{Debian, Guest, Pid1};
use crate::kernel::Hops;
use crate::upstream;

pub(crate) use machines::{
    Platform, Role, Vm, kernel_name, leave, machines, part_name, probe, stage_name,
};
pub(crate) use queue::Queue;

/// Which tests to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// The kernel's own selftests, unmodified.
    Upstream,
    /// This project's, run over a kexec.
    Scenarios,
    /// The services of a real systemd, on a guest with Debian.
    Systemd,
    /// luod and programs that survive updates, on a guest with Debian and our packages.
    Agent,
    /// Virtual machines that survive updates, on a guest with Debian and our packages.
    Vm,
    /// Those of our VMM alone, which need no distribution.
    Vmm,
    /// As much as a kernel takes at all: it needs a minute and all of the memory
    Limits,
    /// All that need no distribution: upstream's and the scenarios.
    #[default]
    All,
}

impl Suite {
    /// Whether its tests are not among [`Suite::All`].
    fn is_apart(self) -> bool {
        matches!(self, Self::Systemd | Self::Agent | Self::Vm | Self::Vmm | Self::Limits)
    }

    /// Whether its tests need our packages.
    pub(crate) fn has_agent(self) -> bool {
        matches!(self, Self::Agent | Self::Vm)
    }

    /// The kind of guest that its tests run on.
    pub(crate) fn guest(self) -> &'static dyn Guest {
        match self {
            Self::Upstream | Self::Scenarios | Self::Limits | Self::All => &Pid1::PLAIN,
            Self::Vmm => &Pid1::HOST,
            Self::Systemd | Self::Agent => &Debian::PLAIN,
            Self::Vm => &Debian::HOST,
        }
    }
}

/// The guest of tests that were selected together.
pub(crate) fn guest(tests: &[Test]) -> &'static dyn Guest {
    // A host can do what a guest without guests can.
    let vmm = tests.iter().find(|test| test.suite == Suite::Vmm);
    vmm.or(tests.first()).map_or(Suite::All, |test| test.suite).guest()
}

/// A test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Test {
    /// Its suite; never [`Suite::All`].
    pub(crate) suite: Suite,
    /// Its name, unique.
    pub(crate) name: String,
    /// A description, in one line.
    pub(crate) about: &'static str,
    /// How it is run.
    pub(crate) kind: Kind,
}

/// How a test is run and where its verdict comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// PID 1 hands a file from hop to hop.
    Carry,
    /// A scenario of the guest: parts before, in and after each kernel.
    Scenario(&'static Scenario),
    /// A scenario with a kernel that is booted with other parameters, on a machine of its own.
    Boot(&'static Boot),
    /// A damaged handover and a kernel that has not been told to go on: it must panic.
    Panics(&'static Boot),
    /// luod without a service manager, on a machine of its own, whose kernels it leaves.
    Alone(&'static Alone),
    /// Tests inside the Rust kernel, on a machine of its own.
    KUnit,
    /// A program in every hop.
    EveryHop,
    /// A program that is run before each kexec with `-s 1` and after it with `-s 2`.
    Staged,
    /// A unit of systemd that is started before and after each kexec.
    Service(&'static systemd::Rule),
    /// Messages of `lib/tests/liveupdate.c` in the log of every hop.
    FlbLog,
    /// Messages of `lib/test_kho.c` after each kexec.
    KhoLog,
    /// A guest that goes wrong in a hop, to test the harness.
    Misbehave(Misbehaviour, usize),
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Upstream => "upstream",
            Self::Scenarios => "scenarios",
            Self::Systemd => "systemd",
            Self::Agent => "agent",
            Self::Vm => "vm",
            Self::Vmm => "vmm",
            Self::Limits => "limits",
            Self::All => "all",
        })
    }
}

/// Name of the step in which PID 1 takes over from the previous hop.
pub(crate) const CARRY: &str = "a_file_of_pid_1_crosses_every_kexec";

/// The boot scenario that damages the handover.
const DAMAGE: &str = "a_damaged_handover_is_eio_if_told_to_go_on";

/// Boot scenarios that one machine plays: few, for machines can run side by side.
const BOOTS: usize = 3;

/// All tests, in the order in which they are shown.
pub(crate) fn all() -> Vec<Test> {
    let test = |suite, name: &str, kind, about| Test { suite, name: name.into(), about, kind };
    let upstream = |name, kind, about| test(Suite::Upstream, name, kind, about);
    let staged = upstream::STAGED.iter().map(|name| {
        upstream(name, Kind::Staged, "tools/testing/selftests/liveupdate, a stage on each side")
    });
    let mut tests = vec![upstream(
        upstream::API,
        Kind::EveryHop,
        "tools/testing/selftests/liveupdate, the API tests",
    )];
    tests.extend(staged);
    let about = "tools/testing/selftests/memfd, files and seals";
    tests.push(upstream(upstream::MEMFD, Kind::EveryHop, about));
    tests.push(upstream("flb", Kind::FlbLog, "lib/tests/liveupdate.c, FLBs inside the kernel"));
    tests.push(upstream("kho", Kind::KhoLog, "lib/test_kho.c, the handover below LUO"));
    tests.push(test(
        Suite::Scenarios,
        CARRY,
        Kind::Carry,
        "PID 1's session and memfd, checked and handed on in every hop",
    ));
    tests.extend(scenario::all().map(|scenario| {
        test(Suite::Scenarios, scenario.name, Kind::Scenario(scenario), "a rule of the kernel")
    }));
    tests.extend(scenario::LIMITS.iter().map(|scenario| {
        let about = "as much as a kernel takes at all";
        test(Suite::Limits, scenario.name, Kind::Scenario(scenario), about)
    }));
    tests.extend(boot::ALL.iter().map(|boot| {
        let about = "a rule of the kernel, with other boot parameters";
        test(Suite::Scenarios, boot.scenario.name, Kind::Boot(boot), about)
    }));
    let damage = boot::ALL.iter().find(|boot| boot.scenario.name == DAMAGE);
    tests.extend(damage.map(|boot| {
        let about = "carrying on could hand private memory to the wrong owner";
        let name = "a_damaged_handover_is_a_panic_otherwise";
        test(Suite::Scenarios, name, Kind::Panics(boot), about)
    }));
    tests.extend(agent::ALONE.iter().map(|alone| {
        let about = "luod under our PID 1, over `luctl update --now`";
        let suite = if alone.has_guests { Suite::Vmm } else { Suite::Scenarios };
        test(suite, alone.scenario.name, Kind::Alone(alone), about)
    }));
    tests.extend(systemd::RULES.iter().map(|rule| {
        test(Suite::Systemd, rule.name, Kind::Service(rule), "systemd 262, over systemctl kexec")
    }));
    tests.extend(systemd::AGENT_RULES.iter().map(|rule| {
        test(
            Suite::Agent,
            rule.name,
            Kind::Service(rule),
            "luod, over `luctl update`, also --now, and `systemctl kexec`",
        )
    }));
    tests.extend(systemd::VM_RULES.iter().map(|rule| {
        test(Suite::Vm, rule.name, Kind::Service(rule), "virtual machines, over `luctl update`")
    }));
    tests.push(test(
        Suite::Scenarios,
        "kunit",
        Kind::KUnit,
        "KUnit of luo_core and of KHO, examples of rust/kernel, in a Rust kernel",
    ));
    tests
}

impl Test {
    /// Whether it makes sense over these kernels.
    pub(crate) fn applies(&self, hops: &Hops) -> bool {
        match self.kind {
            Kind::Boot(boot) if boot.is_rust_only => {
                hops.0.get(1).is_some_and(|kernel| kernel.is_rust())
            }
            Kind::KUnit => hops.0.iter().any(|kernel| kernel.is_rust()),
            _ => true,
        }
    }
}

/// The tests of a suite, or those of it with these names.
pub(crate) fn select<N: AsRef<str>>(suite: Suite, names: &[N]) -> Result<Vec<Test>, Failure> {
    let mut tests = all();
    for name in names {
        let name = name.as_ref();
        if !tests.iter().any(|test| test.name == name) {
            let known: Vec<&str> = tests.iter().map(|test| test.name.as_str()).collect();
            let what = format!("there is no test `{name}`");
            return Err(Failure::new(what, format!("choose one of: {}", known.join(", "))));
        }
    }
    let is_named = |test: &Test| names.iter().any(|name| test.name == name.as_ref());
    let is_wanted = |test: &Test| match suite {
        // A test that is named is meant, whatever its guest.
        Suite::All => !names.is_empty() || !test.suite.is_apart(),
        suite => test.suite == suite,
    };
    tests.retain(|test| (names.is_empty() || is_named(test)) && is_wanted(test));
    if tests.is_empty() {
        let next = "see what there is with `cargo xtask vm-test --list`";
        return Err(Failure::new(format!("no such test in suite `{suite}`"), next));
    }
    Ok(tests)
}

/// How many of the boot scenarios are played. Each costs two boots. Without any, luod has no machine of its own
/// either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Boots {
    /// All.
    #[default]
    All,
    /// As many as one machine plays.
    Few,
    /// None.
    None,
}

impl Boots {
    /// Leaves out the tests that are not wanted.
    pub(crate) fn choose(self, tests: &mut Vec<Test>) {
        let mut boots = 0;
        tests.retain(|test| {
            let is_boot = matches!(test.kind, Kind::Boot(_));
            boots += usize::from(is_boot);
            if self == Self::None && matches!(test.kind, Kind::Alone(_)) {
                return false;
            }
            !is_boot
                || match self {
                    Self::All => true,
                    Self::Few => boots <= BOOTS,
                    Self::None => false,
                }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_test_names_those_there_are() {
        let error = select(Suite::All, &["luo"]).unwrap_err();
        assert!(error.to_string().contains("no test `luo`"));
        assert!(select(Suite::Scenarios, &["flb"]).is_err());
        assert_eq!(select::<&str>(Suite::Upstream, &[]).unwrap().len(), 8);
    }
}
