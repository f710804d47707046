/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages of an address space exist (PAGEMAP_SCAN, linux/fs.h, since 6.7), as runs that stay within one mapping: one
 * scan for all that lies between large anonymous mappings, and one for each of these; of those that are full nothing need be
 * asked.
 */
#ifndef CRIMG_EXTENTS_H
#define CRIMG_EXTENTS_H

#include "smaps.h"

/* What a mapping is here: nothing of it is stored; its pages are; they are, and all exist where smaps says so; all exist. */
enum { EXTENT_NONE, EXTENT_STORED, EXTENT_MAY_BE_FULL, EXTENT_FULL, EXTENT_NO_PLACE };

struct page_run {
	uint64_t start, end, categories;
};

/* struct pm_scan_arg */
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, inverted, mask, any_of, returned;
};
_Static_assert(sizeof(struct scan_arg) == 96, "pm_scan_arg");

enum { PAGE_IS_FILE = 4, PAGE_IS_PRESENT = 8, PAGE_IS_SWAPPED = 16, PAGE_IS_PFNZERO = 32, PAGE_IS_GUARD = 256, LARGE_MAPPING = 4 << 20 };

struct extents {
	int32_t fd; /* /proc/PID/pagemap */
	const int64_t *rows; /* of smaps.h */
	const uint8_t *kinds;
	int64_t row_count;
	int64_t *out; /* start and end of each run, ascending */
	int64_t room, count; /* in runs */
	int64_t *guards; /* the same of guarded pages */
	int64_t guard_room, guard_count;
	/* The run that is not yet out, and the mapping where the next one is looked for. */
	int64_t start, end, next;
	uint64_t returned;
};

static const int64_t *extent_row(const struct extents *e, int64_t index)
{
	return e->rows + index * SMAPS_WORDS;
}

static int64_t emit_extent(struct extents *e)
{
	if (e->end > e->start) {
		if (e->count >= e->room)
			return -E2BIG;
		e->out[e->count * 2] = e->start;
		e->out[e->count * 2 + 1] = e->end;
		e->count++;
	}
	e->start = e->end = 0;
	return 0;
}

/* Takes the next run; they ascend. */
static int64_t add_extent(struct extents *e, int64_t start, int64_t end)
{
	for (; e->next < e->row_count; e->next++) {
		const int64_t *row = extent_row(e, e->next);
		uint8_t kind = e->kinds[e->next];

		if (row[SMAPS_END] <= start)
			continue;
		if (row[SMAPS_START] >= end)
			return 0;
		if (kind == EXTENT_STORED || kind == EXTENT_MAY_BE_FULL || kind == EXTENT_FULL) {
			int64_t from = start > row[SMAPS_START] ? start : row[SMAPS_START];
			int64_t to = end < row[SMAPS_END] ? end : row[SMAPS_END];

			if (from == e->end && from != row[SMAPS_START]) {
				e->end = to;
			} else {
				int64_t result = emit_extent(e);

				if (result < 0)
					return result;
				e->start = from;
				e->end = to;
			}
		}
		if (end <= row[SMAPS_END])
			return 0;
	}
	return 0;
}

/* An advice call may not cross a gap: a run of guards a mapping. */
static int64_t add_guards(struct extents *e, int64_t first, int64_t behind, int64_t start, int64_t end)
{
	for (int64_t index = first; index < behind; index++) {
		const int64_t *row = extent_row(e, index);

		if (row[SMAPS_END] <= start || row[SMAPS_START] >= end || e->kinds[index] == EXTENT_NO_PLACE)
			continue;
		if (e->guard_count >= e->guard_room)
			return -E2BIG;
		e->guards[e->guard_count * 2] = start > row[SMAPS_START] ? start : row[SMAPS_START];
		e->guards[e->guard_count * 2 + 1] = end < row[SMAPS_END] ? end : row[SMAPS_END];
		e->guard_count++;
	}
	return 0;
}

/* Mappings `first` to `behind`, as one scan. `unwanted`: categories of pages that are not stored. */
static int64_t scan_stretch(struct extents *e, int64_t first, int64_t behind, uint64_t unwanted)
{
	static struct page_run runs[2048];
	const uint64_t end = (uint64_t)extent_row(e, behind - 1)[SMAPS_END];
	uint64_t start = (uint64_t)extent_row(e, first)[SMAPS_START];
	/* Where the room is just full, the kernel may stop before the end of the last run, and tell it once more. */
	uint64_t told = start;

	while (start < end) {
		struct scan_arg arg = {
			.size = sizeof(arg), .start = start, .end = end, .vec = (uint64_t)address_of(runs), .vec_len = sizeof(runs) / sizeof(*runs),
			.inverted = unwanted, .mask = unwanted,
			.any_of = PAGE_IS_PRESENT | PAGE_IS_SWAPPED, .returned = e->returned,
		};
		int64_t count = counted_call(__NR_ioctl, e->fd, 0xc0606610 /* PAGEMAP_SCAN */, address_of(&arg), 0);

		if (count == -EINTR)
			continue;
		/* Guard markers look like swapped pages; kernels before 6.15 do not know the category. */
		if (count == -EINVAL && e->returned) {
			e->returned = 0;
			continue;
		}
		if (count < 0)
			return count;
		for (int64_t index = 0; index < count; index++) {
			const struct page_run *run = &runs[index];
			uint64_t from = run->start > told ? run->start : told;
			int64_t result;

			if (run->end <= told)
				continue;
			told = run->end;
			result = run->categories & PAGE_IS_GUARD ? add_guards(e, first, behind, (int64_t)from, (int64_t)run->end)
								 : add_extent(e, (int64_t)from, (int64_t)run->end);
			if (result < 0)
				return result;
		}
		if (arg.walk_end <= start)
			break;
		start = arg.walk_end;
	}
	return 0;
}

/*
 * Much anonymous memory. Whether a page is a file's need not be asked there: to know it the kernel looks at each, which takes
 * 14 ms for a GiB instead of 2.
 */
static int is_large(const struct extents *e, int64_t index)
{
	const int64_t *row = extent_row(e, index);

	return e->kinds[index] == EXTENT_MAY_BE_FULL && row[SMAPS_ANONYMOUS] >= LARGE_MAPPING && row[SMAPS_PAGE_SIZE] == 4096;
}

static int is_full(const struct extents *e, int64_t index)
{
	const int64_t *row = extent_row(e, index);
	int64_t anonymous = row[SMAPS_ANONYMOUS];

	return e->kinds[index] == EXTENT_FULL || (e->kinds[index] == EXTENT_MAY_BE_FULL && anonymous >= LARGE_MAPPING &&
						  anonymous == row[SMAPS_END] - row[SMAPS_START]);
}

/* Returns the number of runs, or -errno; -E2BIG where there is no room for them. */
static int64_t find_extents(struct extents *e)
{
	for (int64_t index = 0; index < e->row_count;) {
		int64_t behind = index + 1, last = index, result;

		if (e->kinds[index] == EXTENT_NO_PLACE) {
			index++;
			continue;
		}
		if (is_full(e, index)) {
			result = add_extent(e, extent_row(e, index)[SMAPS_START], extent_row(e, index)[SMAPS_END]);
		} else if (is_large(e, index)) {
			result = scan_stretch(e, index, behind, PAGE_IS_PFNZERO);
		} else {
			for (; behind < e->row_count && !is_full(e, behind) && !is_large(e, behind); behind++)
				if (e->kinds[behind] != EXTENT_NO_PLACE)
					last = behind;
			result = scan_stretch(e, index, last + 1, PAGE_IS_FILE | PAGE_IS_PFNZERO);
		}
		if (result < 0)
			return result;
		index = behind;
	}
	{
		int64_t result = emit_extent(e);

		return result < 0 ? result : e->count;
	}
}

#endif
