// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which files are read, and which come first.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::*;

/// A root with these files, of which each allows so many sessions to a unit of its own name.
fn root(paths: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for path in paths {
        write(root.path(), path, &format!("# {path}\n"));
    }
    root
}

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The files that are read, in order, by their paths below the root.
fn read(root: &TempDir) -> Vec<String> {
    let files = Sources::beneath(root.path()).read().unwrap();
    let below = |file: &File| file.path.strip_prefix(root.path()).unwrap().display().to_string();
    files.iter().map(below).collect()
}

/// The error of reading, without the root.
fn error(root: &TempDir) -> String {
    let error = Sources::beneath(root.path()).read().unwrap_err();
    error.to_string().replace(&format!("{}/", root.path().display()), "")
}

#[test]
fn the_main_file_is_the_first_one() {
    assert!(read(&root(&[])).is_empty());
    let [vendor, run, etc] = ["usr/lib/luod/luod.toml", "run/luod/luod.toml", "etc/luod/luod.toml"];
    assert_eq!(read(&root(&[vendor])), [vendor]);
    assert_eq!(read(&root(&[vendor, run])), [run]);
    assert_eq!(read(&root(&[vendor, run, etc])), [etc]);
}

#[test]
fn drop_ins_are_sorted_by_name_over_all_folders() {
    let folders = root(&[
        "usr/lib/luod/luod.toml",
        "usr/lib/luod/luod.toml.d/10-vendor.toml",
        "usr/lib/luod/luod.toml.d/50-x.toml",
        "usr/lib/luod/luod.toml.d/90-last.toml",
        "run/luod/luod.toml.d/50-x.toml",
        "run/luod/luod.toml.d/90-last.toml",
        "etc/luod/luod.toml.d/50-x.toml",
        "etc/luod/luod.toml.d/20-local.toml",
        "etc/luod/luod.toml.d/.30-hidden.toml",
        "etc/luod/luod.toml.d/30-saved.toml~",
        "etc/luod/luod.toml.d/README",
    ]);
    let expected = [
        "usr/lib/luod/luod.toml",
        "usr/lib/luod/luod.toml.d/10-vendor.toml",
        "etc/luod/luod.toml.d/20-local.toml",
        "etc/luod/luod.toml.d/50-x.toml",
        "run/luod/luod.toml.d/90-last.toml",
    ];
    assert_eq!(read(&folders), expected);
}

#[test]
fn a_link_to_null_masks_a_file() {
    let folders = root(&[
        "usr/lib/luod/luod.toml",
        "usr/lib/luod/luod.toml.d/10-a.toml",
        "usr/lib/luod/luod.toml.d/20-b.toml",
        "etc/luod/luod.toml.d/30-c.toml",
    ]);
    let etc = folders.path().join("etc/luod");
    symlink("/dev/null", etc.join("luod.toml")).unwrap();
    symlink("/dev/null", etc.join("luod.toml.d/10-a.toml")).unwrap();
    let rest = ["usr/lib/luod/luod.toml.d/20-b.toml", "etc/luod/luod.toml.d/30-c.toml"];
    assert_eq!(read(&folders), rest);
}

#[test]
fn the_policy_is_read_from_the_folders() {
    let folders = root(&[]);
    write(folders.path(), "usr/lib/luod/luod.toml", "[[rule]]\nunit = 'a.service'\nsessions = 1\n");
    let drop_in = "etc/luod/luod.toml.d/x.toml";
    write(folders.path(), drop_in, "[[rule]]\nunit = '*'\nsessions = 2\n");
    let (policy, warnings) = Policy::load(&Sources::beneath(folders.path()), &Few).unwrap();
    let decision = of(&policy, "unit:a.service", &[]);
    assert_eq!(decision.sessions, 2);
    assert!(decision.by.unwrap().to_string().ends_with("etc/luod/luod.toml.d/x.toml:1"));
    assert_eq!(warnings.len(), 1);
    write(folders.path(), drop_in, "\n[[rule]]\nsesions = 2\n");
    let error = Policy::load(&Sources::beneath(folders.path()), &Few).unwrap_err().to_string();
    assert!(error.contains("etc/luod/luod.toml.d/x.toml:3: rule[0].sesions: "), "{error}");
}

#[test]
fn what_is_there_and_cannot_be_read_is_an_error() {
    let folders = root(&["usr/lib/luod/luod.toml"]);
    let main = folders.path().join("etc/luod/luod.toml");
    fs::create_dir_all(&main).unwrap();
    let not_a_file = "this is no regular file; remove it, or link it to /dev/null to mask others";
    assert_eq!(error(&folders), format!("etc/luod/luod.toml: {not_a_file}"));
    fs::remove_dir(&main).unwrap();
    symlink("nowhere", &main).unwrap();
    assert_eq!(error(&folders), "etc/luod/luod.toml: it cannot be read");
    fs::remove_file(&main).unwrap();
    symlink("/dev/zero", &main).unwrap();
    assert_eq!(error(&folders), format!("etc/luod/luod.toml: {not_a_file}"));
    fs::remove_file(&main).unwrap();
    fs::write(&main, b"# a\n# b\xff\n").unwrap();
    assert_eq!(error(&folders), "etc/luod/luod.toml:2: this line is no UTF-8");
    fs::write(&main, vec![b'#'; (1 << 20) + 1]).unwrap();
    let too_large = "etc/luod/luod.toml: the file is too large; at most 1048576 bytes are allowed";
    assert_eq!(error(&folders), too_large);
    fs::write(&main, vec![b'#'; 1 << 20]).unwrap();
    assert_eq!(read(&folders), ["etc/luod/luod.toml"]);
    write(folders.path(), "run/luod/luod.toml.d", "");
    assert_eq!(error(&folders), "run/luod/luod.toml.d: it cannot be read");
}

#[test]
fn drop_ins_are_bounded() {
    let folders = root(&["etc/luod/luod.toml.d/0.toml"]);
    for number in 1..1000 {
        fs::write(folders.path().join(format!("etc/luod/luod.toml.d/{number}.toml")), "").unwrap();
    }
    assert_eq!(read(&folders).len(), 1000);
    write(folders.path(), "usr/lib/luod/luod.toml.d/one-more.toml", "");
    assert!(error(&folders).ends_with("luod.toml.d: too many drop-ins; at most 1000 are allowed"));
}
