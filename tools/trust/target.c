// SPDX-License-Identifier: Apache-2.0
/*
 * A program that notices when something was done to it: three threads check registers, memory, signal masks and
 * interrupted calls without end, and count in a shared file (argv[1]): u64 counters[3], u64 errors, u64 last error, u64
 * calls ended by EINTR.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MEMORY (1 << 20)

static volatile uint64_t *shared;
static unsigned char *memory;
static sigset_t mask;

static void error(uint64_t what)
{
	shared[4] = what;
	__atomic_add_fetch(&shared[3], 1, __ATOMIC_SEQ_CST);
}

/* Registers keep their values over a stretch of instructions in which the thread may be stopped. */
static void *spin(void *unused)
{
	(void)unused;
	for (;;) {
		uint64_t bad;
		__asm__ volatile(
			"mov $0x1111111111111111, %%r8\n mov $0x2222222222222222, %%r9\n mov $0x3333333333333333, %%r10\n"
			"mov $0x4444444444444444, %%r11\n mov $0x5555555555555555, %%r12\n mov $0x6666666666666666, %%r13\n"
			"movq %%r8, %%xmm3\n movq %%r13, %%xmm11\n"
			"mov $2000000, %%rcx\n"
			"1: dec %%rcx\n jnz 1b\n"
			"xor %0, %0\n"
			"movq %%xmm3, %%rax\n cmp %%rax, %%r8\n setne %%cl\n or %%rcx, %0\n"
			"movq %%xmm11, %%rax\n cmp %%rax, %%r13\n setne %%cl\n or %%rcx, %0\n"
			"mov $0x2222222222222222, %%rax\n cmp %%rax, %%r9\n setne %%cl\n or %%rcx, %0\n"
			"mov $0x3333333333333333, %%rax\n cmp %%rax, %%r10\n setne %%cl\n or %%rcx, %0\n"
			"mov $0x4444444444444444, %%rax\n cmp %%rax, %%r11\n setne %%cl\n or %%rcx, %0\n"
			"mov $0x5555555555555555, %%rax\n cmp %%rax, %%r12\n setne %%cl\n or %%rcx, %0\n"
			: "=&b"(bad)
			:
			: "rax", "rcx", "r8", "r9", "r10", "r11", "r12", "r13", "xmm3", "xmm11", "cc", "memory");
		if (bad) error(1);
		shared[0]++;
		struct timespec pause = { 0, 1000000 };
		nanosleep(&pause, NULL);
	}
	return NULL;
}

/* A call that an attach would end with EINTR goes on; the mask stays. */
static void *sleep_in_epoll(void *unused)
{
	(void)unused;
	int set = epoll_create1(EPOLL_CLOEXEC);
	for (;;) {
		struct epoll_event event;
		sigset_t now;
		int count = epoll_wait(set, &event, 1, 20);
		if (count < 0 && errno == EINTR)
			shared[5]++;
		else if (count != 0)
			error(3);
		sigemptyset(&now);
		pthread_sigmask(SIG_SETMASK, NULL, &now);
		if (memcmp(&now, &mask, 8) != 0) error(4);
		shared[1]++;
	}
	return NULL;
}

int main(int argc, char **argv)
{
	int fd = argc > 1 ? open(argv[1], O_RDWR | O_CREAT, 0600) : -1;
	if (fd < 0 || ftruncate(fd, 4096) != 0) return 2;
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || memory == MAP_FAILED) return 2;
	close(fd);
	for (int i = 0; i < MEMORY; i++) memory[i] = (unsigned char)(i * 31 + (i >> 8));
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	sigaddset(&mask, SIGRTMIN + 3);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	pthread_t threads[2];
	pthread_create(&threads[0], NULL, spin, NULL);
	pthread_create(&threads[1], NULL, sleep_in_epoll, NULL);
	for (;;) {
		for (int i = 0; i < MEMORY; i++) {
			if (memory[i] != (unsigned char)(i * 31 + (i >> 8))) {
				error(5);
				memory[i] = (unsigned char)(i * 31 + (i >> 8));
			}
		}
		shared[2]++;
		usleep(5000);
	}
}
