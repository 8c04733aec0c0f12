// SPDX-License-Identifier: MIT OR Apache-2.0

//! What this kernel received and hands over, as far as debugfs shows it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fdt::Fdt;
use fdt::node::FdtNode;
use luod::target::Format;
use serde::Serialize;

use crate::failure::{Exit, Failure};
use crate::output::{BOLD, Output};

/// The kernel's number for a blob whose memory was given back.
const ENODATA: i32 = 61;

const DEBUGFS: &str = "/sys/kernel/debug";

/// A way of the handover.
#[derive(Debug, Serialize)]
struct Way {
    /// "in" for what was received, "out" for what is handed over.
    direction: &'static str,
    /// The roots of KHO and of its users.
    blobs: Vec<Blob>,
    /// Lines of the orchestrator about its sessions; `None` if it does not show them.
    sessions: Option<Vec<String>>,
}

/// Something that KHO hands over.
#[derive(Debug, Serialize)]
struct Blob {
    name: String,
    /// 0 if its memory was given back.
    bytes: usize,
    /// Formats that are named in it.
    formats: Vec<String>,
    /// Lines of its device tree, if it is one.
    tree: Option<Vec<String>>,
}

pub(crate) fn inspect(output: Output) -> Result<(), Failure> {
    let root = Path::new(DEBUGFS);
    if !root.join("kho").exists() {
        let why = format!(
            "there is no {DEBUGFS}/kho: mount debugfs (`mount -t debugfs none {DEBUGFS}`), or boot a kernel with \
             CONFIG_KEXEC_HANDOVER_DEBUGFS and `kho=on`"
        );
        return Err(Failure::new(why));
    }
    let ways = [way(root, "in", "incoming")?, way(root, "out", "outgoing")?];
    if output.is_json {
        Output::json(&ways);
        return Ok(());
    }
    for way in &ways {
        let title = if way.direction == "in" { "received" } else { "handed over" };
        println!("{}", output.style(BOLD, title));
        if way.blobs.is_empty() {
            println!("  nothing that debugfs shows");
        }
        for blob in &way.blobs {
            let formats = blob.formats.join(", ");
            match blob.bytes {
                0 => println!("  {} (taken over, and its memory given back)", blob.name),
                bytes => println!("  {} ({bytes} bytes) {formats}", blob.name),
            }
            blob.tree.iter().flatten().for_each(|line| println!("    {line}"));
        }
        match &way.sessions {
            Some(lines) => lines.iter().for_each(|line| println!("  {line}")),
            None => println!("  this kernel does not show sessions; see `luctl list --all`"),
        }
    }
    Ok(())
}

fn way(root: &Path, way: &'static str, sessions: &str) -> Result<Way, Failure> {
    let folder = root.join("kho").join(way);
    let mut paths = vec![("kho".to_owned(), folder.join("fdt"))];
    paths.extend(children(&folder.join("sub_fdts"))?);
    let mut blobs = Vec::new();
    for (name, path) in paths {
        match fs::read(&path) {
            Ok(bytes) => blobs.push(blob(name, &bytes)),
            // Its user has taken what it needs.
            Err(error) if error.raw_os_error() == Some(ENODATA) => {
                blobs.push(Blob { name, bytes: 0, formats: Vec::new(), tree: None });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&path, &error)),
        }
    }
    let text = read(&root.join("liveupdate").join(sessions))?;
    let lines = |text: Vec<u8>| String::from_utf8_lossy(&text).lines().map(String::from).collect();
    Ok(Way { direction: way, blobs, sessions: text.map(lines) })
}

fn blob(name: String, bytes: &[u8]) -> Blob {
    let texts = bytes.split(|byte| *byte == 0).filter_map(|text| str::from_utf8(text).ok());
    let formats = texts.filter_map(|text| text.parse::<Format>().ok());
    let mut formats: Vec<_> =
        formats.filter(Format::is_versioned).map(|format| format.to_string()).collect();
    formats.sort();
    formats.dedup();
    let tree = Fdt::new(bytes).ok().and_then(|tree| {
        let mut lines = Vec::new();
        node(tree.find_node("/")?, 0, &mut lines);
        Some(lines)
    });
    Blob { name, bytes: bytes.len(), formats, tree }
}

/// The lines of a node and those below it.
fn node(node: FdtNode<'_, '_>, depth: usize, lines: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    lines.push(format!("{indent}{}", if node.name.is_empty() { "/" } else { node.name }));
    for property in node.properties() {
        lines.push(format!("{indent}  {} = {}", property.name, value(property.value)));
    }
    for child in node.children() {
        self::node(child, depth + 1, lines);
    }
}

/// A value as text if it is one, or else in hexadecimal.
fn value(bytes: &[u8]) -> String {
    let text = bytes.strip_suffix(&[0]).and_then(|text| str::from_utf8(text).ok());
    match text.filter(|text| !text.is_empty() && text.chars().all(|it| it.is_ascii_graphic())) {
        Some(text) => format!("{text:?}"),
        None if bytes.len() > 32 => format!("{} bytes", bytes.len()),
        None => data_encoding::HEXLOWER.encode(bytes),
    }
}

/// The files of a folder, which may be missing.
fn children(folder: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder, &error)),
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(folder, &error))?;
        all.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    all.sort();
    Ok(all)
}

/// The bytes of a file, which may be missing.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, &error)),
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    let message = format!("{}: {error}", path.display());
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Failure::with(Exit::NotAllowed, format!("{message}; try again with sudo"));
    }
    Failure::new(message)
}
