// SPDX-License-Identifier: MIT OR Apache-2.0

//! luod without a service manager. These are played on a machine of their own, whose kernels luod leaves itself.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{Scenario, Stage, guest};
use crate::agent::Luod;
use crate::guests::{LABELS, make_results, result};
use crate::luctl::sessions;

/// A scenario on a machine of its own, whose kernels luod leaves.
#[derive(Debug, PartialEq, Eq)]
pub struct Alone {
    /// The name of the machine.
    pub machine: &'static str,
    /// The scenario.
    pub scenario: Scenario,
    /// Whether it has virtual machines.
    pub has_guests: bool,
}

/// All of them.
pub const ALONE: &[Alone] = &[
    Alone {
        machine: "luod",
        scenario: Scenario::across("luod_needs_no_service_manager", begin, take_over),
        has_guests: false,
    },
    Alone { machine: "vmm", scenario: guest::SURVIVES, has_guests: true },
    Alone { machine: "vmm-in-c", scenario: guest::IN_C_SURVIVES, has_guests: true },
    Alone { machine: "ten", scenario: guest::TEN, has_guests: true },
    Alone { machine: "bad-days", scenario: guest::BAD_DAYS, has_guests: true },
];

/// Three owners, two of them without rights, whom the policy lets take part.
const OWNERS: [(&str, u32); 3] = [("one", 1000), ("root", 0), ("two", 1001)];

const POLICY: &str = "\
[[rule]]
user = 1000
participate = true

[[rule]]
user = 1001
participate = true
";

/// The hop before which luod is killed, and started again.
const KILLED: usize = 2;

/// In the first hop the programs start; in the others they have taken their sessions over.
fn begin(stage: &mut Stage<'_>) -> Result<()> {
    if stage.hop == 1 {
        Luod::start(POLICY)?;
        start_guests(stage.hop, 0)?;
        expect("outgoing", "open")?;
    }
    Ok(())
}

fn take_over(stage: &mut Stage<'_>) -> Result<()> {
    let luod = Luod::start(POLICY)?;
    // One that was killed knows of no session that was open then; the kernel does.
    if stage.hop - 1 != KILLED {
        expect("incoming", "waiting")?;
    }
    start_guests(stage.hop, LABELS.len())?;
    expect("outgoing", "open")?;
    let left = sessions("incoming")?;
    ensure!(left.is_empty(), "these sessions were not restored: {left:#?}");
    if stage.hop == KILLED {
        luod.kill()?;
        Luod::start(POLICY)?;
    }
    Ok(())
}

/// Starts the programs, which find so many sessions.
fn start_guests(hop: usize, restored: usize) -> Result<()> {
    make_results()?;
    for (name, user) in OWNERS {
        let mut guest = Command::new("/bin/guest");
        guest.args(["vm", name]).uid(user).gid(user);
        guest.spawn().with_context(|| format!("start the guest {name}"))?;
    }
    for (name, _) in OWNERS {
        let said = result(name)?;
        let wanted = format!("{restored} sessions restored in hop {hop}");
        ensure!(said == wanted, "{name} says `{said}`, not `{wanted}`");
    }
    Ok(())
}

/// The sessions in this direction, as `luctl list` shows them.
fn expect(direction: &str, state: &str) -> Result<()> {
    let of = |(_, user): (&str, u32)| LABELS.map(|label| format!("user:{user} {label} {state}"));
    let mut expected: Vec<_> = OWNERS.into_iter().flat_map(of).collect();
    let mut there = sessions(direction)?;
    expected.sort();
    there.sort();
    ensure!(there == expected, "these sessions are {direction}: {there:#?}");
    Ok(())
}
