// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * A guest that survives an update of the host's kernel, with nothing but the headers of the kernel: for authors of VMMs
 * who do not link liblu. It has one virtual CPU and does what ../src does for Linux guests:
 *
 *  - memory in a memfd, preserved while the guest runs;
 *  - state in a second memfd, preserved before it is written, so that nothing is preserved while the guest stands still;
 *  - SIGTERM stops the guest and writes the state; SIGUSR1 lets it go on, if the update is off;
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
#include <linux/kvm.h>
#include <linux/liveupdate.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <x86intrin.h>

#define MEMORY_TOKEN 1
#define STATE_TOKEN 2

#define MEMORY (16ul << 20)
/* Where the guest's code and counter are. */
#define CODE 0x1000
#define COUNTER 0x2000
/* The guest does not touch memory from here on: it holds a pattern. */
#define PATTERN (1ul << 20)
#define PORT 0x80

#define MAGIC 0x32304d56u /* VM02: raise the number with each change of struct state */
#define MSR_TSC 0x10
#define MSR_TSC_DEADLINE 0x6e0
#define MOST_MSRS 512
#define MOST_CPUID 128
#define MOST_XSAVE (16 << 10)

struct msrs {
	struct kvm_msrs head;
	struct kvm_msr_entry entries[MOST_MSRS];
};

struct cpuid {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entries[MOST_CPUID];
};

/* All that KVM has of the guest outside of its memory. */
struct state {
	uint32_t magic; /* 0: none, or the guest has run since */
	uint32_t tsc_khz;
	uint32_t last; /* the last number that the guest has written */
	uint64_t tsc; /* the host's, which goes on during a kexec */
	struct kvm_clock_data clock;
	struct kvm_irqchip chips[3];
	struct kvm_pit_state2 pit;
	struct cpuid cpuid;
	struct kvm_mp_state mp_state;
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	struct msrs msrs;
	uint8_t xsave[MOST_XSAVE];
};

extern const char guest_code[], guest_code_end[];
asm(".pushsection .rodata\n"
    ".code16\n"
    "guest_code:\n"
    "1:	incl 0x2000\n"
    "	movl 0x2000, %eax\n"
    "	testw %ax, %ax\n"
    "	jnz 1b\n"
    "	outl %eax, $0x80\n"
    "	jmp 1b\n"
    "guest_code_end:\n"
    ".code64\n"
    ".popsection\n");

/* Of the session. */
static const char *name = "vmm-c";
static int kvm, vm, vcpu;
static struct kvm_run *run;

#define try(what, call)                                                     \
	({                                                                  \
		long result_ = (long)(call);                                \
		if (result_ == -1) {                                        \
			fprintf(stderr, "vmm-c: %s: %m\n", what);           \
			exit(EXIT_FAILURE);                                 \
		}                                                           \
		result_;                                                    \
	})
#define kvm_do(fd, command, argument) try(#command, ioctl(fd, command, argument))

static void fail(const char *why)
{
	fprintf(stderr, "vmm-c: %s\n", why);
	exit(EXIT_FAILURE);
}

/* ---- live updates ---- */

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

/* ---- the virtual machine ---- */

/* Signals are pending until wait_for_signal() takes them, but they end KVM_RUN: so none is lost in between. */
static void block_signals(void)
{
	sigset_t both;

	sigemptyset(&both);
	sigaddset(&both, SIGTERM);
	sigaddset(&both, SIGUSR1);
	try("sigprocmask", sigprocmask(SIG_BLOCK, &both, NULL));
}

static int wait_for_signal(void)
{
	sigset_t both;
	int number;

	sigemptyset(&both);
	sigaddset(&both, SIGTERM);
	sigaddset(&both, SIGUSR1);
	while ((number = sigwaitinfo(&both, NULL)) == -1 && errno == EINTR)
		;
	return try("sigwaitinfo", number);
}

static void make_machine(void *memory)
{
	/* The set of the kernel, which KVM_RUN waits with: none is blocked. */
	struct {
		struct kvm_signal_mask head;
		uint64_t set;
	} __attribute__((packed)) none = { .head.len = sizeof(none.set) };
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	struct kvm_userspace_memory_region region = {
		.memory_size = MEMORY, .userspace_addr = (uintptr_t)memory
	};
	long size;

	kvm = try("open /dev/kvm", open("/dev/kvm", O_RDWR | O_CLOEXEC));
	vm = kvm_do(kvm, KVM_CREATE_VM, 0);
	kvm_do(vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
	kvm_do(vm, KVM_CREATE_IRQCHIP, 0);
	kvm_do(vm, KVM_CREATE_PIT2, &pit);
	kvm_do(vm, KVM_SET_USER_MEMORY_REGION, &region);
	vcpu = kvm_do(vm, KVM_CREATE_VCPU, 0);
	size = kvm_do(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		try("mmap", -1);
	kvm_do(vcpu, KVM_SET_SIGNAL_MASK, &none);
}

static void boot(char *memory)
{
	struct cpuid cpuid = { .head.nent = MOST_CPUID };
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	struct kvm_sregs sregs;

	memcpy(memory + CODE, guest_code, guest_code_end - guest_code);
	for (uint64_t at = PATTERN; at < MEMORY; at += sizeof(at))
		*(uint64_t *)(memory + at) = at * 0x9e3779b97f4a7c15;
	kvm_do(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid);
	kvm_do(vcpu, KVM_SET_CPUID2, &cpuid);
	kvm_do(vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs.base = sregs.cs.selector = 0;
	kvm_do(vcpu, KVM_SET_SREGS, &sregs);
	kvm_do(vcpu, KVM_SET_REGS, &regs);
}

static void save_msrs(struct msrs *msrs)
{
	struct {
		struct kvm_msr_list head;
		uint32_t indices[MOST_MSRS];
	} list = { .head.nmsrs = MOST_MSRS };
	struct msrs one = { .head.nmsrs = 1 };

	kvm_do(kvm, KVM_GET_MSR_INDEX_LIST, &list);
	msrs->head.nmsrs = 0;
	for (uint32_t i = 0; i < list.head.nmsrs; i++) {
		one.entries[0] = (struct kvm_msr_entry){ .index = list.indices[i] };
		/* The others are of features that the guest does not have. */
		if (kvm_do(vcpu, KVM_GET_MSRS, &one) == 1)
			msrs->entries[msrs->head.nmsrs++] = one.entries[0];
	}
}

/* The guest stands still. */
static void save(struct state *to)
{
	if (ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2) > MOST_XSAVE)
		fail("the floating point state is too large");
	/* First, for it moves pending events to where the others show them. */
	kvm_do(vcpu, KVM_GET_MP_STATE, &to->mp_state);
	to->cpuid.head.nent = MOST_CPUID;
	kvm_do(vcpu, KVM_GET_CPUID2, &to->cpuid);
	kvm_do(vcpu, KVM_GET_REGS, &to->regs);
	kvm_do(vcpu, KVM_GET_SREGS, &to->sregs);
	kvm_do(vcpu, KVM_GET_XSAVE2, to->xsave);
	kvm_do(vcpu, KVM_GET_XCRS, &to->xcrs);
	kvm_do(vcpu, KVM_GET_DEBUGREGS, &to->debugregs);
	kvm_do(vcpu, KVM_GET_LAPIC, &to->lapic);
	save_msrs(&to->msrs);
	kvm_do(vcpu, KVM_GET_VCPU_EVENTS, &to->events);
	for (int i = 0; i < 3; i++) {
		to->chips[i].chip_id = i;
		kvm_do(vm, KVM_GET_IRQCHIP, &to->chips[i]);
	}
	kvm_do(vm, KVM_GET_PIT2, &to->pit);
	kvm_do(vm, KVM_GET_CLOCK, &to->clock);
	to->tsc_khz = kvm_do(vcpu, KVM_GET_TSC_KHZ, 0);
	to->tsc = __rdtsc();
	/* Last: a state without it is not complete. */
	__atomic_store_n(&to->magic, MAGIC, __ATOMIC_RELEASE);
}

static void set_msrs(struct state *from, uint64_t missed)
{
	struct kvm_msr_entry *entries = from->msrs.entries, last[2];
	uint32_t count = from->msrs.head.nmsrs, kept = 0, lasts = 0;

	/* The counter, with what it has missed, and then the deadline, which means something once the APIC is set. */
	for (uint32_t i = 0; i < count; i++) {
		if (entries[i].index == MSR_TSC)
			entries[i].data += missed;
		if (entries[i].index == MSR_TSC || entries[i].index == MSR_TSC_DEADLINE)
			last[lasts++] = entries[i];
		else
			entries[kept++] = entries[i];
	}
	if (lasts == 2 && last[0].index == MSR_TSC_DEADLINE) {
		struct kvm_msr_entry first = last[0];

		last[0] = last[1];
		last[1] = first;
	}
	memcpy(entries + kept, last, lasts * sizeof(*last));
	if (kvm_do(vcpu, KVM_SET_MSRS, &from->msrs) != (long)count)
		fail("KVM refuses an MSR");
}

static void restore(struct state *from)
{
	uint64_t missed = __rdtsc() - from->tsc;

	for (int i = 0; i < 3; i++)
		kvm_do(vm, KVM_SET_IRQCHIP, &from->chips[i]);
	kvm_do(vm, KVM_SET_PIT2, &from->pit);
	from->clock.flags = 0;
	from->clock.clock += (unsigned __int128)missed * 1000000 / from->tsc_khz;
	kvm_do(vm, KVM_SET_CLOCK, &from->clock);
	kvm_do(vcpu, KVM_SET_CPUID2, &from->cpuid);
	kvm_do(vcpu, KVM_SET_MP_STATE, &from->mp_state);
	kvm_do(vcpu, KVM_SET_REGS, &from->regs);
	kvm_do(vcpu, KVM_SET_SREGS, &from->sregs);
	kvm_do(vcpu, KVM_SET_XSAVE, from->xsave);
	kvm_do(vcpu, KVM_SET_XCRS, &from->xcrs);
	kvm_do(vcpu, KVM_SET_DEBUGREGS, &from->debugregs);
	kvm_do(vcpu, KVM_SET_LAPIC, &from->lapic);
	set_msrs(from, missed);
	kvm_do(vcpu, KVM_SET_VCPU_EVENTS, &from->events);
}

/* Runs the guest until there is a signal. Returns how many numbers it has written. */
static unsigned int go(uint32_t *last, unsigned int most)
{
	unsigned int written = 0;

	while (written < most) {
		if (ioctl(vcpu, KVM_RUN, 0) == -1) {
			if (errno == EINTR)
				break;
			if (errno != EAGAIN)
				try("KVM_RUN", -1);
			continue;
		}
		if (run->exit_reason != KVM_EXIT_IO || run->io.port != PORT) {
			fprintf(stderr, "vmm-c: exit %u\n", run->exit_reason);
			exit(EXIT_FAILURE);
		}
		uint32_t number = *(uint32_t *)((char *)run + run->io.data_offset);

		if (*last && number != *last + 0x10000) {
			fprintf(stderr, "vmm-c: %#x comes after %#x\n", number, *last);
			exit(EXIT_FAILURE);
		}
		*last = number;
		written++;
	}
	/* An instruction for which KVM needed this program is complete after another KVM_RUN. */
	run->immediate_exit = 1;
	if (ioctl(vcpu, KVM_RUN, 0) == -1 && errno != EINTR)
		try("KVM_RUN", -1);
	run->immediate_exit = 0;
	return written;
}

static int make_file(const char *what, off_t size)
{
	int file = try("memfd_create", memfd_create(what, MFD_CLOEXEC));

	try("ftruncate", ftruncate(file, size));
	return file;
}

static void *map(int file, size_t size)
{
	void *there = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	if (there == MAP_FAILED)
		try("mmap", -1);
	return there;
}

/* What came from the previous kernel. */
struct came {
	int session, memory, state_file;
	struct state *state;
};

/* Whether a guest came that can go on. */
static bool find(struct came *came)
{
	came->session = session_of(false);
	if (came->session == -1)
		return false;
	came->state_file = retrieve(came->session, STATE_TOKEN);
	came->memory = retrieve(came->session, MEMORY_TOKEN);
	if (came->state_file != -1 && came->memory != -1) {
		came->state = map(came->state_file, sizeof(*came->state));
		if (came->state->magic == MAGIC)
			return true;
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
		if (*(uint64_t *)(ram + at) != at * 0x9e3779b97f4a7c15)
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

		if (wait_for_signal() != SIGTERM)
			continue;
		state->last = last;
		save(state);
		printf("stands still at %#x after %u\n", last, written);
		/* The session lives as long as this process. */
		while (wait_for_signal() != SIGUSR1)
			;
		/* There is no update: nothing may start from this state. */
		state->magic = 0;
		printf("runs again\n");
	}
}
