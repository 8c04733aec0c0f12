// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory of guests that crosses live updates of the host's kernel, for VMMs with [`vm_memory`].
//!
//! [`preserve`] puts each file behind a [`GuestMemoryMmap`] into a session, with the places of its
//! regions; [`retrieve`] makes the same memory of it in the next kernel. No byte is copied, and the
//! guest may run meanwhile: preserve it long before an update.
//!
//! ```no_run
//! use liblu::{Claim, Provider};
//! use vm_memory::GuestMemoryMmap;
//!
//! # fn new_memory() -> GuestMemoryMmap { GuestMemoryMmap::new() }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let provider = Provider::find()?;
//! let memory: GuestMemoryMmap = match provider.claim("guest", None)? {
//!     Claim::Session(session) => {
//!         let memory = liblu_vm_memory::retrieve(&session, "memory")?;
//!         // Restore and run the guest, and then:
//!         session.finish(None).map_err(liblu::Error::from)?;
//!         memory
//!     }
//!     Claim::ColdStart => new_memory(),
//! };
//! let next = provider.open("guest", None)?;
//! liblu_vm_memory::preserve(&next, "memory", &memory)?;
//! # Ok(())
//! # }
//! ```
//!
//! All regions must be mappings of memfds. A file counts once, however many regions it has. Its entries in
//! the manifest are called `LABEL/0`, `LABEL/1` and so on; the state of each is a version and its regions.

#![forbid(unsafe_code)]

mod place;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use liblu::{Claimed, Handover};
use rustix::fs::fstat;
use vm_memory::bitmap::{Bitmap, NewBitmap};
use vm_memory::mmap::{FromRangesError, MmapRegionError};
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryBackend as _, GuestMemoryMmap, GuestMemoryRegion as _,
    GuestRegionMmap, MmapRegion,
};

use place::Place;

/// Why memory cannot cross, or did not come.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A region has no file, so nothing of it can be preserved.
    #[error("the memory at {0:#x} is no mapping of a memfd")]
    NoFile(u64),
    /// The kernel does not say which file a region has.
    #[error("cannot look at the file of the memory at {0:#x}")]
    File(u64, #[source] rustix::io::Errno),
    /// The session has no file under this label, so it is another program's, or of another kind.
    #[error("the session has no memory with the label `{0}`")]
    NoMemory(String),
    /// The state of a file was written by a later version of this crate, or is no list of regions.
    #[error("the regions of `{0}` cannot be understood")]
    BadState(String),
    /// Preserving or retrieving a file failed.
    #[error("memory `{label}`")]
    Session {
        /// The label of the file.
        label: String,
        /// The reason.
        source: liblu::Error,
    },
    /// A region cannot be mapped.
    #[error("cannot map the memory at {place:#x}")]
    Map {
        /// The guest's address of it.
        place: u64,
        /// The reason.
        source: MmapRegionError,
    },
    /// The regions do not fit together.
    #[error("the regions of `{label}` make no memory of a guest")]
    Regions {
        /// The label of the memory.
        label: String,
        /// The reason.
        source: FromRangesError,
    },
}

/// Preserves each file of `memory` once, under labels that begin with `label`.
///
/// It takes long where a file has holes, for these are filled; see `docs/clients.md`.
///
/// # Errors
///
/// If a region has no file, or a file cannot be preserved. What was preserved stays so: close the session.
pub fn preserve<B: Bitmap + Send + Sync + 'static>(
    handover: &Handover,
    label: &str,
    memory: &GuestMemoryMmap<B>,
) -> Result<(), Error> {
    for (number, Backing { file, places, .. }) in files(memory)?.iter().enumerate() {
        let label = format!("{label}/{number}");
        let entry = || -> liblu::Result<()> {
            handover.preserve(&label, file.as_ref())?;
            handover.set_state(&label, &place::encode(places))
        };
        entry().map_err(|source| Error::Session { label: label.clone(), source })?;
    }
    Ok(())
}

/// A file behind memory, and its regions.
struct Backing {
    /// Device and inode: two descriptors may be of one file.
    identity: (u64, u64),
    file: Arc<File>,
    places: Vec<Place>,
}

/// The files of `memory`, in the order of addresses.
fn files<B: Bitmap + Send + Sync + 'static>(
    memory: &GuestMemoryMmap<B>,
) -> Result<Vec<Backing>, Error> {
    let mut files: Vec<Backing> = Vec::new();
    for region in memory.iter() {
        let address = region.start_addr().0;
        let offset = region.file_offset().ok_or(Error::NoFile(address))?;
        let stat = fstat(offset.file()).map_err(|errno| Error::File(address, errno))?;
        let identity = (stat.st_dev, stat.st_ino);
        let place = Place::new(address, region.len(), offset.start());
        if let Some(known) = files.iter_mut().find(|known| known.identity == identity) {
            known.places.push(place);
        } else {
            let file = offset.arc().clone();
            files.push(Backing { identity, file, places: vec![place] });
        }
    }
    Ok(files)
}

/// The memory that was preserved under `label`, mapped shared. Files are retrieved side by side.
///
/// The process that retrieves pays for the memory: call it in the guest's own control group.
///
/// # Errors
///
/// If the session has no such memory, a file cannot be retrieved or mapped, or the regions make no sense.
/// Nothing is lost then, unless the kernel says so: claim the session and try again.
pub fn retrieve<B: NewBitmap + Bitmap + Send + Sync + 'static>(
    session: &Claimed,
    label: &str,
) -> Result<GuestMemoryMmap<B>, Error> {
    let of_label = |source| Error::Session { label: label.to_owned(), source };
    let manifest = session.manifest().map_err(of_label)?;
    let entries: Vec<_> =
        manifest.entries().iter().filter(|it| belongs(it.label(), label)).collect();
    if entries.is_empty() {
        return Err(Error::NoMemory(label.to_owned()));
    }
    let files: Vec<liblu::Result<OwnedFd>> = thread::scope(|scope| {
        let started: Vec<_> =
            entries.iter().map(|entry| scope.spawn(|| session.retrieve(entry.label()))).collect();
        let joined = started.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|it| it.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut regions = Vec::new();
    for (entry, file) in entries.into_iter().zip(files) {
        let label = || entry.label().to_owned();
        let file = file.map_err(|source| Error::Session { label: label(), source })?;
        let file = Arc::new(File::from(file));
        for place in place::decode(entry.state()).ok_or_else(|| Error::BadState(label()))? {
            regions.push(map(place, &file).ok_or_else(|| Error::BadState(label()))??);
        }
    }
    regions.sort_by_key(GuestRegionMmap::start_addr);
    let of_regions = |source| Error::Regions { label: label.to_owned(), source };
    GuestMemoryMmap::from_regions(regions).map_err(FromRangesError::from).map_err(of_regions)
}

/// Whether an entry is one of the files of `label`.
fn belongs(entry: &str, label: &str) -> bool {
    let number = entry.strip_prefix(label).and_then(|rest| rest.strip_prefix('/'));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Maps a region; `None` if its numbers cannot be true.
fn map<B: NewBitmap + Bitmap>(
    place: Place,
    file: &Arc<File>,
) -> Option<Result<GuestRegionMmap<B>, Error>> {
    let size = usize::try_from(place.length()).ok()?;
    let address = GuestAddress(place.address());
    let offset = FileOffset::from_arc(file.clone(), place.offset());
    match MmapRegion::from_file(offset, size) {
        Ok(mapping) => GuestRegionMmap::new(mapping, address).map(Ok),
        Err(source) => Some(Err(Error::Map { place: place.address(), source })),
    }
}
