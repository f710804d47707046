// SPDX-License-Identifier: Apache-2.0
/* What everything here rests on: numbers of the kernel, system calls, memory, text. No libc exists. */
#pragma once
#include "restore_program.h"

enum {
	SYS_write = 1, SYS_mmap = 9, SYS_mprotect = 10, SYS_rt_sigreturn = 15, SYS_pread64 = 17, SYS_mremap = 25, SYS_exit = 60, SYS_wait4 = 61,
	SYS_kill = 62, SYS_madvise = 28, SYS_nanosleep = 35, SYS_clock_gettime = 228, SYS_fcntl = 72, SYS_gettid = 186, SYS_getpid = 39,
	SYS_futex = 202, SYS_exit_group = 231, SYS_openat = 257, SYS_close = 3,
	SYS_clone3 = 435, SYS_waitid = 247,
	EINVAL = 22, ENOENT = 2, ESRCH = 3, ECHILD = 10, EEXIST = 17,
	PAGE = 4096,
	STARTUP_ROOM = 8192, STACK_ROOM = 32768,
	AT_NULL = 0, AT_PHDR = 3, AT_PHNUM = 5, NUM_AUXV = 64,
	PT_LOAD = 1, PT_CKPT_PROGRAM = 0x61010106,
	EXIT_RESTORE_FAILED = 125, EXIT_USAGE = 126, EXIT_NOT_AN_IMAGE = 127,
	SIGKILL = 9, P_PID = 1, WNOHANG = 1, WEXITED = 4, WNOWAIT = 0x1000000, WALL = 0x40000000,
};

/* ---- system calls: nothing but the instruction, as no errno exists here ---- */

static inline __attribute__((always_inline)) int64_t syscall6(uint64_t nr, uint64_t a, uint64_t b, uint64_t c,
	uint64_t d, uint64_t e, uint64_t f)
{
	register uint64_t r10 __asm__("r10") = d;
	register uint64_t r8 __asm__("r8") = e;
	register uint64_t r9 __asm__("r9") = f;
	int64_t result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return result;
}

static int64_t sys(uint64_t nr, uint64_t a, uint64_t b, uint64_t c)
{
	return syscall6(nr, a, b, c, 0, 0, 0);
}

static inline int is_error(int64_t result)
{
	return result < 0 && result >= -4095;
}

/* ---- memory and text: the compiler may call memcpy and memset itself, so they exist under those names ---- */

void *memcpy(void *to, const void *from, uint64_t length)
{
	void *start = to;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
	return start;
}

void *memset(void *to, int byte, uint64_t length)
{
	void *start = to;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(byte) : "memory");
	return start;
}

int memcmp(const void *left, const void *right, uint64_t length)
{
	const uint8_t *a = left, *b = right;
	for (uint64_t i = 0; i < length; i++)
		if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
	return 0;
}

static uint64_t length_of(const char *text)
{
	uint64_t length = 0;
	while (text[length]) length++;
	return length;
}

static int starts_with(const char *text, const char *prefix)
{
	while (*prefix)
		if (*text++ != *prefix++) return 0;
	return 1;
}

static int is_text(const char *text, const char *other)
{
	return starts_with(text, other) && length_of(text) == length_of(other);
}

static char *append(char *to, const char *text)
{
	while (*text) *to++ = *text++;
	*to = 0;
	return to;
}

static char *append_number(char *to, uint64_t number)
{
	char digits[20];
	int count = 0;
	do digits[count++] = (char)('0' + number % 10); while (number /= 10);
	while (count) *to++ = digits[--count];
	*to = 0;
	return to;
}

/* Text longer than the line is cut: messages hold at most one path of 4096 bytes. */
struct line {
	char text[6144];
	uint64_t length;
};

static void add(struct line *line, const char *text)
{
	while (*text && line->length < sizeof line->text - 1) line->text[line->length++] = *text++;
	line->text[line->length] = 0;
}

static void add_number(struct line *line, uint64_t number)
{
	char digits[24];
	append_number(digits, number);
	add(line, digits);
}

static void say(struct line *line)
{
	add(line, "\n");
	sys(SYS_write, 2, (uint64_t)line->text, line->length);
}

/* Ends before anything was made. */
static __attribute__((noreturn)) void die(const char *text, int status)
{
	struct line line;
	line.length = 0;
	add(&line, "crimg: ");
	add(&line, text);
	say(&line);
	for (;;) sys(SYS_exit_group, (uint64_t)status, 0, 0);
}

