// SPDX-License-Identifier: Apache-2.0
/* Memory for pages that are about to be read from the image, so that the read does not stop at each of them. */
#pragma once
#include "base.h"

enum {
	HUGE_PAGE = 0x200000, MADV_POPULATE_WRITE = 23, MADV_COLLAPSE = 25, CLOCK_THREAD_CPUTIME_ID = 3,
	/*
	 * What a huge page may take of a processor on average to be the quicker way, and what may be lost until that shows, ns. 512 small
	 * pages take about half a millisecond. A huge one takes an eighth of one, but where the kernel must first move others
	 * out of the way, or a host must first find memory for a guest that had given it back, 2 to 5 ms: small pages come
	 * from leftovers that need neither.
	 */
	HUGE_PAGE_NS = 500000, HUGE_LOSS_NS = 8000000,
};

/* Of this thread, so that others who want the processor do not count: ns. */
static uint64_t used_ns(void)
{
	uint64_t time[2];
	sys(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, (uint64_t)time, 0);
	return time[0] * 1000000000 + time[1];
}

/*
 * MADV_COLLAPSE leaves no flag behind, but collapses only what has a page. Returns where it stopped. `gain`: time that
 * huge pages have saved so far, ns.
 */
static uint64_t make_huge_pages(uint64_t at, uint64_t end, int64_t *gain)
{
	for (uint64_t then = used_ns(), now; at + HUGE_PAGE <= end && *gain > -HUGE_LOSS_NS; at += HUGE_PAGE, then = now) {
		*(volatile uint8_t *)at = 0;
		if (is_error(sys(SYS_madvise, at, HUGE_PAGE, MADV_COLLAPSE))) break;
		now = used_ns();
		*gain += HUGE_PAGE_NS - (int64_t)(now - then);
	}
	return at;
}

/* Best effort: a page that is missing afterwards is made by the read. `is_trial`: as long as huge pages are quickly had. */
static void populate(uint64_t from, uint64_t length, int64_t *gain, uint64_t is_trial)
{
	uint64_t end = from + length;
	uint64_t huge = (from + HUGE_PAGE - 1) & -(uint64_t)HUGE_PAGE;
	uint64_t rest = huge < end ? make_huge_pages(huge, end, gain) : from;
	if (is_trial) return;
	if (huge < end && huge > from) sys(SYS_madvise, from, huge - from, MADV_POPULATE_WRITE);
	if (rest < end) sys(SYS_madvise, rest, end - rest, MADV_POPULATE_WRITE);
}
