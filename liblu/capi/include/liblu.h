/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Made by cbindgen from liblu/capi; do not edit. */

/**
 * The C interface of liblu: what the Rust crate does, with opaque handles and negative error
 * numbers.
 *
 * Rules that hold for all functions:
 *
 * - What returns `int` returns 0 or more, or a negative error number; `lu_error()` says in words
 *   what the last failed call of this thread met.
 * - Handles are given back by the function that their description names, and only once. A null
 *   handle is `-EINVAL`, or nothing at all where it is given back.
 * - A place for a handle is null after a call that failed.
 * - Text is NUL-terminated UTF-8, but for names of sessions, which are any bytes.
 * - Descriptors that come back are close-on-exec and the caller's; those that are passed in stay the
 *   caller's, unless the description says otherwise.
 * - Handles may be used by several threads at once, but while one changes or gives back a handle, no
 *   other may use it. Records are changed by `lu_manifest_preserve()` alone.
 * - A forked child has the descriptors too: what is said of the last descriptor counts its as well.
 * - Calls that open the device wait for it if another process has it open: ten seconds, unless
 *   `lu_set_wait()` says otherwise.
 * - No function unwinds into C.
 *
 * Linux has two implementations of live updates, one in C and one in Rust. Where they differ, this
 * says "C kernels" and "Rust kernels"; `lu_probe()` tells what the running one can do.
 */

#ifndef LIBLU_H
#define LIBLU_H

#include <stddef.h>
#include <stdint.h>

/**
 * Something that not all kernels can do. Later versions may know more.
 */
enum lu_feature {
  /**
   * The kernel says what a session is called.
   */
  LU_FEATURE_GET_NAME = 0,
  /**
   * A finished session can be used for the next update.
   */
  LU_FEATURE_REUSE_AFTER_FINISH = 1,
  /**
   * A session that was closed unfinished can be retrieved again.
   */
  LU_FEATURE_RETRIEVE_AFTER_CLOSE = 2,
};

/**
 * Whether a kernel can do something.
 */
enum lu_support {
  /**
   * It cannot.
   */
  LU_SUPPORT_NO = 0,
  /**
   * It can.
   */
  LU_SUPPORT_YES = 1,
  /**
   * Nobody knows.
   */
  LU_SUPPORT_UNKNOWN = 2,
};

/**
 * A session of the last kernel.
 */
struct lu_incoming;

/**
 * A record of what a session holds, kept in the session itself.
 */
struct lu_manifest;

/**
 * A session for the next kernel. Its files are unpreserved when the last descriptor of it is closed.
 */
struct lu_outgoing;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * What the last failed call of this thread met, in words without a full stop; empty if none has
 * failed. It is valid until the next call of this thread that fails: calls that succeed, and those
 * that give something back, leave it alone.
 */
const char *lu_error(void);

/**
 * Loads the kernel in an image, with an initrd unless that is negative, and a command line, or that
 * of the running kernel if it is null. The descriptors stay the caller's.
 *
 * -EPERM: not root, or lockdown. -ENOEXEC, -EINVAL: this is no kernel. -ETXTBSY: a file is open for
 * writing. -EBUSY: another process is loading a kernel. -ENOSYS: this kernel cannot do kexec.
 * -EKEYREJECTED, -ENOKEY, -ENOPKG, -ENODATA, -EBADMSG, -ELIBBAD: signatures.
 *
 * Needed:
 *
 * `image` and `initrd` must be open, `cmdline` NUL-terminated.
 */
int lu_kexec_load(int image, int initrd, const char *cmdline);

/**
 * Whether a kernel is loaded: 1 or 0.
 *
 * -ENOENT: this kernel cannot do kexec.
 */
int lu_kexec_is_loaded(void);

/**
 * Forgets the kernel that is loaded, if one is.
 *
 * -EPERM: not root. -EBUSY: another process is loading a kernel. -ENOSYS: this kernel cannot do kexec.
 */
int lu_kexec_unload(void);

/**
 * Goes to the kernel that is loaded, at once: nothing is stopped, nothing is synced. It only returns
 * if that failed, and everything is as it was.
 *
 * -EINVAL: no kernel is loaded. -EPERM: not root. -EBUSY: another process is doing the same. Or what
 * the handler of a file says that could not be frozen.
 */
int lu_kexec_reboot(void);

/**
 * A record of nothing. Give it back with `lu_manifest_free()`.
 *
 * Needed:
 *
 * `manifest` must be valid for a write.
 */
int lu_manifest_new(struct lu_manifest **manifest);

/**
 * Preserves a file and writes down what it is, with `state_size` bytes of the caller's own. `*token`,
 * unless `token` is null, is what the kernel calls it: one more than the highest in the record so far,
 * from 1.
 *
 * A call that failed leaves record and session as they were.
 *
 * -EEXIST: the label is taken; or the token is, by a file that was preserved without the record, and
 * `lu_manifest_preserve_as()` chooses another. -EINVAL: the label is empty, has more than 255 bytes
 * or is not UTF-8. -E2BIG: the whole record would have more than 16 MiB, in which a byte of state
 * takes one and a third. The rest as `lu_outgoing_preserve()`.
 *
 * Needed:
 *
 * `label` must be NUL-terminated; `fd` open; `state` valid for `state_size` bytes, or null.
 */
int lu_manifest_preserve(struct lu_manifest *manifest,
                         const struct lu_outgoing *session,
                         const char *label,
                         int fd,
                         const void *state,
                         size_t state_size,
                         uint64_t *token);

/**
 * As `lu_manifest_preserve()`, under a token of the caller's choice: for a session that has files
 * which are not in the record. Later calls of `lu_manifest_preserve()` go on from the highest.
 *
 * -EINVAL: the token is one of the 256 highest, which are reserved. The rest as
 * `lu_manifest_preserve()`.
 *
 * Needed:
 *
 * `label` must be NUL-terminated; `fd` open; `state` valid for `state_size` bytes, or null.
 */
int lu_manifest_preserve_as(struct lu_manifest *manifest,
                            const struct lu_outgoing *session,
                            uint64_t token,
                            const char *label,
                            int fd,
                            const void *state,
                            size_t state_size);

/**
 * Writes the record into the session, once: the last thing to do before the update. It is a memfd of
 * its own, under a reserved token, and one of the session's files. What is preserved later is not in
 * it. Files of the session that were preserved with `lu_outgoing_preserve()` are not in it either.
 *
 * -EEXIST: the session has a record. -ENOMEM: there is no memory for it. The rest as
 * `lu_outgoing_preserve()`.
 */
int lu_manifest_seal(const struct lu_manifest *manifest,
                     const struct lu_outgoing *session);

/**
 * Reads the record of a session. Give it back with `lu_manifest_free()`.
 *
 * -ENOENT: the session has none. -EBADMSG: what it has is none. -EPROTONOSUPPORT: a later version
 * wrote it. -ENOMEM: there is no memory for it. The rest as `lu_incoming_retrieve()`.
 */
int lu_manifest_read(const struct lu_incoming *session, struct lu_manifest **manifest);

/**
 * Retrieves the file that is called `label`: a new descriptor.
 *
 * -ENOENT: nothing is called so, or the session has no such file. The rest as
 * `lu_incoming_retrieve()`.
 *
 * Needed:
 *
 * `label` must be NUL-terminated.
 */
int lu_manifest_retrieve(const struct lu_manifest *manifest,
                         const struct lu_incoming *session,
                         const char *label);

/**
 * How many files the record has.
 */
int lu_manifest_count(const struct lu_manifest *manifest);

/**
 * Writes the label of file number `at`, from 0 in the order in which they were preserved,
 * NUL-terminated, and returns its length without. 256 bytes are enough.
 *
 * -EINVAL: there are not so many files. -ERANGE: `size` is too small.
 *
 * Needed:
 *
 * `label` must have room for `size` bytes.
 */
int lu_manifest_label(const struct lu_manifest *manifest, size_t at, char *label, size_t size);

/**
 * What the record says about a file; unless they are null, `*token` is what the kernel calls it and
 * `*size` its size in bytes when it was preserved.
 *
 * -ENOENT: nothing is called so.
 *
 * Needed:
 *
 * `label` must be NUL-terminated.
 */
int lu_manifest_entry(const struct lu_manifest *manifest,
                      const char *label,
                      uint64_t *token,
                      uint64_t *size);

/**
 * Writes the bytes that were given along with a file, and returns how many there are. With `room` 0
 * it only returns how many.
 *
 * -ENOENT: nothing is called so. -ERANGE: `room` is too small.
 *
 * Needed:
 *
 * `label` must be NUL-terminated; `state` must have room for `room` bytes.
 */
int lu_manifest_state(const struct lu_manifest *manifest,
                      const char *label,
                      void *state,
                      size_t room);

/**
 * Gives a record back. Nothing happens to the files.
 */
void lu_manifest_free(struct lu_manifest *manifest);

/**
 * Sends bytes, one at least, and up to 253 descriptors over a connected Unix socket. The descriptors
 * stay the caller's. It raises no SIGPIPE.
 *
 * SOCK_SEQPACKET is best: what is sent at once arrives at once, or not at all. A stream has no borders
 * between messages: the receiver must know how long they are, gets a message in pieces or two in one,
 * and the descriptors with the first byte.
 *
 * -EINVAL: there is no byte. -E2BIG: more than 253 descriptors. -EBADF: one is negative. Or what the
 * socket says; over a stream, a part may have gone then, with all descriptors: do not send it again,
 * close the socket.
 *
 * Needed:
 *
 * `socket` and the `count` descriptors at `fds` must be open; `bytes` valid for `size` bytes.
 */
int lu_send(int socket,
            const void *bytes,
            size_t size,
            const int *fds,
            size_t count);

/**
 * Receives bytes and descriptors over a connected Unix socket. Returns how many bytes came, 0 if the
 * other side has hung up; `*count` is how many descriptors came, close-on-exec, the caller's.
 *
 * A packet is received whole. From a stream comes what is there, which may be less than a message.
 *
 * -EMSGSIZE: the packet was longer than `room`. -EMFILE: descriptors were lost: this process has as many
 * as it may, or there was no room for what SO_PASSSEC adds. -ERANGE: more came than `fds` has room for.
 * -EBADMSG: descriptors came without a byte. None is left open in any of these cases. -EOPNOTSUPP: the
 * socket has SO_PASSPIDFD. Or what the socket says.
 *
 * Needed:
 *
 * `socket` must be open; `bytes` must have room for `room` bytes, `fds` for `*count` numbers.
 */
int lu_receive(int socket,
               void *bytes,
               size_t room,
               int *fds,
               size_t *count);

/**
 * Whether this kernel can do something, an `enum lu_feature`; returns an `enum lu_support`. If there
 * are no live updates, or none for this process, that is unknown, and no error: `lu_check()` tells, and
 * with a session that somebody has sent, `lu_probe_session()`.
 *
 * -EINVAL: this version does not know the feature.
 */
int lu_probe(uint32_t feature);

/**
 * As `lu_probe()`, by the descriptor of a session (`lu_outgoing_fd()`, `lu_incoming_fd()`), which stays
 * the caller's: without rights, and without a look at the device. Of what is no session, all is
 * unknown.
 *
 * -EINVAL: this version does not know the feature. -EBADF: the descriptor is negative.
 *
 * Needed:
 *
 * `session` must be open.
 */
int lu_probe_session(int session,
                     uint32_t feature);

/**
 * Writes what this kernel offers and what is known to be wrong with it, for people, NUL-terminated,
 * and returns the length without: some lines, the last without a newline. 4096 bytes are enough.
 *
 * -ERANGE: `size` is too small.
 *
 * Needed:
 *
 * `text` must have room for `size` bytes.
 */
int lu_probe_text(char *text, size_t size);

/**
 * Whether there are live updates here, and this process may open the device: 0, or why not. Who gets
 * sessions from an agent may have -EACCES here and take part all the same.
 *
 * -ENODEV: there are no live updates; the words say what is missing. -EACCES: the device is for
 * others. -EBUSY: another process has had the device for as long as `lu_set_wait()` says. -EIO: the
 * kernel could not read what the last one handed over.
 */
int lu_check(void);

/**
 * Says how long calls of this process wait for the device while another process has it: so many
 * milliseconds at most, 0 not at all. Without this, it is ten seconds.
 */
void lu_set_wait(uint32_t milliseconds);

/**
 * Creates a session for the next kernel. Give it back with `lu_outgoing_close()`.
 *
 * -EEXIST: there is one of this name. -EBUSY, -ENODEV, -EACCES, -EIO: as `lu_check()`. -EINVAL,
 * -ENAMETOOLONG: the name is empty or has more than 63 bytes. Or what the kernel says, -EMFILE, -ENFILE,
 * -ENOMEM and -ENOSPC among it.
 *
 * Needed:
 *
 * `name` must be NUL-terminated, and `session` valid for a write.
 */
int lu_create(const char *name,
              struct lu_outgoing **session);

/**
 * Takes over a session of the last kernel. Give it back with `lu_incoming_finish()`,
 * `lu_incoming_into_custody()`, or, to give up what has not been retrieved, `lu_incoming_close()`.
 *
 * -ENOENT: none of this name came, or it is finished: a start from nothing. -EALREADY: somebody else
 * holds it. The rest as `lu_create()`, but -EEXIST.
 *
 * Needed:
 *
 * `name` must be NUL-terminated, and `session` valid for a write.
 */
int lu_retrieve(const char *name,
                struct lu_incoming **session);

/**
 * Makes a session of a descriptor that somebody has sent. The descriptor is the session's if this
 * succeeds, and stays the caller's if not. `name` is checked, unless it is null.
 *
 * -EINVAL: it is no outgoing session, or has another name, or that is empty. -ENAMETOOLONG: `name` has
 * more than 63 bytes, or the session's is longer than it. -EBADF: it is not open. -EMFILE: there is no
 * descriptor for the copy that is looked at. Or what `/proc` says. Kernels before 7.2 cannot say which
 * direction a session has, nor its name if that has more than 38 bytes: there, whoever sends it must be
 * right.
 *
 * Needed:
 *
 * `fd` must be open and nobody else's; `name` must be null or NUL-terminated; `session` valid for a
 * write.
 */
int lu_outgoing_from_fd(int fd,
                        const char *name,
                        struct lu_outgoing **session);

/**
 * Makes a session of a descriptor that somebody has sent. The descriptor is the session's if this
 * succeeds, and stays the caller's if not. `name` is checked, unless it is null.
 *
 * -EINVAL: it is no incoming session, or has another name, or that is empty. -ENAMETOOLONG: `name` has
 * more than 63 bytes, or the session's is longer than it. -EBADF: it is not open. -EMFILE: there is no
 * descriptor for the copy that is looked at. Or what `/proc` says. Kernels before 7.2 cannot say which
 * direction a session has, nor its name if that has more than 38 bytes: there, whoever sends it must be
 * right.
 *
 * Needed:
 *
 * `fd` must be open and nobody else's; `name` must be null or NUL-terminated; `session` valid for a
 * write.
 */
int lu_incoming_from_fd(int fd,
                        const char *name,
                        struct lu_incoming **session);

/**
 * Preserves an open file under a token. It stays open, and the caller's.
 *
 * -EEXIST: the token is taken. -EBUSY: the file is preserved already, or the kernel is being left.
 * -ENOENT: this kernel cannot preserve such files. -EINVAL: the token is one of the 256 highest, which
 * are reserved. Or what the file's handler says.
 *
 * Needed:
 *
 * `fd` must be open.
 */
int lu_outgoing_preserve(const struct lu_outgoing *session,
                         uint64_t token,
                         int fd);

/**
 * Retrieves a file: a new descriptor of it each time.
 *
 * -ENOENT: no file has the token. -ENODATA: the file could not be restored, and never will be; the
 * words say why. -EMFILE: this process has as many descriptors as it may; try again. -EBUSY: the
 * kernel is being left. -EINVAL: the token is reserved, or somebody else has finished the session.
 *
 * From 6.19 to 6.19.8, one more descriptor of the session stays open after -ENODATA until the process
 * ends or calls execve(2), because closing the last one would hurt the kernel. That a file failed is
 * known to this handle only: whoever gets the session next must do no more than keep it open.
 */
int lu_incoming_retrieve(const struct lu_incoming *session,
                         uint64_t token);

/**
 * Says that all that is needed was retrieved. `*session` is gone and null then. Unless `next` is null,
 * `*next` is the same session for the next update, to be given back with `lu_outgoing_close()`. It is
 * idle: it has no name until the first file is preserved in it, which fails with -EEXIST while another
 * outgoing session has that name. It is null on C kernels: `lu_create()` makes a new one. If this fails,
 * `*session` is as it was.
 *
 * -EBUSY: a device waits for more of its files, and there is none of those among memfds; or the kernel
 * is being left. -ENODATA: a file could not be restored, and this kernel would be hurt; keep the
 * session open until the next boot (6.19 to 6.19.8), in a process that does no more with it. -EINVAL:
 * somebody else has finished it. Or what the kernel says.
 */
int lu_incoming_finish(struct lu_incoming **session,
                       struct lu_outgoing **next);

/**
 * The descriptor of a session, which stays the session's.
 */
int lu_outgoing_fd(const struct lu_outgoing *session);

/**
 * The descriptor of a session, which stays the session's.
 */
int lu_incoming_fd(const struct lu_incoming *session);

/**
 * Writes the name of a session, NUL-terminated, and returns its length without. 64 bytes are enough.
 *
 * -ERANGE: `size` is too small. -ENAMETOOLONG: it has more than 38 bytes, and kernels before 7.2 cannot
 * say it.
 *
 * Needed:
 *
 * `name` must have room for `size` bytes.
 */
int lu_outgoing_name(const struct lu_outgoing *session,
                     char *name,
                     size_t size);

/**
 * Writes the name of a session, NUL-terminated, and returns its length without. 64 bytes are enough.
 *
 * -ERANGE: `size` is too small. -ENAMETOOLONG: it has more than 38 bytes, and kernels before 7.2 cannot
 * say it.
 *
 * Needed:
 *
 * `name` must have room for `size` bytes.
 */
int lu_incoming_name(const struct lu_incoming *session,
                     char *name,
                     size_t size);

/**
 * Closes a session for the next kernel. If nobody else holds it, its files are unpreserved.
 */
void lu_outgoing_close(struct lu_outgoing *session);

/**
 * Closes an unfinished session of the last kernel. On C kernels this destroys what was not retrieved
 * if nobody else holds the session, and a line on standard error says so; on Rust kernels it can be
 * retrieved again.
 */
void lu_incoming_close(struct lu_incoming *session);

/**
 * Turns a session of the last kernel into its bare descriptor, for somebody who keeps it.
 */
int lu_incoming_into_custody(struct lu_incoming *session);

/**
 * Writes the name of the session for a label in a namespace, which may be null, NUL-terminated, and
 * returns its length without; 64 bytes are enough. Both are UTF-8, and a namespace has no slash. What
 * is too long for a name is hashed. Without a namespace, the label `a/b` is `b` in the namespace `a`.
 *
 * -ERANGE: `size` is too small. -EINVAL: the label, or the namespace, is empty or not UTF-8, or the
 * namespace has a slash.
 *
 * Needed:
 *
 * `label` and `ns` must be NUL-terminated, `ns` may be null; `name` must have room
 * for `size` bytes.
 */
int lu_name_of_label(const char *ns,
                     const char *label,
                     char *name,
                     size_t size);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LIBLU_H */
