// SPDX-License-Identifier: MIT OR Apache-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <x86intrin.h>

#include "machine.h"

/* Where the guest's code is; its counter is at 0x2000. */
#define CODE 0x1000
#define PORT 0x80

#define MSR_TSC 0x10
#define MSR_TSC_DEADLINE 0x6e0

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

static int kvm, vm, vcpu;
static struct kvm_run *run;

void *map(int file, size_t size)
{
	void *there = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	if (there == MAP_FAILED)
		try("mmap", -1);
	return there;
}

void make_machine(void *memory)
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
	run = map(vcpu, size);
	kvm_do(vcpu, KVM_SET_SIGNAL_MASK, &none);
}

void boot(char *memory)
{
	struct cpuid cpuid = { .head.nent = MOST_CPUID };
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	struct kvm_sregs sregs;

	memcpy(memory + CODE, guest_code, guest_code_end - guest_code);
	for (uint64_t at = PATTERN; at < MEMORY; at += sizeof(at))
		*(uint64_t *)(memory + at) = pattern(at);
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

void save(struct state *to)
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

void restore(struct state *from)
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

unsigned int go(uint32_t *last, unsigned int most)
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
