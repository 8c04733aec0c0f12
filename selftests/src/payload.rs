// SPDX-License-Identifier: MIT OR Apache-2.0

//! The payload disk: a newc archive on a bare block device.
//!
//! Every hop finds the plan, the kernels of all later hops and the initramfs on it, however many
//! hops there are; no file system and no archive inside another is needed.

use std::io::{self, Read, Write};

use cpio::newc;

/// Finds the entry `name` of the archive `from` and copies its bytes into `to`.
///
/// # Errors
///
/// `NotFound` if the archive ends without such an entry, or the error of reading or writing.
pub fn extract(from: impl Read, name: &str, to: &mut impl Write) -> io::Result<u64> {
    let mut from = from;
    loop {
        let mut entry = newc::Reader::new(from)?;
        if entry.entry().is_trailer() {
            let what = format!("the payload has no `{name}`");
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        if entry.entry().name() == name {
            let size = u64::from(entry.entry().file_size());
            let copied = io::copy(&mut entry, to)?;
            return if copied == size {
                Ok(copied)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        from = entry.finish()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, bytes) in entries {
            let size = u32::try_from(bytes.len()).unwrap();
            let mut writer = newc::Builder::new(name).mode(0o100_644).write(&mut out, size);
            writer.write_all(bytes).unwrap();
            writer.finish().unwrap();
        }
        newc::trailer(&mut out).unwrap();
        out
    }

    #[test]
    fn an_entry_behind_others_is_found() {
        let archive = archive(&[("one", b"1"), ("two", b"22"), ("three", b"333")]);
        let mut to = Vec::new();
        assert_eq!(extract(&archive[..], "two", &mut to).unwrap(), 2);
        assert_eq!(to, b"22");
    }

    #[test]
    fn a_missing_entry_is_named() {
        let error = extract(&archive(&[("one", b"1")])[..], "none", &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("`none`"));
    }

    #[test]
    fn a_cut_archive_is_an_error() {
        let whole = archive(&[("one", &[7; 1000])]);
        for end in [0, 50, 113, 500, 1100] {
            assert!(extract(&whole[..end], "one", &mut Vec::new()).is_err(), "cut at {end}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = extract(&bytes[..], "name", &mut Vec::new());
        }
    }
}
