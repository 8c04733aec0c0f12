// SPDX-License-Identifier: MIT OR Apache-2.0

//! The raw user-space ABI: one function a command, nothing clever on top.
//!
//! Tests of the ABI must not trust the library whose behaviour depends on it, so the guest has its
//! own thin layer.

#![expect(
    unsafe_code,
    reason = "ioctl(2), and file descriptors that the kernel returns as numbers"
)]

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use liveupdate_uapi::{
    Command, CreateSession, DEVICE, Finish, PreserveFd, RetrieveFd, RetrieveSession,
    SESSION_NAME_LENGTH,
};
use rustix::io::{Errno, Result};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

/// A command on its way to the kernel.
struct Call<'a, C>(&'a mut C);

// SAFETY:
// - `opcode` is the number of the command whose structure `as_ptr` points to.
// - The functions below, which alone make a `Call`, take structures as `new` made them: the first
//   word is the true size, so the kernel neither reads nor writes beyond it.
// - They are plain data: whatever the kernel writes is a valid value.
unsafe impl<C: Command> Ioctl for Call<'_, C> {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        C::OPCODE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> Result<()> {
        Ok(())
    }
}

/// Runs a command whose size word is true.
fn command<C: Command>(on: impl AsFd, argument: &mut C) -> Result<()> {
    // SAFETY: `Call` describes the command truly (see its `impl`), and the argument is borrowed for
    // the whole call.
    unsafe { ioctl(on, Call(argument)) }
}

/// Opens the device.
pub fn open() -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).open(DEVICE)
}

/// Creates the session `name`.
pub fn create(device: impl AsFd, name: &str) -> Result<OwnedFd> {
    let mut argument = CreateSession::new(session_name(name)?);
    command(device, &mut argument)?;
    owned(argument.fd)
}

/// Retrieves the session `name`.
pub fn retrieve(device: impl AsFd, name: &str) -> Result<OwnedFd> {
    let mut argument = RetrieveSession::new(session_name(name)?);
    command(device, &mut argument)?;
    owned(argument.fd)
}

/// Preserves `file` in `session` under `token`.
pub fn preserve_fd(session: impl AsFd, file: impl AsFd, token: u64) -> Result<()> {
    command(session, &mut PreserveFd::new(file.as_fd().as_raw_fd(), token))
}

/// Retrieves the file with `token` from `session`.
pub fn retrieve_fd(session: impl AsFd, token: u64) -> Result<OwnedFd> {
    let mut argument = RetrieveFd::new(token);
    command(session, &mut argument)?;
    owned(argument.fd)
}

/// Finishes `session`.
pub fn finish(session: impl AsFd) -> Result<()> {
    command(session, &mut Finish::new())
}

/// A name as the commands take it: NUL-terminated.
fn session_name(name: &str) -> Result<[u8; SESSION_NAME_LENGTH]> {
    let mut bytes = [0; SESSION_NAME_LENGTH];
    match bytes.get_mut(..name.len()) {
        Some(to) if name.len() < SESSION_NAME_LENGTH => to.copy_from_slice(name.as_bytes()),
        _ => return Err(Errno::NAMETOOLONG),
    }
    Ok(bytes)
}

/// Takes over a file descriptor that a command returned.
fn owned(fd: i32) -> Result<OwnedFd> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: The command succeeded, so the number is a new file descriptor of this process that
    // nothing else knows of.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_nul() {
        assert_eq!(session_name(&"x".repeat(63)).unwrap()[62..], *b"x\0");
        assert_eq!(session_name(&"x".repeat(64)).unwrap_err(), Errno::NAMETOOLONG);
    }

    #[test]
    fn a_file_without_commands_answers_enotty() {
        let null = File::open("/dev/null").unwrap();
        assert_eq!(finish(&null).unwrap_err(), Errno::NOTTY);
    }
}
