// SPDX-License-Identifier: MIT OR Apache-2.0

use std::io;

use crate::protocol::Command;

/// Why a guest was not received or sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The connection is broken, or was cut.
    #[error("the connection to Cloud Hypervisor")]
    Io(#[from] io::Error),
    /// A descriptor could not be sent or received.
    #[error("memory on the connection to Cloud Hypervisor")]
    Passing(#[source] liblu::Error),
    /// The number of a command or of a status that the protocol does not have.
    #[error("Cloud Hypervisor speaks of {0}, which this version of the protocol does not have")]
    Unknown(u16),
    /// The other side is of another version.
    #[error("the protocol of this Cloud Hypervisor has version {0}, and luod-ch knows version 0")]
    Version(u16),
    /// A command where it makes no sense.
    #[error("Cloud Hypervisor sends {got:?} where {expected} is expected")]
    Order {
        /// The command.
        got: Command,
        /// What may come.
        expected: &'static str,
    },
    /// Memory is sent as bytes, so it is not shared.
    #[error(
        "Cloud Hypervisor sends memory as bytes: start the guest with `--memory ...,shared=on`, and migrate with `local=on`"
    )]
    Copied,
    /// A length beyond the limit, or not that of the command.
    #[error("Cloud Hypervisor announces {length} bytes for {command:?}")]
    Length {
        /// The command.
        command: Command,
        /// What it announces.
        length: u64,
    },
    /// A slot came twice.
    #[error("Cloud Hypervisor sends the memory of slot {0} twice")]
    SameSlot(u32),
    /// No memory came with the number of a slot, or no slot at all.
    #[error("Cloud Hypervisor sends no memory")]
    NoMemory,
    /// The other side has given up.
    #[error("Cloud Hypervisor has given up")]
    Abandoned,
    /// The other side has refused a command.
    #[error("Cloud Hypervisor refuses {0:?}; its log has the reason")]
    Refused(Command),
    /// Cloud Hypervisor had all of the guest and was told to run it, and then the connection was cut or the command
    /// failed: the guest may have run.
    #[error("Cloud Hypervisor has the guest, and may have run it")]
    Uncertain(#[source] Box<Error>),
    /// The guest came whole, and could not be kept. Cloud Hypervisor has it still.
    #[error("the guest cannot be kept")]
    Keep(#[source] Box<dyn std::error::Error + Send + Sync>),
}
