// SPDX-License-Identifier: MIT OR Apache-2.0

//! Ten guests, of which one refuses an update.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use liblu::{Agent, Event};

use super::{needs_kvm, set_up};
use crate::luctl::{self, failure, sessions};
use crate::position::{self, Position};
use crate::scenario::{Scenario, Stage};
use crate::vmm::{Machine, Running, until};

pub(in crate::scenario) const TEN: Scenario =
    Scenario::across("one_guest_of_ten_refuses_and_all_of_them_run_on", before, after);

/// The guests; the tenth is a client that does nothing but refuse.
const GUESTS: usize = 9;

/// What a VMM says when its guest stands still, and the agent knows it.
const READY: &str = "vmm: ready";

const REASON: &str = "a device of this guest cannot be saved";

fn machine(number: usize) -> Machine {
    Machine {
        name: format!("guest-{number}"),
        options: ["--ram", "48"].map(str::to_owned).into(),
        witness: "witness.memory=2 witness.calm".into(),
    }
}

/// Starts all guests, one after the other, and waits until they work.
fn start() -> Result<Vec<Running>> {
    (0..GUESTS)
        .map(|number| {
            let mut guest = machine(number).start(None)?;
            let report = guest.wait(|report| report.rounds >= 1)?;
            eprintln!("guest {number}: {report:?}");
            Ok(guest)
        })
        .collect()
}

fn before(stage: &mut Stage<'_>) -> Result<()> {
    needs_kvm()?;
    if stage.hop > 1 {
        return Ok(());
    }
    set_up()?;
    let mut guests = start()?;
    let position = Position::find()?;
    luctl::load(position.next().context("the next hop")?, position.number + 1)?;
    let refusing = refuse()?;
    let (said, code) = failure("luctl", &["update"])?;
    ensure!(code == 5 && said.contains(REASON), "one of ten refuses: {code}: {said}");
    refusing.join().map_err(|_| anyhow::anyhow!("the client that refuses has panicked"))??;
    guests
        .iter_mut()
        .try_for_each(Running::works)
        .context("after an update that one of ten has refused")?;
    for number in 0..GUESTS {
        let guest = machine(number);
        // One that heard of the update late may be about to hear of its end.
        until(&guest.name, "the end of its stop", Duration::from_mins(1), || {
            let log = guest.log();
            !log.contains(READY) || log.contains("vmm: resumed")
        })?;
        let log = guest.log();
        ensure!(!log.contains("claimed"), "guest {number} came back in its own kernel: {log}");
    }
    luctl::output("luctl", &["unload"])?;
    position::remove_unpacked();
    Ok(())
}

/// A client that refuses the next update, in a thread.
fn refuse() -> Result<thread::JoinHandle<Result<()>>> {
    let soon = || Instant::now().checked_add(Duration::from_mins(1));
    let mut participant =
        Agent::new().participate(&["guest-9"], soon()).context("take part as the tenth")?;
    let refuse = move || -> Result<()> {
        let end = Instant::now() + Duration::from_mins(2);
        while Instant::now() < end {
            if let Some(Event::Prepare { generation, .. }) = participant.next()? {
                // Others stand still by then.
                while !(0..GUESTS).any(|number| machine(number).log().contains(READY)) {
                    ensure!(Instant::now() < end, "no guest is ready");
                    thread::sleep(Duration::from_millis(5));
                }
                return Ok(participant.refuse(generation, REASON, soon())?);
            }
            thread::sleep(Duration::from_millis(5));
        }
        anyhow::bail!("no update begins")
    };
    Ok(thread::spawn(refuse))
}

fn after(_: &mut Stage<'_>) -> Result<()> {
    needs_kvm()?;
    set_up()?;
    start()?.iter_mut().try_for_each(Running::works)?;
    for number in 0..GUESTS {
        let log = machine(number).log();
        ensure!(log.contains("vmm: restored"), "guest {number} was started anew: {log}");
    }
    let left = sessions("incoming")?;
    ensure!(left.is_empty(), "these sessions are left: {left:#?}");
    Ok(())
}
