// SPDX-License-Identifier: MIT OR Apache-2.0

//! The sockets of luod: one task for each connection, and bounds for all of them.
//!
//! Nothing that a peer does or leaves undone is waited for in the path of another one.

use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;
use zlink::connection::{ReadConnection, WriteConnection};

use crate::agent::Agent;
use crate::system::peer::Peer;
use crate::varlink::{self, Connection, Reader, Request, Wire, Writer, service};

mod agent;
mod answer;
mod charge;
mod listener;
mod manager;
mod stream;

use answer::Answer;
pub use charge::Charges;
pub use listener::Listener;

/// The interface of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// For clients.
    Agent,
    /// For administrators.
    Manager,
}

/// The time for the rest of a frame, and for sending one.
const FRAME: Duration = Duration::from_secs(10);

/// A pause after an error of accepting, mostly that no file descriptor is left.
const PAUSE: Duration = Duration::from_millis(100);

type Read = ReadConnection<Reader>;
type Write = WriteConnection<Writer>;

/// Serves an interface for ever.
pub async fn serve(
    agent: Rc<Agent>,
    listener: Listener,
    interface: Interface,
    charges: Rc<Charges>,
) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                // Over the limit, it is closed at once.
                let Some(charge) = charges.connection() else { continue };
                let agent = Rc::clone(&agent);
                tokio::task::spawn_local(async move {
                    if let Err(error) = connection(agent, stream, interface, charge).await {
                        tracing::debug!("a connection has ended: {error}");
                    }
                });
            }
            Err(error) => {
                tracing::warn!("no connection can be accepted: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(
    agent: Rc<Agent>,
    stream: UnixStream,
    interface: Interface,
    mut charge: charge::Charge,
) -> zlink::Result<()> {
    let limits = varlink::Limits { takes_fds: interface == Interface::Manager, frame: FRAME };
    let mut connection = Connection::new(Wire::new(stream, limits)?);
    let peer = match Peer::of(&mut connection, agent.config().services).await {
        Ok(peer) => peer,
        Err(error) => {
            let error = crate::agent::sentence(&error);
            tracing::debug!("a connection is refused: {error}");
            return Ok(());
        }
    };
    if !charge.set_owner(&peer.owner, agent.is_admitted(&peer)) {
        tracing::debug!("{} has too many connections", peer.owner);
        return Ok(());
    }
    let (mut read, mut write) = connection.split();
    loop {
        let (call, fds) = match read.receive_call::<Request>().await {
            Ok(received) => received,
            Err(zlink::Error::UnexpectedEof) => return Ok(()),
            Err(error) => return Err(error),
        };
        let request = call.method();
        let mode = stream::Mode { more: call.more(), oneway: call.oneway() };
        let answer = match (request.split().0, interface) {
            (service::NAME, Interface::Agent) => service(request, varlink::agent::NAME),
            (service::NAME, Interface::Manager) => service(request, varlink::manager::NAME),
            (varlink::agent::NAME, Interface::Agent) => {
                agent::answer(&agent, &peer, request, mode).await
            }
            (varlink::manager::NAME, Interface::Manager) => {
                manager::answer(&agent, &peer, request, mode, fds).await
            }
            (interface, _) => {
                Answer::error(service::Error::InterfaceNotFound { interface: interface.into() })
            }
        };
        if !stream::send(&agent, answer, mode, &mut read, &mut write).await? {
            return Ok(());
        }
    }
}

fn service(request: &Request, interface: &'static str) -> Answer {
    match service::answer(request, interface) {
        Ok(value) => Answer::reply(value),
        Err(error) => Answer::error(error),
    }
}
