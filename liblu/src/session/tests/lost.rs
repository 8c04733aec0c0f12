// SPDX-License-Identifier: MIT OR Apache-2.0

//! Files that could not be restored.

use std::os::unix::fs::MetadataExt;

use super::*;

/// Descriptors of this file that this process has open.
fn open_files_of(file: impl AsFd) -> usize {
    let inode = rustix::fs::fstat(file).unwrap().st_ino;
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    // Other tests open and close files meanwhile.
    let found = entries.filter_map(|entry| std::fs::metadata(entry.ok()?.path()).ok());
    found.filter(|found| found.ino() == inode).count()
}

/// What asking for file number 1 comes to if the commands fail so.
fn refused<const N: usize>(session: &IncomingSession, fails: [(u8, Errno); N]) -> Error {
    fake::with(|fake| fake.fails.extend(fails));
    session.retrieve(token(1)).unwrap_err()
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn old_kernels_are_not_asked_again_for_a_file_that_failed() {
    // The system's limit of open files is met inside of the handler, when the file is half restored.
    for failure in [Errno::NOMEM, Errno::NFILE, Errno::BUSY] {
        let _fake = fake::install(Fake { release: Some("6.19.8"), ..Fake::default() });
        let session = incoming();
        // What is the process's own fault can be mended.
        let error = refused(&session, [(RetrieveFd::NR, Errno::MFILE)]);
        assert_eq!(error.errno(), Errno::MFILE);
        assert!(matches!(session.retrieve(token(2)), Err(Error::NoFile(_))));
        fake::with(|fake| fake.fails.push((RetrieveFd::NR, failure)));
        let ask = |_| {
            let error = session.retrieve(token(1)).unwrap_err();
            assert!(
                matches!(error, Error::RetrieveFailed { source, .. } if source == failure),
                "{error}"
            );
        };
        (0..3).for_each(ask);
        // It would be restored again.
        let error = session.finish().unwrap_err();
        assert!(matches!(error.source, Error::RetrieveFailed { .. }));
        // One descriptor more stays open than is in sight.
        assert_eq!(open_files_of(&error.session), 2);
        let asked = fake::with(|fake| fake.asked.clone());
        let asked = asked.into_iter().filter(|nr| [RetrieveFd::NR, Finish::NR].contains(nr));
        assert_eq!(asked.collect::<Vec<_>>(), [RetrieveFd::NR; 3]);
        drop(error.session.into_custody());
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn other_kernels_know_themselves_what_failed() {
    let fake = fake::install(Fake::default());
    let session = incoming();
    let error = refused(&session, [(RetrieveFd::NR, Errno::NOMEM)]);
    assert!(matches!(error, Error::RetrieveFailed { source: Errno::NOMEM, .. }));
    session.retrieve(token(1)).unwrap();
    // A handler may say what the kernel says of a session that somebody else has finished.
    let error = refused(&session, [(RetrieveFd::NR, Errno::INVAL)]);
    assert!(matches!(error, Error::RetrieveFailed { source: Errno::INVAL, .. }));
    for failure in [Errno::NFILE, Errno::BUSY, Errno::INTR, Errno::EXIST] {
        let error = refused(&session, [(RetrieveFd::NR, failure)]);
        assert!(matches!(error, Error::RetrieveFailed { source, .. } if source == failure));
    }
    session.finish().unwrap();
    drop(fake);

    let _fake = fake::install(Fake { is_rust: true, ..Fake::default() });
    let session = incoming();
    // All commands say so when the kernel is being left.
    let left = [RetrieveFd::NR, PreserveFd::NR].map(|nr| (nr, Errno::BUSY));
    let error = refused(&session, left);
    assert!(matches!(error, Error::System { source: Errno::BUSY, .. }));
    let error = refused(&session, [(RetrieveFd::NR, Errno::BUSY)]);
    assert!(matches!(error, Error::RetrieveFailed { source: Errno::BUSY, .. }));
    let copy = session.as_fd().try_clone_to_owned().unwrap();
    IncomingSession::try_from(copy).unwrap().finish().unwrap();
    let error = refused(&session, [(RetrieveFd::NR, Errno::INVAL)]);
    assert!(matches!(error, Error::WrongDirection { .. }));
    // And if another session has its name meanwhile.
    let taken = [(RetrieveFd::NR, Errno::INVAL), (PreserveFd::NR, Errno::EXIST)];
    let error = refused(&session, taken);
    assert!(matches!(error, Error::WrongDirection { .. }));
    fake::with(|fake| fake.fails.push((PreserveFd::NR, Errno::EXIST)));
    assert!(OutgoingSession::try_from(session.into_custody()).is_ok());
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn without_proc_a_failure_is_a_failure() {
    for release in ["6.19.8", "7.3.4"] {
        let fake = Fake { has_no_proc: true, release: Some(release), ..Fake::default() };
        let _fake = fake::install(fake);
        let session = incoming();
        let error = refused(&session, [(RetrieveFd::NR, Errno::INVAL)]);
        assert!(matches!(error, Error::RetrieveFailed { source: Errno::INVAL, .. }));
        assert_eq!(session.finish().is_err(), release == "6.19.8");
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn without_proc_a_descriptor_cannot_be_looked_at() {
    let _fake = fake::install(Fake { has_no_proc: true, ..Fake::default() });
    let session = device().create(&name()).unwrap();
    // Its own sessions it need not look at.
    assert_eq!(session.name().unwrap(), name());
    let error = OutgoingSession::try_from(OwnedFd::from(session)).unwrap_err();
    assert_eq!(error.to_string(), "cannot look at a descriptor in /proc/self/fd");
    assert_eq!(error.source.errno(), Errno::NOENT);
}
