/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists of system calls made by frozen threads, each list in one go.
 *
 * A thread runs `run_list` from a page that its process maps for the time of the dump: the calls of a list that lies below
 * its stack, one after another, and stops then for the tracer, by a signal to itself that its process ignores.
 * Nothing of this needs the tracer: if that dies at any moment, a thread runs its list to the end (they only ask), and
 * returns by the signal frame beside the list to where it stood. The first thread of the process unmaps the page on its way
 * back. It waits until no other thread is in there: the tracer says in a word below the first thread's stack when it sends one,
 * and the thread takes that back by a system call (FUTEX_WAKE_OP) that it makes from its own code.
 *
 * Below the stack pointer, low to high:   [ list | what calls store | signal frame ] red zone, stack in use
 */
#ifndef CRIMG_INJECT_H
#define CRIMG_INJECT_H

#include <cpuid.h>
#include "stops.h"

enum { STUB_LIST = 8, STUB_PAGE = 4096, FRAME_HEAD = 8 + 304 + 128, RED_ZONE = 128, STUB_STACK = 256 };

/*
 * rbx: list, of entries of 8 words: number, six arguments, result. r12: entries. r13: `syscall; ret` of the program.
 * r14: its signal frame. r15: the word that counts threads in here; 0: the thread is the only one (inject-alone.h), and r14 is
 * where it stops. rbp: 0, or the page that the first thread is to unmap.
 */
__asm__(".pushsection .rodata\n"
	".globl crimg_stub_begin, crimg_stub_stopped, crimg_stub_end\n.hidden crimg_stub_begin, crimg_stub_stopped, crimg_stub_end\n"
	"crimg_stub_begin:\n"
	"1:	test %r12, %r12\n"
	"	jz 7f\n"
	"	mov (%rbx), %rax\n"
	"	mov 8(%rbx), %rdi\n"
	"	mov 16(%rbx), %rsi\n"
	"	mov 24(%rbx), %rdx\n"
	"	mov 32(%rbx), %r10\n"
	"	mov 40(%rbx), %r8\n"
	"	mov 48(%rbx), %r9\n"
	"	syscall\n"
	"	mov %rax, 56(%rbx)\n"
	"	add $64, %rbx\n"
	"	dec %r12\n"
	"	jmp 1b\n"
	/* the stop, whatever ids its namespace gives it: what lies behind the list is the signal */
	"7:	test %r15, %r15\n"
	"	jz 8f\n"
	"	mov $186, %eax\n" /* gettid */
	"	syscall\n"
	"	mov %eax, %edi\n"
	"	mov (%rbx), %esi\n"
	"	mov $200, %eax\n" /* tkill */
	"	syscall\n"
	"crimg_stub_stopped:\n"
	/* the tracer is gone */
	"2:	test %rbp, %rbp\n"
	"	jnz 3f\n"
	"	mov %r15, %rdi\n"
	"	mov $133, %esi\n" /* FUTEX_WAKE_OP | FUTEX_PRIVATE_FLAG */
	"	xor %edx, %edx\n"
	"	xor %r10d, %r10d\n"
	"	mov %r15, %r8\n"
	"	mov $0x10fff000, %r9d\n" /* add -1 */
	"	mov %r14, %rsp\n"
	"	mov $202, %eax\n"
	"	jmp *%r13\n"
	/* the only thread: the page goes first, then it stops, in its own code, by the call that the frame at r14 makes */
	"8:	mov $186, %eax\n" /* gettid */
	"	syscall\n"
	"	mov %eax, 112(%r14)\n" /* rdi there */
	"	jmp 5f\n"
	/* the first thread: at most a second until nobody is in here, else the page stays */
	"3:	mov $100, %r12d\n"
	"4:	cmpl $0, (%r15)\n"
	"	je 5f\n"
	"	lea 6f(%rip), %rdi\n"
	"	xor %esi, %esi\n"
	"	mov $35, %eax\n" /* nanosleep */
	"	syscall\n"
	"	dec %r12\n"
	"	jnz 4b\n"
	"	mov $39, %eax\n" /* getpid */
	"	mov %r14, %rsp\n"
	"	jmp *%r13\n"
	"5:	mov %rbp, %rdi\n"
	"	mov $4096, %esi\n"
	"	mov $11, %eax\n" /* munmap */
	"	mov %r14, %rsp\n"
	"	jmp *%r13\n"
	"	.balign 8\n"
	"6:	.quad 0, 10000000\n"
	"crimg_stub_end:\n"
	".popsection\n");
extern const uint8_t crimg_stub_begin[], crimg_stub_stopped[], crimg_stub_end[];

/* Registers in user_regs_struct, in words. */
enum { R_R15, R_R14, R_R13, R_R12, R_BP, R_BX, R_R11, R_R10, R_R9, R_R8, R_AX, R_CX, R_DX, R_SI, R_DI, R_ORIG_AX, R_IP, R_CS, R_FLAGS,
       R_SP, R_SS, R_FS_BASE, R_GS_BASE, R_DS, R_ES, R_FS, R_GS };

/* What is the same for all threads of a process: 38 words. */
struct inject_process {
	int64_t pid, syscall, restorer; /* `syscall; ret` and a call of rt_sigreturn in its code */
	int64_t stub; /* page of the stub; 0: none is mapped yet */
	int64_t counter; /* word below the first thread's stack */
	int64_t signal; /* that stops a thread; the process ignores it */
	int64_t entry_count; /* of the template, without the stop */
	int64_t stored; /* bytes that calls store into */
	int64_t range_count; /* mappings that can be read and written */
	int64_t is_first; /* whether the thread is the first of the process: it stands at the stub's way out */
	int64_t top; /* end of what may be borrowed, of the first; others: 0, and it is where their stack ends */
	int64_t home[REGS_WORDS]; /* registers to which the first thread is put back; its signals are blocked */
};

/* What comes of one thread: header; then the results of the list, a word each, then what was stored. */
struct inject_row {
	int64_t result; /* 0, or -errno: nothing of what follows is there */
	int64_t xstate_offset, xstate_length; /* in the arena */
	int64_t owed; /* a bit a signal that stopped it and must be sent again */
	int64_t is_on_its_way; /* could not be stopped again: it goes back by itself */
	int64_t reserved[3];
};

struct injecting {
	const struct inject_process *process;
	const int64_t *list; /* template: 8 words an entry: number, types of arguments as in gather.h, six values */
	const uint8_t *in; /* what calls read; lies behind what they store */
	int64_t in_length;
	const int64_t *ranges; /* start and end, ascending */
	uint8_t *arena;
	int64_t arena_length, arena_used;
};

enum { INJECT_ROOM = 32768, XSTATE_ROOM = 16384 };
static uint8_t inject_image[INJECT_ROOM] __attribute__((aligned(64)));
static uint8_t inject_saved[INJECT_ROOM] __attribute__((aligned(64)));
static uint8_t inject_xstate[XSTATE_ROOM] __attribute__((aligned(64)));

enum { DYNAMIC_FEATURES = 1 << 17 | 1 << 18, MAGIC1 = 0x46505853, MAGIC2 = 0x46505845, SOFTWARE = 464, LEGACY = 576 };

/* Length of the standard-form XSAVE area for components of `features`. */
static int64_t xstate_size(uint64_t features)
{
	static uint64_t known;
	static int64_t size;

	if (size && known == features)
		return size;
	size = LEGACY;
	known = features;
	for (uint32_t component = 2; component < 63; component++) {
		uint32_t length, offset, ecx, edx;

		if (!(features >> component & 1))
			continue;
		__cpuid_count(0xd, component, length, offset, ecx, edx);
		if ((int64_t)offset + length > size)
			size = (int64_t)offset + length;
	}
	return size;
}

static uint64_t word_at(const uint8_t *bytes)
{
	uint64_t word;

	copy_bytes(&word, bytes, 8);
	return word;
}

static void put_word(uint8_t *bytes, uint64_t word)
{
	copy_bytes(bytes, &word, 8);
}

static void put_half(uint8_t *bytes, uint32_t word)
{
	copy_bytes(bytes, &word, 4);
}

static uint64_t frame_features(const uint8_t *xstate)
{
	return word_at(xstate + SOFTWARE) & ~(uint64_t)DYNAMIC_FEATURES;
}

static int64_t frame_xstate_length(const uint8_t *xstate, int64_t length)
{
	int64_t size;

	if (length < LEGACY)
		return 512;
	size = xstate_size(frame_features(xstate));
	return size < length ? size : length;
}

/*
 * The signal frame at `address`: see src/dump/sigframe.ts, which makes the same. Returns its length; at most
 * FRAME_HEAD + 64 + length of the xstate + 4.
 */
static int64_t build_frame(uint8_t *frame, int64_t address, int64_t restorer, const int64_t *regs, uint64_t mask, const uint8_t *xstate,
			   int64_t xstate_length)
{
	static const uint8_t order[] = { R_R8, R_R9, R_R10, R_R11, R_R12, R_R13, R_R14, R_R15, R_DI,
					 R_SI, R_BP, R_BX, R_DX, R_AX, R_CX, R_SP, R_IP, R_FLAGS };
	int64_t state = ((address + FRAME_HEAD + 63) & ~63ll) - address;
	int64_t length = frame_xstate_length(xstate, xstate_length);
	uint8_t *context = frame + 8, *machine = context + 40;

	clear_bytes(frame, state + length + 4);
	put_word(frame, (uint64_t)restorer);
	put_word(context, length > 512 ? 7 : 6); /* UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS */
	put_half(context + 24, 0x10); /* flags of the alternate stack that make the kernel leave it alone */
	for (int i = 0; i < (int)sizeof(order); i++)
		put_word(machine + i * 8, (uint64_t)regs[order[i]]);
	put_word(machine + 144, (uint64_t)(regs[R_CS] & 0xffff) | (uint64_t)(regs[R_GS] & 0xffff) << 16 |
					(uint64_t)(regs[R_FS] & 0xffff) << 32 |
					(uint64_t)(regs[R_SS] & 0xffff) << 48);
	put_word(context + 296, mask);
	put_word(machine + 184, (uint64_t)(address + state));
	copy_bytes(frame + state, xstate, length);
	if (length > 512) {
		uint8_t *software = frame + state + SOFTWARE;

		clear_bytes(software, 48);
		put_half(software, MAGIC1);
		put_half(software + 4, (uint32_t)length + 4);
		put_word(software + 8, frame_features(xstate));
		put_half(software + 16, (uint32_t)length);
		/* Bits of components that the frame does not hold would fault in XRSTOR. */
		put_word(frame + state + 512, word_at(xstate + 512) & frame_features(xstate));
		put_half(frame + state + length, MAGIC2);
	}
	return state + length + 4;
}

/* Whether [start, end) lies in one mapping that can be read and written. */
static int is_writable(const struct injecting *inject, int64_t start, int64_t end)
{
	int64_t low = 0, high = inject->process->range_count;

	while (low < high) {
		int64_t middle = (low + high) / 2;

		if ((uint64_t)inject->ranges[middle * 2 + 1] < (uint64_t)end)
			low = middle + 1;
		else
			high = middle;
	}
	return low < inject->process->range_count && (uint64_t)inject->ranges[low * 2] <= (uint64_t)start;
}

/* A thread on its way through a list. */
struct injected {
	int32_t pid, tid;
	int64_t start, length; /* what is borrowed */
	int64_t frame; /* address of its signal frame */
	const int64_t *regs; /* to which it is put back */
	uint64_t mask;
	int64_t owed;
	int is_moving;
};

/* Milliseconds that a list may take, and a thread to stop when it is interrupted. */
enum { LIST_TIMEOUT = 60000, STOP_TIMEOUT = 3000 };

/* At the stop by a signal: 1 if it is that of `signal` at `after`, which ends a list; else 0, and the signal is owed. */
static int64_t ends_list(int64_t tid, int64_t number, int64_t signal, int64_t after, int64_t *owed)
{
	int64_t regs[REGS_WORDS];
	int64_t result = ptrace(P_GETREGS, tid, 0, address_of(regs));

	if (result < 0)
		return result;
	if (number == signal && regs[R_IP] == after)
		return 1;
	*owed |= 1ll << (number - 1);
	return 0;
}

/* Waits until the thread stands at its stop (`for_stop`), or anywhere. Stop signals that come first are owed. */
static int64_t await_thread(struct injected *thread, int64_t signal, int64_t after, int for_stop)
{
	for (;;) {
		int32_t status = 0;
		int64_t result = wait_bounded(thread->tid, &status, WAIT_ALL, for_stop ? LIST_TIMEOUT : STOP_TIMEOUT);

		if (result < 0)
			return result;
		if (has_ended(status))
			return -ESRCH;
		if (!is_stopped(status))
			continue;
		thread->is_moving = 0;
		if (status >> 16 == 0 && !(status >> 8 & 0x80)) {
			result = ends_list(thread->tid, status >> 8 & 0xff, signal, after, &thread->owed);
			if (result != 0)
				return result < 0 ? result : 0;
		}
		if (!for_stop)
			return 0;
		thread->is_moving = 1;
		result = ptrace(P_CONT, thread->tid, 0, 0);
		if (result < 0)
			return result;
	}
}

/* Puts a thread back to where it stood. Order matters: at every point it could go on. */
static int64_t put_back(struct injected *thread, int64_t signal, int64_t after)
{
	int64_t result = 0;

	for (int attempt = 0; attempt < 4; attempt++) {
		if (thread->is_moving) {
			ptrace(P_INTERRUPT, thread->tid, 0, 0);
			result = await_thread(thread, signal, after, 0);
			if (result < 0)
				continue;
		}
		result = ptrace(P_SETSIGMASK, thread->tid, 8, address_of(&thread->mask));
		if (result >= 0)
			result = ptrace(P_SETREGS, thread->tid, 0, address_of(thread->regs));
		if (result >= 0)
			result = write_memory(thread->pid, thread->start, inject_saved, thread->length) == thread->length ? 0 : -EFAULT;
		if (result >= 0)
			return 0;
	}
	return result;
}

/* Writes the word that counts the threads in the stub. */
static int64_t count_threads(const struct inject_process *process, int32_t count)
{
	return process->is_first || write_memory((int32_t)process->pid, process->counter, &count, 4) == 4 ? 0 : -EFAULT;
}

/* Gets the extended state of a thread, into the arena, without zeros at its end. Returns its whole length, or -errno. */
static int64_t take_xstate(struct injecting *inject, int32_t tid, struct inject_row *row)
{
	int64_t io[2] = { address_of(inject_xstate), XSTATE_ROOM };
	int64_t result = ptrace(P_GETREGSET, tid, 0x202, address_of(io)); /* NT_X86_XSTATE */
	int64_t end = io[1];

	if (result < 0)
		return result;
	while (end > LEGACY && inject_xstate[end - 1] == 0)
		end--;
	end = end < io[1] ? (end + 63) & ~63ll : end;
	if (end > io[1])
		end = io[1];
	if (inject->arena_used + end > inject->arena_length)
		return -E2BIG;
	row->xstate_offset = inject->arena_used;
	row->xstate_length = end;
	copy_bytes(inject->arena + inject->arena_used, inject_xstate, end);
	inject->arena_used += end;
	return io[1];
}

/* Puts the list and what it needs into the image. */
static void build_list(const struct injecting *inject, struct injected *thread)
{
	const struct inject_process *process = inject->process;
	int64_t stored = thread->start + (process->entry_count + 1) * STUB_LIST * 8;
	int64_t *entry = (int64_t *)(void *)inject_image;

	clear_bytes(inject_image, thread->length);
	for (int64_t i = 0; i < process->entry_count; i++, entry += STUB_LIST) {
		const int64_t *call_ = inject->list + i * STUB_LIST;
		int64_t types = call_[1];

		entry[0] = call_[0];
		for (int j = 0; j < 6; j++, types >>= 4) {
			int64_t type = types & 15, value = call_[2 + j];

			entry[1 + j] = type == 2 ? stored + value : type == 3 ? stored + process->stored + value : value;
		}
		entry[7] = -ENOSYS;
	}
	entry[0] = process->signal;
	copy_bytes(inject_image + (stored - thread->start) + process->stored, inject->in, inject->in_length);
}

/* Registers of a thread that goes on by rt_sigreturn, which ends restarts: an interrupted call is made again instead. */
static void regs_to_go_on(const int64_t *regs, int64_t restarted, int64_t back[REGS_WORDS])
{
	copy_bytes(back, regs, REGS_WORDS * 8);
	if (back[R_ORIG_AX] >= 0 && (back[R_AX] == -512 || back[R_AX] == -513 || back[R_AX] == -514 || back[R_AX] == -516)) {
		back[R_AX] = restarted >= 0 ? restarted : back[R_ORIG_AX];
		back[R_IP] -= 2;
	} else if (back[R_AX] == __NR_restart_syscall && restarted >= 0) {
		back[R_AX] = restarted;
	}
}

/* Whether a signal waits for a thread (`flags` 0) or its process (1): it would come as soon as the mask is another. */
static int64_t is_signal_waiting(int64_t tid, int64_t flags)
{
	int64_t queued[2] = { 0, flags | 1ll << 32 }; /* struct ptrace_peeksiginfo_args: u64 offset, u32 flags, s32 count */
	uint8_t siginfo[128];

	return ptrace(P_PEEKSIGINFO, tid, address_of(queued), address_of(siginfo));
}

/* Bytes of a list with its stop, what it stores and what it reads. */
static int64_t list_length(const struct injecting *inject)
{
	return (inject->process->entry_count + 1) * STUB_LIST * 8 + inject->process->stored + inject->in_length;
}

/* Where a signal frame with the state in `inject_xstate` lies below `top`: (x mod 16 = 8), as after a call. */
static int64_t frame_below(int64_t top, int64_t xstate_length)
{
	return ((top - FRAME_HEAD - 64 - frame_xstate_length(inject_xstate, xstate_length) - 4) & ~15ll) - 8;
}

/* Registers of a thread that stood at `now`, for something else: no call is restarted. */
static void regs_anew(const int64_t *now, int64_t regs[REGS_WORDS])
{
	copy_bytes(regs, now, REGS_WORDS * 8);
	regs[R_ORIG_AX] = -1;
	regs[R_FLAGS] &= ~0x10500ll; /* no RF, TF, DF */
}

/* Registers for the list at `start`, but for what tells where the thread goes from there: r14, r15, rbp. */
static void regs_for_list(const struct inject_process *process, const int64_t *now, int64_t start, int64_t regs[REGS_WORDS])
{
	regs_anew(now, regs);
	regs[R_IP] = process->stub;
	regs[R_SP] = start - STUB_STACK;
	regs[R_BX] = start;
	regs[R_R12] = process->entry_count;
	regs[R_R13] = process->syscall;
}

/* Reads what was borrowed, and takes what came of the list. */
static int64_t take_results(const struct inject_process *process, int64_t start, int64_t length, struct inject_row *row)
{
	int64_t result = read_memory((int32_t)process->pid, start, inject_image, length);
	int64_t *results = (int64_t *)(row + 1);

	if (result != length)
		return result < 0 ? result : -EFAULT;
	for (int64_t i = 0; i < process->entry_count; i++)
		results[i] = ((int64_t *)(void *)inject_image)[i * STUB_LIST + 7];
	copy_bytes(results + process->entry_count, inject_image + (process->entry_count + 1) * STUB_LIST * 8, process->stored);
	return 0;
}

/* Makes the calls of the list in one thread. `restarted`: what a restart_syscall continues; -1 if it is in none. */
static int64_t inject_list(struct injecting *inject, int32_t tid, const struct stop_row *stop, int32_t restarted, struct inject_row *row)
{
	const struct inject_process *process = inject->process;
	struct injected thread = { .pid = (int32_t)process->pid, .tid = tid, .regs = process->is_first ? process->home : stop->regs,
				   .mask = process->is_first ? ~0ull : (uint64_t)stop->sigmask };
	int64_t armed[REGS_WORDS], back[REGS_WORDS], result, xstate_length, top;
	int64_t after = process->stub + (crimg_stub_stopped - crimg_stub_begin);
	uint64_t others = ~(1ull << (process->signal - 1));

	result = take_xstate(inject, tid, row);
	if (result < 0)
		return result;
	xstate_length = result;
	result = is_signal_waiting(tid, 0);
	if (result != 0)
		return result < 0 ? result : -EBUSY;
	regs_to_go_on(stop->regs, restarted, back);
	top = (process->top ? process->top : stop->regs[R_SP] - RED_ZONE) & ~63ll;
	thread.frame = frame_below(top, xstate_length);
	thread.start = (thread.frame - list_length(inject)) & ~63ll;
	thread.length = top - thread.start;
	if (thread.length > INJECT_ROOM || !is_writable(inject, thread.start - STUB_STACK, top))
		return -ENOSPC;
	result = read_memory(thread.pid, thread.start, inject_saved, thread.length);
	if (result != thread.length)
		return result < 0 ? result : -EFAULT;
	build_list(inject, &thread);
	build_frame(inject_image + (thread.frame - thread.start), thread.frame, process->restorer, back, (uint64_t)stop->sigmask,
		    inject_xstate, xstate_length);
	result = write_memory(thread.pid, thread.start, inject_image, thread.length);
	if (result == thread.length)
		result = count_threads(process, 1);
	else if (result >= 0)
		result = -EFAULT;
	if (result < 0)
		goto back_again;

	regs_for_list(process, stop->regs, thread.start, armed);
	armed[R_R14] = thread.frame;
	armed[R_R15] = process->counter;
	armed[R_BP] = process->is_first ? process->stub : 0;
	result = ptrace(P_SETREGS, tid, 0, address_of(armed));
	if (result >= 0)
		result = ptrace(P_SETSIGMASK, tid, 8, address_of(&others));
	if (result < 0)
		goto back_again;
	result = ptrace(P_CONT, tid, 0, 0);
	if (result < 0)
		goto back_again;
	thread.is_moving = 1;
	result = await_thread(&thread, process->signal, after, 1);
	if (result >= 0)
		result = take_results(process, thread.start, thread.length, row);
back_again:
	{
		int64_t put = put_back(&thread, process->signal, after);

		row->owed = thread.owed;
		if (put < 0) {
			/* It is on its frame, or on its way to it: it goes back by itself when it is let go. */
			row->is_on_its_way = thread.is_moving;
			return put;
		}
		put = count_threads(process, 0);
		if (put < 0)
			put = count_threads(process, 0);
		return result < 0 ? result : put < 0 ? put : 0;
	}
}

/* A row of what is to be done: four words of 32 bits. */
struct inject_order {
	int32_t row, tid, restarted, cpu;
};

/* All threads in the order given, each from the processor that it ran on last: a stop then is a switch there and back. */
static void inject_lists(struct injecting *inject, const struct inject_order *orders, int64_t count, const struct stop_row *stops,
			 uint8_t *out)
{
	int64_t stride = (int64_t)sizeof(struct inject_row) + inject->process->entry_count * 8 + inject->process->stored;
	int32_t cpu = -1;

	for (int64_t i = 0; i < count; i++) {
		const struct inject_order *order = orders + i;
		struct inject_row *row = (struct inject_row *)(void *)(out + order->row * stride);

		if (order->cpu >= 0 && order->cpu < 8192 && order->cpu != cpu) {
			static uint8_t mask[1024];

			clear_bytes(mask, sizeof(mask));
			mask[order->cpu / 8] = (uint8_t)(1 << order->cpu % 8);
			call(__NR_sched_setaffinity, 0, sizeof(mask), address_of(mask), 0); /* failing only costs time */
			cpu = order->cpu;
		}
		row->result = inject_list(inject, order->tid, stops + order->row, order->restarted, row);
	}
}

#endif
