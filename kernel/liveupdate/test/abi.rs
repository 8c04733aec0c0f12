// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Commands of `/dev/liveupdate_test`, which is in kernels for tests only.
//!
//! They take a number, not an address, and return a number.

/// Returns the file descriptor of a new file. The argument is its behaviour.
pub const NEW: u32 = 0xBAE0;

/// Lets slow callbacks go on: those of the file with this number, or all of them (0).
pub const GO: u32 = 0xBAE1;

/// Sets whether files with [`CANNOT_FINISH`] can be finished: 0 or 1.
pub const MAY_FINISH: u32 = 0xBAE2;

/// Returns the content of the FLB for the next kernel, or fails.
pub const OUTGOING_OBJECT: u32 = 0xBAE3;

/// Returns the content of the FLB of the previous kernel, or fails.
pub const INCOMING_OBJECT: u32 = 0xBAE4;

/// Makes the FLB fail the next time that it is preserved or retrieved, with [`FAILURE`].
pub const OBJECT_FAILS: u32 = 0xBAE5;

/// On a file: returns its number.
pub const NUMBER: u32 = 0xBAE6;

/// Returns how many callbacks wait for [`GO`]: of the file with this number, or in all (0).
pub const WAITING: u32 = 0xBAE7;

/// Registers the handler, or unregisters it with all FLBs that its files depend on: 1 or 0.
pub const HANDLER: u32 = 0xBAE8;

/// Sets whether files depend on the FLB: 0 or 1.
pub const DEPENDENCE: u32 = 0xBAE9;

/// Holds the FLB for the next kernel, or gives it back: 1 or 0.
pub const HOLD_OUTGOING: u32 = 0xBAEA;

/// Holds the FLB of the previous kernel, or gives it back: 1 or 0.
pub const HOLD_INCOMING: u32 = 0xBAEB;

/// Makes the FLB wait for [`GO`] the next time that it is preserved or retrieved.
pub const OBJECT_IS_SLOW: u32 = 0xBAEC;

/// On a file: returns how often it was frozen in the previous kernel, in all attempts.
pub const TIMES_FROZEN: u32 = 0xBAED;

/// Returns the file descriptor of a new file that is counted by an FLB of its own.
pub const NEW_COUNTED: u32 = 0xBAEE;

/// Returns the number of counted files that the previous kernel has handed over, by its own count,
/// or fails.
pub const COUNTED: u32 = 0xBAEF;

/// Registers the handler of [`PLAIN`] files, or unregisters it: 1 or 0.
pub const PLAIN_HANDLER: u32 = 0xBAF0;

/// Behaviour: preserving fails with `ENOTBLK`.
pub const PRESERVE_FAILS: u64 = 1 << 0;

/// Behaviour: preserving waits for [`GO`].
pub const PRESERVE_IS_SLOW: u64 = 1 << 1;

/// Behaviour: freezing fails with `ENOTBLK` the first time.
pub const FREEZE_FAILS_ONCE: u64 = 1 << 2;

/// Behaviour: retrieving fails with `ENOTBLK`.
pub const RETRIEVE_FAILS: u64 = 1 << 3;

/// Behaviour: the file cannot be finished before [`MAY_FINISH`] allows it.
pub const CANNOT_FINISH: u64 = 1 << 4;

/// Behaviour: the file counts as the same file as all others with this behaviour.
pub const SAME: u64 = 1 << 5;

/// Behaviour: finishing waits for [`GO`].
pub const FINISH_IS_SLOW: u64 = 1 << 6;

/// Behaviour: retrieving waits for [`GO`].
pub const RETRIEVE_IS_SLOW: u64 = 1 << 7;

/// Behaviour: unpreserving waits for [`GO`].
pub const UNPRESERVE_IS_SLOW: u64 = 1 << 8;

/// Behaviour: the file depends on no FLB.
pub const PLAIN: u64 = 1 << 9;

/// Position of the byte that tells how often a file was frozen.
pub const FROZEN_SHIFT: u32 = 16;

/// Position of the number of a file: the upper half of its behaviour.
pub const NUMBER_SHIFT: u32 = 32;

/// The content of the FLB for the next kernel.
pub const OBJECT: u64 = 0x51ab;

/// The error number of callbacks that fail on demand.
pub const FAILURE: i32 = 15;

/// The beginning of the line in the log about a callback that runs while a file is frozen.
pub const BESIDE_FREEZE: &str = "luo_test: beside freeze: ";
