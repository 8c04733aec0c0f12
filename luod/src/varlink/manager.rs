// SPDX-License-Identifier: MIT OR Apache-2.0

//! `io.liveupdate.Manager`, for administrators.
//!
//! The interface file says what methods, fields and errors mean.
#![expect(missing_docs, reason = "the interface file has them, for readers of all languages")]

use serde::{Deserialize, Serialize};
use zlink::introspect::{self, Type};

/// The name of the interface.
pub const NAME: &str = "io.liveupdate.Manager";

/// The interface file.
pub const TEXT: &str = include_str!("../../interfaces/io.liveupdate.Manager.varlink");

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, introspect::CustomType)]
#[serde(rename_all = "camelCase")]
#[zlink(rename_all = "camelCase")]
pub enum Phase {
    Idle,
    Loaded,
    Checking,
    Preparing,
    Freezing,
    Committing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, introspect::CustomType)]
#[serde(rename_all = "camelCase")]
#[zlink(rename_all = "camelCase")]
pub enum Mode {
    Systemd,
    Standalone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, introspect::CustomType)]
#[serde(rename_all = "camelCase")]
#[zlink(rename_all = "camelCase")]
pub enum Method {
    Systemctl,
    Now,
}

#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    introspect::CustomType,
)]
#[serde(rename_all = "camelCase")]
#[zlink(rename_all = "camelCase")]
pub enum Severity {
    Note,
    Warning,
    Unknown,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, introspect::CustomType)]
pub struct Finding {
    pub id: String,
    pub severity: Severity,
    pub meaning: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, introspect::CustomType)]
pub struct Awaited {
    pub owner: String,
    pub labels: Vec<String>,
    #[serde(rename = "leftMSec")]
    #[zlink(rename = "leftMSec")]
    pub left: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, introspect::CustomType)]
pub struct File {
    pub token: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handler: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, introspect::CustomType)]
#[serde(rename_all = "camelCase")]
#[zlink(rename_all = "camelCase")]
pub struct Session {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    pub session_name: String,
    pub direction: String,
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<File>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, introspect::CustomType)]
pub struct Target {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    pub container: String,
    pub cmdline: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, Type)]
#[serde(rename_all = "camelCase")]
#[zlink(rename_all = "camelCase")]
pub struct Status {
    pub mode: Mode,
    pub version: String,
    pub phase: Phase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    pub awaited: Vec<Awaited>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unnamed: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    pub participants: u32,
    pub sessions: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, Type)]
pub struct List {
    pub sessions: Vec<Session>,
}

#[derive(Debug, Default, Serialize, Deserialize, Type)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[zlink(rename_all = "camelCase")]
pub struct Check {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_file_descriptor: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd_file_descriptor: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, Type)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[zlink(rename_all = "camelCase")]
pub struct Load {
    pub kernel_file_descriptor: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd_file_descriptor: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, Type)]
pub struct Findings {
    pub findings: Vec<Finding>,
}

#[derive(Debug, Default, Serialize, Deserialize, Type)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[zlink(rename_all = "camelCase")]
pub struct Update {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    #[serde(default, rename = "deadlineMSec", skip_serializing_if = "Option::is_none")]
    #[zlink(rename = "deadlineMSec")]
    pub deadline: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept_unknown: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#override: Option<Vec<String>>,
}

#[derive(Clone, Debug, Serialize, Deserialize, Type)]
pub struct Progress {
    pub phase: Phase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub findings: Option<Vec<Finding>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaited: Option<Vec<Awaited>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unnamed: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize, Type)]
#[serde(deny_unknown_fields)]
pub struct Discard {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    pub label: String,
    pub direction: String,
}

#[derive(Debug, Serialize, Deserialize, Type)]
pub struct Reloaded {
    pub warnings: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize, Type)]
pub struct Metrics {
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, introspect::ReplyError)]
#[serde(tag = "error", content = "parameters")]
pub enum Error {
    #[serde(rename = "io.liveupdate.Manager.NotAllowed")]
    NotAllowed { message: String },
    #[serde(rename = "io.liveupdate.Manager.NotLoaded")]
    NotLoaded { message: String },
    #[serde(rename = "io.liveupdate.Manager.InProgress")]
    InProgress { message: String, phase: Phase },
    #[serde(rename = "io.liveupdate.Manager.NoUpdate")]
    NoUpdate { message: String },
    #[serde(rename = "io.liveupdate.Manager.Committing")]
    Committing { message: String },
    #[serde(rename = "io.liveupdate.Manager.CheckFailed")]
    CheckFailed { message: String, findings: Vec<Finding> },
    #[serde(rename = "io.liveupdate.Manager.Aborted")]
    Aborted { message: String, owner: Option<String> },
    #[serde(rename = "io.liveupdate.Manager.BadKernel")]
    BadKernel { message: String },
    #[serde(rename = "io.liveupdate.Manager.NoSession")]
    NoSession { message: String, label: String },
    #[serde(rename = "io.liveupdate.Manager.BadPolicy")]
    BadPolicy { message: String, path: String, line: Option<u32> },
    #[serde(rename = "io.liveupdate.Manager.Unavailable")]
    Unavailable { message: String },
    #[serde(rename = "io.liveupdate.Manager.KernelError")]
    KernelError {
        message: String,
        #[serde(rename = "errnoName")]
        #[zlink(rename = "errnoName")]
        errno_name: String,
        errno: i32,
    },
}
