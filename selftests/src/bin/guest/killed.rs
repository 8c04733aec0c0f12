// SPDX-License-Identifier: MIT OR Apache-2.0

//! luod may be killed: the service manager starts it again, and it has all that it had.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use selftests::luctl::{output, sessions};

/// Kills luod without a warning: before anybody has claimed anything, and while sessions are open.
pub(crate) fn check() -> Result<()> {
    let before = (sessions("incoming")?, sessions("outgoing")?);
    kill()?;
    let after = (sessions("incoming")?, sessions("outgoing")?);
    ensure!(before == after, "sessions were {before:#?}, and are {after:#?}");
    Ok(())
}

/// Kills luod, and waits until it was started again.
pub(crate) fn kill() -> Result<()> {
    let pid = main_pid()?;
    output("systemctl", &["kill", "--signal=KILL", "luod.service"])?;
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let now = main_pid()?;
        if now != pid && now != "0" {
            return Ok(());
        }
        ensure!(Instant::now() < end, "luod was not started again");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn main_pid() -> Result<String> {
    let pid = output("systemctl", &["show", "--value", "--property=MainPID", "luod.service"])?;
    Ok(pid.trim().to_owned())
}
