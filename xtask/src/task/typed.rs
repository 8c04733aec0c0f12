// SPDX-License-Identifier: MIT OR Apache-2.0

//! A task that another task runs.

use anyhow::Result;
use clap::{Args, Parser};

/// Options of a task, as if typed.
#[derive(Parser)]
struct Typed<T: Args> {
    #[command(flatten)]
    options: T,
}

/// The options that these words are: the name of the task, and what is typed behind it.
pub(crate) fn typed<T: Args>(words: &[&str]) -> Result<T> {
    Ok(Typed::try_parse_from(words)?.options)
}
