// SPDX-License-Identifier: MIT OR Apache-2.0

//! The calls of handlers, and their order.

use anyhow::{Context, Result, ensure};

use super::shown::{check_fdinfo, check_hidden, check_shown};
use super::stage::{
    Log, Stage, check_callbacks, create, finish, live_update, not_applicable, retrieve, test_file,
};
use super::{Kernel, Scenario};

pub(super) const ALL: &[Scenario] = &[
    Scenario::across(
        "files_are_preserved_in_order_and_retrieved_on_demand",
        order_before,
        order_after,
    ),
    Scenario::across("debugfs_and_fdinfo_show_every_session", shown_before, shown_after),
    Scenario::across("the_live_update_number_counts", number_before, number_after),
];

fn order_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("in-order")?;
    let mut log = Log::begin()?;
    for number in 1..=3_u32 {
        session.preserve(number.into(), test_file(number.into(), 0)?).context("PRESERVE_FD")?;
    }
    let said = log.callbacks()?;
    let files: Vec<_> = said.iter().filter(|line| line.starts_with("preserve")).collect();
    ensure!(files == ["preserve 1", "preserve 2", "preserve 3"], "{said:?}");
    stage.keep(session);
    Ok(())
}

fn order_after(_: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("in-order")?;
    let mut log = Log::begin()?;
    for number in [2, 3, 1] {
        session.retrieve(number.into()).context("RETRIEVE_FD")?;
    }
    // On demand, and not before.
    check_callbacks(&mut log, &["retrieve 2", "retrieve 3", "retrieve 1"])?;
    finish(session).map(drop)
}

const NOT_SHOWN: &str = "C shows no sessions";

fn shown_before(stage: &mut Stage<'_>) -> Result<()> {
    let session = create("shown")?;
    session.preserve(0x1234.into(), test_file(1, 0)?).context("PRESERVE_FD")?;
    let expected = "session \"shown\" state=outgoing files=1\n  \
                    file token=0x1234 handler=\"luo-test-v1\" state=preserved\n";
    if stage.kernel == Kernel::Rust {
        check_shown("outgoing", expected)?;
        check_fdinfo(&session, expected)?;
    }
    stage.keep(session);
    if stage.kernel == Kernel::C {
        return not_applicable(NOT_SHOWN);
    }
    Ok(())
}

fn shown_after(stage: &mut Stage<'_>) -> Result<()> {
    if stage.kernel == Kernel::Rust {
        check_shown(
            "incoming",
            "session \"shown\" state=waiting files=1\n  \
             file token=0x1234 handler=\"luo-test-v1\" state=pending\n",
        )?;
    }
    let session = retrieve("shown")?;
    session.retrieve(0x1234.into()).context("RETRIEVE_FD")?;
    if stage.kernel == Kernel::Rust {
        let expected = "session \"shown\" state=retrieved files=1\n  \
                        file token=0x1234 handler=\"luo-test-v1\" state=retrieved\n";
        check_shown("incoming", expected)?;
        check_fdinfo(&session, expected)?;
    }
    let finished = finish(session)?;
    if stage.kernel == Kernel::Rust {
        check_hidden("shown")?;
        check_fdinfo(&finished, "session \"shown\" state=idle files=0\n")?;
        return Ok(());
    }
    not_applicable(NOT_SHOWN)
}

fn number_before(_: &mut Stage<'_>) -> Result<()> {
    live_update().check().context("open the device")
}

fn number_after(stage: &mut Stage<'_>) -> Result<()> {
    let said = Log::from_the_beginning()?.lines("liveupdate number: ")?;
    let number = said.last().context("the kernel names no live update number")?;
    let number: usize = number.trim().parse().context("the live update number is none")?;
    ensure!(number == stage.hop - 1, "live update {number} in hop {}", stage.hop);
    Ok(())
}
