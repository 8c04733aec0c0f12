// SPDX-License-Identifier: MIT OR Apache-2.0

//! Playing a part of a scenario, in a thread that may hang or panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use selftests::scenario::{self, Kernels, Side, Stage};

use crate::system::Guest;
use selftests::position::Verdict;

/// Plays the part of scenario `name` on `side`, for `limit_ms` at the most.
pub(crate) fn run(guest: &mut Guest, name: &str, side: Side, limit_ms: u64) -> Verdict {
    let scenario = scenario::find(name).with_context(|| format!("there is no scenario {name}"))?;
    let part = scenario.part(side).with_context(|| format!("{name} has no part {side:?}"))?;
    let kernel = |number: usize| {
        guest.position.plan.hop(number).and_then(|hop| Kernels::from_label(&hop.label))
    };
    let (hop, hops) = (guest.position.number, guest.position.plan.count());
    let this = kernel(hop).context("the plan does not say which kernel this is")?;
    let last = kernel(hop - 1);
    let is_debug = guest.position.hop()?.is_debug;
    let next = guest.position.next().cloned();

    let (done, verdict) = mpsc::channel();
    thread::spawn(move || {
        let (mut kept, mut leaving) = (Vec::new(), Vec::new());
        let load = || {
            let next = next.as_ref().context("this is the last kernel")?;
            selftests::position::load(next, hop + 1)
        };
        let mut stage = Stage {
            hop,
            hops,
            kernel: this.luo,
            memfd: this.memfd,
            last: last.map(|last| last.luo),
            last_memfd: last.map(|last| last.memfd),
            is_debug,
            kept: &mut kept,
            leaving: &mut leaving,
            load: &load,
        };
        let played = catch_unwind(AssertUnwindSafe(|| part(&mut stage)));
        let played = played
            .unwrap_or_else(|panic| Err(anyhow!("panicked: {}", scenario::panic_text(&*panic))));
        // When the time is up, the receiver is gone.
        let _ = done.send((played, kept, leaving));
    });
    match verdict.recv_timeout(Duration::from_millis(limit_ms)) {
        Ok((played, kept, leaving)) => {
            guest.kept.extend(kept);
            guest.leaving.extend(leaving);
            played
        }
        Err(_) => bail!("took more than {limit_ms} ms"),
    }
}
