// SPDX-License-Identifier: Apache-2.0
// usage: lz4-blocks COUNT SEED. Makes blocks of LZ4 as a dump does, of random contents of many kinds, and writes to standard
// output for each: the content's length, the block's (0: it did not fit), 4 bytes each, the content, the block. What is read
// and written ends at a page that may not be touched, so that one byte too many ends the program by SIGSEGV.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "../../native/addon/lz4.h"

enum { LONGEST = 1 << 17, ROOM = LONGEST + LONGEST / 128, PAGE = 4096, KINDS = 7 };

static uint64_t state;

static uint64_t below(uint64_t limit)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % limit;
}

// `size` bytes before a page that may not be touched
static uint8_t *fenced(size_t size)
{
    size_t whole = (size + PAGE - 1) / PAGE * PAGE;
    uint8_t *area = mmap(0, whole + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (area == MAP_FAILED || mprotect(area + whole, PAGE, PROT_NONE))
        exit(2);
    return area + whole;
}

// Runs of random bytes and of what was there before, of at most `longest` bytes
static void runs(uint8_t *to, size_t size, size_t longest)
{
    for (size_t i = 0; i < size;) {
        size_t length = 1 + below(longest), back = i && below(2) ? 1 + below(i) : 0;

        for (; length && i < size; length--, i++) to[i] = back ? to[i - back] : (uint8_t)below(256);
    }
}

static void fill(uint8_t *to, size_t size, int kind)
{
    uint64_t base = below(1ull << 47) & ~0xffffull;
    size_t period = 1 + below(70000);

    if (kind == 5) runs(to, size, 20);
    else if (kind == 6) runs(to, size, 600);
    else for (size_t i = 0; i < size; i++) {
        if (kind == 3 && i >= period) to[i] = to[i - period];
        else to[i] = kind == 1 ? 7 : (uint8_t)below(kind == 2 ? 3 : kind == 4 ? 17 : 256);
    }
    if (kind == 4) for (size_t i = 0; i + 8 <= size; i += 8) {
        uint64_t pointer = base + below(4096) * 16;

        memcpy(to + i, &pointer, 8);
    }
}

int main(int argc, char **argv)
{
    uint8_t *content_end = fenced(LONGEST), *block_end = fenced(ROOM);
    struct lz4_table *table = malloc(sizeof(*table));

    if (argc < 3 || !table) return 2;
    state = strtoull(argv[2], 0, 0) * 0x9e3779b97f4a7c15ull | 1;
    memset(table, 255, sizeof(*table));
    for (int i = 0; i < atoi(argv[1]); i++) {
        size_t size = 1 + below(below(2) ? 64 : below(2) ? 5000 : LONGEST), room = below(2) ? size + size / 128 + 40 : 1 + below(size);
        uint8_t *content = content_end - size, *block;
        uint32_t lengths[2] = { (uint32_t)size };

        if (room > ROOM) room = ROOM;
        block = block_end - room;
        fill(content, size, i % KINDS);
        lengths[1] = (uint32_t)lz4_deflate(content, size, block, room, table);
        fwrite(lengths, sizeof(lengths), 1, stdout);
        fwrite(content, 1, size, stdout);
        fwrite(block, 1, lengths[1], stdout);
    }
    return 0;
}
