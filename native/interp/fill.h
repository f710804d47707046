// SPDX-License-Identifier: Apache-2.0
/*
 * Bytes that become pages at once: UFFDIO_COPY makes a page and copies into it, where a read must first have one that is
 * cleared. That is a fifth less work for small pages. What is missing in memory that the userfaultfd knows must not be
 * touched otherwise: nobody answers faults.
 */
#pragma once
#include "base.h"

enum { SYS_ioctl = 16, UFFDIO_COPY = 0xc028aa03, UFFDIO_COPY_MODE_DONTWAKE = 1, EAGAIN = 11 };

/* Puts whole pages to `to`, also where there are pages already, or memory that the userfaultfd does not know. 0 or -errno. */
static int64_t fill(int32_t fd, uint64_t to, const uint8_t *from, uint64_t length)
{
	for (uint64_t most = length, done; length; to += done, from += done, length -= done) {
		uint64_t copy[5] = { to, (uint64_t)from, most < length ? most : length, UFFDIO_COPY_MODE_DONTWAKE, 0 };
		int64_t result = sys(SYS_ioctl, (uint64_t)fd, UFFDIO_COPY, (uint64_t)copy);
		done = (int64_t)copy[4] > 0 ? copy[4] : 0;
		if (done || result == -EAGAIN) continue;
		if (result == -EEXIST || (result == -ENOENT && copy[2] == PAGE)) {
			memcpy((void *)to, from, PAGE);
			done = PAGE;
		} else if (result == -ENOENT) {
			/* It goes beyond a mapping, perhaps. */
			most = PAGE;
		} else {
			return result;
		}
	}
	return 0;
}
