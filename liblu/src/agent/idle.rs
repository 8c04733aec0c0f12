// SPDX-License-Identifier: MIT OR Apache-2.0

//! A connection that is kept for the next call.

use std::sync::Mutex;

use super::connection::Connection;

/// A connection over which no call is under way, if there is one.
///
/// The agent learns who its peer is when a connection is made, so a child never uses that of its parent.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Option<(u32, Connection)>>);

impl Idle {
    /// The connection, for one call. There is none while another thread looks: it may be one that a child of
    /// `fork(2)` does not have.
    pub(super) fn take(&self) -> Option<Connection> {
        let (pid, connection) = self.0.try_lock().ok()?.take()?;
        (pid == std::process::id()).then_some(connection)
    }

    /// Keeps a connection whose call is answered.
    pub(super) fn keep(&self, connection: Connection) {
        if let Ok(mut idle) = self.0.try_lock() {
            *idle = Some((std::process::id(), connection));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no sockets with names")]
    fn a_child_does_not_take_the_connection_of_its_parent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent");
        let _listener = UnixListener::bind(&path).unwrap();
        let idle = Idle::default();
        idle.keep(Connection::open(&path, None).unwrap());
        assert!(idle.take().is_some());
        assert!(idle.take().is_none(), "it is for one call");
        let parent = std::process::id() + 1;
        let of_parent = Idle(Mutex::new(Some((parent, Connection::open(&path, None).unwrap()))));
        assert!(of_parent.take().is_none());
    }
}
