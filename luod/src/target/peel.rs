// SPDX-License-Identifier: MIT OR Apache-2.0

//! From an image to the kernel in it, layer by layer.

use std::borrow::Cow;
use std::ops::Range;

use super::container::arm64;
use super::container::bzimage::BzImage;
use super::container::elf::Elf;
use super::container::uki::Uki;
use super::container::zboot::Zboot;
use super::facts::{Architecture, Facts};
use super::layer::Layer;
use super::limits::Limits;
use super::scan::Scan;
use super::unpack::{Room, unpack};
use super::unread::Unread;

/// What `image` says of its kernel. Whatever goes wrong is in [`Facts::unread`], beside all that was
/// found until then.
pub fn read(image: &[u8], limits: &Limits) -> Facts {
    let mut facts = Facts::default();
    let peel = Peel {
        facts: &mut facts,
        limits,
        bytes: Cow::Borrowed(image),
        size: None,
        left: limits.unpacked,
    };
    if let Err(unread) = peel.run() {
        facts.unread = Some(unread);
    }
    facts
}

/// An image that is being peeled.
struct Peel<'a> {
    facts: &'a mut Facts,
    limits: &'a Limits,
    /// What is left of the image.
    bytes: Cow<'a, [u8]>,
    /// How large `bytes` will be when they are unpacked, if the layer around them says so.
    size: Option<u32>,
    /// Bytes that may still be unpacked.
    left: usize,
}

impl Peel<'_> {
    fn run(mut self) -> Result<(), Unread> {
        for _ in 0..self.limits.layers {
            let layer = Layer::of(&self.bytes)?;
            self.facts.layers.0.push(layer);
            match layer {
                Layer::Uki => self.uki()?,
                Layer::BzImage => self.bzimage()?,
                Layer::Zboot => self.zboot()?,
                Layer::Packed(packing) => {
                    let room = Room { left: self.left, limit: self.limits.unpacked };
                    let unpacked = unpack(packing, &self.bytes, self.size.take(), room)?;
                    self.left -= unpacked.len();
                    self.bytes = Cow::Owned(unpacked);
                }
                Layer::Arm64Image => return self.arm64_image(),
                Layer::Elf => return self.vmlinux(),
            }
        }
        Err(Unread::TooDeep(self.limits.layers))
    }

    fn uki(&mut self) -> Result<(), Unread> {
        let uki = Uki::parse(&self.bytes)?;
        self.facts.cmdline = uki.cmdline;
        self.facts.os_release = uki.os_release;
        self.facts.release = uki.release;
        self.keep(uki.kernel);
        Ok(())
    }

    fn bzimage(&mut self) -> Result<(), Unread> {
        let image = BzImage::parse(&self.bytes)?;
        self.facts.architecture = Some(image.architecture);
        self.facts.release = image.release.or(self.facts.release.take());
        self.size = Some(image.unpacked);
        self.keep(image.payload);
        Ok(())
    }

    fn zboot(&mut self) -> Result<(), Unread> {
        let zboot = Zboot::parse(&self.bytes)?;
        self.facts.architecture = zboot.architecture;
        self.keep(zboot.payload);
        Ok(())
    }

    /// The strings are read before it is found that the image is not whole: they are facts as well.
    fn arm64_image(self) -> Result<(), Unread> {
        self.facts.architecture = Some(Architecture::Arm64);
        Scan::new(self.facts, self.limits).memory(&self.bytes)?;
        arm64::check(&self.bytes)
    }

    fn vmlinux(self) -> Result<(), Unread> {
        let elf = Elf::parse(&self.bytes)?;
        self.facts.architecture = Some(elf.architecture);
        let mut scan = Scan::new(self.facts, self.limits);
        for range in elf.loaded {
            scan.memory(&self.bytes[range])?;
        }
        elf.features.map_or(Ok(()), |range| scan.features(&self.bytes[range]))
    }

    /// Goes on with a part of the bytes.
    fn keep(&mut self, part: Range<usize>) {
        match &mut self.bytes {
            Cow::Borrowed(bytes) => *bytes = &bytes[part],
            Cow::Owned(bytes) => {
                bytes.truncate(part.end);
                bytes.drain(..part.start);
            }
        }
    }
}
