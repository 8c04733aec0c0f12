// SPDX-License-Identifier: MIT OR Apache-2.0

//! The formats that this kernel hands over, and the files of sessions, as far as the kernel shows them.

use std::fs;
use std::os::fd::{AsFd, AsRawFd as _};
use std::path::Path;

use liblu::Release;

use crate::target::Format;

/// A file of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its token, as the kernel prints it.
    pub token: String,
    /// The format of its handler.
    pub handler: String,
    /// Its state, in the kernel's word.
    pub state: String,
}

/// The files of a session, by the fdinfo of its descriptor. `None` if the kernel does not show them, as the
/// C implementation.
pub fn files(session: impl AsFd) -> Option<Vec<File>> {
    let number = session.as_fd().as_raw_fd();
    parse(&fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?)
}

fn parse(fdinfo: &str) -> Option<Vec<File>> {
    let mut lines = fdinfo.lines().skip_while(|line| !line.starts_with("session "));
    lines.next()?;
    lines.take_while(|line| line.starts_with("  file ")).map(file).collect()
}

/// `  file token=0x1 handler="memfd-v2" state=pending`
fn file(line: &str) -> Option<File> {
    let (token, rest) = line.trim_start().strip_prefix("file token=")?.split_once(" handler=")?;
    let (handler, state) = rest.rsplit_once(" state=")?;
    let [token, state] = [token, state].map(String::from);
    Some(File { token, handler: handler.trim_matches('"').into(), state })
}

/// The root formats of the handover: those of KHO and of LUO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// The formats.
    pub formats: Vec<Format>,
    /// How they are known.
    pub evidence: Evidence,
}

/// How the formats of this kernel are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The kernel shows them (debugfs).
    Shown,
    /// They are those of the release.
    Release,
    /// They are those of the newest release that this luod knows; the running one may have others.
    Guess,
}

/// The folder of KHO in debugfs.
const KHO: &str = "/sys/kernel/debug/kho/out";

/// The formats of Linux 7.3.
const LINUX_7_3: [&str; 2] = ["kho-v4", "luo-v5"];

/// The formats of this kernel.
pub fn roots() -> Roots {
    roots_of(Path::new(KHO), &Release::running())
}

fn roots_of(kho: &Path, release: &Release) -> Roots {
    let shown: Vec<_> = [("fdt", "kho"), ("sub_fdts/LUO", "luo")]
        .into_iter()
        .filter_map(|(file, family)| find(&fs::read(kho.join(file)).ok()?, family))
        .collect();
    if shown.len() == 2 {
        return Roots { formats: shown, evidence: Evidence::Shown };
    }
    let is_known = !release.is_before(7, 3) && release.is_before(7, 4);
    let evidence = if is_known { Evidence::Release } else { Evidence::Guess };
    let formats = LINUX_7_3.iter().filter_map(|name| name.parse().ok()).collect();
    Roots { formats, evidence }
}

/// The format of this family that stands alone in the bytes.
fn find(bytes: &[u8], family: &str) -> Option<Format> {
    let texts = bytes.split(|byte| *byte == 0).filter_map(|text| str::from_utf8(text).ok());
    let mut formats = texts.filter_map(|text| text.parse::<Format>().ok());
    formats.find(|format| format.is_versioned() && format.family() == family)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_from_fdinfo() {
        let fdinfo = "pos:\t0\nflags:\t02\nino:\t7\nsession \"vm-1\" state=waiting files=2\n  file \
                      token=0x1 handler=\"memfd-v2\" state=pending\n  file token=0xff handler=? state=retrieved\n";
        let files = parse(fdinfo).unwrap();
        let one = File { token: "0x1".into(), handler: "memfd-v2".into(), state: "pending".into() };
        assert_eq!(files.first(), Some(&one));
        assert_eq!(files.get(1).map(|it| it.handler.as_str()), Some("?"));
        assert_eq!(parse("pos:\t0\nsession \"x\" state=open files=0\n"), Some(Vec::new()));
        assert_eq!(parse("pos:\t0\nflags:\t02\n"), None);
        assert_eq!(parse("session \"x\" state=open\n  file nonsense\n"), None);
    }

    #[test]
    fn formats_come_from_the_kernel_or_its_release() {
        let folder = tempfile::tempdir().unwrap();
        let release = |text: &str| text.parse::<Release>().unwrap();
        let roots = |text: &str| roots_of(folder.path(), &release(text));
        assert_eq!(roots("7.3.4").evidence, Evidence::Release);
        assert_eq!(roots("7.4.0").evidence, Evidence::Guess);
        fs::write(folder.path().join("fdt"), b"\xd0\x0d\xfe\xed\0\0compatible\0kho-v6\0").unwrap();
        fs::create_dir(folder.path().join("sub_fdts")).unwrap();
        fs::write(folder.path().join("sub_fdts/LUO"), b"luo-v7\0\0\0\x01\xff\0").unwrap();
        let shown = roots("7.4.0");
        assert_eq!(shown.evidence, Evidence::Shown);
        let names: Vec<_> = shown.formats.iter().map(Format::as_str).collect();
        assert_eq!(names, ["kho-v6", "luo-v7"]);
    }
}
