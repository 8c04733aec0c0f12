// SPDX-License-Identifier: MIT OR Apache-2.0

//! Small files over an update.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use liblu::{Agent, Claim, ErrorKind, Provider};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// The largest file. Larger ones belong into a program that preserves them as they are.
const LARGEST: u64 = 64 << 20;

/// The label of the file in the session.
const FILE: &str = "file";

/// The agent with its socket in this folder.
pub(crate) fn agent(folder: &Path) -> Agent {
    Agent::at(folder.join(luod::varlink::agent::NAME))
}

/// A deadline for calls that luod answers at once, but for a device that another process has.
#[expect(clippy::unnecessary_wraps, reason = "deadlines are optional")]
pub(crate) fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(30))
}

pub(crate) fn put(
    folder: &Path,
    label: &str,
    file: Option<&Path>,
    output: Output,
) -> Result<(), Failure> {
    let content = read(file)?;
    let agent = agent(folder);
    // A file of an earlier call is replaced.
    match agent.discard(label, soon()) {
        Err(error) if error.kind() != ErrorKind::NoFile => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let handover = Provider::agent(agent.clone()).open(label, soon())?;
    handover.preserve(FILE, memfd(&content)?)?;
    let ready = handover.ready().map_err(liblu::Error::from)?;
    agent.keep(label, soon())?;
    drop(ready);
    output.done(&format!("{} bytes are kept over the next update", content.len()));
    Ok(())
}

pub(crate) fn get(folder: &Path, label: &str, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let claimed = match Provider::agent(agent(folder)).claim(label, soon())? {
        Claim::Session(claimed) => claimed,
        Claim::ColdStart => {
            let why = format!("no file {label:?} was kept over the last update");
            return Err(Failure::with(Exit::NoSession, why));
        }
    };
    let mut content = Vec::new();
    let memfd = File::from(claimed.retrieve(FILE)?);
    let size = memfd.metadata().map_err(|error| Failure::new(error.to_string()))?.len();
    content.resize(usize::try_from(size).unwrap_or_default(), 0);
    let read = std::os::unix::fs::FileExt::read_exact_at(&memfd, &mut content, 0);
    read.map_err(|error| Failure::new(format!("the file cannot be read: {error}")))?;
    // Nothing is lost before it is written.
    write(file, &content)?;
    claimed.finish(soon()).map_err(liblu::Error::from)?;
    Ok(Exit::Done.into())
}

fn read(file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut content = Vec::new();
    let (name, read) = if let Some(path) = file.filter(|path| path.as_os_str() != "-") {
        let opened = File::open(path);
        let read = opened.and_then(|file| file.take(LARGEST + 1).read_to_end(&mut content));
        (path.display().to_string(), read)
    } else {
        let read = io::stdin().lock().take(LARGEST + 1).read_to_end(&mut content);
        ("standard input".into(), read)
    };
    read.map_err(|error| Failure::new(format!("{name}: {error}")))?;
    match content.len() as u64 {
        0 => Err(Failure::new(format!("{name} is empty, so there is nothing to keep"))),
        1..=LARGEST => Ok(content),
        _ => Err(Failure::new(format!("{name} has more than {LARGEST} bytes"))),
    }
}

fn write(file: Option<&Path>, content: &[u8]) -> Result<(), Failure> {
    let Some(path) = file.filter(|path| path.as_os_str() != "-") else {
        let mut output = io::stdout().lock();
        let written = output.write_all(content).and_then(|()| output.flush());
        return written.map_err(|error| Failure::new(format!("standard output: {error}")));
    };
    let failed = |error: io::Error| Failure::new(format!("{}: {error}", path.display()));
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    new.write_all(content).and_then(|()| new.as_file().sync_all()).map_err(failed)?;
    new.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// A memfd with this content.
fn memfd(content: &[u8]) -> Result<OwnedFd, Failure> {
    let failed = |error: io::Error| Failure::new(format!("no memory for the file: {error}"));
    let memfd = memfd_create("luctl-put", MemfdFlags::CLOEXEC).map_err(|it| failed(it.into()))?;
    let mut file = File::from(memfd);
    file.write_all(content).map_err(failed)?;
    Ok(file.into())
}
