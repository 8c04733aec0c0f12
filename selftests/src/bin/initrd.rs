// SPDX-License-Identifier: MIT OR Apache-2.0

//! PID 1 of the initramfs of a guest with a distribution: puts its root file system together and
//! becomes its init.
//!
//! The root is an overlay: read-only images below, memory above. So nothing of a hop is left in the
//! next one but what the kernels hand over.

#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount, mount_move};
use rustix::process::{chdir, chroot};
use rustix::system::{RebootCommand, reboot};
use selftests::mounts::mount_new;

/// The disks behind the payload: our files, and the distribution below them.
const LAYERS: [(&str, &str); 2] = [("/dev/vdb", "/layers/ours"), ("/dev/vdc", "/layers/system")];

/// Where the overlay keeps what is written.
const MEMORY: &str = "/memory";

/// The root file system, until it is one.
const ROOT: &str = "/root";

/// Init of the distribution.
const INIT: &str = "/sbin/init";

fn main() {
    let why = match enter() {
        Ok(never) => match never {},
        Err(why) => why,
    };
    eprintln!("initrd: {why:#}");
    // The console has the line before the machine is gone.
    sleep(Duration::from_secs(1));
    let _ = reboot(RebootCommand::Restart);
}

fn enter() -> Result<std::convert::Infallible> {
    mount_new("devtmpfs", "/dev", "mode=0755")?;
    for (disk, on) in LAYERS {
        fs::create_dir_all(on).with_context(|| format!("create {on}"))?;
        mount(disk, on, "squashfs", MountFlags::RDONLY, None)
            .with_context(|| format!("mount {disk} on {on}"))?;
    }
    mount_new("tmpfs", MEMORY, "mode=0755")?;
    let [upper, work] = ["upper", "work"].map(|name| format!("{MEMORY}/{name}"));
    for folder in [&upper, &work] {
        fs::create_dir(folder).with_context(|| format!("create {folder}"))?;
    }
    let layers = LAYERS.map(|(_, on)| on).join(":");
    mount_new("overlay", ROOT, &format!("lowerdir={layers},upperdir={upper},workdir={work}"))?;
    mount_move("/dev", format!("{ROOT}/dev").as_str()).context("move /dev")?;
    chdir(ROOT).context("enter the root")?;
    mount_move(".", "/").context("make it the root")?;
    chroot(".").context("change the root")?;
    chdir("/").context("enter the new root")?;
    let error = Command::new(INIT).exec();
    Err(error).with_context(|| format!("run {INIT}"))
}
