// SPDX-License-Identifier: MIT OR Apache-2.0

//! Strings in the memory of a kernel.

use std::iter;
use std::ops::Range;

use super::config::Config;
use super::facts::Facts;
use super::format::{Format, Source};
use super::limits::Limits;
use super::unread::Unread;

/// Before the release, in `linux_banner`.
const BANNER: &[u8] = b"Linux version ";
/// Before the configuration, in `kernel/configs.c`.
const CONFIG_START: &[u8] = b"IKCFG_ST";
/// The name of the device and of the boot parameter of LUO, in every kernel that has it.
const LIVEUPDATE: &[u8] = b"liveupdate";
/// Text around a mention, on each side.
const AROUND: usize = Format::MAX + 1;
/// Marks of a configuration that are tried; a kernel has one.
const CONFIGS: u32 = 8;

/// Collects facts from parts of a kernel's memory.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    facts: &'a mut Facts,
    limits: &'a Limits,
    configs: u32,
}

impl<'a> Scan<'a> {
    pub(super) fn new(facts: &'a mut Facts, limits: &'a Limits) -> Self {
        Self { facts, limits, configs: CONFIGS }
    }

    /// The strings in a part of the kernel's memory.
    pub(super) fn memory(&mut self, bytes: &[u8]) -> Result<(), Unread> {
        for run in runs(bytes) {
            // Texts of a kernel are ASCII.
            let text = &bytes[run.clone()];
            let alone = bytes.get(run.end) == Some(&0);
            if text == LIVEUPDATE && alone {
                self.facts.mentions_liveupdate = true;
            } else if text.starts_with(BANNER) {
                self.banner(&text[BANNER.len()..]);
            } else if text.ends_with(CONFIG_START) {
                self.config(&bytes[run.end..]);
            } else if versions(text).next().is_some() {
                self.text(text, alone)?;
            }
        }
        Ok(())
    }

    /// The names in `.liveupdate_features`.
    pub(super) fn features(&mut self, bytes: &[u8]) -> Result<(), Unread> {
        for run in runs(bytes) {
            let Some(format) = format(&bytes[run]) else { continue };
            self.facts.formats.known.insert(format, Source::Section);
            self.check_room()?;
        }
        Ok(())
    }

    fn banner(&mut self, text: &[u8]) {
        let release = text.split(|&byte| byte == b' ').next().unwrap_or_default();
        // Code has the words with a placeholder behind them.
        if release.first().is_some_and(u8::is_ascii_digit) {
            self.facts.release = Some(String::from_utf8_lossy(release).into_owned());
        }
    }

    fn config(&mut self, bytes: &[u8]) {
        // Scripts and programs that look for the mark contain it.
        if self.facts.config.is_none() && self.configs > 0 && bytes.starts_with(&[0x1F, 0x8B]) {
            self.configs -= 1;
            self.facts.config = Config::embedded(bytes);
        }
    }

    /// A text with a version in it.
    fn text(&mut self, text: &[u8], alone: bool) -> Result<(), Unread> {
        if let Some(format) = format(text).filter(|format| alone && format.is_versioned()) {
            self.facts.formats.known.entry(format).or_insert(Source::Strings);
            return self.check_room();
        }
        for at in versions(text) {
            let around = at.saturating_sub(AROUND)..text.len().min(at + AROUND);
            self.facts.formats.mentions.insert(String::from_utf8_lossy(&text[around]).into());
            self.check_room()?;
        }
        Ok(())
    }

    fn check_room(&self) -> Result<(), Unread> {
        let limit = self.limits.strings;
        if self.facts.formats.len() > limit { Err(Unread::TooManyStrings(limit)) } else { Ok(()) }
    }
}

/// The texts in `bytes`: all longest runs of printable characters, but for the shortest.
fn runs(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    const SHORTEST: usize = 3;
    let printable = |byte: &u8| matches!(byte, b' '..=b'~');
    let mut at = 0;
    let next = move || {
        let start = at + bytes[at..].iter().position(printable)?;
        let rest = &bytes[start..];
        at = start + rest.iter().position(|byte| !printable(byte)).unwrap_or(rest.len());
        Some(start..at)
    };
    iter::from_fn(next).filter(|run| run.len() >= SHORTEST)
}

/// All places in `text` where a version begins: `-vN` or `_vN`.
fn versions(text: &[u8]) -> impl Iterator<Item = usize> {
    let places = text.windows(3).enumerate();
    places.filter(|(_, it)| matches!(it, [b'-' | b'_', b'v', b'0'..=b'9'])).map(|(at, _)| at)
}

fn format(text: &[u8]) -> Option<Format> {
    Format::new(str::from_utf8(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Facts {
        let mut facts = Facts::default();
        Scan::new(&mut facts, &Limits::default()).memory(bytes).unwrap();
        facts
    }

    fn names(facts: &Facts) -> Vec<&str> {
        facts.formats.iter().map(|(format, _)| format.as_str()).collect()
    }

    fn mentions(facts: &Facts, name: &str) -> bool {
        facts.formats.mentions(&Format::new(name).unwrap())
    }

    #[test]
    fn names_stand_alone() {
        // As in images: a string, an array behind a pointer, and an operand of movabs.
        let facts = scan(b"is invalid: %d\n\0kho-v4\0in\0\x28rb\x81\xff\xff\xff\xffmemfd-v2\0\0\0H\xb8luo-v5\0\0H\x89");
        assert_eq!(names(&facts), ["kho-v4", "luo-v5", "memfd-v2"]);
        assert!(facts.formats.iter().all(|(_, source)| source == Source::Strings));
    }

    #[test]
    fn a_part_of_a_text_is_a_mention() {
        for text in [
            &b"\0luo-v5the_root_is_what\0"[..],
            b"\0xluo-v5\0",
            b"\0incompatible with luo-v5\0",
            b"\0luo-v5 \0",
            b"\0luo-v5\n",
            b"\0luo-v5",
        ] {
            let facts = scan(text);
            assert!(!names(&facts).contains(&"luo-v5") && mentions(&facts, "luo-v5"), "{text:?}");
        }
        for text in [&b"\0luo-v50\0"[..], b"\0luo\0-v5\0", b"\0luo-vx\0", b"\0luov5\0"] {
            assert!(!mentions(&scan(text), "luo-v5"), "{text:?}");
        }
    }

    #[test]
    fn a_mention_is_found_anywhere_in_a_long_text() {
        let text = [&[b'x'; 1000][..], b"luo-v5", &[b'y'; 1000]].concat();
        let facts = scan(&text);
        assert!(mentions(&facts, "luo-v5") && facts.formats.len() == 1);
        assert!(facts.formats.mentions.iter().all(|text| text.len() == 2 * AROUND));
    }

    #[test]
    fn the_banner_has_the_release() {
        let facts = scan(b"Linux version %s\0Linux version 7.3.4-c (a@b) #1\n\0");
        assert_eq!(facts.release.as_deref(), Some("7.3.4-c"));
        let facts = scan(b"Linux version 7.3.4-c (a@b)\0Linux version %s\0");
        assert_eq!(facts.release.as_deref(), Some("7.3.4-c"));
    }

    #[test]
    fn luo_is_told_by_its_name_alone() {
        assert!(scan(b"\0liveupdate\0").mentions_liveupdate);
        for text in [&b"\0liveupdate.c\0"[..], b"\0kernel/liveupdate\0", b"\0liveupdate: %s\0"] {
            assert!(!scan(text).mentions_liveupdate, "{text:?}");
        }
    }

    #[test]
    fn strings_beyond_the_limit_are_an_error() {
        let limits = Limits { strings: 2, ..Limits::default() };
        let mut facts = Facts::default();
        let mut scan = Scan::new(&mut facts, &limits);
        assert_eq!(scan.memory(b"\0a-v1\0b-v1\0a-v1\0"), Ok(()));
        assert_eq!(scan.memory(b"\0c-v1\0"), Err(Unread::TooManyStrings(2)));
    }

    #[test]
    fn features_are_all_strings_of_their_section() {
        let mut facts = Facts::default();
        let section = b"PUVL\x01\0\0\0luo\0\0\0\x40\0\0\0memfd-v2\0\x01";
        Scan::new(&mut facts, &Limits::default()).features(section).unwrap();
        assert_eq!(names(&facts), ["PUVL", "luo", "memfd-v2"]);
        assert!(facts.formats.iter().all(|(_, source)| source == Source::Section));
    }
}
