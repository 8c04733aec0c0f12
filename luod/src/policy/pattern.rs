// SPDX-License-Identifier: MIT OR Apache-2.0

//! Patterns of services: those of `systemctl`, which are those of fnmatch(3) without escapes.

use std::str::FromStr;

use crate::owner::ServiceName;

/// A pattern of services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// A service by its name.
    Name(ServiceName),
    /// All services that match.
    Glob(glob::Pattern),
}

/// More bytes than it takes for any name of a service.
const MAX: usize = 1024;

/// Why a text is no pattern of services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// No service has such a character in its name.
    #[error(
        "{0:?} is in the name of no service; letters, digits, `:-_.\\@` and the wildcards `*`, `?`, `[...]` \
         and `[!...]` are allowed"
    )]
    Character(char),
    /// A set does not end, or its form is another one.
    #[error(
        "a set of characters is `[...]` or `[!...]`, with at least one letter, digit or `:-_.\\@`"
    )]
    Set,
    /// All names of services end in `.service`.
    #[error(
        "no service has such a name; write all of it, such as `vmm.service` or `vmm@*.service`"
    )]
    NotAService,
}

impl Pattern {
    /// Whether it is a pattern of this service.
    pub(super) fn matches(&self, service: &ServiceName) -> bool {
        match self {
            Self::Name(name) => name == service,
            Self::Glob(glob) => glob.matches(service.as_str()),
        }
    }

    /// Whether all services of the other pattern are known to be among those of this one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Glob(glob), _) if ["*", "*.service"].contains(&glob.as_str()) => true,
            (_, Self::Name(name)) => self.matches(name),
            (Self::Name(_), Self::Glob(_)) => false,
            (Self::Glob(one), Self::Glob(other)) => one == other,
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX {
            return Err(PatternError::NotAService);
        }
        check_characters(text)?;
        let Some((_, tail)) = text.rsplit_once(['*', '?', ']']) else {
            return text.parse().map(Self::Name).map_err(|_| PatternError::NotAService);
        };
        if !tail.ends_with(ServiceName::SUFFIX) && !ServiceName::SUFFIX.ends_with(tail) {
            return Err(PatternError::NotAService);
        }
        glob::Pattern::new(&squeezed(text)).map(Self::Glob).map_err(|_| PatternError::Set)
    }
}

/// Checks that there are no characters but those of names and wildcards, each in its place.
fn check_characters(text: &str) -> Result<(), PatternError> {
    let mut is_in_set = false;
    let mut last = None;
    for character in text.chars() {
        match (character, is_in_set) {
            ('[', false) => is_in_set = true,
            (']', true) if !matches!(last, Some('[' | '!')) => is_in_set = false,
            ('!', true) if last == Some('[') => {}
            ('*' | '?', false) => {}
            (other, _) if ServiceName::allows(other) => {}
            // glob(7) leaves `[^` open, and the library knows no `[:alpha:]`.
            ('[' | ']' | '!' | '^' | '*' | '?', true) => return Err(PatternError::Set),
            (other, _) => return Err(PatternError::Character(other)),
        }
        last = Some(character);
    }
    if is_in_set { Err(PatternError::Set) } else { Ok(()) }
}

/// The same pattern with one `*` in place of several, which mean folders to the library.
fn squeezed(text: &str) -> String {
    let mut squeezed = String::with_capacity(text.len());
    for character in text.chars() {
        if character != '*' || !squeezed.ends_with('*') {
            squeezed.push(character);
        }
    }
    squeezed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(&name.parse().unwrap())
    }

    #[test]
    fn patterns_are_those_of_systemctl() {
        for (pattern, yes, no) in [
            ("vmm.service", "vmm.service", "vmm2.service"),
            ("vmm@*.service", "vmm@17.service", "vmm.service"),
            ("vmm@*", "vmm@17.service", "vmm.service"),
            ("vmm**.service", "vmm.service", "xvmm.service"),
            ("***", ".x.service", "."),
            ("vm?.service", "vmm.service", "vm.service"),
            ("vm[a-m].service", "vmm.service", "vmn.service"),
            ("vm[!a-m].service", "vmn.service", "vmm.service"),
            ("vm[-m]*", "vm-x.service", "vmx.service"),
            // Neither an escape nor a letter of the other case.
            (r"a\x2d*.service", r"a\x2db.service", "ax2db.service"),
            ("vmm.service", "vmm.service", "Vmm.service"),
            ("V*.service", "Vmm.service", "vmm.service"),
            ("*.servic[e]", "a.service", "."),
        ] {
            assert!(matches(pattern, yes), "{pattern} {yes}");
            assert!(no == "." || !matches(pattern, no), "{pattern} {no}");
        }
    }

    #[test]
    fn patterns_that_match_no_service_are_errors() {
        for (pattern, error) in [
            ("", PatternError::NotAService),
            ("vmm", PatternError::NotAService),
            ("vmm@.service", PatternError::NotAService),
            ("machine-*.scope", PatternError::NotAService),
            ("*.service.d", PatternError::NotAService),
            ("a/*.service", PatternError::Character('/')),
            ("!a.service", PatternError::Character('!')),
            ("a].service", PatternError::Character(']')),
            ("{a,b}.service", PatternError::Character('{')),
            ("ä*.service", PatternError::Character('ä')),
            ("a\n.service", PatternError::Character('\n')),
            ("[ab.service", PatternError::Set),
            ("[].service", PatternError::Set),
            ("[!].service", PatternError::Set),
            ("[^a].service", PatternError::Set),
            ("[[:alpha:]].service", PatternError::Set),
        ] {
            assert_eq!(pattern.parse::<Pattern>(), Err(error), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_covers_those_that_it_is_sure_of() {
        let covers = |one: &str, other: &str| {
            one.parse::<Pattern>().unwrap().covers(&other.parse().unwrap())
        };
        assert!(covers("*", "vmm@*.service") && covers("**.service", "*"));
        assert!(covers("vmm@*.service", "vmm@1.service") && covers("a?.service", "a?.service"));
        assert!(!covers("vmm@1.service", "vmm@*.service") && !covers("a*.service", "b*.service"));
    }

    proptest! {
        #[test]
        fn what_covers_matches_all(
            one in "[ab*?]{0,4}\\.service",
            other in "[ab*?]{0,4}\\.service",
            name in "[ab]{1,4}\\.service",
        ) {
            let (one, other) = (one.parse::<Pattern>(), other.parse::<Pattern>());
            if let (Ok(one), Ok(other)) = (one, other) {
                let name = name.parse().unwrap();
                prop_assert!(!one.covers(&other) || !other.matches(&name) || one.matches(&name));
            }
        }

        #[test]
        fn any_text_has_an_answer(text in "[*?\\[\\]!^a-c:.-]{0,12}(\\.service)?") {
            if let Ok(pattern) = text.parse::<Pattern>() {
                pattern.matches(&"abc.service".parse().unwrap());
            }
        }
    }
}
