// SPDX-License-Identifier: MIT OR Apache-2.0

/*
 * A key-value store in a memfd that a live update does not empty: the same as
 * liblu/examples/cache.rs, with the same requests and the same format.
 *
 * Usage: cache LABEL SOCKET
 */

#define _GNU_SOURCE
#include <errno.h>
#include <liblu.h>
#include <search.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LABEL "store"
#define MAGIC "lucache1"
#define LONGEST (64 << 10)
#define LINE (2 * LONGEST + 16)

/* Lengths, little-endian as all machines with LUO are; then key and value. */
struct record {
	uint32_t key, value;
};

/* Where the value of a key is. */
struct place {
	char *key;
	uint64_t at;
	uint32_t size;
};

struct cache {
	const char *label;
	struct liblu_provider *provider;
	int memory;
	uint64_t end;
	void *places; /* a tree of struct place, by key */
	unsigned int count;
	struct liblu_handover *handover; /* while an update is expected */
	struct liblu_claimed *kept; /* open for somebody who looks into it */
};

static int by_key(const void *a, const void *b)
{
	return strcmp(((const struct place *)a)->key, ((const struct place *)b)->key);
}

static struct place *find(struct cache *cache, char *key)
{
	struct place wanted = { .key = key };
	struct place **found = tfind(&wanted, &cache->places, by_key);

	return found ? *found : NULL;
}

static void free_place(void *place)
{
	free(((struct place *)place)->key);
	free(place);
}

/* Remembers the record at the end. */
static int note(struct cache *cache, char *key, const struct record *record)
{
	uint64_t at = cache->end + sizeof(*record) + record->key;
	struct place *place = find(cache, key);

	if (!place) {
		place = calloc(1, sizeof(*place));
		if (!place)
			return -ENOMEM;
		place->key = strdup(key);
		if (!place->key || !tsearch(place, &cache->places, by_key)) {
			free_place(place);
			return -ENOMEM;
		}
		cache->count++;
	}
	place->at = at;
	place->size = record->value;
	cache->end = at + record->value;
	return 0;
}

/* Reads the store in the memfd. */
static int read_store(struct cache *cache)
{
	static char key[LONGEST + 1];
	char magic[sizeof(MAGIC) - 1];
	struct record record;
	struct stat stat;
	int err;

	if (fstat(cache->memory, &stat))
		return -errno;
	if (pread(cache->memory, magic, sizeof(magic), 0) != sizeof(magic) ||
	    memcmp(magic, MAGIC, sizeof(magic)))
		return -EBADMSG;
	cache->end = sizeof(magic);
	while (cache->end < (uint64_t)stat.st_size) {
		if (pread(cache->memory, &record, sizeof(record), cache->end) != sizeof(record) ||
		    record.key > LONGEST || record.value > LONGEST ||
		    pread(cache->memory, key, record.key, cache->end + sizeof(record)) != record.key)
			return -EBADMSG;
		key[record.key] = 0;
		err = note(cache, key, &record);
		if (err)
			return err;
	}
	return cache->end == (uint64_t)stat.st_size ? 0 : -EBADMSG;
}

/* Forgets a store that cannot be used. */
static void forget_store(struct cache *cache)
{
	tdestroy(cache->places, free_place);
	cache->places = NULL;
	cache->count = 0;
	if (cache->memory >= 0)
		close(cache->memory);
	cache->memory = -1;
}

static int new_store(struct cache *cache)
{
	cache->memory = memfd_create("cache", MFD_CLOEXEC);
	if (cache->memory < 0)
		return -errno;
	if (pwrite(cache->memory, MAGIC, strlen(MAGIC), 0) != (ssize_t)strlen(MAGIC))
		return -EIO;
	return read_store(cache);
}

/* Takes over the store of the previous kernel, if there is one that can be used. */
static int take_over(struct cache *cache)
{
	struct liblu_claimed *session;
	struct liblu_manifest *manifest = NULL;
	bool lost;
	const char *why;
	int err;

	err = liblu_claim(cache->provider, cache->label, -1, &session);
	/* A cache can be filled again. A VMM must stop here: its guest may be there. */
	if (err < 0)
		fprintf(stderr, "cache: goes on without live updates: %s\n", liblu_error());
	if (err <= 0)
		return -ENOENT;
	cache->memory = liblu_claimed_retrieve(session, LABEL);
	why = liblu_error();
	/* Without the manifest, the store itself may be well. */
	lost = cache->memory == -ENODATA && !liblu_claimed_manifest(session, &manifest);
	liblu_manifest_free(manifest);
	err = cache->memory < 0 ? cache->memory : 0;
	if (!err) {
		err = read_store(cache);
		why = strerror(-err);
	}
	if (err) {
		/* A cache can be filled again; other programs might rather stop here. */
		fprintf(stderr, "cache: the store that came cannot be used: %s\n", why);
		forget_store(cache);
	}
	/* Only now: the store is known to be good, or lost for ever. */
	if ((!err || lost) && liblu_claimed_finish(&session, -1, NULL))
		fprintf(stderr, "cache: finish: %s\n", liblu_error());
	cache->kept = session;
	return err;
}

static int preserve(struct cache *cache)
{
	struct liblu_handover *handover;
	int err;

	err = liblu_open(cache->provider, cache->label, -1, &handover);
	if (!err)
		err = liblu_preserve(handover, LABEL, cache->memory, NULL);
	if (!err)
		err = liblu_ready(handover);
	if (err)
		liblu_handover_close(handover);
	else
		cache->handover = handover;
	return err;
}

static int set(struct cache *cache, char *key, const char *value)
{
	struct record record = { strlen(key), strlen(value) };
	ssize_t size = sizeof(record) + record.key + record.value;
	static char bytes[sizeof(record) + 2 * LONGEST];
	int err;

	if (record.key > LONGEST || record.value > LONGEST)
		return -E2BIG;
	memcpy(bytes, &record, sizeof(record));
	memcpy(bytes + sizeof(record), key, record.key);
	memcpy(bytes + sizeof(record) + record.key, value, record.value);
	if (pwrite(cache->memory, bytes, size, cache->end) != size) {
		/* Half a record would be read after the update. */
		if (ftruncate(cache->memory, cache->end))
			return -errno;
		return -ENOSPC;
	}
	err = note(cache, key, &record);
	if (err && ftruncate(cache->memory, cache->end))
		return -errno;
	return err;
}

static void answer(struct cache *cache, char *request, FILE *to)
{
	char *command = strsep(&request, " "), *key = strsep(&request, " "), *value = request;
	int err = 0;

	if (!strcmp(command, "set") && value && cache->handover) {
		fprintf(to, "busy\n");
	} else if (!strcmp(command, "set") && value) {
		err = set(cache, key, value);
		if (err)
			fprintf(to, "error %s\n", strerror(-err));
		else
			fprintf(to, "ok\n");
	} else if (!strcmp(command, "get") && key && !value) {
		struct place *place = find(cache, key);
		static char bytes[LONGEST];

		if (!place)
			fprintf(to, "none\n");
		else if (pread(cache->memory, bytes, place->size, place->at) != place->size)
			fprintf(to, "error %s\n", strerror(errno));
		else
			fprintf(to, "value %.*s\n", (int)place->size, bytes);
	} else if (!strcmp(command, "count") && !key) {
		fprintf(to, "count %u\n", cache->count);
	} else if (!strcmp(command, "preserve") && !key) {
		if (!cache->handover)
			err = preserve(cache);
		if (err)
			fprintf(to, "error %s\n", liblu_error());
		else
			fprintf(to, "ok\n");
	} else if (!strcmp(command, "cancel") && !key) {
		/* The kernel undoes everything when the last descriptor is closed. */
		liblu_handover_close(cache->handover);
		cache->handover = NULL;
		if (liblu_discard(cache->provider, cache->label, -1))
			fprintf(to, "error %s\n", liblu_error());
		else
			fprintf(to, "ok\n");
	} else {
		fprintf(to, "error no such request\n");
	}
}

static void serve(struct cache *cache, int client)
{
	static char line[LINE];
	FILE *from = fdopen(client, "r"), *to = fdopen(dup(client), "w");

	while (from && to && fgets(line, sizeof(line), from)) {
		line[strcspn(line, "\n")] = 0;
		answer(cache, line, to);
		fflush(to);
	}
	if (to)
		fclose(to);
	if (from)
		fclose(from);
	else
		close(client);
}

int main(int argc, char **argv)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct cache cache = { .memory = -1 };
	int err, listener;

	if (argc != 3 || strlen(argv[2]) >= sizeof(address.sun_path)) {
		fprintf(stderr, "usage: cache LABEL SOCKET\n");
		return 1;
	}
	/* A client that goes away is no reason to lose the data of all. */
	signal(SIGPIPE, SIG_IGN);
	cache.label = argv[1];
	if (liblu_provider_find(&cache.provider)) {
		fprintf(stderr, "cache: %s\n", liblu_error());
		return 1;
	}
	err = take_over(&cache);
	if (!err)
		fprintf(stderr, "cache: %u keys came from the previous kernel\n", cache.count);
	else
		err = new_store(&cache);
	if (err) {
		fprintf(stderr, "cache: no memory: %s\n", strerror(-err));
		return 1;
	}

	strcpy(address.sun_path, argv[2]);
	unlink(argv[2]);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(listener, 16)) {
		perror("cache: socket");
		return 1;
	}
	for (;;) {
		int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (client >= 0)
			serve(&cache, client);
	}
}
