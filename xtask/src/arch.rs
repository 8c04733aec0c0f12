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
    /// The program that runs guests.
    pub(crate) qemu: &'static str,
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
    qemu: "qemu-system-x86_64",
    console: "console=ttyS0 earlyprintk=ttyS0,115200",
    control: "/dev/ttyS1",
};

/// The architecture of all guests.
pub(crate) const ARCH: Arch = X86_64;
