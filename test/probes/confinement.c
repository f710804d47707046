/* SPDX-License-Identifier: Apache-2.0 */
/* Filters of system calls, and fanotify. */
#include "probe.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/fanotify.h>

/* getppid fails with `error`; all else is allowed. */
static int filter(unsigned flags, int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = 4, .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return errno;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program) < 0 ? errno : 0;
}
static int make_filter(void) { return filter(0, 77); }
static void tell_filter(FILE *out)
{
	long result = syscall(SYS_getppid);

	fprintf(out, "%ld %d %d", result, errno, prctl(PR_GET_SECCOMP));
}
static int make_listener(void) { return filter(SECCOMP_FILTER_FLAG_NEW_LISTENER, 77); }
static void tell_nothing(FILE *out) { fprintf(out, "there"); }

static int group, told;
static char path[256];
static int make_marks(void)
{
	group = fanotify_init(FAN_CLASS_NOTIF | FAN_NONBLOCK | FAN_CLOEXEC, O_RDONLY);
	if (group < 0 || readlink("/proc/self/exe", path, sizeof path - 1) < 0)
		return errno;
	return fanotify_mark(group, FAN_MARK_ADD, FAN_CLOSE_NOWRITE, AT_FDCWD, path) ||
	       fanotify_mark(group, FAN_MARK_ADD | FAN_MARK_MOUNT, FAN_MODIFY, AT_FDCWD, "/proc") ? errno : 0;
}
static void tell_marks(FILE *out)
{
	struct fanotify_event_metadata event;
	int fd = open(path, O_RDONLY);

	close(fd);
	memset(&event, 0, sizeof event);
	told = read(group, &event, sizeof event);
	if (event.fd > 0)
		close(event.fd);
	fprintf(out, "%d %llx %d", told, (unsigned long long)event.mask, event.pid == getpid());
}
static int make_permission(void)
{
	group = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY);
	if (group < 0)
		return errno;
	/* Not the program itself: a dump opens that, and would wait for an answer. */
	if (readlink("/proc/self/exe", path, sizeof path - 9) < 0)
		return errno;
	close(open(strcat(path, ".marked"), O_CREAT | O_RDWR, 0600));
	return fanotify_mark(group, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, path) ? errno : 0;
}

PROBES({ "filter", make_filter, tell_filter }, { "listener", make_listener, tell_nothing }, { "marks", make_marks, tell_marks },
       { "permission", make_permission, tell_nothing })
