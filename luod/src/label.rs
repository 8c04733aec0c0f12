// SPDX-License-Identifier: MIT OR Apache-2.0

//! Labels: the names by which clients know their sessions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The label of a session: 1 to 200 bytes of UTF-8, which can be printed without harm.
///
/// It has no characters that control a terminal, begin a line, or change the direction of text. So a
/// label cannot look like another line of a log or a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(Box<str>);

/// Why a text is no label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// It has no bytes.
    #[error("a label must not be empty")]
    Empty,
    /// It has so many bytes.
    #[error("a label has at most {max} bytes, not {0}", max = Label::MAX)]
    TooLong(usize),
    /// It has a character that could do harm when it is printed.
    #[error(
        "a label must not contain U+{:04X} (byte {at}): no control characters, separators of lines or \
         controls of direction are allowed",
        u32::from(*.character)
    )]
    Forbidden {
        /// The first such character.
        character: char,
        /// Its place, in bytes from 0.
        at: usize,
    },
}

impl Label {
    /// The longest label, in bytes.
    pub const MAX: usize = 200;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character could do harm when it is printed.
fn is_forbidden(character: char) -> bool {
    // C0, DEL and C1.
    character.is_control()
        || matches!(
            character,
            // Separators of lines and paragraphs.
            '\u{2028}' | '\u{2029}'
            // All that have the property `Bidi_Control`.
            | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        if text.is_empty() {
            return Err(LabelError::Empty);
        }
        if text.len() > Self::MAX {
            return Err(LabelError::TooLong(text.len()));
        }
        match text.char_indices().find(|(_, character)| is_forbidden(*character)) {
            Some((at, character)) => Err(LabelError::Forbidden { character, at }),
            None => Ok(Self(text.into())),
        }
    }
}

impl TryFrom<String> for Label {
    type Error = LabelError;

    fn try_from(text: String) -> Result<Self, LabelError> {
        text.parse()
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0.into()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_length_is_in_bytes() {
        for text in ["x".repeat(200), "ä".repeat(100), " ".into(), "a/b: \"c\" 🙂".into()] {
            assert_eq!(text.parse::<Label>().unwrap().to_string(), text);
        }
        assert_eq!("".parse::<Label>(), Err(LabelError::Empty));
        assert_eq!("x".repeat(201).parse::<Label>(), Err(LabelError::TooLong(201)));
        assert_eq!("ä".repeat(101).parse::<Label>(), Err(LabelError::TooLong(202)));
    }

    #[test]
    fn characters_that_do_harm_are_refused() {
        let all = "\0\t\n\r\u{1b}\u{1f}\u{7f}\u{80}\u{85}\u{9b}\u{9f}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\
                   \u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}";
        for character in all.chars() {
            let error = LabelError::Forbidden { character, at: 2 };
            assert_eq!(format!("ä{character}x").parse::<Label>(), Err(error), "{character:?}");
        }
        // Their neighbours are not.
        for character in " ~\u{a0}\u{61b}\u{200d}\u{2010}\u{2027}\u{202f}\u{2065}\u{206a}".chars() {
            assert!(character.to_string().parse::<Label>().is_ok(), "{character:?}");
        }
    }

    #[test]
    fn errors_do_not_print_the_character() {
        let error = "a\u{1b}[2J".parse::<Label>().unwrap_err().to_string();
        assert!(error.starts_with("a label must not contain U+001B (byte 1)"), "{error}");
        assert!(!error.contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn a_label_is_printed_as_it_was_given(text in any::<String>()) {
            if let Ok(label) = text.parse::<Label>() {
                prop_assert_eq!(label.to_string(), &text[..]);
                prop_assert!(!text.chars().any(char::is_control));
            }
        }
    }
}
