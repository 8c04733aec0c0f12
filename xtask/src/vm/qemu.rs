// SPDX-License-Identifier: MIT OR Apache-2.0

//! The virtual machine as a QEMU command line.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::process::Command;

use selftests::plan::{CONTROL_PARAMETER, SCRATCH_SERIAL};

use crate::arch::ARCH;
use crate::guest::Scratch;
use crate::kernel::Profile;
use crate::toolchain::Root;
use crate::vm::Accel;

/// A virtual machine to be started.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// How it is executed.
    pub(crate) accel: Accel,
    /// Which kind of kernel it runs.
    pub(crate) profile: Profile,
    /// Memory, in MiB.
    pub(crate) memory: u32,
    /// Processors.
    pub(crate) cpus: u32,
    /// The kind of its clock.
    pub(crate) clock: Clock,
    /// Folder with the kernel of the first hop, initramfs and payload, by these names.
    pub(crate) folder: PathBuf,
    /// Disks behind the payload, in the order of the guest.
    pub(crate) disks: Vec<PathBuf>,
    /// A disk behind those.
    pub(crate) scratch: Option<Scratch>,
}

/// The kind of the clock of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Time.
    Time,
    /// Instructions, as nanoseconds: the same in every run, for any load of the host. It takes
    /// TCG and one processor.
    Instructions,
}

/// Files in the folder of a machine.
pub(crate) const KERNEL: &str = "kernel";
pub(crate) const INITRAMFS: &str = "initramfs.cpio";
pub(crate) const PAYLOAD: &str = "payload.img";
pub(crate) const SCRATCH: &str = "scratch.img";

impl Profile {
    /// Command line of the kernels of this profile.
    pub(crate) fn cmdline(self) -> String {
        let common = [
            &format!("{} {CONTROL_PARAMETER}={}", ARCH.console, ARCH.control),
            "printk.devkmsg=on liveupdate=on panic=-1",
            // An NMI is sent to a guest that has fallen silent: it shows what each processor does.
            "unknown_nmi_panic panic_sys_info=all_bt",
            ARCH.emulated,
            // Scenarios read the whole log, also in debug. More would cost much: for each MiB, KHO makes
            // its scratch areas 40 MiB larger.
            "log_buf_len=512K",
        ]
        .join(" ");
        match self {
            Self::Release => common,
            // KASAN starves the default scratch areas: KHO would switch itself off. kmemleak takes minutes in
            // memory that still has all the pointers of the previous kernel.
            Self::Debug => {
                format!("{common} kho_scratch=16M,512M,64M kmemleak=on init_on_alloc=1")
            }
        }
    }

    fn cpu(self, accel: Accel) -> &'static str {
        let [usual, debug] = ARCH.processors;
        match (self, accel) {
            (_, Accel::Kvm) => "host",
            (Self::Release, Accel::Tcg) => usual,
            (Self::Debug, Accel::Tcg) => debug,
        }
    }
}

impl Machine {
    /// The command that runs it: the kernel's log on standard output, KTAP on `control`, QMP on
    /// `monitor`.
    ///
    /// Both must be inheritable.
    pub(crate) fn command(
        &self,
        root: &Root,
        cmdline: &str,
        control: BorrowedFd<'_>,
        monitor: BorrowedFd<'_>,
    ) -> Command {
        let mut command = root.command(ARCH.qemu, &self.folder, &[]);
        let file = |name: &str| self.folder.join(name);
        command.args(["-accel", self.accel.name(), "-cpu", self.profile.cpu(self.accel)]);
        command.args(["-smp", &self.cpus.to_string(), "-m", &format!("{}M", self.memory)]);
        if self.profile == Profile::Debug {
            self.add_nodes(&mut command);
        }
        if self.clock == Clock::Instructions {
            command.args(["-icount", "shift=0,sleep=off"]);
        }
        // The end of the last hop is a reset; so is a panic.
        command.args(["-no-reboot", "-nodefaults", "-display", "none"]);
        command.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"]);
        let control = format!("file,id=control,path=/dev/fd/{}", control.as_raw_fd());
        command.args(["-chardev", &control, "-serial", "chardev:control"]);
        let monitor = format!("socket,id=monitor,fd={}", monitor.as_raw_fd());
        command.args(["-chardev", &monitor, "-mon", "chardev=monitor,mode=control"]);
        command.arg("-kernel").arg(file(KERNEL)).arg("-initrd").arg(file(INITRAMFS));
        command.args(["-append", cmdline]);
        if let Some(scratch) = self.scratch {
            let speed = scratch.speed.map(|it| format!("throttling.bps-write={it},"));
            let (speed, file) = (speed.unwrap_or_default(), escape(&file(SCRATCH)));
            let drive = format!("if=none,id=scratch,format=raw,{speed}file={file}");
            command.args(["-drive", &drive]);
        }
        for (number, disk) in [file(PAYLOAD)].iter().chain(&self.disks).enumerate() {
            let (name, file) = (format!("disk{number}"), escape(disk));
            let drive = format!("if=none,id={name},format=raw,readonly=on,file={file}");
            command.args(["-drive", &drive, "-device", &format!("virtio-blk-pci,drive={name}")]);
        }
        if self.scratch.is_some() {
            let device = format!("virtio-blk-pci,drive=scratch,serial={SCRATCH_SERIAL}");
            command.args(["-device", &device]);
        }
        command
    }

    /// Gives it two nodes of memory, as hosts with two sockets have; the processors are in the first one.
    ///
    /// The border is one of memory blocks. Linux 7.3 warns after a kexec with KHO if two nodes share a pageblock, as
    /// those of `numa=fake=` may; no firmware makes such nodes.
    fn add_nodes(&self, command: &mut Command) {
        const BLOCK: u32 = 128;
        let first = self.memory / 2 / BLOCK * BLOCK;
        let cpus = format!(",cpus=0-{}", self.cpus.saturating_sub(1));
        for (node, mib, cpus) in [(0, first, &*cpus), (1, self.memory - first, "")] {
            let memory = format!("memory-backend-ram,id=memory{node},size={mib}M");
            let node = format!("node,nodeid={node},memdev=memory{node}{cpus}");
            command.args(["-object", &memory, "-numa", &node]);
        }
    }
}

/// A path as an option of QEMU, where a comma ends a value.
fn escape(path: &std::path::Path) -> String {
    path.display().to_string().replace(',', ",,")
}
