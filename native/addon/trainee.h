/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process of crimg's own that a dump is practised on: a child that has a file mapped and some descriptors, and sleeps.
 *
 * It shares crimg's memory until it executes its program (like vfork(2): copying the page tables would take longer than all the
 * rest), and runs on a stack of its own until then. It ends with crimg, and in any case by an alarm.
 */
#ifndef CRIMG_TRAINEE_H
#define CRIMG_TRAINEE_H

#include "raw.h"

/* An executable of one page. Its code has what injected calls need: `syscall; ret`, and a call of rt_sigreturn. */
__asm__(".pushsection .rodata\n"
	".globl crimg_trainee_begin, crimg_trainee_end\n.hidden crimg_trainee_begin, crimg_trainee_end\n"
	"crimg_trainee_begin:\n"
	"	.byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0\n	.quad 0\n"
	"	.short 2, 62\n	.long 1\n	.quad 0x400078, 64, 0\n	.long 0\n	.short 64, 56, 1, 0, 0, 0\n" /* ET_EXEC, EM_X86_64 */
	"	.long 1, 5\n	.quad 0, 0x400000, 0x400000\n" /* PT_LOAD, R X */
	"	.quad crimg_trainee_end - crimg_trainee_begin, crimg_trainee_end - crimg_trainee_begin, 0x1000\n"
	"	mov $37, %eax\n	mov $20, %edi\n	syscall\n" /* alarm: seconds */
	/* a private page of the file at descriptor 3, and one of no file, which is written to */
	"	mov $9, %eax\n	xor %edi, %edi\n	mov $4096, %esi\n	mov $1, %edx\n	mov $2, %r10d\n	mov $3, %r8d\n	xor %r9d, %r9d\n	syscall\n"
	"	mov $9, %eax\n	xor %edi, %edi\n	mov $4096, %esi\n	mov $3, %edx\n	mov $0x22, %r10d\n	mov $-1, %r8\n	syscall\n"
	"	movl $1, (%rax)\n"
	"1:	mov $34, %eax\n	syscall\n	jmp 1b\n" /* pause */
	"	syscall\n	ret\n"
	"	mov $15, %rax\n	syscall\n"
	"crimg_trainee_end:\n"
	".popsection\n");
extern const uint8_t crimg_trainee_begin[], crimg_trainee_end[];

/* clone3 with a function for the child, which must not return. */
int64_t crimg_clone_call(const void *arguments, int64_t size, void (*child)(int64_t), int64_t argument)
	__attribute__((visibility("hidden")));
__asm__(".text\n"
	".type crimg_clone_call, @function\n"
	"crimg_clone_call:\n"
	"	push %r12\n	push %r13\n"
	"	mov %rdx, %r12\n	mov %rcx, %r13\n"
	"	mov $435, %eax\n	syscall\n"
	"	test %rax, %rax\n	jz 1f\n"
	"	pop %r13\n	pop %r12\n	ret\n"
	"1:	mov %r13, %rdi\n	call *%r12\n	hlt\n");

enum { TRAINEE_STACK = 8192, PROGRAM_FD = 30, BLOCK_ALL = 2 /* SIG_SETMASK */ };

/* What the child does in crimg's memory: only calls, with handlers that are the default ones. */
static void become_trainee(int64_t program)
{
	static const char null[] = "/dev/null", self[] = "/proc/self/exe", name[] = "";
	static const char *const arguments[] = { "crimg-trainee", 0 }, *const environment[] = { 0 };
	uint64_t nothing = 0;
	int32_t pipe[2];

	call(__NR_prctl, 1 /* PR_SET_PDEATHSIG */, 9, 0, 0);
	if (call(__NR_dup3, program, PROGRAM_FD, 02000000 /* O_CLOEXEC */, 0) == PROGRAM_FD &&
	    call(__NR_close_range, 0, PROGRAM_FD - 1, 0, 0) == 0 && call(__NR_close_range, PROGRAM_FD + 1, ~0u, 0, 0) == 0 &&
	    call(__NR_openat, -100, address_of(null), 2 /* O_RDWR */, 0) == 0 && call(__NR_dup, 0, 0, 0, 0) == 1 &&
	    call(__NR_dup, 0, 0, 0, 0) == 2 && call(__NR_openat, -100, address_of(self), 0, 0) == 3 &&
	    call(__NR_pipe2, address_of(pipe), 0, 0, 0) == 0 &&
	    call(__NR_rt_sigprocmask, BLOCK_ALL, address_of(&nothing), 0, 8) == 0) {
		const int64_t words[7] = { __NR_execveat, PROGRAM_FD, address_of(name), address_of(arguments), address_of(environment),
					   0x1000 /* AT_EMPTY_PATH */ };

		raw_syscall(words);
	}
	for (;;)
		call(__NR_exit_group, 1, 0, 0, 0);
}

/* A child that may share crimg's memory: without signals, since a handler of crimg's would run in that. Returns its pid, or -errno. */
static int64_t clone_without_signals(const uint64_t arguments[8], void (*child)(int64_t), int64_t argument)
{
	uint64_t all = ~0ull, before = 0;
	int64_t pid = call(__NR_rt_sigprocmask, BLOCK_ALL, address_of(&all), address_of(&before), 8);

	if (pid)
		return pid;
	pid = crimg_clone_call(arguments, 8 * sizeof(*arguments), child, argument);
	call(__NR_rt_sigprocmask, BLOCK_ALL, address_of(&before), 0, 8);
	return pid;
}

/* Waits for the end of such a child. Returns 0 with its status, or -errno. */
static int64_t await_child(int64_t pid, int32_t *status)
{
	int64_t result;

	while ((result = call(__NR_wait4, pid, address_of(status), 0x40000000 /* __WALL */, 0)) == -EINTR)
		;
	return result < 0 ? result : 0;
}

/* Starts the trainee. Returns its pid, or -errno. */
static int64_t start_trainee(void)
{
	static uint8_t stack[TRAINEE_STACK] __attribute__((aligned(64)));
	static const char name[] = "crimg-trainee";
	/* struct clone_args: CLONE_VM | CLONE_VFORK | CLONE_CLEAR_SIGHAND; no exit signal. */
	const uint64_t arguments[8] = { 0x4100ull | 1ull << 32, 0, 0, 0, 0, (uint64_t)address_of(stack), sizeof(stack), 0 };
	int64_t size = crimg_trainee_end - crimg_trainee_begin, pid;
	int64_t program = call(__NR_memfd_create, address_of(name), 1 /* MFD_CLOEXEC */, 0, 0);

	if (program < 0)
		return program;
	pid = call(__NR_write, program, address_of(crimg_trainee_begin), size, 0) == size
		      ? clone_without_signals(arguments, become_trainee, program)
		      : -EIO;
	call(__NR_close, program, 0, 0, 0);
	return pid;
}

/* Ends it, and waits for that. */
static void end_trainee(int32_t pid)
{
	int32_t status;

	call(__NR_kill, pid, 9, 0, 0);
	await_child(pid, &status);
}

#endif
