// SPDX-License-Identifier: MIT OR Apache-2.0

//! Text as people read it: nothing hidden in it, times with units, colour.

use std::time::Duration;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

/// A time as people say it: `340 ms`, `1.2 s`.
pub(super) fn span(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

/// The text with nothing in it that a terminal obeys or that XML 1.0 forbids.
///
/// Output of a serial port may contain any character. Line feeds stay, tabs become spaces,
/// and other control characters become visible (`␛` for escape), so that nothing gets lost.
pub(super) fn readable(text: &str) -> String {
    let mut readable = String::with_capacity(text.len());
    // Serial ports end lines with a carriage return, which says nothing.
    let text = text.replace("\r\n", "\n");
    for character in text.trim_end_matches('\r').chars() {
        match character {
            '\n' => readable.push('\n'),
            '\t' => readable.push_str("    "),
            '\0'..='\x1f' => readable.extend(char::from_u32(0x2400 + u32::from(character))),
            '\x7f' => readable.push('␡'),
            '\u{80}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => readable.push('\u{fffd}'),
            other => readable.push(other),
        }
    }
    readable
}

/// All lines of all texts, all but the first one indented by four.
pub(super) fn hanging(texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut lines = Vec::new();
    for text in texts {
        for line in text.split('\n') {
            let indent = if lines.is_empty() { "" } else { "    " };
            lines.push(format!("{indent}{line}").trim_end().to_owned());
        }
    }
    lines
}

/// Whether a text may have colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// It goes to a terminal that shows them.
    On,
    /// It goes to a file, or the person wants none.
    Off,
}

/// The meaning of a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    Good,
    Bad,
}

impl Mood {
    /// The mood of something that passed, or did not.
    pub(super) fn of(passed: bool) -> Self {
        if passed { Self::Good } else { Self::Bad }
    }
}

/// The text in green or red, or as it is.
pub(super) fn painted(text: &str, mood: Mood, colour: Colour) -> String {
    match (colour, mood) {
        (Colour::Off, _) => text.to_owned(),
        (Colour::On, Mood::Good) => format!("{GREEN}{text}{RESET}"),
        (Colour::On, Mood::Bad) => format!("{RED}{text}{RESET}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(readable("a\tb\r\nc\rd\r"), "a    b\nc␍d");
        assert_eq!(readable("\0\x1b[31m\x7f\u{9b}\u{ffff}"), "␀␛[31m␡\u{fffd}\u{fffd}");
        assert_eq!(readable("c → rust █"), "c → rust █");
    }

    #[test]
    fn further_lines_hang() {
        let lines = hanging(["a\n  b\n".to_owned(), String::new(), "c ".to_owned()]);
        assert_eq!(lines, ["a", "      b", "", "", "    c"]);
    }

    #[test]
    fn times_have_a_fitting_unit() {
        assert_eq!(span(Duration::ZERO), "0 ms");
        assert_eq!(span(Duration::from_micros(999_999)), "999 ms");
        assert_eq!(span(Duration::from_millis(1234)), "1.2 s");
    }

    #[test]
    fn colour_is_optional() {
        assert_eq!(painted("ok", Mood::Good, Colour::Off), "ok");
        assert_eq!(painted("ok", Mood::Good, Colour::On), "\x1b[32mok\x1b[0m");
        assert_eq!(painted("FAIL", Mood::Bad, Colour::On), "\x1b[31mFAIL\x1b[0m");
    }
}
