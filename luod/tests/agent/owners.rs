// SPDX-License-Identifier: MIT OR Apache-2.0

//! Owners see their own sessions only, and the policy decides who takes part.

use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use liblu::testing::FakeKernel;
use luod::agent::{Agent, Config, Passed, drive, start};
use luod::policy::{Credentials, Sources};
use luod::process::Process;
use luod::system::peer::{Life, Peer, Services};
use luod::varlink::agent::Error;
use tokio::task::LocalSet;

/// A process of an owner.
struct Client {
    child: Child,
    peer: Peer,
}

impl Client {
    fn new(owner: &str, uid: u32) -> Self {
        let child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let life = Life::of(child.id()).unwrap().unwrap();
        let process = Process { pid: child.id(), inode: life.inode().unwrap() };
        let credentials = Credentials { uid, gids: vec![uid] };
        Self { child, peer: Peer { owner: owner.parse().unwrap(), credentials, process, life } }
    }

    fn end(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Runs a test beside an agent with this policy.
fn with_agent<F: Future<Output = ()>>(policy: &str, test: impl FnOnce(Rc<Agent>, FakeKernel) -> F) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("etc/luod")).unwrap();
    std::fs::write(folder.path().join("etc/luod/luod.toml"), policy).unwrap();
    let kernel = FakeKernel::new();
    let config = Config {
        device: kernel.device(),
        boot: std::sync::Arc::new(crate::host::FakeBoot::default()),
        boot_id: "one".into(),
        sources: Sources::beneath(folder.path()),
        services: Services::None,
        unread: 4,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async move {
        let agent = start(config, Passed::default()).await.unwrap();
        let driven = tokio::task::spawn_local(drive(Rc::clone(&agent)));
        test(agent, kernel).await;
        driven.abort();
    });
}

async fn until(what: &str, is_true: impl Fn() -> bool) {
    for _ in 0..2000 {
        if is_true() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what}");
}

#[test]
fn an_owner_never_gets_what_belongs_to_another() {
    with_agent("", |agent, kernel| async move {
        let one = Client::new("unit:one.service", 0);
        let other = Client::new("unit:other.service", 0);
        agent.open(&one.peer, "vm").await.unwrap();
        let (_, name) = agent.open(&other.peer, "vm").await.unwrap();
        assert_eq!(name.as_bytes(), b"unit:other.service/vm");
        assert_eq!(kernel.sessions().len(), 2);
        agent.discard(&one.peer, "vm").await.unwrap();
        assert!(matches!(agent.discard(&one.peer, "vm").await, Err(Error::NotOpen { .. })));
        assert_eq!(agent.list(&one.peer).unwrap().len(), 0);
        assert_eq!(agent.list(&other.peer).unwrap().len(), 1);
        assert!(matches!(agent.claim(&one.peer, "vm").await, Err(Error::NoSession { .. })));
        // Its participants are its own, too.
        let there = agent.participate(&other.peer, &["vm".into()]).unwrap();
        for number in 0..10 {
            let answer = agent.ready(&one.peer, number, 1);
            assert!(matches!(answer, Err(Error::NoSuchParticipant { .. })));
        }
        drop(there);
        one.end();
        other.end();
    });
}

#[test]
fn the_policy_refuses_and_bounds() {
    let policy = "[[rule]]\nuser = 5\nparticipate = true\nsessions = 2\n";
    with_agent(policy, |agent, kernel| async move {
        // It is there as long as somebody has it.
        let _kernel = kernel;
        let refused = Client::new("user:1000", 1000);
        let Err(Error::NotAllowed { message }) = agent.open(&refused.peer, "vm").await else {
            panic!()
        };
        assert!(message.contains("user:1000"), "{message}");
        assert!(matches!(agent.claim(&refused.peer, "vm").await, Err(Error::NotAllowed { .. })));
        assert!(matches!(agent.participate(&refused.peer, &[]), Err(Error::NotAllowed { .. })));
        assert!(matches!(agent.list(&refused.peer), Err(Error::NotAllowed { .. })));
        let bounded = Client::new("user:5", 5);
        agent.open(&bounded.peer, "a").await.unwrap();
        agent.open(&bounded.peer, "b").await.unwrap();
        let error = agent.open(&bounded.peer, "c").await.unwrap_err();
        assert!(matches!(error, Error::TooManySessions { limit: 2, .. }), "{error:?}");
        agent.open(&bounded.peer, "a").await.unwrap();
        refused.end();
        bounded.end();
    });
}

#[test]
fn sessions_of_a_process_that_ends_are_given_up_unless_they_are_kept() {
    let policy = "[[rule]]\nunit = \"keeps.service\"\nkeep = true\n";
    with_agent(policy, |agent, kernel| async move {
        let ends = Client::new("unit:ends.service", 0);
        let keeps = Client::new("unit:keeps.service", 0);
        drop(agent.open(&ends.peer, "vm").await.unwrap());
        drop(agent.open(&ends.peer, "note").await.unwrap());
        agent.keep(&ends.peer, "note").await.unwrap();
        drop(agent.open(&keeps.peer, "vm").await.unwrap());
        ends.end();
        keeps.end();
        until("one session is given up", || kernel.sessions().len() == 2).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        let names: Vec<_> = kernel.sessions().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["unit:ends.service/note", "unit:keeps.service/vm"]);
    });
}

#[test]
fn a_session_that_was_claimed_waits_again_when_its_client_ends() {
    with_agent("", |agent, kernel| async move {
        let before = Client::new("unit:vm.service", 0);
        let (session, _) = agent.open(&before.peer, "vm").await.unwrap();
        // It stays open over the kexec, as the kernel would keep it.
        kernel.kexec();
        drop(session);
        before.end();
        until("the sessions of the previous kernel are gone", || {
            agent.list_all().iter().all(|it| it.direction == "incoming")
        })
        .await;
        let one = Client::new("unit:vm.service", 0);
        let two = Client::new("unit:vm.service", 0);
        drop(agent.claim(&one.peer, "vm").await.unwrap());
        let Err(Error::Held { pid, .. }) = agent.claim(&two.peer, "vm").await else { panic!() };
        assert_eq!(pid, one.peer.process.pid);
        one.end();
        until("the session waits", || {
            agent
                .list(&two.peer)
                .unwrap()
                .iter()
                .any(|it| it.state == luod::varlink::agent::State::Waiting)
        })
        .await;
        agent.claim(&two.peer, "vm").await.unwrap();
        two.end();
    });
}
