// SPDX-License-Identifier: MIT OR Apache-2.0

//! Processes of this boot.

use serde::{Deserialize, Serialize};

/// A process. No other process of this boot is equal to it, also after it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    /// Its number, which is used again after its end.
    pub pid: u32,
    /// The inode of its pidfds. Since Linux 6.9, which is older than LUO, the kernel gives each process one
    /// of its own.
    #[serde(rename = "pidfdInode")]
    pub inode: u64,
}
