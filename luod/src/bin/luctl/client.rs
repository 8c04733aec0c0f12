// SPDX-License-Identifier: MIT OR Apache-2.0

//! The client's side of the interfaces.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use luod::varlink::{Call, Connection, Limits, Stream, Wire, agent, manager};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::UnixStream;

use crate::failure::{Exit, Failure};

pub(crate) use luod::varlink::agent::Nothing;

/// A connection to luod.
pub(crate) struct Client {
    stream: Stream,
    interface: &'static str,
}

#[derive(Debug, Serialize)]
struct Method<'a, P> {
    method: &'a str,
    parameters: P,
}

/// A reply, or an error: the two have the same form.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    parameters: Value,
    error: Option<String>,
    continues: Option<bool>,
}

/// One of several replies.
#[derive(Debug)]
pub(crate) struct Part<T> {
    pub(crate) value: T,
    pub(crate) is_last: bool,
}

impl Client {
    /// The interface of administrators.
    pub(crate) async fn manager(folder: &Path) -> Result<Self, Failure> {
        Self::connect(folder, manager::NAME).await
    }

    /// The interface of programs.
    pub(crate) async fn agent(folder: &Path) -> Result<Self, Failure> {
        Self::connect(folder, agent::NAME).await
    }

    async fn connect(folder: &Path, interface: &'static str) -> Result<Self, Failure> {
        let path = folder.join(interface);
        let stream = UnixStream::connect(&path).await.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => Failure::with(
                Exit::NotAllowed,
                "this takes root, or the group `administrators` of the policy; try again with sudo",
            ),
            _ => Failure::with(
                Exit::NoAgent,
                format!(
                    "luod cannot be reached at {}: {error}; start it with `systemctl start luod`",
                    path.display()
                ),
            ),
        })?;
        let limits = Limits { takes_fds: false, frame: Duration::from_secs(30) };
        let stream = stream.into_std().and_then(|it| Wire::new(it, limits));
        let stream = stream.map_err(|error| Failure::with(Exit::NoAgent, error.to_string()))?;
        let stream = Connection::new(stream);
        Ok(Self { stream, interface })
    }

    /// Calls a method.
    pub(crate) async fn call<T: DeserializeOwned>(
        &mut self,
        method: &str,
        parameters: impl Serialize + std::fmt::Debug,
    ) -> Result<T, Failure> {
        self.call_with(method, parameters, Vec::new()).await
    }

    /// Calls a method with file descriptors.
    pub(crate) async fn call_with<T: DeserializeOwned>(
        &mut self,
        method: &str,
        parameters: impl Serialize + std::fmt::Debug,
        fds: Vec<OwnedFd>,
    ) -> Result<T, Failure> {
        self.send(method, parameters, false, fds).await?;
        Ok(self.next().await?.value)
    }

    /// Calls a method that replies several times.
    pub(crate) async fn begin(
        &mut self,
        method: &str,
        parameters: impl Serialize + std::fmt::Debug,
    ) -> Result<(), Failure> {
        self.send(method, parameters, true, Vec::new()).await
    }

    async fn send(
        &mut self,
        method: &str,
        parameters: impl Serialize + std::fmt::Debug,
        more: bool,
        fds: Vec<OwnedFd>,
    ) -> Result<(), Failure> {
        let method = format!("{}.{method}", self.interface);
        let call = Call::new(Method { method: &method, parameters }).set_more(more);
        self.stream.send_call(&call, fds).await.map_err(broken)
    }

    /// The next reply.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Part<T>, Failure> {
        // A reply has the form of a call without a method.
        let (answer, _) = self.stream.receive_call::<Answer>().await.map_err(broken)?;
        let answer = answer.method();
        let parameters = answer.parameters.clone();
        if let Some(error) = &answer.error {
            return Err(Failure::of_reply(error.clone(), parameters));
        }
        let parameters =
            if parameters.is_null() { Value::Object(serde_json::Map::new()) } else { parameters };
        let value = serde_json::from_value(parameters).map_err(|error| {
            let why = format!(
                "luod answers in an unknown way: {error}; are luod and luctl of one version?"
            );
            Failure::new(why)
        })?;
        Ok(Part { value, is_last: answer.continues != Some(true) })
    }

    /// All replies of a list.
    pub(crate) async fn all<T: DeserializeOwned>(
        &mut self,
        method: &str,
    ) -> Result<Vec<T>, Failure> {
        self.begin(method, Nothing {}).await?;
        let mut all = Vec::new();
        loop {
            let part = self.next().await?;
            all.push(part.value);
            if part.is_last {
                return Ok(all);
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` gives errors by value")]
fn broken(error: zlink::Error) -> Failure {
    Failure::with(Exit::NoAgent, format!("the connection to luod is broken: {error}"))
}
