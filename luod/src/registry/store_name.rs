// SPDX-License-Identifier: MIT OR Apache-2.0

//! Names in the fd store of the service manager.
//!
//! A name there is at most 255 bytes of printable ASCII without `:` (`fdname_is_valid()` of systemd). It
//! stays with the fd, over restarts and kexecs, and `FDSTOREREMOVE=1` removes all fds of a name. So no two
//! fds may have one name, though two sessions may: an incoming one, and the outgoing one of the next
//! update. Each fd has a number for this.
//!
//! systemd passes all names to luod in one variable, and no variable may have more than 128 KiB
//! (`MAX_ARG_STRLEN`), or luod cannot be started any more. So the names are short; the kernel says which session
//! an fd is.

use std::fmt;
use std::str::FromStr;

/// The number of a session in the store. It is never used again, and 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(pub u64);

/// The name of an fd of luod in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreName {
    /// A session, printed as `session-NUMBER`.
    Session(Number),
    /// A registry, printed as `registry-NUMBER`. The highest one that can be read counts.
    Registry(u64),
}

/// The name is none that luod gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("names of luod are `session-NUMBER` and `registry-NUMBER`")]
pub struct StoreNameError;

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(number) => write!(f, "session-{}", number.0),
            Self::Registry(number) => write!(f, "registry-{number}"),
        }
    }
}

impl FromStr for StoreName {
    type Err = StoreNameError;

    fn from_str(text: &str) -> Result<Self, StoreNameError> {
        let name = parse(text).ok_or(StoreNameError)?;
        // One fd has one name: no leading zeros.
        if name.to_string() == text { Ok(name) } else { Err(StoreNameError) }
    }
}

fn parse(text: &str) -> Option<StoreName> {
    if let Some(number) = text.strip_prefix("registry-") {
        return number.parse().ok().filter(|number| *number > 0).map(StoreName::Registry);
    }
    let number = text.strip_prefix("session-")?.parse().ok();
    number.filter(|number| *number > 0).map(|number| StoreName::Session(Number(number)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::registry::MAX_SESSIONS;

    #[test]
    fn names_are_strict() {
        for (text, name) in [
            ("session-12", StoreName::Session(Number(12))),
            ("registry-1", StoreName::Registry(1)),
            ("registry-18446744073709551615", StoreName::Registry(u64::MAX)),
        ] {
            assert_eq!(text.parse(), Ok(name));
            assert_eq!(name.to_string(), text);
        }
        for text in [
            "",
            "session",
            "session-",
            "session-1-",
            "session--1",
            "session-0",
            "session-01",
            "session-+1",
            "session-1 ",
            "Session-1",
            "session-1-1",
            "session-18446744073709551616",
            "registry-",
            "registry-0",
            "registry-01",
            "registry--1",
            "registry-1-1",
            "registry-18446744073709551616",
            "stored",
            "connection",
        ] {
            assert_eq!(text.parse::<StoreName>(), Err(StoreNameError), "{text}");
        }
    }

    #[test]
    fn all_names_together_fit_into_a_variable() {
        let names =
            (1..=MAX_SESSIONS as u64).map(|number| StoreName::Session(Number(9_000_000 + number)));
        let all: usize = names.map(|name| name.to_string().len() + 1).sum();
        assert!("LISTEN_FDNAMES=".len() + all + 100 < 128 << 10, "{all} bytes");
    }

    proptest! {
        #[test]
        fn what_is_read_is_printed_the_same(text in "(session|registry)-[0-9]{1,3}(-[A-Z2-7]{0,8})?|\\PC{0,20}") {
            if let Ok(name) = text.parse::<StoreName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
