// SPDX-License-Identifier: MIT OR Apache-2.0

//! Values of settings, which say in their errors what is allowed.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Expected, Unexpected, Visitor};

use super::pattern::Pattern;
use crate::registry::MAX_SESSIONS;

/// A time, as text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timespan(pub(super) Duration);

/// A number of sessions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sessions(pub(super) u32);

/// A user or a group, by name or number.
#[derive(Clone, Debug)]
pub(super) enum Account {
    Name(String),
    Number(u32),
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_hours(24);
/// Of all owners together.
#[expect(clippy::cast_possible_truncation, reason = "it is far below 2^32")]
const MOST_SESSIONS: u32 = MAX_SESSIONS as u32;

/// The text is no time, or not one of those that make sense.
#[derive(Debug, thiserror::Error)]
#[error("a time is such as \"90s\" or \"1h 30min\", from 1ms to 24h")]
pub(super) struct TimespanError;

impl FromStr for Timespan {
    type Err = TimespanError;

    fn from_str(text: &str) -> Result<Self, TimespanError> {
        let time = humantime::parse_duration(text).map_err(|_| TimespanError)?;
        if (SHORTEST..=LONGEST).contains(&time) { Ok(Self(time)) } else { Err(TimespanError) }
    }
}

/// A value that is written as text.
struct Text<T> {
    expected: &'static str,
    value: PhantomData<T>,
}

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(|error| E::custom(format_args!("{text:?}: {error}")))
    }
}

impl<'de> Deserialize<'de> for Timespan {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let expected = "a time as text, such as \"90s\" or \"1h 30min\", from 1ms to 24h";
        from.deserialize_str(Text { expected, value: PhantomData })
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let expected = "a pattern of services such as \"vmm@*.service\"";
        from.deserialize_str(Text { expected, value: PhantomData })
    }
}

/// A number from 0 to `most`.
fn up_to<E: Error>(most: u32, number: i64, expected: &dyn Expected) -> Result<u32, E> {
    let wrong = || E::invalid_value(Unexpected::Signed(number), expected);
    u32::try_from(number).ok().filter(|number| *number <= most).ok_or_else(wrong)
}

impl<'de> Deserialize<'de> for Sessions {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(SessionsVisitor)
    }
}

struct SessionsVisitor;

impl Visitor<'_> for SessionsVisitor {
    type Value = Sessions;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number of sessions from 0 to {MOST_SESSIONS}")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Sessions, E> {
        up_to(MOST_SESSIONS, number, &self).map(Sessions)
    }
}

impl<'de> Deserialize<'de> for Account {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(AccountVisitor)
    }
}

struct AccountVisitor;

impl Visitor<'_> for AccountVisitor {
    type Value = Account;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name in quotation marks, or a number from 0 to {}", u32::MAX - 1)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Account, E> {
        // The last number stands for no account.
        up_to(u32::MAX - 1, number, &self).map(Account::Number)
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Account, E> {
        Ok(Account::Name(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_systemd() {
        for (text, seconds) in
            [("90s", 90), ("1h 30min", 5400), ("2min", 120), ("1day", 86400), ("5m", 300)]
        {
            let time = text.parse::<Timespan>().unwrap().0;
            assert_eq!(time, Duration::from_secs(seconds), "{text}");
        }
        assert_eq!("1ms".parse::<Timespan>().unwrap().0, SHORTEST);
        for text in [
            "",
            "60",
            "0",
            "0s",
            "-1s",
            "999us",
            "24h 1s",
            "1month",
            "s",
            "1 parsec",
            "99999999999999999999s",
        ] {
            assert!(text.parse::<Timespan>().is_err(), "{text}");
        }
    }
}
