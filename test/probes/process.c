/* SPDX-License-Identifier: Apache-2.0 */
/* Small states of a process and of its threads that every kernel has. */
#include "probe.h"
#include <linux/ioprio.h>
#include <sys/personality.h>
#include <sys/resource.h>

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY), ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	int error = errno;

	if (fd >= 0)
		close(fd);
	return ok ? 0 : error;
}

static int make_umask(void) { umask(0137); return 0; }
static void tell_umask(FILE *out)
{
	mode_t mask = umask(0);

	umask(mask);
	fprintf(out, "%o", mask);
}

static int make_personality(void) { return personality(ADDR_NO_RANDOMIZE) < 0 ? errno : 0; }
static void tell_personality(FILE *out) { fprintf(out, "%x", personality(0xffffffff)); }

static int make_loginuid(void) { return write_file("/proc/self/loginuid", "1234"); }
static void tell_loginuid(FILE *out) { tell_file(out, "/proc/self/loginuid"); }

static int make_oom(void) { return write_file("/proc/self/oom_score_adj", "321"); }
static void tell_oom(FILE *out) { tell_file(out, "/proc/self/oom_score_adj"); }

static int make_subreaper(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1) ? errno : 0; }
static void tell_subreaper(FILE *out)
{
	int is = -1;

	prctl(PR_GET_CHILD_SUBREAPER, &is);
	fprintf(out, "%d", is);
}

static int make_coredump(void) { return write_file("/proc/self/coredump_filter", "0x1f1"); }
static void tell_coredump(FILE *out) { tell_file(out, "/proc/self/coredump_filter"); }

static int make_dumpable(void) { return prctl(PR_SET_DUMPABLE, 0) ? errno : 0; }
static void tell_dumpable(FILE *out) { fprintf(out, "%d", prctl(PR_GET_DUMPABLE)); }

static int make_membarrier(void) { return syscall(SYS_membarrier, 1 << 4, 0, 0) ? errno : 0; }
static void tell_membarrier(FILE *out) { fprintf(out, "%ld", syscall(SYS_membarrier, 1 << 9, 0, 0)); }

static int make_nnp(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? errno : 0; }
static void tell_nnp(FILE *out) { fprintf(out, "%d", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)); }

static int make_pdeath(void) { return prctl(PR_SET_PDEATHSIG, SIGUSR2) ? errno : 0; }
static void tell_pdeath(FILE *out)
{
	int signal = 0;

	prctl(PR_GET_PDEATHSIG, &signal);
	fprintf(out, "%d", signal);
}

/* Those of threads are made and told in a second thread. */
static int made;
static void slack_there(FILE *out) { (void)out; made = prctl(PR_SET_TIMERSLACK, 77777) ? errno : 0; }
static int make_slack(void) { on_thread(slack_there, NULL); return made; }
static void slack(FILE *out) { fprintf(out, "%d", prctl(PR_GET_TIMERSLACK)); }
static void tell_slack(FILE *out) { on_thread(slack, out); }

static void nice_there(FILE *out) { (void)out; made = setpriority(PRIO_PROCESS, gettid(), 7) ? errno : 0; }
static int make_nice(void) { on_thread(nice_there, NULL); return made; }
static void nice_of(FILE *out) { fprintf(out, "%d", getpriority(PRIO_PROCESS, gettid())); }
static void tell_nice(FILE *out) { on_thread(nice_of, out); }

static void ioprio_there(FILE *out)
{
	(void)out;
	/* What the block layer takes for a thread without one: no reason to lose it. */
	made = syscall(SYS_ioprio_set, 1, 0, (2 << 13) | 4) ? errno : 0;
}
static int make_ioprio(void) { on_thread(ioprio_there, NULL); return made; }
static void ioprio(FILE *out) { fprintf(out, "%lx", syscall(SYS_ioprio_get, 1, 0)); }
static void tell_ioprio(FILE *out) { on_thread(ioprio, out); }

static void name_there(FILE *out) { (void)out; made = prctl(PR_SET_NAME, "second one") ? errno : 0; }
static int make_name(void) { on_thread(name_there, NULL); return made; }
static void name_of(FILE *out)
{
	char name[17] = "";

	prctl(PR_GET_NAME, name);
	fprintf(out, "%s", name);
}
static void tell_name(FILE *out) { on_thread(name_of, out); }

static void fs_there(FILE *out)
{
	(void)out;
	made = 0;
	if (unshare(CLONE_FS) || mkdir("of-a-thread", 0700) || mkdir("of-a-thread/inner", 0700))
		made = errno;
	else if (chroot("of-a-thread") || chdir("/inner"))
		made = errno;
	umask(0123);
}
static int make_thread_fs(void) { on_thread(fs_there, NULL); return made; }
static void fs_of(FILE *out)
{
	char name[256] = "";
	mode_t mask = umask(0);

	umask(mask);
	fprintf(out, "%s %d%d %o", getcwd(name, sizeof name) ? name : "?", access("/inner", F_OK), access("/etc", F_OK), mask);
}
static void tell_thread_fs(FILE *out)
{
	char name[256] = "";

	on_thread(fs_of, out);
	fprintf(out, " %s", getcwd(name, sizeof name) && strlen(name) > 6 ? "other" : name);
}

/* This process gets the orphan of a session that its grandchild leads. */
static pid_t orphan, leader;
static int make_orphan(void)
{
	int ends[2];
	pid_t ids[2] = { 0, 0 };

	if (prctl(PR_SET_CHILD_SUBREAPER, 1) || pipe(ends))
		return errno;
	if (fork() == 0) {
		if (fork() == 0) {
			setsid();
			if (fork() == 0) {
				if (fork() == 0) {
					while (getppid() != getsid(0) && getppid() == 1)
						usleep(1000);
					ids[0] = getpid();
					ids[1] = getsid(0);
					if (write(ends[1], ids, sizeof ids) != sizeof ids)
						_exit(1);
					pause();
				}
				_exit(0);
			}
			wait(NULL);
			pause();
		}
		pause();
	}
	if (read(ends[0], ids, sizeof ids) != sizeof ids)
		return errno;
	orphan = ids[0];
	leader = ids[1];
	close(ends[0]);
	close(ends[1]);
	return 0;
}
static void tell_orphan(FILE *out)
{
	char path[64], line[256] = "";
	int parent = 0;
	FILE *stat;

	snprintf(path, sizeof path, "/proc/%d/stat", orphan);
	stat = fopen(path, "r");
	if (stat && fgets(line, sizeof line, stat) && strrchr(line, ')'))
		sscanf(strrchr(line, ')') + 4, "%d", &parent);
	if (stat)
		fclose(stat);
	fprintf(out, "%s %s", parent == getpid() ? "mine" : "lost", getsid(orphan) == leader ? "same session" : "another session");
}

/* A pidfd of who started this, and outlives dump and resume. */
static int outside = -1;
static int make_outside(void)
{
	outside = syscall(SYS_pidfd_open, getppid(), 0);
	return outside < 0 ? errno : 0;
}
static void tell_outside(FILE *out)
{
	char path[64], line[64];
	FILE *info;

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", outside);
	info = fopen(path, "r");
	while (info && fgets(line, sizeof line, info))
		if (strncmp(line, "Pid:", 4) == 0)
			fprintf(out, "%d", atoi(line + 4));
	if (info)
		fclose(info);
}

static int make_cpu_time(void)
{
	struct timespec now;

	do
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	while (now.tv_sec == 0 && now.tv_nsec < 200000000);
	return 0;
}
/* Tenths of a second, rounded down: telling costs less than that. */
static void tell_cpu_time(FILE *out)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	fprintf(out, "%s", now.tv_sec > 0 || now.tv_nsec >= 200000000 ? "used" : "fresh");
}

/* A working directory, and an open file, in /proc of a child that is gone. */
static int gone;
static int make_gone(void)
{
	char path[64];
	pid_t child = fork();

	if (child == 0)
		pause();
	snprintf(path, sizeof path, "/proc/%d/status", child);
	gone = open(path, O_RDONLY);
	snprintf(path, sizeof path, "/proc/%d", child);
	if (gone < 0 || chdir(path))
		return errno;
	kill(child, SIGKILL);
	return waitpid(child, NULL, 0) == child ? 0 : errno;
}
static void tell_gone(FILE *out)
{
	char path[64], link[128], byte;

	snprintf(path, sizeof path, "/proc/self/fd/%d", gone);
	link[readlink(path, link, sizeof link - 1)] = 0;
	fprintf(out, "%s %d", link, read(gone, &byte, 1) < 0 ? errno : 0);
	link[readlink("/proc/self/cwd", link, sizeof link - 1)] = 0;
	fprintf(out, " %s", link);
}

PROBES({ "umask", make_umask, tell_umask }, { "personality", make_personality, tell_personality },
       { "loginuid", make_loginuid, tell_loginuid }, { "oom", make_oom, tell_oom }, { "subreaper", make_subreaper, tell_subreaper },
       { "coredump", make_coredump, tell_coredump }, { "dumpable", make_dumpable, tell_dumpable },
       { "membarrier", make_membarrier, tell_membarrier }, { "nnp", make_nnp, tell_nnp },
       { "pdeath", make_pdeath, tell_pdeath }, { "slack", make_slack, tell_slack },
       { "nice", make_nice, tell_nice }, { "ioprio", make_ioprio, tell_ioprio },
       { "name", make_name, tell_name }, { "thread-fs", make_thread_fs, tell_thread_fs },
       { "outside", make_outside, tell_outside }, { "orphan", make_orphan, tell_orphan },
       { "cpu-time", make_cpu_time, tell_cpu_time }, { "gone", make_gone, tell_gone })
