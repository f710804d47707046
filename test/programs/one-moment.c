// SPDX-License-Identifier: Apache-2.0
// usage: one-moment LOG FILE. Counts in memory, in the position of FILE and in each of two
// thousand other pages, one after another, and looks whether all agree all the time. Writes its count to LOG now and then, or
// "BAD ..." and ends with status 1.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 2000, WORDS = 512 };

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    close_range(3, ~0U, 0);
    FILE *log = fopen(argv[1], "w");
    int fd = open(argv[2], O_RDWR | O_CREAT | O_TRUNC, 0600);
    uint64_t *memory = malloc(PAGES * WORDS * 8), count = 0;
    if (log == NULL || fd < 0 || memory == NULL)
        return 2;
    for (int page = 0; page < PAGES; page++)
        memory[page * WORDS] = 0;
    for (;;) {
        uint64_t *of_count = memory + count % PAGES * WORDS;
        off_t at = lseek(fd, 0, SEEK_CUR);
        if (at != (off_t)(count % 512 * 8) || *of_count != count / PAGES) {
            fprintf(log, "BAD count %ju, position %jd, page %ju\n", (uintmax_t)count, (intmax_t)at, (uintmax_t)*of_count);
            fclose(log);
            return 1;
        }
        ++*of_count;
        if (++count % 512 == 0)
            lseek(fd, 0, SEEK_SET);
        else if (write(fd, &count, 8) != 8)
            return 2;
        if (count % 20000 == 0) {
            fprintf(log, "%ju\n", (uintmax_t)count);
            fflush(log);
        }
    }
}
