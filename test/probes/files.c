/* SPDX-License-Identifier: Apache-2.0 */
/* Probes of files without a name, memfds, and what is mapped of them. */
#include "probe.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>
#include <sys/xattr.h>

enum { ADD_SEALS = 1033, GET_SEALS = 1034, ALLOW_SEALING = 2, NOEXEC_SEAL = 8, SEAL_SHRINK = 2, SEAL_FUTURE_WRITE = 16 };
enum { SIZE = 8192, NODUMP = 0x40 };
enum { GET_FLAGS = 0, SET_FLAGS = 1 };
static const unsigned long flag_calls[] = { 0x80086601, 0x40086602 };

static int noexec, future, unlinked, nameless, owned, fast;
static char *future_memory, *hidden_memory;

static int memfd(const char *name, unsigned flags)
{
	int fd = (int)syscall(SYS_memfd_create, name, flags);
	return fd >= 0 && ftruncate(fd, SIZE) == 0 ? fd : -1;
}

static int make_noexec(void) { return (noexec = memfd("noexec", NOEXEC_SEAL)) < 0 ? errno : 0; }
static void tell_noexec(FILE *out)
{
	struct stat status;
	fstat(noexec, &status);
	fprintf(out, "%x %o", fcntl(noexec, GET_SEALS), status.st_mode & 0777);
}

static int make_future(void)
{
	future = memfd("future", ALLOW_SEALING);
	future_memory = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, future, 0);
	return future_memory == MAP_FAILED || fcntl(future, ADD_SEALS, SEAL_FUTURE_WRITE | SEAL_SHRINK) ? errno : 0;
}
static void tell_future(FILE *out)
{
	future_memory[0]++;
	fprintf(out, "%x %d", fcntl(future, GET_SEALS), (int)pwrite(future, "x", 1, 1));
}

static int make_hidden(void)
{
	int fd = memfd("hidden", ALLOW_SEALING);
	hidden_memory = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return hidden_memory == MAP_FAILED || fcntl(fd, ADD_SEALS, SEAL_FUTURE_WRITE) || close(fd) ? errno : 0;
}
static void tell_hidden(FILE *out)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", (unsigned long)hidden_memory, (unsigned long)hidden_memory + SIZE);
	int fd = open(path, O_RDONLY);
	fprintf(out, "%x", fcntl(fd, GET_SEALS));
	close(fd);
}

/* What a file has besides its content. */
static int dress(int fd)
{
	struct timespec times[2] = { { 1000000, 5 }, { 2000000, 7 } };
	int flags = 0;
	ioctl(fd, flag_calls[GET_FLAGS], &flags);
	flags |= NODUMP;
	return ioctl(fd, flag_calls[SET_FLAGS], &flags) || fsetxattr(fd, "user.kept", "value", 5, 0) ||
		fchown(fd, 1234, 4321) || futimens(fd, times)
		? errno : 0;
}
static void tell_dress(FILE *out, int fd)
{
	struct stat status;
	char value[8] = "";
	int flags = 0;
	fstat(fd, &status);
	fgetxattr(fd, "user.kept", value, 7);
	ioctl(fd, flag_calls[GET_FLAGS], &flags);
	fprintf(out, "%d:%d %ld.%ld %s %x", status.st_uid, status.st_gid,
		(long)status.st_mtim.tv_sec, status.st_mtim.tv_nsec, value, flags & NODUMP);
}

static int make_unlinked(void)
{
	unlinked = open("probe-unlinked", O_RDWR | O_CREAT | O_EXCL, 0640);
	return unlinked < 0 || unlink("probe-unlinked") ? errno : dress(unlinked);
}
static void tell_unlinked(FILE *out) { tell_dress(out, unlinked); }

static int make_owned(void) { return (owned = memfd("owned", 0)) < 0 ? errno : dress(owned); }
static void tell_owned(FILE *out) { tell_dress(out, owned); }

static int make_nameless(void) { return (nameless = open(".", O_TMPFILE | O_RDWR, 0600)) < 0 ? errno : 0; }
static void tell_nameless(FILE *out) { fprintf(out, "%o", fcntl(nameless, F_GETFL)); }

static int make_fast(void)
{
	struct itimerspec time = { .it_interval = { 0, 1000 }, .it_value = { 0, 1000 } };
	fast = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	return timerfd_settime(fast, 0, &time, 0) ? errno : 0;
}
static void tell_fast(FILE *out)
{
	uint64_t expired;
	struct pollfd poller = { fast, POLLIN, 0 };
	read(fast, &expired, sizeof expired);
	fprintf(out, "%d", poll(&poller, 1, 500));
}

static struct timespec born(int fd)
{
	struct statx status = { 0 };
	statx(fd, "", AT_EMPTY_PATH, STATX_CTIME, &status);
	return (struct timespec){ status.stx_ctime.tv_sec, status.stx_ctime.tv_nsec };
}
static int changed;
static int make_changed(void) { return (changed = memfd("changed", 0)) < 0 ? errno : 0; }
static void tell_changed(FILE *out)
{
	struct timespec time = born(changed);
	fprintf(out, "%ld.%ld", (long)time.tv_sec, time.tv_nsec);
}

PROBES({ "noexec", make_noexec, tell_noexec }, { "future", make_future, tell_future }, { "hidden", make_hidden, tell_hidden },
	{ "unlinked", make_unlinked, tell_unlinked }, { "owned", make_owned, tell_owned }, { "nameless", make_nameless, tell_nameless },
	{ "fast", make_fast, tell_fast }, { "changed", make_changed, tell_changed })
