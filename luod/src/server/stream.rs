// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sending answers, also those that go on.

use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::{Answer, Read, Write};
use crate::agent::{Agent, Participation};
use crate::update::Generation;
use crate::varlink::{Reply, Request, json};

/// The way in which a method was called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mode {
    /// With several replies.
    pub(super) more: bool,
    /// Without any.
    pub(super) oneway: bool,
}

/// Progress is told no more often, whatever changes.
const PACE: Duration = Duration::from_millis(50);

/// Sends an answer. False if the connection ends with it.
pub(super) async fn send(
    agent: &Rc<Agent>,
    answer: Answer,
    mode: Mode,
    read: &mut Read,
    write: &mut Write,
) -> zlink::Result<bool> {
    match answer {
        Answer::Reply(..) | Answer::Error(_) | Answer::Several(_) if mode.oneway => Ok(true),
        Answer::Reply(value, fds) => {
            write.send_reply(&Reply::new(Some(value)), fds).await.map(|()| true)
        }
        Answer::Error(error) => write.send_error(&error, Vec::new()).await.map(|()| true),
        Answer::Several(values) => {
            let last = values.len().saturating_sub(1);
            for (at, value) in values.into_iter().enumerate() {
                reply(write, value, at < last).await?;
            }
            Ok(true)
        }
        Answer::Events(events) => send_events(events, read, write).await.map(|()| false),
        Answer::Progress(first, generation) => {
            send_progress(agent, first, generation, mode, read, write).await
        }
    }
}

async fn reply(write: &mut Write, value: Value, continues: bool) -> zlink::Result<()> {
    let reply = Reply::new(Some(value)).set_continues(continues.then_some(true));
    write.send_reply(&reply, Vec::new()).await
}

/// Sends the events of a participant until it hangs up, or counts as gone.
async fn send_events(
    mut participation: Participation,
    read: &mut Read,
    write: &mut Write,
) -> zlink::Result<()> {
    loop {
        let event = tokio::select! {
            event = participation.events.recv() => event,
            // It has hung up, or talks where it should listen.
            _ = read.receive_call::<Request>() => None,
        };
        let Some(event) = event else { return Ok(()) };
        reply(write, json(event), true).await?;
    }
}

/// Sends the progress of an update until it is off. If it goes through, nobody lives to see the end.
async fn send_progress(
    agent: &Rc<Agent>,
    first: Value,
    generation: Generation,
    mode: Mode,
    read: &mut Read,
    write: &mut Write,
) -> zlink::Result<bool> {
    let mut changes = agent.changes();
    if mode.more {
        reply(write, first, true).await?;
    }
    let mut last = None;
    loop {
        match agent.progress(generation) {
            Err(_) if mode.oneway => return Ok(true),
            Err(error) => return write.send_error(&error, Vec::new()).await.map(|()| true),
            Ok(progress) => {
                let progress = json(progress);
                if mode.more && last.as_ref() != Some(&progress) {
                    reply(write, progress.clone(), true).await?;
                    last = Some(progress);
                }
            }
        }
        let next = async {
            sleep(PACE).await;
            changes.changed().await.is_ok()
        };
        tokio::select! {
            has_changed = next => if !has_changed { return Ok(false) },
            // The update goes on without those who watched.
            _ = read.receive_call::<Request>() => return Ok(false),
        }
    }
}
