// SPDX-License-Identifier: GPL-2.0

//! Sessions: of the previous kernel, and for the next one.

pub(crate) mod incoming;
pub(crate) mod outgoing;
