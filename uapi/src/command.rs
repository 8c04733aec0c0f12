// SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT

//! The common part of all commands.

use core::mem::size_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The ioctl type of every command, see `Documentation/userspace-api/ioctl/ioctl-number.rst`.
pub const TYPE: u8 = 0xBA;

/// A command: the structure that its ioctl takes.
///
/// The first member of each is `size: u32`, the size of the structure as the caller knows it.
pub trait Command: FromBytes + IntoBytes + Immutable + KnownLayout {
    /// Command number, unique over device and sessions.
    const NR: u8;

    /// End of the last member without which the command makes no sense, in bytes.
    const MIN_SIZE: usize;

    /// The ioctl request: `_IO(TYPE, NR)`. Size and direction are not part of it, because the
    /// structure may grow.
    const OPCODE: u32 = ((TYPE as u32) << 8) | Self::NR as u32;
}

/// The size word of an argument of type `T`, in bytes.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked, and there is no const `try_into`"
)]
pub(crate) const fn struct_size<T>() -> u32 {
    assert!(size_of::<T>() <= u32::MAX as usize);
    size_of::<T>() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CreateSession, Finish, GetInfo, GetName, PreserveFd, RetrieveFd, RetrieveSession};

    #[test]
    fn opcodes_are_those_of_the_header() {
        assert_eq!(CreateSession::OPCODE, 0xBA00);
        assert_eq!(RetrieveSession::OPCODE, 0xBA01);
        assert_eq!(PreserveFd::OPCODE, 0xBA40);
        assert_eq!(RetrieveFd::OPCODE, 0xBA41);
        assert_eq!(Finish::OPCODE, 0xBA42);
        assert_eq!(GetName::OPCODE, 0xBA43);
        assert_eq!(GetInfo::OPCODE, 0xBA80);
    }
}
