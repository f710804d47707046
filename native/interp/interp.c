/*
 * The interpreter that an image carries: it executes the restore program (spec/ksy/restore_program.ksy), a table of
 * ops that was made when the image was linked, and decides nothing itself.
 *
 * Freestanding: no libc, no startup files, no data or bss segment, no relocations (position-independent code and
 * constants only), so that build/interp.bin can be loaded at any address. All writable memory comes from the program.
 *
 * The address space while it runs, all of it in the hole, a range that no task of the image uses:
 *
 *   hole_base      page 0 of the image (ELF and program headers), then this code     R-X
 *   addr_program   program header, ops, data, zeroed buffers, slots, stacks           RW-  private: forks get copies
 *   addr_control   control header, counters, process ids                             RW-  shared by the whole tree
 *   hole_end
 *
 * Stages:
 *   1. enter(): just after execve. Code is mapped from the image file, the stack is the kernel's. Everything may still
 *      be touched. Loads the program and looks whether it is whole (verify.h), then replaces its own code by an
 *      anonymous copy.
 *   2. run(): the ops. From here nothing outside the hole may be relied on, since the first op that wants to will
 *      unmap it: no pointer into the old stack, argv, envp or vDSO is kept (auxv and --pidfile are copied before).
 *   3. leaving: by ptrace from the first process (no code here at all), or by the sigreturn op.
 *
 * All signals are blocked by the first op, so no system call here is interrupted, and EINTR needs no care.
 */
#include "restore_program.h"
#include "base.h"
#include "verify.h"
#include "populate.h"

/* What run() needs to know of the process or thread that executes it. */
struct context {
	struct restore_program_header *program;
	struct restore_control_header *control;
	uint64_t *slots;
	uint8_t *data;
	uint64_t *auxv;
};

/* ---- failing ---- */

static const char *text_at(struct context *context, uint32_t offset)
{
	return (const char *)context->data + offset;
}

static struct restore_op *op_at(struct context *context, uint32_t index)
{
	return (struct restore_op *)((uint8_t *)context->program + context->program->ofs_ops) + index;
}

static uint32_t *counter_at(struct context *context, uint32_t index)
{
	return (uint32_t *)(context->control + 1) + index;
}

static void futex_wake_all(uint32_t *word)
{
	sys(SYS_futex, (uint64_t)word, 1, 0x7fffffff);
}

static void wake_everybody(struct context *context)
{
	for (uint32_t i = 0; i < context->program->num_counters; i++) futex_wake_all(counter_at(context, i));
}

static void add_dead(struct line *line, struct restore_control_header *control)
{
	add(line, "process ");
	add_number(line, control->dead_pid);
	add(line, control->failed_result ? " was ended by signal " : " ended");
	if (control->failed_result) add_number(line, (uint64_t)control->failed_result);
	add(line, " before the tree ran");
}

/*
 * Only the process that the caller started does this. It is the child subreaper of everything it made, so when the
 * last wait says ECHILD, nothing of the tree is left.
 */
static __attribute__((noreturn, noinline)) void report(struct context *context)
{
	struct restore_program_header *program = context->program;
	struct restore_control_header *control = context->control;
	uint32_t *pids = counter_at(context, program->num_counters);
	int64_t waited;
	__atomic_store_n(&control->aborted, 1, __ATOMIC_SEQ_CST);
	wake_everybody(context);
	do {
		for (uint32_t i = 0; i < program->num_pids; i++)
			if (pids[i]) sys(SYS_kill, pids[i], SIGKILL, 0);
		waited = sys(SYS_wait4, (uint64_t)-1, 0, WALL);
	} while (waited > 0);

	struct line line;
	line.length = 0;
	add(&line, "crimg: ");
	if (!control->claimed) {
		add(&line, "the restored tree ended before it ran");
	} else if (control->dead_pid) {
		add_dead(&line, control);
	} else {
		struct restore_op *op = op_at(context, control->failed_op);
		if (op->subject) {
			add(&line, text_at(context, op->subject));
			add(&line, ": ");
		}
		if (op->message) {
			add(&line, text_at(context, op->message));
		} else {
			add(&line, "op ");
			add_number(&line, control->failed_op);
		}
		int64_t error = -control->failed_result;
		uint32_t *errors = (uint32_t *)(context->data + program->ofs_errors);
		if (error > 0 && error < program->num_errors && errors[error]) {
			add(&line, ": ");
			add(&line, text_at(context, errors[error]));
		} else if (control->failed_result && op->kind == RESTORE_OP_KIND_SYSCALL) {
			add(&line, ": unexpected result ");
			add_number(&line, (uint64_t)control->failed_result);
		}
		if (op->hint) {
			add(&line, "\n  ");
			add(&line, text_at(context, op->hint));
		}
	}
	say(&line);
	for (;;) sys(SYS_exit_group, EXIT_RESTORE_FAILED, 0, 0);
}

/*
 * Children end first. In a pid namespace its init says what failed: it is a child of the process that the caller
 * started, and the kernel would kill it with that one before it has said so.
 */
static __attribute__((noreturn)) void end_quietly(void)
{
	while (sys(SYS_wait4, (uint64_t)-1, 0, WALL) > 0) {}
	for (;;) sys(SYS_exit_group, EXIT_RESTORE_FAILED, 0, 0);
}

/* Everything ends; only the supervisor says why. */
static __attribute__((noreturn)) void end(struct context *context)
{
	__atomic_store_n(&context->control->aborted, 1, __ATOMIC_SEQ_CST);
	wake_everybody(context);
	if (sys(SYS_gettid, 0, 0, 0) == context->control->supervisor) report(context);
	end_quietly();
}

/* The first failure is remembered for the report. */
static int claim(struct restore_control_header *control)
{
	return !__atomic_exchange_n(&control->claimed, 1, __ATOMIC_SEQ_CST);
}

static __attribute__((noreturn)) void fail(struct context *context, uint32_t index, int64_t result)
{
	struct restore_control_header *control = context->control;
	if (claim(control)) {
		control->failed_op = index;
		control->failed_tid = (uint32_t)sys(SYS_gettid, 0, 0, 0);
		control->failed_result = result;
	}
	end(context);
}

/* ---- the ops ---- */

static uint64_t argument(struct context *context, struct restore_op *op, int i)
{
	uint64_t value = op->args[i];
	switch (op->modes[i]) {
	case RESTORE_ARG_MODE_DATA: return (uint64_t)context->data + value;
	case RESTORE_ARG_MODE_SLOT: return context->slots[(uint32_t)value] + (uint64_t)((int64_t)value >> 32);
	case RESTORE_ARG_MODE_SLOT_ADDRESS: return (uint64_t)(context->slots + value);
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

static int64_t format(uint64_t *args)
{
	char *end = append((char *)args[0], (const char *)args[1]);
	end = append_number(end, args[2]);
	end = append(end, (const char *)args[3]);
	return end - (char *)args[0];
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
	uint32_t *pids = counter_at(context, context->program->num_counters);
	if (sys(SYS_kill, control->supervisor, 0, 0) == -ESRCH) end_quietly();
	for (uint32_t i = 0; i < context->program->num_lasting_pids; i++) {
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
		look_for_dead(context, pc);
	}
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
	__asm__ volatile(".byte 0xc4,0xe2,0x78,0x49,0x00\n\t.byte 0xc4,0xe2,0x7b,0x49,0xc0\n\t.byte 0xc4,0xe2,0x78,0x49,0xc0" : : "a"(config) : "memory");
}

static __attribute__((noreturn, used)) void run(struct context *context, uint64_t pc);

/*
 * clone3 with CLONE_VM: the child comes back on another stack, where nothing of this function's frame is. It takes
 * what it needs from callee-saved registers, which the kernel copies.
 */
static int64_t start_thread(struct context *context, uint64_t clone_args, uint64_t size, uint64_t target)
{
	register int64_t result __asm__("rax") = SYS_clone3;
	register uint64_t first __asm__("rdi") = clone_args;
	register uint64_t second __asm__("rsi") = size;
	register uint64_t keep_context __asm__("r12") = (uint64_t)context;
	register uint64_t keep_target __asm__("r13") = target;
	__asm__ volatile("syscall\n\t"
		"test %%rax, %%rax\n\t"
		"jnz 1f\n\t"
		"xor %%ebp, %%ebp\n\t"
		"and $-16, %%rsp\n\t"
		"mov %%r12, %%rdi\n\t"
		"mov %%r13, %%rsi\n\t"
		"call run\n"
		"1:"
		: "+r"(result), "+r"(first), "+r"(second)
		: "r"(keep_context), "r"(keep_target)
		: "rcx", "r11", "memory");
	return result;
}

static __attribute__((noreturn)) void leave_by_sigreturn(uint64_t stack)
{
	__asm__ volatile("mov %0, %%rsp\n\tmov $15, %%eax\n\tsyscall" : : "r"(stack) : "memory");
	__builtin_unreachable();
}

static __attribute__((noinline)) void print(struct context *context, struct restore_op *op)
{
	struct line line;
	line.length = 0;
	add(&line, "crimg: ");
	add(&line, text_at(context, op->message));
	say(&line);
}

static __attribute__((noreturn, used)) void run(struct context *context, uint64_t pc)
{
	for (;;) {
		struct restore_op *op = op_at(context, (uint32_t)pc);
		uint64_t a[6];
		int64_t result = 0;
		if (pc >= context->program->num_ops) fail(context, (uint32_t)pc - 1, -EINVAL);
		if (__atomic_load_n(&context->control->aborted, __ATOMIC_RELAXED)) end(context);
		for (int i = 0; i < 6; i++) a[i] = argument(context, op, i);
		switch (op->kind) {
		case RESTORE_OP_KIND_SYSCALL: result = syscall6(op->nr, a[0], a[1], a[2], a[3], a[4], a[5]); break;
		case RESTORE_OP_KIND_STORE4: *(uint32_t *)a[0] = (uint32_t)a[1]; break;
		case RESTORE_OP_KIND_STORE8: *(uint64_t *)a[0] = a[1]; break;
		case RESTORE_OP_KIND_COPY: memcpy((void *)a[0], (void *)a[1], a[2]); break;
		case RESTORE_OP_KIND_COMPARE: result = memcmp((void *)a[0], (void *)a[1], a[2]) != 0; break;
		case RESTORE_OP_KIND_FIND: result = find((uint8_t *)a[0], a[1], (uint8_t *)a[2], a[3]); break;
		case RESTORE_OP_KIND_COMPUTE: result = (int64_t)compute(op->nr, a[0], a[1]); break;
		case RESTORE_OP_KIND_JUMP:
			pc = jumps(op->nr, a[0], a[1]) ? op->target : pc + 1;
			continue;
		case RESTORE_OP_KIND_THREAD: result = start_thread(context, a[0], a[1], op->target); break;
		case RESTORE_OP_KIND_COUNT:
			__atomic_add_fetch((uint32_t *)a[0], (uint32_t)a[1], __ATOMIC_SEQ_CST);
			futex_wake_all((uint32_t *)a[0]);
			break;
		case RESTORE_OP_KIND_WAIT: result = wait_for(context, (uint32_t)pc, (uint32_t *)a[0], (uint32_t)a[1], (uint32_t)a[2]); break;
		case RESTORE_OP_KIND_FORMAT: result = format(a); break;
		case RESTORE_OP_KIND_PRINT: print(context, op); break;
		case RESTORE_OP_KIND_SIGRETURN: leave_by_sigreturn(a[0]);
		case RESTORE_OP_KIND_FAIL: fail(context, (uint32_t)pc, (int64_t)a[0]);
		case RESTORE_OP_KIND_REPORT: report(context);
		case RESTORE_OP_KIND_POPULATE: populate(a[0], a[1]); break;
		case RESTORE_OP_KIND_CPUID: result = cpuid((uint32_t)a[0], (uint32_t)a[1], a[2]); break;
		case RESTORE_OP_KIND_XGETBV: result = xgetbv(); break;
		case RESTORE_OP_KIND_FILL_TILES: fill_tiles(); break;
		default: fail(context, (uint32_t)pc, -EINVAL);
		}
		if (op->store != 0xffffffff) context->slots[op->store] = (uint64_t)result;
		if (is_right(op, result)) {
			pc++;
		} else if (op->flags & RESTORE_OP_FLAGS_ELSE_JUMP) {
			pc = op->target;
		} else {
			fail(context, (uint32_t)pc, result);
		}
	}
}

/* ---- stage 1 ---- */

static uint64_t pid_mode_of(const char *name)
{
	if (is_text(name, "auto")) return RESTORE_PID_MODE_AUTO;
	if (is_text(name, "same")) return RESTORE_PID_MODE_SAME;
	if (is_text(name, "namespace")) return RESTORE_PID_MODE_NAMESPACE;
	if (is_text(name, "any")) return RESTORE_PID_MODE_ANY;
	die("--pid takes same, namespace, any or auto", EXIT_USAGE);
}

/* An option's value: `--name=value`, or the next argument. */
static const char *value_of(const char *name, char ***argv)
{
	const char *argument = **argv;
	uint64_t length = length_of(name);
	if (argument[length] == '=') return argument + length + 1;
	if (!(*argv)[1]) die("an option lacks its value; --help shows the options", EXIT_USAGE);
	return *++*argv;
}

static int is_option(const char *argument, const char *name)
{
	uint64_t length = length_of(name);
	return starts_with(argument, name) && (argument[length] == 0 || argument[length] == '=');
}

/* Where the copies of what lies on the kernel's stack go: behind the stack of run(). */
struct startup {
	struct context context;
	uint64_t auxv[NUM_AUXV];
	char pidfile[PAGE];
};
_Static_assert(sizeof(struct startup) <= STARTUP_ROOM, "the linker leaves room for it");

static void parse_options(struct context *context, struct startup *startup, char **argv)
{
	for (; *argv; argv++) {
		if (is_text(*argv, "--detach") || is_text(*argv, "-d")) {
			context->slots[RESTORE_OPTION_SLOT_DETACH] = 1;
		} else if (is_text(*argv, "--leave-stopped")) {
			context->slots[RESTORE_OPTION_SLOT_LEAVE_STOPPED] = 1;
		} else if (is_option(*argv, "--pidfile")) {
			const char *path = value_of("--pidfile", &argv);
			if (length_of(path) >= sizeof startup->pidfile) die("--pidfile: the name is too long", EXIT_USAGE);
			append(startup->pidfile, path);
			context->slots[RESTORE_OPTION_SLOT_PIDFILE] = (uint64_t)startup->pidfile;
		} else if (is_option(*argv, "--pid")) {
			context->slots[RESTORE_OPTION_SLOT_PID_MODE] = pid_mode_of(value_of("--pid", &argv));
		} else if (is_text(*argv, "--help") || is_text(*argv, "-h")) {
			const char *usage = text_at(context, context->program->ofs_usage);
			sys(SYS_write, 1, (uint64_t)usage, length_of(usage));
			for (;;) sys(SYS_exit_group, 0, 0, 0);
		} else {
			struct line line;
			line.length = 0;
			add(&line, "crimg: unknown option ");
			add(&line, *argv);
			add(&line, "; --help shows the options");
			say(&line);
			for (;;) sys(SYS_exit_group, EXIT_USAGE, 0, 0);
		}
	}
}

static int64_t open_image(const char *path)
{
	enum { AT_FDCWD = -100, O_CLOEXEC = 02000000, F_DUPFD_CLOEXEC = 1030 };
	int64_t fd = syscall6(SYS_openat, (uint64_t)AT_FDCWD, (uint64_t)path, O_CLOEXEC, 0, 0, 0);
	if (is_error(fd) || fd > 2) return fd;
	/* Descriptors 0 to 2 may be closed: they belong to the tree. */
	int64_t high = sys(SYS_fcntl, (uint64_t)fd, F_DUPFD_CLOEXEC, 3);
	sys(SYS_close, (uint64_t)fd, 0, 0);
	return high;
}

static __attribute__((noreturn)) void switch_stack(uint64_t stack, struct context *context, uint64_t pc)
{
	__asm__ volatile("mov %0, %%rsp\n\txor %%ebp, %%ebp\n\tcall run" : : "r"(stack), "D"(context), "S"(pc) : "memory");
	__builtin_unreachable();
}

/*
 * Replaces the code that runs by an anonymous copy of itself: a task's exe link cannot be changed while a page of the
 * old executable is mapped (EBUSY from PR_SET_MM_MAP). mremap swaps the pages while its own instruction is in them;
 * that works because the bytes are the same.
 */
static int64_t make_code_anonymous(uint64_t base, uint64_t length)
{
	int64_t copy = syscall6(SYS_mmap, 0, length, 3, 0x22, (uint64_t)-1, 0);
	if (is_error(copy)) return copy;
	memcpy((void *)copy, (void *)base, length);
	int64_t result = sys(SYS_mprotect, (uint64_t)copy, length, 5);
	if (is_error(result)) return result;
	return syscall6(SYS_mremap, (uint64_t)copy, length, length, 3, base, 0);
}

__attribute__((noreturn, used)) void enter(uint64_t *stack)
{
	char **argv = (char **)(stack + 1);
	uint64_t *auxv = stack + 1 + stack[0] + 1;
	while (*auxv++) ; /* the environment */
	uint64_t phdr = 0, phnum = 0;
	for (uint64_t *entry = auxv; entry[0] != AT_NULL; entry += 2) {
		if (entry[0] == AT_PHDR) phdr = entry[1];
		if (entry[0] == AT_PHNUM) phnum = entry[1];
	}
	const struct program_segment *segment = find_segment(phdr, phnum, PT_CKPT_PROGRAM), *load = find_segment(phdr, phnum, PT_LOAD);
	if (!segment || !load) die("this file is not a checkpoint image", EXIT_NOT_AN_IMAGE);
	verify_segments(segment, load);

	int64_t fd = open_image("/proc/self/exe");
	/* AT_EXECFN, for places without /proc. */
	if (is_error(fd))
		for (uint64_t *entry = auxv; entry[0] != AT_NULL; entry += 2)
			if (entry[0] == 31) fd = open_image((const char *)entry[1]);
	if (is_error(fd)) die("cannot open the image for reading (is /proc mounted?)", EXIT_RESTORE_FAILED);

	int64_t memory = syscall6(SYS_mmap, segment->vaddr, segment->memsz, 3, 0x100022, (uint64_t)-1, 0);
	if (memory != (int64_t)segment->vaddr) die("not enough memory for the restore program", EXIT_RESTORE_FAILED);
	for (uint64_t done = 0; done < segment->filesz;) {
		int64_t count = syscall6(SYS_pread64, (uint64_t)fd, segment->vaddr + done, segment->filesz - done, segment->offset + done, 0, 0);
		if (count <= 0) die("the image is truncated: its restore program is incomplete", EXIT_NOT_AN_IMAGE);
		done += (uint64_t)count;
	}
	struct restore_program_header *program = (struct restore_program_header *)segment->vaddr;
	verify_program(program, segment, load);
	int64_t control = syscall6(SYS_mmap, program->addr_control, program->len_control, 3, 0x100021, (uint64_t)-1, 0);
	if (control != (int64_t)program->addr_control) die("not enough memory for the control area", EXIT_RESTORE_FAILED);

	struct startup *startup = (struct startup *)program->addr_stack;
	struct context *context = &startup->context;
	context->program = program;
	context->control = (struct restore_control_header *)control;
	context->slots = (uint64_t *)program->addr_slots;
	context->data = (uint8_t *)program + program->ofs_data;
	context->auxv = startup->auxv;
	for (uint64_t *entry = auxv; entry[0] != AT_NULL; entry += 2)
		if (entry[0] < NUM_AUXV) startup->auxv[entry[0]] = entry[1];
	context->control->supervisor = (uint32_t)sys(SYS_gettid, 0, 0, 0);
	context->slots[RESTORE_OPTION_SLOT_IMAGE_FD] = (uint64_t)fd;
	parse_options(context, startup, argv + 1);

	if (is_error(make_code_anonymous(program->hole_base, program->addr_program - program->hole_base)))
		die("not enough memory for the interpreter", EXIT_RESTORE_FAILED);
	switch_stack(program->addr_stack, context, program->entry);
}

/* The first instruction of the image: the kernel's stack pointer points to argc. */
__asm__(".section .text.start,\"ax\"\n"
	".globl start\n"
	"start:\n"
	"	xor %ebp, %ebp\n"
	"	mov %rsp, %rdi\n"
	"	and $-16, %rsp\n"
	"	call enter\n"
	".previous\n");
