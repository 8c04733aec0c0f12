// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commands of `/dev/liveupdate_test`, which is in kernels for tests only.
//!
//! They take a number, not an address, and return a number.

/// Returns the file descriptor of a new file, whose behaviour the argument says.
pub const NEW: u32 = 0xBAE0;

/// Lets files go on that are slow.
pub const GO: u32 = 0xBAE1;

/// Says whether files can be finished that cannot be at first: 0 or 1.
pub const MAY_FINISH: u32 = 0xBAE2;

/// Returns the object for the next kernel, or fails.
pub const OUTGOING_OBJECT: u32 = 0xBAE3;

/// Returns the object of the last kernel, or fails.
pub const INCOMING_OBJECT: u32 = 0xBAE4;

/// The next time that the object is preserved or retrieved fails with this error number.
pub const OBJECT_FAILS: u32 = 0xBAE5;

/// On a file: returns its number.
pub const NUMBER: u32 = 0xBAE6;

/// Returns how many files wait for [`GO`].
pub const WAITING: u32 = 0xBAE7;

/// Registers the handler, or unregisters it with all that it depends on: 1 or 0.
pub const HANDLER: u32 = 0xBAE8;

/// Says whether files depend on the object: 0 or 1.
pub const DEPENDENCE: u32 = 0xBAE9;

/// Holds the object for the next kernel, or gives it back: 1 or 0.
pub const HOLD_OUTGOING: u32 = 0xBAEA;

/// Holds the object of the last kernel, or gives it back: 1 or 0.
pub const HOLD_INCOMING: u32 = 0xBAEB;

/// The next time that the object is preserved or retrieved waits for [`GO`].
pub const OBJECT_IS_SLOW: u32 = 0xBAEC;

/// On a file: returns how often it was frozen, in all attempts, before it came here.
pub const TIMES_FROZEN: u32 = 0xBAED;

/// Behaviour: preserving fails with `ENOTBLK`.
pub const PRESERVE_FAILS: u64 = 1 << 0;

/// Behaviour: preserving waits for [`GO`].
pub const PRESERVE_IS_SLOW: u64 = 1 << 1;

/// Behaviour: freezing fails with `ENOTBLK` the first time.
pub const FREEZE_FAILS_ONCE: u64 = 1 << 2;

/// Behaviour: retrieving fails with `ENOTBLK`.
pub const RETRIEVE_FAILS: u64 = 1 << 3;

/// Behaviour: it cannot be finished before [`MAY_FINISH`] says so.
pub const CANNOT_FINISH: u64 = 1 << 4;

/// Behaviour: the file is the same as all others that have this.
pub const SAME: u64 = 1 << 5;

/// Behaviour: finishing waits for [`GO`].
pub const FINISH_IS_SLOW: u64 = 1 << 6;

/// Behaviour: retrieving waits for [`GO`].
pub const RETRIEVE_IS_SLOW: u64 = 1 << 7;

/// How often a file was frozen stands here, in one byte.
pub const FROZEN_SHIFT: u32 = 16;

/// The number of a file stands in the upper half of its behaviour.
pub const NUMBER_SHIFT: u32 = 32;

/// What the object for the next kernel is.
pub const OBJECT: u64 = 0x51ab;

/// The error number of what fails.
pub const FAILURE: i32 = 15;
