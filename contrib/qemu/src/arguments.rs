// SPDX-License-Identifier: MIT OR Apache-2.0

//! QEMU's command line: what is added to it, and what is refused because it cannot survive.

use std::fmt;

/// The guest's command line, as the user gave it, and the size of its memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guest {
    /// The program, and its options.
    pub(crate) words: Vec<String>,
    /// Memory in bytes.
    pub(crate) memory: u64,
    /// Whether it asks for KVM.
    pub(crate) has_kvm: bool,
}

/// Why a guest with this command line cannot survive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// Descriptors of QEMU: its memory, the place of its state, and the monitor.
pub(crate) const MEMORY_FD: i32 = 50;
pub(crate) const STATE_FD: i32 = 51;
pub(crate) const MONITOR_FD: i32 = 52;

/// The place of the state, for commands of the monitor.
pub(crate) fn state_uri() -> String {
    format!("file:/proc/self/fd/{STATE_FD}")
}

/// Options that cannot be, each with the reason.
const OPTIONS: [(&str, &str); 9] = [
    ("incoming", "lu-qemu receives the guest itself"),
    ("daemonize", "lu-qemu must be the parent of QEMU"),
    ("mem-path", "lu-qemu makes the memory, a memfd"),
    ("mem-prealloc", "lu-qemu makes the memory, a memfd"),
    ("loadvm", "a snapshot is not the state of the guest before an update"),
    (
        "snapshot",
        "what the guest has written since it began would be lost with QEMU's temporary files",
    ),
    ("numa", "the memory of the guest is one memfd, without nodes"),
    ("only-migratable", "lu-qemu adds it"),
    ("preconfig", "lu-qemu does not speak to QEMU before the machine is made"),
];

/// Words of devices and objects that cannot survive, each with the reason.
const DEVICES: [(&str, &str); 8] = [
    ("vfio-", "a device of the host (VFIO) stops with its driver: no kernel can carry it yet"),
    ("virtio-balloon", "a balloon gives memory back, which a preserved memfd refuses"),
    (
        "virtio-mem",
        "memory that is plugged and unplugged changes its size, which a preserved memfd refuses",
    ),
    ("pc-dimm", "memory that is plugged is not in the memfd that survives"),
    ("nvdimm", "its memory is not in the memfd that survives"),
    ("ivshmem", "memory that is shared with others is not in the memfd that survives"),
    ("vhost-", "its state is in another process or in the kernel, and does not survive"),
    ("memory-backend-", "lu-qemu makes the memory, a memfd"),
];

impl Guest {
    /// Looks at a command line: the program and its options.
    pub(crate) fn new(words: Vec<String>) -> Result<Self, Refusal> {
        let mut memory = None;
        let mut has_kvm = false;
        let mut rest = words.iter().skip(1);
        while let Some(word) = rest.next() {
            // QEMU takes one dash and two.
            let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                continue;
            };
            if let Some((_, reason)) = OPTIONS.iter().find(|(option, _)| *option == name) {
                return Err(Refusal(format!("`{word}`: {reason}")));
            }
            let value = match name {
                "device" | "object" | "netdev" | "chardev" | "m" | "machine" | "M" | "accel"
                | "drive" => rest.next().map(String::as_str).unwrap_or_default(),
                "enable-kvm" => {
                    has_kvm = true;
                    continue;
                }
                _ => continue,
            };
            let refuse = |reason: &str| Err(Refusal(format!("`{word} {value}`: {reason}")));
            let kind = value.split(',').next().unwrap_or_default();
            let kind = kind
                .strip_prefix("driver=")
                .or_else(|| kind.strip_prefix("qom-type="))
                .unwrap_or(kind);
            match name {
                "device" | "object" => {
                    if let Some((_, reason)) =
                        DEVICES.iter().find(|(begin, _)| kind.starts_with(begin))
                    {
                        return refuse(reason);
                    }
                }
                "netdev" if kind.starts_with("vhost-") => {
                    return refuse("its state is in another process");
                }
                "netdev" if has_property(value, "vhost", "on") => {
                    return refuse("the state of vhost-net is in the kernel: say vhost=off");
                }
                "drive" if has_property(value, "snapshot", "on") => {
                    return refuse(
                        "what the guest has written would be lost with QEMU's temporary file",
                    );
                }
                "machine" | "M" => {
                    if value.contains("memory-backend=") {
                        return refuse("lu-qemu makes the memory, a memfd");
                    }
                    has_kvm |=
                        property(value, "accel").is_some_and(|accel| accel.starts_with("kvm"));
                }
                "accel" => has_kvm |= kind == "kvm",
                "m" => {
                    if property(value, "slots").is_some() || property(value, "maxmem").is_some() {
                        return refuse("memory that is plugged is not in the memfd that survives");
                    }
                    let size = property(value, "size").unwrap_or(kind);
                    memory = Some(parse_size(size).ok_or_else(|| {
                        Refusal(format!(
                            "`{word} {value}`: `{size}` is no size, such as 512M or 2G"
                        ))
                    })?);
                }
                _ => {}
            }
        }
        let memory = memory
            .ok_or_else(|| Refusal("say how much memory the guest has, as in `-m 1G`".into()))?;
        Ok(Self { words, memory, has_kvm })
    }

    /// The command line with what lu-qemu adds. `comes` if the guest comes from the previous kernel.
    pub(crate) fn complete(&self, comes: bool) -> Vec<String> {
        let memory = self.memory;
        let backend = format!(
            "memory-backend-file,id=lu-memory,size={memory},mem-path=/proc/self/fd/{MEMORY_FD},share=on"
        );
        let monitor = format!("socket,id=lu-monitor,fd={MONITOR_FD}");
        let mut words = self.words.clone();
        let mut add = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
        add(&["-object", &backend, "-machine", "memory-backend=lu-memory"]);
        add(&["-chardev", &monitor, "-mon", "chardev=lu-monitor,mode=control"]);
        // Devices that cannot be carried are an error now, not at the update.
        add(&["-only-migratable"]);
        if comes {
            // It does not run before the state is marked as used.
            add(&["-incoming", "defer", "-S"]);
        }
        words
    }
}

/// The value of a property in `a,b=c,d=e`.
fn property<'v>(value: &'v str, name: &str) -> Option<&'v str> {
    value.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

fn has_property(value: &str, name: &str, wanted: &str) -> bool {
    property(value, name) == Some(wanted)
}

/// A size in QEMU's words: MiB without a unit.
fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = match text.char_indices().next_back()? {
        (place, unit) if unit.is_ascii_alphabetic() => {
            (text.get(..place)?, unit.to_ascii_uppercase())
        }
        _ => (text, 'M'),
    };
    let shift = match unit {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        'T' => 40,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    let size = number.checked_mul(1 << shift)?;
    (size > 0 && size.is_multiple_of(4096)).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(options: &str) -> Result<Guest, Refusal> {
        Guest::new(format!("qemu-system-x86_64 {options}").split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn memory_is_found_in_all_its_forms() {
        for (options, mib) in [
            ("-m 256", 256),
            ("-m 256M", 256),
            ("--m 2G", 2048),
            ("-m size=1g", 1024),
            ("-m 64 -nographic -m 65536k", 64),
        ] {
            assert_eq!(guest(options).unwrap().memory, mib << 20, "{options}");
        }
        for options in [
            "-nographic",
            "-m 0",
            "-m 1X",
            "-m -1",
            "-m 1G,slots=2,maxmem=2G",
            "-m 99999999999999T",
        ] {
            assert!(guest(options).is_err(), "{options}");
        }
    }

    #[test]
    fn a_guest_with_usual_devices_is_accepted() {
        let words = "-machine q35,accel=kvm -cpu host -m 1G -drive file=disk,if=virtio -netdev user,id=n \
                     -device virtio-net-pci,netdev=n -device virtio-rng-pci -nographic";
        assert!(guest(words).unwrap().has_kvm);
        assert!(!guest("-m 1G -accel tcg").unwrap().has_kvm);
    }

    #[test]
    fn what_cannot_survive_is_refused_with_a_reason() {
        for (options, reason) in [
            ("-m 1G -device vfio-pci,host=01:00.0", "VFIO"),
            ("-m 1G -device driver=virtio-balloon-pci", "balloon"),
            ("-m 1G -device virtio-balloon-pci", "balloon"),
            ("-m 1G -object memory-backend-ram,id=r,size=1G", "lu-qemu makes the memory"),
            ("-m 1G -machine q35,memory-backend=r", "lu-qemu makes the memory"),
            ("-m 1G -mem-path /dev/hugepages", "lu-qemu makes the memory"),
            ("-m 1G -netdev tap,id=n,vhost=on", "vhost=off"),
            ("-m 1G -netdev vhost-user,id=n", "another process"),
            ("-m 1G -incoming defer", "receives the guest itself"),
            ("-m 1G --daemonize", "parent"),
            ("-m 1G -snapshot", "lost"),
            ("-m 1G -drive file=d,snapshot=on", "lost"),
        ] {
            let refused = guest(options).unwrap_err().to_string();
            assert!(refused.contains(reason), "{options}: {refused}");
        }
    }

    #[test]
    fn memory_and_monitor_are_added() {
        let complete = guest("-machine q35 -m 256M").unwrap().complete(true).join(" ");
        assert!(
            complete.starts_with(
                "qemu-system-x86_64 -machine q35 -m 256M -object memory-backend-file,"
            )
        );
        assert!(complete.contains("size=268435456,mem-path=/proc/self/fd/50,share=on"));
        assert!(complete.ends_with("-only-migratable -incoming defer -S"));
    }
}
