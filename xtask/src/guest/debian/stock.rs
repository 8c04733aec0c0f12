// SPDX-License-Identifier: MIT OR Apache-2.0

//! A kernel of Debian's stable suite, which knows nothing of live updates: luod must not leave for it.

use std::path::PathBuf;

use anyhow::Result;
use selftests::systemd::STOCK;

use crate::cache::{Key, Lock, remove};
use crate::failure::NextStep;
use crate::process::Job;
use crate::progress::Progress;
use crate::project::StockSettings;
use crate::setup::BuildSetup;
use crate::toolchain::Apt;

/// Raise it when the way of fetching it changes.
const VERSION: u32 = 2;

/// Folder of apt in the cache.
const FOLDER: &str = "apt-stock";

/// Downloads the image on which package `$1` depends, and takes the kernel out of it, under the name `$2`.
const FETCH: &str = r#"
image=$(apt-cache depends --important "$1" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
apt-get -q download "$image"
dpkg-deb --extract ./*.deb package
mkdir kernel
mv package/boot/vmlinuz-* "kernel/$2"
"#;

/// The kernel, fetched if it is not there.
pub(super) fn prepare(setup: &BuildSetup, settings: &StockSettings, _: &Lock) -> Result<PathBuf> {
    let key = Key::of("stock", VERSION).with(&settings.suite).with(&settings.package);
    let folder = setup.cache.path("stock", key.finish());
    let kernel = folder.join(STOCK);
    if kernel.exists() {
        return Ok(kernel);
    }
    let step =
        Progress::begin(&setup.cache, format!("fetch a kernel of Debian {}", settings.suite));
    let apt = Apt::new(&setup.cache, &setup.root, FOLDER);
    apt.configure(std::slice::from_ref(&settings.suite))?;
    apt.update()?;
    let scratch = setup.cache.scratch("stock")?;
    let mut command = apt.command("sh", &scratch);
    command.args(["-ec", FETCH, "fetch", &settings.package, STOCK]);
    Job::new(command, apt.log()).run().or_advise(|| {
        let what = format!("cannot fetch {} of Debian {}", settings.package, settings.suite);
        (what, format!("check the network, and see {}", apt.log().display()))
    })?;
    setup.cache.publish(&scratch.join("kernel"), &folder)?;
    remove(&scratch)?;
    step.done();
    Ok(kernel)
}
