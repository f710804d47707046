// SPDX-License-Identifier: Apache-2.0
/* usage: occupy PID. Makes a child with that id, says "ready", and waits. Status 3: not permitted, or in use. */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	pid_t wanted = argc > 1 ? atoi(argv[1]) : 0;
	struct clone_args args = { .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&wanted, .set_tid_size = 1 };
	long child = syscall(SYS_clone3, &args, sizeof args);

	if (child < 0)
		return 3;
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
	}
	puts("ready");
	fflush(stdout);
	wait(NULL);
	return 0;
}
