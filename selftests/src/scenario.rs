// SPDX-License-Identifier: MIT OR Apache-2.0

//! Scenarios: every rule of the kernel's contract, by name, on both sides of a kexec.
//!
//! Each runs on both implementations. Where they differ on purpose, the scenario says what it
//! expects of each, and `docs/compatibility.md` says why.

pub mod boot;
mod client;
pub mod close;
mod device;
mod extensible;
mod handler;
mod object;
mod preserve;
mod race;
mod reboot;
mod registration;
mod retrieve;
mod scale;
mod session;
mod stage;
mod trace;

pub use stage::{Kernel, Stage};

/// What a scenario does in one hop.
pub type Part = fn(&mut Stage<'_>) -> anyhow::Result<()>;

/// A rule, and how it is seen to hold.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// The rule as a sentence, with underscores; unique.
    pub name: &'static str,
    /// Before the kernel is left.
    pub before: Option<Part>,
    /// In any kernel, without a kexec.
    pub here: Option<Part>,
    /// After the next kernel was entered.
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
    /// First, what came from the last kernel.
    After,
    /// Then what needs no kexec.
    Here,
    /// Last, what goes to the next.
    Before,
}

/// All scenarios, in the order in which they run.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    let groups: [&[Scenario]; 16] = [
        object::FIRST,
        device::ALL,
        session::ALL,
        extensible::ALL,
        preserve::ALL,
        retrieve::ALL,
        close::ALL,
        race::ALL,
        client::ALL,
        handler::ALL,
        object::ALL,
        registration::ALL,
        scale::ALL,
        trace::ALL,
        // Last: they try to leave the kernel.
        reboot::ALL,
        object::LAST,
    ];
    groups.into_iter().flatten()
}

/// The scenario of that name, of these or of [`boot`].
pub fn find(name: &str) -> Option<&'static Scenario> {
    everything().find(|scenario| scenario.name == name)
}

fn everything() -> impl Iterator<Item = &'static Scenario> {
    all().chain(boot::ALL.iter().map(|boot| &boot.scenario))
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
    }
}
