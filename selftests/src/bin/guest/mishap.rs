// SPDX-License-Identifier: MIT OR Apache-2.0

//! Guests that do not do what they should, by their names.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use liblu::{Claimed, Participant};

use selftests::guests::result_file;

/// The answer of a guest to an update that is no plain "ready".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ready,
    Refuse,
    /// It never answers.
    Late,
    Die,
    /// It is ready after two seconds.
    Slow,
}

impl Answer {
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "refuses" => Self::Refuse,
            "late" => Self::Late,
            "dies" => Self::Die,
            "slow" => Self::Slow,
            _ => Self::Ready,
        }
    }
}

/// Gives the answer, unless it is "ready". False if the guest is to be ready.
pub(crate) fn answer(name: &str, participant: &Participant, generation: u64) -> Result<bool> {
    match Answer::of(name) {
        Answer::Ready => return Ok(false),
        Answer::Refuse => {
            let soon = Some(std::time::Instant::now() + Duration::from_secs(30));
            participant.refuse(generation, "it refuses", soon).context("refuse")?;
        }
        Answer::Late => {}
        Answer::Die => std::process::exit(1),
        Answer::Slow => {
            std::thread::sleep(Duration::from_secs(2));
            return Ok(false);
        }
    }
    Ok(true)
}

/// Places in the restoration of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It has claimed its session.
    Claimed = 1,
    /// It has retrieved one of two files.
    Between = 2,
    /// It has retrieved both.
    Retrieved = 3,
    /// It has finished the session, and luod does not know.
    Finished = 4,
}

/// All places, in order.
pub(crate) const PLACES: [Place; 4] =
    [Place::Claimed, Place::Between, Place::Retrieved, Place::Finished];

/// The file that says where a guest crashes.
pub(crate) fn crash_file(name: &str) -> String {
    result_file(&format!("{name}.crash"))
}

/// Crashes here, if a file says so.
pub(crate) fn crash(name: &str, place: Place) {
    let wanted = fs::read_to_string(crash_file(name)).unwrap_or_default();
    if wanted.trim() == (place as u8).to_string() {
        std::process::abort();
    }
}

/// Finishes the session behind luod's back and crashes, if a file says so.
pub(crate) fn crash_finished(name: &str, claimed: Claimed) -> Result<Claimed> {
    let wanted = fs::read_to_string(crash_file(name)).unwrap_or_default();
    if wanted.trim() != (Place::Finished as u8).to_string() {
        return Ok(claimed);
    }
    let session =
        liblu::IncomingSession::try_from(claimed.into_fd()).map_err(liblu::Error::from)?;
    session.finish().map_err(liblu::Error::from).context("finish")?;
    std::process::abort();
}
