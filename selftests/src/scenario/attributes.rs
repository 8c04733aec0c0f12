// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a memfd has beside its pages: size, position, seals.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use anyhow::{Context, Result, ensure};
use rustix::fs::{
    MemfdFlags, SealFlags, SeekFrom, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate,
    memfd_create, seek, tell,
};
use rustix::io::Errno;

use super::Scenario;
use super::holes::take_over;
use super::stage::{Stage, create, fails, not_applicable};

pub(super) const ALL: &[Scenario] = &[
    Scenario::here("a_memfd_of_hugetlb_is_refused", hugetlb),
    Scenario::across("size_position_and_seals_of_a_memfd_cross", before, after),
];

fn hugetlb(_: &mut Stage<'_>) -> Result<()> {
    let file = match memfd_create("hugetlb", MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB) {
        Err(Errno::INVAL | Errno::NOSYS) => return not_applicable("this kernel has no hugetlb"),
        file => file.context("memfd")?,
    };
    let session = create("attributes-hugetlb")?;
    fails("PRESERVE_FD", session.preserve(1.into(), file), Errno::NOENT)
}

/// `F_SEAL_EXEC`.
const SEAL_EXEC: SealFlags = SealFlags::from_bits_retain(0x20);

/// What a memfd has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attributes {
    /// Bytes.
    size: u64,
    position: u64,
    seals: SealFlags,
}

impl Attributes {
    fn of(file: &File) -> Result<Self> {
        let size = u64::try_from(fstat(file).context("stat")?.st_size)?;
        let position = tell(file).context("the position")?;
        Ok(Self { size, position, seals: fcntl_get_seals(file).context("the seals")? })
    }
}

/// The largest position, and one behind the end of the file.
const FAR: u64 = i64::MAX as u64;

/// A memfd each: the smallest and an odd size, all seals that live updates know, and some.
fn all() -> [Attributes; 4] {
    let some = SealFlags::SHRINK | SealFlags::GROW;
    let all = some | SealFlags::SEAL | SealFlags::WRITE | SealFlags::FUTURE_WRITE | SEAL_EXEC;
    [
        Attributes { size: 1, position: 0, seals: SealFlags::empty() },
        Attributes { size: 12_345, position: 12_345, seals: some },
        Attributes { size: 8191, position: FAR, seals: SealFlags::SEAL },
        Attributes { size: 4097, position: 77, seals: all },
    ]
}

fn name(number: usize) -> String {
    format!("attributes-{number}")
}

const TEXT: &[u8] = b"a";

fn before(stage: &mut Stage<'_>) -> Result<()> {
    for (number, attributes) in all().into_iter().enumerate() {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create("attributes", flags).context("memfd")?);
        ftruncate(&file, attributes.size).context("make a memfd longer")?;
        file.write_all_at(TEXT, attributes.size - 1).context("write the last byte")?;
        fcntl_add_seals(&file, attributes.seals).context("add seals")?;
        stage.hand_over(name(number), &file)?;
        // It is the position at reboot that counts.
        seek(&file, SeekFrom::Start(attributes.position)).context("seek")?;
        let here = Attributes::of(&file)?;
        ensure!(here == attributes, "a memfd is {here:?}, not {attributes:?}");
    }
    Ok(())
}

fn after(_: &mut Stage<'_>) -> Result<()> {
    for (number, attributes) in all().into_iter().enumerate() {
        let file = take_over(&name(number))?;
        let came = Attributes::of(&file)?;
        ensure!(came == attributes, "a memfd has come as {came:?}, not {attributes:?}");
        let mut last = [0];
        file.read_exact_at(&mut last, attributes.size - 1).context("read the last byte")?;
        ensure!(last == *TEXT, "the last byte is {last:?}");
        // Seals hold as those of this kernel do.
        let is_sealed = |seal| attributes.seals.contains(seal);
        let refused = |is_refused: bool| if is_refused { Err(Errno::PERM) } else { Ok(()) };
        let longer = ftruncate(&file, attributes.size + 1);
        ensure!(longer == refused(is_sealed(SealFlags::GROW)), "longer: {longer:?}");
        let shorter = ftruncate(&file, attributes.size - 1);
        ensure!(shorter == refused(is_sealed(SealFlags::SHRINK)), "shorter: {shorter:?}");
        let written = rustix::io::pwrite(&file, b"b", 0).map(drop);
        ensure!(written == refused(is_sealed(SealFlags::WRITE)), "written: {written:?}");
        let sealed = fcntl_add_seals(&file, SealFlags::SHRINK);
        ensure!(sealed == refused(is_sealed(SealFlags::SEAL)), "one more seal: {sealed:?}");
    }
    Ok(())
}
