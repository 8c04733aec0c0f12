// SPDX-License-Identifier: MIT OR Apache-2.0

//! Both sides of the border: errors, panics, text, memory and descriptors.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::time::{Duration, Instant};

use liblu::Error;
use rustix::io::Errno;

/// The reason why a call failed: a number for programs, and words for people.
#[derive(Debug)]
pub(crate) struct Failure {
    errno: Errno,
    words: String,
}

impl Failure {
    /// An argument that makes no sense.
    pub(crate) fn argument(words: &str) -> Self {
        Self { errno: Errno::INVAL, words: words.to_owned() }
    }

    /// There is no such thing.
    pub(crate) fn missing(words: &str) -> Self {
        Self { errno: Errno::NOENT, words: words.to_owned() }
    }

    /// The caller's room is too small.
    pub(crate) fn room(words: &str) -> Self {
        Self { errno: Errno::RANGE, words: words.to_owned() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { errno: error.errno(), words: error.to_string() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Self { errno, words: error.to_string() }
    }
}

/// The result of a call.
pub(crate) type Outcome<T> = Result<T, Failure>;

thread_local! {
    static LAST: RefCell<CString> = RefCell::new(CString::default());
}

/// Runs the work of a call: its number goes to C, its words are kept for `liblu_error()`.
pub(crate) fn enter(work: impl FnOnce() -> Outcome<c_int>) -> c_int {
    // The caller cannot use what a panic has left, as after any other error.
    let done = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Failure { errno: Errno::NOTRECOVERABLE, words: "liblu has a bug; see stderr".into() })
    });
    done.unwrap_or_else(|failure| {
        say(&failure.words);
        failure.errno.raw_os_error().wrapping_neg()
    })
}

/// Keeps words for `liblu_error()`.
pub(crate) fn say(words: &str) {
    let words = words.replace('\0', " ");
    // A thread that ends has no place for words any more.
    let _ = LAST.try_with(|last| *last.borrow_mut() = CString::new(words).unwrap_or_default());
}

/// The reason why the last call of this thread failed, in words without a full stop; empty if none has
/// failed. It is valid until the next call of this thread that fails: calls that succeed, and those
/// that give something back, leave it alone.
#[unsafe(no_mangle)]
pub extern "C" fn liblu_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

/// Bytes of text that C has passed.
///
/// # Safety
///
/// `text` must be null, or NUL-terminated and valid for `'a`.
pub(crate) unsafe fn bytes<'a>(text: *const c_char, what: &str) -> Outcome<&'a [u8]> {
    if text.is_null() {
        return Err(Failure::argument(&format!("{what} is null")));
    }
    // SAFETY: It is not null, and the caller promises the rest.
    Ok(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// Text that C has passed.
///
/// # Safety
///
/// `text` must be null, or NUL-terminated and valid for `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &str) -> Outcome<&'a str> {
    // SAFETY: The caller promises the same.
    let bytes = unsafe { bytes(text, what) }?;
    std::str::from_utf8(bytes).map_err(|_| Failure::argument(&format!("{what} is not UTF-8")))
}

/// An array that C has passed; a null one has no elements.
///
/// # Safety
///
/// `array` must be null, or valid for `'a` with `length` elements.
pub(crate) unsafe fn array<'a, T>(array: *const T, length: usize) -> Outcome<&'a [T]> {
    if length == 0 {
        return Ok(&[]);
    }
    if array.is_null() {
        return Err(Failure::argument("an array is null, and has elements"));
    }
    // SAFETY: It is not null, and the caller promises the rest.
    Ok(unsafe { slice::from_raw_parts(array, length) })
}

/// Memory of C that is to be written to; a null one has no room.
///
/// # Safety
///
/// `array` must be null, or valid for `'a` with room for `length` elements that nobody else uses.
pub(crate) unsafe fn room<'a, T>(array: *mut T, length: usize) -> &'a mut [MaybeUninit<T>] {
    if array.is_null() || length == 0 {
        return &mut [];
    }
    // SAFETY: It is not null, the caller promises the rest, and what is there may be anything.
    unsafe { slice::from_raw_parts_mut(array.cast(), length) }
}

/// A descriptor that stays the caller's.
///
/// # Safety
///
/// `fd` must be negative, or stay open for `'a`.
pub(crate) unsafe fn borrowed<'a>(fd: c_int) -> Outcome<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(Failure { errno: Errno::BADF, words: format!("{fd} is no descriptor") });
    }
    // SAFETY: It is not -1, and the caller promises the rest.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// A copy of a descriptor that stays the caller's.
///
/// # Safety
///
/// `fd` must be negative, or stay open during the call.
pub(crate) unsafe fn copy(fd: c_int) -> Outcome<OwnedFd> {
    // SAFETY: The caller promises the same.
    Ok(unsafe { borrowed(fd) }?.try_clone_to_owned()?)
}

/// Takes a descriptor over.
///
/// # Safety
///
/// `fd` must be open, and nobody else's from now on.
pub(crate) unsafe fn taken(fd: c_int) -> OwnedFd {
    // SAFETY: The caller promises it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Writes into the caller's room, as much as it has room for.
pub(crate) fn fill<T>(to: &mut [MaybeUninit<T>], from: impl IntoIterator<Item = T>) {
    for (to, from) in to.iter_mut().zip(from) {
        to.write(from);
    }
}

/// Writes text with a NUL at its end into the caller's room, and returns its length without.
pub(crate) fn write_text(to: &mut [MaybeUninit<c_char>], bytes: &[u8]) -> Outcome<c_int> {
    let length = bytes.len();
    let too_small = || Failure::room(&format!("{} bytes are needed", length + 1));
    let room = to.get_mut(..=length).ok_or_else(too_small)?;
    fill(room, bytes.iter().chain(&[0]).map(|byte| c_char::from_ne_bytes([*byte])));
    c_int::try_from(length).map_err(|_| too_small())
}

/// The handle behind a pointer.
pub(crate) fn handle<T>(handle: Option<T>) -> Outcome<T> {
    handle.ok_or_else(|| Failure::argument("the handle is null"))
}

/// A place for a handle, which is null until there is one.
pub(crate) fn place<T>(place: Option<&mut MaybeUninit<Option<T>>>) -> Outcome<&mut Option<T>> {
    let place = place.ok_or_else(|| Failure::argument("there is no place for the result"))?;
    Ok(place.write(None))
}

/// The deadline of a time in milliseconds; a negative one is none.
pub(crate) fn deadline(milliseconds: c_int) -> Option<Instant> {
    let time = Duration::from_millis(u64::try_from(milliseconds).ok()?);
    Instant::now().checked_add(time)
}

/// Writes to a place that may be null.
pub(crate) fn put<T>(place: Option<&mut MaybeUninit<T>>, value: T) {
    if let Some(place) = place {
        place.write(value);
    }
}
