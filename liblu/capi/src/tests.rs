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
const E2BIG: c_int = -7;

/// What `liblu_error()` says.
fn words() -> String {
    // SAFETY: It is NUL-terminated, and valid until the next call.
    unsafe { CStr::from_ptr(liblu_error()) }.to_str().unwrap().to_owned()
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
            assert_eq!(liblu_provider_find(None), EINVAL);
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
    liblu_outgoing_close(None);
    liblu_incoming_close(None);
    liblu_manifest_free(None);
    liblu_provider_free(None);
    liblu_claimed_close(None);
    liblu_handover_close(None);
    liblu_participant_free(None);
    assert_eq!(liblu_provider_find(None), EINVAL);
    assert_eq!(words(), "there is no place for the result");
    assert_eq!(liblu_manifest_count(None), EINVAL);
    assert_eq!(words(), "the handle is null");
    assert_eq!(liblu_incoming_retrieve(None, 1), EINVAL);
    assert_eq!(liblu_incoming_finish(None, None), EINVAL);
    assert_eq!(liblu_incoming_finish(Some(&mut None), None), EINVAL);
    assert_eq!(liblu_incoming_into_fd(None), EINVAL);
    assert_eq!(liblu_outgoing_fd(None), EINVAL);
    // SAFETY: Null is what is tried; the descriptor is open.
    assert_eq!(unsafe { liblu_outgoing_preserve(None, 1, 0) }, EINVAL);
    let mut session = MaybeUninit::uninit();
    // SAFETY: As above.
    assert_eq!(unsafe { liblu_create(null(), Some(&mut session)) }, EINVAL);
    assert_eq!(words(), "the name is null");
    // SAFETY: It has been written, for what failed leaves a null handle.
    assert!(unsafe { session.assume_init() }.is_none());
}

#[test]
fn a_descriptor_that_is_no_session_stays_the_callers() {
    let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let mut session = MaybeUninit::uninit();
    // SAFETY: The descriptor is open and ours.
    let number = unsafe { liblu_outgoing_from_fd(file.as_raw_fd(), null(), Some(&mut session)) };
    assert_eq!((number, words().as_str()), (EINVAL, "this is no outgoing session"));
    assert!(fcntl_getfd(&file).is_ok());
}

#[test]
fn text_is_written_with_its_end_or_not_at_all() {
    let label = text("a-label");
    let mut name = [1 as c_char; 64];
    // SAFETY: The text is NUL-terminated, the room is as said.
    let write = |to: &mut [c_char]| unsafe {
        liblu_name_of_label(null(), label.as_ptr(), to.as_mut_ptr(), to.len())
    };
    assert_eq!(write(&mut name), 7);
    // SAFETY: It is NUL-terminated.
    assert_eq!(unsafe { CStr::from_ptr(name.as_ptr()) }, label.as_c_str());
    let mut short = [1; 7];
    assert_eq!(write(&mut short), ERANGE);
    assert_eq!((short, words().as_str()), ([1; 7], "8 bytes are needed"));
    // SAFETY: There is no room, and nothing is written.
    assert_eq!(unsafe { liblu_name_of_label(null(), label.as_ptr(), null_mut(), 64) }, ERANGE);
}

#[test]
fn names_that_make_no_sense_say_why() {
    let mut session = MaybeUninit::uninit();
    let mut create = |name: &str| {
        let name = text(name);
        // SAFETY: The text is NUL-terminated.
        unsafe { liblu_create(name.as_ptr(), Some(&mut session)) }
    };
    assert_eq!(create(""), EINVAL);
    assert_eq!(create(&"x".repeat(64)), -36);
    assert!(words().contains("63"), "{}", words());
}

#[test]
#[cfg_attr(miri, ignore = "Miri sends no descriptors")]
fn bytes_and_descriptors_cross_a_socket() {
    let (here, there) = UnixStream::pair().unwrap();
    let fds = [here.as_raw_fd(); 2];
    // SAFETY: All descriptors are open, the bytes are there.
    let sent =
        unsafe { liblu_send(here.as_raw_fd(), b"two".as_ptr().cast(), 3, fds.as_ptr(), 2, 1000) };
    assert_eq!(sent, 0);
    let (mut bytes, mut come, mut count) = ([0_u8; 8], [-1; 4], 4);
    let receive = |bytes: &mut [u8; 8], come: &mut [c_int; 4], count: &mut usize| {
        let (to, room) = (bytes.as_mut_ptr().cast(), bytes.len());
        // SAFETY: The socket is open, the room is as said.
        unsafe { liblu_receive(there.as_raw_fd(), to, room, come.as_mut_ptr(), Some(count), 1000) }
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
    let _sent =
        unsafe { liblu_send(here.as_raw_fd(), b"x".as_ptr().cast(), 1, fds.as_ptr(), 5, 1000) };
    drop(pipe);
    count = 4;
    assert_eq!(receive(&mut bytes, &mut come, &mut count), E2BIG);
    assert_eq!((count, words().contains("5 file descriptors")), (0, true), "{}", words());
    assert_eq!(std::io::Read::read(&mut end, &mut [0]).unwrap(), 0);
    drop(here);
    count = 4;
    assert_eq!(receive(&mut bytes, &mut come, &mut count), 0);
}

#[test]
#[cfg_attr(miri, ignore = "Miri does not know the system call")]
fn what_is_no_kernel_is_not_loaded() {
    // SAFETY: Negative is what is tried.
    assert_eq!(unsafe { liblu_kexec_load(-1, -1, null()) }, -9);
    assert_eq!(words(), "-1 is no descriptor");
    let text = text("console=ttyS0");
    let file = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: The file is open, the text NUL-terminated.
    assert!(unsafe { liblu_kexec_load(file.as_raw_fd(), -1, text.as_ptr()) } < 0);
    assert!(!words().is_empty());
}

#[test]
#[cfg_attr(miri, ignore = "rustix and Miri do not agree on uname")]
fn what_this_kernel_offers_is_text() {
    for feature in 0..3 {
        assert!((0..3).contains(&liblu_probe(feature)));
    }
    assert_eq!(liblu_probe(3), EINVAL);
    let file = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: It is open.
    let probe = |feature| unsafe { liblu_probe_session(file.as_raw_fd(), feature) };
    assert_eq!([0, 1, 2].map(probe), [LibluSupport::Unknown as c_int; 3]);
    assert_eq!(probe(3), EINVAL);
    // SAFETY: Negative is what is tried.
    assert_eq!(unsafe { liblu_probe_session(-1, 0) }, -9);
    let mut to = [0; 4096];
    // SAFETY: The room is as said.
    let length = unsafe { liblu_probe_text(to.as_mut_ptr(), to.len()) };
    assert!(length > 0);
    // SAFETY: It is NUL-terminated.
    let text = unsafe { CStr::from_ptr(to.as_ptr()) }.to_str().unwrap();
    assert_eq!(text.len(), usize::try_from(length).unwrap());
}

/// The place of a handle, filled by a call that succeeded.
#[expect(clippy::unnecessary_box_returns, reason = "handles are boxes")]
fn filled<T>(
    call: impl FnOnce(&mut MaybeUninit<Option<Box<T>>>) -> c_int,
    expected: c_int,
) -> Box<T> {
    let mut place = MaybeUninit::uninit();
    assert_eq!(call(&mut place), expected, "{}", words());
    // SAFETY: Every call writes to the place.
    unsafe { place.assume_init() }.unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_client_goes_over_an_update() {
    use liblu::testing::{FakeAgent, FakeKernel};

    let agent = FakeAgent::new(&FakeKernel::new()).unwrap();
    let path = text(agent.agent().path().to_str().unwrap());
    // SAFETY: The text is NUL-terminated.
    let provider = filled(|place| unsafe { liblu_provider_agent(path.as_ptr(), Some(place)) }, 0);
    let (label, memory) = (text("vm-17"), text("memory"));
    let claim = |place: &mut MaybeUninit<Option<Box<LibluClaimed>>>| {
        // SAFETY: The text is NUL-terminated.
        unsafe { liblu_claim(Some(&provider), label.as_ptr(), 10_000, Some(place)) }
    };
    let mut nothing = MaybeUninit::uninit();
    assert_eq!(claim(&mut nothing), 0);

    // SAFETY: The text is NUL-terminated.
    let open =
        |place: &mut _| unsafe { liblu_open(Some(&provider), label.as_ptr(), 10_000, Some(place)) };
    let handover = filled(open, 0);
    let file = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut token = MaybeUninit::uninit();
    // SAFETY: The text is NUL-terminated, the file is open.
    let preserve = |token: Option<&mut MaybeUninit<u64>>| unsafe {
        liblu_preserve(Some(&handover), memory.as_ptr(), file.as_raw_fd(), token)
    };
    assert_eq!(preserve(Some(&mut token)), 0);
    // SAFETY: It was written.
    assert_eq!(unsafe { token.assume_init() }, 1);
    assert_eq!(preserve(None), -17);
    let set_state = |state: &[u8]| {
        let (bytes, size) = (state.as_ptr().cast(), state.len());
        // SAFETY: The text is NUL-terminated, the bytes are there.
        unsafe { liblu_set_state(Some(&handover), memory.as_ptr(), bytes, size) }
    };
    assert_eq!(set_state(b"early"), 0);
    assert_eq!(liblu_abort(Some(&handover)), EINVAL);
    assert_eq!(liblu_ready(Some(&handover)), 0);
    assert_eq!((set_state(b"late"), liblu_ready(Some(&handover))), (EINVAL, EINVAL));
    assert_eq!(liblu_abort(Some(&handover)), 0);
    assert_eq!(set_state(b"final"), 0);
    assert_eq!(liblu_ready(Some(&handover)), 0);
    assert!(liblu_handover_fd(Some(&handover)) > 2);
    agent.kexec();
    liblu_handover_close(Some(handover));

    let session = filled(claim, 1);
    // SAFETY: The text is NUL-terminated.
    let retrieve = |label: &CStr| unsafe { liblu_claimed_retrieve(Some(&session), label.as_ptr()) };
    let there = retrieve(&memory);
    assert!(there > 2, "{}", words());
    // SAFETY: It has just come, and no other code knows it.
    drop(unsafe { OwnedFd::from_raw_fd(there) });
    assert_eq!(retrieve(c"disk"), -2);
    let manifest = filled(|place| liblu_claimed_manifest(Some(&session), Some(place)), 0);
    let (mut state, mut kind) = ([0_u8; 16], [0; 16]);
    // SAFETY: The text is NUL-terminated, the room is as said.
    let length = unsafe {
        liblu_manifest_state(Some(&manifest), memory.as_ptr(), state.as_mut_ptr().cast(), 16)
    };
    assert_eq!(&state[..usize::try_from(length).unwrap()], b"final");
    // SAFETY: As above.
    let length = unsafe {
        liblu_manifest_kind(Some(&manifest), memory.as_ptr(), kind.as_mut_ptr(), kind.len())
    };
    assert_eq!((length, liblu_manifest_count(Some(&manifest))), (5, 1));
    liblu_manifest_free(Some(manifest));
    let mut session = Some(session);
    assert_eq!(liblu_claimed_finish(Some(&mut session), 10_000, None), 0);
    assert!(session.is_none());
    assert_eq!(claim(&mut nothing), 0);
    // SAFETY: The text is NUL-terminated.
    assert_eq!(unsafe { liblu_restored(Some(&provider), label.as_ptr(), 10_000) }, 0);
    drop(filled(open, 0));
    // SAFETY: As above.
    assert_eq!(unsafe { liblu_discard(Some(&provider), label.as_ptr(), 10_000) }, 0);
    let session = agent.agent().open("vm-17", None).unwrap().into_fd();
    let mut place = MaybeUninit::uninit();
    // SAFETY: The descriptor is open and ours, the name is NUL-terminated.
    let wrong =
        unsafe { liblu_outgoing_from_fd(session.as_raw_fd(), c"x".as_ptr(), Some(&mut place)) };
    assert_eq!(wrong, EINVAL, "{}", words());
    // No copy is left open: the session goes with the last of the two that are known.
    drop(session);
    agent.agent().discard("vm-17", None).unwrap();
    drop(agent.agent().open("vm-17", None).unwrap());
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no sockets with names")]
fn a_participant_gets_events_and_answers() {
    use liblu::testing::{Answer, FakeAgent, FakeKernel};

    let agent = FakeAgent::new(&FakeKernel::new()).unwrap();
    let path = text(agent.agent().path().to_str().unwrap());
    // SAFETY: The text is NUL-terminated.
    let provider = filled(|place| unsafe { liblu_provider_agent(path.as_ptr(), Some(place)) }, 0);
    let label = text("vm-17");
    let labels = [label.as_ptr()];
    // SAFETY: There is one label, which is NUL-terminated.
    let participate = |place: &mut _| unsafe {
        liblu_participate(Some(&provider), labels.as_ptr(), 1, 10_000, Some(place))
    };
    let mut participant = filled(participate, 0);
    let mut place = MaybeUninit::uninit();
    assert_eq!(liblu_participant_next(Some(&mut participant), Some(&mut place)), 0);
    agent.await_participants(1);
    let generation = agent.prepare(std::time::Duration::from_secs(5));
    assert_eq!(liblu_participant_next(Some(&mut participant), Some(&mut place)), 1);
    // SAFETY: It was written.
    let event = unsafe { place.assume_init_read() };
    assert_eq!((event.kind, event.generation), (LibluEventKind::Prepare as u32, generation));
    assert!((1..=5000).contains(&event.deadline));
    let mut granted = MaybeUninit::uninit();
    let participant_ref = Some(&*participant);
    let extended =
        liblu_participant_extend(participant_ref, generation, 900, Some(&mut granted), 10_000);
    // SAFETY: It was written.
    assert_eq!((extended, unsafe { granted.assume_init() }), (0, 900));
    assert_eq!(liblu_participant_ready(participant_ref, generation, 10_000), 0);
    assert_eq!(agent.answers(1), [Answer::Ready]);
    agent.abort("no");
    assert_eq!(liblu_participant_next(Some(&mut participant), Some(&mut place)), 1);
    // SAFETY: It was written.
    let event = unsafe { place.assume_init_ref() };
    // SAFETY: Its text is NUL-terminated.
    let reason = unsafe { CStr::from_ptr(event.reason.as_ptr()) };
    assert_eq!(reason, c"no");
    // SAFETY: The text is NUL-terminated.
    let refused =
        unsafe { liblu_participant_refuse(Some(&participant), generation, label.as_ptr(), 10_000) };
    // Too late, which is no error.
    assert_eq!(refused, 0);
    liblu_participant_free(Some(participant));
    liblu_provider_free(Some(provider));
}
