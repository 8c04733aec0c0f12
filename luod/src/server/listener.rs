// SPDX-License-Identifier: MIT OR Apache-2.0

//! Listening sockets.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::polled::polled;

/// A listening socket. Those that it accepts are not polled yet, as tokio's own would be.
#[derive(Debug)]
pub struct Listener(AsyncFd<UnixListener>);

impl Listener {
    /// A socket that listens already.
    ///
    /// # Errors
    ///
    /// It cannot be polled.
    pub fn new(listener: UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        polled(listener, Interest::READABLE).map(Self)
    }

    /// A socket at `path`, for luod without a service manager.
    ///
    /// # Errors
    ///
    /// Another luod listens there, or the path cannot be used.
    pub fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        if UnixStream::connect(path).is_ok() {
            let why = format!("another luod listens at {}", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        Self::new(listener)
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let mut ready = self.0.readable().await?;
            if let Ok(accepted) = ready.try_io(|it| it.get_ref().accept()) {
                return accepted.map(|(stream, _)| stream);
            }
        }
    }
}
