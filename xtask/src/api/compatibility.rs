// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether a version may have an API, after what was released.
//!
//! Cargo takes a higher version in place of a lower one if the leftmost number that is not 0 is the
//! same, so programs must do with it. Two texts are compared, without an understanding of types: a
//! line that only reads differently counts as changed.

use std::collections::BTreeSet;

use semver::Version;

use super::items;

/// An API under a version.
pub(crate) struct Snapshot<'a> {
    /// The version.
    pub(crate) version: &'a Version,
    /// The file of the library.
    pub(crate) text: &'a str,
}

/// The effect of a release on existing programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Nothing,
    Addition,
    Break,
}

/// Why the library `name` may not be released as it is `now`, a line each; nothing if it may.
pub(crate) fn judge(name: &str, released: &Snapshot<'_>, now: &Snapshot<'_>) -> Vec<String> {
    let before: BTreeSet<_> = items(released.text).collect();
    let after: BTreeSet<_> = items(now.text).collect();
    let gone: Vec<_> = before.difference(&after).collect();
    let added: Vec<_> =
        after.difference(&before).map(|line| (line, burden(line, &before))).collect();

    let change = if !gone.is_empty() || added.iter().any(|(_, burden)| burden.is_some()) {
        Change::Break
    } else if added.is_empty() {
        Change::Nothing
    } else {
        Change::Addition
    };
    let needed = needed(released.version, change);
    // A version that leads to another has its API.
    let version = Version::new(now.version.major, now.version.minor, now.version.patch);
    if version >= needed {
        return Vec::new();
    }

    let (is, was) = (now.version, released.version);
    let mut findings = vec![match change {
        Change::Nothing => format!("{name}: {is} is lower than {was}, which is released"),
        Change::Addition => {
            format!("{name}: {is} must be at least {needed}, with more than {was}:")
        }
        Change::Break => {
            format!("{name}: {is} must be at least {needed}, as programs for {was} break:")
        }
    }];
    findings.extend(gone.iter().map(|line| format!("-{line}")));
    findings.extend(added.iter().map(|(line, burden)| match burden {
        None => format!("+{line}"),
        Some(burden) => format!("+{line}  <- {burden}"),
    }));
    findings
}

/// The lowest version that may come after `released` with such a change, by cargo's rules.
fn needed(released: &Version, change: Change) -> Version {
    let Version { major, minor, patch, .. } = *released;
    match (change, major, minor) {
        (Change::Nothing, ..) => Version::new(major, minor, patch),
        (Change::Break, 0, 0) | (Change::Addition, 0, _) => Version::new(major, minor, patch + 1),
        (Change::Break, 0, _) | (Change::Addition, ..) => Version::new(major, minor + 1, 0),
        (Change::Break, ..) => Version::new(major + 1, 0, 0),
    }
}

/// Something public with a path.
struct Item<'a> {
    /// `enum`, `const fn`; empty for variants and fields.
    kind: &'a str,
    /// Without parameters.
    path: &'a str,
    /// Whether programs may rely on there being no more in it.
    is_exhaustive: bool,
}

impl<'a> Item<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (attributes, rest) = line.split_once("pub ")?;
        if line.starts_with("impl") {
            return None;
        }
        let first = rest.find("::")?;
        let start = rest.get(..first)?.rfind(' ').map_or(0, |space| space + 1);
        let (kind, path) = rest.split_at_checked(start)?;
        let is_end = |c: char| !(c.is_alphanumeric() || c == '_' || c == ':');
        let path = path.split(is_end).next()?.trim_end_matches(':');
        let is_exhaustive = !attributes.contains("#[non_exhaustive]");
        Some(Self { kind: kind.trim_end(), path, is_exhaustive })
    }
}

/// Why programs that did with `before` may not do with the new `line`.
fn burden(line: &str, before: &BTreeSet<&str>) -> Option<&'static str> {
    let item = Item::parse(line)?;
    let (parent, _) = item.path.rsplit_once("::")?;
    let before = || before.iter().filter_map(|line| Item::parse(line));
    // It was there and reads differently, so a line has gone.
    if before().any(|it| it.path == item.path) {
        return None;
    }
    let is_holder = |item: &Item<'_>| {
        ["", "enum", "struct", "union"].contains(&item.kind) || item.kind.ends_with("trait")
    };
    let holder = before().find(|item| item.path == parent && is_holder(item))?;
    let is_within = |item: &Item<'_>| {
        let within = item.path.rsplit_once("::");
        item.kind.is_empty() && within.is_some_and(|(of, _)| of == parent)
    };
    match (holder.kind, item.kind) {
        ("enum", "") if holder.is_exhaustive => Some("programs match every variant"),
        ("", "") if holder.is_exhaustive => Some("programs match every field"),
        // Without public fields, others build it only by its functions.
        ("struct" | "union", "") if holder.is_exhaustive && before().any(|it| is_within(&it)) => {
            Some("programs give every field")
        }
        // Whether the trait has a default is not in the text.
        (kind, _) if kind.ends_with("trait") => Some("programs implement every item"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENUM: &str = "pub enum a::E\npub a::E::One\npub a::E::One::x: u8\n";
    const OPEN: &str = "#[non_exhaustive] pub enum a::E\npub a::E::One\n";
    const STRUCT: &str = "#[repr(C)] pub struct a::S\npub a::S::x: u8\n";
    const OPAQUE: &str = "pub struct a::S(_)\nimpl a::S\npub fn a::S::x(&self) -> u8\n";
    const TRAIT: &str = "pub trait a::T<X>: a::U\npub fn a::T::x(&self)\n";

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    fn judged(old: (&str, &str), new: (&str, &str)) -> Vec<String> {
        let versions = (version(old.0), version(new.0));
        let released = Snapshot { version: &versions.0, text: old.1 };
        judge("a", &released, &Snapshot { version: &versions.1, text: new.1 })
    }

    /// The lowest version that may have the API `new` after 1.0.0 had `old`.
    fn lowest(old: &str, new: &str) -> &'static str {
        let versions = ["1.0.0", "1.0.1", "1.1.0", "2.0.0"];
        let is_good = |version: &&str| judged(("1.0.0", old), (version, new)).is_empty();
        versions.into_iter().find(is_good).unwrap()
    }

    #[test]
    fn versions_after_a_release() {
        let (old, more, other) = ("pub a::x\n", "pub a::x\npub fn a::y()\n", "pub a::z\n");
        let table = [
            // The same API: any version but a lower one.
            ("0.1.2", old, "0.1.2", true),
            ("0.1.2", old, "0.1.3", true),
            ("0.1.2", old, "0.2.0-rc.1", true),
            ("0.1.2", old, "0.1.1", false),
            ("1.2.3", old, "0.9.0", false),
            // More.
            ("0.0.3", more, "0.0.3", false),
            ("0.0.3", more, "0.0.4", true),
            ("0.1.2", more, "0.1.2", false),
            ("0.1.2", more, "0.1.3", true),
            ("0.1.2", more, "0.1.3-alpha.1", true),
            ("0.1.2", more, "0.2.0", true),
            ("1.2.3", more, "1.2.4", false),
            ("1.2.3", more, "1.3.0", true),
            ("1.2.3", more, "2.0.0", true),
            // Another.
            ("0.0.3", other, "0.0.3", false),
            ("0.0.3", other, "0.0.4", true),
            ("0.1.2", other, "0.1.3", false),
            ("0.1.2", other, "0.2.0-rc.1", true),
            ("0.1.2", other, "0.2.0", true),
            ("0.1.2", other, "1.0.0", true),
            ("1.2.3", other, "1.3.0", false),
            ("1.2.3", other, "2.0.0-rc.1", true),
            ("1.2.3", other, "2.0.0", true),
        ];
        for (released, text, now, good) in table {
            let findings = judged((released, old), (now, text));
            assert_eq!(findings.is_empty(), good, "{released} {now} {text}: {findings:?}");
        }
    }

    #[test]
    fn changes() {
        let table = [
            (
                ENUM,
                "# Another comment\n\npub enum a::E\npub a::E::One\npub a::E::One::x: u8\n",
                "1.0.0",
            ),
            // Gone or changed.
            (ENUM, "", "2.0.0"),
            (STRUCT, "#[repr(C)] pub struct a::S\npub a::S::x: u16\n", "2.0.0"),
            (
                ENUM,
                "#[non_exhaustive] pub enum a::E\npub a::E::One\npub a::E::One::x: u8\n",
                "2.0.0",
            ),
            // New things.
            ("", ENUM, "1.1.0"),
            ("", STRUCT, "1.1.0"),
            ("", TRAIT, "1.1.0"),
        ];
        for (old, new, expected) in table {
            assert_eq!(lowest(old, new), expected, "{old} {new}");
        }
        // In something that was there.
        let table = [
            (ENUM, "pub a::E::Two", "2.0.0"),
            (ENUM, "pub a::E::One::y: u8", "2.0.0"),
            (ENUM, "pub const fn a::E::new() -> Self", "1.1.0"),
            (ENUM, "pub const a::E::LAST: Self", "1.1.0"),
            (ENUM, "impl core::marker::Copy for a::E", "1.1.0"),
            (OPEN, "pub a::E::Two(u8)", "1.1.0"),
            (OPEN, "pub a::E::One::y: u8", "2.0.0"),
            (STRUCT, "pub a::S::y: [u8; 64]", "2.0.0"),
            (STRUCT, "pub fn a::S::y(&self)", "1.1.0"),
            (STRUCT, "pub struct a::St", "1.1.0"),
            (OPAQUE, "pub fn a::S::y(&self)", "1.1.0"),
            (TRAIT, "pub fn a::T::y(&self)", "2.0.0"),
            (TRAIT, "pub const a::T::Y: u8", "2.0.0"),
            (TRAIT, "impl a::T<u8> for a::S", "1.1.0"),
        ];
        for (old, line, expected) in table {
            assert_eq!(lowest(old, &format!("{old}{line}\n")), expected, "{old} {line}");
        }
    }

    #[test]
    fn findings_tell_version_and_lines() {
        let new = ENUM.replace("u8", "u16") + "pub a::E::Two\npub fn a::f()\n";
        insta::assert_snapshot!(judged(("0.1.2", ENUM), ("0.1.3", &new)).join("\n"), @"
        a: 0.1.3 must be at least 0.2.0, as programs for 0.1.2 break:
        -pub a::E::One::x: u8
        +pub a::E::One::x: u16
        +pub a::E::Two  <- programs match every variant
        +pub fn a::f()
        ");
        let new = format!("{OPEN}pub a::E::Two\n");
        insta::assert_snapshot!(judged(("1.2.3", OPEN), ("1.2.4", &new)).join("\n"), @"
        a: 1.2.4 must be at least 1.3.0, with more than 1.2.3:
        +pub a::E::Two
        ");
        insta::assert_snapshot!(
            judged(("1.2.3", OPEN), ("1.2.2", OPEN)).join("\n"),
            @"a: 1.2.2 is lower than 1.2.3, which is released"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_looked_through(old in any::<String>(), new in "([#a-z:\\[ ]{0,20}\n){0,9}") {
            judged(("0.1.0", &old), ("0.1.0", &new));
            judged(("0.1.0", &new), ("0.1.0", &old));
            prop_assert!(judged(("0.1.0", &new), ("0.1.0", &new)).is_empty());
        }
    }
}
