// SPDX-License-Identifier: MIT OR Apache-2.0

//! The format of the files. The [policy](super) describes it.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_path_to_error::Segment;
use toml::Spanned;

use super::pattern::Pattern;
use super::value::{Account, Sessions, Timespan};
use super::{Fault, File, Place, PolicyError};
use crate::update;

/// The content of a file.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Content {
    pub(super) administrators: Option<Spanned<Account>>,
    pub(super) update: Update,
    pub(super) rule: Rules,
}

/// The table `[update]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Update {
    pub(super) default_deadline: Option<Spanned<Timespan>>,
    pub(super) longest_prepare: Option<Spanned<Timespan>>,
    pub(super) longest_freeze: Option<Spanned<Timespan>>,
    pub(super) longest_leave: Option<Spanned<Timespan>>,
}

/// All tables `[[rule]]`.
#[derive(Debug, Default)]
pub(super) struct Rules(pub(super) Vec<Spanned<Rule>>);

impl<'de> Deserialize<'de> for Rules {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(RulesVisitor)
    }
}

struct RulesVisitor;

impl<'de> Visitor<'de> for RulesVisitor {
    type Value = Rules;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tables, each with the head `[[rule]]`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Rules, A::Error> {
        let mut rules = Vec::new();
        while let Some(rule) = from.next_element()? {
            rules.push(rule);
        }
        Ok(Rules(rules))
    }
}

/// A table `[[rule]]`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Rule {
    pub(super) unit: Option<Spanned<Pattern>>,
    pub(super) user: Option<Spanned<Account>>,
    pub(super) group: Option<Spanned<Account>>,
    pub(super) participate: Option<bool>,
    pub(super) sessions: Option<Spanned<Sessions>>,
    pub(super) required: Option<Spanned<bool>>,
    pub(super) longest_deadline: Option<Spanned<Timespan>>,
    pub(super) on_failure: Option<OnFailure>,
    pub(super) keep: Option<bool>,
    pub(super) carry: Option<bool>,
}

#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OnFailure {
    Fail,
    Drop,
}

impl From<OnFailure> for update::OnFailure {
    fn from(word: OnFailure) -> Self {
        match word {
            OnFailure::Fail => Self::Fail,
            OnFailure::Drop => Self::Drop,
        }
    }
}

impl Content {
    /// Reads a file.
    pub(super) fn parse(file: &File) -> Result<Self, PolicyError> {
        let wrong = |error: &toml::de::Error, key, about: &str| {
            let fault = Fault::Form(printable(&error.message().replace('\n', ", ")) + about);
            wrong(file, &error.span().unwrap_or_default(), key, fault)
        };
        let document = toml::Deserializer::parse(&file.text).map_err(|error| {
            // The library says neither which key is there twice, nor what it has met.
            let about = error.span().and_then(|span| file.text.get(span));
            let about = about.filter(|about| !about.is_empty() && about.len() <= 80);
            let about = about.map(|about| format!(": {about:?}")).unwrap_or_default();
            wrong(&error, String::new(), &about)
        })?;
        serde_path_to_error::deserialize(document)
            .map_err(|error| wrong(error.inner(), key(error.path()), ""))
    }
}

/// The error of a fault in these bytes of a file.
pub(super) fn wrong(file: &File, span: &Range<usize>, key: String, fault: Fault) -> PolicyError {
    PolicyError::Wrong { place: Place::of(file, span), key, fault }
}

/// The key of a setting, without what [`Spanned`] puts below it.
fn key(path: &serde_path_to_error::Path) -> String {
    let mut key = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => key.push_str(&format!("[{index}]")),
            Segment::Map { key: name } if !name.starts_with("$__") => {
                if !key.is_empty() {
                    key.push('.');
                }
                key.push_str(name);
            }
            Segment::Map { .. } | Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    printable(&key)
}

/// A text in which keys and values of the file may be, without characters that control a terminal.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}
