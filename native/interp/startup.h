// SPDX-License-Identifier: Apache-2.0
/* Stage 1: from execve to the first op. */
#pragma once
#include "ops.h"

static uint64_t pid_mode_of(const char *name)
{
	if (is_text(name, "auto")) return RESTORE_PID_MODE_AUTO;
	if (is_text(name, "same")) return RESTORE_PID_MODE_SAME;
	if (is_text(name, "namespace")) return RESTORE_PID_MODE_NAMESPACE;
	if (is_text(name, "any")) return RESTORE_PID_MODE_ANY;
	die("--pid takes same, namespace, any or auto", EXIT_USAGE);
}

struct file_entry {
	uint32_t path, slot;
};

/* --files: a policy for all files, or behind a colon for one of them. */
static void set_file_policy(struct context *context, const char *value)
{
	static const struct { char name[8]; uint32_t policy; } policies[] = {
		{ "same", RESTORE_FILE_POLICY_SAME }, { "strict", RESTORE_FILE_POLICY_STRICT }, { "any", RESTORE_FILE_POLICY_ANY },
	};
	const struct file_entry *files = (const struct file_entry *)(context->data + context->program->ofs_files);
	for (uint64_t i = 0; i < sizeof policies / sizeof *policies; i++) {
		uint64_t length = length_of(policies[i].name);
		if (!starts_with(value, policies[i].name) || (value[length] && value[length] != ':')) continue;
		const char *path = value[length] ? value + length + 1 : 0;
		int found = !path;
		for (uint32_t file = 0; file < context->program->num_files; file++) {
			if (path && !is_text(path, text_at(context, files[file].path))) continue;
			context->slots[files[file].slot] = policies[i].policy;
			found = 1;
		}
		if (found) return;
		die("--files names a file that this image does not look at", EXIT_USAGE);
	}
	die("--files takes same, strict or any, and :/PATH behind it for one file", EXIT_USAGE);
}

static uint64_t clock_mode_of(const char *name)
{
	if (is_text(name, "continue")) return RESTORE_CLOCK_MODE_CONTINUE;
	if (is_text(name, "host")) return RESTORE_CLOCK_MODE_HOST;
	die("--clock takes continue or host", EXIT_USAGE);
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
	char gpu_map[PAGE / 2];
	char rootfs[PAGE / 4];
};
_Static_assert(sizeof(struct startup) <= STARTUP_ROOM, "the linker leaves room for it");

/* A copy of an option's value that stays when the kernel's stack is gone. */
static uint64_t keep(char *room, uint64_t size, const char *text)
{
	if (length_of(text) >= size) die("the value of an option is too long", EXIT_USAGE);
	append(room, text);
	return (uint64_t)room;
}

static void parse_options(struct context *context, struct startup *startup, char **argv)
{
	for (; *argv; argv++) {
		if (is_text(*argv, "--detach") || is_text(*argv, "-d")) {
			context->slots[RESTORE_OPTION_SLOT_DETACH] = 1;
		} else if (is_text(*argv, "--leave-stopped")) {
			context->slots[RESTORE_OPTION_SLOT_LEAVE_STOPPED] = 1;
		} else if (is_text(*argv, "--no-verify")) {
			context->slots[RESTORE_OPTION_SLOT_NO_VERIFY] = 1;
		} else if (is_option(*argv, "--pidfile")) {
			context->slots[RESTORE_OPTION_SLOT_PIDFILE] = keep(startup->pidfile, sizeof startup->pidfile, value_of("--pidfile", &argv));
		} else if (is_option(*argv, "--rootfs")) {
			context->slots[RESTORE_OPTION_SLOT_ROOTFS] = keep(startup->rootfs, sizeof startup->rootfs, value_of("--rootfs", &argv));
		} else if (is_option(*argv, "--gpu-map")) {
			context->slots[RESTORE_OPTION_SLOT_GPU_MAP] = keep(startup->gpu_map, sizeof startup->gpu_map, value_of("--gpu-map", &argv));
		} else if (is_option(*argv, "--pid")) {
			context->slots[RESTORE_OPTION_SLOT_PID_MODE] = pid_mode_of(value_of("--pid", &argv));
		} else if (is_text(*argv, "--rehearse")) {
			context->slots[RESTORE_OPTION_SLOT_REHEARSE] = 1;
		} else if (is_text(*argv, "--lazy")) {
			context->slots[RESTORE_OPTION_SLOT_MEMORY] = RESTORE_MEMORY_MODE_LAZY;
		} else if (is_text(*argv, "--eager")) {
			context->slots[RESTORE_OPTION_SLOT_MEMORY] = RESTORE_MEMORY_MODE_EAGER;
		} else if (is_option(*argv, "--clock")) {
			context->slots[RESTORE_OPTION_SLOT_CLOCK] = clock_mode_of(value_of("--clock", &argv));
		} else if (is_option(*argv, "--files")) {
			set_file_policy(context, value_of("--files", &argv));
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
	__asm__ volatile("mov %0, %%rsp\n\txor %%ebp, %%ebp\n\tcall run" : : "r"(stack), "D"(context), "S"(pc), "d"(0l), "c"(0l) : "memory");
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
