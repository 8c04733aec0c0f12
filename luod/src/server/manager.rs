// SPDX-License-Identifier: MIT OR Apache-2.0

//! The methods of `io.liveupdate.Manager`.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use super::Answer;
use super::stream::Mode;
use crate::agent::{Agent, Load};
use crate::system::peer::Peer;
use crate::varlink::agent::Nothing;
use crate::varlink::manager::{
    Check, Discard, Error, Findings, Load as Loading, Metrics, Phase, Progress, Reloaded, Update,
};
use crate::varlink::{Request, json, service};

pub(super) async fn answer(
    agent: &Rc<Agent>,
    peer: &Peer,
    request: &Request,
    mode: Mode,
    fds: Vec<OwnedFd>,
) -> Answer {
    if !agent.is_administrator(&peer.credentials) {
        let message =
            "only root and members of the group `administrators` of the policy may do this; try \
                       again with sudo"
                .to_owned();
        return Answer::error(Error::NotAllowed { message });
    }
    call(agent, request, mode, fds).await.unwrap_or_else(Answer::error)
}

async fn call(
    agent: &Rc<Agent>,
    request: &Request,
    mode: Mode,
    fds: Vec<OwnedFd>,
) -> Result<Answer, service::Error> {
    let mut fds: Vec<_> = fds.into_iter().map(Some).collect();
    Ok(match request.split().1 {
        "Status" => {
            let Nothing {} = request.parameters()?;
            Answer::reply(agent.status())
        }
        "List" => {
            let Nothing {} = request.parameters()?;
            Answer::list("sessions", agent.list_all(), mode.more)
        }
        "Check" => {
            let check: Check = request.parameters()?;
            let kernel = check.kernel_file_descriptor.map(|at| take(&mut fds, at)).transpose();
            match kernel {
                Ok(kernel) => {
                    let found = agent.check(kernel, check.cmdline.as_deref()).await;
                    Answer::of(found.map(|findings| Findings { findings }))
                }
                Err(error) => Answer::error(error),
            }
        }
        "Load" => {
            let load: Loading = request.parameters()?;
            match files(load, &mut fds) {
                Ok(load) => {
                    Answer::of(agent.load(load).await.map(|findings| Findings { findings }))
                }
                Err(error) => Answer::error(error),
            }
        }
        "Unload" => {
            let Nothing {} = request.parameters()?;
            Answer::of(agent.unload().await.map(|()| Nothing {}))
        }
        "Update" => {
            let order: Update = request.parameters()?;
            match agent.update(&order).await {
                Ok((findings, generation)) => {
                    let phase = if generation.is_some() { Phase::Preparing } else { Phase::Loaded };
                    let first = json(Progress {
                        phase,
                        generation: generation.map(|it| it.0),
                        findings: Some(findings),
                        awaited: None,
                        unnamed: None,
                    });
                    match generation {
                        Some(generation) => Answer::Progress(first, generation),
                        None => Answer::reply(first),
                    }
                }
                Err(error) => Answer::error(error),
            }
        }
        "Cancel" => {
            let Nothing {} = request.parameters()?;
            Answer::of(agent.cancel().map(|()| Nothing {}))
        }
        "Discard" => {
            let discard: Discard = request.parameters()?;
            Answer::of(agent.discard_any(&discard).await.map(|()| Nothing {}))
        }
        "Reload" => {
            let Nothing {} = request.parameters()?;
            Answer::of(agent.reload().await.map(|warnings| Reloaded { warnings }))
        }
        "Metrics" => {
            let Nothing {} = request.parameters()?;
            Answer::reply(Metrics { text: agent.metrics() })
        }
        _ => return Err(service::Error::MethodNotFound { method: request.method.clone() }),
    })
}

/// The files of a kernel among those that came along.
fn files(load: Loading, fds: &mut [Option<OwnedFd>]) -> Result<Load, Error> {
    let kernel = take(fds, load.kernel_file_descriptor)?;
    let initrd = load.initrd_file_descriptor.map(|at| take(fds, at)).transpose()?;
    Ok(Load { kernel, initrd, cmdline: load.cmdline })
}

fn take(fds: &mut [Option<OwnedFd>], at: u32) -> Result<File, Error> {
    let fd = usize::try_from(at).ok().and_then(|at| fds.get_mut(at)).and_then(Option::take);
    fd.map(File::from).ok_or_else(|| {
        let message = format!("no file descriptor came along with the index {at}");
        Error::BadKernel { message }
    })
}
