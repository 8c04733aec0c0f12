// SPDX-License-Identifier: MIT OR Apache-2.0

//! The registry as bytes.

use liblu::SessionName;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Claim, Entry, MAX_SIZE, Number, ReadError, Registry, State, VERSION};
use crate::label::Label;
use crate::owner::Owner;
use crate::process::Process;
use crate::update::Generation;

/// More bytes than a registry without sessions has.
pub(super) const FRAME: usize = 192;

/// The version, whatever else is there.
#[derive(Deserialize)]
struct Header {
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    boot_id: Option<String>,
    #[serde(default)]
    generation: u64,
    #[serde(default)]
    last_number: u64,
    #[serde(default)]
    sessions: Vec<WireEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEntry {
    number: u64,
    owner: Owner,
    label: Label,
    /// The name by which this luod would know the session, if it is missing.
    #[serde(default)]
    kernel_name: Option<Name>,
    state: Word,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim: Option<Claim>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made_for: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    opened_by: Option<Process>,
    #[serde(default, skip_serializing_if = "is_false")]
    kept: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Word {
    Open,
    Ready,
    Waiting,
    Claimed,
}

/// The name of a session, as text.
#[derive(Serialize)]
#[serde(transparent)]
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        SessionName::new(&text).map_err(D::Error::custom)?;
        Ok(Self(text))
    }
}

impl WireEntry {
    fn new(number: Number, entry: &Entry) -> Self {
        let (state, claim) = match entry.state {
            State::Open => (Word::Open, None),
            State::Ready => (Word::Ready, None),
            State::Waiting => (Word::Waiting, None),
            State::Claimed(claim) => (Word::Claimed, Some(claim)),
        };
        Self {
            number: number.0,
            owner: entry.owner.clone(),
            label: entry.label.clone(),
            kernel_name: str::from_utf8(entry.name.as_bytes()).ok().map(|name| Name(name.into())),
            state,
            claim,
            made_for: entry.made_for.map(|generation| generation.0),
            opened_by: entry.opened_by,
            kept: entry.is_kept,
        }
    }

    fn into_entry(self) -> Result<Entry, ReadError> {
        let state = match (self.state, self.claim) {
            (Word::Open, None) => State::Open,
            (Word::Ready, None) => State::Ready,
            (Word::Waiting, None) => State::Waiting,
            (Word::Claimed, Some(claim)) => State::Claimed(claim),
            (Word::Claimed, None) => return Err(malformed("`claim` is missing")),
            (_, Some(_)) => return Err(malformed("a session that is not claimed has `claim`")),
        };
        let name = match self.kernel_name {
            Some(Name(name)) => SessionName::new(name),
            None => self.owner.session_name(&self.label),
        };
        let name = name.map_err(malformed)?;
        let made_for = self.made_for.map(Generation);
        let (owner, label, opened_by, is_kept) =
            (self.owner, self.label, self.opened_by, self.kept);
        Ok(Entry { owner, label, name, state, made_for, opened_by, is_kept })
    }
}

/// The most bytes that an entry ever has, with the comma.
pub(super) fn longest(number: Number, entry: &Entry) -> usize {
    let longest = Entry {
        state: State::Claimed(Claim::LONGEST),
        opened_by: Some(Claim::LONGEST.by),
        is_kept: true,
        ..entry.clone()
    };
    encode(&WireEntry::new(number, &longest)).len() + 1
}

pub(super) fn write(registry: &Registry) -> Vec<u8> {
    let sessions = registry.iter().map(|(number, entry)| WireEntry::new(number, entry));
    encode(&Wire {
        version: VERSION,
        boot_id: registry.boot_id.as_deref().map(String::from),
        generation: registry.generation.0,
        last_number: registry.last_number.0,
        sessions: sessions.collect(),
    })
}

#[expect(
    clippy::expect_used,
    reason = "texts and numbers can be JSON, and memory does not refuse bytes"
)]
fn encode(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON")
}

pub(super) fn read(bytes: &[u8]) -> Result<Registry, ReadError> {
    if bytes.len() > MAX_SIZE {
        return Err(ReadError::TooLarge(bytes.len()));
    }
    // The library takes an array for a structure, too.
    if !bytes.starts_with(b"{") {
        return Err(malformed("it does not begin with `{`"));
    }
    let Header { version } = serde_json::from_slice(bytes).map_err(malformed)?;
    if version > VERSION {
        return Err(ReadError::Newer { found: version });
    }
    if version == 0 {
        return Err(malformed("there is no version 0"));
    }
    let wire: Wire = serde_json::from_slice(bytes).map_err(malformed)?;
    let mut registry = Registry {
        generation: Generation(wire.generation),
        last_number: Number(wire.last_number),
        ..Registry::default()
    };
    if let Some(boot_id) = wire.boot_id {
        registry.set_boot_id(&boot_id);
    }
    for entry in wire.sessions {
        let number = Number(entry.number);
        registry.insert(number, entry.into_entry()?)?;
    }
    Ok(registry)
}

/// Damage, in the words of the reader that has found it, without characters that control a terminal.
#[expect(clippy::needless_pass_by_value, reason = "`map_err` gives errors by value")]
fn malformed(error: impl ToString) -> ReadError {
    ReadError::Malformed(error.to_string().replace(char::is_control, "?"))
}
