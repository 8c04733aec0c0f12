// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A small VMM whose guest survives an update of the kernel.
 *
 * vmm before: preserve the guest and stay until the kernel is left.
 * vmm after:  bring the guest back; exits with 3 if there is none.
 * vmm probe:  say what this kernel offers.
 *
 * Everything fails with 1. The descriptors of the files stay open until the program ends.
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

/* What restore() found. */
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
static int check_entry(int i, const struct lu_manifest *manifest)
{
	char state[sizeof(program_counter)];
	uint64_t size;
	int len;

	if (lu_manifest_entry(manifest, files[i].label, NULL, &size) < 0)
		return failed(files[i].label, lu_error());
	if (size != files[i].size)
		return failed(files[i].label, "was preserved with another size");
	len = lu_manifest_state(manifest, files[i].label, state, sizeof(state));
	if (len < 0)
		return failed(files[i].label, lu_error());
	if ((size_t)len != files[i].state_size || (len && memcmp(state, files[i].state, len)))
		return failed(files[i].label, "was preserved with other state");
	return 0;
}

static int preserve(struct lu_manifest *manifest, struct lu_outgoing *session, const int *fds)
{
	for (int i = 0; i < NR_FILES; i++)
		if (lu_manifest_preserve(manifest, session, files[i].label, fds[i],
					 files[i].state, files[i].state_size, NULL) < 0)
			return failed(files[i].label, lu_error());
	/* The guest is paused: only now is the state of its devices final. */
	if (fill(DEVICES, fds[DEVICES], files[DEVICES].paused) < 0)
		return -1;
	return lu_manifest_seal(manifest, session) < 0 ? failed("seal", lu_error()) : 0;
}

static int before(const char *name)
{
	struct lu_outgoing *session = NULL;
	struct lu_manifest *manifest = NULL;
	int fds[NR_FILES];

	if (lu_check() < 0) {
		failed("the guest cannot survive an update", lu_error());
		return EXIT_FAILED;
	}
	for (int i = 0; i < NR_FILES; i++) {
		fds[i] = new_file(i);
		if (fds[i] < 0)
			return EXIT_FAILED;
	}
	if (lu_create(name, &session) < 0 || lu_manifest_new(&manifest) < 0)
		failed(name, lu_error());
	else if (!preserve(manifest, session, fds) && !say("ready"))
		for (;;)	/* a signal that ends this undoes everything, too */
			pause();
	lu_manifest_free(manifest);
	lu_outgoing_close(session);
	return EXIT_FAILED;
}

static int restore(const struct lu_manifest *manifest, const struct lu_incoming *session)
{
	int ret = RESTORED;

	for (int i = 0; i < NR_FILES; i++) {
		int fd;

		if (check_entry(i, manifest) < 0)
			return UNFINISHED;
		fd = lu_manifest_retrieve(manifest, session, files[i].label);
		if (fd < 0) {
			failed(files[i].label, lu_error());
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

static int after(const char *name)
{
	struct lu_incoming *session = NULL;
	struct lu_manifest *manifest = NULL;
	struct lu_outgoing *again = NULL;
	int found = UNFINISHED;
	int err = lu_retrieve(name, &session);

	if (err == -ENOENT)
		return say("cold") < 0 ? EXIT_FAILED : EXIT_COLD;
	if (err < 0) {
		failed(name, lu_error());
		/* -EIO: whatever came is lost until the next boot. */
		return err == -EIO && !say("cold") ? EXIT_COLD : EXIT_FAILED;
	}
	if (lu_manifest_read(session, &manifest) < 0)
		failed("manifest", lu_error());
	else
		found = restore(manifest, session);
	lu_manifest_free(manifest);

	/* What is lost stays lost: finish then, too. */
	if (found != UNFINISHED && lu_incoming_finish(&session, NULL) < 0)
		found = failed("finish", lu_error());
	/*
	 * All else may be tried again, on C kernels if an agent has the session too. Without one they
	 * destroy what is in it when this ends, and this says so.
	 */
	lu_incoming_close(session);
	if (found == RESTORED && lu_create(name, &again) < 0)
		found = failed(name, lu_error());
	lu_outgoing_close(again);
	return found == RESTORED && !say("done") ? 0 : EXIT_FAILED;
}

/* What the author of this VMM wants to know of a kernel, by `enum lu_feature`. */
static const char *const questions[] = {
	[LU_FEATURE_GET_NAME] = "sessions say whose they are",
	[LU_FEATURE_REUSE_AFTER_FINISH] = "the next update can use the same session",
	[LU_FEATURE_RETRIEVE_AFTER_CLOSE] = "a crash after the update loses nothing",
};

static const char *const answers[] = {
	[LU_SUPPORT_NO] = "no",
	[LU_SUPPORT_YES] = "yes",
	[LU_SUPPORT_UNKNOWN] = "unknown",
};

/* What the kernel says to those who may open the device, and to those who have a session only. */
static int ask(const struct lu_outgoing *session)
{
	for (uint32_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
		int answer = lu_probe(i), without_rights = lu_probe_session(lu_outgoing_fd(session), i);

		if (answer < 0 || without_rights < 0)
			return failed("probe", lu_error());
		printf("%s: %s, %s\n", questions[i], answers[answer], answers[without_rights]);
	}
	return 0;
}

static int probe(void)
{
	struct lu_outgoing *session = NULL;
	char text[4096], name[64];
	int ret;

	if (lu_probe_text(text, sizeof(text)) < 0) {
		failed("probe", lu_error());
		return EXIT_FAILED;
	}
	if (say(text) < 0)
		return EXIT_FAILED;
	if (lu_check() < 0)
		return 0;
	snprintf(name, sizeof(name), "example-vmm-probe-%d", getpid());
	ret = lu_create(name, &session) < 0 ? failed(name, lu_error()) : ask(session);
	lu_outgoing_close(session);
	return ret < 0 ? EXIT_FAILED : 0;
}

int main(int argc, char **argv)
{
	const char *what = argc == 2 ? argv[1] : "";
	char name[64];

	if (lu_name_of_label("example-vmm", "guest-17", name, sizeof(name)) < 0)
		failed("name", lu_error());
	else if (!strcmp(what, "before"))
		return before(name);
	else if (!strcmp(what, "after"))
		return after(name);
	else if (!strcmp(what, "probe"))
		return probe();
	else
		fprintf(stderr, "Usage: vmm before|after|probe\n");
	return EXIT_FAILED;
}
