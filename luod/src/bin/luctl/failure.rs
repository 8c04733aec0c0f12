// SPDX-License-Identifier: MIT OR Apache-2.0

//! Failures, and the codes with which luctl ends.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::output::Output;

/// The codes with which luctl ends. They are documented in the help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    /// There is no such session; for `get` and `exec`, a cold start.
    NoSession = 3,
    /// The checks speak against an update.
    CheckFailed = 4,
    /// The update was called off.
    Aborted = 5,
    NotAllowed = 6,
    /// luod cannot be reached.
    NoAgent = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why luctl has not done what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// A sentence, with the next step to take.
    pub(crate) message: String,
    /// The name of the error, for programs.
    pub(crate) name: Option<String>,
    pub(crate) parameters: Value,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::with(Exit::Failed, message)
    }

    pub(crate) fn with(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), name: None, parameters: Value::Null }
    }

    /// An error of luod, by its name.
    pub(crate) fn of_reply(name: String, parameters: Value) -> Self {
        let exit = match name.rsplit('.').next().unwrap_or_default() {
            "NoSession" => Exit::NoSession,
            "CheckFailed" => Exit::CheckFailed,
            "Aborted" => Exit::Aborted,
            "NotAllowed" | "PermissionDenied" => Exit::NotAllowed,
            _ => Exit::Failed,
        };
        let message = match parameters.get("message").and_then(Value::as_str) {
            Some(message) => message.to_owned(),
            None => format!("luod answers {name} {parameters}; are luod and luctl of one version?"),
        };
        Self { exit, message, name: Some(name), parameters }
    }

    pub(crate) fn report(&self, output: Output) -> ExitCode {
        if output.is_json {
            let error = json!({ "error": { "name": self.name, "message": self.message } });
            println!("{error}");
        }
        eprintln!("luctl: {}", self.message);
        self.exit.into()
    }
}

impl From<liblu::Error> for Failure {
    fn from(error: liblu::Error) -> Self {
        use liblu::ErrorKind;
        let exit = match error.kind() {
            ErrorKind::NoSession => Exit::NoSession,
            ErrorKind::NoAgent => Exit::NoAgent,
            ErrorKind::Refused | ErrorKind::NoPermission => Exit::NotAllowed,
            _ => Exit::Failed,
        };
        let next = match exit {
            Exit::NoAgent => "; start it with `systemctl start luod`",
            _ => "",
        };
        Self::with(exit, format!("{error}{next}"))
    }
}
