// SPDX-License-Identifier: MIT OR Apache-2.0

//! Scenarios: every rule of the kernel's contract, by name, on both sides of a kexec.
//!
//! Each runs on both implementations. Where they differ on purpose, the scenario has the
//! expectation for each, and `docs/compatibility.md` gives the reason.

pub mod agent;
mod allocation;
mod attributes;
pub mod boot;
mod client;
mod close;
#[cfg(target_arch = "x86_64")]
mod compat;
mod counted;
mod device;
mod drain;
mod extensible;
mod failing;
mod give_up;
pub(crate) mod guest;
mod handler;
mod holes;
mod huge;
mod idle;
mod info;
mod kho;
mod leaving;
mod memfd;
mod memory;
mod module;
mod object;
mod others;
mod preserve;
mod race;
mod reboot;
mod registration;
mod retrieve;
mod scale;
mod scratch;
mod session;
mod shown;
mod stage;
mod stuck;
mod swapped;
mod trace;
mod unusual;

pub use leaving::{LeavingPart, begin as begin_leaving, panic_text};
pub use module::load as load_module;
pub use stage::{Kernel, Kernels, NotApplicable, Stage};

/// Why a part with sessions of the update before the last one is not for the first update.
const TWO_UPDATES: &str = "that needs two updates";

/// The work of a scenario in one hop.
pub type Part = fn(&mut Stage<'_>) -> anyhow::Result<()>;

/// A rule, and the functions that check it.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The rule as a sentence, with underscores; unique.
    pub name: &'static str,
    /// Before the kexec.
    pub before: Option<Part>,
    /// In any kernel, without a kexec.
    pub here: Option<Part>,
    /// After the kexec, in the next kernel.
    pub after: Option<Part>,
}

/// Names are unique.
impl PartialEq for Scenario {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Scenario {}

impl Scenario {
    const fn here(name: &'static str, here: Part) -> Self {
        Self { name, before: None, here: Some(here), after: None }
    }

    const fn across(name: &'static str, before: Part, after: Part) -> Self {
        Self { name, before: Some(before), here: None, after: Some(after) }
    }

    /// The part called `side`.
    pub fn part(&self, side: Side) -> Option<Part> {
        match side {
            Side::After => self.after,
            Side::Here => self.here,
            Side::Before => self.before,
        }
    }
}

/// When a part runs, in the order of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// First: sessions that came from the previous kernel.
    After,
    /// Then: rules that need no kexec.
    Here,
    /// Last: sessions that go to the next kernel.
    Before,
}

/// All scenarios, in the order in which they run.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    let groups: [&[Scenario]; 37] = [
        object::FIRST,
        device::ALL,
        session::ALL,
        extensible::ALL,
        #[cfg(target_arch = "x86_64")]
        compat::ALL,
        #[cfg(not(target_arch = "x86_64"))]
        &[],
        preserve::ALL,
        retrieve::ALL,
        memfd::ALL,
        holes::ALL,
        huge::ALL,
        unusual::ALL,
        swapped::ALL,
        attributes::ALL,
        others::ALL,
        scratch::ALL,
        failing::ALL,
        idle::ALL,
        info::ALL,
        close::ALL,
        race::ALL,
        stuck::ALL,
        client::ALL,
        handler::ALL,
        object::ALL,
        registration::ALL,
        module::ALL,
        scale::ALL,
        memory::ALL,
        trace::ALL,
        // These call `reboot(2)`. Calls that fail come first.
        give_up::ALL,
        reboot::ALL,
        object::LAST,
        drain::ALL,
        allocation::ALL,
        counted::ALL,
        drain::LAST,
        // Last: these compare free memory.
        memory::LAST,
    ];
    groups.into_iter().flatten()
}

/// Scenarios that take too long for every change.
pub const LIMITS: &[Scenario] = scale::LIMITS;

/// The main function of a process that a scenario starts with this argument.
pub fn child(argument: &str) -> Option<fn() -> anyhow::Result<()>> {
    match argument {
        close::CHILD => Some(close::child_main),
        drain::CHILD => Some(drain::child_main),
        give_up::CHILD => Some(give_up::child_main),
        others::RETRIEVER => Some(others::retriever_main),
        others::WRITER => Some(others::writer_main),
        unusual::CHILD => Some(unusual::child_main),
        unusual::POISONER => Some(unusual::poisoner_main),
        _ => None,
    }
}

/// Scenarios that, in the middle of a chain, hold files of the previous kernel that are not finished
/// when `reboot(2)` is called.
pub const UNFINISHED: [&str; 4] = [
    "what_is_never_finished_is_free_after_the_next_update",
    "commands_are_ebusy_while_reboot_waits",
    "reboot_waits_for_a_file_that_is_being_retrieved",
    "reboot_waits_for_no_command_that_stops_at_its_memory",
];

/// The scenario with this name, of [`all`], of [`boot`], or of [`agent`].
pub fn find(name: &str) -> Option<&'static Scenario> {
    everything().find(|scenario| scenario.name == name)
}

fn everything() -> impl Iterator<Item = &'static Scenario> {
    all()
        .chain(LIMITS)
        .chain(boot::ALL.iter().map(|boot| &boot.scenario))
        .chain(agent::ALONE.iter().map(|alone| &alone.scenario))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_sentences() {
        let mut names: Vec<_> = everything().map(|scenario| scenario.name).collect();
        assert!(names.iter().all(|name| {
            name.contains('_')
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        }));
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn every_scenario_ends_with_a_verdict_on_something() {
        assert!(
            everything().all(|it| it.here.is_some() || (it.before.is_some() && it.after.is_some()))
        );
        assert!(find("no such scenario").is_none());
        assert!(UNFINISHED.iter().all(|name| find(name).is_some_and(|it| it.before.is_some())));
    }
}
