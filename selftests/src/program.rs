// SPDX-License-Identifier: MIT OR Apache-2.0

//! Running a test program: its output becomes KTAP of the next level, its exit code the verdict.

use std::io::{BufRead, BufReader, PipeReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::control::Control;
use crate::position::Verdict;

/// The exit code of kselftest programs that skip.
const KSFT_SKIP: i32 = 4;

/// How long output may still come after the program has ended, from children that it left behind.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Runs `argv` for `limit_ms` at the most.
///
/// # Errors
///
/// If it cannot be started, does not end in time, or does not exit with 0.
pub fn run(control: &Control, argv: &[String], limit_ms: u64) -> Verdict {
    let (program, arguments) = argv.split_first().context("the plan names no program")?;
    let (reader, writer) = std::io::pipe().context("make a pipe")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("make a pipe")?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let ended = forward(control.clone(), reader);

    let in_time = wait(child.id(), limit_ms)?;
    if !in_time {
        child.kill().with_context(|| format!("end {program}"))?;
    }
    let status = child.wait().with_context(|| format!("wait for {program}"))?;
    let _ = ended.recv_timeout(LAST_WORDS);
    if !in_time {
        bail!("still running after {limit_ms} ms");
    }
    match status.code() {
        Some(0) => Ok(()),
        Some(KSFT_SKIP) => bail!("skipped itself (exit code {KSFT_SKIP}): see its output"),
        _ => bail!("{status}"),
    }
}

/// Passes the program's lines on; the channel closes with the last of them.
fn forward(control: Control, from: PipeReader) -> mpsc::Receiver<()> {
    let (ended, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let _ended = ended;
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line);
            control.line(&format!("  {}", line.trim_end_matches('\r')));
        }
    });
    receiver
}

/// Waits for a process to end; `false` if it has not when the time is up.
fn wait(pid: u32, limit_ms: u64) -> Result<bool> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a PID out of range")?;
    let process = pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open")?;
    let limit = Timespec::try_from(Duration::from_millis(limit_ms)).context("limit")?;
    let mut events = [PollFd::new(&process, PollFlags::IN)];
    Ok(poll(&mut events, Some(&limit)).context("poll")? > 0)
}
