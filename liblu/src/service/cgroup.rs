// SPDX-License-Identifier: MIT OR Apache-2.0

//! The service of a cgroup.

use super::{ServiceName, is_slice};

/// Why a text does not say in which cgroup a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// No line begins with `0::`.
    #[error("the process is in no cgroup of version 2; mount cgroup2 at /sys/fs/cgroup")]
    NoUnified,
    /// The path leads out of the cgroups that this process can see.
    #[error(
        "the process is outside of the cgroup namespace of this one; run this program in that of the host"
    )]
    Outside,
    /// The cgroup was removed, so the process has ended.
    #[error("the cgroup of the process was removed")]
    Removed,
    /// The kernel does not print such a path.
    #[error("the path of the cgroup is malformed")]
    Malformed,
}

/// The most bytes of a path, with the NUL that the kernel adds: `PATH_MAX`.
const MAX: usize = 4096;

/// The system service of a process, by its `/proc/PID/cgroup`; `None` if it belongs to none.
pub(super) fn service(text: &[u8]) -> Result<Option<ServiceName>, CgroupError> {
    let path = path(text)?;
    if path.starts_with(b"/..") && matches!(path.get(3), None | Some(b'/')) {
        return Err(CgroupError::Outside);
    }
    if path.ends_with(b" (deleted)") {
        return Err(CgroupError::Removed);
    }
    let below = path.strip_prefix(b"/").filter(|_| path.len() < MAX);
    let below = below.ok_or(CgroupError::Malformed)?;
    let names = below.split(|byte| *byte == b'/');
    // The root has no name.
    if !below.is_empty() && names.clone().any(|name| matches!(name, b"" | b"." | b"..")) {
        return Err(CgroupError::Malformed);
    }
    // Names of units are ASCII.
    let mut names = names.map(|name| std::str::from_utf8(name).map_or("", unescaped));
    let outermost = names.find(|name| !is_slice(name));
    let service = outermost.and_then(|name| name.parse::<ServiceName>().ok());
    Ok(service.filter(|service| !service.is_manager()))
}

/// The path in the line of the unified hierarchy. The kernel allows no line feed in names of cgroups.
fn path(text: &[u8]) -> Result<&[u8], CgroupError> {
    let mut lines = text.split(|byte| *byte == b'\n');
    lines.find_map(|line| line.strip_prefix(b"0::")).ok_or(CgroupError::NoUnified)
}

/// systemd puts `_` before names that the kernel might use for files of the cgroup.
fn unescaped(name: &str) -> &str {
    name.strip_prefix('_').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The service of a process in the cgroup `path`.
    fn of(path: &str) -> Result<Option<String>, CgroupError> {
        let service = service(format!("0::{path}\n").as_bytes())?;
        Ok(service.map(|name| name.to_string()))
    }

    #[test]
    fn services_are_found_below_slices() {
        let deep = format!("/system.slice/vmm.service{}", "/x".repeat(1000));
        for (path, service) in [
            ("/system.slice/vmm.service", "vmm.service"),
            ("/vmm.service", "vmm.service"),
            ("/machine.slice/vmm.service", "vmm.service"),
            ("/-.slice/system.slice/vmm.service", "vmm.service"),
            ("/system.slice/system-vmm.slice/vmm@17.service", "vmm@17.service"),
            (r"/a.slice/a-b\x2dc.slice/x@\x2fdev.service", r"x@\x2fdev.service"),
            // Escaped, since they could be files of the kernel; a name that begins with `_` has two.
            ("/system.slice/_cgroup.service", "cgroup.service"),
            ("/system.slice/__x.service", "_x.service"),
            ("/_cpu.slice/vmm.service", "vmm.service"),
            // Delegated cgroups, whatever their names.
            ("/system.slice/vmm.service/payload", "vmm.service"),
            ("/system.slice/vmm.service/system.slice/other.service", "vmm.service"),
            ("/system.slice/vmm.service/user.slice/user@0.service", "vmm.service"),
            ("/system.slice/init.service/init.scope", "init.service"),
            (&deep, "vmm.service"),
        ] {
            assert_eq!(of(path), Ok(Some(service.to_owned())), "{path}");
        }
    }

    #[test]
    fn all_others_belong_to_their_user() {
        for path in [
            "/",
            "/init.scope",
            "/system.slice",
            "/user.slice/user-1000.slice/session-3.scope",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/x.service",
            "/user.slice/user-1000.slice/user@1000.service/system.slice/vmm.service",
            "/user.slice/user-1000.slice/user@1000.service",
            "/user.slice/user-0.slice/_user@0.service/x.service",
            "/user.slice/user-0.slice/user@x.service/x.service",
            "/capsule.slice/capsule@x.service/app.slice/x.service",
            r"/machine.slice/machine-qemu\x2d1\x2dvm.scope",
            r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/vmm.service",
            // Those only look like services, or stand below a cgroup that is no slice.
            "/system.slice/vmm.service.d",
            "/system.slice/vmm@.service",
            "/system.slice/@17.service",
            "/system.slice/.service",
            "/system.slice/vmm service.service",
            "/system.slice/vmm.socket/vmm.service",
            "/lxc.payload.a/system.slice/vmm.service",
            "/a@b.slice/vmm.service",
            "/slice/vmm.service",
            "/system.slice/ä.service",
        ] {
            assert_eq!(of(path), Ok(None), "{path}");
        }
        let long = format!("/system.slice/{}.service", "x".repeat(248));
        assert_eq!(of(&long), Ok(None));
        assert_eq!(service(b"0::/system.slice/\xff.service\n"), Ok(None));
        assert_eq!(service(b"0::/\xff/vmm.service\n"), Ok(None));
    }

    #[test]
    fn hostile_paths_are_errors() {
        let (longest, long) = (format!("/{}", "x".repeat(4094)), format!("/{}", "x".repeat(4095)));
        for (path, error) in [
            ("", CgroupError::Malformed),
            ("system.slice/vmm.service", CgroupError::Malformed),
            ("//system.slice/vmm.service", CgroupError::Malformed),
            ("/system.slice//vmm.service", CgroupError::Malformed),
            ("/system.slice/vmm.service/", CgroupError::Malformed),
            ("/user.slice/../system.slice/vmm.service", CgroupError::Malformed),
            ("/./system.slice/vmm.service", CgroupError::Malformed),
            (&long, CgroupError::Malformed),
            ("/..", CgroupError::Outside),
            ("/../system.slice/vmm.service", CgroupError::Outside),
            ("/../../vmm.service", CgroupError::Outside),
            ("/system.slice/vmm.service (deleted)", CgroupError::Removed),
        ] {
            assert_eq!(of(path), Err(error), "{path}");
        }
        assert_eq!(of("/..x/vmm.service"), Ok(None));
        assert_eq!(of(&longest), Ok(None));
    }

    #[test]
    fn only_the_unified_hierarchy_counts() {
        let hybrid = b"1:name=systemd:/system.slice/a.service\n0::/system.slice/b.service\n";
        assert_eq!(service(hybrid).unwrap().unwrap().as_str(), "b.service");
        for old in [
            &b""[..],
            b"\n",
            b"1:name=systemd:/a.service\n",
            b"10::/a.service\n",
            b"0:x:/a.service",
        ] {
            assert_eq!(service(old), Err(CgroupError::NoUnified));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_an_answer(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = service(&[b"0::/", &text[..]].concat());
            let _ = service(&text);
        }

        #[test]
        fn a_delegated_cgroup_cannot_leave_its_service(below in "(/[a-z@_.]{1,9}(\\.service|\\.slice)?){0,4}") {
            let found = of(&format!("/system.slice/vmm.service{below}"));
            if !below.split('/').any(|name| matches!(name, "." | "..")) {
                prop_assert_eq!(found, Ok(Some("vmm.service".to_owned())));
            }
        }
    }
}
