// SPDX-License-Identifier: Apache-2.0
/*
 * Threads under seccomp filters of their own: the leader and one thread have two in common; one has one more; a child process is
 * in strict mode; another has an inherited filter. On SIGUSR1 each tells what its filters do to a few calls, one line each.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *log_path;
static volatile sig_atomic_t asked;
static pthread_barrier_t begun, look, told;

/* Fails system call `nr` with `error`. */
static void forbid(int nr, int error, unsigned flags)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program)) _exit(70);
}

static int outcome(int nr)
{
	long result = syscall(nr, -1, -1, -1, -1, -1, -1);
	return result < 0 ? errno : 0;
}

static void tell(const char *who)
{
	char line[200], status[8192] = "";
	int fd = open("/proc/thread-self/status", O_RDONLY);
	if (fd >= 0) {
		ssize_t got = read(fd, status, sizeof status - 1);
		status[got > 0 ? got : 0] = 0;
		close(fd);
	}
	char *mode = strstr(status, "Seccomp:"), *filters = strstr(status, "Seccomp_filters:"), *nnp = strstr(status, "NoNewPrivs:");
	snprintf(line, sizeof line, "%s getpgid=%d sync=%d io_setup=%d mode=%d filters=%d nnp=%d uid=%d\n", who, outcome(SYS_getpgid),
		outcome(SYS_syncfs), outcome(SYS_io_setup), mode ? atoi(mode + 8) : -1, filters ? atoi(filters + 16) : -1,
		nnp ? atoi(nnp + 11) : -1, (int)getuid());
	fd = open(log_path, O_WRONLY | O_APPEND | O_CREAT, 0600);
	if (write(fd, line, strlen(line)) < 0) _exit(71);
	close(fd);
}

static void *thread(void *name)
{
	if (!strcmp(name, "third")) forbid(SYS_io_setup, 93, SECCOMP_FILTER_FLAG_LOG);
	pthread_barrier_wait(&begun);
	for (;;) {
		pthread_barrier_wait(&look);
		tell(name);
		pthread_barrier_wait(&told);
	}
	return 0;
}

static void on_signal(int signal)
{
	(void)signal;
	asked = 1;
}

int main(int argc, char **argv)
{
	pthread_t one, two;
	int strict[2], after = argc > 2;
	sigset_t set, old;
	log_path = argv[1];
	signal(SIGUSR1, on_signal);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, &old);
	if (pipe(strict)) return 1;
	pid_t strict_child = fork();
	if (strict_child == 0) {
		char byte;
		close(strict[1]);
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
		while (read(strict[0], &byte, 1) == 1)
			if (byte == 'k') syscall(SYS_getpid); /* kills */
		syscall(SYS_exit, 3);
	}
	close(strict[0]);
	pthread_barrier_init(&begun, 0, 3);
	pthread_barrier_init(&look, 0, 3);
	pthread_barrier_init(&told, 0, 3);
	/* Installed with the right to it, which is given up: nobody has no_new_privs. */
	forbid(SYS_getpgid, 91, 0);
	pthread_create(&one, 0, thread, "second");
	pthread_create(&two, 0, thread, "third");
	pthread_barrier_wait(&begun);
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		forbid(SYS_io_setup, 94, 0);
		for (;;) {
			while (!asked) sigsuspend(&old);
			asked = 0;
			tell("child");
		}
	}
	if (after && setresuid(65534, 65534, 65534)) return 2;
	close(open(log_path, O_WRONLY | O_APPEND | O_CREAT, 0666));
	{
		int fd = open(log_path, O_WRONLY | O_APPEND);
		if (write(fd, "ready\n", 6) < 0) return 3;
		close(fd);
	}
	for (int round = 0;; round++) {
		while (!asked) sigsuspend(&old);
		asked = 0;
		kill(child, SIGUSR1);
		pthread_barrier_wait(&look);
		tell("first");
		pthread_barrier_wait(&told);
		if (round == 0 && !after) {
			/* Works only if the leader's filters are those that the others had before. */
			struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
			struct sock_fprog program = { 1, code };
			long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
			int fd = open(log_path, O_WRONLY | O_APPEND);
			/* The third thread has one more, so the kernel names it. */
			dprintf(fd, "sync names %s\n", result > 0 ? "a thread" : result == 0 ? "none" : "an error");
			close(fd);
		}
		if (round == 1) {
			int status;
			if (write(strict[1], "k", 1) < 0) return 4;
			waitpid(strict_child, &status, 0);
			int fd = open(log_path, O_WRONLY | O_APPEND);
			dprintf(fd, "strict ended by %d\n", WIFSIGNALED(status) ? WTERMSIG(status) : -1);
			close(fd);
		}
	}
}
