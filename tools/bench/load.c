// SPDX-License-Identifier: Apache-2.0
// usage: load KIND COUNT CLOCKFILE
// `load warm MIB` uses that much memory for a moment: see settle() of measure.ts. `load exec FILE COMMAND…` becomes the command,
// and says in FILE when, by CLOCK_REALTIME in nanoseconds. All others:
// Has COUNT MiB of memory, threads, mappings, descriptors or processes (KIND: pages threads mappings descriptors processes) and
// rests, but for its first thread. That one says every 100 µs in CLOCKFILE that it runs: word 0 is CLOCK_REALTIME (which no
// time namespace shifts) in nanoseconds, word 1 the same when it ran for the first time after a gap of 2 ms or more, word 2
// is 1 when everything is there, word 3 the number of gaps so far. From word 8 on are the times behind the last of them, in a ring:
// whoever looks a moment late does not take for a resume that the program has had to wait for its turn, or a page, since.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { GAPS = 8, MAX_GAPS = 504 };

static void *rest(void *nothing)
{
    for (;;)
        pause();
    return nothing;
}

static int pages(size_t mebibytes)
{
    uint64_t *memory = mmap(NULL, mebibytes << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t state = 88172645463325252ull;
    if (memory == MAP_FAILED)
        return 0;
    for (size_t i = 0; i < (mebibytes << 20) / sizeof *memory; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memory[i] = state;
    }
    return 1;
}

// Huge pages, if there are any: a page of each small one else.
static int warm(size_t mebibytes)
{
    char *memory = mmap(NULL, mebibytes << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return 1;
    madvise(memory, mebibytes << 20, MADV_HUGEPAGE);
    for (size_t at = 0; at < mebibytes << 20; at += 4096)
        memory[at] = 1;
    return 0;
}

static int threads(size_t count)
{
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    for (size_t i = 1; i < count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &small, rest, NULL))
            return 0;
    }
    return 1;
}

// Two a turn: one that can be written, and one that cannot be accessed.
static int mappings(size_t count)
{
    for (size_t i = 0; i < count / 2; i++) {
        char *two = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (two == MAP_FAILED || mprotect(two + 4096, 4096, PROT_NONE))
            return 0;
        two[0] = 1;
    }
    return 1;
}

static int descriptors(size_t count, const char *name)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (size_t i = 0; i < count; i++)
        if (open(name, O_RDONLY) < 0)
            return 0;
    return 1;
}

static int processes(size_t count)
{
    for (size_t i = 1; i < count; i++) {
        pid_t child = fork();
        if (child < 0)
            return 0;
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            rest(NULL);
        }
    }
    return 1;
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static int become(const char *file, char **command)
{
    uint64_t begin;
    int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return 1;
    begin = now();
    if (write(fd, &begin, sizeof begin) != sizeof begin)
        return 1;
    close(fd);
    execvp(command[0], command);
    return 127;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "warm"))
        return warm(strtoul(argv[2], NULL, 10));
    if (argc > 3 && !strcmp(argv[1], "exec"))
        return become(argv[2], argv + 3);
    if (argc < 4)
        return 2;
    close_range(3, ~0U, 0); // what a shell or a build system leaked to us is not ours to keep
    const char *kind = argv[1];
    size_t count = strtoul(argv[2], NULL, 10);
    int fd = open(argv[3], O_RDWR | O_CREAT, 0600);
    if (fd < 0 || ftruncate(fd, 4096))
        return 1;
    volatile uint64_t *clock = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (clock == MAP_FAILED)
        return 1;
    int made = !strcmp(kind, "pages")         ? pages(count)
               : !strcmp(kind, "threads")     ? threads(count)
               : !strcmp(kind, "mappings")    ? mappings(count)
               : !strcmp(kind, "descriptors") ? descriptors(count, argv[0])
               : !strcmp(kind, "processes")   ? processes(count)
                                              : 0;
    if (!made)
        return 1;
    clock[0] = now();
    clock[2] = 1;
    for (;;) {
        uint64_t time = now();
        if (time - clock[0] > 2000000) {
            clock[1] = clock[GAPS + clock[3] % MAX_GAPS] = time;
            clock[3]++;
        }
        clock[0] = time;
        nanosleep(&(struct timespec){ 0, 100 * 1000 }, NULL);
    }
}
