// SPDX-License-Identifier: MIT OR Apache-2.0

//! The machines of several lists of hops, in one queue.
//!
//! Many machines depend on the first two hops only, or on one kernel. A machine that several lists
//! have in common runs once, and each of them is judged by it.

use crate::judge::Ran;
use crate::suite::Vm;

/// Machines to be run, each once.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    machines: Vec<Vm>,
    /// For each list of hops, the places of its machines.
    lists: Vec<Vec<usize>>,
}

impl Queue {
    /// Adds the machines of a list of hops. Those that are new get names below `folder`, if there is
    /// one.
    pub(crate) fn add(&mut self, folder: Option<&str>, machines: Vec<Vm>) {
        let places = machines.into_iter().map(|vm| {
            let known = self.machines.iter().position(|known| known.is_the_same_as(&vm));
            known.unwrap_or_else(|| {
                let name = match folder {
                    Some(folder) => format!("{folder}/{}", vm.name),
                    None => vm.name,
                };
                self.machines.push(Vm { name, ..vm });
                self.machines.len() - 1
            })
        });
        let places = places.collect();
        self.lists.push(places);
    }

    /// The machines.
    pub(crate) fn machines(&self) -> &[Vm] {
        &self.machines
    }

    /// The machines of each list that have been run, in the order in which they were added.
    /// `results` has the order of [`Self::machines`].
    pub(crate) fn sort_out<'r>(&self, results: &'r [Option<Ran>]) -> Vec<Vec<&'r Ran>> {
        let ran = |place: &usize| results.get(*place).and_then(Option::as_ref);
        self.lists.iter().map(|places| places.iter().filter_map(ran).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Pid1;
    use crate::kernel::{Hops, Profile};
    use crate::suite::{Platform, Role, all, machines};

    fn of(hops: &str) -> Vec<Vm> {
        let hops: Hops = hops.parse().unwrap();
        let mut tests = all();
        tests.retain(|test| test.applies(&hops));
        machines(&tests, &hops, Platform { guest: &Pid1::PLAIN, profile: Profile::Release })
    }

    #[test]
    fn a_machine_that_two_lists_have_in_common_runs_once() {
        let (two, three) = (of("rust,rust"), of("rust,rust,rust"));
        let mut queue = Queue::default();
        queue.add(Some("two"), two.clone());
        queue.add(Some("three"), three.clone());
        let own: Vec<_> =
            queue.machines().iter().filter(|vm| vm.name.starts_with("three/")).collect();
        // These depend on the length of the chain.
        let is_long = |vm: &&&Vm| matches!(vm.role, Role::Chain | Role::Alone);
        let others: Vec<_> = own.iter().filter(|vm| !is_long(vm)).map(|vm| &vm.name).collect();
        assert!(others.is_empty(), "{others:?}");
        assert!(own.len() < three.len());
        assert_eq!(queue.lists.iter().map(Vec::len).collect::<Vec<_>>(), [two.len(), three.len()]);
    }

    #[test]
    fn lists_without_a_common_kernel_share_nothing() {
        let mut queue = Queue::default();
        queue.add(None, of("c,c"));
        queue.add(Some("rust"), of("rust,rust"));
        assert_eq!(queue.machines().len(), of("c,c").len() + of("rust,rust").len());
        assert!(queue.machines().iter().any(|vm| vm.name == "chain"));
    }

    #[test]
    fn machines_that_did_not_run_are_left_out() {
        let mut queue = Queue::default();
        queue.add(None, of("c,c"));
        let results: Vec<Option<Ran>> = queue.machines().iter().map(|_| None).collect();
        assert!(queue.sort_out(&results).concat().is_empty());
    }
}
