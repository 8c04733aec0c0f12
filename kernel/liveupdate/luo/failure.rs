// SPDX-License-Identifier: GPL-2.0

//! Why a handover cannot be read.

use kernel::{
    alloc::AllocError,
    fmt,
    prelude::*, //
};
use luo_core::damage::Damage;

/// The reason.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The handover is damaged.
    Damaged(Damage),
    /// This kernel could not read it.
    Kernel(Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(damage) => core::fmt::Display::fmt(damage, f),
            Self::Kernel(error) => write!(f, "{error:?}"),
        }
    }
}

impl From<Damage> for Failure {
    fn from(damage: Damage) -> Self {
        Self::Damaged(damage)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Kernel(error)
    }
}

impl From<AllocError> for Failure {
    fn from(error: AllocError) -> Self {
        Self::Kernel(error.into())
    }
}
