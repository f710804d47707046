/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which pages of memory that is write-protected with a userfaultfd exist, and which of them have been written to
 * (Documentation/admin-guide/mm/pagemap.rst, PAGEMAP_SCAN). On this thread, or on others meanwhile. Included by addon.c.
 */
#ifndef CRIMG_WRITTEN_H
#define CRIMG_WRITTEN_H

#include "background.h"
#include "extents.h"

enum { SCAN_PROTECT = 1, SCAN_CHECK = 2, SCAN_IS_WRITTEN = 2 };

struct page_scan {
	int64_t fd;
	const int64_t *ranges; /* start and end each */
	int64_t range_count;
	int64_t *out; /* start, end and categories each */
	int64_t room; /* of triples */
	int64_t flags;
};

struct page_scan_job {
	struct async_job job;
	struct page_scan scan;
	int64_t *shared;
};

/*
 * Pages that are in memory or swapped out, but neither the page of zeros nor guards: runs, and whether they are written to.
 * What is not registered is as if it were. Returns the number of runs, or -errno; -E2BIG where there is no room.
 */
static int64_t scan_pages(const struct page_scan *scan, call_maker *make)
{
	uint64_t guard = PAGE_IS_GUARD;
	int64_t count = 0;

	for (int64_t range = 0; range < scan->range_count; range++) {
		uint64_t start = (uint64_t)scan->ranges[2 * range], end = (uint64_t)scan->ranges[2 * range + 1];
		uint64_t flags = (uint64_t)scan->flags | SCAN_CHECK;

		while (start < end) {
			struct scan_arg arg = {
				.size = sizeof(arg), .flags = flags, .start = start, .end = end,
				.vec = (uint64_t)address_of(scan->out + 3 * count), .vec_len = (uint64_t)(scan->room - count),
				.inverted = PAGE_IS_PFNZERO | guard, .mask = PAGE_IS_PFNZERO | guard,
				.any_of = PAGE_IS_PRESENT | PAGE_IS_SWAPPED, .returned = SCAN_IS_WRITTEN,
			};
			int64_t found;

			if (count >= scan->room)
				return -E2BIG;
			found = make(__NR_ioctl, scan->fd, 0xc0606610 /* PAGEMAP_SCAN */, address_of(&arg), 0);
			if (found == -EINTR)
				continue;
			/* Kernels before 6.15 do not know guards. */
			if (found == -EINVAL && guard) {
				guard = 0;
				continue;
			}
			/* Not registered, or not any more. */
			if (found == -EPERM && flags & SCAN_CHECK) {
				flags = 0;
				continue;
			}
			if (found < 0)
				return found;
			if (!(flags & SCAN_CHECK))
				for (int64_t run = count; run < count + found; run++)
					scan->out[3 * run + 2] |= SCAN_IS_WRITTEN;
			count += found;
			if (arg.walk_end <= start)
				break;
			start = arg.walk_end;
		}
	}
	return count;
}

static void page_scan_run(void *job)
{
	struct page_scan_job *there = job;

	background_end(there->shared, scan_pages(&there->scan, call));
}

/*
 * scanPages(pagemap, protects, ranges: BigInt64Array, out: BigInt64Array, state?: BigInt64Array(2)): runs found, or -errno. With
 * `state` it is done by another thread, to which the arrays belong until awaitBackground(state) has returned the same.
 */
static napi_value js_scan_pages(napi_env env, napi_callback_info info)
{
	size_t count = 5, range_bytes, out_bytes, state_bytes;
	napi_value values[5], value;
	void *ranges, *out, *state;
	struct page_scan scan = { 0 };
	struct page_scan_job *there;
	int64_t *shared;
	int32_t fd;
	bool protects;
	int64_t place, fault;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 4 ||
	    napi_get_value_int32(env, values[0], &fd) != napi_ok || napi_get_value_bool(env, values[1], &protects) != napi_ok ||
	    !buffer_address(env, values[2], &ranges, &range_bytes) || !buffer_address(env, values[3], &out, &out_bytes) ||
	    (count == 5 && (!buffer_address(env, values[4], &state, &state_bytes) || state_bytes < BACKGROUND_WORDS * 8)))
		return throw_type(env, "scanPages(fd, protects, BigInt64Array, BigInt64Array, BigInt64Array(2)?)");
	scan.fd = fd;
	scan.flags = protects ? SCAN_PROTECT : 0;
	scan.ranges = ranges;
	scan.range_count = (int64_t)range_bytes / 16;
	scan.out = out;
	scan.room = (int64_t)out_bytes / 24;
	if (count == 4)
		return napi_create_int64(env, scan_pages(&scan, counted_call), &value) == napi_ok ? value : NULL;
	shared = state;
	/* Counted here, so that tests meet the same call every time. */
	fault = count_call();
	place = fault ? -fault : async_map(sizeof(*there));
	if (place < 0) {
		shared[BACKGROUND_RESULT] = place;
		shared[BACKGROUND_DONE] = 1;
		return NULL;
	}
	there = (struct page_scan_job *)(uintptr_t)place;
	there->scan = scan;
	there->shared = shared;
	shared[BACKGROUND_DONE] = 0;
	if (!async_start(env, &there->job, page_scan_run, "crimg scan", values + 2, 3))
		return throw_type(env, "scanPages: cannot start");
	return NULL;
}

#endif
