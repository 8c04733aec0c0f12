// SPDX-License-Identifier: MIT OR Apache-2.0

//! The interface as C sees it, as far as it goes without a device.

use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr::{null, null_mut};

use rustix::io::{FdFlags, fcntl_getfd};

use super::*;
use crate::border::{Failure, enter};

const EINVAL: c_int = -22;
const ERANGE: c_int = -34;

/// What `lu_error()` says.
fn words() -> String {
    // SAFETY: It is NUL-terminated, and valid until the next call.
    unsafe { CStr::from_ptr(lu_error()) }.to_str().unwrap().to_owned()
}

fn text(text: &str) -> CString {
    CString::new(text).unwrap()
}

#[test]
fn a_panic_stays_on_this_side() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let number = enter(|| panic!("a bug"));
    std::panic::set_hook(hook);
    assert_eq!(number, -131);
    assert_eq!(words(), "liblu has a bug; see stderr");
}

#[test]
fn every_thread_has_its_own_words() {
    assert_eq!(enter(|| Err(Failure::argument("mine"))), EINVAL);
    std::thread::spawn(|| assert_eq!(words(), "")).join().unwrap();
    // What succeeds leaves them alone.
    assert_eq!(enter(|| Ok(7)), 7);
    assert_eq!(words(), "mine");
}

/// As a program does that calls from `atexit()`.
#[test]
fn a_thread_that_ends_may_still_fail() {
    struct Late;
    impl Drop for Late {
        fn drop(&mut self) {
            assert_eq!(lu_manifest_new(None), EINVAL);
            assert_eq!(words(), "");
        }
    }
    thread_local! {
        static LATE: Late = const { Late };
    }
    let thread = std::thread::spawn(|| {
        // What is made first goes last.
        LATE.with(|_| ());
        assert_eq!(enter(|| Err(Failure::argument("x"))), EINVAL);
        assert_eq!(words(), "x");
    });
    thread.join().unwrap();
}

#[test]
fn null_handles_are_refused_or_nothing_at_all() {
    lu_outgoing_close(None);
    lu_incoming_close(None);
    lu_manifest_free(None);
    assert_eq!(lu_manifest_new(None), EINVAL);
    assert_eq!(words(), "there is no place for the result");
    assert_eq!(lu_manifest_count(None), EINVAL);
    assert_eq!(words(), "the handle is null");
    assert_eq!(lu_incoming_retrieve(None, 1), EINVAL);
    assert_eq!(lu_incoming_finish(None, None), EINVAL);
    assert_eq!(lu_incoming_finish(Some(&mut None), None), EINVAL);
    assert_eq!(lu_incoming_into_custody(None), EINVAL);
    assert_eq!(lu_outgoing_fd(None), EINVAL);
    // SAFETY: Null is what is tried; the descriptor is open.
    assert_eq!(unsafe { lu_outgoing_preserve(None, 1, 0) }, EINVAL);
    let mut session = MaybeUninit::uninit();
    // SAFETY: As above.
    assert_eq!(unsafe { lu_create(null(), Some(&mut session)) }, EINVAL);
    assert_eq!(words(), "the name is null");
    // SAFETY: It has been written, for what failed leaves a null handle.
    assert!(unsafe { session.assume_init() }.is_none());
}

#[test]
fn a_descriptor_that_is_no_session_stays_the_callers() {
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let mut session = MaybeUninit::uninit();
    // SAFETY: The descriptor is open and ours.
    let number = unsafe { lu_outgoing_from_fd(file.as_raw_fd(), null(), Some(&mut session)) };
    assert_eq!((number, words().as_str()), (EINVAL, "this is no outgoing session"));
    assert!(fcntl_getfd(&file).is_ok());
}

#[test]
fn text_is_written_with_its_end_or_not_at_all() {
    let label = text("a-label");
    let mut name = [1 as c_char; 64];
    // SAFETY: The text is NUL-terminated, the room is as said.
    let write = |to: &mut [c_char]| unsafe {
        lu_name_of_label(null(), label.as_ptr(), to.as_mut_ptr(), to.len())
    };
    assert_eq!(write(&mut name), 7);
    // SAFETY: It is NUL-terminated.
    assert_eq!(unsafe { CStr::from_ptr(name.as_ptr()) }, label.as_c_str());
    let mut short = [1; 7];
    assert_eq!(write(&mut short), ERANGE);
    assert_eq!((short, words().as_str()), ([1; 7], "8 bytes are needed"));
    // SAFETY: There is no room, and nothing is written.
    assert_eq!(unsafe { lu_name_of_label(null(), label.as_ptr(), null_mut(), 64) }, ERANGE);
}

#[test]
fn names_that_make_no_sense_say_why() {
    let mut session = MaybeUninit::uninit();
    let mut create = |name: &str| {
        let name = text(name);
        // SAFETY: The text is NUL-terminated.
        unsafe { lu_create(name.as_ptr(), Some(&mut session)) }
    };
    assert_eq!(create(""), EINVAL);
    assert_eq!(create(&"x".repeat(64)), -36);
    assert!(words().contains("63"), "{}", words());
}

#[test]
fn an_empty_record_has_nothing() {
    let mut place = MaybeUninit::uninit();
    assert_eq!(lu_manifest_new(Some(&mut place)), 0);
    // SAFETY: It has just been written.
    let manifest = unsafe { place.assume_init() }.unwrap();
    assert_eq!(lu_manifest_count(Some(&manifest)), 0);
    let null = null_mut();
    // SAFETY: Null is what is tried.
    let preserved =
        unsafe { lu_manifest_preserve_as(None, None, 1, text("a").as_ptr(), 0, null, 0) };
    assert_eq!((preserved, words().as_str()), (EINVAL, "the handle is null"));
    let (mut token, mut size) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    let label = text("memory");
    // SAFETY: The text is NUL-terminated.
    let entry = unsafe {
        lu_manifest_entry(Some(&manifest), label.as_ptr(), Some(&mut token), Some(&mut size))
    };
    assert_eq!(entry, -2);
    assert!(words().contains("memory"), "{}", words());
    let mut to = [0; 8];
    // SAFETY: The room is as said.
    let label = unsafe { lu_manifest_label(Some(&manifest), 0, to.as_mut_ptr(), to.len()) };
    assert_eq!(label, EINVAL);
    lu_manifest_free(Some(manifest));
}

#[test]
#[cfg_attr(miri, ignore = "Miri sends no descriptors")]
fn bytes_and_descriptors_cross_a_socket() {
    let (here, there) = UnixStream::pair().unwrap();
    let fds = [here.as_raw_fd(); 2];
    // SAFETY: All descriptors are open, the bytes are there.
    let sent = unsafe { lu_send(here.as_raw_fd(), b"two".as_ptr().cast(), 3, fds.as_ptr(), 2) };
    assert_eq!(sent, 0);
    let (mut bytes, mut come, mut count) = ([0_u8; 8], [-1; 4], 4);
    let receive = |bytes: &mut [u8; 8], come: &mut [c_int; 4], count: &mut usize| {
        let (to, room) = (bytes.as_mut_ptr().cast(), bytes.len());
        // SAFETY: The socket is open, the room is as said.
        unsafe { lu_receive(there.as_raw_fd(), to, room, come.as_mut_ptr(), Some(count)) }
    };
    assert_eq!(receive(&mut bytes, &mut come, &mut count), 3);
    assert_eq!((&bytes[..3], count, &come[2..]), (&b"two"[..], 2, &[-1, -1][..]));
    for fd in &come[..2] {
        // SAFETY: It has just come, and nobody else knows of it.
        let fd = unsafe { OwnedFd::from_raw_fd(*fd) };
        assert!(fcntl_getfd(fd).unwrap().contains(FdFlags::CLOEXEC));
    }
    // One more than there is room for: none is left open.
    let (mut end, pipe) = UnixStream::pair().unwrap();
    let fds = [pipe.as_raw_fd(); 5];
    // SAFETY: As above.
    unsafe { lu_send(here.as_raw_fd(), b"x".as_ptr().cast(), 1, fds.as_ptr(), 5) };
    drop(pipe);
    count = 4;
    assert_eq!(receive(&mut bytes, &mut come, &mut count), ERANGE);
    assert_eq!((count, words().as_str()), (0, "5 descriptors came"));
    assert_eq!(std::io::Read::read(&mut end, &mut [0]).unwrap(), 0);
    drop(here);
    count = 4;
    assert_eq!(receive(&mut bytes, &mut come, &mut count), 0);
}

#[test]
#[cfg_attr(miri, ignore = "Miri does not know the system call")]
fn what_is_no_kernel_is_not_loaded() {
    // SAFETY: Negative is what is tried.
    assert_eq!(unsafe { lu_kexec_load(-1, -1, null()) }, -9);
    assert_eq!(words(), "-1 is no descriptor");
    let text = text("console=ttyS0");
    let file = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: The file is open, the text NUL-terminated.
    assert!(unsafe { lu_kexec_load(file.as_raw_fd(), -1, text.as_ptr()) } < 0);
    assert!(!words().is_empty());
}

#[test]
#[cfg_attr(miri, ignore = "rustix and Miri do not agree on uname")]
fn what_this_kernel_offers_is_text() {
    for feature in 0..3 {
        assert!((0..3).contains(&lu_probe(feature)));
    }
    assert_eq!(lu_probe(3), EINVAL);
    let file = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: It is open.
    let probe = |feature| unsafe { lu_probe_session(file.as_raw_fd(), feature) };
    assert_eq!([0, 1, 2].map(probe), [LuSupport::Unknown as c_int; 3]);
    assert_eq!(probe(3), EINVAL);
    // SAFETY: Negative is what is tried.
    assert_eq!(unsafe { lu_probe_session(-1, 0) }, -9);
    let mut to = [0; 4096];
    // SAFETY: The room is as said.
    let length = unsafe { lu_probe_text(to.as_mut_ptr(), to.len()) };
    assert!(length > 0);
    // SAFETY: It is NUL-terminated.
    let text = unsafe { CStr::from_ptr(to.as_ptr()) }.to_str().unwrap();
    assert_eq!(text.len(), usize::try_from(length).unwrap());
}
