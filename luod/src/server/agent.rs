// SPDX-License-Identifier: MIT OR Apache-2.0

//! The methods of `io.liveupdate.Agent`.

use std::rc::Rc;
use std::time::Duration;

use super::Answer;
use super::stream::Mode;
use crate::agent::{Agent, Source};
use crate::system::peer::Peer;
use crate::varlink::agent::{
    Claimed, Extend, Extended, Labelled, Nothing, Opened, Participate, Ready, Refuse,
};
use crate::varlink::{Request, service};

pub(super) async fn answer(
    agent: &Rc<Agent>,
    peer: &Peer,
    request: &Request,
    mode: Mode,
) -> Answer {
    call(agent, peer, request, mode).await.unwrap_or_else(Answer::error)
}

async fn call(
    agent: &Rc<Agent>,
    peer: &Peer,
    request: &Request,
    mode: Mode,
) -> Result<Answer, service::Error> {
    Ok(match request.split().1 {
        "Open" => {
            let Labelled { label } = request.parameters()?;
            match agent.open(peer, &label).await {
                Ok((fd, name)) => Answer::Reply(
                    crate::varlink::json(Opened {
                        session_file_descriptor: 0,
                        session_name: name.to_string(),
                    }),
                    vec![fd],
                ),
                Err(error) => Answer::error(error),
            }
        }
        "Claim" => {
            let Labelled { label } = request.parameters()?;
            match agent.claim(peer, &label).await {
                Ok((fd, name, source)) => Answer::Reply(
                    crate::varlink::json(Claimed {
                        session_file_descriptor: 0,
                        session_name: name.to_string(),
                        source: match source {
                            Source::Kernel => "kernel".into(),
                            Source::FdStore => "fdstore".into(),
                        },
                    }),
                    vec![fd],
                ),
                Err(error) => Answer::error(error),
            }
        }
        "Restored" => {
            let Labelled { label } = request.parameters()?;
            Answer::of(agent.restored(peer, &label).await.map(|()| Nothing {}))
        }
        "Discard" => {
            let Labelled { label } = request.parameters()?;
            Answer::of(agent.discard(peer, &label).await.map(|()| Nothing {}))
        }
        "Keep" => {
            let Labelled { label } = request.parameters()?;
            Answer::of(agent.keep(peer, &label).await.map(|()| Nothing {}))
        }
        "Participate" if !mode.more => return Err(service::Error::ExpectedMore {}),
        "Participate" => {
            let Participate { labels } = request.parameters()?;
            match agent.participate(peer, &labels) {
                Ok(participation) => Answer::Events(participation),
                Err(error) => Answer::error(error),
            }
        }
        "Ready" => {
            let Ready { participant, generation } = request.parameters()?;
            Answer::of(agent.ready(peer, participant, generation).map(|()| Nothing {}))
        }
        "Refuse" => {
            let Refuse { participant, generation, reason } = request.parameters()?;
            let refused = agent.refuse(peer, participant, generation, &reason);
            Answer::of(refused.map(|()| Nothing {}))
        }
        "Extend" => {
            let Extend { participant, generation, time } = request.parameters()?;
            let time = Duration::from_millis(time);
            let extended = agent.extend(peer, participant, generation, time);
            Answer::of(extended.map(|left| {
                let deadline = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                Extended { deadline }
            }))
        }
        "List" => {
            let Nothing {} = request.parameters()?;
            match agent.list(peer) {
                Ok(sessions) => Answer::list("sessions", sessions, mode.more),
                Err(error) => Answer::error(error),
            }
        }
        _ => return Err(service::Error::MethodNotFound { method: request.method.clone() }),
    })
}
