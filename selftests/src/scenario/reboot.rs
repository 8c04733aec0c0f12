// SPDX-License-Identifier: MIT OR Apache-2.0

//! `reboot(LINUX_REBOOT_CMD_KEXEC)`: all or nothing.

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;

use super::Scenario;
use super::stage::{
    Log, Stage, check_memfd, create, failure, memfd, number_of, retrieve, test_file,
};
use crate::{abi, test_device};

pub(super) const ALL: &[Scenario] = &[
    Scenario::across("a_freeze_that_fails_can_be_tried_again", freeze_before, freeze_after),
    Scenario::across("commands_after_the_handover_are_ebusy", busy_before, busy_after),
];

fn freeze_before(stage: &mut Stage<'_>) -> Result<()> {
    let (first, second) = (create("refreeze-1")?, create("refreeze-2")?);
    abi::preserve_fd(&first, test_file(1, 0)?, 1).context("PRESERVE_FD")?;
    abi::preserve_fd(&first, test_file(2, 0)?, 2).context("PRESERVE_FD")?;
    abi::preserve_fd(&second, test_file(3, 0)?, 3).context("PRESERVE_FD")?;
    abi::preserve_fd(&second, test_file(4, test_device::FREEZE_FAILS_ONCE)?, 4)
        .context("PRESERVE_FD")?;
    abi::preserve_fd(&second, test_file(5, 0)?, 5).context("PRESERVE_FD")?;

    let mut log = Log::begin()?;
    let error = (stage.leave)()?;
    ensure!(error == failure(), "reboot(2) says {error:?}, not {:?}", failure());
    let said = log.callbacks()?;
    // Files of other scenarios are frozen before these.
    let mine = said.iter().rposition(|line| line == "freeze 1").context("file 1 is not frozen")?;
    let (froze, undone) = said.split_at(mine + 4);
    ensure!(
        froze.ends_with(&["freeze 1", "freeze 2", "freeze 3", "freeze 4 fails"].map(String::from)),
        "{said:?}"
    );
    ensure!(undone.starts_with(&["unfreeze 3".to_owned()]), "{said:?}");
    let frozen = said.iter().filter(|line| line.starts_with("freeze")).count() - 1;
    let unfrozen: Vec<_> = undone.iter().filter(|line| line.starts_with("unfreeze")).collect();
    ensure!(unfrozen.len() == frozen, "{frozen} files frozen, {} unfrozen", unfrozen.len());
    if stage.kernel == super::Kernel::Rust {
        // The last one first, over all sessions. C goes forward within each session.
        let numbers = |lines: &[String], word: &str| -> Vec<String> {
            lines.iter().filter_map(|line| line.strip_prefix(word)).map(str::to_owned).collect()
        };
        let mut order = numbers(froze, "freeze ");
        order.pop();
        order.reverse();
        ensure!(order == numbers(undone, "unfreeze "), "frozen {froze:?}, unfrozen {undone:?}");
    }

    // Everything is usable again.
    abi::preserve_fd(&first, memfd("after the failure")?, 6).context("PRESERVE_FD afterwards")?;
    stage.keep(first);
    stage.keep(second);
    Ok(())
}

fn freeze_after(_: &mut Stage<'_>) -> Result<()> {
    let (first, second) = (retrieve("refreeze-1")?, retrieve("refreeze-2")?);
    for (session, tokens) in [(&first, 1..=2), (&second, 3..=5)] {
        for token in tokens {
            let file = abi::retrieve_fd(session, token).context("RETRIEVE_FD")?;
            let number = number_of(file)?;
            ensure!(u64::try_from(number) == Ok(token), "token {token} is file {number}");
        }
    }
    check_memfd(abi::retrieve_fd(&first, 6).context("RETRIEVE_FD")?, "after the failure")?;
    abi::finish(&first).context("FINISH")?;
    abi::finish(&second).context("FINISH")
}

/// What the memfd holds until somebody sees `EBUSY`, and from then on.
const NOT_SEEN: &str = "not seen";
const SEEN: &str = "EBUSY!!!";

/// A thread asks for a used token until the answer is another. What it sees it writes into a page
/// that is on its way to the next kernel already.
fn busy_before(stage: &mut Stage<'_>) -> Result<()> {
    let (session, file) = (create("busy-late")?, memfd(NOT_SEEN)?);
    abi::preserve_fd(&session, &file, 1).context("PRESERVE_FD")?;
    let asked = session.try_clone().context("dup")?;
    std::thread::spawn(move || {
        loop {
            match abi::preserve_fd(&asked, &file, 1) {
                Err(Errno::EXIST) => std::thread::yield_now(),
                Err(Errno::BUSY) => {
                    let _ = rustix::io::pwrite(&file, SEEN.as_bytes(), 0);
                    return;
                }
                // Nothing else may be said; the next kernel finds what there was.
                _ => return,
            }
        }
    });
    stage.keep(session);
    Ok(())
}

fn busy_after(stage: &mut Stage<'_>) -> Result<()> {
    let session = retrieve("busy-late")?;
    let file = abi::retrieve_fd(&session, 1).context("RETRIEVE_FD")?;
    // C blocks for ever.
    let expected = stage.last.context("no last kernel")?.pick(NOT_SEEN, SEEN);
    check_memfd(&file, expected)?;
    abi::finish(&session).context("FINISH")
}
