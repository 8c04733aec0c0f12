// SPDX-License-Identifier: MIT OR Apache-2.0

//! Messages: to the journal if it listens, with the place and the level as fields, or else to standard error.

use std::env;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The variable that asks for more or fewer messages: `error`, `warn`, `info`, `debug` or `trace`.
const LEVEL: &str = "LUOD_LOG";

/// Sends messages where they belong from now on.
pub(crate) fn start() {
    let asked = env::var(LEVEL).ok().and_then(|level| level.parse().ok());
    let level = tracing_subscriber::registry().with(asked.unwrap_or(LevelFilter::INFO));
    let journal = env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    if let Some(journal) = journal {
        level.with(journal).init();
    } else {
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        level.with(lines.with_target(false).without_time().with_ansi(false)).init();
    }
}
