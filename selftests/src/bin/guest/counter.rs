// SPDX-License-Identifier: MIT OR Apache-2.0

//! A program that knows nothing of updates: it has memory as file descriptor 3.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context, Result};
use selftests::position::hop_number;

use selftests::guests::result_file;

/// Says what the memory says, and writes this hop into it.
pub(crate) fn run() -> Result<()> {
    let memory = OpenOptions::new().read(true).write(true).open("/proc/self/fd/3");
    let memory = memory.context("open the memory")?;
    let mut there = [0; 8];
    memory.read_exact_at(&mut there, 0).context("read the memory")?;
    let hop = hop_number()? as u64;
    memory.write_all_at(&hop.to_le_bytes(), 0).context("write the memory")?;
    std::fs::write(result_file("counter"), u64::from_le_bytes(there).to_string())
        .context("write the result")?;
    loop {
        std::thread::park();
    }
}
