// SPDX-License-Identifier: MIT OR Apache-2.0

//! Loading the next kernel, and going there.
//!
//! It takes root. On a machine with systemd, `systemctl kexec` goes to the kernel that is loaded here,
//! after it has stopped all services.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::system::{RebootCommand, reboot as reboot_now};
use rustix::thread::{CapabilitySet, capabilities};

use crate::{Error, ErrorKind, Result, sys};

mod frozen;

pub use frozen::Frozen;

/// The next kernel, to be loaded.
///
/// ```no_run
/// use std::fs::File;
/// use liblu::kexec::Kernel;
///
/// let image = File::open("/boot/vmlinuz-7.3.4")?;
/// let initrd = File::open("/boot/initrd.img-7.3.4")?;
/// Kernel::new(&image).initrd(&initrd).running_cmdline()?.load()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is loaded before `load`"]
pub struct Kernel<'a> {
    image: BorrowedFd<'a>,
    initrd: Option<BorrowedFd<'a>>,
    cmdline: String,
}

/// The command line of the running kernel.
const CMDLINE: &str = "/proc/cmdline";

/// Whether a kernel is loaded.
const LOADED: &str = "/sys/kernel/kexec_loaded";

impl<'a> Kernel<'a> {
    /// The kernel in this image, with an empty command line and no initrd.
    ///
    /// The image must not be open for writing anywhere.
    ///
    /// ```no_run
    /// let image = std::fs::File::open("/boot/vmlinuz-7.3.4")?;
    /// let kernel = liblu::kexec::Kernel::new(&image);
    /// # drop(kernel);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(image: &'a impl AsFd) -> Self {
        Self { image: image.as_fd(), initrd: None, cmdline: String::new() }
    }

    /// With this initrd.
    ///
    /// ```no_run
    /// # let image = std::fs::File::open("/boot/vmlinuz-7.3.4")?;
    /// let initrd = std::fs::File::open("/boot/initrd.img-7.3.4")?;
    /// let kernel = liblu::kexec::Kernel::new(&image).initrd(&initrd);
    /// # drop(kernel);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn initrd(mut self, initrd: &'a impl AsFd) -> Self {
        self.initrd = Some(initrd.as_fd());
        self
    }

    /// With this command line. Without `liveupdate=on` in it the next kernel finds no sessions.
    ///
    /// ```no_run
    /// # let image = std::fs::File::open("/boot/vmlinuz-7.3.4")?;
    /// let kernel = liblu::kexec::Kernel::new(&image).cmdline("root=/dev/vda1 liveupdate=on");
    /// # drop(kernel);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn cmdline(mut self, cmdline: impl Into<String>) -> Self {
        self.cmdline = cmdline.into();
        self
    }

    /// With the command line of the running kernel, but for what the boot loader has put there about
    /// itself (`BOOT_IMAGE=`, `initrd=`).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::System`] without `/proc`.
    ///
    /// ```no_run
    /// # let image = std::fs::File::open("/boot/vmlinuz-7.3.4")?;
    /// let kernel = liblu::kexec::Kernel::new(&image).running_cmdline()?;
    /// # drop(kernel);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn running_cmdline(self) -> Result<Self> {
        Ok(self.cmdline(running_cmdline()?))
    }

    /// Loads it. The kernel that was loaded before is forgotten if this succeeds, and stays if not.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NoPermission`]; [`ErrorKind::BadKernel`]; [`ErrorKind::BadSignature`];
    /// [`ErrorKind::InvalidArgument`] if the command line contains NUL; [`ErrorKind::Busy`] if the image or
    /// the initrd is open for writing, or another process is loading a kernel; or the error of the
    /// system.
    ///
    /// ```no_run
    /// # let image = std::fs::File::open("/boot/vmlinuz-7.3.4")?;
    /// liblu::kexec::Kernel::new(&image).running_cmdline()?.load()?;
    /// assert!(liblu::kexec::is_loaded()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(&self) -> Result<()> {
        let cmdline = CString::new(self.cmdline.as_str()).map_err(|_| {
            let why = "the command line must not contain NUL";
            Error::new(ErrorKind::InvalidArgument, why)
        })?;
        let flags = if self.initrd.is_none() { NO_INITRAMFS } else { 0 };
        sys::kexec_file_load(self.image, self.initrd, &cmdline, flags)
            .map_err(|errno| load_error("load a kernel", errno))
    }
}

/// `KEXEC_FILE_UNLOAD`.
const UNLOAD: u32 = 1;

/// `KEXEC_FILE_NO_INITRAMFS`.
const NO_INITRAMFS: u32 = 4;

fn load_error(doing: &str, errno: Errno) -> Error {
    let (kind, why) = match errno {
        Errno::PERM | Errno::ACCESS => (
            ErrorKind::NoPermission,
            "only root may load a kernel, and only if lockdown and the security policy allow it",
        ),
        Errno::NOEXEC | Errno::INVAL => (
            ErrorKind::BadKernel,
            "the image is no kernel that can be loaded, or the command line is too long",
        ),
        Errno::TXTBSY => (ErrorKind::Busy, "the image or the initrd is open for writing"),
        Errno::KEYREJECTED
        | Errno::BADMSG
        | Errno::NODATA
        | Errno::NOKEY
        | Errno::NOPKG
        | Errno::LIBBAD => (
            ErrorKind::BadSignature,
            "the kernel takes signed images only, and this one has no signature that it accepts",
        ),
        Errno::BUSY => (ErrorKind::Busy, "another process is loading a kernel"),
        Errno::NOSYS => (ErrorKind::Unsupported, "this kernel has no kexec_file_load(2)"),
        errno => return Error::system(doing, errno),
    };
    Error::new(kind, why).caused_by(errno)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Error::system(&format!("read {path}"), errno)
    })
}

/// A command line without the words that boot loaders add about themselves.
fn without_loader(cmdline: &str) -> String {
    let is_loaders = |word: &&str| word.starts_with("BOOT_IMAGE=") || word.starts_with("initrd=");
    // A value may be quoted, with spaces inside.
    let mut words = Vec::new();
    let (mut begin, mut is_quoted) = (0, false);
    for (at, c) in cmdline.char_indices() {
        match c {
            '"' => is_quoted = !is_quoted,
            c if c.is_ascii_whitespace() && !is_quoted => {
                words.push(cmdline.get(begin..at).unwrap_or_default());
                begin = at + 1;
            }
            _ => {}
        }
    }
    words.push(cmdline.get(begin..).unwrap_or_default());
    let rest = words.into_iter().filter(|word| !word.is_empty() && !is_loaders(word));
    rest.collect::<Vec<_>>().join(" ")
}

/// The command line of the running kernel, without what a boot loader has added for itself.
///
/// # Errors
///
/// `/proc/cmdline` cannot be read.
///
/// ```no_run
/// println!("{}", liblu::kexec::running_cmdline()?);
/// # Ok::<(), liblu::Error>(())
/// ```
pub fn running_cmdline() -> Result<String> {
    Ok(without_loader(&read(CMDLINE)?))
}

/// Whether a kernel is loaded.
///
/// # Errors
///
/// [`ErrorKind::System`] if the kernel has no kexec, or there is no `/sys`.
///
/// ```no_run
/// if !liblu::kexec::is_loaded()? {
///     eprintln!("load a kernel first");
/// }
/// # Ok::<(), liblu::Error>(())
/// ```
pub fn is_loaded() -> Result<bool> {
    Ok(read(LOADED)?.trim() == "1")
}

/// Forgets the kernel that is loaded, if one is.
///
/// # Errors
///
/// [`ErrorKind::NoPermission`], [`ErrorKind::Busy`].
///
/// ```no_run
/// liblu::kexec::unload()?;
/// # Ok::<(), liblu::Error>(())
/// ```
pub fn unload() -> Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::system("open /dev/null", errno))?;
    sys::kexec_file_load(null.as_fd(), None, c"", UNLOAD | NO_INITRAMFS)
        .map_err(|errno| load_error("unload the kernel", errno))
}

/// Goes to the kernel that is loaded, at once: nothing is stopped, no file system is synced. On a
/// machine with systemd, `systemctl kexec` is the usual way.
///
/// It returns only if it failed, and then everything is as it was:
///
/// - [`ErrorKind::RebootFailed`]: as a rule, a file could not be frozen, and [`Error::errno`] is what its
///   handler said. `EBUSY` may also mean that another process is loading a kernel. The kernel's log names
///   the file.
/// - [`ErrorKind::NotLoaded`]: load a kernel first.
/// - [`ErrorKind::NoPermission`]: this process has not `CAP_SYS_BOOT`.
///
/// ```no_run
/// let error = liblu::kexec::reboot();
/// eprintln!("still here: {error}");
/// ```
pub fn reboot() -> Error {
    // The kernel does not say that it has gone.
    let errno = reboot_now(RebootCommand::Kexec).err().unwrap_or(Errno::IO);
    // A handler may give these numbers too.
    let may_reboot =
        capabilities(None).map_or(true, |sets| sets.effective.contains(CapabilitySet::SYS_BOOT));
    let is_loaded = is_loaded().unwrap_or(true);
    reboot_error(errno, may_reboot, is_loaded)
}

fn reboot_error(errno: Errno, may_reboot: bool, is_loaded: bool) -> Error {
    match errno {
        Errno::PERM if !may_reboot => {
            let why = "only a process with CAP_SYS_BOOT may leave this kernel";
            Error::new(ErrorKind::NoPermission, why).caused_by(errno)
        }
        Errno::INVAL if !is_loaded => {
            Error::new(ErrorKind::NotLoaded, "no kernel is loaded").caused_by(errno)
        }
        errno => {
            let why = "cannot go to the next kernel; everything is as before, and the log of the kernel \
                       names the file that could not be frozen, if that is the reason";
            Error::new(ErrorKind::RebootFailed, why).caused_by(errno)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_loader_said_of_itself_goes() {
        let running = "BOOT_IMAGE=/vmlinuz root=UUID=1 dyndbg=\"file a +p\" initrd=\\x quiet\n";
        assert_eq!(without_loader(running), "root=UUID=1 dyndbg=\"file a +p\" quiet");
        assert_eq!(without_loader(""), "");
    }

    #[test]
    fn errors_of_loading_have_kinds() {
        let kind = |errno| load_error("load", errno).kind();
        assert_eq!(kind(Errno::PERM), ErrorKind::NoPermission);
        assert_eq!(kind(Errno::NOEXEC), ErrorKind::BadKernel);
        assert_eq!(kind(Errno::TXTBSY), ErrorKind::Busy);
        assert_eq!(kind(Errno::NOKEY), ErrorKind::BadSignature);
        let error = load_error("load", Errno::NOMEM);
        assert_eq!(kind(Errno::NOSYS), ErrorKind::Unsupported);
        assert_eq!((error.kind(), error.errno()), (ErrorKind::NoResources, Errno::NOMEM));
    }

    #[test]
    fn a_number_of_a_handler_is_not_mistaken() {
        for errno in [Errno::BUSY, Errno::PERM, Errno::INVAL, Errno::NOENT] {
            let error = reboot_error(errno, true, true);
            assert_eq!((error.kind(), error.errno()), (ErrorKind::RebootFailed, errno));
        }
        assert_eq!(reboot_error(Errno::PERM, false, true).kind(), ErrorKind::NoPermission);
        assert_eq!(reboot_error(Errno::INVAL, true, false).kind(), ErrorKind::NotLoaded);
    }
}
