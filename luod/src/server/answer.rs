// SPDX-License-Identifier: MIT OR Apache-2.0

//! Answers to calls.

use std::os::fd::OwnedFd;

use serde::Serialize;
use serde_json::Value;

use crate::agent::Participation;
use crate::update::Generation;
use crate::varlink::{MAX_FRAME, json, service};

/// The answer to a call.
#[derive(Debug)]
pub(super) enum Answer {
    /// A reply, with file descriptors.
    Reply(Value, Vec<OwnedFd>),
    /// An error.
    Error(Value),
    /// Several replies.
    Several(Vec<Value>),
    /// The events of a participant.
    Events(Participation),
    /// The progress of an update, after a first reply.
    Progress(Value, Generation),
}

/// Room in a frame for all but the list.
const LIST: usize = MAX_FRAME - 1024;

impl Answer {
    pub(super) fn reply(value: impl Serialize) -> Self {
        Self::Reply(json(value), Vec::new())
    }

    pub(super) fn error(error: impl Serialize) -> Self {
        Self::Error(json(error))
    }

    /// A list that may be too long for one frame.
    pub(super) fn list(field: &str, items: Vec<impl Serialize>, more: bool) -> Self {
        let mut replies = Vec::new();
        let (mut part, mut size) = (Vec::new(), 0);
        for item in items.into_iter().map(json) {
            let length = item.to_string().len() + 1;
            if size + length > LIST && !part.is_empty() {
                replies.push(std::mem::take(&mut part));
                size = 0;
            }
            size += length;
            part.push(item);
        }
        replies.push(part);
        let mut replies: Vec<_> =
            replies.into_iter().map(|part| serde_json::json!({ field: part })).collect();
        match replies.len() {
            1 => Self::Reply(replies.remove(0), Vec::new()),
            _ if more => Self::Several(replies),
            _ => Self::error(service::Error::ExpectedMore {}),
        }
    }

    /// The reply or the error of a method.
    pub(super) fn of<E: Serialize>(result: Result<impl Serialize, E>) -> Self {
        match result {
            Ok(value) => Self::reply(value),
            Err(error) => Self::error(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_cut_into_frames() {
        let long = vec!["x".repeat(1000); 200];
        let Answer::Several(parts) = Answer::list("items", long.clone(), true) else { panic!() };
        assert!(parts.iter().all(|part| part.to_string().len() <= MAX_FRAME));
        let all: usize = parts.iter().map(|it| it["items"].as_array().unwrap().len()).sum();
        assert_eq!(all, 200);
        assert!(matches!(Answer::list("items", long, false), Answer::Error(_)));
        let Answer::Reply(none, _) = Answer::list("items", Vec::<u8>::new(), false) else {
            panic!()
        };
        assert_eq!(none.to_string(), r#"{"items":[]}"#);
    }
}
