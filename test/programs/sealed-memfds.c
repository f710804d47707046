// SPDX-License-Identifier: Apache-2.0
/*
 * Memfds whose seals must come at the right moment of a resume: one with MFD_NOEXEC_SEAL, one that was mapped writable
 * and then sealed against it (F_SEAL_FUTURE_WRITE), one of the same kind that is mapped and open nowhere.
 * usage: sealed-memfds LOG: a line "tick N seals … mapped … write …" all 50 ms.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ALLOW_SEALING = 2, NOEXEC_SEAL = 8, ADD_SEALS = 1033, GET_SEALS = 1034, SHRINK = 2, FUTURE_WRITE = 16, SIZE = 8192 };

static int make(const char *name, unsigned flags)
{
	int fd = (int)syscall(SYS_memfd_create, name, flags);
	if (fd < 0 || ftruncate(fd, SIZE)) _exit(2);
	return fd;
}

int main(int argc, char **argv)
{
	int log = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0600);
	int noexec = make("noexec", NOEXEC_SEAL | ALLOW_SEALING), future = make("future", ALLOW_SEALING), hidden = make("hidden", ALLOW_SEALING);
	char *mapped = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, future, 0);
	char *only = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, hidden, 0);
	if (argc != 2 || log < 0 || mapped == MAP_FAILED || only == MAP_FAILED) return 2;
	if (fcntl(future, ADD_SEALS, FUTURE_WRITE | SHRINK) || fcntl(hidden, ADD_SEALS, FUTURE_WRITE)) return 2;
	close(hidden);
	char path[64];
	snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", (unsigned long)only, (unsigned long)only + SIZE);
	for (unsigned n = 1;; n++) {
		struct stat status;
		int again = open(path, O_RDONLY);
		memcpy(mapped + 4096, &n, sizeof n);
		memcpy(only, &n, sizeof n);
		fstat(noexec, &status);
		dprintf(log, "tick %u seals %x %x %x mode %o mapped %d write %d\n", n, fcntl(noexec, GET_SEALS), fcntl(future, GET_SEALS),
			fcntl(again, GET_SEALS), status.st_mode & 0777, mapped[4096] == only[0], (int)pwrite(future, "x", 1, 0));
		close(again);
		usleep(50000);
	}
}
