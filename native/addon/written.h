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
	napi_async_work work;
	napi_ref ranges_ref, out_ref, state_ref;
	int64_t fd;
	const int64_t *ranges; /* start and end each */
	int64_t range_count;
	int64_t *out; /* start, end and categories each */
	int64_t room; /* of triples */
	int64_t flags;
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

static void page_scan_execute(napi_env env, void *data)
{
	struct page_scan *scan = data;

	(void)env;
	background_end(scan->shared, scan_pages(scan, call));
}

static void page_scan_complete(napi_env env, napi_status status, void *data)
{
	struct page_scan *scan = data;

	(void)status;
	napi_delete_reference(env, scan->ranges_ref);
	napi_delete_reference(env, scan->out_ref);
	napi_delete_reference(env, scan->state_ref);
	napi_delete_async_work(env, scan->work);
	call(__NR_munmap, address_of(scan), sizeof(*scan), 0, 0);
}

/*
 * scanPages(pagemap, protects, ranges: BigInt64Array, out: BigInt64Array, state?: BigInt64Array(2)): runs found, or -errno. With
 * `state` it is done by another thread, to which the arrays belong until awaitBackground(state) has returned the same.
 */
static napi_value js_scan_pages(napi_env env, napi_callback_info info)
{
	const int64_t words[7] = { __NR_mmap, 0, sizeof(struct page_scan), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0 };
	size_t count = 5, range_bytes, out_bytes, state_bytes;
	napi_value values[5], name, value;
	void *ranges, *out, *state;
	struct page_scan scan = { 0 }, *there;
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
	scan.shared = state;
	/* Counted here, so that tests meet the same call every time. */
	fault = count_call();
	place = raw_syscall(words);
	if (fault || place < 0) {
		scan.shared[BACKGROUND_RESULT] = fault ? -fault : place;
		scan.shared[BACKGROUND_DONE] = 1;
		return NULL;
	}
	there = (struct page_scan *)(uintptr_t)place;
	*there = scan;
	there->shared[BACKGROUND_DONE] = 0;
	if (napi_create_reference(env, values[2], 1, &there->ranges_ref) != napi_ok ||
	    napi_create_reference(env, values[3], 1, &there->out_ref) != napi_ok ||
	    napi_create_reference(env, values[4], 1, &there->state_ref) != napi_ok ||
	    napi_create_string_utf8(env, "crimg scan", NAPI_AUTO_LENGTH, &name) != napi_ok ||
	    napi_create_async_work(env, NULL, name, page_scan_execute, page_scan_complete, there, &there->work) != napi_ok ||
	    napi_queue_async_work(env, there->work) != napi_ok)
		return throw_type(env, "scanPages: cannot start"); /* leaks a few words, once, in a process that ends */
	return NULL;
}

#endif
