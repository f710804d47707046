/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Raw system calls, counted so that tests can let any of them fail.
 *
 * Fault injection for tests: after setFault(n, e) the n-th following call (1 = the next) does not happen and
 * returns -e.
 */
#ifndef CRIMG_RAW_H
#define CRIMG_RAW_H

#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/time.h>
#include <stdint.h>

static int64_t calls_made;
static int64_t fault_at; /* number of the call that fails; 0: none */
static int64_t fault_errno;
static int counting_paused;

/* Counts a call; returns the errno it must fail with, or 0. */
static int64_t count_call(void)
{
	if (counting_paused)
		return 0;
	calls_made++;
	return calls_made == fault_at ? fault_errno : 0;
}

static int64_t raw_syscall(const int64_t a[7])
{
	register int64_t r10 __asm__("r10") = a[4];
	register int64_t r8 __asm__("r8") = a[5];
	register int64_t r9 __asm__("r9") = a[6];
	int64_t result = a[0];

	__asm__ volatile("syscall"
			 : "+a"(result)
			 : "D"(a[1]), "S"(a[2]), "d"(a[3]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

static int64_t call(int64_t number, int64_t a, int64_t b, int64_t c, int64_t d)
{
	const int64_t words[7] = { number, a, b, c, d };

	return raw_syscall(words);
}

/* A call that tests may let fail. */
static int64_t counted(const int64_t words[7])
{
	int64_t fault = count_call();

	return fault ? -fault : raw_syscall(words);
}

static int64_t counted_call(int64_t number, int64_t a, int64_t b, int64_t c, int64_t d)
{
	const int64_t words[7] = { number, a, b, c, d };

	return counted(words);
}

static int64_t address_of(const void *object)
{
	return (int64_t)(uintptr_t)object;
}

static void copy_bytes(void *to, const void *from, int64_t length)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
}

static void clear_bytes(void *to, int64_t length)
{
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(0) : "memory");
}

#endif
