/* SPDX-License-Identifier: Apache-2.0 */
/* Which pages two address spaces share: the same word in both pagemaps (Documentation/admin-guide/mm/pagemap.rst). Included by addon.c. */
#ifndef CRIMG_SAME_PAGES_H
#define CRIMG_SAME_PAGES_H

enum { WORDS_AT_ONCE = 512 };
#define PAGE_THERE (3ull << 62) /* present, swapped */
#define PAGE_NUMBER ((1ull << 55) - 1)

/* Runs of pages of `ranges` (start and end each) that are the same in both. Returns how many; -EPERM where no numbers are told. */
static int64_t same_pages(const int32_t maps[2], const int64_t *ranges, int64_t count, int64_t *runs, int64_t room)
{
	static uint64_t words[2][WORDS_AT_ONCE];
	int64_t found = 0;

	for (int64_t i = 0; i < count; i++) {
		int64_t end = ranges[i * 2 + 1];
		int is_open = 0;

		for (int64_t at = ranges[i * 2]; at < end;) {
			int64_t pages = (end - at) >> 12;

			pages = pages < WORDS_AT_ONCE ? pages : WORDS_AT_ONCE;
			for (int j = 0; j < 2; j++)
				if (counted_call(__NR_pread64, maps[j], address_of(words[j]), pages * 8, at >> 12 << 3) != pages * 8)
					goto next;
			for (int64_t page = 0; page < pages; page++, at += 4096) {
				uint64_t mine = words[0][page], theirs = words[1][page];

				if (!(mine & PAGE_THERE) || ((mine ^ theirs) & PAGE_THERE)) {
					is_open = 0;
					continue;
				}
				if (!(mine & PAGE_NUMBER))
					return -EPERM;
				if ((mine ^ theirs) & PAGE_NUMBER) {
					is_open = 0;
				} else if (is_open) {
					runs[found * 2 - 1] = at + 4096;
				} else {
					if (found == room)
						return -E2BIG;
					runs[found * 2] = at;
					runs[found++ * 2 + 1] = at + 4096;
					is_open = 1;
				}
			}
		}
next:;
	}
	return found;
}

/* samePages(first, second, ranges: BigInt64Array, runs: BigInt64Array): descriptors of pagemaps; number of runs, or -errno. */
static napi_value js_same_pages(napi_env env, napi_callback_info info)
{
	size_t count = 4, lengths[2];
	napi_value values[4], value;
	void *addresses[2];
	int32_t maps[2];

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 4 ||
	    napi_get_value_int32(env, values[0], &maps[0]) != napi_ok || napi_get_value_int32(env, values[1], &maps[1]) != napi_ok ||
	    !buffers(env, values + 2, 2, addresses, lengths))
		return throw_type(env, "samePages(first, second, ranges, runs)");
	return napi_create_int64(env, same_pages(maps, addresses[0], (int64_t)(lengths[0] / 16), addresses[1], (int64_t)(lengths[1] / 16)),
				 &value) == napi_ok ? value : NULL;
}

#endif
