// SPDX-License-Identifier: MIT OR Apache-2.0

//! Names in the fd store of the service manager.
//!
//! A name there is at most 255 bytes of printable ASCII without `:` (`fdname_is_valid()` of systemd). It
//! stays with the fd, over restarts and kexecs, and `FDSTOREREMOVE=1` removes all fds of a name. So no two
//! fds may have one name, though two sessions may: an incoming one, and the outgoing one of the next
//! update. Each fd has a number for this.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use liblu::SessionName;

/// The number of a session in the store. It is never used again, and 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number(pub u64);

/// The name of an fd of luod in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreName {
    /// A session, printed as `session-NUMBER-BASE32`, with the base32 of its name in the kernel.
    Session(Number, SessionName),
    /// A registry, printed as `registry-NUMBER`. The highest one that can be read counts.
    Registry(u64),
}

/// The name is none that luod gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("names of luod are `session-NUMBER-BASE32` and `registry-NUMBER`")]
pub struct StoreNameError;

impl fmt::Display for StoreName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(number, name) => {
                write!(f, "session-{}-{}", number.0, BASE32_NOPAD.encode(name.as_bytes()))
            }
            Self::Registry(number) => write!(f, "registry-{number}"),
        }
    }
}

impl FromStr for StoreName {
    type Err = StoreNameError;

    fn from_str(text: &str) -> Result<Self, StoreNameError> {
        let name = parse(text).ok_or(StoreNameError)?;
        // One fd has one name: no leading zeros, no other spelling of base32.
        if name.to_string() == text { Ok(name) } else { Err(StoreNameError) }
    }
}

fn parse(text: &str) -> Option<StoreName> {
    if let Some(number) = text.strip_prefix("registry-") {
        return number.parse().ok().filter(|number| *number > 0).map(StoreName::Registry);
    }
    let (number, name) = text.strip_prefix("session-")?.split_once('-')?;
    let number = number.parse().ok().filter(|number| *number > 0).map(Number)?;
    let name = BASE32_NOPAD.decode(name.as_bytes()).ok()?;
    Some(StoreName::Session(number, SessionName::new(name).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_strict() {
        let name = SessionName::new("vm").unwrap();
        for (text, name) in [
            ("session-12-OZWQ", StoreName::Session(Number(12), name)),
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
            "session-1",
            "session-1-",
            "session--OZWQ",
            "session-0-OZWQ",
            "session-01-OZWQ",
            "session-+1-OZWQ",
            "session-1-ozwq",
            "session-1-OZWQ====",
            "session-1-OZWR",
            "session-1-OZWQ ",
            "session-1-OZWQ-1",
            "session-1-AA",
            "Session-1-OZWQ",
            "session-1-1",
            "session-18446744073709551616-OZWQ",
            "registry-",
            "registry-0",
            "registry-01",
            "registry--1",
            "registry-1-OZWQ",
            "registry-18446744073709551616",
            "stored",
            "connection",
        ] {
            assert_eq!(text.parse::<StoreName>(), Err(StoreNameError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_session_has_a_name_that_systemd_takes(
            number in 1_u64..,
            bytes in proptest::collection::vec(1_u8.., 1..=63),
        ) {
            let name = StoreName::Session(Number(number), SessionName::new(bytes).unwrap());
            let text = name.to_string();
            prop_assert_eq!(text.parse(), Ok(name));
            prop_assert!(text.len() <= 255);
            prop_assert!(text.bytes().all(|byte| (b' '..127).contains(&byte) && byte != b':'));
        }

        #[test]
        fn what_is_read_is_printed_the_same(text in "(session|registry)-[0-9]{1,3}(-[A-Z2-7]{0,8})?|\\PC{0,20}") {
            if let Ok(name) = text.parse::<StoreName>() {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }
}
