/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* Made by cbindgen from liblu/capi; do not edit. */

/**
 * The C interface of liblu: what the Rust crate does, with opaque handles and negative error
 * numbers.
 *
 * Rules that hold for all functions:
 *
 * - Functions that return `int` return 0 or more, or a negative error number; `liblu_error()` has the
 *   reason in words. The numbers are chosen so that different kinds of errors, after which a program does
 *   different things, have different numbers; the words have the kernel's own number.
 * - Handles are given back by the function that their description names, and only once. A null
 *   handle is `-EINVAL`, or nothing at all where it is given back.
 * - A place for a handle is null after a call that failed.
 * - Text is NUL-terminated UTF-8, but for names of sessions, which are any bytes.
 * - Descriptors that come back are close-on-exec and the caller's; those that are passed in stay the
 *   caller's, unless the description says otherwise.
 * - Handles may be used by several threads at once, but while one thread gives back a handle, or asks a
 *   participant for its next event, no other may use it.
 * - A forked child has the descriptors too: the last descriptor of a session may be the child's.
 * - Times are milliseconds; as a timeout, a negative one is none.
 * - Calls that open the device wait for it if another process has it open: ten seconds, unless
 *   `liblu_set_wait()` says otherwise.
 * - No function unwinds into C.
 *
 * Linux has two implementations of live updates, one in C and one in Rust. Where they differ, this
 * says "C kernels" and "Rust kernels"; `liblu_probe()` tells what the running one can do.
 */

#ifndef LIBLU_H
#define LIBLU_H

#include <stddef.h>
#include <stdint.h>

/** The version of this header. */
#define LIBLU_VERSION_MAJOR 0
#define LIBLU_VERSION_MINOR 2
#define LIBLU_VERSION_PATCH 0

/** Functions whose result must not be ignored. */
#ifdef __GNUC__
#define LIBLU_MUST_USE __attribute__((warn_unused_result))
#else
#define LIBLU_MUST_USE
#endif

/**
 * The kind of an event. Later versions may have more.
 */
enum liblu_event_kind {
  /**
   * An update begins: preserve, pause, and answer before the deadline.
   */
  LIBLU_EVENT_KIND_PREPARE = 1,
  /**
   * The update is off: go on.
   */
  LIBLU_EVENT_KIND_ABORT = 2,
  /**
   * All are ready, and the kernel is left now. The process may be ended at any time.
   */
  LIBLU_EVENT_KIND_COMMIT = 3,
};

/**
 * Something that not all kernels can do. Later versions may know more.
 */
enum liblu_feature {
  /**
   * The kernel says the name of a session.
   */
  LIBLU_FEATURE_GET_NAME = 0,
  /**
   * A finished session can be used for the next update.
   */
  LIBLU_FEATURE_REUSE_AFTER_FINISH = 1,
  /**
   * A session that was closed unfinished can be retrieved again.
   */
  LIBLU_FEATURE_RETRIEVE_AFTER_CLOSE = 2,
};

/**
 * Whether a kernel can do something.
 */
enum liblu_support {
  /**
   * It cannot.
   */
  LIBLU_SUPPORT_NO = 0,
  /**
   * It can.
   */
  LIBLU_SUPPORT_YES = 1,
  /**
   * It is not known.
   */
  LIBLU_SUPPORT_UNKNOWN = 2,
};

/**
 * A session of the previous kernel that was claimed by its label.
 */
struct liblu_claimed;

/**
 * A session for the next kernel, whose files have labels and states.
 */
struct liblu_handover;

/**
 * A session of the previous kernel.
 */
struct liblu_incoming;

/**
 * The list of the files of a session, which is kept in the session itself.
 */
struct liblu_manifest;

/**
 * A session for the next kernel. Its files are unpreserved when the last descriptor of it is closed.
 */
struct liblu_outgoing;

/**
 * A client that takes part in updates.
 */
struct liblu_participant;

/**
 * A source of sessions: an agent, the service manager, or the device.
 */
struct liblu_provider;

/**
 * An event of an update.
 */
struct liblu_event {
  /**
   * An `enum liblu_event_kind`.
   */
  uint32_t kind;
  /**
   * Milliseconds up to the deadline, of PREPARE.
   */
  uint32_t deadline;
  /**
   * The number of the update.
   */
  uint64_t generation;
  /**
   * The reason for people, of ABORT, NUL-terminated; what is too long is cut.
   */
  char reason[256];
};

/**
 * A function that is called with the name of a session, or null if that cannot be read.
 */
typedef void (*liblu_loss_hook)(const char *name);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The reason why the last call of this thread failed, in words without a full stop; empty if none has
 * failed. It is valid until the next call of this thread that fails: calls that succeed, and those
 * that give something back, leave it alone.
 */
const char *liblu_error(void);

/**
 * Finds the source of sessions: the agent if there is one, the sessions that the service manager has
 * passed to this process, and the device if there is no agent. Give it back with
 * `liblu_provider_free()`.
 *
 * -EPROTO: the service manager has passed its descriptors wrongly.
 */
LIBLU_MUST_USE
int liblu_provider_find(struct liblu_provider **provider);

/**
 * The agent alone, with the socket at `path`, or where it is on every system if that is null.
 *
 * Needed:
 *
 * `path` must be null or NUL-terminated.
 */
LIBLU_MUST_USE int liblu_provider_agent(const char *path, struct liblu_provider **provider);

/**
 * The sessions that the service manager has passed to this process, alone.
 *
 * -EOPNOTSUPP: it has passed none.
 */
LIBLU_MUST_USE int liblu_provider_fd_store(struct liblu_provider **provider);

/**
 * The device alone, which takes root.
 */
LIBLU_MUST_USE int liblu_provider_device(struct liblu_provider **provider);

/**
 * Gives a source back.
 */
void liblu_provider_free(struct liblu_provider *provider);

/**
 * Claims the session of this label from the previous kernel: 1 if it came, and `*session` is it; 0 for a
 * cold start. A negative number is never a cold start: it is not known whether the session came. It waits
 * for `timeout` milliseconds at most, or for ever if that is negative.
 *
 * Give the session back with `liblu_claimed_finish()`, or with `liblu_claimed_close()`, which destroys
 * nothing.
 *
 * -ENODEV: there may be live updates here, but it cannot be said. -EHOSTDOWN: the agent cannot be reached. -EPERM: its policy says no. -EACCES: the device is for others.
 * -EALREADY: another process holds the session. -EBUSY: another process has the device. -EIO: the kernel
 * could not read the handover. -ESHUTDOWN: reboot(2) has begun. -ETIMEDOUT, -ECONNRESET, -EPROTO.
 *
 * Needed:
 *
 * `label` must be NUL-terminated.
 */
LIBLU_MUST_USE
int liblu_claim(const struct liblu_provider *provider,
                const char *label,
                int timeout,
                struct liblu_claimed **session);

/**
 * Opens the session of this label for the next kernel. Give it back with `liblu_handover_close()`. A session
 * that an earlier run of the program has left to an agent is given up for it.
 *
 * -EEXIST: another process has it open, or an earlier run has left files in it and the service must be
 * started again; the words say which. The rest as `liblu_claim()`.
 *
 * Needed:
 *
 * `label` must be NUL-terminated.
 */
LIBLU_MUST_USE
int liblu_open(const struct liblu_provider *provider,
               const char *label,
               int timeout,
               struct liblu_handover **handover);

/**
 * Retrieves the file with this label: a new descriptor each time.
 *
 * -ENOENT: there is no such file. -ENODATA: the file could not be restored, and never will be; the words
 * say why. -EMFILE, -ENOMEM: no descriptor or memory; ask again. -ENOMSG: the session has no manifest.
 * -ESTALE: its owner never said that it was ready. -EBADMSG: its manifest is damaged. -EPROTONOSUPPORT: a
 * later version wrote the manifest. -ESHUTDOWN: reboot(2) has begun.
 *
 * Needed:
 *
 * `label` must be NUL-terminated.
 */
LIBLU_MUST_USE
int liblu_claimed_retrieve(const struct liblu_claimed *session,
                           const char *label);

/**
 * Retrieves the file with this token, for files without a label. The rest as
 * `liblu_claimed_retrieve()`.
 */
LIBLU_MUST_USE
int liblu_claimed_retrieve_token(const struct liblu_claimed *session,
                                 uint64_t token);

/**
 * The manifest of a session. Give it back with `liblu_manifest_free()`.
 *
 * As `liblu_claimed_retrieve()`, but for -ENOENT.
 */
LIBLU_MUST_USE
int liblu_claimed_manifest(const struct liblu_claimed *session,
                           struct liblu_manifest **manifest);

/**
 * Says that all that is needed was retrieved: the kernel gives up the rest, and custody ends. Returns 0, or
 * 1 if the custodian could not be told: `liblu_error()` says why, and `liblu_restored()` tells it once more.
 * `*session` is gone and null in both cases. Unless `next` is null, `*next` is the same session for the next update, or null
 * where a finished session is of no use: see `liblu_incoming_finish()`. If this fails, `*session` is as
 * it was.
 *
 * -EBUSY: a file cannot be finished yet. -EINVAL: another process has finished it. -ENODATA: a file could
 * not be restored, and this kernel would be hurt: keep the session open until the next boot (6.19 to
 * 6.19.8). -ESHUTDOWN: reboot(2) has begun.
 */
LIBLU_MUST_USE
int liblu_claimed_finish(struct liblu_claimed **session,
                         int timeout,
                         struct liblu_outgoing **next);

/**
 * Tells the custodian once more that the session of this label from the previous kernel is finished. That
 * there is no such session is no error.
 *
 * -EHOSTDOWN, -ETIMEDOUT, -ECONNRESET: the agent cannot be told. -EOPNOTSUPP: there is no service manager
 * to be told.
 *
 * Needed:
 *
 * `label` must be NUL-terminated.
 */
LIBLU_MUST_USE
int liblu_restored(const struct liblu_provider *provider,
                   const char *label,
                   int timeout);

/**
 * Gives up the session of this label for the next kernel: custodians close theirs. The kernel undoes
 * everything when the program has closed its own, too. That there is no such session is no error.
 *
 * As `liblu_restored()`.
 *
 * Needed:
 *
 * `label` must be NUL-terminated.
 */
LIBLU_MUST_USE
int liblu_discard(const struct liblu_provider *provider,
                  const char *label,
                  int timeout);

/**
 * Turns a session into its bare descriptor, for another custodian. On C kernels, closing the last one
 * destroys the files that were not retrieved.
 */
LIBLU_MUST_USE
int liblu_claimed_into_fd(struct liblu_claimed *session);

/**
 * The descriptor of a session, which stays the session's.
 */
LIBLU_MUST_USE int liblu_claimed_fd(const struct liblu_claimed *session);

/**
 * Closes an unfinished session. Nothing is destroyed: the custodian holds it, or, where closing would
 * destroy files, the descriptor stays open until the process ends (see `liblu_set_loss_hook()`).
 */
void liblu_claimed_close(struct liblu_claimed *session);

/**
 * Makes a handover of a session for the next kernel. `*session` is gone and null then, also if this
 * fails.
 *
 * As `liblu_outgoing_preserve()`.
 */
LIBLU_MUST_USE
int liblu_handover_new(struct liblu_outgoing **session,
                       struct liblu_handover **handover);

/**
 * Preserves an open file under a label. It stays open, and the caller's. `*token`, unless `token` is
 * null, is its token: one more than the highest so far, from 1. Several threads may call this at once.
 *
 * -EEXIST: the label or the token is taken. -EBUSY: the file is preserved already. -EOPNOTSUPP: this
 * kernel cannot preserve such files. -EINVAL: the label is empty, has more than 255 bytes or is not
 * UTF-8; or the handover is ready. -E2BIG: the manifest would have more than 1 MiB. -ESHUTDOWN: reboot(2)
 * has begun. Or the error of the file's handler. Nothing has changed then.
 *
 * Needed:
 *
 * `label` must be NUL-terminated; `fd` open.
 */
LIBLU_MUST_USE
int liblu_preserve(const struct liblu_handover *handover,
                   const char *label,
                   int fd,
                   uint64_t *token);

/**
 * As `liblu_preserve()`, under a token of the caller's choice.
 *
 * -EEXIST: the token is taken, or one of the 256 highest, which are reserved.
 *
 * Needed:
 *
 * `label` must be NUL-terminated; `fd` open.
 */
LIBLU_MUST_USE
int liblu_preserve_as(const struct liblu_handover *handover,
                      uint64_t token,
                      const char *label,
                      int fd);

/**
 * Sets the caller's own bytes about a file, in place of those before.
 *
 * -ENOENT: there is no such file. -E2BIG: more than 16 KiB, or too many in all: keep bulk state in a
 * memfd. -EINVAL: the handover is ready.
 *
 * Needed:
 *
 * `label` must be NUL-terminated; `state` valid for `size` bytes, or null.
 */
LIBLU_MUST_USE
int liblu_set_state(const struct liblu_handover *handover,
                    const char *label,
                    const void *state,
                    size_t size);

/**
 * Completes the manifest: the last step before the update. The session must stay open until the kernel is
 * left, by this process or by a custodian.
 *
 * -EINVAL: it is ready already. Or the error of the system; nothing has changed then.
 */
LIBLU_MUST_USE
int liblu_ready(const struct liblu_handover *handover);

/**
 * The update is off: the files stay preserved for the next one, and the manifest is open again.
 *
 * -EINVAL: it is not ready. Or the error of the system; nothing has changed then.
 */
LIBLU_MUST_USE int liblu_abort(const struct liblu_handover *handover);

/**
 * The descriptor of the session, which stays the handover's.
 *
 * -EINVAL: the session is closed.
 */
LIBLU_MUST_USE int liblu_handover_fd(const struct liblu_handover *handover);

/**
 * Turns a handover that is ready into the bare descriptor of its session, for a custodian. Closing the
 * last one undoes everything.
 *
 * -EINVAL: it is not ready; the session is closed then.
 */
LIBLU_MUST_USE
int liblu_handover_into_fd(struct liblu_handover *handover);

/**
 * Closes the session. If no custodian holds it, its files are unpreserved; `liblu_discard()` tells
 * custodians.
 */
void liblu_handover_close(struct liblu_handover *handover);

/**
 * Takes part in updates, for the sessions with these labels. Give it back with
 * `liblu_participant_free()`.
 *
 * -EOPNOTSUPP: there is no agent, and only an agent announces updates: under systemd, a service gets
 * SIGTERM. The rest as `liblu_open()`.
 *
 * Needed:
 *
 * `labels` must be `count` pointers to NUL-terminated text.
 */
LIBLU_MUST_USE
int liblu_participate(const struct liblu_provider *provider,
                      const char *const *labels,
                      size_t count,
                      int timeout,
                      struct liblu_participant **participant);

/**
 * The descriptor of a participant, for poll(2): it can be read from when there is an event. Do not read
 * from it, and do not close it.
 */
LIBLU_MUST_USE
int liblu_participant_fd(const struct liblu_participant *participant);

/**
 * The next event: 1, and `*event` is it; or 0, if there is none now. It does not wait.
 *
 * -ECONNRESET: the agent has hung up, as when it is restarted: take part again. A client that was ready stands still
 * until that has succeeded, or has failed with another error than -ESHUTDOWN, such as -EHOSTDOWN, for half a minute.
 * After COMMIT it stands still until it has succeeded, however long. -EPROTO: it breaks the protocol.
 */
LIBLU_MUST_USE
int liblu_participant_next(struct liblu_participant *participant,
                           struct liblu_event *event);

/**
 * The client is ready for the update. If the update is off meanwhile, this has no effect, and the event comes
 * or has come.
 *
 * -ECONNRESET: the agent does not know the participant, as after a restart: take part again. -ENOENT: it does not have
 * the session; refuse, go on, and open it again. -ETIMEDOUT, -EHOSTDOWN: the agent may count on the client, which
 * stands still until it hears more.
 */
LIBLU_MUST_USE
int liblu_participant_ready(const struct liblu_participant *participant,
                            uint64_t generation,
                            int timeout);

/**
 * The client cannot take part in the update, for this reason. As `liblu_participant_ready()`.
 *
 * Needed:
 *
 * `reason` must be NUL-terminated.
 */
LIBLU_MUST_USE
int liblu_participant_refuse(const struct liblu_participant *participant,
                             uint64_t generation,
                             const char *reason,
                             int timeout);

/**
 * The client needs so many milliseconds from now on. Unless it is null, `*granted` is how many it gets.
 *
 * -ECANCELED: that update is not being prepared any more. The rest as `liblu_participant_ready()`.
 */
LIBLU_MUST_USE
int liblu_participant_extend(const struct liblu_participant *participant,
                             uint64_t generation,
                             uint32_t milliseconds,
                             uint32_t *granted,
                             int timeout);

/**
 * Takes part no longer.
 */
void liblu_participant_free(struct liblu_participant *participant);

/**
 * Reads the manifest of a session. Give it back with `liblu_manifest_free()`.
 *
 * -ENOMSG: the session has none. -ESTALE: its owner never said that it was ready. -EBADMSG: it is damaged.
 * -EPROTONOSUPPORT: a later version wrote it. -ENOMEM: there is no memory for it. The rest as
 * `liblu_incoming_retrieve()`.
 */
LIBLU_MUST_USE
int liblu_manifest_read(const struct liblu_incoming *session,
                        struct liblu_manifest **manifest);

/**
 * The number of files.
 */
LIBLU_MUST_USE int liblu_manifest_count(const struct liblu_manifest *manifest);

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
LIBLU_MUST_USE
int liblu_manifest_label(const struct liblu_manifest *manifest,
                         size_t at,
                         char *label,
                         size_t size);

/**
 * What the manifest says about a file: unless they are null, `*token` is its token and `*size` its size in
 * bytes when it was preserved.
 *
 * -ENOENT: there is no such file.
 *
 * Needed:
 *
 * `label` must be NUL-terminated.
 */
LIBLU_MUST_USE
int liblu_manifest_entry(const struct liblu_manifest *manifest,
                         const char *label,
                         uint64_t *token,
                         uint64_t *size);

/**
 * Writes the kind of a file, NUL-terminated, and returns its length without: `memfd`, `file`, or the
 * beginning of the text of its link, such as `anon_inode:kvm-vm`. 256 bytes are enough.
 *
 * -ENOENT: there is no such file. -ERANGE: `size` is too small.
 *
 * Needed:
 *
 * `label` must be NUL-terminated; `kind` must have room for `size` bytes.
 */
LIBLU_MUST_USE
int liblu_manifest_kind(const struct liblu_manifest *manifest,
                        const char *label,
                        char *kind,
                        size_t size);

/**
 * Writes the state of a file, the client's own bytes, and returns their number. With `room` 0 it only
 * returns the number.
 *
 * -ENOENT: there is no such file. -ERANGE: `room` is too small.
 *
 * Needed:
 *
 * `label` must be NUL-terminated; `state` must have room for `room` bytes.
 */
LIBLU_MUST_USE
int liblu_manifest_state(const struct liblu_manifest *manifest,
                         const char *label,
                         void *state,
                         size_t room);

/**
 * Gives a manifest back. Nothing happens to the files.
 */
void liblu_manifest_free(struct liblu_manifest *manifest);

/**
 * Whether there are live updates here, and this process may open the device: 0, or why not. A program
 * that gets sessions from an agent may have -EACCES here and take part all the same.
 *
 * -ENODEV: there are no live updates; the words say what is missing. -EACCES: the device is for
 * others. -EBUSY: another process has had the device for as long as `liblu_set_wait()` says. -EIO: the
 * kernel could not read the handover of the previous kernel.
 */
LIBLU_MUST_USE
int liblu_check(void);

/**
 * Says how long calls of this process wait for the device while another process has it: so many
 * milliseconds at most, 0 not at all. Without this, it is ten seconds.
 */
void liblu_set_wait(uint32_t milliseconds);

/**
 * Creates a session for the next kernel. Give it back with `liblu_outgoing_close()`.
 *
 * -EEXIST: there is one of this name. -EBUSY, -ENODEV, -EACCES, -EIO: as `liblu_check()`. -EINVAL,
 * -ENAMETOOLONG: the name is empty or has more than 63 bytes. -ESHUTDOWN: reboot(2) has begun. Or the
 * error of the kernel, -EMFILE, -ENFILE, -ENOMEM and -ENOSPC among them.
 *
 * Needed:
 *
 * `name` must be NUL-terminated, and `session` valid for a write.
 */
LIBLU_MUST_USE
int liblu_create(const char *name,
                 struct liblu_outgoing **session);

/**
 * Takes over a session of the previous kernel. Give it back with `liblu_incoming_finish()`,
 * `liblu_incoming_into_fd()` or `liblu_incoming_close()`.
 *
 * -ENOENT: none of this name came, or it is finished: a cold start. -EALREADY: another descriptor of it is
 * open. The rest as `liblu_create()`, but for -EEXIST.
 *
 * Needed:
 *
 * `name` must be NUL-terminated, and `session` valid for a write.
 */
LIBLU_MUST_USE
int liblu_retrieve(const char *name,
                   struct liblu_incoming **session);

/**
 * Makes a session of a descriptor that another process has sent. The descriptor is the session's if this
 * succeeds, and stays the caller's if not. `name` is checked, unless it is null.
 *
 * -EINVAL: it is no outgoing session, or has another name, or that is empty. -ENAMETOOLONG: `name` has
 * more than 63 bytes. -EBADF: it is not open. -EMFILE: there is no descriptor for a copy. Kernels before
 * 7.2 cannot say which direction a session has, and need `/proc` to say its name, which they cannot if it
 * has more than 38 bytes: there, the sender must be right.
 *
 * Needed:
 *
 * `fd` must be open and nobody else's; `name` must be null or NUL-terminated; `session` valid for a
 * write.
 */
LIBLU_MUST_USE
int liblu_outgoing_from_fd(int fd,
                           const char *name,
                           struct liblu_outgoing **session);

/**
 * Makes a session of a descriptor that another process has sent. The descriptor is the session's if this
 * succeeds, and stays the caller's if not. `name` is checked, unless it is null.
 *
 * As `liblu_outgoing_from_fd()`.
 *
 * Needed:
 *
 * `fd` must be open and nobody else's; `name` must be null or NUL-terminated; `session` valid for a
 * write.
 */
LIBLU_MUST_USE
int liblu_incoming_from_fd(int fd,
                           const char *name,
                           struct liblu_incoming **session);

/**
 * Preserves an open file under a token. It stays open, and the caller's.
 *
 * -EEXIST: the token is taken. -EBUSY: the file is preserved already. -EOPNOTSUPP: this kernel cannot
 * preserve such files. -EINVAL: the token is one of the 256 highest, which are reserved. -ESHUTDOWN:
 * reboot(2) has begun. Or the error of the file's handler.
 *
 * Needed:
 *
 * `fd` must be open.
 */
LIBLU_MUST_USE
int liblu_outgoing_preserve(const struct liblu_outgoing *session,
                            uint64_t token,
                            int fd);

/**
 * Retrieves a file: a new descriptor of it each time.
 *
 * -ENOENT: no file has the token. -ENODATA: the file could not be restored, and never will be; the
 * words say why. -EMFILE, -ENOMEM: there is no descriptor or no memory; ask again. -ESHUTDOWN: reboot(2)
 * has begun. -EINVAL: the token is reserved, or another process has finished the session.
 *
 * From 6.19 to 6.19.8, one more descriptor of the session stays open after -ENODATA until the process
 * ends or calls execve(2), because closing the last one would hurt the kernel. Only this handle knows that
 * a file failed: the next process that gets the session must do no more than keep it open.
 */
LIBLU_MUST_USE
int liblu_incoming_retrieve(const struct liblu_incoming *session,
                            uint64_t token);

/**
 * Says that all that is needed was retrieved. `*session` is gone and null then. Unless `next` is null,
 * `*next` is the same session for the next update, to be given back with `liblu_outgoing_close()`. It is
 * idle: it has no name until the first file is preserved in it, which fails with -EEXIST while another
 * outgoing session has that name. It is null on C kernels: `liblu_create()` makes a new one. If this fails,
 * `*session` is as it was.
 *
 * -EBUSY: a device waits for more of its files, and there is none of those among memfds. -ENODATA: a file
 * could not be restored, and this kernel would be hurt; keep the session open until the next boot (6.19 to
 * 6.19.8), in a process that does no more with it. -EINVAL: another process has finished it. -ESHUTDOWN:
 * reboot(2) has begun. Or the error of the kernel.
 */
LIBLU_MUST_USE
int liblu_incoming_finish(struct liblu_incoming **session,
                          struct liblu_outgoing **next);

/**
 * The descriptor of a session, which stays the session's.
 */
LIBLU_MUST_USE int liblu_outgoing_fd(const struct liblu_outgoing *session);

/**
 * The descriptor of a session, which stays the session's.
 */
LIBLU_MUST_USE int liblu_incoming_fd(const struct liblu_incoming *session);

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
LIBLU_MUST_USE
int liblu_outgoing_name(const struct liblu_outgoing *session,
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
LIBLU_MUST_USE
int liblu_incoming_name(const struct liblu_incoming *session,
                        char *name,
                        size_t size);

/**
 * Closes a session for the next kernel. If nobody else holds it, its files are unpreserved.
 */
void liblu_outgoing_close(struct liblu_outgoing *session);

/**
 * Closes an unfinished session of the previous kernel. Nothing is destroyed: on Rust kernels it can be
 * retrieved again; on C kernels, where closing the last descriptor destroys the files that were not
 * retrieved, it stays open until the process ends (see `liblu_set_loss_hook()`).
 */
void liblu_incoming_close(struct liblu_incoming *session);

/**
 * Turns a session of the previous kernel into its bare descriptor, for a custodian. On C kernels, closing
 * the last one destroys the files that were not retrieved.
 */
LIBLU_MUST_USE
int liblu_incoming_into_fd(struct liblu_incoming *session);

/**
 * Turns a session for the next kernel into its bare descriptor, for a custodian. Closing the last one
 * undoes everything.
 */
LIBLU_MUST_USE
int liblu_outgoing_into_fd(struct liblu_outgoing *session);

/**
 * Sets the function that is called when an unfinished session is closed where that would destroy its
 * files, so that it stays open until the process ends. Without one, or with null, a line is written to
 * standard error.
 */
void liblu_set_loss_hook(liblu_loss_hook hook);

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
LIBLU_MUST_USE
int liblu_name_of_label(const char *ns,
                        const char *label,
                        char *name,
                        size_t size);

/**
 * Sends bytes, one at least, and up to 253 descriptors over a connected Unix socket. The descriptors
 * stay the caller's. It raises no SIGPIPE.
 *
 * SOCK_SEQPACKET is best: a message arrives whole, or not at all. A stream has no borders between
 * messages: the receiver must know where one ends, and descriptors arrive with the read that reaches the
 * bytes with which they were sent, which may begin with bytes that were sent before. It waits for
 * `timeout` milliseconds at most, or for ever if that is negative.
 *
 * -EINVAL: there is no byte, or an array is null and has elements. -E2BIG: more than 253 descriptors. -EBADF: one is negative. -ETIMEDOUT,
 * -ECONNRESET, or the error of the socket; over a stream, a part may have gone then, with all descriptors:
 * do not send it again, close the socket.
 *
 * Needed:
 *
 * `socket` and the `count` descriptors at `fds` must be open; `bytes` valid for `size` bytes.
 */
LIBLU_MUST_USE
int liblu_send(int socket,
               const void *bytes,
               size_t size,
               const int *fds,
               size_t count,
               int timeout);

/**
 * Receives bytes and descriptors over a connected Unix socket. Returns the number of bytes, 0 if the other
 * side has hung up; `*count` is the number of descriptors, which are close-on-exec and the caller's. It
 * waits for `timeout` milliseconds at most, not at all if that is 0, or for ever if it is negative.
 *
 * A packet is received whole. From a stream comes what is there, which may be less than a message.
 *
 * -E2BIG: the packet was longer than `room`, or more descriptors came than `fds` has room for. -EMFILE:
 * descriptors were lost: this process has as many as it may, or there was no room for what SO_PASSSEC
 * adds. -EPROTO: descriptors came without a byte. None is left open in any of these cases. -ETIMEDOUT.
 * -EINVAL: the socket has SO_PASSPIDFD. Or the error of the socket.
 *
 * Needed:
 *
 * `socket` must be open; `bytes` must have room for `room` bytes, `fds` for `*count` numbers.
 */
LIBLU_MUST_USE
int liblu_receive(int socket,
                  void *bytes,
                  size_t room,
                  int *fds,
                  size_t *count,
                  int timeout);

/**
 * Whether this kernel can do something, an `enum liblu_feature`; returns an `enum liblu_support`. If there
 * are no live updates, or none for this process, that is unknown, and no error: `liblu_check()` tells, and
 * with a session that another process has sent, `liblu_probe_session()`.
 *
 * -EINVAL: this version does not know the feature.
 */
LIBLU_MUST_USE
int liblu_probe(uint32_t feature);

/**
 * As `liblu_probe()`, by the descriptor of a session (`liblu_outgoing_fd()`, `liblu_incoming_fd()`), which stays
 * the caller's: without rights, and without a look at the device. Of another file, all is
 * unknown.
 *
 * -EINVAL: this version does not know the feature. -EBADF: the descriptor is negative.
 *
 * Needed:
 *
 * `session` must be open.
 */
LIBLU_MUST_USE
int liblu_probe_session(int session,
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
LIBLU_MUST_USE int liblu_probe_text(char *text, size_t size);

/**
 * Loads the kernel in an image, with an initrd unless that is negative, and a command line, or that
 * of the running kernel if it is null. The descriptors stay the caller's.
 *
 * -EACCES: not root, or lockdown. -ENOEXEC: this is no kernel. -EBUSY: a file is open for writing, or
 * another process is loading a kernel. -ENOSYS: this kernel cannot do kexec. -EKEYREJECTED: the kernel
 * takes signed images only. -EINVAL: the command line is not UTF-8.
 *
 * Needed:
 *
 * `image` and `initrd` must be open, `cmdline` NUL-terminated.
 */
LIBLU_MUST_USE
int liblu_kexec_load(int image,
                     int initrd,
                     const char *cmdline);

/**
 * Whether a kernel is loaded: 1 or 0.
 *
 * -ENOENT: this kernel cannot do kexec.
 */
LIBLU_MUST_USE int liblu_kexec_is_loaded(void);

/**
 * Forgets the kernel that is loaded, if one is.
 *
 * -EACCES: not root. -EBUSY: another process is loading a kernel. -ENOSYS: this kernel cannot do kexec.
 */
LIBLU_MUST_USE
int liblu_kexec_unload(void);

/**
 * Goes to the kernel that is loaded, at once: nothing is stopped, nothing is synced. It only returns
 * if that failed, and everything is as it was.
 *
 * -EINVAL: no kernel is loaded. -EACCES: not root. Or the error of the handler of a file that could not be
 * frozen; -EBUSY may also mean that another process is loading a kernel.
 */
LIBLU_MUST_USE
int liblu_kexec_reboot(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LIBLU_H */
