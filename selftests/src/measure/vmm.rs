// SPDX-License-Identifier: MIT OR Apache-2.0

//! The cost of a guest of our VMM on its way to the next kernel, by what the VMM says of its steps.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use liblu::{Agent, Event};

use super::{Cost, Measurement, Place};
use crate::agent::next;
use crate::luctl;
use crate::scenario::guest;
use crate::vmm::{Machine, until};

/// From the begin of the update until the agent knows that the guest stands still and is saved.
pub const STOP: &str = "stop and save a guest (n: MiB)";

/// From the session until its files are there and mapped: the kernel's part, above all.
pub const RETRIEVE: &str = "retrieve a guest's files (n: MiB)";

/// From there until KVM has the whole state; a mark and KVM_RUN follow. This is the VMM's part.
pub const RESTORE: &str = "restore a guest (n: MiB)";

/// How long the guest may take for anything: counting is slow.
const PATIENCE: Duration = Duration::from_mins(10);

fn machine(mib: usize) -> Machine {
    Machine {
        name: "measured".into(),
        options: ["--ram".to_owned(), mib.to_string()].into(),
        witness: "witness.memory=4 witness.calm".into(),
    }
}

/// When the VMM was done with a step, in nanoseconds.
fn time(log: &str, step: &str) -> Option<u64> {
    let begin = format!("vmm: {step} at ");
    let time = log.lines().rev().find_map(|line| line.strip_prefix(&begin))?;
    let (seconds, nanos) = time.split_once('.')?;
    let (seconds, nanos): (u64, u64) = (seconds.parse().ok()?, nanos.parse().ok()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

fn between(log: &str, name: &str, mib: usize, from: &str, to: &str) -> Result<Measurement> {
    let ns = time(log, to).zip(time(log, from)).and_then(|(to, from)| to.checked_sub(from));
    let ns = ns.with_context(|| format!("no time from `{from}` to `{to}`: {log}"))?;
    Ok(Measurement { name: name.into(), count: mib, cost: Cost::Ns(ns) })
}

/// Waits until the VMM is done with a step.
fn wait_for(machine: &Machine, step: &str) -> Result<()> {
    until(&machine.name, step, PATIENCE, || time(&machine.log(), step).is_some())
}

/// Starts a guest, and calls an update off once it stands still: the log of this kernel is lost with the next update.
pub(super) fn before(mib: usize, place: &mut Place<'_>) -> Result<Vec<Measurement>> {
    guest::set_up()?;
    let machine = machine(mib);
    let mut running = machine.start(None)?;
    running.wait(|report| report.rounds >= 1)?;
    wait_for(&machine, "preserved")?;
    (place.load)()?;
    let soon = || Instant::now().checked_add(PATIENCE);
    let mut participant = Agent::new().participate(&["refuses"], soon()).context("take part")?;
    let update = thread::spawn(|| luctl::failure("luctl", &["update", "--now"]));
    let Event::Prepare { generation, .. } = next(&mut participant)? else {
        bail!("another event comes before the update");
    };
    wait_for(&machine, "ready")?;
    participant.refuse(generation, "this is a measurement", soon()).context("refuse")?;
    let update = update.join().map_err(|_| anyhow::anyhow!("luctl update has panicked"))?;
    update.context("an update that is refused")?;
    running.works().context("after an update that was refused")?;
    Ok(vec![between(&machine.log(), STOP, mib, "preparing", "ready")?])
}

/// Goes on with the guest.
pub(super) fn after(mib: usize) -> Result<Vec<Measurement>> {
    guest::set_up()?;
    let machine = machine(mib);
    machine.start(None)?.works()?;
    let log = machine.log();
    Ok(vec![
        between(&log, RETRIEVE, mib, "claimed", "retrieved")?,
        between(&log, RESTORE, mib, "retrieved", "restored")?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_the_time_of_its_last_line() {
        let log = "vmm: ready at 1.000000001\nvmm: resumed at 2.5\nvmm: ready at 3.000000007\n";
        assert_eq!(time(log, "ready"), Some(3_000_000_007));
        assert_eq!(time(log, "claimed"), None);
        assert_eq!(time("vmm: ready at ", "ready"), None);
    }
}
