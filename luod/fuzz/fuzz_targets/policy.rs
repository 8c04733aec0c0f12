// SPDX-License-Identifier: MIT OR Apache-2.0

//! Two files of a policy of anybody: there is a decision on everybody, or an error that names its line.

#![no_main]
#![expect(clippy::unwrap_used, reason = "a panic is how a target reports")]

use std::io;
use std::time::Duration;

use luod::owner::Owner;
use luod::policy::{Credentials, File, Names, Policy};

/// Every name is that of an account, or of none, or cannot be found out, by its length.
struct ByLength;

impl Names for ByLength {
    fn user(&self, name: &str) -> io::Result<Option<u32>> {
        match name.len() {
            0..5 => Ok(u32::try_from(name.len()).ok()),
            5..9 => Ok(None),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn group(&self, name: &str) -> io::Result<Option<u32>> {
        self.user(name)
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let halves = input.split_at(input.iter().position(|byte| *byte == 0).unwrap_or(input.len()));
    let (one, other) = (halves.0, halves.1.strip_prefix(b"\0").unwrap_or_default());
    let files = [("1.toml", one), ("2.toml", other)];
    let files = files.map(|(name, text)| File::new(name, text.to_vec()));
    let (Ok(one), Ok(other)) = files.into() else { return };
    match Policy::parse(&[one, other], &ByLength) {
        Ok((policy, warnings)) => {
            assert!(warnings.iter().all(|warning| warning.place.line > 0));
            for owner in ["unit:vmm@17.service", "user:0", "user:3"] {
                let owner: Owner = owner.parse().unwrap();
                let decision = policy.of(&owner, &Credentials { uid: 3, gids: vec![2, 4] });
                assert!(decision.sessions <= 4096 && decision.longest_deadline > Duration::ZERO);
            }
            policy.required().for_each(drop);
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.starts_with("1.toml:") || text.starts_with("2.toml:"), "{text}");
            assert!(!text.chars().any(char::is_control), "{text:?}");
        }
    }
});
