// SPDX-License-Identifier: MIT OR Apache-2.0

//! Room for memory in the control group of this process.
//!
//! The kernel charges a file to the process that retrieves it. Where there is no room, the file is lost for ever, for
//! the kernel does not try a second time. So a file that has surely no room is not asked for.

use std::fs;

use rustix::io::Errno;

use crate::{Error, ErrorKind, Result};

/// Where control groups are, version 2.
const GROUPS: &str = "/sys/fs/cgroup";

/// Refuses a file of this size if the control group of this process has no room for it. A process that cannot see its
/// group has to try.
pub(crate) fn check(size: u64) -> Result<()> {
    let Some((group, room)) = of_this_process() else { return Ok(()) };
    if room.holds(size) {
        return Ok(());
    }
    let why = format!(
        "the file has {size} bytes, and the control group {group} has room for {}: raise its memory.max (MemoryMax=) and \
         ask again; nothing is lost",
        room.free()
    );
    Err(Error::new(ErrorKind::NoResources, why).caused_by(Errno::NOMEM))
}

/// The control group of this process, and its room; `None` without a limit.
fn of_this_process() -> Option<(String, Room)> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    let read = |name: &str| fs::read_to_string(format!("{GROUPS}{group}/{name}")).ok();
    let most = read("memory.max")?.trim().parse().ok()?;
    let room = Room::of(most, &read("memory.current")?, &read("memory.stat")?)?;
    Some((group.to_owned(), room))
}

/// Memory of a control group, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    most: u64,
    used: u64,
    /// Of that, what the kernel takes back when it needs memory.
    cache: u64,
    /// Of that, memory of files such as memfds.
    shared: u64,
}

impl Room {
    /// From the text of the files `memory.current` and `memory.stat`.
    fn of(most: u64, current: &str, stat: &str) -> Option<Self> {
        let number = |name: &str| -> Option<u64> {
            let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
            line.trim().parse().ok()
        };
        let cache = number("inactive_file")?.saturating_add(number("active_file")?);
        Some(Self { most, used: current.trim().parse().ok()?, cache, shared: number("shmem")? })
    }

    fn free(self) -> u64 {
        self.most.saturating_sub(self.used.saturating_sub(self.cache))
    }

    /// Whether a file of this size may have room. One that an earlier process of the group has retrieved is there
    /// already, and costs nothing.
    fn holds(self, size: u64) -> bool {
        size <= self.free() || size <= self.shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "anon 5000\nfile 9000\nshmem 1000\ninactive_file 3000\nactive_file 2000\nslab 1\n";

    #[test]
    fn room_is_what_is_not_used_and_what_can_be_taken_back() {
        let room = Room::of(20_000, "16000\n", STAT).unwrap();
        assert_eq!(room.free(), 9000);
        assert!(room.holds(9000) && !room.holds(9001));
    }

    #[test]
    fn a_file_that_is_there_already_needs_no_room() {
        let full = Room { most: 10_000, used: 10_000, cache: 0, shared: 8000 };
        assert!(full.holds(8000) && !full.holds(8001));
    }

    #[test]
    fn text_that_is_not_understood_is_no_limit() {
        assert_eq!(Room::of(1, "x", STAT), None);
        assert_eq!(Room::of(1, "1", "anon 1\n"), None);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no such files")]
    fn a_small_file_has_room_here() {
        check(4096).unwrap();
    }
}
