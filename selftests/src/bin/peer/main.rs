// SPDX-License-Identifier: MIT OR Apache-2.0

//! A program that speaks Cloud Hypervisor's local migration, and has a guest that is nothing but memory.
//!
//! By the name `ch-remote` it is the program that sends commands: a line for each, to the socket that Cloud Hypervisor
//! would have its HTTP on. The migration itself is byte for byte that of Cloud Hypervisor, written from its
//! `vm-migration/src/protocol.rs`, and shares nothing with luod-ch.

#![forbid(unsafe_code)]

mod guest;
mod migration;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};

use guest::Guest;

fn main() -> ExitCode {
    let mut words = std::env::args();
    let name = words.next().unwrap_or_default();
    let words: Vec<_> = words.collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let done = if Path::new(&name).ends_with("ch-remote") { command(&words) } else { vmm(&words) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Sends a command, and waits until it is done.
fn command(words: &[&str]) -> Result<()> {
    let ["--api-socket", socket, command, argument] = words else { bail!("usage: {words:?}") };
    let stream = UnixStream::connect(socket).with_context(|| format!("connect to {socket}"))?;
    writeln!(&stream, "{command} {argument}").context("send the command")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).context("wait for the answer")?;
    ensure!(answer.trim() == "done", "{command}: {}", answer.trim());
    Ok(())
}

/// Runs a guest: a new one if there are options besides the socket, else one that comes.
fn vmm(words: &[&str]) -> Result<()> {
    let ["--api-socket", socket, options @ ..] = words else { bail!("usage: {words:?}") };
    let socket = socket.strip_prefix("path=").context("--api-socket without path=")?;
    let listener = UnixListener::bind(socket).with_context(|| format!("listen on {socket}"))?;
    let mut guest = (!options.is_empty()).then(|| Guest::boot(options)).transpose()?;
    for client in listener.incoming() {
        let client = client.context("accept")?;
        let mut line = String::new();
        BufReader::new(&client).read_line(&mut line).context("read a command")?;
        if line.is_empty() {
            // Somebody looked whether it is there.
            continue;
        }
        let done = match line.trim().split_once(' ') {
            Some(("send-migration", url)) => send(&mut guest, url),
            Some(("receive-migration", url)) => receive(&mut guest, url),
            _ => Err(anyhow::anyhow!("no such command: {line}")),
        };
        // The program that has sent it may be gone.
        let _ = match &done {
            Ok(()) => writeln!(&client, "done"),
            Err(error) => writeln!(&client, "{error:#}"),
        };
        if line.starts_with("send-migration") && done.is_ok() {
            // The guest is elsewhere.
            return Ok(());
        }
    }
    Ok(())
}

fn send(guest: &mut Option<Guest>, url: &str) -> Result<()> {
    let socket =
        url.strip_prefix("destination_url=unix:").and_then(|it| it.strip_suffix(",local=on"));
    let socket = socket.with_context(|| format!("where to: {url}"))?;
    let stopped = guest.take().context("there is no guest")?.stop();
    let stream = UnixStream::connect(socket).with_context(|| format!("connect to {socket}"));
    let sent = stream.and_then(|stream| migration::send(&stream, &stopped));
    if sent.is_err() {
        *guest = Some(Guest::run(stopped));
    }
    sent
}

fn receive(guest: &mut Option<Guest>, url: &str) -> Result<()> {
    ensure!(guest.is_none(), "there is a guest");
    let socket = url.strip_prefix("receiver_url=unix:").with_context(|| format!("where: {url}"))?;
    let listener = UnixListener::bind(socket).with_context(|| format!("listen on {socket}"))?;
    let (stream, _) = listener.accept().context("accept")?;
    let came = migration::receive(&stream)?;
    *guest = Some(Guest::run(came));
    migration::acknowledge(&stream)
}
