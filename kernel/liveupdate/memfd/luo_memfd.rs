// SPDX-License-Identifier: GPL-2.0

//! Memory of memfds, over a live update.
//!
//! A memfd crosses a kexec with its content, size, position and seals. It stays in use meanwhile;
//! it cannot get longer or shorter, and its pages stay where they are.
//!
//! The format is `memfd-v2` of Linux 7.3 ([`luo_core::memfd`]), or `memfd-v3` if the administrator
//! knows that the next kernel reads it (`luo_memfd.extents=1` on the command line). Both are read.
//!
//! Modules import only those before them in this list:
//!
//! - [`table`]: the pages of the handover.
//! - [`preserved`]: a file that goes to the next kernel; its pages go by runs of adjacent ones.
//! - [`frozen`]: the files of which it is told when a page appears in a hole, which goes there too,
//!   and how far they are.
//! - [`preserve`]: the way out.
//! - [`filling`], [`retrieve`]: the way in.
//! - [`exports`]: the functions that `shmem` calls.

#![deny(unsafe_code)]

use core::marker::PhantomData;
use kernel::{
    fs::File,
    kho,
    liveupdate::{
        FileHandler,
        Handler,
        HandlerRegistration,
        Outcome, //
    },
    mm::shmem::Memfd,
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        ArcBorrow, //
    }, //
};

mod exports;
mod filling;
mod frozen;
mod preserve;
mod preserved;
mod retrieve;
mod table;

use luo_core::memfd::{
    extent,
    wire, //
};
use preserved::Preserved;

static FOLIOS: Handler<MemfdHandler<Folios>> = Handler::new(wire::COMPATIBLE);
static EXTENTS: Handler<MemfdHandler<Extents>> = Handler::new(extent::COMPATIBLE);

module! {
    type: LuoMemfd,
    name: "luo_memfd",
    authors: ["The authors of the Live Update Orchestrator in Rust"],
    description: "Memory of memfds, over a live update",
    license: "GPL",
    params: {
        extents: bool {
            default: false,
            description: "Preserve memfds by extents: the next kernel must know memfd-v3",
        },
    },
}

/// The module, which stays for as long as the kernel runs.
struct LuoMemfd {
    _folios: Option<HandlerRegistration<MemfdHandler<Folios>>>,
    _extents: Option<HandlerRegistration<MemfdHandler<Extents>>>,
}

impl kernel::Module for LuoMemfd {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        frozen::set_up()?;
        Ok(Self {
            _folios: unless_off(FOLIOS.register())?,
            _extents: unless_off(EXTENTS.register())?,
        })
    }
}

/// A registration; `None` if live update is off.
fn unless_off<T>(registration: Result<T>) -> Result<Option<T>> {
    match registration {
        Err(error) if error == EOPNOTSUPP => Ok(None),
        registration => registration.map(Some),
    }
}

/// How memory is described to the next kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// By folios: `memfd-v2`.
    Folios,
    /// By extents: `memfd-v3`.
    Extents,
}

impl Format {
    /// The one that memfds are preserved in.
    fn chosen() -> Self {
        if module_parameters::extents.value() {
            Self::Extents
        } else {
            Self::Folios
        }
    }
}

/// A [`Format`] as a type.
trait HasFormat: 'static {
    const FORMAT: Format;
}

/// See [`Format::Folios`].
struct Folios;

impl HasFormat for Folios {
    const FORMAT: Format = Format::Folios;
}

/// See [`Format::Extents`].
struct Extents;

impl HasFormat for Extents {
    const FORMAT: Format = Format::Extents;
}

/// The handler of memfds in a format.
struct MemfdHandler<F>(PhantomData<F>);

#[vtable]
impl<F: HasFormat> FileHandler for MemfdHandler<F> {
    type Data = kho::Address;
    type Private = Arc<Preserved>;

    fn can_preserve(file: &File) -> bool {
        F::FORMAT == Format::chosen() && Memfd::of(file).is_some()
    }

    fn preserve(file: &File) -> Result<(kho::Address, Arc<Preserved>)> {
        preserve::preserve(Memfd::of(file).ok_or(EINVAL)?, F::FORMAT)
    }

    fn unpreserve(file: &File, _data: kho::Address, private: Arc<Preserved>) {
        if let Some(memfd) = Memfd::of(file) {
            preserve::unpreserve(memfd, private);
        }
    }

    fn freeze(
        file: &File,
        data: kho::Address,
        private: ArcBorrow<'_, Preserved>,
    ) -> Result<kho::Address> {
        private.freeze(Memfd::of(file).ok_or(EINVAL)?.position());
        Ok(data)
    }

    fn unfreeze(_file: &File, _data: kho::Address, private: ArcBorrow<'_, Preserved>) {
        private.unfreeze();
    }

    fn retrieve(data: kho::Incoming) -> Result<ARef<File>> {
        retrieve::retrieve(data, F::FORMAT)
    }

    fn finish(_data: kho::Address, outcome: Outcome<'_, kho::Incoming>) {
        if let Outcome::NotTried(data) = outcome {
            retrieve::discard(data, F::FORMAT);
        }
    }

    fn id(file: &File) -> usize {
        Memfd::of(file).map_or(0, Memfd::id)
    }
}
