// SPDX-License-Identifier: MIT OR Apache-2.0

//! The raw user-space ABI: one function for each command, with nothing on top.
//!
//! Tests of the ABI must not trust the library whose behaviour depends on it, so the guest has its
//! own thin layer.

#![expect(
    unsafe_code,
    reason = "ioctl(2), file descriptors that the kernel returns as numbers, and mapped memory"
)]

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

#[cfg(target_arch = "x86_64")]
pub mod compat;
pub mod fault;
pub mod mapped;
pub mod page_flags;
pub mod pinned;
pub mod swap;

use liveupdate_uapi::{
    Command, CreateSession, DEVICE, Finish, GetInfo, GetName, PreserveFd, RetrieveFd,
    RetrieveSession, SESSION_NAME_LENGTH,
};
use rustix::io::{Errno, Result};
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl};
use rustix::mm::{
    Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap, mmap_anonymous, mprotect, munmap,
};

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
pub fn create(device: impl AsFd, name: impl AsRef<[u8]>) -> Result<OwnedFd> {
    let mut argument = CreateSession::new(session_name(name.as_ref())?);
    command(device, &mut argument)?;
    owned(argument.fd)
}

/// Retrieves the session `name`.
pub fn retrieve(device: impl AsFd, name: impl AsRef<[u8]>) -> Result<OwnedFd> {
    let mut argument = RetrieveSession::new(session_name(name.as_ref())?);
    command(device, &mut argument)?;
    owned(argument.fd)
}

/// Preserves `file` in `session` under `token`.
pub fn preserve_fd(session: impl AsFd, file: impl AsFd, token: u64) -> Result<()> {
    preserve_number(session, file.as_fd().as_raw_fd(), token)
}

/// Preserves the file that is open as `fd` under `token`.
pub fn preserve_number(session: impl AsFd, fd: i32, token: u64) -> Result<()> {
    command(session, &mut PreserveFd::new(fd, token))
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

/// Like [`finish`], for a descriptor that another thread may close: `EBADF` if it has done so.
///
/// No thread may open a file meanwhile, which might get the number.
pub fn finish_racing(session: RawFd) -> Result<()> {
    finish(racing(session))
}

/// Like [`preserve_fd`], for a descriptor that another thread may close, as in [`finish_racing`].
pub fn preserve_racing(session: RawFd, file: impl AsFd, token: u64) -> Result<()> {
    preserve_fd(racing(session), file, token)
}

/// A descriptor that may be closed at any time.
fn racing<'fd>(fd: RawFd) -> BorrowedFd<'fd> {
    // SAFETY: The number is used for one ioctl. If it is closed before, the kernel answers `EBADF`,
    // since nobody opens a file; if it is closed later, the kernel holds the file.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

/// Reads the name of `session`, all of its bytes.
pub fn name_of(session: impl AsFd) -> Result<[u8; SESSION_NAME_LENGTH]> {
    let mut argument = GetName::new();
    command(session, &mut argument)?;
    Ok(argument.name)
}

/// The state of `session`, and how its kernel treats sessions: the fields of [`GetInfo`].
pub fn info_of(session: impl AsFd) -> Result<(u32, u64)> {
    let mut argument = GetInfo::new();
    command(session, &mut argument)?;
    Ok((argument.state, argument.features))
}

/// Gives the pages of `memory`, whole ones, back to the kernel. Their next use finds zeros.
pub fn give_back(memory: &mut [u8]) -> Result<()> {
    // SAFETY: The bytes are borrowed for the whole call. Whatever a page has afterwards, zeros or what
    // a file says, are valid bytes; the kernel refuses memory that is not made of whole pages.
    unsafe { madvise(memory.as_mut_ptr().cast(), memory.len(), Advice::LinuxDontNeed) }
}

/// Asks for huge pages for `memory`, whole pages. Not each kernel has them.
pub fn advise_huge(memory: &mut [u8]) -> Result<()> {
    // SAFETY: The bytes are borrowed for the whole call, and stay as they are; the kernel refuses memory that is not
    // made of whole pages.
    unsafe { madvise(memory.as_mut_ptr().cast(), memory.len(), Advice::LinuxHugepage) }
}

/// Processor cycles since power-on; instructions, on a machine that counts those. A kexec does not set them back.
/// `None` where the harness does not know a counter like that.
pub fn cycles() -> Option<u64> {
    // SAFETY: Each processor has the instruction, and user space may use it.
    #[cfg(target_arch = "x86_64")]
    return Some(unsafe { core::arch::x86_64::_rdtsc() });
    #[cfg(not(target_arch = "x86_64"))]
    None
}

/// A name as the commands take it: NUL-terminated.
pub fn session_name(name: &[u8]) -> Result<[u8; SESSION_NAME_LENGTH]> {
    let mut bytes = [0; SESSION_NAME_LENGTH];
    match bytes.get_mut(..name.len()) {
        Some(to) if name.len() < SESSION_NAME_LENGTH => to.copy_from_slice(name),
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

/// Size of the memory for arguments, which may be untrue: larger than any command.
pub const ROOM: usize = 4096;

/// An ioctl with memory at an address.
struct Raw(Opcode, *mut c_void);

// SAFETY: The functions below, which alone make a `Raw`, make sure that the kernel can read and
// write at the address every byte that a command of LUO has, or that it cannot read or write there
// at all.
unsafe impl Ioctl for Raw {
    type Output = i32;

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        self.0
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.1
    }

    unsafe fn output_from_ptr(output: IoctlOutput, _: *mut c_void) -> Result<i32> {
        Ok(output)
    }
}

/// Sends any command of LUO with any bytes; returns the bytes as the kernel has left them.
///
/// File descriptors that come back are leaked, unless the caller takes them from the bytes.
pub fn raw(on: impl AsFd, opcode: u32, bytes: &[u8]) -> Result<[u8; ROOM]> {
    let mut room = [0; ROOM];
    if let Some(to) = room.get_mut(..bytes.len()) {
        to.copy_from_slice(bytes);
    }
    // SAFETY: No command of LUO writes more than its own structure, whatever size it is told, and
    // none has as much as `ROOM` bytes. It may read beyond; memory that is missing is `EFAULT`.
    unsafe { ioctl(on, Raw(opcode, room.as_mut_ptr().cast())) }?;
    Ok(room)
}

/// Sends a command with an address that is not mapped.
pub fn raw_nowhere(on: impl AsFd, opcode: u32) -> Result<i32> {
    // SAFETY: The kernel can neither read nor write there.
    unsafe { ioctl(on, Raw(opcode, ptr::without_provenance_mut(8))) }
}

/// Sends a command with bytes that the kernel can read, but not write.
pub fn raw_read_only(on: impl AsFd, opcode: u32, bytes: &[u8]) -> Result<i32> {
    let length = bytes.len().min(ROOM);
    // SAFETY: A new mapping; nothing else is there.
    let page = unsafe {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        mmap_anonymous(ptr::null_mut(), ROOM, access, MapFlags::PRIVATE)
    }?;
    // SAFETY: The mapping has `ROOM` bytes and is ours alone.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), page.cast(), length) };
    // SAFETY: The whole mapping, to which nothing in Rust refers.
    unsafe { mprotect(page, ROOM, MprotectFlags::READ) }?;
    // SAFETY: The kernel can read there and not write.
    let result = unsafe { ioctl(on, Raw(opcode, page)) };
    // SAFETY: The whole mapping, which is not used any more.
    unsafe { munmap(page, ROOM) }?;
    result
}

/// Sends a command of `/dev/liveupdate_test` or one of its files: a number goes in and one comes
/// out.
pub fn number(on: impl AsFd, opcode: u32, argument: u64) -> Result<i32> {
    let argument = usize::try_from(argument).map_err(|_| Errno::INVAL)?;
    // SAFETY: These commands take no address.
    unsafe { ioctl(on, Raw(opcode, ptr::without_provenance_mut(argument))) }
}

/// Like [`number`], for a command that returns a new file.
pub fn number_to_file(on: impl AsFd, opcode: u32, argument: u64) -> Result<OwnedFd> {
    owned(number(on, opcode, argument)?)
}

/// Finds pages of physical memory that begin with `bytes`: in `first..end`, both multiples of
/// `page`, through `/dev/mem`. A page at a time by `read(2)` would take minutes in a kernel with
/// KASAN.
///
/// `bytes` must not be longer than a page.
pub fn find_pages(
    memory: &File,
    first: u64,
    end: u64,
    page: usize,
    bytes: &[u8],
) -> Result<Vec<u64>> {
    /// Number of bytes that are mapped at once.
    const PART: u64 = 1 << 26;
    let mut found = Vec::new();
    let mut from = first;
    while from < end && bytes.len() <= page {
        let length = (end - from).min(PART);
        let size = usize::try_from(length).map_err(|_| Errno::OVERFLOW)?;
        // SAFETY: A new mapping; nothing else is there.
        let part = unsafe {
            mmap(ptr::null_mut(), size, ProtFlags::READ, MapFlags::SHARED, memory, from)
        }?;
        for at in (0..size).step_by(page) {
            // SAFETY: `at` is less than the size of the mapping.
            let page = unsafe { part.cast::<u8>().add(at) };
            // The kernel may write there at any time, so there is no reference, and each byte is
            // read once.
            let is_same = bytes.iter().enumerate().all(|(index, byte)| {
                // SAFETY: `bytes` is no longer than a page, and the mapping has whole pages.
                let place = unsafe { page.add(index) };
                // SAFETY: As above; any byte is a value.
                *byte == unsafe { place.read_volatile() }
            });
            if is_same {
                found.push(from + u64::try_from(at).map_err(|_| Errno::OVERFLOW)?);
            }
        }
        // SAFETY: The whole mapping, which is not used any more.
        unsafe { munmap(part, size) }?;
        from += length;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_nul() {
        assert_eq!(session_name(&[b'x'; 63]).unwrap()[62..], *b"x\0");
        assert_eq!(session_name(&[b'x'; 64]).unwrap_err(), Errno::NAMETOOLONG);
    }

    #[test]
    fn pages_are_found_by_their_beginning() {
        let mut file = tempfile();
        let mut pages = vec![0; 3 * 4096];
        pages[4096..4099].copy_from_slice(b"abc");
        pages[8192..8195].copy_from_slice(b"abd");
        std::io::Write::write_all(&mut file, &pages).unwrap();
        assert_eq!(find_pages(&file, 0, 12288, 4096, b"abc").unwrap(), [4096]);
        assert_eq!(find_pages(&file, 4096, 12288, 4096, b"ab").unwrap(), [4096, 8192]);
        assert!(find_pages(&file, 0, 0, 4096, b"abc").unwrap().is_empty());
    }

    fn tempfile() -> File {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        rustix::fs::memfd_create("pages", flags).unwrap().into()
    }

    #[test]
    fn a_file_without_commands_answers_enotty() {
        let null = File::open("/dev/null").unwrap();
        assert_eq!(finish(&null).unwrap_err(), Errno::NOTTY);
        assert_eq!(raw(&null, 0xBA00, &[]).unwrap_err(), Errno::NOTTY);
        assert_eq!(raw_nowhere(&null, 0xBA00).unwrap_err(), Errno::NOTTY);
        assert_eq!(raw_read_only(&null, 0xBA00, &[1; 8]).unwrap_err(), Errno::NOTTY);
        assert_eq!(number(&null, 0xBAE0, 7).unwrap_err(), Errno::NOTTY);
    }
}
