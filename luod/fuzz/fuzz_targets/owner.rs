// SPDX-License-Identifier: MIT OR Apache-2.0

//! Cgroups, owners and labels of anybody: a process in a delegated cgroup stays in its service, and all
//! that is read is printed the same.

#![no_main]
#![expect(clippy::unwrap_used, reason = "a panic is how a target reports")]

use luod::label::Label;
use luod::owner::Owner;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let vmm: Owner = "unit:vmm.service".parse().unwrap();
    for path in [&b"0::/"[..], b"0::/system.slice/vmm.service/", b""] {
        let Ok(owner) = Owner::of_process(&[path, input].concat(), 1000) else { continue };
        assert!(path.len() < 5 || owner == vmm);
        assert!(matches!(owner, Owner::Unit(_) | Owner::User(1000)));
        assert_eq!(owner.to_string().parse(), Ok(owner));
    }
    let Ok(text) = str::from_utf8(input) else { return };
    let (owner, label) = (text.parse::<Owner>(), text.parse::<Label>());
    assert!(owner.as_ref().is_ok_and(|owner| owner.to_string() == text) || owner.is_err());
    if let Ok(label) = label {
        assert_eq!(label.to_string(), text);
        assert!(!text.chars().any(char::is_control));
        assert!(owner.unwrap_or(vmm).session_name(&label).is_ok());
    }
});
