// SPDX-License-Identifier: MIT OR Apache-2.0

//! What goes to the next kernel besides memory and state: the state of the entry `memory` in the manifest, JSON.

use serde::{Deserialize, Serialize};

/// The version that is written, and the newest that is read.
pub(crate) const VERSION: u32 = 1;

/// The note. Members that are not known are ignored.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Note {
    /// The version of this structure.
    pub(crate) version: u32,
    /// The command line, as the user gave it when the guest was started.
    pub(crate) words: Vec<String>,
    /// The version of QEMU that wrote the state.
    pub(crate) qemu: String,
    /// Whether the guest ran, and was not paused.
    pub(crate) is_running: bool,
    /// The frequency of the time stamp counter in kHz, as the kernel of then measured it; 0 without KVM.
    pub(crate) tsc_khz: u32,
}

impl Note {
    /// The bytes.
    pub(crate) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a note.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let note: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if note.version > VERSION {
            return Err(format!(
                "it has version {}, and this lu-qemu reads {VERSION}: install the one that wrote it",
                note.version
            ));
        }
        Ok(note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let words = vec!["qemu".into(), "-m".into(), "1G".into()];
        let note = Note {
            version: VERSION,
            words,
            qemu: "10.0.2".into(),
            is_running: true,
            tsc_khz: 2_000_000,
        };
        assert_eq!(Note::read(&note.write()), Ok(note.clone()));
        let later = Note { version: VERSION + 1, ..note };
        assert!(Note::read(&later.write()).unwrap_err().contains("version 2"));
        assert!(Note::read(b"{}").is_err());
    }
}
