// SPDX-License-Identifier: MIT OR Apache-2.0

//! Varlink's frames, without I/O: JSON that ends with NUL, and the descriptors that come along.

use std::os::fd::OwnedFd;

use crate::{Error, ErrorKind, Result};

/// Bytes of a frame at most, in both directions.
pub(crate) const MAX_FRAME: usize = 64 << 10;

/// Descriptors of a frame at most: of no reply are there more.
pub(crate) const MAX_FDS: usize = 1;

/// A message of the other side.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    /// JSON, without the NUL.
    pub(crate) json: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// What has come of a stream, and is not read yet.
///
/// A read ends with the bytes with which descriptors were sent, so they belong to the frame of its last
/// byte.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    /// Bytes that were searched for a NUL.
    searched: usize,
    /// Descriptors, and the number of bytes up to the end of the read with which they came.
    fds: Vec<(usize, OwnedFd)>,
}

impl Inbox {
    /// Takes what one read has brought.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Protocol`] if a frame is too long, or has too many descriptors.
    pub(crate) fn push(&mut self, bytes: &[u8], fds: Vec<OwnedFd>) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        let end = self.bytes.len();
        self.fds.extend(fds.into_iter().map(|fd| (end, fd)));
        // Those of one frame, and of one that has begun behind it.
        if self.fds.len() > 2 * MAX_FDS {
            return Err(broken("a message has too many file descriptors"));
        }
        let has_end = bytes.contains(&0);
        if !has_end && self.bytes.len() > MAX_FRAME {
            return Err(too_long());
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.fds.is_empty()
    }

    /// The next frame, if it is whole.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>> {
        let rest = self.bytes.get(self.searched..).unwrap_or_default();
        let Some(length) = rest.iter().position(|byte| *byte == 0) else {
            self.searched = self.bytes.len();
            return Ok(None);
        };
        let end = self.searched + length + 1;
        self.searched = 0;
        let mut json: Vec<u8> = self.bytes.drain(..end).collect();
        json.pop();
        if json.len() > MAX_FRAME {
            return Err(too_long());
        }
        let (mine, others) =
            std::mem::take(&mut self.fds).into_iter().partition(|(at, _)| *at <= end);
        self.fds = others;
        self.fds.iter_mut().for_each(|(at, _)| *at -= end);
        let mine: Vec<(usize, OwnedFd)> = mine;
        if mine.len() > MAX_FDS {
            return Err(broken("a message has too many file descriptors"));
        }
        Ok(Some(Frame { json, fds: mine.into_iter().map(|(_, fd)| fd).collect() }))
    }
}

fn too_long() -> Error {
    broken(&format!("a message has over {MAX_FRAME} bytes"))
}

pub(crate) fn broken(why: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("the other side breaks the protocol: {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fd() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    /// The frames that are whole, and how many descriptors each has.
    fn frames(inbox: &mut Inbox) -> Vec<(Vec<u8>, usize)> {
        std::iter::from_fn(|| inbox.next().unwrap()).map(|it| (it.json, it.fds.len())).collect()
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no /dev/null")]
    fn descriptors_belong_to_the_frame_at_the_end_of_the_read() {
        let mut inbox = Inbox::default();
        inbox.push(b"one\0two\0", vec![fd()]).unwrap();
        assert_eq!(frames(&mut inbox), [(b"one".to_vec(), 0), (b"two".to_vec(), 1)]);
        inbox.push(b"one\0tw", vec![fd()]).unwrap();
        assert_eq!(frames(&mut inbox), [(b"one".to_vec(), 0)]);
        inbox.push(b"o\0three\0", vec![]).unwrap();
        assert_eq!(frames(&mut inbox), [(b"two".to_vec(), 1), (b"three".to_vec(), 0)]);
        inbox.push(b"x\0", vec![fd(), fd()]).unwrap();
        assert_eq!(inbox.next().unwrap_err().kind(), ErrorKind::Protocol);
    }

    #[test]
    fn a_frame_is_bounded() {
        let mut inbox = Inbox::default();
        let longest = vec![b'x'; MAX_FRAME];
        inbox.push(&longest, vec![]).unwrap();
        assert!(inbox.push(b"x", vec![]).is_err());
        let mut inbox = Inbox::default();
        inbox.push(&longest, vec![]).unwrap();
        inbox.push(b"\0y", vec![]).unwrap();
        assert_eq!(frames(&mut inbox).len(), 1);
    }

    proptest! {
        #[test]
        fn frames_do_not_depend_on_the_reads(
            all: Vec<Vec<u8>>,
            cuts in proptest::collection::vec(1_usize..20, 0..40),
        ) {
            let all: Vec<Vec<u8>> =
                all.into_iter().map(|it| it.into_iter().filter(|byte| *byte != 0).collect()).collect();
            let bytes: Vec<u8> = all.iter().flat_map(|it| it.iter().copied().chain([0])).collect();
            let (mut inbox, mut rest, mut found) = (Inbox::default(), &bytes[..], Vec::new());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                inbox.push(now, vec![]).unwrap();
                found.extend(frames(&mut inbox));
                rest = later;
            }
            prop_assert_eq!(found, all.into_iter().map(|it| (it, 0)).collect::<Vec<_>>());
        }
    }
}
