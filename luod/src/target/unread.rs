// SPDX-License-Identifier: MIT OR Apache-2.0

//! Why an image was not read to its end.

use super::{Layer, Packing};

/// Why an image was not read to its end. What was found in it until then is true, what was not found
/// may be there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// No magic number that is known.
    #[error("it is no kernel image of a kind that is known")]
    Unrecognised,
    /// Some part of this layer lies beyond the end.
    #[error("the {0} is cut off: parts of it lie beyond the end of the file")]
    CutOff(Layer),
    /// A header of this layer contradicts itself.
    #[error("the {0} is damaged: {1}")]
    Damaged(Layer, &'static str),
    /// A bzImage of a time before its payload could be found.
    #[error("the bzImage has boot protocol {}.{:02}; 2.08 is needed (Linux 2.6.26)", .0 >> 8, .0 & 0xFF)]
    OldProtocol(u16),
    /// A program for EFI without a section `.linux`.
    #[error("it is a program for EFI with no kernel in it (section .linux)")]
    NoKernel,
    /// A UKI with several kernels, of which the firmware or the boot loader chooses one.
    #[error("the UKI has {0} kernels, and which of them will boot is not known")]
    SeveralKernels(usize),
    /// Streams of this kind cannot be unpacked.
    #[error("it is compressed with {0}, which cannot be unpacked here")]
    Unsupported(Packing),
    /// The decoder's own words.
    #[error("its {0} stream is damaged or cut off: {1}")]
    Stream(Packing, String),
    /// The stream has another size than the image says.
    #[error("its {packing} stream has {got} bytes when unpacked, not {said} as the image says")]
    Size {
        /// How the stream is packed.
        packing: Packing,
        /// Bytes that were unpacked.
        got: usize,
        /// Bytes that the image tells, modulo 2^32.
        said: u32,
    },
    /// More than [`Limits::unpacked`](super::Limits::unpacked), given here.
    #[error("it has more than {0} bytes when unpacked")]
    TooLarge(usize),
    /// More than [`Limits::layers`](super::Limits::layers), given here.
    #[error("it has more than {0} layers around each other")]
    TooDeep(usize),
    /// More than [`Limits::strings`](super::Limits::strings), given here.
    #[error("it has more than {0} strings that look like formats")]
    TooManyStrings(usize),
    /// An arm64 Image without a header for EFI, which is the only one that says how large it is.
    #[error(
        "it does not say how large it is (arm64 Image without CONFIG_EFI), so it may be cut off"
    )]
    SizeUnknown,
}
