// SPDX-License-Identifier: MIT OR Apache-2.0

//! `io.liveupdate.Agent`, for programs that survive updates.
//!
//! The interface file says what methods, fields and errors mean.
#![expect(missing_docs, reason = "the interface file has them, for readers of all languages")]

use serde::{Deserialize, Serialize};
use zlink::introspect::{self, Type};

use crate::registry;

/// The name of the interface.
pub const NAME: &str = "io.liveupdate.Agent";

/// The interface file.
pub const TEXT: &str = include_str!("../../interfaces/io.liveupdate.Agent.varlink");

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, introspect::CustomType)]
#[serde(rename_all = "camelCase")]
#[zlink(rename_all = "camelCase")]
pub enum Direction {
    Outgoing,
    Incoming,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, introspect::CustomType)]
#[serde(rename_all = "camelCase")]
#[zlink(rename_all = "camelCase")]
pub enum State {
    Open,
    Ready,
    Waiting,
    Claimed,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outgoing => "outgoing",
            Self::Incoming => "incoming",
        }
    }
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Ready => "ready",
            Self::Waiting => "waiting",
            Self::Claimed => "claimed",
        }
    }
}

impl From<registry::Direction> for Direction {
    fn from(direction: registry::Direction) -> Self {
        match direction {
            registry::Direction::Outgoing => Self::Outgoing,
            registry::Direction::Incoming => Self::Incoming,
        }
    }
}

impl From<&registry::State> for State {
    fn from(state: &registry::State) -> Self {
        match state {
            registry::State::Open => Self::Open,
            registry::State::Ready => Self::Ready,
            registry::State::Waiting => Self::Waiting,
            registry::State::Claimed(_) => Self::Claimed,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, introspect::CustomType)]
#[serde(rename_all = "camelCase")]
#[zlink(rename_all = "camelCase")]
pub struct Session {
    pub label: String,
    pub session_name: String,
    pub direction: Direction,
    pub state: State,
    pub files: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, introspect::CustomType)]
#[serde(rename_all = "camelCase")]
pub struct Prepare {
    pub generation: u64,
    #[serde(rename = "deadlineMSec")]
    #[zlink(rename = "deadlineMSec")]
    pub deadline: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, introspect::CustomType)]
pub struct Abort {
    pub generation: u64,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, introspect::CustomType)]
pub struct Commit {
    pub generation: u64,
}

/// The parameters of methods with a label alone.
#[derive(Debug, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct Labelled {
    pub label: String,
}

#[derive(Debug, Serialize, Deserialize, Type)]
#[serde(rename_all = "camelCase")]
#[zlink(rename_all = "camelCase")]
pub struct Opened {
    pub session_file_descriptor: u32,
    pub session_name: String,
}

#[derive(Debug, Serialize, Deserialize, Type)]
#[serde(rename_all = "camelCase")]
#[zlink(rename_all = "camelCase")]
pub struct Claimed {
    pub session_file_descriptor: u32,
    pub session_name: String,
    pub source: String,
}

#[derive(Debug, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct Participate {
    pub labels: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, Type)]
pub struct Event {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub participant: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prepare: Option<Prepare>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<Abort>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
}

#[derive(Debug, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    pub participant: u64,
    pub generation: u64,
}

#[derive(Debug, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct Refuse {
    pub participant: u64,
    pub generation: u64,
    pub reason: String,
}

#[derive(Debug, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    pub participant: u64,
    pub generation: u64,
    #[serde(rename = "timeMSec")]
    #[zlink(rename = "timeMSec")]
    pub time: u64,
}

#[derive(Debug, Serialize, Deserialize, Type)]
pub struct Extended {
    #[serde(rename = "deadlineMSec")]
    #[zlink(rename = "deadlineMSec")]
    pub deadline: u64,
}

#[derive(Debug, Default, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

#[derive(Debug, Serialize, Deserialize, Type)]
pub struct List {
    pub sessions: Vec<Session>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, introspect::ReplyError)]
#[serde(tag = "error", content = "parameters")]
pub enum Error {
    #[serde(rename = "io.liveupdate.Agent.NoSession")]
    NoSession { message: String, label: String },
    #[serde(rename = "io.liveupdate.Agent.Held")]
    Held {
        message: String,
        label: String,
        pid: u32,
        #[serde(rename = "sinceMSec")]
        #[zlink(rename = "sinceMSec")]
        since: u64,
    },
    #[serde(rename = "io.liveupdate.Agent.NotOpen")]
    NotOpen { message: String, label: String },
    #[serde(rename = "io.liveupdate.Agent.InvalidLabel")]
    InvalidLabel { message: String, label: String },
    #[serde(rename = "io.liveupdate.Agent.NotAllowed")]
    NotAllowed { message: String },
    #[serde(rename = "io.liveupdate.Agent.TooManySessions")]
    TooManySessions { message: String, limit: u32 },
    #[serde(rename = "io.liveupdate.Agent.StoreFull")]
    StoreFull { message: String, limit: u32 },
    #[serde(rename = "io.liveupdate.Agent.NoSuchParticipant")]
    NoSuchParticipant { message: String, participant: u64 },
    #[serde(rename = "io.liveupdate.Agent.StaleGeneration")]
    StaleGeneration { message: String, current: Option<u64> },
    #[serde(rename = "io.liveupdate.Agent.Committing")]
    Committing { message: String },
    #[serde(rename = "io.liveupdate.Agent.Unavailable")]
    Unavailable { message: String },
    #[serde(rename = "io.liveupdate.Agent.KernelError")]
    KernelError {
        message: String,
        #[serde(rename = "errnoName")]
        #[zlink(rename = "errnoName")]
        errno_name: String,
        errno: i32,
    },
}
