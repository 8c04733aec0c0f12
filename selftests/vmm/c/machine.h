/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/* A virtual machine of KVM with one virtual CPU, whose guest counts. */
#ifndef MACHINE_H
#define MACHINE_H

#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#define MEMORY (16ul << 20)
/* The guest does not touch memory from here on: each word holds the pattern of its address. */
#define PATTERN (1ul << 20)

#define MAGIC 0x32304d56u /* VM02: raise the number with each change of struct state */
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

static inline void fail(const char *why)
{
	fprintf(stderr, "vmm-c: %s\n", why);
	exit(EXIT_FAILURE);
}

static inline uint64_t pattern(uint64_t at)
{
	return at * 0x9e3779b97f4a7c15;
}

/* Maps what all users of the file share. */
void *map(int file, size_t size);
void make_machine(void *memory);
/* Puts a new guest into the memory. */
void boot(char *memory);
/* The guest stands still. */
void save(struct state *to);
/* Changes the clocks in the state. */
void restore(struct state *from);
/* Runs the guest until there is a signal, or until it has written so many numbers. Returns how many it has written. */
unsigned int go(uint32_t *last, unsigned int most);

#endif
