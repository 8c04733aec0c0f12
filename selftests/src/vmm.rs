// SPDX-License-Identifier: MIT OR Apache-2.0

//! Guests of our VMM, and what they report.

use std::fs::{self, File};
use std::process::{Child, Command, ExitStatus};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::witness::Report;

/// Name of the guest's kernel, in an archive or a folder.
pub const KERNEL: &str = "guest-kernel";
/// Name of its initramfs.
pub const INITRAMFS: &str = "guest-initramfs";
/// Name of the VMM.
pub const PROGRAM: &str = "vmm-kvm";
/// Name of the VMM in C, and of its session.
pub const IN_C: &str = "vmm-c";

/// The command line of the guest, without what the witness is told.
///
/// Its kernel is that of a host. The guest hands nothing over, so it needs no scratch memory, and a boot under two emulators
/// is slow: the names of trace events would be half of its work.
pub const CMDLINE: &str =
    "console=ttyS0 quiet panic=-1 reboot=k kho=off nokaslr initcall_blacklist=trace_eval_init";

/// Options of the VMM for memory of all kinds and a disk.
pub const PARTS: &str = "--ram 96 --ram 64,reserved --ram 32,huge --disk 16";

/// What a witness is told about these: the second region begins behind the first.
pub const WATCH_PARTS: &str =
    "witness.memory=48 witness.reserved=0x6000000:0x4000000 witness.disk=/dev/pmem0";

/// The folder of the files, and of what guests and VMMs say.
pub const FOLDER: &str = "/run/vmm";

/// How long a guest may take to say something: it may be emulated in an emulator, beside other machines.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// A guest, by name.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The label of its session.
    pub name: String,
    /// Options of the VMM.
    pub options: Vec<String>,
    /// What its witness is told.
    pub witness: String,
}

/// A VMM that runs.
#[derive(Debug)]
pub struct Running {
    console: Console,
    child: Child,
}

/// The console of a guest, from a moment on.
#[derive(Debug)]
pub struct Console {
    name: String,
    /// Bytes that were there before.
    seen: u64,
}

impl Console {
    /// The console of the guest `name`, from now on.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let seen = fs::metadata(file(name, "console")).map_or(0, |it| it.len());
        Self { name: name.to_owned(), seen }
    }

    /// The last report since then.
    fn report(&self) -> Result<Option<Report>> {
        let console = fs::read(file(&self.name, "console")).unwrap_or_default();
        // A VMM may begin its file anew.
        let from = usize::try_from(self.seen)?;
        let from = if from > console.len() { 0 } else { from };
        let text = String::from_utf8_lossy(console.get(from..).unwrap_or_default()).into_owned();
        // The last line may not be complete.
        let text = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        if let Some(line) = text.lines().find(|line| line.contains("COMPLAINT")) {
            bail!("{}: {line}", self.name);
        }
        Ok(text.lines().rev().find_map(Report::parse))
    }

    /// Waits for a report that is `good`; the guest must have nothing to complain about. `look` says whether there
    /// is any hope.
    ///
    /// # Errors
    ///
    /// If there is none within [`PATIENCE`].
    pub fn wait(
        &self,
        good: impl Fn(&Report) -> bool,
        mut look: impl FnMut() -> Result<()>,
    ) -> Result<Report> {
        let end = Instant::now() + PATIENCE;
        loop {
            let report = self.report()?;
            if let Some(report) = report.as_ref().filter(|report| good(report)) {
                ensure!(report.complaints == 0, "{}: {}", self.name, report.first_complaint);
                return Ok(report.clone());
            }
            look().with_context(|| format!("{} says {report:?}", self.name))?;
            ensure!(
                Instant::now() < end,
                "{} says {report:?}\nits VMM: {}\nits console: {}",
                self.name,
                tail(&self.name, "log"),
                tail(&self.name, "console")
            );
            sleep(Duration::from_millis(20));
        }
    }
}

/// A file of the guest `name`: its `console`, or the `log` of its VMM.
#[must_use]
pub fn file(name: &str, of: &str) -> String {
    format!("{FOLDER}/{name}.{of}")
}

/// Opens a file of the guest `name`, to write at its end.
///
/// # Errors
///
/// If it cannot be opened.
pub fn append(name: &str, of: &str) -> Result<File> {
    let path = file(name, of);
    File::options().create(true).append(true).open(&path).with_context(|| path)
}

/// The last lines of a file.
#[must_use]
pub fn tail(name: &str, of: &str) -> String {
    let text = fs::read(file(name, of)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Waits until something is there, for so long at most.
///
/// # Errors
///
/// If it is not; the error has the log and the console of the guest `name`.
pub fn until(name: &str, what: &str, patience: Duration, is: impl Fn() -> bool) -> Result<()> {
    let end = Instant::now() + patience;
    while !is() {
        let said = || format!("{}\n{}", tail(name, "log"), tail(name, "console"));
        ensure!(Instant::now() < end, "{name}: {what} does not come: {}", said());
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Starts a VMM on the second processor of its host alone.
///
/// Under TCG, QEMU 10.0 loses changes of flags of the first processor (`hflags2`), nested paging among them: any processor
/// that restores its floating point state clears another one of these flags (`cpu_clear_ignne()`), from its own thread and
/// without a lock. If the first processor leaves a guest at that moment, it leaves it a second time, and the guest goes on
/// at an address of the host's kernel. The second processor has no such flags.
///
/// # Errors
///
/// If it cannot be started.
pub fn spawn(command: &mut Command) -> Result<Child> {
    let before = sched_getaffinity(None).context("look at the processors")?;
    let mut second = CpuSet::new();
    second.set(1);
    // Children are born where this thread is.
    if before.is_set(1) {
        sched_setaffinity(None, &second).context("go to the second processor")?;
    }
    let child = command.spawn();
    sched_setaffinity(None, &before).context("go to all processors")?;
    Ok(child?)
}

impl Machine {
    /// Starts the VMM. It crashes at a step, if there is a `crash`.
    ///
    /// # Errors
    ///
    /// If it cannot be started.
    pub fn start(&self, crash: Option<&str>) -> Result<Running> {
        let console = append(&self.name, "console")?;
        let from = Console::of(&self.name);
        let mut command = Command::new(format!("{FOLDER}/{PROGRAM}"));
        command.arg(&self.name);
        command.args(["--kernel", &format!("{FOLDER}/{KERNEL}")]);
        command.args(["--initrd", &format!("{FOLDER}/{INITRAMFS}")]);
        command.args(["--cmdline", &format!("{CMDLINE} {}", self.witness)]).args(&self.options);
        command.stdout(console).stderr(append(&self.name, "log")?);
        match crash {
            Some(step) => command.env("VMM_CRASH", step),
            None => command.env_remove("VMM_CRASH"),
        };
        let child = spawn(&mut command).context("start the VMM")?;
        Ok(Running { console: from, child })
    }

    /// What the VMM has said so far, in this hop.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(file(&self.name, "log")).unwrap_or_default()
    }
}

impl Running {
    /// Waits for a report that is `good`; the guest must have nothing to complain about.
    ///
    /// # Errors
    ///
    /// If there is none within [`PATIENCE`], or the VMM ends.
    pub fn wait(&mut self, good: impl Fn(&Report) -> bool) -> Result<Report> {
        let (child, name) = (&mut self.child, &self.console.name);
        self.console.wait(good, || match child.try_wait().context("look at the VMM")? {
            None => Ok(()),
            Some(status) => bail!(
                "the VMM ended with {status}: {}\nits guest: {}",
                tail(name, "log"),
                tail(name, "console")
            ),
        })
    }

    /// Waits until the guest has gone through its memory once more.
    ///
    /// # Errors
    ///
    /// Those of [`Running::wait`].
    pub fn works(&mut self) -> Result<()> {
        let first = self.wait(|_| true)?;
        self.wait(|report| report.rounds > first.rounds).map(drop)
    }

    /// Waits until the VMM ends.
    ///
    /// # Errors
    ///
    /// If it does not within [`PATIENCE`].
    pub fn end(mut self) -> Result<ExitStatus> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().context("look at the VMM")? {
                return Ok(status);
            }
            ensure!(Instant::now() < end, "the VMM of {} does not end", self.console.name);
            sleep(Duration::from_millis(20));
        }
    }

    /// Kills the VMM.
    ///
    /// # Errors
    ///
    /// If it has ended by itself.
    pub fn kill(mut self) -> Result<()> {
        let ended = self.child.try_wait().context("look at the VMM")?;
        ensure!(ended.is_none(), "the VMM of {} has ended by itself: {ended:?}", self.console.name);
        self.child.kill().context("kill the VMM")?;
        self.child.wait().map(drop).context("wait for the VMM")
    }
}
