// SPDX-License-Identifier: Apache-2.0
/*
 * Runs an image that may do anything, where it can do no harm, and says what became of it.
 *
 *   jail root|nobody MILLISECONDS IMAGE [ARGUMENT…]
 *
 * New pid, mount, network, IPC and host name namespaces; every file system read-only; limits on memory, processes and
 * files. `nobody` also gives up every right (user 65534, no capabilities, no new privileges). One line on descriptor 3:
 *
 *   exit|signal|late|refused NUMBER SURVIVORS
 *
 * late: it had to be killed. refused: execve failed with this errno. SURVIVORS: processes that were still there a second
 * after the first process had ended. Whatever is left then goes with the namespace.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/mount.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOBODY = 65534, RESULT_FD = 3 };

static void need(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "jail: %s: %s\n", what, strerror(errno));
	_exit(2);
}

/* Soft limits: an image that is whole sets the hard ones that its processes had. */
static void limit(int resource, rlim_t most)
{
	struct rlimit value;
	need(getrlimit(resource, &value), "getrlimit");
	if (most < value.rlim_max)
		value.rlim_cur = most;
	need(setrlimit(resource, &value), "setrlimit");
}

static void give_up_rights(void)
{
	need(setgroups(0, NULL), "setgroups");
	need(setresgid(NOBODY, NOBODY, NOBODY), "setresgid");
	need(setresuid(NOBODY, NOBODY, NOBODY), "setresuid");
	need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
}

static void make_read_only(void)
{
	struct mount_attr attributes = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID };
	need(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private mounts");
	need((int)syscall(SYS_mount_setattr, AT_FDCWD, "/", 0x8000 /* AT_RECURSIVE */, &attributes, sizeof attributes), "read-only mounts");
	need(mount("proc", "/proc", "proc", 0, NULL), "mount /proc");
}

/* Processes of this namespace besides its init, not counting those that ended. */
static int count_others(void)
{
	int count = 0;
	DIR *directory = opendir("/proc");
	while (directory) {
		char path[300], text[512];
		struct dirent *entry = readdir(directory);
		if (!entry)
			break;
		if (atoi(entry->d_name) <= 1)
			continue;
		snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
		int fd = open(path, O_RDONLY);
		ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
		if (fd >= 0)
			close(fd);
		text[length > 0 ? length : 0] = 0;
		char *state = strrchr(text, ')');
		if (state && !strchr("ZX", state[2]))
			count++;
	}
	if (directory)
		closedir(directory);
	return count;
}

static int has_ended(int fd, int milliseconds)
{
	struct pollfd wait = { fd, POLLIN, 0 };
	return poll(&wait, 1, milliseconds) > 0;
}

static void watch(pid_t child, int milliseconds, int exec_pipe)
{
	const char *how = "exit";
	int status = 0, number = 0, refused = 0;
	int fd = (int)syscall(SYS_pidfd_open, child, 0);
	need(fd, "pidfd_open");
	int is_late = !has_ended(fd, milliseconds);
	if (is_late)
		kill(child, SIGKILL);
	waitpid(child, &status, 0);
	if (read(exec_pipe, &refused, sizeof refused) == sizeof refused) {
		how = "refused";
		number = refused;
	} else if (is_late) {
		how = "late";
	} else if (WIFSIGNALED(status)) {
		how = "signal";
		number = WTERMSIG(status);
	} else {
		number = WEXITSTATUS(status);
	}
	int others = 0;
	for (int tries = 0; tries < 200; tries++) {
		while (waitpid(-1, NULL, WNOHANG) > 0) ;
		others = count_others();
		if (others == 0)
			break;
		usleep(5000);
	}
	dprintf(RESULT_FD, "%s %d %d\n", how, number, others);
	_exit(0);
}

static void be_init(char **argv)
{
	int exec_pipe[2];
	need(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "pdeathsig");
	make_read_only();
	need(pipe2(exec_pipe, O_CLOEXEC), "pipe");
	pid_t child = fork();
	need(child, "fork");
	if (child) {
		close(exec_pipe[1]);
		watch(child, atoi(argv[2]), exec_pipe[0]);
	}
	close(RESULT_FD);
	setsid();
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_AS, (rlim_t)8 << 30);
	if (strcmp(argv[1], "nobody") == 0) {
		limit(RLIMIT_NPROC, 200);
		limit(RLIMIT_FSIZE, 1 << 24);
		give_up_rights();
	}
	execv(argv[3], argv + 3);
	need(write(exec_pipe[1], &errno, sizeof errno) == sizeof errno ? 0 : -1, "exec");
	_exit(127);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	need(unshare(CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS), "unshare");
	need(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "pdeathsig");
	pid_t init = fork();
	need(init, "fork");
	if (init == 0)
		be_init(argv);
	int status;
	waitpid(init, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 3;
}
