// SPDX-License-Identifier: MIT OR Apache-2.0

//! The only input and output of this module: the bytes of a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::Limits;

/// Why a file is no image at all.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It has no bytes.
    #[error("the file is empty; a kernel image was expected")]
    Empty,
    /// It is a directory, a device, a socket or a pipe.
    #[error("not a regular file; a kernel image was expected")]
    NotAFile,
    /// It is larger than [`Limits::file`], given here.
    #[error("the file is larger than {0} bytes, too large for a kernel image")]
    TooLarge(usize),
    /// Reading has failed.
    #[error("the file cannot be read")]
    Read(#[from] io::Error),
}

/// All bytes of `file`, from its beginning. The position of `file` is neither used nor changed, since
/// others may share it.
///
/// # Errors
///
/// `file` is empty, too large, no regular file, or cannot be read.
pub fn load(file: &File, limits: &Limits) -> Result<Vec<u8>, FileError> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile);
    }
    let too_large = FileError::TooLarge(limits.file);
    let Some(length) = usize::try_from(metadata.len()).ok().filter(|&length| length <= limits.file)
    else {
        return Err(too_large);
    };
    // One byte more than the length shows the end, or that the file grows.
    let mut bytes = vec![0; length + 1];
    let mut filled = 0;
    loop {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        }
        if filled > limits.file {
            return Err(too_large);
        }
        if filled == bytes.len() {
            bytes.resize(bytes.len().saturating_mul(2).min(limits.file.saturating_add(1)), 0);
        }
    }
    if filled == 0 {
        return Err(FileError::Empty);
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

    use super::*;

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn a_file_is_read_whole_wherever_its_position_is() {
        let mut file = file(b"kernel");
        file.seek(SeekFrom::Start(3)).unwrap();
        assert_eq!(load(&file, &Limits::default()).unwrap(), b"kernel");
        let mut rest = String::new();
        file.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "nel");
    }

    #[test]
    fn the_limit_is_the_largest_size_that_is_read() {
        let limits = Limits { file: 6, ..Limits::default() };
        assert_eq!(load(&file(b"kernel"), &limits).unwrap(), b"kernel");
        assert!(matches!(load(&file(b"kernels"), &limits), Err(FileError::TooLarge(6))));
        // No memory is taken for a file that is refused.
        let sparse = tempfile::tempfile().unwrap();
        sparse.set_len(1 << 43).unwrap();
        let refused = || assert!(matches!(load(&sparse, &limits), Err(FileError::TooLarge(6))));
        assert_eq!(allocation_counter::measure(refused).bytes_total, 0);
    }

    #[test]
    fn what_is_no_file_with_content_is_refused() {
        let limits = Limits::default();
        assert!(matches!(load(&file(b""), &limits), Err(FileError::Empty)));
        for path in ["/", "/dev/zero"] {
            let other = File::open(path).unwrap();
            assert!(matches!(load(&other, &limits), Err(FileError::NotAFile)), "{path}");
        }
    }

    #[test]
    fn a_file_of_unknown_length_is_read_to_its_end() {
        // Files of procfs say that they are empty.
        let file = File::open("/proc/self/status").unwrap();
        let limits = Limits::default();
        assert!(load(&file, &limits).unwrap().starts_with(b"Name:"));
        let limits = Limits { file: 100, ..limits };
        assert!(matches!(load(&file, &limits), Err(FileError::TooLarge(100))));
    }
}
