// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where virtual machines are run.

mod side_by_side;

use side_by_side::processors;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cache::{Place, remove, write_by_rename};
use crate::kernel::{Implementation, Profile, path};
use crate::outcome::Outcome;
use crate::prepare::Prepared;
use crate::progress::{self, Progress};
use crate::suite::{self, Platform, Vm, kernel_name};
use crate::task::vm_test::MachineOptions;
use crate::vm::{self, Accel, Answer, Clock, Defect, Limits, Machine, Port};
use crate::{guest, judge};

/// Where virtual machines are run: files in place, accelerator chosen.
pub(crate) struct Runner<'a> {
    prepared: &'a Prepared,
    profile: Profile,
    machine: MachineOptions,
    folder: &'a Path,
    pub(crate) accel: Accel,
    clock: Clock,
    keep: bool,
    verbose: bool,
}

impl<'a> Runner<'a> {
    /// Keeps the files of machines, shows what they say.
    pub(crate) fn showing(self, keep: bool, verbose: bool) -> Self {
        Self { keep, verbose, ..self }
    }

    /// Machines count instructions.
    pub(crate) fn counting(self) -> Self {
        let machine = MachineOptions { cpus: 1, ..self.machine };
        Self { clock: Clock::Instructions, accel: Accel::Tcg, machine, ..self }
    }

    /// Chooses the accelerator.
    pub(crate) fn new(
        prepared: &'a Prepared,
        profile: Profile,
        machine: MachineOptions,
        folder: &'a Path,
    ) -> Result<Self> {
        let (accel, clock, keep, verbose) = (Accel::Tcg, Clock::Time, false, false);
        let mut runner = Self { prepared, profile, machine, folder, accel, clock, keep, verbose };
        let setup = &prepared.setup;
        runner.accel = vm::decide(runner.machine.accel, &setup.cache, &setup.root, || {
            runner.boots_with_kvm()
        })?;
        Ok(runner)
    }

    /// An outcome of which nothing is known but where it comes from.
    pub(crate) fn outcome(&self) -> Outcome {
        Outcome {
            profile: self.profile.to_string(),
            accel: self.accel.name().into(),
            linux: self.prepared.setup.source.version.clone(),
            ..Outcome::default()
        }
    }

    fn platform(&self) -> Platform {
        Platform { guest: self.prepared.guest, profile: self.profile }
    }

    /// Memory of a guest, in MiB.
    fn memory(&self) -> u32 {
        self.machine.memory.unwrap_or_else(|| self.prepared.guest.memory(self.profile))
    }

    /// A place for one more machine, among those of all runs on this host: guests that get too little of the
    /// processors take that for a defect.
    fn place(&self) -> Result<Place> {
        Place::take(&self.prepared.setup.cache.folder().join("machines"), processors())
    }

    /// Runs one virtual machine.
    pub(crate) fn run(&self, vm: Vm, limits: Limits) -> Result<judge::Ran> {
        let labels: Vec<&str> = vm.plan.hops().map(|hop| hop.label.as_str()).collect();
        let accel = self.accel.name();
        let (guest, profile) = (self.prepared.guest.name(), self.profile);
        let name = format!("boot {} ({guest}, {profile}, {accel}), {}", path(&labels), vm.name);
        let _place = self.place()?;
        let mut step = Progress::begin(&self.prepared.setup.cache, name);
        let verbose = self.verbose;
        let log = judge::log_path(self.folder, &vm);
        let first = vm.first;
        let mut on_line = |record: &vm::Record, port, line: &str| {
            if verbose {
                let mark = if port == Port::Console { '|' } else { '#' };
                progress::say(&format!("{mark} {line}"));
            }
            let hop = first + record.hops.len().saturating_sub(1);
            let doing = record.hops.last().and_then(|hop| hop.steps.last());
            let doing = doing.map_or("boot", |step| step.name.as_str());
            step.now(&format!("hop {hop}: {doing}"));
        };
        let record = self.execute(&vm, limits, &log, &mut on_line)?;
        let mut ran = judge::Ran { vm, record, log, retry: None };
        // Once: what comes again is no chance. A machine that has shown a failure of its own keeps it.
        let defect = Defect::of(&ran.record, self.accel).filter(|_| judge::has_only_ended(&ran));
        if let Some(defect) = defect {
            let (vm, log) = (&ran.vm, &ran.log);
            let kept = log.with_extension("qemu-defect.log");
            std::fs::rename(log, &kept).with_context(|| format!("rename {}", log.display()))?;
            let retry = defect.retry(&vm.name, kept);
            progress::say(&format!("note: {retry}"));
            ran.record = self.execute(vm, limits, log, &mut on_line)?;
            ran.retry = Some(retry);
        }
        match &ran.record.alarm {
            None => step.done(),
            Some(alarm) => {
                drop(step);
                let (name, hop) = (&ran.vm.name, alarm.hop);
                let what = format!("stop {} in hop {hop} of {name}: {}", alarm.kind, alarm.detail);
                progress::say(&what);
            }
        }
        Ok(ran)
    }

    fn execute(
        &self,
        vm: &Vm,
        limits: Limits,
        log: &Path,
        on_line: impl FnMut(&vm::Record, Port, &str),
    ) -> Result<vm::Record> {
        let folder = self.folder.join(format!("{}.vm", vm.name));
        // QEMU works in the toolchain root, and sees this folder there.
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let first = vm.plan.hop(1).context("a plan without hops")?;
        self.write_files(vm, &first.kernel, &folder)?;
        // Where instructions are counted, a disk that is slow in time makes no sense.
        let scratch = self.prepared.guest.scratch();
        let scratch = scratch.filter(|it| self.clock == Clock::Time || it.speed.is_none());
        if let Some(scratch) = scratch {
            let disk = std::fs::File::create(folder.join(vm::SCRATCH)).context("make a disk")?;
            disk.set_len(scratch.bytes).context("make a disk")?;
        }
        let machine = Machine {
            accel: self.accel,
            profile: self.profile,
            memory: self.memory(),
            cpus: self.machine.cpus,
            clock: self.clock,
            folder: folder.clone(),
            disks: self.prepared.files.disks(),
            scratch,
        };
        let cmdline = format!("{} {}=1", first.cmdline, selftests::plan::HOP_PARAMETER);
        let root = &self.prepared.setup.root;
        let record = vm::run(&machine, root, &cmdline, limits, log, judge::is_evidence, on_line);
        if self.keep {
            progress::say(&format!("kept: {}", folder.display()));
        } else {
            remove(&folder)?;
        }
        record
    }

    fn write_files(&self, vm: &Vm, first: &str, folder: &Path) -> Result<()> {
        let file = |name: &str| folder.join(name);
        let images = &self.prepared.images;
        self.prepared.files.write_initramfs(&file(vm::INITRAMFS), images)?;
        let kernels = images.iter();
        let kernels: Vec<_> =
            kernels.map(|(kind, image)| (kernel_name(*kind), image.clone())).collect();
        let image = kernels.iter().find(|(name, _)| name == first).context("no such kernel")?;
        let bytes = std::fs::read(image.1.path())
            .with_context(|| format!("read {}", image.1.path().display()))?;
        write_by_rename(&file(vm::KERNEL), &bytes)?;
        guest::write_payload(&file(vm::PAYLOAD), &vm.plan, &file(vm::INITRAMFS), &kernels)
    }

    /// Tries a plan of one hop and no tests, until PID 1 speaks.
    fn boots_with_kvm(&self) -> Result<Answer> {
        let kernel = self.prepared.images.keys().next().context("no kernel")?;
        let vm = suite::probe(*kernel, self.platform());
        let limits = Limits { silence: Duration::from_secs(15), total: Duration::from_secs(30) };
        let log = judge::log_path(self.folder, &vm);
        let usual = Self { accel: Accel::Kvm, machine: MachineOptions::usual(), ..*self };
        let record = usual.execute(&vm, limits, &log, |_, _, _| {})?;
        if record.hops.first().and_then(vm::HopRecord::init).is_some() {
            return Ok(Answer::Boots);
        }
        // It may be the kernel's fault, or that of a machine short of memory: then ask again.
        let is_stock = *kernel == Implementation::C
            && self.profile == Profile::Release
            && !self.prepared.setup.source.is_given;
        let starved = record.alarm.is_some_and(|alarm| alarm.detail.contains("memory"));
        Ok(if is_stock && !starved { Answer::BootsNot } else { Answer::Unknown })
    }
}
