// SPDX-License-Identifier: MIT OR Apache-2.0

//! What depends on the architecture of guests, in one table.

/// An architecture that kernels are built for and guests run on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arch {
    /// Debian's name, for the toolchain root.
    pub(crate) debian: &'static str,
    /// The compiler's target, for programs of the guest.
    pub(crate) target: &'static str,
    /// The target of make that gives the image.
    pub(crate) make: &'static str,
    /// The image in the output folder of a build.
    pub(crate) image: &'static str,
    /// The assembler file that takes the compressed kernel into the image.
    pub(crate) payload: &'static str,
    /// What a build in the source tree itself leaves there.
    pub(crate) generated: &'static str,
    /// The program that runs guests.
    pub(crate) qemu: &'static str,
    /// The emulated processor of usual kernels, and that of debug kernels.
    pub(crate) processors: [&'static str; 2],
    /// Parameters that kernels need in a machine that is emulated on a busy host.
    pub(crate) emulated: &'static str,
    /// The console on the command line of a kernel: the first serial port.
    pub(crate) console: &'static str,
    /// The second serial port, as a device of the guest.
    pub(crate) control: &'static str,
}

const X86_64: Arch = Arch {
    debian: "amd64",
    target: "x86_64-unknown-linux-gnu",
    make: "bzImage",
    image: "arch/x86/boot/bzImage",
    payload: "arch/x86/boot/compressed/piggy.S",
    generated: "arch/x86/include/generated",
    qemu: "qemu-system-x86_64",
    // KASAN reports a wild access that is none with 5-level paging under TCG.
    processors: ["max", "max,la57=off"],
    // - The watchdog of clocksources waits with interrupts off for an answer of the other processor, and in early
    //   boot its limit of time is in jiffies, which then stand still: if the other one waits in stop_machine(), both
    //   do for ever. Without HPET it has nothing to compare the TSC with until the kernel has a better clock than
    //   jiffies.
    // - The timer of the machine may not tick within the few milliseconds that the kernel gives it while it boots;
    //   it panics then.
    emulated: "hpet=disable no_timer_check",
    console: "console=ttyS0 earlyprintk=ttyS0,115200",
    control: "/dev/ttyS1",
};

/// The architecture of all guests.
pub(crate) const ARCH: Arch = X86_64;
