// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commands as a 32-bit program sends them: by `int $0x80`, which is open to 64-bit programs too.
//!
//! The kernel takes the same way as for a 32-bit program, so no second toolchain is needed.

use std::arch::asm;
use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr;

use liveupdate_uapi::Command;
use rustix::io::{Errno, Result};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::{ROOM, owned};

/// The number of ioctl(2) in 32-bit programs.
const IOCTL: u32 = 54;

/// `MAP_32BIT`: below 2 GiB.
const LOW: MapFlags = MapFlags::from_bits_retain(0x40);

/// Memory with an address that a 32-bit program could have.
struct Low(*mut c_void);

impl Low {
    fn new() -> Result<Self> {
        // SAFETY: A new mapping; nothing else is there.
        let page = unsafe {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            mmap_anonymous(ptr::null_mut(), ROOM, access, MapFlags::PRIVATE | LOW)
        };
        page.map(Self)
    }

    fn address(&self) -> Result<u32> {
        u32::try_from(self.0.addr()).map_err(|_| Errno::OVERFLOW)
    }
}

impl Drop for Low {
    fn drop(&mut self) {
        // SAFETY: The whole mapping, which is not used any more.
        let _ = unsafe { munmap(self.0, ROOM) };
    }
}

/// Runs a command as a 32-bit program does.
///
/// # Errors
///
/// That of the command; `ENOTTY` if the file has no commands for 32-bit programs.
pub fn command<C: Command>(on: impl AsFd, argument: &mut C) -> Result<()> {
    let low = Low::new()?;
    let bytes = argument.as_mut_bytes();
    let length = bytes.len().min(ROOM);
    // SAFETY: The mapping has `ROOM` bytes and is ours alone.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), low.0.cast(), length) };
    let fd = on.as_fd().as_raw_fd().cast_unsigned();
    // SAFETY: The command is one of LUO with its whole structure, or a file without such a command
    // refuses it.
    unsafe { ioctl(fd, C::OPCODE, low.address()?) }?;
    // SAFETY: As above.
    unsafe { ptr::copy_nonoverlapping(low.0.cast(), bytes.as_mut_ptr(), length) };
    Ok(())
}

/// Like [`command`], for one that opens a file: `fd` is its number in the answer.
pub fn command_to_file<C: Command>(
    on: impl AsFd,
    mut argument: C,
    fd: impl Fn(&C) -> i32,
) -> Result<OwnedFd> {
    command(on, &mut argument)?;
    owned(fd(&argument))
}

/// ioctl(2) of a 32-bit program.
///
/// # Safety
///
/// The kernel may read and write at `address` whatever the command says.
unsafe fn ioctl(fd: u32, command: u32, address: u32) -> Result<i32> {
    let result: u64;
    // SAFETY: The system call takes its arguments in these registers, and changes no others but the
    // ones that are named: `rbx`, which inline assembly cannot name, is put back. The caller
    // promises the rest.
    unsafe {
        asm!(
            "xchg {fd:r}, rbx",
            "int 0x80",
            "xchg {fd:r}, rbx",
            fd = inout(reg) u64::from(fd) => _,
            inlateout("rax") u64::from(IOCTL) => result,
            in("rcx") u64::from(command),
            in("rdx") u64::from(address),
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
        );
    }
    // The lower half is an `int`.
    #[expect(clippy::cast_possible_truncation, reason = "the upper half has its sign alone")]
    let result = (result as u32).cast_signed();
    match result {
        error @ -4095..=-1 => Err(Errno::from_raw_os_error(-error)),
        result => Ok(result),
    }
}
