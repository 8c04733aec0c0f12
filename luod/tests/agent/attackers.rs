// SPDX-License-Identifier: MIT OR Apache-2.0

//! Peers that break rules: others are served meanwhile, and nothing of theirs stays.

use std::io::{IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use luod::varlink::MAX_FRAME;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::host::{Host, soon};

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Whether the other end has closed the connection, perhaps with bytes of ours unread.
fn is_closed(stream: &mut UnixStream) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// Others are served at once.
fn serves(host: &Host) {
    let begin = Instant::now();
    host.agent().open("served", soon()).unwrap();
    host.agent().discard("served", soon()).unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5), "it took {:?}", begin.elapsed());
}

/// A frame with so many bytes, which is a call if it may be as long.
fn frame(length: usize) -> Vec<u8> {
    let begin = br#"{"method":"io.liveupdate.Agent.Claim","parameters":{"label":""#;
    let end = br#""}}"#;
    let label = vec![b'x'; length - begin.len() - end.len()];
    [&begin[..], &label, end, &[0]].concat()
}

#[test]
fn frames_have_a_limit_and_the_longest_one_is_answered() {
    let host = Host::managed(100);
    let path = host.agent_path();
    let mut stream = connect(&path);
    stream.write_all(&frame(MAX_FRAME)).unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    let mut stream = connect(&path);
    // The rest may not be taken any more.
    let _ = stream.write_all(&frame(MAX_FRAME + 1));
    assert!(is_closed(&mut stream));
    let mut stream = connect(&path);
    let _ = stream.write_all(&vec![b'{'; 3 * MAX_FRAME]);
    assert!(is_closed(&mut stream));
    serves(&host);
}

#[test]
fn nonsense_ends_the_connection_alone() {
    let host = Host::managed(100);
    for bytes in [
        &b"\0"[..],
        b"{\0",
        b"[]\0",
        b"{\"method\":7}\0",
        b"\xff\xfe\0",
        b"{}{}\0",
        b"GET / HTTP/1.1\r\n\r\n\0",
    ] {
        let mut stream = connect(&host.agent_path());
        stream.write_all(bytes).unwrap();
        assert!(is_closed(&mut stream), "{bytes:?}");
    }
    let deep = format!("{{\"method\":\"x.Y\",\"parameters\":{}\0", "[".repeat(60_000));
    let mut stream = connect(&host.agent_path());
    stream.write_all(deep.as_bytes()).unwrap();
    assert!(is_closed(&mut stream));
    serves(&host);
}

#[test]
fn slow_and_silent_peers_cost_others_nothing() {
    let host = Host::managed(100);
    let idle: Vec<_> = (0..50).map(|_| connect(&host.agent_path())).collect();
    let mut slow: Vec<_> = (0..50).map(|_| connect(&host.agent_path())).collect();
    for stream in &mut slow {
        stream.write_all(b"{").unwrap();
    }
    // They ask, and never read: first the socket is full, then only they wait.
    let call = b"{\"method\":\"org.varlink.service.GetInfo\"}\0";
    let deaf: Vec<_> = (0..10)
        .map(|_| {
            let mut stream = connect(&host.agent_path());
            stream.set_nonblocking(true).unwrap();
            while stream.write(&call.repeat(100)).is_ok() {}
            stream
        })
        .collect();
    for _ in 0..20 {
        serves(&host);
    }
    drop((idle, slow, deaf));
    serves(&host);
}

/// Sends a byte, with copies of a descriptor.
fn send_fds(stream: &UnixStream, fd: BorrowedFd<'_>, count: usize) -> bool {
    let fds = vec![fd; count];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(stream, &[IoSlice::new(b"{")], &mut control, SendFlags::NOSIGNAL).is_ok()
}

#[test]
fn file_descriptors_where_none_belong_are_closed() {
    let host = Host::managed(100);
    for (path, count) in
        [(host.agent_path(), 1), (host.agent_path(), 253), (host.manager_path(), 253)]
    {
        let (mut kept, sent) = UnixStream::pair().unwrap();
        kept.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut stream = connect(&path);
        assert!(send_fds(&stream, sent.as_fd(), count));
        drop(sent);
        assert!(is_closed(&mut stream), "{count} at {}", path.display());
        assert!(is_closed(&mut kept), "luod keeps none of them");
    }
    serves(&host);
}

#[test]
fn connections_of_an_owner_are_bounded() {
    let host = Host::managed(100);
    if !crate::host::raise_limit(20_000) {
        println!("n/a: not enough file descriptors are allowed here");
        return;
    }
    let mut all: Vec<_> = (0..4108).map(|_| connect(&host.agent_path())).collect();
    let call = b"{\"method\":\"org.varlink.service.GetInfo\"}\0";
    let mut served = 0;
    for stream in &mut all {
        let mut byte = [0];
        let is_served =
            stream.write_all(call).is_ok() && stream.read(&mut byte).is_ok_and(|it| it > 0);
        served += usize::from(is_served);
    }
    assert_eq!(served, 4096);
    drop(all);
    crate::sessions::until("connections are given back", || host.agent().open("x", soon()).is_ok());
}
