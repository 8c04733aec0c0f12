// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A small VMM whose guest survives an update of the kernel.
 *
 * vmm before: preserve the guest and stay until the kernel is left.
 * vmm after:  bring the guest back; exits with 3 if there is none.
 * vmm probe:  say what this kernel offers.
 *
 * All failures exit with 1. The descriptors of the files stay open until the program ends.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <liblu.h>

enum { EXIT_FAILED = 1, EXIT_COLD = 3 };

static const uint64_t program_counter = 0xffffffff81000000;

/* The files of the guest, in the order in which they are preserved. */
enum { MEMORY, DEVICES, NR_FILES };

static const struct {
	const char *label;
	size_t size;
	uint64_t running;	/* pattern while the guest runs */
	uint64_t paused;	/* pattern from then on */
	const void *state;	/* bytes of our own in the manifest */
	size_t state_size;
} files[NR_FILES] = {
	[MEMORY] = { "memory", 4 << 20, 17, 17, &program_counter, sizeof(program_counter) },
	[DEVICES] = { "devices", 4096, 1, 2, NULL, 0 },
};

/* The outcome of restore(). */
enum { RESTORED, LOST, UNFINISHED = -1 };

static int failed(const char *what, const char *why)
{
	fprintf(stderr, "vmm: %s: %s\n", what, why);
	return -1;
}

static int say(const char *text)
{
	if (puts(text) >= 0 && !fflush(stdout))
		return 0;
	return failed("standard output", strerror(errno));
}

static uint64_t word(uint64_t seed, size_t at)
{
	return (seed << 56) ^ (at + 1) * 0x9e3779b97f4a7c15;
}

static uint64_t *map(int i, int fd)
{
	void *p = mmap(NULL, files[i].size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p != MAP_FAILED)
		return p;
	failed(files[i].label, strerror(errno));
	return NULL;
}

static int fill(int i, int fd, uint64_t seed)
{
	uint64_t *p = map(i, fd);

	if (!p)
		return -1;
	for (size_t at = 0; at < files[i].size / sizeof(*p); at++)
		p[at] = word(seed, at);
	return munmap(p, files[i].size);
}

static int new_file(int i)
{
	int fd = memfd_create(files[i].label, MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, files[i].size) < 0)
		return failed(files[i].label, strerror(errno));
	return fill(i, fd, files[i].running) ? -1 : fd;
}

/* Is this the file that `before` left, byte for byte? */
static int check_file(int i, int fd)
{
	size_t at = 0, nr = files[i].size / sizeof(uint64_t);
	struct stat st;
	uint64_t *p;

	if (fstat(fd, &st) < 0)
		return failed(files[i].label, strerror(errno));
	if ((uint64_t)st.st_size != files[i].size)
		return failed(files[i].label, "came with another size");
	p = map(i, fd);
	if (!p)
		return -1;
	while (at < nr && p[at] == word(files[i].paused, at))
		at++;
	munmap(p, files[i].size);
	return at == nr ? 0 : failed(files[i].label, "came with other content");
}

/* Does the manifest say of a file what `before` wrote there? */
static int check_entry(int i, const struct liblu_manifest *manifest)
{
	char state[sizeof(program_counter)];
	uint64_t size;
	int len;

	if (liblu_manifest_entry(manifest, files[i].label, NULL, &size) < 0)
		return failed(files[i].label, liblu_error());
	if (size != files[i].size)
		return failed(files[i].label, "was preserved with another size");
	len = liblu_manifest_state(manifest, files[i].label, state, sizeof(state));
	if (len < 0)
		return failed(files[i].label, liblu_error());
	if ((size_t)len != files[i].state_size || (len && memcmp(state, files[i].state, len)))
		return failed(files[i].label, "was preserved with other state");
	return 0;
}

static int preserve(struct liblu_handover *handover, const int *fds)
{
	for (int i = 0; i < NR_FILES; i++)
		if (liblu_preserve(handover, files[i].label, fds[i], NULL) < 0)
			return failed(files[i].label, liblu_error());
	/* The guest is paused: only now is the state of its devices final. */
	if (fill(DEVICES, fds[DEVICES], files[DEVICES].paused) < 0)
		return -1;
	for (int i = 0; i < NR_FILES; i++)
		if (liblu_set_state(handover, files[i].label, files[i].state, files[i].state_size) < 0)
			return failed(files[i].label, liblu_error());
	return liblu_ready(handover) < 0 ? failed("ready", liblu_error()) : 0;
}

static int before(struct liblu_provider *provider, const char *label)
{
	struct liblu_handover *handover = NULL;
	int fds[NR_FILES];

	for (int i = 0; i < NR_FILES; i++) {
		fds[i] = new_file(i);
		if (fds[i] < 0)
			return EXIT_FAILED;
	}
	if (liblu_open(provider, label, 10000, &handover) < 0)
		failed(label, liblu_error());
	else if (!preserve(handover, fds) && !say("ready"))
		for (;;)	/* a signal that ends this undoes everything, too */
			pause();
	liblu_handover_close(handover);
	return EXIT_FAILED;
}

static int restore(const struct liblu_manifest *manifest, const struct liblu_claimed *session)
{
	int ret = RESTORED;

	for (int i = 0; i < NR_FILES; i++) {
		int fd;

		if (check_entry(i, manifest) < 0)
			return UNFINISHED;
		fd = liblu_claimed_retrieve(session, files[i].label);
		if (fd < 0) {
			failed(files[i].label, liblu_error());
			/* What is lost is lost for ever; the rest may be of use all the same. */
			if (fd != -ENODATA)
				return UNFINISHED;
			ret = LOST;
		} else if (check_file(i, fd) < 0) {
			return UNFINISHED;
		}
	}
	return ret;
}

static int after(struct liblu_provider *provider, const char *label)
{
	struct liblu_claimed *session = NULL;
	struct liblu_manifest *manifest = NULL;
	struct liblu_handover *again = NULL;
	int found = UNFINISHED;
	int came = liblu_claim(provider, label, 10000, &session);

	if (!came)
		return say("cold") < 0 ? EXIT_FAILED : EXIT_COLD;
	if (came < 0) {
		/* It is not known whether the guest came: a start from nothing might lose it. */
		failed(label, liblu_error());
		return EXIT_FAILED;
	}
	if (liblu_claimed_manifest(session, &manifest) < 0)
		failed("manifest", liblu_error());
	else
		found = restore(manifest, session);
	liblu_manifest_free(manifest);

	/* What is lost stays lost: finish then, too. */
	if (found != UNFINISHED && liblu_claimed_finish(&session, 10000, NULL) < 0)
		found = failed("finish", liblu_error());
	/* All else may be tried again: closing it destroys nothing. */
	liblu_claimed_close(session);
	if (found == RESTORED && liblu_open(provider, label, 10000, &again) < 0)
		found = failed(label, liblu_error());
	liblu_handover_close(again);
	return found == RESTORED && !say("done") ? 0 : EXIT_FAILED;
}

/* The questions of this VMM to a kernel, by `enum liblu_feature`. */
static const char *const questions[] = {
	[LIBLU_FEATURE_GET_NAME] = "sessions say their names",
	[LIBLU_FEATURE_REUSE_AFTER_FINISH] = "the next update can use the same session",
	[LIBLU_FEATURE_RETRIEVE_AFTER_CLOSE] = "a crash after the update loses nothing",
};

static const char *const answers[] = {
	[LIBLU_SUPPORT_NO] = "no",
	[LIBLU_SUPPORT_YES] = "yes",
	[LIBLU_SUPPORT_UNKNOWN] = "unknown",
};

/* The answers with the right to open the device, and with a session alone. */
static int ask(const struct liblu_outgoing *session)
{
	for (uint32_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
		int answer = liblu_probe(i), without_rights = liblu_probe_session(liblu_outgoing_fd(session), i);

		if (answer < 0 || without_rights < 0)
			return failed("probe", liblu_error());
		printf("%s: %s, %s\n", questions[i], answers[answer], answers[without_rights]);
	}
	return 0;
}

static int probe(void)
{
	struct liblu_outgoing *session = NULL;
	char text[4096], name[64];
	int ret;

	if (liblu_probe_text(text, sizeof(text)) < 0) {
		failed("probe", liblu_error());
		return EXIT_FAILED;
	}
	if (say(text) < 0)
		return EXIT_FAILED;
	if (liblu_check() < 0)
		return 0;
	snprintf(name, sizeof(name), "example-vmm-probe-%d", getpid());
	ret = liblu_create(name, &session) < 0 ? failed(name, liblu_error()) : ask(session);
	liblu_outgoing_close(session);
	return ret < 0 ? EXIT_FAILED : 0;
}

int main(int argc, char **argv)
{
	const char *what = argc == 2 ? argv[1] : "";
	const char *label = "example-vmm/guest-17";
	struct liblu_provider *provider;

	if (!strcmp(what, "probe"))
		return probe();
	if (strcmp(what, "before") && strcmp(what, "after")) {
		fprintf(stderr, "Usage: vmm before|after|probe\n");
		return EXIT_FAILED;
	}
	if (liblu_provider_find(&provider) < 0) {
		failed("sessions", liblu_error());
		return EXIT_FAILED;
	}
	return strcmp(what, "before") ? after(provider, label) : before(provider, label);
}
