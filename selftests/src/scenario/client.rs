// SPDX-License-Identifier: MIT OR Apache-2.0

//! Programs that are linked with liblu, started as a user would start them.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use liblu::{Handover, Manifest, OutgoingSession};

use super::stage::{Stage, create, finish, memfd, retrieve, try_retrieve};
use super::{Kernel, Scenario};

pub(super) const ALL: &[Scenario] = &[
    Scenario::across("a_cache_keeps_its_data", in_rust_before, in_rust_after),
    Scenario::across("a_cache_in_c_keeps_its_data", in_c_before, in_c_after),
    Scenario::across("a_cache_of_rust_is_taken_over_by_one_in_c", mixed_before, mixed_after),
    Scenario::across("a_damaged_cache_is_not_served", damaged_before, damaged_after),
    Scenario::across("a_client_without_rights_needs_only_its_session", hand_before, hand_after),
    Scenario::across("a_vmm_in_c_keeps_its_guest", guest_before, guest_after),
    Scenario::here("a_cache_may_change_its_mind", changes_its_mind),
    Scenario::here("a_vmm_in_c_knows_its_kernel", knows_its_kernel),
    Scenario::here("two_may_look_at_a_session_at_once", look_at_once),
];

/// The examples of liblu.
const IN_RUST: &str = "/bin/cache";
const IN_C: &str = "/bin/cache-c";
const HANDOFF: &str = "/bin/handoff";
const VMM: &str = "/bin/vmm";

/// A store with one whole record, and a last record that does not have all of its lengths.
const LENGTHS_CUT: &str = "lucache1\x05\0\0\0\x03\0\0\0key-7old\x05\0\0\0";

/// A store whose only record does not have its whole value.
const VALUE_CUT: &str = "lucache1\x05\0\0\0\x03\0\0\0key-7ol";

/// Sessions with a store that is damaged, one for each cache and damage.
const DAMAGED: [(&str, &str, &str); 4] = [
    (IN_RUST, "damaged-lengths", LENGTHS_CUT),
    (IN_C, "damaged-lengths-c", LENGTHS_CUT),
    (IN_RUST, "damaged-value", VALUE_CUT),
    (IN_C, "damaged-value-c", VALUE_CUT),
];

/// Keys of a cache.
const KEYS: usize = 40;

/// How long a program may take to begin.
const PATIENCE: Duration = Duration::from_mins(1);

/// A cache that runs, and a connection to it.
struct Cache {
    child: Child,
    line: BufReader<UnixStream>,
}

impl Cache {
    fn start(program: &str, name: &str) -> Result<Self> {
        let socket = format!("/run/{name}");
        let _ = std::fs::remove_file(&socket);
        let mut child = Command::new(program)
            .args([name, &socket])
            .spawn()
            .with_context(|| format!("start {program}"))?;
        let begin = Instant::now();
        let line = loop {
            match UnixStream::connect(&socket) {
                Ok(line) => break BufReader::new(line),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::NotFound | ErrorKind::ConnectionRefused
                    ) => {}
                Err(error) => return Err(error).context("connect to the cache"),
            }
            if let Some(status) = child.try_wait().context("wait for the cache")? {
                bail!("{program} ended with {status}");
            }
            ensure!(begin.elapsed() < PATIENCE, "{program} does not listen");
            thread::sleep(Duration::from_millis(5));
        };
        Ok(Self { child, line })
    }

    fn ask(&mut self, request: &str) -> Result<String> {
        writeln!(self.line.get_mut(), "{request}").context("write to the cache")?;
        self.answer()
    }

    fn answer(&mut self) -> Result<String> {
        let mut answer = String::new();
        self.line.read_line(&mut answer).context("read from the cache")?;
        Ok(answer.trim_end_matches('\n').to_owned())
    }

    fn expect(&mut self, request: &str, expected: &str) -> Result<()> {
        let answer = self.ask(request)?;
        ensure!(answer == expected, "`{request}` is answered with `{answer}`, not `{expected}`");
        Ok(())
    }

    fn fill(&mut self) -> Result<()> {
        self.expect("count", "count 0")?;
        for key in 0..KEYS {
            self.expect(&format!("set key-{key} a value that is replaced"), "ok")?;
            self.expect(&format!("set key-{key} value {key}"), "ok")?;
        }
        // Requests may come faster than they are answered.
        self.expect("get key-0\nget key-1\ncount\nget no-such-key", "value value 0")?;
        for expected in ["value value 1", &format!("count {KEYS}"), "none"] {
            let answer = self.answer()?;
            ensure!(answer == expected, "after a burst, `{answer}` comes, not `{expected}`");
        }
        self.expect("set", "error no such request")
    }

    fn check(&mut self) -> Result<()> {
        self.expect("count", &format!("count {KEYS}"))?;
        for key in 0..KEYS {
            self.expect(&format!("get key-{key}"), &format!("value value {key}"))?;
        }
        // The cache goes on as before.
        self.expect("set one-more x", "ok")?;
        self.expect("get one-more", "value x")
    }

    /// Ends the cache as a crash would.
    fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill the cache")?;
        self.child.wait().context("wait for the cache").map(drop)
    }
}

/// Starts a cache, fills it and makes it ready; it runs until the kexec.
fn before(program: &str, name: &str) -> Result<()> {
    let mut cache = Cache::start(program, name)?;
    cache.fill()?;
    cache.expect("preserve", "ok")?;
    cache.expect("set too late", "busy")?;
    cache.expect("get key-7", "value value 7")
}

fn after(program: &str, name: &str) -> Result<()> {
    let mut cache = Cache::start(program, name)?;
    cache.check()?;
    cache.kill()
}

fn in_rust_before(_: &mut Stage<'_>) -> Result<()> {
    before(IN_RUST, "cache")
}

fn in_rust_after(_: &mut Stage<'_>) -> Result<()> {
    after(IN_RUST, "cache")
}

fn in_c_before(_: &mut Stage<'_>) -> Result<()> {
    before(IN_C, "cache-c")
}

fn in_c_after(_: &mut Stage<'_>) -> Result<()> {
    after(IN_C, "cache-c")
}

fn mixed_before(_: &mut Stage<'_>) -> Result<()> {
    before(IN_RUST, "cache-mixed")
}

fn mixed_after(_: &mut Stage<'_>) -> Result<()> {
    after(IN_C, "cache-mixed")
}

fn damaged_before(stage: &mut Stage<'_>) -> Result<()> {
    for (_, name, content) in DAMAGED {
        let session = create(name)?;
        let handover = Handover::new(session).context("preserve the manifest")?;
        handover.preserve("store", memfd(content)?).context("preserve")?;
        stage.keep(handover.ready().context("complete the manifest")?.into_fd());
    }
    Ok(())
}

fn damaged_after(stage: &mut Stage<'_>) -> Result<()> {
    for (program, name, _) in DAMAGED {
        let mut cache = Cache::start(program, name)?;
        cache.expect("get key-7", "none")?;
        cache.fill()?;
        cache.check()?;
        // No data is destroyed while the cache runs.
        let held = try_retrieve(name).err().map(|error| error.kind());
        ensure!(held == Some(liblu::ErrorKind::Held), "{program} has let go of it: {held:?}");
        cache.kill()?;
        if stage.kernel == Kernel::Rust {
            // The session can still be inspected.
            let session = retrieve(name)?;
            let manifest = Manifest::of(&session)?;
            let store = manifest.entry("store").context("no store")?;
            session.retrieve(store.token())?;
            finish(session)?;
        }
    }
    Ok(())
}

/// A cache whose update is cancelled; and a cache that crashes, so its data is gone, as without
/// LUO.
fn changes_its_mind(_: &mut Stage<'_>) -> Result<()> {
    for program in [IN_RUST, IN_C] {
        let mut cache = Cache::start(program, "cache-mind")?;
        cache.fill()?;
        for _ in 0..2 {
            cache.expect("preserve", "ok")?;
            cache.expect("set x y", "busy")?;
            cache.expect("cancel", "ok")?;
            cache.expect("set x y", "ok")?;
        }
        cache.expect("preserve", "ok")?;
        cache.kill()?;
        let mut cache = Cache::start(program, "cache-mind")?;
        cache.expect("count", "count 0")?;
        cache.expect("preserve", "ok")?;
        cache.kill()?;
    }
    Ok(())
}

/// Starts one side of a program, and returns its first output.
fn start(program: &str, side: &str) -> Result<(Child, BufReader<ChildStdout>, String)> {
    let mut child = Command::new(program)
        .arg(side)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let mut output = BufReader::new(child.stdout.take().context("no output")?);
    let mut said = String::new();
    output.read_line(&mut said).context("read its output")?;
    Ok((child, output, said.trim_end().to_owned()))
}

/// The side before the update.
fn start_before(program: &str) -> Result<()> {
    let (_child, output, said) = start(program, "before")?;
    ensure!(said == "ready", "it says `{said}`");
    // The program runs until the kexec, and must not find its output closed.
    std::mem::forget(output);
    Ok(())
}

/// The side after the update.
fn start_after(program: &str) -> Result<()> {
    let (mut child, _output, said) = start(program, "after")?;
    let status = child.wait().context("wait for it")?;
    ensure!(said == "done" && status.success(), "it says `{said}` and ends with {status}");
    Ok(())
}

fn hand_before(_: &mut Stage<'_>) -> Result<()> {
    start_before(HANDOFF)
}

fn hand_after(_: &mut Stage<'_>) -> Result<()> {
    start_after(HANDOFF)
}

fn guest_before(_: &mut Stage<'_>) -> Result<()> {
    start_before(VMM)
}

fn guest_after(_: &mut Stage<'_>) -> Result<()> {
    start_after(VMM)?;
    // Now there is no session, and the program says so.
    let (mut child, _output, said) = start(VMM, "after")?;
    let status = child.wait().context("wait for it")?;
    ensure!(said == "cold" && status.code() == Some(3), "it says `{said}` and ends with {status}");
    Ok(())
}

fn knows_its_kernel(stage: &mut Stage<'_>) -> Result<()> {
    let output = Command::new(VMM).arg("probe").output().context("start it")?;
    let said = String::from_utf8(output.stdout).context("read its output")?;
    let is_rust = stage.kernel.pick("no", "yes");
    for expected in [
        "sessions say their names: yes, yes".to_owned(),
        format!("the next update can use the same session: {is_rust}, {is_rust}"),
        format!("a crash after the update loses nothing: {is_rust}, {is_rust}"),
    ] {
        ensure!(said.lines().any(|line| line == expected), "`{expected}` is not in:\n{said}");
    }
    ensure!(output.status.success(), "it ends with {}", output.status);
    Ok(())
}

/// How often each of three threads looks at a session: so often that two of them meet.
const LOOKS: usize = 4000;

/// A descriptor is asked for its direction. This must not disturb other processes that do the same.
fn look_at_once(stage: &mut Stage<'_>) -> Result<()> {
    let (session, looks) = (create("looked-at")?, stage.many(LOOKS));
    let look = || {
        (0..looks).try_for_each(|_| {
            let copy = session.as_fd().try_clone_to_owned().context("copy it")?;
            OutgoingSession::try_from(copy).context("look at it").map(drop)
        })
    };
    thread::scope(|scope| {
        let others = [scope.spawn(look), scope.spawn(look), scope.spawn(look)];
        let looked = others.map(|other| other.join().map_err(|_| anyhow!("it panics")));
        looked.into_iter().try_for_each(|looked| looked?)
    })
}
