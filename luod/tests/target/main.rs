// SPDX-License-Identifier: MIT OR Apache-2.0

//! The reader of kernel images, on small images of every kind that are made here.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod containers;
mod damage;
mod limits;
#[path = "../make/make.rs"]
mod make;
mod verdicts;

use luod::target::{Facts, Format, Limits, Verdict, compare, read};

/// What Linux 7.3 hands over with a memfd.
fn handed_over() -> Vec<Format> {
    formats(&["kho-v4", "luo-v5", "memfd-v2"])
}

fn formats(names: &[&str]) -> Vec<Format> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn facts(image: &[u8]) -> Facts {
    read(image, &Limits::default())
}

fn verdict(image: &[u8]) -> Verdict {
    compare(&handed_over(), &facts(image))
}
