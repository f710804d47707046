// SPDX-License-Identifier: Apache-2.0
/*
 * Files without a name and what is known of them: one of O_TMPFILE, one whose name was removed, a memfd. At SIGHUP the first is
 * given a name.
 * usage: nameless-files DIRECTORY; a line "tick N owner … time … attribute … flags …" all 50 ms in DIRECTORY/log.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { NODUMP = 0x40, TMPFILE = 020000000 };
static const unsigned long GET = 0x80086601, SET = 0x40086602;
static volatile int named;

static void name_it(int signal)
{
	(void)signal;
	named = 1;
}

int main(int argc, char **argv)
{
	char path[4096];
	if (argc != 2 || chdir(argv[1])) return 2;
	int log = open("log", O_WRONLY | O_CREAT | O_APPEND, 0600);
	int files[3] = { open(".", O_TMPFILE | O_RDWR, 0640), open("removed", O_RDWR | O_CREAT, 0604), (int)syscall(SYS_memfd_create, "m", 0) };
	unlink("removed");
	for (int i = 0; i < 3; i++) {
		struct timespec times[2] = { { 1000000 + i, 5 }, { 2000000 + i, 7 } };
		int flags = 0;
		if (files[i] < 0 || write(files[i], "content", 7) != 7) return 3;
		ioctl(files[i], GET, &flags);
		flags |= NODUMP;
		if (ioctl(files[i], SET, &flags) || fsetxattr(files[i], "user.kept", "value", 5, 0) || futimens(files[i], times)) return 4;
		if (!getuid() && fchown(files[i], 1234, 4321)) return 5;
	}
	signal(SIGHUP, name_it);
	for (unsigned n = 1;; n++) {
		int length = snprintf(path, sizeof path, "tick %u", n);
		for (int i = 0; i < 3; i++) {
			struct stat status;
			char value[8] = "";
			int flags = 0;
			fstat(files[i], &status);
			fgetxattr(files[i], "user.kept", value, 7);
			ioctl(files[i], GET, &flags);
			length += snprintf(path + length, sizeof path - length, " | owner %u:%u mode %o time %ld.%ld %s flags %x tmp %d", status.st_uid,
				status.st_gid, status.st_mode & 0777, (long)status.st_mtim.tv_sec, status.st_mtim.tv_nsec, value, flags & NODUMP,
				(fcntl(files[i], F_GETFL) & TMPFILE) != 0);
		}
		dprintf(log, "%s\n", path);
		if (named == 1) {
			snprintf(path, sizeof path, "/proc/self/fd/%d", files[0]);
			if (linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW)) dprintf(log, "broken: cannot be named\n");
			named = 2;
		}
		usleep(50000);
	}
}
