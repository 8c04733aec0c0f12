// SPDX-License-Identifier: MIT OR Apache-2.0

//! Frames of anybody, cut into pieces: each is a call or ends the connection, and none is longer than allowed.

#![no_main]
#![expect(clippy::unwrap_used, reason = "a panic is how a target reports")]

use std::io::Write as _;
use std::os::unix::net;
use std::time::Duration;

use luod::varlink::{Connection, Limits, MAX_FRAME, Request, Wire, service};
use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().unwrap();
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    // The first byte says how the rest is cut.
    let Some((cut, bytes)) = input.split_first() else { return };
    let (mut here, there) = net::UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let limits = Limits { takes_fds: cut & 1 == 0, frame: Duration::from_secs(1) };
            let (mut read, _write) = Connection::new(Wire::new(there, limits).unwrap()).split();
            for piece in bytes.chunks(usize::from(*cut).max(1)) {
                // What does not fit into the socket is not sent.
                let _ = here.write(piece);
            }
            drop(here);
            while let Ok((call, fds)) = read.receive_call::<Request>().await {
                assert!(fds.is_empty());
                let request = call.method();
                assert!(request.method.len() <= MAX_FRAME);
                let _ = request.split();
                if let Ok(value) = service::answer(request, luod::varlink::agent::NAME) {
                    assert!(value.is_object());
                }
                let _ = request.parameters::<luod::varlink::agent::Labelled>();
                let _ = request.parameters::<luod::varlink::manager::Update>();
            }
        });
    });
});
