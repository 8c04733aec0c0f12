// SPDX-License-Identifier: MIT OR Apache-2.0

//! A connection that is kept for the next call.

use std::sync::Mutex;

use rustix::process::{Gid, Uid, getegid, geteuid};

use super::connection::Connection;

/// A connection over which no call is under way, if there is one.
///
/// The agent learns who its peer is when a connection is made. So a child never uses that of its parent, and a process
/// that has become another user makes a new one.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Option<(Peer, Connection)>>);

/// What the agent knows of the process.
type Peer = (u32, Uid, Gid);

fn peer() -> Peer {
    (std::process::id(), geteuid(), getegid())
}

impl Idle {
    /// The connection, for one call. There is none while another thread looks: it may be one that a child of
    /// `fork(2)` does not have.
    pub(super) fn take(&self) -> Option<Connection> {
        let (made_by, connection) = self.0.try_lock().ok()?.take()?;
        (made_by == peer()).then_some(connection)
    }

    /// Keeps a connection whose call is answered.
    pub(super) fn keep(&self, connection: Connection) {
        if let Ok(mut idle) = self.0.try_lock() {
            *idle = Some((peer(), connection));
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
        let parent = (std::process::id() + 1, geteuid(), getegid());
        let of_parent = Idle(Mutex::new(Some((parent, Connection::open(&path, None).unwrap()))));
        assert!(of_parent.take().is_none());
    }
}
