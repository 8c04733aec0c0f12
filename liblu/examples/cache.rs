// SPDX-License-Identifier: MIT OR Apache-2.0

//! A key-value store in a memfd that a live update does not empty.
//!
//! ```console
//! $ cache NAME SOCKET
//! ```
//!
//! It serves one client at a time on the Unix socket `SOCKET`, a line per request:
//!
//! | request | answer |
//! | --- | --- |
//! | `set KEY VALUE` | `ok`; `busy` between `preserve` and `cancel` |
//! | `get KEY` | `value VALUE`, or `none` |
//! | `count` | `count N` |
//! | `preserve` | `ok`: the next kernel gets everything, if this process stays until then |
//! | `cancel` | `ok`: there will be no update |
//!
//! All other requests, and those that fail, are answered with `error` and the reason. Started again after
//! the update with the same `NAME`, the label of its session, it has all its data.

use std::collections::HashMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};

use liblu::{Claim, Claimed, ErrorKind, Provider, Ready};
use rustix::fs::{MemfdFlags, memfd_create};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The label of the memfd in the manifest.
const LABEL: &str = "store";

/// The first bytes of a store.
const MAGIC: &[u8; 8] = b"lucache1";

/// A longer key or value is refused.
const LONGEST: usize = 64 << 10;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, socket] = &arguments[..] else { return Err("usage: cache NAME SOCKET".into()) };
    let mut cache = Cache::start(name)?;
    match fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    for client in UnixListener::bind(socket)?.incoming() {
        // A client that goes away is no reason to lose the data of all.
        if let Err(error) = cache.serve(&client?) {
            eprintln!("cache: {error}");
        }
    }
    Ok(())
}

struct Cache {
    label: String,
    provider: Provider,
    store: Store,
    /// While an update is expected.
    ready: Option<Ready>,
    /// A session that is kept open for somebody who looks into it.
    _kept: Option<Claimed>,
}

impl Cache {
    /// Starts with the store of the previous kernel, or with an empty one.
    fn start(label: &str) -> Result<Self> {
        let provider = Provider::find()?;
        let mut kept = None;
        let store = match provider.claim(label, None) {
            Ok(Claim::Session(session)) => {
                let (store, session) = take_over(session);
                kept = session;
                match store {
                    Ok(store) => {
                        let count = store.places.len();
                        eprintln!("cache: {count} keys came from the previous kernel");
                        store
                    }
                    // A cache can be filled again; other programs might rather stop here.
                    Err(error) => {
                        eprintln!("cache: the store that came cannot be used: {error}");
                        Store::new()?
                    }
                }
            }
            Ok(Claim::ColdStart) => Store::new()?,
            // A cache can be filled again. A VMM must stop here: its guest may be there.
            Err(error) => {
                eprintln!("cache: goes on without live updates: {error}");
                Store::new()?
            }
        };
        Ok(Self { label: label.to_owned(), provider, store, ready: None, _kept: kept })
    }

    fn serve(&mut self, client: &UnixStream) -> Result<()> {
        for request in BufReader::new(client.try_clone()?).lines() {
            let answer = self.answer(&request?).unwrap_or_else(|error| format!("error {error}"));
            writeln!(&mut &*client, "{answer}")?;
        }
        Ok(())
    }

    fn answer(&mut self, request: &str) -> Result<String> {
        let (command, rest) = request.split_once(' ').unwrap_or((request, ""));
        Ok(match (command, rest.split_once(' ')) {
            ("set", Some(_)) if self.ready.is_some() => "busy".into(),
            ("set", Some((key, value))) => {
                self.store.set(key, value)?;
                "ok".into()
            }
            ("get", None) => match self.store.get(rest)? {
                Some(value) => format!("value {value}"),
                None => "none".into(),
            },
            ("count", None) => format!("count {}", self.store.places.len()),
            ("preserve", None) => {
                if self.ready.is_none() {
                    self.ready = Some(self.preserve()?);
                }
                "ok".into()
            }
            ("cancel", None) => {
                // The kernel undoes everything when the last descriptor is closed.
                self.ready = None;
                self.provider.discard(&self.label, None)?;
                "ok".into()
            }
            _ => return Err("no such request".into()),
        })
    }

    fn preserve(&self) -> Result<Ready> {
        let handover = self.provider.open(&self.label, None)?;
        handover.preserve(LABEL, &self.store.memory)?;
        Ok(handover.ready()?)
    }
}

/// Retrieves the store. The session is finished once the store is known to be good, or lost for ever;
/// otherwise it comes back.
fn take_over(session: Claimed) -> (Result<Store>, Option<Claimed>) {
    let file = session.retrieve(LABEL);
    let is_lost = file.as_ref().is_err_and(|error| {
        // Without the manifest, the store itself may be well.
        let token = session.manifest().ok().and_then(|manifest| manifest.entry(LABEL));
        error.kind() == ErrorKind::RetrieveFailed && token.is_some()
    });
    let store = file.map_err(Into::into).and_then(|file| Store::of(file.into()));
    if store.is_err() && !is_lost {
        return (store, Some(session));
    }
    let kept = session.finish(None).err().map(|failed| {
        eprintln!("cache: the session stays open: {failed}");
        failed.into_value()
    });
    (store, kept)
}

/// Keys and values in a memfd: the magic, then records of two lengths (32 bits, little-endian), key
/// and value. The last record of a key counts.
struct Store {
    memory: File,
    /// Where the memory ends.
    end: u64,
    /// Where values are, and their lengths.
    places: HashMap<String, (u64, usize)>,
}

impl Store {
    fn new() -> Result<Self> {
        let memory = File::from(memfd_create("cache", MemfdFlags::CLOEXEC)?);
        memory.write_all_at(MAGIC, 0)?;
        Self::of(memory)
    }

    /// The store in a memfd.
    fn of(memory: File) -> Result<Self> {
        let length = memory.metadata()?.len();
        let mut magic = [0; MAGIC.len()];
        memory.read_exact_at(&mut magic, 0)?;
        if &magic != MAGIC {
            return Err("this is no store".into());
        }
        let mut store = Self { memory, end: MAGIC.len() as u64, places: HashMap::new() };
        while store.end < length {
            let mut lengths = [[0; 4]; 2];
            store.memory.read_exact_at(lengths.as_flattened_mut(), store.end)?;
            let [key, value] = lengths.map(|length| u32::from_le_bytes(length) as usize);
            if key > LONGEST || value > LONGEST {
                return Err(format!("the record at {} is damaged", store.end).into());
            }
            let mut text = vec![0; key];
            store.memory.read_exact_at(&mut text, store.end + 8)?;
            store.note(String::from_utf8(text)?, value);
        }
        if store.end != length {
            return Err("the last record is cut off".into());
        }
        Ok(store)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        if key.len() > LONGEST || value.len() > LONGEST {
            return Err("the key or the value is too long".into());
        }
        let lengths = [u32::try_from(key.len())?, u32::try_from(value.len())?];
        let lengths = lengths.map(u32::to_le_bytes);
        let record = [lengths.as_flattened(), key.as_bytes(), value.as_bytes()].concat();
        if let Err(error) = self.memory.write_all_at(&record, self.end) {
            // Half a record would be read after the update.
            self.memory.set_len(self.end)?;
            return Err(error.into());
        }
        self.note(key.to_owned(), value.len());
        Ok(())
    }

    fn get(&self, key: &str) -> Result<Option<String>> {
        let Some((at, length)) = self.places.get(key) else { return Ok(None) };
        let mut value = vec![0; *length];
        self.memory.read_exact_at(&mut value, *at)?;
        Ok(Some(String::from_utf8(value)?))
    }

    /// Remembers the record at the end.
    fn note(&mut self, key: String, value: usize) {
        let at = self.end + 8 + key.len() as u64;
        self.end = at + value as u64;
        self.places.insert(key, (at, value));
    }
}
