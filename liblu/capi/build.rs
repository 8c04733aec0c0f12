// SPDX-License-Identifier: MIT OR Apache-2.0

//! Gives `liblu.so` the name that programs look for: before 1.0, every minor version may break them.

fn main() {
    let version = |part: &str| std::env::var(format!("CARGO_PKG_VERSION_{part}")).ok();
    if let (Some(major), Some(minor)) = (version("MAJOR"), version("MINOR")) {
        let suffix = if major == "0" { format!("{major}.{minor}") } else { major };
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,liblu.so.{suffix}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
