// SPDX-License-Identifier: MIT OR Apache-2.0

//! Running commands inside the toolchain root.
//!
//! Each command gets its own mount and process namespace: nothing stays mounted and nothing stays
//! running when it, or this program, ends in whatever way. Root needs no more; other users get a
//! user namespace in which they are root.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::bound;
use crate::toolchain::host::is_root;

/// Mounts what a command needs and becomes it.
///
/// Arguments: the root, the working folder, folders to be seen at the same path, `--`, the command.
const ENTER: &str = r#"
set -e
root=$1 cwd=$2; shift 2
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
while [ "$1" != -- ]; do
    mkdir -p "$root$1"
    mount --bind "$1" "$root$1"
    shift
done
if [ -e /etc/resolv.conf ]; then
    cat /etc/resolv.conf > "$root/tmp/resolv.conf"
    [ -e "$root/etc/resolv.conf" ] || : > "$root/etc/resolv.conf"
    mount --bind "$root/tmp/resolv.conf" "$root/etc/resolv.conf"
fi
shift
exec chroot "$root" /usr/bin/env -C "$cwd" "$@"
"#;

/// Variables that mean the same inside.
const KEPT: &[&str] = &["TERM", "http_proxy", "https_proxy", "no_proxy"];

/// User IDs that a command may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ids {
    /// Only its own.
    Own,
    /// Those of all users of a Debian system.
    All,
}

/// `unshare` with namespaces of its own, which end with this program; options may follow.
pub(crate) fn isolated(ids: Ids) -> Command {
    let mut command = bound("unshare");
    if !is_root() {
        command.args(["--user", "--map-root-user"]);
        command.args((ids == Ids::All).then_some("--map-auto"));
    }
    command.args(["--mount", "--pid", "--fork", "--kill-child"]);
    command
}

/// A finished toolchain root.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    folder: PathBuf,
    /// The cache that it is part of.
    cache: PathBuf,
    /// Changes with the content.
    pub(crate) key: String,
}

impl Root {
    /// The root in `folder`.
    pub(crate) fn new(folder: PathBuf, cache: &Path, key: String) -> Self {
        Self { folder, cache: cache.to_path_buf(), key }
    }

    /// Whether it has been made.
    pub(crate) fn exists(&self) -> bool {
        self.folder.exists()
    }

    /// Where it lies.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The cache that it is part of, visible inside at its own path.
    pub(crate) fn cache(&self) -> &Path {
        &self.cache
    }

    /// A command inside, in the folder `cwd`; that and `folders` are seen at their own paths.
    ///
    /// It dies with this program, and everything below it dies with it.
    pub(crate) fn command(&self, program: &str, cwd: &Path, folders: &[&Path]) -> Command {
        self.command_of(Ids::Own, program, cwd, folders)
    }

    /// The same, for a command that needs these user IDs.
    pub(crate) fn command_of(
        &self,
        ids: Ids,
        program: &str,
        cwd: &Path,
        folders: &[&Path],
    ) -> Command {
        let mut command = isolated(ids);
        command.arg("--");
        command.args(["sh", "-c", ENTER, "enter"]).arg(&self.folder).arg(cwd).arg(&self.cache);
        // Folders in the cache are visible through its mount, and need no mount point in the root.
        let others = folders.iter().copied().chain([cwd]);
        command.args(others.filter(|folder| !folder.starts_with(&self.cache)));
        command.args(["--", program]);
        command.env_clear().envs([
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/tmp"),
            ("LC_ALL", "C.UTF-8"),
        ]);
        command.envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command
    }
}
