// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A guest that survives an update of the host's kernel, with nothing but the headers of the kernel: for authors of VMMs
 * who do not link liblu. It has one virtual CPU and does what ../src does for Linux guests:
 *
 *  - memory in a memfd, preserved while the guest runs;
 *  - state in a second memfd, preserved before it is written, so that nothing is preserved while the guest stands still;
 *  - SIGTERM stops the guest and writes the state; SIGUSR1 lets it go on, if the update is off, and is sent once the
 *    program has said that the guest stands still, for pending signals have no order;
 *  - in the next kernel: retrieve, restore, run, and only then FINISH. A guest that is lost is finished too, and started
 *    anew.
 *
 * The session ends with the last descriptor of it, so the process stays until the kernel is left. With an agent, both
 * can be had better: see docs/clients.md.
 *
 * The guest counts, and writes the number to a port each 65,536 steps.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/liveupdate.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"

#define MEMORY_TOKEN 1
#define STATE_TOKEN 2

#define OTHER_VERSION "the guest that came has a state of another version: it is not given up"

/* Of the session. */
static const char *name = "vmm-c";

/* The session of the previous kernel, or -1 if none came; created anew, if asked. */
static int session_of(bool is_new)
{
	int device, result;

	/* One process at a time has the device. */
	for (;;) {
		device = open("/dev/liveupdate", O_RDWR | O_CLOEXEC);
		if (device != -1 || errno != EBUSY)
			break;
		usleep(1000);
	}
	try("open /dev/liveupdate", device);
	if (is_new) {
		struct liveupdate_ioctl_create_session create = { .size = sizeof(create) };

		strncpy((char *)create.name, name, sizeof(create.name) - 1);
		try("CREATE_SESSION", ioctl(device, LIVEUPDATE_IOCTL_CREATE_SESSION, &create));
		result = create.fd;
	} else {
		struct liveupdate_ioctl_retrieve_session retrieve = { .size = sizeof(retrieve) };

		strncpy((char *)retrieve.name, name, sizeof(retrieve.name) - 1);
		result = ioctl(device, LIVEUPDATE_IOCTL_RETRIEVE_SESSION, &retrieve);
		/* Any other error does not say that none came: never start a guest after it. */
		if (result == -1 && errno != ENOENT)
			try("RETRIEVE_SESSION", -1);
		result = result == -1 ? -1 : retrieve.fd;
	}
	close(device);
	return result;
}

static void preserve(int session, int file, uint64_t token)
{
	struct liveupdate_session_preserve_fd preserve = {
		.size = sizeof(preserve), .fd = file, .token = token
	};

	/* Memory in use may not be movable at once. */
	for (int tries = 0; ioctl(session, LIVEUPDATE_SESSION_PRESERVE_FD, &preserve); tries++) {
		if (errno != ENOMEM || tries == 100)
			try("PRESERVE_FD", -1);
		usleep(20000);
	}
}

/* The file, or -1 if it was never preserved. */
static int retrieve(int session, uint64_t token)
{
	struct liveupdate_session_retrieve_fd retrieve = { .size = sizeof(retrieve), .token = token };

	if (ioctl(session, LIVEUPDATE_SESSION_RETRIEVE_FD, &retrieve)) {
		if (errno == ENOENT)
			return -1;
		try("RETRIEVE_FD", -1);
	}
	return retrieve.fd;
}

static void finish(int session)
{
	struct liveupdate_session_finish finish = { .size = sizeof(finish) };

	try("FINISH", ioctl(session, LIVEUPDATE_SESSION_FINISH, &finish));
	close(session);
}

/* SIGTERM and SIGUSR1: pending until next_signal() takes them, but they end KVM_RUN, so none is lost in between. */
static sigset_t told;

static void block_signals(void)
{
	sigemptyset(&told);
	sigaddset(&told, SIGTERM);
	sigaddset(&told, SIGUSR1);
	try("sigprocmask", sigprocmask(SIG_BLOCK, &told, NULL));
}

/* The signal that is pending, which is waited for if wanted; 0 for none: a debugger or a freezer ends KVM_RUN too. */
static int next_signal(bool waits)
{
	static const struct timespec no_time;
	int number;

	do {
		number = sigtimedwait(&told, NULL, waits ? NULL : &no_time);
	} while (number == -1 && errno == EINTR);
	if (number == -1 && errno == EAGAIN)
		return 0;
	return try("sigtimedwait", number);
}

static int make_file(const char *what, off_t size)
{
	int file = try("memfd_create", memfd_create(what, MFD_CLOEXEC));

	try("ftruncate", ftruncate(file, size));
	return file;
}

/* What came from the previous kernel. */
struct came {
	int session, memory, state_file;
	struct state *state;
};

/* Whether a guest came that can go on. */
static bool find(struct came *came)
{
	struct stat stat;

	came->session = session_of(false);
	if (came->session == -1)
		return false;
	came->state_file = retrieve(came->session, STATE_TOKEN);
	came->memory = retrieve(came->session, MEMORY_TOKEN);
	if (came->state_file != -1 && came->memory != -1) {
		try("fstat", fstat(came->state_file, &stat));
		if (stat.st_size != sizeof(*came->state))
			fail(OTHER_VERSION);
		came->state = map(came->state_file, sizeof(*came->state));
		if (came->state->magic == MAGIC)
			return true;
		if (came->state->magic)
			fail(OTHER_VERSION);
		munmap(came->state, sizeof(*came->state));
	}
	close(came->state_file);
	close(came->memory);
	fprintf(stderr, "vmm-c: the guest is lost: it was not stopped, or it has run since; it is started anew\n");
	finish(came->session);
	return false;
}

/* Until the guest runs, nothing is final: after a failure the next process begins with the same. */
static void come_back(struct came *came, char *ram, uint32_t *last)
{
	/* The state is restored from a copy, for this changes the clocks in it. */
	static struct state copy;

	for (uint64_t at = PATTERN; at < MEMORY; at += sizeof(at))
		if (*(uint64_t *)(ram + at) != pattern(at))
			fail("the memory is not what it was");
	memcpy(&copy, came->state, sizeof(copy));
	restore(&copy);
	*last = copy.last;
	/* From here on its memory is newer than this state: never start from it again. */
	came->state->magic = 0;
	go(last, 1);
	printf("goes on at %#x\n", *last);
	finish(came->session);
	munmap(came->state, sizeof(*came->state));
	close(came->state_file);
}

int main(int argc, char **argv)
{
	int session, memory, state_file;
	struct came came = { .session = -1 };
	struct state *state;
	uint32_t last = 0;
	bool has_come;
	char *ram;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc > 1)
		name = argv[1];
	block_signals();
	has_come = find(&came);
	memory = has_come ? came.memory : make_file("memory", MEMORY);
	ram = map(memory, MEMORY);
	make_machine(ram);
	if (has_come)
		come_back(&came, ram, &last);
	else
		boot(ram);
	state_file = make_file("state", sizeof(*state));
	state = map(state_file, sizeof(*state));
	session = session_of(true);
	preserve(session, memory, MEMORY_TOKEN);
	preserve(session, state_file, STATE_TOKEN);
	printf("runs\n");
	for (;;) {
		unsigned int written = go(&last, ~0u);

		if (next_signal(false) != SIGTERM)
			continue;
		state->last = last;
		save(state);
		printf("stands still at %#x after %u\n", last, written);
		/* The session lives as long as this process. */
		while (next_signal(true) != SIGUSR1)
			;
		/* There is no update: nothing may start from this state. */
		state->magic = 0;
		printf("runs again\n");
	}
}
