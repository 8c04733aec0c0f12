// SPDX-License-Identifier: MIT OR Apache-2.0

//! A workload that goes through updates of the fake kernel.

use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::fs::{MemfdFlags, memfd_create};

use super::*;
use crate::testing::{Answer, FakeAgent, FakeKernel};
use crate::{ErrorKind, Handover};

/// A workload that notes what is asked of it.
struct Notes {
    memory: OwnedFd,
    seen: Vec<String>,
    /// What fails next.
    fails: Option<&'static str>,
    after: Resumed,
}

impl Notes {
    fn new(after: Resumed) -> Self {
        let memory = memfd_create("memory", MemfdFlags::CLOEXEC).unwrap();
        Self { memory, seen: Vec::new(), fails: None, after }
    }

    fn note(&mut self, what: &'static str) -> Result<()> {
        self.seen.push(what.to_owned());
        if self.fails == Some(what) {
            self.fails = None;
            return Err(Error::new(ErrorKind::NoResources, format!("{what} fails")));
        }
        Ok(())
    }
}

impl Workload for Notes {
    type Error = Error;

    fn preserve(&mut self, session: &Handover) -> Result<()> {
        self.note("preserve")?;
        session.preserve("memory", &self.memory).map(drop)
    }

    fn stop(&mut self, session: &Handover, _: Instant) -> Result<()> {
        self.note("stop")?;
        session.set_state("memory", b"registers")
    }

    fn resume(&mut self) -> Result<Resumed> {
        self.note("resume")?;
        Ok(self.after)
    }

    fn report(&mut self, message: &str) {
        self.seen.push(message.to_owned());
    }
}

impl Notes {
    /// How often this was asked of it.
    fn count(&self, what: &str) -> usize {
        self.seen.iter().filter(|it| *it == what).count()
    }
}

/// A client that serves in a thread until it is told to end.
struct Serving {
    end: UnixStream,
    thread: thread::JoinHandle<(Client, Notes)>,
}

impl Serving {
    fn begin(fake: &FakeAgent, notes: Notes) -> Self {
        Self::go_on(fake, Client::new(Provider::agent(fake.agent()), "vm-17"), notes)
    }

    /// One that is ready for an update.
    fn ready(fake: &FakeAgent, notes: Notes) -> Self {
        let serving = Self::begin(fake, notes);
        fake.prepare(LONG);
        assert_eq!(fake.answers(1), [Answer::Ready]);
        serving
    }

    fn go_on(fake: &FakeAgent, mut client: Client, mut notes: Notes) -> Self {
        let (end, theirs) = UnixStream::pair().unwrap();
        let thread = thread::spawn(move || {
            let wake = client.serve(&mut notes, &[theirs.as_fd()]).unwrap();
            assert_eq!(wake, Wake::Other(0));
            (client, notes)
        });
        fake.await_participants(1);
        Self { end, thread }
    }

    fn end(mut self) -> (Client, Notes) {
        self.end.write_all(b"e").unwrap();
        self.thread.join().unwrap()
    }
}

const LONG: Duration = Duration::from_secs(10);

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_workload_goes_over_an_update() {
    let kernel = FakeKernel::new();
    let fake = FakeAgent::new(&kernel).unwrap();
    let serving = Serving::ready(&fake, Notes::new(Resumed::WithSession));
    let (client, notes) = serving.end();
    assert!(client.is_ready());
    assert_eq!(notes.seen, ["preserve", "stop"]);
    fake.kexec();
    drop(client);

    let mut client = Client::new(Provider::agent(fake.agent()), "vm-17");
    let Claim::Session(session) = client.claim().unwrap() else { panic!("nothing came") };
    assert_eq!(session.state("memory").unwrap(), b"registers");
    session.retrieve("memory").unwrap();
    client.finish(session).unwrap();
    assert!(matches!(client.claim().unwrap(), Claim::ColdStart));
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_workload_goes_on_when_the_update_is_off() {
    for (after, preserved) in [(Resumed::WithSession, 1), (Resumed::Anew, 2)] {
        let kernel = FakeKernel::new();
        let fake = FakeAgent::new(&kernel).unwrap();
        let serving = Serving::ready(&fake, Notes::new(after));
        fake.abort("another VM is not ready");
        fake.prepare(LONG);
        assert_eq!(fake.answers(1), [Answer::Ready]);
        let (client, notes) = serving.end();
        assert!(client.is_ready());
        let asked = ["preserve", "stop", "resume"].map(|what| notes.count(what));
        assert_eq!(asked, [preserved, 2, 1]);
        assert!(notes.seen.iter().any(|it| it.contains("another VM is not ready")));
        client.discard().unwrap();
        assert!(kernel.sessions().is_empty());
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_workload_that_cannot_stop_refuses_and_goes_on() {
    let fake = FakeAgent::new(&FakeKernel::new()).unwrap();
    let mut notes = Notes::new(Resumed::WithSession);
    notes.fails = Some("stop");
    let serving = Serving::begin(&fake, notes);
    fake.prepare(LONG);
    assert_eq!(fake.answers(1), [Answer::Refused("stop fails".into())]);
    let (client, notes) = serving.end();
    assert!(!client.is_ready());
    assert_eq!(notes.seen, ["preserve", "stop", "not ready: stop fails", "resume"]);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn what_fails_is_tried_again() {
    let fake = FakeAgent::new(&FakeKernel::new()).unwrap();
    let mut client = Client::new(Provider::agent(fake.agent()), "vm-17");
    let mut notes = Notes::new(Resumed::WithSession);
    notes.fails = Some("preserve");
    let error = client.join(&mut notes, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoResources);
    client.join(&mut notes, 1).unwrap();
    let mut notes = Notes::new(Resumed::WithSession);
    notes.fails = Some("preserve");
    let mut client = Client::new(Provider::agent(fake.agent()), "vm-18");
    client.join(&mut notes, 2).unwrap();

    let fake = FakeAgent::new(&FakeKernel::new()).unwrap();
    let mut notes = Notes::new(Resumed::WithSession);
    notes.fails = Some("resume");
    let serving = Serving::ready(&fake, notes);
    fake.abort("off");
    thread::sleep(RETRY * 2);
    let (client, notes) = serving.end();
    assert!(!client.is_ready() && client.work == Work::Goes);
    assert_eq!(notes.count("resume"), 2);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn an_agent_that_is_started_again_ends_an_update() {
    let fake = FakeAgent::new(&FakeKernel::new()).unwrap();
    let serving = Serving::ready(&fake, Notes::new(Resumed::WithSession));
    fake.restart();
    fake.await_participants(1);
    let (client, notes) = serving.end();
    assert!(!client.is_ready());
    assert_eq!(notes.seen.last().unwrap(), "resume");
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn without_an_agent_a_workload_stands_still_as_long_as_the_kernel_may_be_left() {
    for is_committed in [false, true] {
        let fake = FakeAgent::new(&FakeKernel::new()).unwrap();
        let serving = Serving::ready(&fake, Notes::new(Resumed::WithSession));
        if is_committed {
            fake.commit();
        }
        drop(fake);
        thread::sleep(RETRY * 2);
        let (mut client, mut notes) = serving.end();
        assert!(client.is_ready() && notes.count("resume") == 0);

        // It does not come back.
        client.standstill.wait_no_longer();
        client.join(&mut notes, 1).unwrap_err();
        assert_eq!(client.is_ready(), is_committed);
        assert_eq!(notes.count("resume") == 0, is_committed);
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn only_an_agent_that_leaves_keeps_a_workload_still() {
    for (error, works) in [("Committing", false), ("KernelError", false), ("NotAllowed", true)] {
        let fake = FakeAgent::new(&FakeKernel::new()).unwrap();
        let mut client = Client::new(Provider::agent(fake.agent()), "vm-17");
        let mut notes = Notes::new(Resumed::WithSession);
        client.join(&mut notes, 1).unwrap();
        client.make_ready(&mut notes, Instant::now() + LONG).unwrap();
        // It has hung up.
        client.participant = None;
        client.standstill.hung_up();
        fake.fail("Participate", error);
        client.join(&mut notes, 1).unwrap_err();
        assert_eq!(!client.is_ready(), works, "{error}");
        // It lets the client take part again.
        client.join(&mut notes, 1).unwrap();
        assert!(!client.is_ready() && client.work == Work::Goes, "{error}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn nothing_begins_before_the_agent_knows_that_the_last_one_is_over() {
    let kernel = FakeKernel::new();
    let fake = FakeAgent::new(&kernel).unwrap();
    let mut client = Client::new(Provider::agent(fake.agent()), "vm-17");
    let mut notes = Notes::new(Resumed::WithSession);
    client.is_untold = true;
    fake.fail("Restored", "KernelError");
    client.join(&mut notes, 1).unwrap_err();
    assert!(client.is_untold && notes.seen.is_empty());
    client.join(&mut notes, 1).unwrap();
    assert!(!client.is_untold && client.is_complete());
    assert_eq!(notes.seen, ["preserve"]);
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn an_agent_that_is_started_again_on_the_way_lets_nothing_work_again() {
    let kernel = FakeKernel::new();
    let fake = FakeAgent::new(&kernel).unwrap();
    let serving = Serving::ready(&fake, Notes::new(Resumed::WithSession));
    fake.commit();
    fake.restart();
    thread::sleep(RETRY * 4);
    let (client, notes) = serving.end();
    assert!(client.is_ready() && notes.count("resume") == 0, "{:?}", notes.seen);

    // The shutdown was called off.
    fake.abort("it was called off");
    let serving = Serving::go_on(&fake, client, notes);
    let (client, notes) = serving.end();
    assert!(!client.is_ready() && client.is_complete());
    assert_eq!(notes.seen.last().unwrap(), "resume");
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_client_whose_answer_is_refused_works_again_at_once() {
    for (error, preserved) in [("NotAllowed", 1), ("NotOpen", 2)] {
        let fake = FakeAgent::new(&FakeKernel::new()).unwrap();
        let serving = Serving::begin(&fake, Notes::new(Resumed::WithSession));
        fake.fail("Ready", error);
        fake.prepare(LONG);
        assert_eq!(fake.answers(1), [Answer::Refused("it is to fail".into())]);
        fake.abort("a client cannot take part");
        fake.prepare(LONG);
        assert_eq!(fake.answers(1), [Answer::Ready]);
        let (client, notes) = serving.end();
        assert!(client.is_ready());
        let asked = ["preserve", "stop", "resume"].map(|what| notes.count(what));
        assert_eq!(asked, [preserved, 2, 1]);
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_client_whose_answer_is_lost_stands_still_until_it_knows() {
    let fake = FakeAgent::new(&FakeKernel::new()).unwrap();
    let serving = Serving::begin(&fake, Notes::new(Resumed::WithSession));
    // The agent may count on this client.
    fake.fail("Ready", "NoSuchParticipant");
    fake.prepare(LONG);
    thread::sleep(RETRY * 2);
    let (client, notes) = serving.end();
    assert!(client.is_ready() && notes.count("resume") == 0);
    let serving = Serving::go_on(&fake, client, notes);
    fake.abort("a client has not answered");
    thread::sleep(RETRY);
    let (client, notes) = serving.end();
    assert!(!client.is_ready());
    assert_eq!(notes.seen.last().unwrap(), "resume");
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn others_that_are_always_ready_keep_nothing_from_being_tried_again() {
    let fake = FakeAgent::new(&FakeKernel::new()).unwrap();
    let mut client = Client::new(Provider::agent(fake.agent()), "vm-17");
    let mut notes = Notes::new(Resumed::WithSession);
    notes.fails = Some("preserve");
    let closed = UnixStream::pair().unwrap().0;
    let serve = |client: &mut Client, notes: &mut Notes| {
        assert_eq!(client.serve(notes, &[closed.as_fd()]).unwrap(), Wake::Other(0));
    };
    serve(&mut client, &mut notes);
    assert!(!client.is_complete());
    // Not at once.
    client.attempted = Some(Instant::now() + LONG);
    serve(&mut client, &mut notes);
    assert_eq!(notes.seen, ["preserve"]);
    client.attempted = Instant::now().checked_sub(RETRY);
    serve(&mut client, &mut notes);
    assert!(client.is_complete());
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_workload_that_could_not_be_resumed_may_stand_still_for_the_next_update() {
    let kernel = FakeKernel::new();
    let fake = FakeAgent::new(&kernel).unwrap();
    let mut client = Client::new(Provider::agent(fake.agent()), "vm-17");
    let mut notes = Notes::new(Resumed::WithSession);
    client.join(&mut notes, 1).unwrap();
    client.make_ready(&mut notes, Instant::now() + LONG).unwrap();
    // As when the session could not be opened again.
    client.work = Work::Stuck;
    client.make_ready(&mut notes, Instant::now() + LONG).unwrap();
    assert!(client.is_ready() && client.is_complete());
    assert_eq!(notes.seen, ["preserve", "stop"]);
}
