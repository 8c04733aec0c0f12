// SPDX-License-Identifier: MIT OR Apache-2.0

//! System calls that no library wraps safely: the only `unsafe` of this crate.

#![expect(
    unsafe_code,
    reason = "ioctl(2) with the structures of liveupdate_uapi, file descriptors that it returns as \
              numbers, options of sockets that rustix does not know, and kexec_file_load(2)"
)]

use std::ffi::c_void;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::ptr;

use liveupdate_uapi::{
    Command, CreateSession, Finish, GetInfo, GetName, PreserveFd, RetrieveFd, RetrieveSession,
    SESSION_NAME_LENGTH,
};
use rustix::fs::{FileType, FsWord, Mode, OFlags, fstat, fstatfs, major};
use rustix::io::{Errno, Result};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};

use crate::SessionName;
#[cfg(any(test, feature = "testing"))]
use crate::testing::kernel as fake;

/// A command on its way to the kernel.
struct Call<'a, C>(&'a mut C);

// SAFETY:
// - `opcode` is the number of the command whose structure `as_ptr` points to.
// - Only `command` makes a `Call`, of a structure as its `new` made it: the first word is its true
//   size, so the kernel neither reads nor writes beyond it.
// - Structures are plain data: all bytes that the kernel writes are a valid value.
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
    // SAFETY: `Call` describes the command truly (see its `impl`), and the argument is borrowed for
    // the whole call.
    unsafe { ioctl(on, Call(argument)) }
}

/// The descriptor that a command has returned.
#[inline]
fn owned(fd: i32) -> Result<OwnedFd> {
    if fd < 0 {
        // The device is another one.
        return Err(Errno::BADF);
    }
    // SAFETY: The file is the device, or a session of it: `open` has seen to the former, and callers of
    // commands on sessions look at the name first. So the command has just made this descriptor for this
    // process, and no other code knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The answer of the fake kernel, if the test has one.
macro_rules! fake {
    ($answer:expr) => {
        #[cfg(any(test, feature = "testing"))]
        if let Some(answer) = $answer {
            return answer;
        }
    };
}

/// CREATE_SESSION.
#[inline]
pub(crate) fn create_session(device: BorrowedFd<'_>, name: &SessionName) -> Result<OwnedFd> {
    fake!(fake::create_session(device, name));
    let mut argument = CreateSession::new(name.to_array());
    command(device, &mut argument)?;
    owned(argument.fd)
}

/// RETRIEVE_SESSION.
#[inline]
pub(crate) fn retrieve_session(device: BorrowedFd<'_>, name: &SessionName) -> Result<OwnedFd> {
    fake!(fake::retrieve_session(device, name));
    let mut argument = RetrieveSession::new(name.to_array());
    command(device, &mut argument)?;
    owned(argument.fd)
}

/// PRESERVE_FD.
#[inline]
pub(crate) fn preserve_fd(session: BorrowedFd<'_>, file: BorrowedFd<'_>, token: u64) -> Result<()> {
    fake!(fake::preserve_fd(session, Some(file), token));
    command(session, &mut PreserveFd::new(file.as_raw_fd(), token))
}

/// PRESERVE_FD of no file, which never succeeds: the error tells which kind of session it is.
#[inline]
pub(crate) fn preserve_nothing(session: BorrowedFd<'_>, token: u64) -> Errno {
    let answer = || {
        fake!(fake::preserve_fd(session, None, token));
        command(session, &mut PreserveFd::new(-1, token))
    };
    answer().err().unwrap_or(Errno::BADF)
}

/// RETRIEVE_FD.
#[inline]
pub(crate) fn retrieve_fd(session: BorrowedFd<'_>, token: u64) -> Result<OwnedFd> {
    fake!(fake::retrieve_fd(session, token));
    let mut argument = RetrieveFd::new(token);
    command(session, &mut argument)?;
    owned(argument.fd)
}

/// FINISH.
#[inline]
pub(crate) fn finish(session: BorrowedFd<'_>) -> Result<()> {
    fake!(fake::finish(session));
    command(session, &mut Finish::new())
}

/// GET_NAME.
#[inline]
pub(crate) fn get_name(session: BorrowedFd<'_>) -> Result<[u8; SESSION_NAME_LENGTH]> {
    fake!(fake::get_name(session));
    let mut argument = GetName::new();
    command(session, &mut argument)?;
    Ok(argument.name)
}

/// GET_INFO, of the implementation in Rust alone. Only files on the anonymous inode are asked: others
/// may take the number for something else.
pub(crate) fn get_info(session: BorrowedFd<'_>) -> Result<GetInfo> {
    fake!(fake::get_info(session));
    if !is_anonymous_inode(session)? {
        return Err(Errno::NOTTY);
    }
    let mut argument = GetInfo::new();
    command(session, &mut argument)?;
    Ok(argument)
}

/// The major number of misc devices, of which the device is one.
const MISC_MAJOR: u32 = 10;

/// The file system of files that have no inode of their own, sessions among them.
const ANON_INODE_FS_MAGIC: FsWord = 0x0904_1934;

/// Whether a file is on the anonymous inode.
pub(crate) fn is_anonymous_inode(fd: BorrowedFd<'_>) -> Result<bool> {
    #[cfg(any(test, feature = "testing"))]
    if fake::is_session(fd) {
        return Ok(true);
    }
    Ok(fstatfs(fd)?.f_type == ANON_INODE_FS_MAGIC)
}

/// A copy of a descriptor that the service manager has passed to this process by its number.
#[cfg(feature = "agent")]
pub(crate) fn copy_passed(number: std::os::fd::RawFd) -> Result<OwnedFd> {
    // SAFETY: The number is used for one system call, which fails if it is closed; the copy is owned by
    // the caller alone.
    let passed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_dupfd_cloexec(passed, 0)
}

/// Closes a descriptor that the service manager has passed to this process by its number.
#[cfg(feature = "agent")]
pub(crate) fn close_passed(number: std::os::fd::RawFd) {
    // SAFETY: The service manager has passed the number to this process, so no library has opened it, and
    // `passed` calls this once for each number; `FdStore` looks at none after that.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
}

/// Opens the device.
pub(crate) fn open(path: &Path) -> Result<OwnedFd> {
    fake!(fake::open(path));
    let device = rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&device)?;
    // Other files may take the commands for their own.
    let is_misc = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && major(stat.st_rdev) == MISC_MAJOR;
    if is_misc { Ok(device) } else { Err(Errno::NODEV) }
}

/// The text of a link in `/proc`.
pub(crate) fn link(path: &Path) -> Result<Vec<u8>> {
    fake!(fake::link(path));
    Ok(rustix::fs::readlink(path, Vec::new())?.into_bytes())
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

/// Writes a file system back, and keeps everybody from writing to it.
#[cfg(feature = "kexec")]
pub(crate) fn freeze(root: BorrowedFd<'_>) -> Result<()> {
    // `FIFREEZE` of linux/fs.h; the kernel ignores the argument.
    const FREEZE: rustix::ioctl::Opcode =
        rustix::ioctl::opcode::read_write::<libc::c_int>(b'X', 119);
    // SAFETY: The command has no argument.
    let command = unsafe { rustix::ioctl::NoArg::<FREEZE>::new() };
    // SAFETY: Without an argument, the kernel reads and writes no memory of this process.
    unsafe { ioctl(root, command) }
}

/// Undoes [`freeze`].
#[cfg(feature = "kexec")]
pub(crate) fn thaw(root: BorrowedFd<'_>) -> Result<()> {
    // `FITHAW` of linux/fs.h; the kernel ignores the argument.
    const THAW: rustix::ioctl::Opcode = rustix::ioctl::opcode::read_write::<libc::c_int>(b'X', 120);
    // SAFETY: The command has no argument.
    let command = unsafe { rustix::ioctl::NoArg::<THAW>::new() };
    // SAFETY: Without an argument, the kernel reads and writes no memory of this process.
    unsafe { ioctl(root, command) }
}

/// kexec_file_load(2).
#[cfg(feature = "kexec")]
pub(crate) fn kexec_file_load(
    kernel: BorrowedFd<'_>,
    initrd: Option<BorrowedFd<'_>>,
    cmdline: &std::ffi::CStr,
    flags: u32,
) -> Result<()> {
    let cmdline = cmdline.to_bytes_with_nul();
    let initrd = initrd.map_or(-1, |initrd| initrd.as_raw_fd());
    // SAFETY: The kernel reads `cmdline.len()` bytes from a slice that is borrowed for the whole
    // call, and writes to none of this process's memory.
    let result = unsafe {
        libc::syscall(
            // libc has not the number for each target.
            libc::c_long::from(linux_raw_sys::general::__NR_kexec_file_load),
            kernel.as_raw_fd(),
            initrd,
            cmdline.len(),
            cmdline.as_ptr(),
            libc::c_ulong::from(flags),
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
    use crate::{ErrorKind, passing};

    #[test]
    #[cfg_attr(miri, ignore = "Miri does not know the option")]
    fn a_socket_that_adds_descriptors_is_refused() {
        let (here, there) = UnixStream::pair().unwrap();
        passing::send(&here, b"x", &[], None).unwrap();
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
        let error = passing::receive(&there, 1, 1, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
