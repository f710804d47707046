/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One list of questions, asked of many: of every thread, say, or every descriptor. A question is a system call, or a file
 * or link of /proc that is read whole. The list is a template; a row of ids fills it in.
 *
 * Answers of a row lie at fixed places in its stride of `rows`: 8 bytes of result each, and what calls store. Contents of
 * files and links are of no fixed length: they go to the arena one after another, and the 8 bytes behind the result say where.
 * Mappings (smaps.h; a list with them is asked on another thread) are their number, and rows in the arena with the names behind.
 */
#ifndef CRIMG_GATHER_H
#define CRIMG_GATHER_H

#include <linux/futex.h>
#include "raw.h"

/* Words of a question. `GATHER_TYPES` has four bits an argument, the first in the lowest. */
enum { GATHER_KIND, GATHER_WHAT, GATHER_TYPES, GATHER_VALUES, GATHER_RESULT = GATHER_VALUES + 6, GATHER_WORDS = 12 };
enum { GATHER_CALL, GATHER_FILE, GATHER_LINK, GATHER_SMAPS };
/* Arguments: the value itself, an id of the row (0, 1), an address in the row or the names, a result of this row. */
enum { IS_VALUE, IS_ID, IS_IN_ROW, IS_IN_NAMES, IS_RESULT };

struct gathering {
	const int64_t *questions;
	int64_t question_count;
	const uint8_t *names;
	int64_t names_length;
	const int32_t *ids; /* two a row */
	int64_t row_count;
	uint8_t *rows;
	int64_t stride;
	uint8_t *arena;
	int64_t arena_length, arena_used;
	/* On another thread, whose calls are not counted: how many rows are there, and what reads mappings. */
	int32_t *ready;
	int64_t (*read_mappings)(struct gathering *g, int32_t pid);
	struct smaps *smaps;
};

enum { PATH_ROOM = 128, O_CLOEXEC_FLAG = 02000000 };

/* Puts a path together: bytes 1 and 2 stand for the ids of the row. Returns 0 if it does not fit. */
static int make_path(const struct gathering *g, int64_t name, const int32_t *ids, char path[PATH_ROOM])
{
	int at = 0;

	for (; name < g->names_length && g->names[name]; name++) {
		uint8_t byte = g->names[name];

		if (byte == 1 || byte == 2) {
			char digits[12];
			int count = 0;
			uint32_t number = (uint32_t)ids[byte - 1];

			do
				digits[count++] = (char)('0' + number % 10);
			while (number /= 10);
			if (at + count >= PATH_ROOM)
				return 0;
			while (count)
				path[at++] = digits[--count];
		} else {
			if (at + 1 >= PATH_ROOM)
				return 0;
			path[at++] = (char)byte;
		}
	}
	path[at] = 0;
	return name < g->names_length;
}

typedef int64_t call_maker(int64_t number, int64_t a, int64_t b, int64_t c, int64_t d);

/* Reads a file to its end. Returns its length, or -errno; -E2BIG if there is no room. `make` is counted_call, but on other threads. */
static int64_t read_file(const char *path, uint8_t *into, int64_t room, call_maker *make)
{
	int64_t fd = make(__NR_openat, -100, address_of(path), O_CLOEXEC_FLAG, 0);
	int64_t length = 0, got;

	if (fd < 0)
		return fd;
	for (;;) {
		if (length >= room) {
			got = -E2BIG;
			break;
		}
		got = make(__NR_read, fd, address_of(into + length), room - length, 0);
		if (got == -EINTR)
			continue;
		if (got <= 0)
			break;
		length += got;
	}
	call(__NR_close, fd, 0, 0, 0);
	return got < 0 ? got : length;
}

/* Calls on another thread are not counted. */
static call_maker *gather_maker(const struct gathering *g)
{
	return g->ready ? call : counted_call;
}

static int64_t gather_link(struct gathering *g, const char *path)
{
	int64_t room = g->arena_length - g->arena_used;
	int64_t length = room <= 0 ? -E2BIG
					 : gather_maker(g)(__NR_readlink, address_of(path), address_of(g->arena + g->arena_used), room, 0);

	return length == room ? -E2BIG : length;
}

static int64_t gather_call(const struct gathering *g, const int64_t *question, const int32_t *ids, uint8_t *row)
{
	int64_t words[7] = { question[GATHER_WHAT] };
	int64_t types = question[GATHER_TYPES];

	for (int i = 0; i < 6; i++, types >>= 4) {
		int64_t value = question[GATHER_VALUES + i];

		switch (types & 15) {
		case IS_VALUE:
			break;
		case IS_ID:
			value = ids[value & 1];
			break;
		case IS_IN_ROW:
			value = address_of(row + value);
			break;
		case IS_IN_NAMES:
			value = address_of(g->names + value);
			break;
		case IS_RESULT:
			value = *(int64_t *)(void *)(row + value);
			if (value < 0)
				return value; /* what it is about was not to be had */
			break;
		default:
			return -EINVAL;
		}
		words[i + 1] = value;
	}
	return g->ready ? raw_syscall(words) : counted(words);
}

/* Another thread may wait for a row. */
static void tell_row(int32_t *ready, int32_t rows)
{
	__atomic_store_n(ready, rows, __ATOMIC_RELEASE);
	call(__NR_futex, address_of(ready), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0);
}

static void gather(struct gathering *g)
{
	for (int64_t index = 0; index < g->row_count; index++) {
		const int32_t *ids = g->ids + index * 2;
		uint8_t *row = g->rows + index * g->stride;

		for (int64_t which = 0; which < g->question_count; which++) {
			const int64_t *question = g->questions + which * GATHER_WORDS;
			int64_t *result = (int64_t *)(void *)(row + question[GATHER_RESULT]);
			char path[PATH_ROOM];

			if (question[GATHER_KIND] == GATHER_CALL) {
				result[0] = gather_call(g, question, ids, row);
				continue;
			}
			if (question[GATHER_KIND] == GATHER_SMAPS) {
				g->arena_used = (g->arena_used + 7) & ~7ll;
				result[1] = g->arena_used;
				result[0] = g->read_mappings ? g->read_mappings(g, ids[0]) : -ENOSYS;
				continue;
			}
			result[1] = g->arena_used;
			if (!make_path(g, question[GATHER_WHAT], ids, path))
				result[0] = -ENAMETOOLONG;
			else
				result[0] = question[GATHER_KIND] == GATHER_LINK
					? gather_link(g, path)
					: read_file(path, g->arena + g->arena_used, g->arena_length - g->arena_used, gather_maker(g));
			if (result[0] > 0)
				g->arena_used += result[0];
		}
		if (g->ready)
			tell_row(g->ready, (int32_t)index + 1);
	}
}

#endif
