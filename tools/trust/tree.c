// SPDX-License-Identifier: Apache-2.0
/*
 * A tree to be resumed while things go wrong: threads, a child, pipes, shared memory, a zombie.
 *
 *   tree DIRECTORY    makes DIRECTORY/ready when all is set up; once DIRECTORY/go exists, asks every thread and the
 *                     child over pipes, looks at the shared memory and the zombie, and exits with 42 if all is as it was.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { THREADS = 2, WHOLE = 42, BROKEN = 43, SIZE = 1 << 16 };

static unsigned char *shared;
static int ask[2], answer[2];
static int thread_ask[2], thread_answer[2];

static void check(int condition)
{
	if (!condition)
		_exit(BROKEN);
}

/* Answers every byte with the next one. */
static void serve(int from, int to)
{
	unsigned char byte;
	while (read(from, &byte, 1) == 1) {
		byte++;
		check(write(to, &byte, 1) == 1);
	}
}

static void *thread(void *unused)
{
	serve(thread_ask[0], thread_answer[1]);
	return unused;
}

static void child(void)
{
	close(ask[1]);
	close(answer[0]);
	shared[1] = 2;
	serve(ask[0], answer[1]);
	_exit(shared[2] == 3 ? 7 : BROKEN);
}

static unsigned char exchange(int to, int from, unsigned char byte)
{
	unsigned char reply = 0;
	check(write(to, &byte, 1) == 1 && read(from, &reply, 1) == 1);
	return reply;
}

static void look_at_everything(pid_t server, pid_t zombie)
{
	int status;
	check(shared[0] == 1 && shared[1] == 2 && shared[SIZE - 1] == 9);
	shared[2] = 3;
	check(exchange(ask[1], answer[0], 10) == 11);
	for (int i = 0; i < 4 * THREADS; i++)
		check(exchange(thread_ask[1], thread_answer[0], 20) == 21);
	check(waitpid(zombie, &status, 0) == zombie && WIFEXITED(status) && WEXITSTATUS(status) == 5);
	close(ask[1]);
	check(waitpid(server, &status, 0) == server && WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static int exists(const char *name)
{
	struct timespec pause = { 0, 5000000 };
	nanosleep(&pause, NULL);
	return access(name, F_OK) == 0;
}

int main(int argc, char **argv)
{
	check(argc == 2 && chdir(argv[1]) == 0);
	shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check(shared != MAP_FAILED && pipe(ask) == 0 && pipe(answer) == 0 && pipe(thread_ask) == 0 && pipe(thread_answer) == 0);
	shared[0] = 1;
	shared[SIZE - 1] = 9;
	pid_t server = fork();
	if (server == 0)
		child();
	close(ask[0]);
	close(answer[1]);
	pid_t zombie = fork();
	if (zombie == 0)
		_exit(5);
	siginfo_t info;
	check(waitid(P_PID, (id_t)zombie, &info, WEXITED | WNOWAIT) == 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_t one;
		check(pthread_create(&one, NULL, thread, NULL) == 0);
	}
	check(exchange(ask[1], answer[0], 1) == 2);
	int ready = open("ready", O_CREAT | O_WRONLY, 0600);
	check(ready >= 0);
	close(ready);
	while (!exists("go")) ;
	look_at_everything(server, zombie);
	return WHOLE;
}
