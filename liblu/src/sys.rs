// SPDX-License-Identifier: MIT OR Apache-2.0

//! System calls that no library wraps safely: the only `unsafe` of this crate.

#![expect(
    unsafe_code,
    reason = "ioctl(2) with the structures of liveupdate_uapi, file descriptors that it returns as \
              numbers, getsockopt(2) of an option that rustix does not know, and kexec_file_load(2)"
)]

use std::ffi::{CStr, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::ptr;

use liveupdate_uapi::{
    Command, CreateSession, Finish, GetName, PreserveFd, RetrieveFd, RetrieveSession,
    SESSION_NAME_LENGTH,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

use crate::SessionName;

/// A command on its way to the kernel.
struct Call<'a, C>(&'a mut C);

// SAFETY:
// - `opcode` is the number of the command whose structure `as_ptr` points to.
// - Only `command` makes a `Call`, of a structure as its `new` made it: the first word is its true
//   size, so the kernel neither reads nor writes beyond it.
// - Structures are plain data: whatever the kernel writes is a valid value.
unsafe impl<C: Command> Ioctl for Call<'_, C> {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        // Wider where rustix goes through libc.
        Opcode::from(C::OPCODE)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> Result<()> {
        Ok(())
    }
}

/// Runs a command as its `new` made it, whose size word is therefore true.
#[inline]
fn command<C: Command>(on: BorrowedFd<'_>, argument: &mut C) -> Result<()> {
    #[cfg(test)]
    if let Some(answer) = crate::fake::command(on, argument) {
        return answer;
    }
    // SAFETY: `Call` describes the command truly (see its `impl`), and the argument is borrowed for
    // the whole call.
    unsafe { ioctl(on, Call(argument)) }
}

/// CREATE_SESSION.
#[inline]
pub(crate) fn create_session(device: BorrowedFd<'_>, name: &SessionName) -> Result<OwnedFd> {
    let mut argument = CreateSession::new(name.to_array());
    command(device, &mut argument)?;
    // SAFETY: The command has just made this descriptor for us; nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(argument.fd) })
}

/// RETRIEVE_SESSION.
#[inline]
pub(crate) fn retrieve_session(device: BorrowedFd<'_>, name: &SessionName) -> Result<OwnedFd> {
    let mut argument = RetrieveSession::new(name.to_array());
    command(device, &mut argument)?;
    // SAFETY: The command has just made this descriptor for us; nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(argument.fd) })
}

/// PRESERVE_FD.
#[inline]
pub(crate) fn preserve_fd(session: BorrowedFd<'_>, file: BorrowedFd<'_>, token: u64) -> Result<()> {
    command(session, &mut PreserveFd::new(file.as_raw_fd(), token))
}

/// PRESERVE_FD of no file, which never succeeds: the error tells which kind of session it is.
#[inline]
pub(crate) fn preserve_nothing(session: BorrowedFd<'_>, token: u64) -> Errno {
    command(session, &mut PreserveFd::new(-1, token)).err().unwrap_or(Errno::BADF)
}

/// RETRIEVE_FD.
#[inline]
pub(crate) fn retrieve_fd(session: BorrowedFd<'_>, token: u64) -> Result<OwnedFd> {
    let mut argument = RetrieveFd::new(token);
    command(session, &mut argument)?;
    // SAFETY: The command has just made this descriptor for us; nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(argument.fd) })
}

/// FINISH.
#[inline]
pub(crate) fn finish(session: BorrowedFd<'_>) -> Result<()> {
    command(session, &mut Finish::new())
}

/// GET_NAME.
#[inline]
pub(crate) fn get_name(session: BorrowedFd<'_>) -> Result<[u8; SESSION_NAME_LENGTH]> {
    let mut argument = GetName::new();
    command(session, &mut argument)?;
    Ok(argument.name)
}

/// Opens the device.
pub(crate) fn open(path: &Path) -> Result<OwnedFd> {
    #[cfg(test)]
    if let Some(answer) = crate::fake::open(path) {
        return answer;
    }
    rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// The text of a link in `/proc`.
pub(crate) fn link(path: &Path) -> Result<Vec<u8>> {
    #[cfg(test)]
    if let Some(answer) = crate::fake::link(path) {
        return answer;
    }
    Ok(rustix::fs::readlink(path, Vec::new())?.into_bytes())
}

/// What a file in `/proc` says.
pub(crate) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    #[cfg(test)]
    if let Some(text) = crate::fake::read(path) {
        return Ok(text);
    }
    std::fs::read(path)
}

/// Whether the kernel adds a descriptor of the sender to each message that comes over a socket.
pub(crate) fn passes_pidfds(socket: BorrowedFd<'_>) -> bool {
    let mut is_on: libc::c_int = 0;
    let mut size = libc::socklen_t::try_from(size_of_val(&is_on)).unwrap_or_default();
    // SAFETY: The kernel writes at most `size` bytes to `is_on`, and the size to `size`; both live on
    // until it has.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PASSPIDFD,
            ptr::from_mut(&mut is_on).cast(),
            ptr::from_mut(&mut size),
        )
    };
    // Kernels before 6.5 do not know it, and have none.
    result == 0 && is_on != 0
}

/// kexec_file_load(2).
pub(crate) fn kexec_file_load(
    kernel: BorrowedFd<'_>,
    initrd: Option<BorrowedFd<'_>>,
    cmdline: &CStr,
    flags: libc::c_ulong,
) -> Result<()> {
    let cmdline = cmdline.to_bytes_with_nul();
    let initrd = initrd.map_or(-1, |initrd| initrd.as_raw_fd());
    // SAFETY: The kernel reads `cmdline.len()` bytes from a slice that is borrowed for the whole
    // call, and writes to none of this process's memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initrd,
            cmdline.len(),
            cmdline.as_ptr(),
            flags,
        )
    };
    if result == 0 {
        return Ok(());
    }
    let error = std::io::Error::last_os_error();
    Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::passing::{self, PassingError};

    #[test]
    #[cfg_attr(miri, ignore = "Miri does not know the option")]
    fn a_socket_that_adds_descriptors_is_refused() {
        let (here, there) = UnixStream::pair().unwrap();
        passing::send(&here, b"x", &[]).unwrap();
        assert!(!passes_pidfds(there.as_fd()));
        let on: libc::c_int = 1;
        // SAFETY: The kernel reads an `int`, which is there.
        let result = unsafe {
            libc::setsockopt(
                there.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PASSPIDFD,
                ptr::from_ref(&on).cast(),
                size_of_val(&on).try_into().unwrap(),
            )
        };
        assert_eq!(result, 0, "SO_PASSPIDFD came with Linux 6.5");
        assert!(matches!(passing::receive(&there, 1), Err(PassingError::PidFds)));
    }
}
