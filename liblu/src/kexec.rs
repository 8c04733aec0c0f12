// SPDX-License-Identifier: MIT OR Apache-2.0

//! Loading the next kernel, and going there.
//!
//! It takes root. On a machine with systemd, `systemctl kexec` goes to the kernel that is loaded here,
//! after it has stopped everything.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::system::{RebootCommand, reboot as reboot_now};

use crate::sys;

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

/// Why a kernel was not loaded, or not gone to.
///
/// ```
/// use liblu::kexec::{Kernel, KexecError};
///
/// let image = std::fs::File::open("/dev/null")?;
/// let error = Kernel::new(&image).cmdline("a\0b").load().unwrap_err();
/// assert!(matches!(error, KexecError::Nul));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KexecError {
    /// The command line has a NUL inside.
    #[error("the command line must not contain NUL")]
    Nul,
    /// This process may not.
    #[error("only root may load a kernel, and only where lockdown and policy let it")]
    NoPermission,
    /// The image is no kernel for this machine, or no regular file, or the command line is too long.
    #[error("the image is no kernel that can be loaded, or the command line is too long")]
    NoKernel(#[source] Errno),
    /// The image or the initrd is open for writing.
    #[error("the image or the initrd is open for writing")]
    BeingWritten(#[source] Errno),
    /// A signature is missing or wrong.
    #[error("the kernel accepts signed images only, and this one is not, or by a stranger")]
    Signature(#[source] Errno),
    /// Another process is loading a kernel, or the kernel is being left.
    #[error("another kernel is being loaded, or this one is being left")]
    Busy,
    /// A file of `/proc` or `/sys` cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A system call failed in a way that has no name above. From [`reboot`]: a file could not be
    /// frozen, and everything is as it was.
    #[error("cannot {doing}")]
    System {
        /// What was to be done.
        doing: &'static str,
        /// What the kernel said.
        source: Errno,
    },
}

impl KexecError {
    /// The kernel's number for this.
    ///
    /// ```
    /// assert_eq!(liblu::kexec::KexecError::Busy.errno(), rustix::io::Errno::BUSY);
    /// ```
    pub fn errno(&self) -> Errno {
        match self {
            Self::Nul => Errno::INVAL,
            Self::NoPermission => Errno::PERM,
            Self::Busy => Errno::BUSY,
            Self::Read { source, .. } => Errno::from_io_error(source).unwrap_or(Errno::IO),
            Self::NoKernel(source)
            | Self::BeingWritten(source)
            | Self::Signature(source)
            | Self::System { source, .. } => *source,
        }
    }
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
    /// [`KexecError::Read`] without `/proc`.
    ///
    /// ```no_run
    /// # let image = std::fs::File::open("/boot/vmlinuz-7.3.4")?;
    /// let kernel = liblu::kexec::Kernel::new(&image).running_cmdline()?;
    /// # drop(kernel);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn running_cmdline(self) -> Result<Self, KexecError> {
        let running = fs::read_to_string(CMDLINE)
            .map_err(|source| KexecError::Read { path: CMDLINE, source })?;
        Ok(self.cmdline(without_loader(&running)))
    }

    /// Loads it. What was loaded before is forgotten if this succeeds, and stays if not.
    ///
    /// # Errors
    ///
    /// See [`KexecError`].
    ///
    /// ```no_run
    /// # let image = std::fs::File::open("/boot/vmlinuz-7.3.4")?;
    /// liblu::kexec::Kernel::new(&image).running_cmdline()?.load()?;
    /// assert!(liblu::kexec::is_loaded()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(&self) -> Result<(), KexecError> {
        let cmdline = CString::new(self.cmdline.as_str()).map_err(|_| KexecError::Nul)?;
        let no_initrd = if self.initrd.is_none() { libc::KEXEC_FILE_NO_INITRAMFS } else { 0 };
        let flags = libc::c_ulong::try_from(no_initrd).unwrap_or_default();
        sys::kexec_file_load(self.image, self.initrd, &cmdline, flags).map_err(load_error)
    }
}

fn load_error(errno: Errno) -> KexecError {
    match errno {
        Errno::PERM | Errno::ACCESS => KexecError::NoPermission,
        Errno::NOEXEC | Errno::INVAL => KexecError::NoKernel(errno),
        Errno::TXTBSY => KexecError::BeingWritten(errno),
        Errno::KEYREJECTED
        | Errno::BADMSG
        | Errno::NODATA
        | Errno::NOKEY
        | Errno::NOPKG
        | Errno::LIBBAD => KexecError::Signature(errno),
        Errno::BUSY => KexecError::Busy,
        source => KexecError::System { doing: "load a kernel", source },
    }
}

/// A command line without what boot loaders say of themselves.
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

/// Whether a kernel is loaded.
///
/// # Errors
///
/// [`KexecError::Read`] if the kernel has no kexec, or there is no `/sys`.
///
/// ```no_run
/// if !liblu::kexec::is_loaded()? {
///     eprintln!("load a kernel first");
/// }
/// # Ok::<(), liblu::kexec::KexecError>(())
/// ```
pub fn is_loaded() -> Result<bool, KexecError> {
    let text =
        fs::read_to_string(LOADED).map_err(|source| KexecError::Read { path: LOADED, source })?;
    Ok(text.trim() == "1")
}

/// Forgets the kernel that is loaded, if one is.
///
/// # Errors
///
/// [`KexecError::NoPermission`], [`KexecError::Busy`].
///
/// ```no_run
/// liblu::kexec::unload()?;
/// # Ok::<(), liblu::kexec::KexecError>(())
/// ```
pub fn unload() -> Result<(), KexecError> {
    let null = fs::File::open("/dev/null")
        .map_err(|source| KexecError::Read { path: "/dev/null", source })?;
    let flags = libc::KEXEC_FILE_UNLOAD | libc::KEXEC_FILE_NO_INITRAMFS;
    let flags = libc::c_ulong::try_from(flags).unwrap_or_default();
    sys::kexec_file_load(null.as_fd(), None, c"", flags).map_err(load_error)
}

/// Goes to the kernel that is loaded, at once: nothing is stopped, no file system is synced. With
/// systemd, `systemctl kexec` is what you want.
///
/// # Errors
///
/// It only returns if it failed: what the handler of a file said that could not be frozen, and then
/// everything can go on as before; `EINVAL` if no kernel is loaded.
///
/// ```no_run
/// let error = liblu::kexec::reboot();
/// eprintln!("still here: {error}");
/// ```
pub fn reboot() -> KexecError {
    match reboot_now(RebootCommand::Kexec) {
        Err(Errno::PERM) => KexecError::NoPermission,
        Err(Errno::BUSY) => KexecError::Busy,
        Err(source) => KexecError::System { doing: "go to the next kernel", source },
        // The kernel does not say that it has gone.
        Ok(()) => KexecError::System { doing: "go to the next kernel", source: Errno::IO },
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
    fn errors_are_named() {
        assert!(matches!(load_error(Errno::PERM), KexecError::NoPermission));
        assert!(matches!(load_error(Errno::NOEXEC), KexecError::NoKernel(Errno::NOEXEC)));
        assert_eq!(load_error(Errno::TXTBSY).errno(), Errno::TXTBSY);
        assert!(matches!(load_error(Errno::NOKEY), KexecError::Signature(Errno::NOKEY)));
        assert_eq!(load_error(Errno::NOMEM).to_string(), "cannot load a kernel");
    }
}
