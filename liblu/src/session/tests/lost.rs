// SPDX-License-Identifier: MIT OR Apache-2.0

//! Files that could not be restored.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::Error;

/// Descriptors of this file that this process has open.
fn open_files_of(file: impl AsFd) -> usize {
    let inode = rustix::fs::fstat(file).unwrap().st_ino;
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    // Other tests open and close files meanwhile.
    let found = entries.filter_map(|entry| std::fs::metadata(entry.ok()?.path()).ok());
    found.filter(|found| found.ino() == inode).count()
}

/// The error of a request for file number 1 that fails so.
fn refused(kernel: &FakeKernel, session: &IncomingSession, errno: Errno) -> Error {
    kernel.fail_next(Operation::RetrieveFd, errno);
    session.retrieve(token(1)).unwrap_err()
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn old_kernels_are_not_asked_again_for_a_file_that_failed() {
    // The system's limit of open files is met inside of the handler, when the file is half restored.
    for failure in [Errno::NOMEM, Errno::NFILE, Errno::BUSY] {
        let kernel = kernel_of("6.19.8");
        let session = incoming(&kernel);
        // The limit of the process can be raised.
        let error = refused(&kernel, &session, Errno::MFILE);
        assert_eq!((error.kind(), error.errno()), (ErrorKind::NoResources, Errno::MFILE));
        assert_eq!(session.retrieve(token(2)).unwrap_err().kind(), ErrorKind::NoFile);
        kernel.fail_next(Operation::RetrieveFd, failure);
        for _ in 0..3 {
            let error = session.retrieve(token(1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::RetrieveFailed);
            assert_eq!(error.kernel_errno(), Some(failure));
        }
        // It would be restored again.
        let failed = session.finish().unwrap_err();
        assert_eq!(failed.error().kind(), ErrorKind::RetrieveFailed);
        // One more descriptor stays open.
        let session = failed.into_value();
        assert_eq!(open_files_of(&session), 2);
        let asked = kernel.asked().into_iter();
        let asked = asked.filter(|it| [Operation::RetrieveFd, Operation::Finish].contains(it));
        assert_eq!(asked.collect::<Vec<_>>(), [Operation::RetrieveFd; 3]);
        drop(session.into_fd());
    }
}

/// In 0.1 the lock of the guard was free during the command.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn threads_do_not_ask_old_kernels_twice() {
    let kernel = kernel_of("6.19.8");
    let session = incoming(&kernel);
    kernel.fail_next(Operation::RetrieveFd, Errno::IO);
    std::thread::scope(|scope| {
        let retrieve = || session.retrieve(token(1)).unwrap_err().kind();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(retrieve)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), ErrorKind::RetrieveFailed);
        }
    });
    let asked = kernel.asked().into_iter().filter(|it| *it == Operation::RetrieveFd);
    assert_eq!(asked.count(), 1);
    drop(session.into_fd());
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn other_kernels_remember_themselves_what_failed() {
    for kernel in [FakeKernel::new(), rust_kernel()] {
        for failure in [Errno::INVAL, Errno::NFILE, Errno::BUSY, Errno::INTR, Errno::EXIST] {
            let session = incoming(&kernel);
            kernel.fail_next(Operation::RetrieveFd, failure);
            for _ in 0..2 {
                let error = session.retrieve(token(1)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::RetrieveFailed, "{failure:?}");
                assert_eq!(error.kernel_errno(), Some(failure));
            }
            session.finish().unwrap();
        }
    }
}

/// In 0.1 this was called lost for ever.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_lack_of_memory_may_pass() {
    let kernel = FakeKernel::new();
    let session = incoming(&kernel);
    let error = refused(&kernel, &session, Errno::NOMEM);
    assert_eq!((error.kind(), error.errno()), (ErrorKind::NoResources, Errno::NOMEM));
    session.retrieve(token(1)).unwrap();
    session.finish().unwrap();
}

/// The gate is closed for the command, and open again when it is asked why.
#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_reboot_that_fails_meanwhile_has_lost_nothing() {
    let kernel = rust_kernel();
    let session = outgoing(&kernel);
    kernel.refuse_next(Operation::PreserveFd);
    session.preserve(token(1), memfd()).unwrap();
    kernel.kexec();
    drop(session);
    let session = device(&kernel).retrieve(&name()).unwrap();
    kernel.refuse_next(Operation::RetrieveFd);
    session.retrieve(token(1)).unwrap();
    kernel.refuse_next(Operation::Finish);
    session.finish().unwrap();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no memfds")]
fn a_kernel_that_is_left_has_lost_nothing() {
    let kernel = rust_kernel();
    let session = incoming(&kernel);
    kernel.set_leaving(true);
    assert_eq!(session.retrieve(token(1)).unwrap_err().kind(), ErrorKind::Leaving);
    kernel.set_leaving(false);
    session.retrieve(token(1)).unwrap();
    let copy = session.as_fd().try_clone_to_owned().unwrap();
    IncomingSession::try_from(copy).unwrap().finish().unwrap();
    assert_eq!(session.retrieve(token(1)).unwrap_err().kind(), ErrorKind::WrongDirection);
    let failed = session.finish().unwrap_err();
    assert_eq!(failed.error().kind(), ErrorKind::WrongDirection);
}
