// SPDX-License-Identifier: Apache-2.0
/* What the kinds of op do, but for those of a line. */
#pragma once
#include "verify.h"

static uint64_t *slot_at(struct context *context, struct own *own, uint32_t index)
{
	return index & FIRST_LOCAL ? own->locals + (index & (NUM_LOCALS - 1)) : context->slots + index;
}

/* The value that the row has for an argument. What an op has itself was looked at before anything ran; this is now. */
static uint64_t value_in_row(struct context *context, struct own *own, uint32_t pc, uint32_t mode, uint64_t at)
{
	uint64_t value = 0, size = mode & ROW8 ? 8 : 4;
	int is_there = own->row && own->stride >= size && at <= own->stride - size;
	if (is_there && size == 8) __builtin_memcpy(&value, own->row + at, 8);
	else if (is_there) value = load4(own->row + at);
	if (!is_there || !is_argument(context->program, mode & ~(ROW4 | ROW8), value)) fail(context, own, pc, -EINVAL);
	return value;
}

static uint64_t argument(struct context *context, struct own *own, uint32_t pc, struct restore_op *op, int i)
{
	uint64_t value = op->args[i];
	uint32_t mode = op->modes[i];
	if (mode & (ROW4 | ROW8)) {
		value = value_in_row(context, own, pc, mode, value);
		mode &= ~(ROW4 | ROW8);
	}
	switch (mode) {
	case RESTORE_ARG_MODE_DATA: return (uint64_t)context->data + value;
	case RESTORE_ARG_MODE_SLOT: return *slot_at(context, own, (uint32_t)value) + (uint64_t)((int64_t)value >> 32);
	case RESTORE_ARG_MODE_SLOT_ADDRESS: return (uint64_t)slot_at(context, own, (uint32_t)value);
	case RESTORE_ARG_MODE_MEM4: return *(uint32_t *)(context->data + value);
	case RESTORE_ARG_MODE_MEM4S: return (uint64_t)(int64_t)*(int32_t *)(context->data + value);
	case RESTORE_ARG_MODE_MEM8: return *(uint64_t *)(context->data + value);
	case RESTORE_ARG_MODE_CONTROL: return (uint64_t)context->control + value;
	case RESTORE_ARG_MODE_CONTROL4: return __atomic_load_n((uint32_t *)((uint8_t *)context->control + value), __ATOMIC_SEQ_CST);
	case RESTORE_ARG_MODE_AUXV: return value < NUM_AUXV ? context->auxv[value] : 0;
	case RESTORE_ARG_MODE_HOLE: return context->program->hole_base + value;
	default: return value;
	}
}

static uint64_t compute(uint32_t operator, uint64_t a, uint64_t b)
{
	switch (operator) {
	case RESTORE_COMPUTE_OP_ADD: return a + b;
	case RESTORE_COMPUTE_OP_SUB: return a - b;
	case RESTORE_COMPUTE_OP_AND: return a & b;
	case RESTORE_COMPUTE_OP_OR: return a | b;
	case RESTORE_COMPUTE_OP_SHIFT_LEFT: return a << (b & 63);
	case RESTORE_COMPUTE_OP_SHIFT_RIGHT: return a >> (b & 63);
	case RESTORE_COMPUTE_OP_LOAD4: return *(uint32_t *)(a + b);
	case RESTORE_COMPUTE_OP_LOAD8: return *(uint64_t *)(a + b);
	default: return a;
	}
}

static int jumps(uint32_t condition, uint64_t a, uint64_t b)
{
	switch (condition) {
	case RESTORE_JUMP_IF_EQ: return a == b;
	case RESTORE_JUMP_IF_NE: return a != b;
	case RESTORE_JUMP_IF_LT: return (int64_t)a < (int64_t)b;
	case RESTORE_JUMP_IF_GE: return (int64_t)a >= (int64_t)b;
	case RESTORE_JUMP_IF_BITS: return (a & b) != 0;
	case RESTORE_JUMP_IF_NO_BITS: return (a & b) == 0;
	default: return 1;
	}
}

static int is_right(struct restore_op *op, int64_t result)
{
	switch (op->expect) {
	case RESTORE_EXPECT_NOT_ERROR: return !is_error(result);
	case RESTORE_EXPECT_EQUALS: return result == op->expect_a;
	case RESTORE_EXPECT_ONE_OF: return result == op->expect_a || result == op->expect_b;
	default: return 1;
	}
}

static int64_t find(const uint8_t *haystack, uint64_t length, const uint8_t *needle, uint64_t needle_length)
{
	for (uint64_t i = 0; i + needle_length <= length; i++)
		if (!memcmp(haystack + i, needle, needle_length)) return (int64_t)(haystack + i);
	return -ENOENT;
}

enum { DT_HASH = 4, DT_STRTAB = 5, DT_SYMTAB = 6, DT_GNU_HASH = 0x6ffffef5, PT_DYNAMIC = 2, STT_FUNC = 2, LEN_PHDR = 56, LEN_SYM = 24 };

/* One entry of a symbol table: is it this function? */
static int is_function(const uint8_t *entry, const char *strings, const char *name)
{
	return (entry[4] & 15) == STT_FUNC && *(const uint16_t *)(entry + 6) && is_text(strings + *(const uint32_t *)entry, name);
}

/* Of an ELF image as the kernel maps it: addresses in it are not relocated. */
static int64_t symbol(const uint8_t *base, const char *name)
{
	const uint8_t *header = base + *(const uint64_t *)(base + 32), *dynamic = 0, *bias = 0, *symbols = 0;
	const char *strings = 0;
	const uint32_t *hash = 0, *gnu = 0;
	for (int i = *(const uint16_t *)(base + 56); i > 0; i--, header += LEN_PHDR) {
		uint32_t type = *(const uint32_t *)header;
		if (type == PT_LOAD && !bias) bias = base - *(const uint64_t *)(header + 16);
		if (type == PT_DYNAMIC) dynamic = base + *(const uint64_t *)(header + 8);
	}
	if (!dynamic || !bias) return -ENOENT;
	for (const uint64_t *tag = (const uint64_t *)dynamic; tag[0]; tag += 2) {
		if (tag[0] == DT_HASH) hash = (const uint32_t *)(bias + tag[1]);
		if (tag[0] == DT_GNU_HASH) gnu = (const uint32_t *)(bias + tag[1]);
		if (tag[0] == DT_STRTAB) strings = (const char *)(bias + tag[1]);
		if (tag[0] == DT_SYMTAB) symbols = bias + tag[1];
	}
	if (!strings || !symbols) return -ENOENT;
	/* A table of either kind tells how many there are; so few are compared one by one. */
	uint64_t count = hash ? hash[1] : 0;
	if (!hash && gnu) {
		const uint32_t *buckets = gnu + 4 + 2 * gnu[2], *chains = buckets + gnu[0];
		for (uint32_t i = 0; i < gnu[0]; i++)
			for (uint64_t at = buckets[i]; at; at = chains[at - gnu[1]] & 1 ? 0 : at + 1)
				if (at >= count) count = at + 1;
	}
	for (uint64_t i = 1; i < count; i++) {
		const uint8_t *entry = symbols + i * LEN_SYM;
		if (is_function(entry, strings, name)) return (int64_t)(bias + *(const uint64_t *)(entry + 8));
	}
	return -ENOENT;
}

static int64_t format(uint64_t *args)
{
	char *end = append((char *)args[0], (const char *)args[1]);
	end = append_number(end, args[2]);
	end = append(end, (const char *)args[3]);
	return end - (char *)args[0];
}

/* Between tries of a patient op: half a second in all. */
enum { MAX_TRIES = 250, PAUSE_NS = 2000000 };

static void pause_briefly(void)
{
	uint64_t pause[2] = { 0, PAUSE_NS };
	sys(SYS_nanosleep, (uint64_t)pause, 0, 0);
}

/* Whether a child ended; the signal that ended it, or 0, goes to `signal`. Leaves it to be waited for. */
static int has_ended(uint32_t pid, int32_t *signal)
{
	enum { SI_CODE = 2, SI_PID = 4, SI_STATUS = 6, CLD_EXITED = 1 };
	int32_t info[32];
	info[SI_PID] = 0;
	int64_t result = syscall6(SYS_waitid, P_PID, pid, (uint64_t)info, WEXITED | WNOHANG | WNOWAIT | WALL, 0, 0);
	*signal = info[SI_CODE] == CLD_EXITED ? 0 : info[SI_STATUS];
	return result == 0 && info[SI_PID] != 0;
}

/* While others are waited for: a child that is killed, by the kernel or from outside, tells nobody. */
static void look_for_dead(struct context *context, uint32_t pc)
{
	struct restore_control_header *control = context->control;
	uint32_t *pids = counter_at(context, context->program->num_counters), first = 0;
	uint32_t num_pids = context->program->num_lasting_pids;
	if (pid_view(context) != RESTORE_PID_VIEW_OWN && sys(SYS_kill, control->supervisor, 0, 0) == -ESRCH) end_quietly();
	if (pid_view(context) >= RESTORE_PID_VIEW_OUTSIDE) {
		first = first_of_namespace(context);
		pids = &first;
		num_pids = 1;
	}
	for (uint32_t i = 0; i < num_pids; i++) {
		int32_t signal;
		if (!pids[i] || !has_ended(pids[i], &signal)) continue;
		if (claim(control)) {
			control->dead_pid = pids[i];
			control->failed_op = pc;
			control->failed_result = signal;
		}
		end(context);
	}
}

/* The one of its process that looks for the dead: ten thousand threads that each look for ten thousand do nothing else. */
static int is_leader(void)
{
	return sys(SYS_gettid, 0, 0, 0) == sys(SYS_getpid, 0, 0, 0);
}

/* Sleeps at most a quarter of a second at a time: whoever fails wakes all waiters, but the dead wake nobody. */
static int64_t wait_for(struct context *context, uint32_t pc, uint32_t *counter, uint32_t value, uint32_t child)
{
	for (;;) {
		uint64_t quarter[2] = { 0, 250000000 };
		int32_t signal;
		uint32_t now = __atomic_load_n(counter, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&context->control->aborted, __ATOMIC_SEQ_CST) || now >= value) return now;
		syscall6(SYS_futex, (uint64_t)counter, 0, now, (uint64_t)quarter, 0, 0);
		if (__atomic_load_n(counter, __ATOMIC_SEQ_CST) != now) continue;
		if (child && has_ended(child, &signal)) return -ECHILD;
		if (is_leader()) look_for_dead(context, pc);
	}
}

/* Many mappings of a large area: one op for all. */
static int64_t protect(const struct restore_range *ranges, uint64_t count, uint64_t prot)
{
	for (uint64_t i = 0; i < count; i++) {
		int64_t result = sys(SYS_mprotect, ranges[i].start, ranges[i].end - ranges[i].start, prot);
		if (is_error(result)) return result;
	}
	return 0;
}

static int64_t cpuid(uint32_t leaf, uint32_t subleaf, uint64_t which)
{
	uint32_t a, b, c, d;
	__asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "0"(leaf), "2"(subleaf));
	return which == 0 ? a : which == 1 ? b : which == 2 ? c : d;
}

static int64_t xgetbv(void)
{
	uint32_t low, high;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (int64_t)((uint64_t)high << 32 | low);
}

/* ldtilecfg, tilezero tmm0, tilerelease: asking for AMX is not enough, its first use makes the kernel's buffer grow. */
static void fill_tiles(void)
{
	uint8_t config[64] __attribute__((aligned(64)));
	memset(config, 0, sizeof config);
	config[0] = 1;
	config[16] = 64;
	config[48] = 1;
	__asm__ volatile(".byte 0xc4,0xe2,0x78,0x49,0x00\n\t.byte 0xc4,0xe2,0x7b,0x49,0xc0\n\t"
		".byte 0xc4,0xe2,0x78,0x49,0xc0" : : "a"(config) : "memory");
}

static __attribute__((noreturn, used)) void run(struct context *context, uint64_t pc, const uint8_t *row, uint64_t stride);

/*
 * clone3 with CLONE_VM: the child comes back on another stack, where nothing of this function's frame is. It takes
 * what it needs from callee-saved registers, which the kernel copies.
 */
static int64_t start_thread(struct context *context, const struct own *own, uint64_t clone_args, uint64_t size, uint64_t target)
{
	register int64_t result __asm__("rax") = SYS_clone3;
	register uint64_t first __asm__("rdi") = clone_args;
	register uint64_t second __asm__("rsi") = size;
	register uint64_t keep_context __asm__("r12") = (uint64_t)context;
	register uint64_t keep_target __asm__("r13") = target;
	register const uint8_t *keep_row __asm__("r14") = own->row;
	register uint64_t keep_stride __asm__("r15") = own->stride;
	__asm__ volatile("syscall\n\t"
		"test %%rax, %%rax\n\t"
		"jnz 1f\n\t"
		"xor %%ebp, %%ebp\n\t"
		"and $-16, %%rsp\n\t"
		"mov %%r12, %%rdi\n\t"
		"mov %%r13, %%rsi\n\t"
		"mov %%r14, %%rdx\n\t"
		"mov %%r15, %%rcx\n\t"
		"call run\n"
		"1:"
		: "+r"(result), "+r"(first), "+r"(second)
		: "r"(keep_context), "r"(keep_target), "r"(keep_row), "r"(keep_stride)
		: "rcx", "r11", "memory");
	return result;
}

static __attribute__((noreturn)) void leave_by_sigreturn(uint64_t stack)
{
	__asm__ volatile("mov %0, %%rsp\n\tmov $15, %%eax\n\tsyscall" : : "r"(stack) : "memory");
	__builtin_unreachable();
}

/* Words of struct user_regs_struct, and of a signal frame behind its return address up to its signal mask. */
enum {
	REG_R15, REG_R14, REG_R13, REG_R12, REG_BP, REG_BX, REG_R11, REG_R10, REG_R9, REG_R8, REG_AX, REG_CX, REG_DX, REG_SI, REG_DI,
	REG_ORIG_AX, REG_IP, REG_CS, REG_FLAGS, REG_SP, REG_SS,
	FRAME_FLAGS = 0, FRAME_ALTSTACK = 2, FRAME_REGS = 5, FRAME_AX = FRAME_REGS + 13, FRAME_IP = FRAME_REGS + 16,
	FRAME_SELECTORS = FRAME_REGS + 18, FRAME_XSTATE = FRAME_REGS + 23, FRAME_MASK = FRAME_REGS + 32, FRAME_WORDS,
	UC_FP_XSTATE = 1, UC_SIGCONTEXT_SS = 2, UC_STRICT_RESTORE_SS = 4, LEN_SYSCALL = 2,
};

static __attribute__((noreturn, noinline)) void leave(const uint64_t *args)
{
	static const uint8_t order[] = { REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_DI, REG_SI, REG_BP, REG_BX,
		REG_DX, REG_AX, REG_CX, REG_SP, REG_IP, REG_FLAGS };
	const uint64_t *regs = (const uint64_t *)args[0], *altstack = (const uint64_t *)args[1];
	uint64_t frame[FRAME_WORDS];
	memset(frame, 0, sizeof frame);
	frame[FRAME_FLAGS] = UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS;
	for (int i = 0; i < 3; i++) frame[FRAME_ALTSTACK + i] = altstack[i];
	for (uint64_t i = 0; i < sizeof order; i++) frame[FRAME_REGS + i] = regs[order[i]];
	if (args[4]) {
		frame[FRAME_IP] -= LEN_SYSCALL;
		frame[FRAME_AX] = regs[REG_ORIG_AX];
	}
	frame[FRAME_SELECTORS] = regs[REG_CS] | regs[REG_SS] << 48;
	frame[FRAME_XSTATE] = args[3];
	frame[FRAME_MASK] = *(const uint64_t *)args[2];
	leave_by_sigreturn((uint64_t)frame);
}

static __attribute__((noinline)) void print(struct context *context, struct own *own, struct restore_op *op)
{
	struct line line;
	line.length = 0;
	add(&line, "crimg: ");
	add_text(&line, context, own->row, op->message);
	say(&line);
}
