// SPDX-License-Identifier: MIT OR Apache-2.0

//! The machines that run the tests, and the plans of their guests.

use selftests::plan::{Action, Hop, Plan, Step};
use selftests::scenario::Side;
use selftests::scenario::boot::{Boot, Parameters};

use crate::kernel::{Hops, Implementation, Profile};
use crate::suite::{BOOTS, CARRY, Kind, Test};

/// The purpose of a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It plays hops of the run.
    Chain,
    /// It plays boot scenarios, one after the other.
    Boot,
    /// Its last kernel panics as it should.
    Panics,
    /// Its only kernel runs KUnit.
    KUnit,
}

/// A virtual machine to be run: a chain of hops, and where they stand in the whole run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Vm {
    /// Its name, as a file name.
    pub(crate) name: String,
    /// Its purpose.
    pub(crate) role: Role,
    /// The work of the guest.
    pub(crate) plan: Plan,
    /// Number of its first hop in the whole run, from 1.
    pub(crate) first: usize,
}

impl Vm {
    /// Whether both do the same and are judged in the same way; names may differ.
    pub(super) fn is_the_same_as(&self, other: &Self) -> bool {
        let Self { name: _, role, plan, first } = self;
        (*role, plan, *first) == (other.role, &other.plan, other.first)
    }
}

/// The machines that run `tests` over `hops`.
///
/// One machine runs the whole chain. The kernel's KHO test saves in one kernel and restores in the
/// next, in turns, so a chain checks every other update; a machine for each of the others is added.
pub(crate) fn machines(tests: &[Test], hops: &Hops, profile: Profile) -> Vec<Vm> {
    let chain = plan(tests, &hops.0, profile);
    let mut machines = vec![Vm { name: "chain".into(), role: Role::Chain, plan: chain, first: 1 }];
    if tests.iter().any(|test| test.kind == Kind::KhoLog) {
        for (index, pair) in hops.0.windows(2).enumerate().skip(1).step_by(2) {
            let (name, first) = (format!("kho-{}", index + 1), index + 1);
            machines.push(Vm { name, role: Role::Chain, plan: plan(&[], pair, profile), first });
        }
    }
    machines.extend(boot_machines(tests, hops, profile));
    machines.extend(panics_machine(tests, hops, profile));
    machines.extend(kunit_machine(tests, hops, profile));
    machines
}

/// Machines that play boot scenarios: for each one the first kernel, as always, and then the second
/// with other parameters.
fn boot_machines(tests: &[Test], hops: &Hops, profile: Profile) -> Vec<Vm> {
    let [first, second, ..] = hops.0[..] else {
        return Vec::new();
    };
    let mut plans: Vec<Plan> = Vec::new();
    for test in tests {
        let Kind::Boot(boot) = test.kind else { continue };
        let pair = [
            boot_hop(first, profile, boot, Side::Before, Parameters::With("")),
            boot_hop(second, profile, boot, Side::After, boot.parameters),
        ];
        match plans.last_mut() {
            Some(plan) if plan.hops.len() < 2 * BOOTS && !boot.is_first => plan.hops.extend(pair),
            _ => plans.push(Plan { hops: pair.into() }),
        }
    }
    let name = |number: usize| format!("boot-{number}");
    let machine = |(number, plan)| Vm { name: name(number), role: Role::Boot, plan, first: 1 };
    (1..).zip(plans).map(machine).collect()
}

/// A machine whose first kernel damages what the second gets.
fn panics_machine(tests: &[Test], hops: &Hops, profile: Profile) -> Option<Vm> {
    let [first, second, ..] = hops.0[..] else {
        return None;
    };
    let boot = tests.iter().find_map(|test| match test.kind {
        Kind::Panics(boot) => Some(boot),
        _ => None,
    })?;
    let first = boot_hop(first, profile, boot, Side::Before, Parameters::With(""));
    let plan = Plan { hops: vec![first, bare(second, profile)] };
    Some(Vm { name: "panics".into(), role: Role::Panics, plan, first: 1 })
}

/// A hop that plays one half of a boot scenario.
fn boot_hop(
    kernel: Implementation,
    profile: Profile,
    boot: &Boot,
    side: Side,
    parameters: Parameters,
) -> Hop {
    let name = boot.scenario.name.to_owned();
    Hop {
        cmdline: parameters.apply(&profile.cmdline()),
        carries: false,
        steps: vec![Step {
            name: part_name(&name, side),
            action: Action::Scenario { name, side },
            limit_ms: profile.step_limit_ms(),
        }],
        ..bare(kernel, profile)
    }
}

/// A machine whose only kernel runs its own tests while it boots.
fn kunit_machine(tests: &[Test], hops: &Hops, profile: Profile) -> Option<Vm> {
    let wanted = tests.iter().any(|test| test.kind == Kind::KUnit);
    let kernel = hops.0.iter().find(|kernel| **kernel == Implementation::Rust)?;
    let hop = Hop {
        cmdline: format!("{} kunit.enable=1 kunit.autorun=1", profile.cmdline()),
        carries: false,
        ..bare(*kernel, profile)
    };
    let plan = Plan { hops: vec![hop] };
    wanted.then(|| Vm { name: "kunit".into(), role: Role::KUnit, plan, first: 1 })
}

/// A hop in which nothing is done.
fn bare(kernel: Implementation, profile: Profile) -> Hop {
    Hop {
        label: kernel.to_string(),
        kernel: kernel_name(kernel),
        cmdline: profile.cmdline(),
        carries: true,
        is_debug: profile == Profile::Debug,
        steps: Vec::new(),
    }
}

/// A machine with one hop and no tests, to see whether it boots at all.
pub(crate) fn probe(kernel: Implementation, profile: Profile) -> Vm {
    let plan = Plan { hops: vec![bare(kernel, profile)] };
    Vm { name: "probe".into(), role: Role::Chain, plan, first: 1 }
}

fn plan(tests: &[Test], hops: &[Implementation], profile: Profile) -> Plan {
    let hops = hops.iter().enumerate().map(|(index, kernel)| Hop {
        steps: steps(tests, index + 1, hops.len(), profile),
        ..bare(*kernel, profile)
    });
    Plan { hops: hops.collect() }
}

/// Name of a kernel on the payload disk.
pub(crate) fn kernel_name(kernel: Implementation) -> String {
    format!("kernel-{kernel}")
}

/// Name of the step that is a stage of a test.
pub(crate) fn stage_name(test: &str, stage: usize) -> String {
    format!("{test}/{stage}")
}

/// Name of the step that is a part of a scenario.
pub(crate) fn part_name(scenario: &str, side: Side) -> String {
    match side {
        Side::Before => format!("{scenario}/before"),
        Side::Here => format!("{scenario}/here"),
        Side::After => format!("{scenario}/after"),
    }
}

/// The steps of hop `number` of `count`: first those for sessions from the previous kernel, then
/// those that need no kexec, then those for sessions that go to the next kernel.
fn steps(tests: &[Test], number: usize, count: usize, profile: Profile) -> Vec<Step> {
    let limit_ms = profile.step_limit_ms();
    let step = |name: String, action| Step { name, action, limit_ms };
    let run = |name: &str, arguments: &[&str]| {
        let program = format!("/bin/{name}");
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        Action::Run { argv: std::iter::once(program).chain(arguments).collect() }
    };
    let staged = |stage: usize| {
        let staged = tests.iter().filter(|test| test.kind == Kind::Staged);
        staged.map(move |test| {
            step(stage_name(&test.name, stage), run(&test.name, &["-s", &stage.to_string()]))
        })
    };

    let scenarios = |side: Side| {
        let scenarios = tests.iter().filter_map(move |test| match test.kind {
            Kind::Scenario(scenario) if scenario.part(side).is_some() => Some(scenario),
            _ => None,
        });
        scenarios.map(move |scenario| {
            let name = scenario.name.to_owned();
            step(part_name(&name, side), Action::Scenario { name, side })
        })
    };

    let mut steps = vec![step(CARRY.into(), Action::Carry)];
    if number > 1 {
        steps.extend(staged(2));
        steps.extend(scenarios(Side::After));
    }
    steps.extend(scenarios(Side::Here));
    for test in tests {
        match test.kind {
            Kind::EveryHop => steps.push(step(test.name.clone(), run(&test.name, &[]))),
            Kind::Misbehave(how, hop) if hop == number => {
                steps.push(step(test.name.clone(), Action::Misbehave(how)));
            }
            _ => {}
        }
    }
    if number < count {
        steps.extend(staged(1));
        steps.extend(scenarios(Side::Before));
    }
    steps
}

impl Profile {
    /// How long one step may take in the guest: less than the silence that ends a machine.
    fn step_limit_ms(self) -> u64 {
        match self {
            Self::Release => 60_000,
            Self::Debug => 240_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{Suite, all, select};

    fn names(plan: &Plan, hop: usize) -> Vec<&str> {
        plan.hops[hop - 1].steps.iter().map(|step| step.name.as_str()).collect()
    }

    #[test]
    fn stages_stand_on_both_sides_of_each_kexec() {
        let tests = select(Suite::All, Some("luo_kexec_simple")).unwrap();
        let machines = machines(&tests, &"c,c,c".parse().unwrap(), Profile::Release);
        assert_eq!(machines.len(), 1);
        let plan = &machines[0].plan;
        assert_eq!(names(plan, 1), [CARRY, "luo_kexec_simple/1"]);
        assert_eq!(names(plan, 2), [CARRY, "luo_kexec_simple/2", "luo_kexec_simple/1"]);
        assert_eq!(names(plan, 3), [CARRY, "luo_kexec_simple/2"]);
    }

    #[test]
    fn every_update_has_its_kho_test() {
        let tests = select(Suite::Upstream, None).unwrap();
        let starts = |hops: &str| {
            let machines = machines(&tests, &hops.parse().unwrap(), Profile::Release);
            machines.iter().map(|vm| (vm.first, vm.plan.hops.len())).collect::<Vec<_>>()
        };
        assert_eq!(starts("c,c"), [(1, 2)]);
        assert_eq!(starts("c,c,c"), [(1, 3), (2, 2)]);
        assert_eq!(starts("c,rust,c,rust,c"), [(1, 5), (2, 2), (4, 2)]);
    }

    #[test]
    fn boot_scenarios_and_kunit_have_machines_where_they_make_sense() {
        let there = |hops: &str| {
            let hops = hops.parse().unwrap();
            let tests: Vec<_> = all().into_iter().filter(|test| test.applies(&hops)).collect();
            let machines = machines(&tests, &hops, Profile::Release);
            machines.into_iter().map(|vm| (vm.name, vm.plan.hops.len())).collect::<Vec<_>>()
        };
        let named = |names: &[(&str, usize)]| {
            names.iter().map(|(name, hops)| ((*name).to_owned(), *hops)).collect::<Vec<_>>()
        };
        let few = named(&[("chain", 2), ("boot-1", 6), ("boot-2", 4), ("panics", 2)]);
        assert_eq!(there("c,c"), few);
        let boots = [("boot-1", 6), ("boot-2", 6), ("boot-3", 6), ("boot-4", 6), ("boot-5", 4)];
        let all = [&[("chain", 2)], &boots[..], &[("panics", 2), ("kunit", 1)]].concat();
        assert_eq!(there("c,rust"), named(&all));
    }

    #[test]
    fn names_of_tests_and_steps_are_unique() {
        let tests = all();
        let plan = &machines(&tests, &"c,c,c".parse().unwrap(), Profile::Debug)[0].plan;
        for hop in 1..=3 {
            let mut all = names(plan, hop);
            all.sort_unstable();
            let count = all.len();
            all.dedup();
            assert_eq!(all.len(), count);
            assert!(all.iter().all(|name| !name.contains(char::is_whitespace)));
        }
    }
}
