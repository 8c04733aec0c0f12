// SPDX-License-Identifier: GPL-2.0

//! Tracepoints: `events/liveupdate` of tracefs.

use kernel::{
    ffi::{
        c_char,
        c_int, //
    },
    prelude::*,
    str::CStr,
    time::{
        Instant,
        Monotonic, //
    },
    tracepoint::declare_trace,
};
use luo_core::{
    name::SessionName,
    token::Token, //
};

declare_trace! {
    unsafe fn luo_create(session: *const c_char, error: c_int, duration_ns: u64);
    unsafe fn luo_retrieve_session(session: *const c_char, error: c_int, duration_ns: u64);
    unsafe fn luo_finish(session: *const c_char, error: c_int, duration_ns: u64);
    unsafe fn luo_preserve(session: *const c_char, token: u64, error: c_int, duration_ns: u64);
    unsafe fn luo_retrieve(session: *const c_char, token: u64, error: c_int, duration_ns: u64);
    unsafe fn luo_freeze(sessions: u64, error: c_int, duration_ns: u64);
    unsafe fn luo_serialize(sessions: u64, error: c_int, duration_ns: u64);
    unsafe fn luo_deserialize(sessions: u64, error: c_int, duration_ns: u64);
}

/// The time at which an operation began.
struct Begin(Instant<Monotonic>);

impl Begin {
    fn duration_ns(&self) -> u64 {
        self.0.elapsed().as_nanos().unsigned_abs()
    }
}

fn errno<T>(result: &Result<T>) -> c_int {
    result.as_ref().err().map_or(0, |error| error.to_errno())
}

/// Whether a tracepoint is enabled.
macro_rules! is_on {
    ($tracepoint:ident) => {{
        #[cfg(CONFIG_TRACEPOINTS)]
        // SAFETY: The tracepoint is a static that C defines, and its key may be read at any time.
        let is_on = unsafe {
            kernel::jump_label::static_branch_unlikely!(
                kernel::bindings::$tracepoint,
                kernel::bindings::tracepoint,
                key
            )
        };
        #[cfg(not(CONFIG_TRACEPOINTS))]
        let is_on = false;
        is_on
    }};
}

/// Defines functions that do work and trace how long it took.
macro_rules! timed {
    ($(#[doc = $doc:literal] $name:ident = $trace:ident, $key:ident, $($arg:ident: $type:ty => $raw:expr),*;)*) => {$(
        #[doc = $doc]
        pub(crate) fn $name<T>($($arg: $type,)* work: impl FnOnce() -> Result<T>) -> Result<T> {
            if !is_on!($key) {
                return work();
            }
            let begin = Begin(Instant::now());
            let result = work();
            // SAFETY: The tracepoint takes numbers, and NUL-terminated text that it copies; the
            // name is borrowed for the whole call.
            unsafe { $trace($($raw,)* errno(&result), begin.duration_ns()) };
            result
        }
    )*};
}

fn text(name: &SessionName) -> *const c_char {
    CStr::from_bytes_until_nul(name.as_array())
        .unwrap_or_default()
        .as_char_ptr()
}

timed! {
    /// A session is created.
    create = luo_create, __tracepoint_luo_create, session: &SessionName => text(session);
    /// A session is retrieved.
    retrieve_session = luo_retrieve_session, __tracepoint_luo_retrieve_session,
        session: &SessionName => text(session);
    /// A session is finished.
    finish = luo_finish, __tracepoint_luo_finish, session: &SessionName => text(session);
    /// A file is preserved.
    preserve = luo_preserve, __tracepoint_luo_preserve,
        session: &SessionName => text(session), token: Token => token.0;
    /// A file is retrieved.
    retrieve = luo_retrieve, __tracepoint_luo_retrieve,
        session: &SessionName => text(session), token: Token => token.0;
    /// All files are frozen.
    freeze = luo_freeze, __tracepoint_luo_freeze, sessions: usize => sessions as u64;
    /// The handover is written.
    serialize = luo_serialize, __tracepoint_luo_serialize, sessions: usize => sessions as u64;
}

/// The handover becomes sessions; `count` says how many.
pub(crate) fn deserialize<T>(
    work: impl FnOnce() -> Result<T>,
    count: impl FnOnce(&T) -> usize,
) -> Result<T> {
    if !is_on!(__tracepoint_luo_deserialize) {
        return work();
    }
    let begin = Begin(Instant::now());
    let result = work();
    let sessions = result.as_ref().map_or(0, count) as u64;
    // SAFETY: The tracepoint takes numbers.
    unsafe { luo_deserialize(sessions, errno(&result), begin.duration_ns()) };
    result
}
