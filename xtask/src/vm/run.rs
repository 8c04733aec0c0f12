// SPDX-License-Identifier: MIT OR Apache-2.0

//! Running a virtual machine to its end, or to the first alarm.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
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
use crate::vm::monitor::{self, Monitor};
use crate::vm::watch::{IsEvidence, LAST_HOPS, Port, Record, SILENCE, Watch};
use crate::vm::{Machine, kernel_log};

/// How long the log may go on after an alarm, so that the whole report is in it; and how long a guest
/// that was silent may take to say what it does.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Silence after which a log that had an alarm is taken to be over.
const QUIET: Duration = Duration::from_millis(700);

/// How long QEMU may take to end after the guest is done.
const SWITCH_OFF: Duration = Duration::from_secs(20);

/// The alarm about a QEMU that ended before its guest was done.
pub(super) const QEMU_ENDED: &str = "QEMU ended";

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
    is_evidence: IsEvidence,
    on_line: impl FnMut(&Record, Port, &str),
) -> Result<Record> {
    let log = Log::create(log)?;
    let begin = Instant::now();
    let Started { mut running, lines, mut monitor } = start(machine, root, cmdline)?;
    let mut listener =
        Listener { log, watch: Watch::new(is_evidence), complaints: Vec::new(), on_line, begin };
    let mut last_line = begin;
    let mut alarmed: Option<Alarmed> = None;
    let status = loop {
        if interrupt::came() {
            running.end()?;
            return Err(Interrupted.into());
        }
        match lines.recv_timeout(PERIOD) {
            Ok((port, line)) => {
                last_line = Instant::now();
                listener.hear(port, line)?;
                // Draining what is there goes before looking at clocks.
                if !listener.watch.is_alarmed() && begin.elapsed() < limits.total {
                    continue;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(PERIOD),
        }
        if let Some(status) = running.try_wait()? {
            break Some(status);
        }
        let asked = !listener.watch.is_alarmed() && {
            check_clocks(&mut listener.watch, limits, last_line, begin);
            listener.watch.is_alarmed()
        };
        if asked {
            monitor.ask_what_it_does();
        }
        if listener.watch.is_alarmed() {
            let alarmed = alarmed.get_or_insert(Alarmed { since: Instant::now(), asked });
            if alarmed.is_over(last_line) {
                running.end()?;
                break None;
            }
        }
    };
    // Output that QEMU wrote before it ended may still be on its way.
    while let Ok((port, line)) = lines.recv_timeout(QUIET) {
        listener.hear(port, line)?;
    }
    if let Some(status) = status.filter(|_| !listener.watch.record().done) {
        listener.watch.raise(QEMU_ENDED, why_it_ended(status, &listener.complaints.join("; ")));
    }
    Ok(listener.watch.finish())
}

/// A machine that will be given up.
struct Alarmed {
    since: Instant,
    /// Whether it was silent, and has been asked what it does.
    asked: bool,
}

impl Alarmed {
    /// Whether nothing more is to be expected.
    fn is_over(&self, last_line: Instant) -> bool {
        let quiet = !self.asked && last_line.elapsed() > QUIET;
        quiet || self.since.elapsed() > LAST_WORDS
    }
}

/// Takes in what is said.
struct Listener<F> {
    log: Log,
    watch: Watch,
    /// The messages of QEMU.
    complaints: Vec<String>,
    on_line: F,
    begin: Instant,
}

impl<F: FnMut(&Record, Port, &str)> Listener<F> {
    fn hear(&mut self, port: Port, line: String) -> Result<()> {
        let at = self.begin.elapsed();
        match port {
            Port::Monitor => {
                for line in monitor::text(&line) {
                    self.log.line(port, &line, at)?;
                }
            }
            Port::Qemu => {
                self.log.line(port, &line, at)?;
                self.complaints.push(line);
            }
            Port::Console | Port::Control => {
                if port == Port::Console && kernel_log::banner(&line).is_some() {
                    self.log.next_hop()?;
                }
                self.log.line(port, &line, at)?;
                self.watch.line(port, &line, at);
                (self.on_line)(self.watch.record(), port, &line);
            }
        }
        Ok(())
    }
}

/// How QEMU ended, and what may help.
fn why_it_ended(status: ExitStatus, words: &str) -> String {
    // `unshare` passes the signal on, and stumbles over one that cannot be blocked.
    let killed = status.signal() == Some(SIGKILL) || words.contains("sigprocmask unblock failed");
    if killed {
        return "something killed it, perhaps for want of memory".into();
    }
    let advice = match status.code() {
        _ if words.contains("allocate memory") => "; give the guest less with --memory",
        // The message of `env` about a program that it cannot run.
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
        watch.raise(SILENCE, format!("not a word for {} s{doing}", silent.as_secs()));
    } else if begin.elapsed() > limits.total {
        let (doing, total) = (doing(watch.record()), limits.total.as_secs());
        let detail = format!(
            "not done after {total} s{doing}; where there is an option --timeout, it gives longer"
        );
        watch.raise("time is up", detail);
    }
}

/// The work of the guest at its last message.
fn doing(record: &Record) -> String {
    let last = record.hops.iter().rev().find_map(|hop| hop.events.last());
    match last.map(|(event, _)| event) {
        Some(Event::Step { name }) => format!(", in step `{name}`"),
        Some(Event::Reboot) => ", after reboot(KEXEC)".into(),
        _ => String::new(),
    }
}

/// A machine that has been started.
struct Started {
    running: Running,
    lines: mpsc::Receiver<(Port, String)>,
    monitor: Monitor,
}

fn start(machine: &Machine, root: &Root, cmdline: &str) -> Result<Started> {
    let pipe = || std::io::pipe().context("make a pipe");
    let (console, console_end) = pipe()?;
    let (qemu, qemu_end) = pipe()?;
    let (control, control_end) = pipe()?;
    let (monitor, monitor_end) = Monitor::pair()?;
    // QEMU knows them by their numbers.
    for inherited in [control_end.as_fd(), monitor_end.as_fd()] {
        fcntl_setfd(inherited, FdFlags::empty()).context("let QEMU inherit a file")?;
    }
    let mut command = machine.command(root, cmdline, control_end.as_fd(), monitor_end.as_fd());
    command.stdin(Stdio::null()).stdout(console_end).stderr(qemu_end);
    let running = Running::start(&mut command).context("start QEMU")?;
    drop((command, control_end, monitor_end));

    let (send, lines) = mpsc::channel();
    let ports: [(Port, OwnedFd); 4] = [
        (Port::Console, console.into()),
        (Port::Control, control.into()),
        (Port::Qemu, qemu.into()),
        (Port::Monitor, monitor.answers()?),
    ];
    for (port, pipe) in ports {
        let send = send.clone();
        let from = read_lines(pipe);
        thread::spawn(move || from.iter().try_for_each(|line| send.send((port, line))));
    }
    Ok(Started { running, lines, monitor })
}

/// The log of a machine: every line with its time and its port.
///
/// Of a long chain it has the last hops: now and then it becomes the earlier log, in place of the one
/// before, and begins again.
struct Log {
    file: BufWriter<File>,
    path: PathBuf,
    hops: usize,
}

impl Log {
    fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("write {}", path.display()))?;
        Ok(Self { file: BufWriter::new(file), path: path.to_path_buf(), hops: 0 })
    }

    /// The next lines are of another kernel.
    fn next_hop(&mut self) -> Result<()> {
        if self.hops == LAST_HOPS {
            let earlier = self.path.with_extension("earlier.log");
            fs::rename(&self.path, &earlier).context("keep the earlier log of a machine")?;
            *self = Self::create(&self.path)?;
        }
        self.hops += 1;
        Ok(())
    }

    fn line(&mut self, port: Port, line: &str, at: Duration) -> Result<()> {
        let port = match port {
            Port::Console => '|',
            Port::Control => '#',
            Port::Qemu => '!',
            Port::Monitor => '=',
        };
        let written = writeln!(self.file, "{:9.3} {port} {line}", at.as_secs_f64());
        written.and_then(|()| self.file.flush()).context("write the log of the machine")
    }
}
