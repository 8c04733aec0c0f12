// SPDX-License-Identifier: MIT OR Apache-2.0

//! Running a virtual machine to its end, or to the first alarm.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::io::{FdFlags, fcntl_setfd};
use selftests::event::Event;
use signal_hook::consts::SIGKILL;

use crate::failure::Interrupted;
use crate::interrupt;
use crate::process::{PERIOD, Running, read_lines};
use crate::toolchain::Root;
use crate::vm::Machine;
use crate::vm::watch::{Port, Record, Watch};

/// How long the log may go on after an alarm, so that the whole report is in it.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Silence after which a log that had an alarm is taken to be over.
const QUIET: Duration = Duration::from_millis(700);

/// How long QEMU may take to end after the guest is done.
const SWITCH_OFF: Duration = Duration::from_secs(20);

/// How long a virtual machine may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Without a word.
    pub(crate) silence: Duration,
    /// In all.
    pub(crate) total: Duration,
}

/// Runs `machine` and returns what it said; `on_line` sees every line of the guest.
pub(crate) fn run(
    machine: &Machine,
    root: &Root,
    cmdline: &str,
    limits: Limits,
    log: &Path,
    mut on_line: impl FnMut(&Record, Port, &str),
) -> Result<Record> {
    let mut log = Log::create(log)?;
    let begin = Instant::now();
    let (mut running, lines) = start(machine, root, cmdline)?;
    let mut watch = Watch::default();
    let mut last_line = begin;
    let mut alarmed: Option<Instant> = None;
    let mut complaints = Vec::new();
    let status = loop {
        if interrupt::came() {
            running.end()?;
            return Err(Interrupted.into());
        }
        match lines.recv_timeout(PERIOD) {
            Ok((port, line)) => {
                last_line = Instant::now();
                let at = begin.elapsed();
                log.line(port, &line, at)?;
                if port == Port::Qemu {
                    complaints.push(line);
                } else {
                    watch.line(port, &line, at);
                    on_line(watch.record(), port, &line);
                }
                // Draining what is there goes before looking at clocks.
                if !watch.is_alarmed() && begin.elapsed() < limits.total {
                    continue;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(PERIOD),
        }
        if let Some(status) = running.try_wait()? {
            break Some(status);
        }
        check_clocks(&mut watch, limits, last_line, begin);
        if watch.is_alarmed() {
            let since = *alarmed.get_or_insert_with(Instant::now);
            if since.elapsed() > LAST_WORDS || last_line.elapsed() > QUIET {
                running.end()?;
                break None;
            }
        }
    };
    // What QEMU wrote before it ended may still be on its way.
    while let Ok((port, line)) = lines.recv_timeout(QUIET) {
        log.line(port, &line, begin.elapsed())?;
        if port == Port::Qemu {
            complaints.push(line);
        } else {
            watch.line(port, &line, begin.elapsed());
            on_line(watch.record(), port, &line);
        }
    }
    if let Some(status) = status.filter(|_| !watch.record().done) {
        watch.raise("QEMU ended", obituary(status, &complaints.join("; ")));
    }
    Ok(watch.finish())
}

/// How QEMU ended, and what may help.
fn obituary(status: ExitStatus, words: &str) -> String {
    // `unshare` passes the signal on, and stumbles over one that cannot be blocked.
    let killed = status.signal() == Some(SIGKILL) || words.contains("sigprocmask unblock failed");
    if killed {
        return "something killed it, perhaps for want of memory".into();
    }
    let advice = match status.code() {
        _ if words.contains("allocate memory") => "; give the guest less with --memory",
        // What `env` says about a program that it cannot run.
        Some(126 | 127) => "; the toolchain root is damaged: `cargo xtask clean --all` removes it",
        _ => "",
    };
    let words = if words.is_empty() { "it said nothing" } else { words };
    format!("{status}; {words}{advice}")
}

fn check_clocks(watch: &mut Watch, limits: Limits, last_line: Instant, begin: Instant) {
    let silent = last_line.elapsed();
    if watch.record().done && silent > SWITCH_OFF {
        watch.raise("hang", "the guest was done but did not switch off".into());
    } else if silent > limits.silence {
        let doing = doing(watch.record());
        watch.raise("silence", format!("not a word for {} s{doing}", silent.as_secs()));
    } else if begin.elapsed() > limits.total {
        let (doing, total) = (doing(watch.record()), limits.total.as_secs());
        let detail = format!(
            "not done after {total} s{doing}; where there is an option --timeout, it gives longer"
        );
        watch.raise("time is up", detail);
    }
}

/// What the guest was doing when it was last heard of.
fn doing(record: &Record) -> String {
    let last = record.hops.iter().rev().find_map(|hop| hop.events.last());
    match last.map(|(event, _)| event) {
        Some(Event::Step { name }) => format!(", in step `{name}`"),
        Some(Event::Reboot) => ", after reboot(KEXEC)".into(),
        _ => String::new(),
    }
}

type Lines = mpsc::Receiver<(Port, String)>;

fn start(machine: &Machine, root: &Root, cmdline: &str) -> Result<(Running, Lines)> {
    let pipe = || std::io::pipe().context("make a pipe");
    let (console, console_end) = pipe()?;
    let (qemu, qemu_end) = pipe()?;
    let (control, control_end) = pipe()?;
    // QEMU opens it by its number.
    fcntl_setfd(&control_end, FdFlags::empty()).context("let QEMU inherit a pipe")?;
    let mut command = machine.command(root, cmdline, control_end.as_fd());
    command.stdin(Stdio::null()).stdout(console_end).stderr(qemu_end);
    let running = Running::start(&mut command).context("start QEMU")?;
    drop((command, control_end));

    let (send, lines) = mpsc::channel();
    let ports: [(Port, OwnedFd); 3] = [
        (Port::Console, console.into()),
        (Port::Control, control.into()),
        (Port::Qemu, qemu.into()),
    ];
    for (port, pipe) in ports {
        let send = send.clone();
        let from = read_lines(pipe);
        thread::spawn(move || from.iter().try_for_each(|line| send.send((port, line))));
    }
    Ok((running, lines))
}

/// The whole log of a machine: every line with its time and its port.
struct Log(BufWriter<File>);

impl Log {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("write {}", path.display()))?;
        Ok(Self(BufWriter::new(file)))
    }

    fn line(&mut self, port: Port, line: &str, at: Duration) -> Result<()> {
        let port = match port {
            Port::Console => '|',
            Port::Control => '#',
            Port::Qemu => '!',
        };
        let written = writeln!(self.0, "{:9.3} {port} {line}", at.as_secs_f64());
        written.and_then(|()| self.0.flush()).context("write the log of the machine")
    }
}
