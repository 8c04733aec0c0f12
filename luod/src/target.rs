// SPDX-License-Identifier: MIT OR Apache-2.0

//! The target of a live update: the image of the next kernel, and what that kernel can read.
//!
//! A kernel that does not know the format of what it is handed panics at boot, when there is no way
//! back. So the image is asked before: [`read`] unpacks it and collects [`Facts`], [`compare()`] holds
//! them against the formats of the handover.
//!
//! Everything here but [`load`] is pure: bytes in, facts out. Images are not trusted. Any bytes give
//! facts, within the memory, nesting and size of [`Limits`] and in time linear in them.
//!
//! # Images
//!
//! Layers are told by their magic numbers, never by names, and may contain each other in any order:
//! UKI, bzImage (protocol 2.08 and later), EFI zboot, arm64 `Image`, vmlinux, and streams of gzip, xz,
//! zstd, lz4 (both kinds), bzip2 and lzma. Streams of lzo are recognised but not unpacked.
//!
//! # Formats
//!
//! A format is a string that old and new kernel compare with `strcmp`. Those of Linux 7.3:
//!
//! | format | of | from | in the image |
//! |---|---|---|---|
//! | `kho-v4` | root of the Kexec Handover (KHO), its memory map and vmalloc areas | `KHO_FDT_COMPATIBLE`, `include/linux/kho/abi/kexec_handover.h` | string |
//! | `luo-v5` | root of LUO, its sessions, files, FLBs, and the blocks they lie in | `LUO_ABI_COMPATIBLE`, `include/linux/kho/abi/luo.h` | C: string; Rust: also an operand of instructions |
//! | `memfd-v2` | files of memfd | `MEMFD_LUO_FH_COMPATIBLE`, `include/linux/kho/abi/memfd.h` | array of 48 bytes in the handler |
//! | `memblock-v1`, `reserve-mem-v1` | memory of `reserve_mem=` | `include/linux/kho/abi/memblock.h` | strings |
//! | any other | files of a handler, or an FLB | `compatible` of `struct liveupdate_file_handler`, `struct liveupdate_flb` | array of 48 bytes |
//!
//! Blocks (`include/linux/kho/abi/block.h`) and the metadata of KHO have no string of their own; their
//! layout changes with `luo-v5` and `kho-v4`.
//!
//! A string is *known* ([`Formats::get`]) if it stands alone: no printable character is before it, and
//! a NUL is behind it. This holds for all of the above in images of both implementations. In the Rust
//! kernel for x86-64, `luo-v5` is the operand of `movabs`, whose opcodes are not printable. A compiler
//! may also cut such an operand into pieces (arm64 does), and tests in a kernel have the string before
//! other text. So a format that is only *mentioned* in text, and LUO without its format, are doubts
//! and no refusals.
//!
//! Strings are evidence and no proof. Code may contain a string and not use it. Debug information in a
//! kernel (BTF) has names of C, so a format with `_v1` may be known by the name of a function only.
//!
//! # The section `.liveupdate_features`
//!
//! Upstream discusses a section of vmlinux by this name, with names of formats and bits of features.
//! Its layout is not settled, so only the printable strings in it are read, as names from another
//! [`Source`]. Names without versions in it say too little, and give a doubt.

pub mod cmdline;
mod compare;
mod config;
mod container;
mod facts;
mod file;
mod format;
mod layer;
mod limits;
mod peel;
mod reason;
mod scan;
mod unpack;
mod unread;

pub use compare::{Verdict, compare};
pub use config::{Config, Setting};
pub use facts::{Architecture, Facts};
pub use file::{FileError, load};
pub use format::{Format, FormatError, Formats, Owner, Source};
pub use layer::{Layer, Layers, Packing};
pub use limits::Limits;
pub use peel::read;
pub use reason::{Doubt, Refusal};
pub use unread::Unread;
