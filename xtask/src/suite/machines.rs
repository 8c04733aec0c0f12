// SPDX-License-Identifier: MIT OR Apache-2.0

//! The machines that run the tests, and the plans of their guests.

use selftests::plan::{Action, Hop, Leave, Plan, Step};
use selftests::scenario::agent::Alone;
use selftests::scenario::boot::{Boot, Parameters};
use selftests::scenario::{Scenario, Side};
use selftests::systemd;

use crate::guest::Guest;
use crate::kernel::{Hops, Implementation, Profile};
use crate::suite::{BOOTS, CARRY, Kind, Suite, Test};

/// The purpose of a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It plays hops of the run.
    Chain,
    /// It plays hops of the run that luod leaves, without a service manager.
    Alone,
    /// It plays boot scenarios, one after the other.
    Boot,
    /// Its last kernel panics as it should.
    Panics,
    /// Its only kernel runs KUnit.
    KUnit,
}

/// What a plan runs on: a guest, with kernels of a profile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Platform {
    pub(crate) guest: &'static dyn Guest,
    pub(crate) profile: Profile,
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
    /// The same, whose kernels have more parameters, in turns.
    pub(crate) fn with_parameters(self, parameters: &[String]) -> Self {
        if parameters.is_empty() {
            return self;
        }
        let turns = parameters.iter().cycle().skip(self.first.saturating_sub(1));
        let hops = self.plan.hops().cloned().zip(turns);
        let hop =
            |(hop, more): (Hop, &String)| Hop { cmdline: format!("{} {more}", hop.cmdline), ..hop };
        Self { plan: hops.map(hop).collect(), ..self }
    }

    /// Whether both do the same and are judged in the same way; names may differ.
    pub(super) fn is_the_same_as(&self, other: &Self) -> bool {
        let Self { name: _, role, plan, first } = self;
        (*role, plan, *first) == (other.role, &other.plan, other.first)
    }
}

/// The machines that run `tests` over `hops`.
///
/// One machine runs the whole chain. The kernel's KHO test saves in one kernel and restores in the
/// next, in turns, so a chain checks every other update. If an update from one implementation to another
/// is not among those, a machine is added for it.
pub(crate) fn machines(tests: &[Test], hops: &Hops, platform: Platform) -> Vec<Vm> {
    let chain = plan(tests, &hops.0, platform);
    let mut machines = vec![Vm { name: "chain".into(), role: Role::Chain, plan: chain, first: 1 }];
    if tests.iter().any(|test| test.kind == Kind::KhoLog) {
        let pairs = || hops.0.windows(2).enumerate();
        let mut checked: Vec<_> = pairs().step_by(2).map(|(_, pair)| pair).collect();
        for (index, pair) in pairs().skip(1).step_by(2) {
            if checked.contains(&pair) {
                continue;
            }
            checked.push(pair);
            let (name, first) = (format!("kho-{}", index + 1), index + 1);
            machines.push(Vm { name, role: Role::Chain, plan: plan(&[], pair, platform), first });
        }
    }
    machines.extend(boot_machines(tests, hops, platform));
    machines.extend(panics_machine(tests, hops, platform));
    machines.extend(alone_machines(tests, hops, platform));
    machines.extend(kunit_machine(tests, hops, platform));
    machines
}

/// Machines that play boot scenarios: for each one the first kernel, as always, and then the second
/// with other parameters.
fn boot_machines(tests: &[Test], hops: &Hops, platform: Platform) -> Vec<Vm> {
    let [first, second, ..] = hops.0[..] else {
        return Vec::new();
    };
    let mut plans: Vec<Plan> = Vec::new();
    for test in tests {
        let Kind::Boot(boot) = test.kind else { continue };
        let pair = [
            boot_hop(first, platform, boot, Side::Before, Parameters::With("")),
            boot_hop(second, platform, boot, Side::After, boot.parameters),
        ];
        match plans.last_mut() {
            Some(plan) if plan.count() < 2 * BOOTS && !boot.is_first => plan.extend(pair),
            _ => plans.push(pair.into_iter().collect()),
        }
    }
    let name = |number: usize| format!("boot-{number}");
    let machine = |(number, plan)| Vm { name: name(number), role: Role::Boot, plan, first: 1 };
    (1..).zip(plans).map(machine).collect()
}

/// A machine whose first kernel damages what the second gets.
fn panics_machine(tests: &[Test], hops: &Hops, platform: Platform) -> Option<Vm> {
    let [first, second, ..] = hops.0[..] else {
        return None;
    };
    let boot = tests.iter().find_map(|test| match test.kind {
        Kind::Panics(boot) => Some(boot),
        _ => None,
    })?;
    let first = boot_hop(first, platform, boot, Side::Before, Parameters::With(""));
    let plan = [first, bare(second, platform)].into_iter().collect();
    Some(Vm { name: "panics".into(), role: Role::Panics, plan, first: 1 })
}

/// A hop that plays one half of a boot scenario.
fn boot_hop(
    kernel: Implementation,
    platform: Platform,
    boot: &Boot,
    side: Side,
    parameters: Parameters,
) -> Hop {
    Hop {
        cmdline: parameters.apply(&platform.cmdline()),
        carries: false,
        steps: vec![scenario_step(&boot.scenario, side, platform)],
        ..bare(kernel, platform)
    }
}

/// Machines whose kernels luod leaves.
fn alone_machines(tests: &[Test], hops: &Hops, platform: Platform) -> Vec<Vm> {
    let machine = |test: &Test| match test.kind {
        Kind::Alone(alone) => Some(alone_machine(alone, hops, platform)),
        _ => None,
    };
    tests.iter().filter_map(machine).collect()
}

fn alone_machine(alone: &Alone, hops: &Hops, platform: Platform) -> Vm {
    let count = hops.0.len();
    let plan = (1..).zip(&hops.0).map(|(number, kernel)| {
        let after = (number > 1).then_some(Side::After);
        let before = (number < count).then_some(Side::Before);
        let step = |side| scenario_step(&alone.scenario, side, platform);
        Hop {
            carries: false,
            steps: after.into_iter().chain(before).map(step).collect(),
            leave: Leave::UpdateNow,
            ..bare(*kernel, platform)
        }
    });
    Vm { name: alone.machine.into(), role: Role::Alone, plan: plan.collect(), first: 1 }
}

/// A part of a scenario.
fn scenario_step(scenario: &Scenario, side: Side, platform: Platform) -> Step {
    let name = scenario.name.to_owned();
    let limit_ms = platform.step_limit_ms();
    Step { name: part_name(&name, side), action: Action::Scenario { name, side }, limit_ms }
}

/// A machine whose only kernel runs its own tests while it boots.
fn kunit_machine(tests: &[Test], hops: &Hops, platform: Platform) -> Option<Vm> {
    let wanted = tests.iter().any(|test| test.kind == Kind::KUnit);
    let kernel = hops.0.iter().find(|kernel| kernel.is_rust())?;
    let hop = Hop {
        cmdline: format!("{} kunit.enable=1 kunit.autorun=1", platform.cmdline()),
        carries: false,
        ..bare(*kernel, platform)
    };
    let plan = [hop].into_iter().collect();
    wanted.then(|| Vm { name: "kunit".into(), role: Role::KUnit, plan, first: 1 })
}

/// A hop in which nothing is done.
fn bare(kernel: Implementation, platform: Platform) -> Hop {
    Hop {
        label: kernel.to_string(),
        kernel: kernel_name(kernel),
        cmdline: platform.cmdline(),
        carries: platform.guest.carries(),
        is_debug: platform.profile == Profile::Debug,
        steps: Vec::new(),
        leave: Leave::Plain,
    }
}

/// A machine with one hop and no tests, to see whether it boots at all.
pub(crate) fn probe(kernel: Implementation, platform: Platform) -> Vm {
    let plan = [bare(kernel, platform)].into_iter().collect();
    Vm { name: "probe".into(), role: Role::Chain, plan, first: 1 }
}

fn plan(tests: &[Test], hops: &[Implementation], platform: Platform) -> Plan {
    let hops = hops.iter().enumerate().map(|(index, kernel)| Hop {
        steps: steps(tests, index + 1, hops.len(), platform),
        leave: leave_of(tests, index + 1),
        ..bare(*kernel, platform)
    });
    hops.collect()
}

fn leave_of(tests: &[Test], number: usize) -> Leave {
    if tests.iter().all(|test| !matches!(test.suite, Suite::Agent | Suite::Vm)) {
        Leave::Plain
    } else {
        leave(number)
    }
}

/// How hop `number` is left where there is luod, in turns: the agent leaves in both of its ways, systemd does, and the
/// agent is killed meanwhile.
pub(crate) fn leave(number: usize) -> Leave {
    match number % 4 {
        1 => Leave::Update,
        2 => Leave::UpdateNow,
        3 => Leave::Behind,
        _ => Leave::Killed,
    }
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
fn steps(tests: &[Test], number: usize, count: usize, platform: Platform) -> Vec<Step> {
    let limit_ms = platform.step_limit_ms();
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
        scenarios.map(move |scenario| scenario_step(scenario, side, platform))
    };

    let services = |side, stage| {
        let rules = tests.iter().filter_map(|test| match test.kind {
            Kind::Service(rule) => Some(rule),
            _ => None,
        });
        let start = move |rule: &systemd::Rule| Action::Start { unit: rule.unit.into(), side };
        rules.map(move |rule| step(stage_name(rule.name, stage), start(rule)))
    };

    let carry = platform.guest.carries().then(|| step(CARRY.into(), Action::Carry));
    let mut steps = Vec::from_iter(carry);
    if number > 1 {
        steps.extend(staged(2));
        steps.extend(services(Side::After, 2));
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
        steps.extend(services(Side::Before, 1));
        steps.extend(scenarios(Side::Before));
    }
    steps
}

impl Platform {
    fn cmdline(self) -> String {
        self.guest.cmdline(self.profile)
    }

    /// How long one step may take in the guest: less than the silence that ends a machine.
    fn step_limit_ms(self) -> u64 {
        let silence = self.guest.pace(self.profile).silence;
        u64::try_from(silence.as_millis() / 3 * 2).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Pid1;
    use crate::suite::{Suite, all, select};

    const RELEASE: Platform = Platform { guest: &Pid1::PLAIN, profile: Profile::Release };
    const DEBUG: Platform = Platform { profile: Profile::Debug, ..RELEASE };

    fn names(plan: &Plan, hop: usize) -> Vec<&str> {
        plan.hop(hop).unwrap().steps.iter().map(|step| step.name.as_str()).collect()
    }

    #[test]
    fn stages_stand_on_both_sides_of_each_kexec() {
        let tests = select(Suite::All, &["luo_kexec_simple"]).unwrap();
        let machines = machines(&tests, &"c,c,c".parse().unwrap(), RELEASE);
        assert_eq!(machines.len(), 1);
        let plan = &machines[0].plan;
        assert_eq!(names(plan, 1), [CARRY, "luo_kexec_simple/1"]);
        assert_eq!(names(plan, 2), [CARRY, "luo_kexec_simple/2", "luo_kexec_simple/1"]);
        assert_eq!(names(plan, 3), [CARRY, "luo_kexec_simple/2"]);
    }

    #[test]
    fn every_kind_of_update_has_its_kho_test() {
        let tests = select::<&str>(Suite::Upstream, &[]).unwrap();
        let starts = |hops: &str| {
            let machines = machines(&tests, &hops.parse().unwrap(), RELEASE);
            machines.iter().map(|vm| (vm.first, vm.plan.count())).collect::<Vec<_>>()
        };
        assert_eq!(starts("c,c"), [(1, 2)]);
        assert_eq!(starts("c,c,c"), [(1, 3)]);
        assert_eq!(starts("c,rust,c,rust,c"), [(1, 5), (2, 2)]);
        assert_eq!(starts("rust*1000"), [(1, 1000)]);
    }

    #[test]
    fn boot_scenarios_and_kunit_have_machines_where_they_make_sense() {
        let there = |hops: &str| {
            let hops = hops.parse().unwrap();
            let tests: Vec<_> = all().into_iter().filter(|test| test.applies(&hops)).collect();
            let machines = machines(&tests, &hops, RELEASE);
            machines.into_iter().map(|vm| (vm.name, vm.plan.count())).collect::<Vec<_>>()
        };
        let named = |names: &[(&str, usize)]| {
            names.iter().map(|(name, hops)| ((*name).to_owned(), *hops)).collect::<Vec<_>>()
        };
        let alone = [("luod", 2), ("vmm", 2), ("vmm-in-c", 2), ("ten", 2), ("bad-days", 2)];
        let few =
            [&[("chain", 2), ("boot-1", 6), ("boot-2", 4), ("panics", 2)], &alone[..]].concat();
        assert_eq!(there("c,c"), named(&few));
        let boots = [("boot-1", 6), ("boot-2", 6), ("boot-3", 6), ("boot-4", 6), ("boot-5", 4)];
        let all =
            [&[("chain", 2)], &boots[..], &[("panics", 2)], &alone[..], &[("kunit", 1)]].concat();
        assert_eq!(there("c,rust"), named(&all));
    }

    #[test]
    fn names_of_tests_and_steps_are_unique() {
        let tests = all();
        let plan = &machines(&tests, &"c,c,c".parse().unwrap(), DEBUG)[0].plan;
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
