// SPDX-License-Identifier: Apache-2.0
// usage: hog MEBIBYTES CLOCKFILE
// Holds that much incompressible memory and stores CLOCK_MONOTONIC (ns) in CLOCKFILE every 100 µs, so that a bench
// sees to a tenth of a millisecond when it runs. Says "ready" in the second word of the file when the memory is filled.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    close_range(3, ~0U, 0); // what a shell or a build system leaked to us is not ours to keep
    size_t size = strtoul(argv[1], NULL, 10) << 20;
    uint64_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = open(argv[2], O_RDWR | O_CREAT, 0600);
    if (memory == MAP_FAILED || fd < 0 || ftruncate(fd, 4096))
        return 1;
    volatile uint64_t *clock = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (clock == MAP_FAILED)
        return 1;
    uint64_t state = 88172645463325252ull;
    for (size_t i = 0; i < size / sizeof *memory; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        memory[i] = state;
    }
    clock[1] = 1;
    for (;;) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        clock[0] = now.tv_sec * 1000000000ull + now.tv_nsec;
        nanosleep(&(struct timespec){ 0, 100 * 1000 }, NULL);
    }
}
