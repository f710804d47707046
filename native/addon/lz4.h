// SPDX-License-Identifier: Apache-2.0
/*
 * Makes blocks of LZ4 (lz4_Block_format.md): greedy, with one table of where four bytes were seen last, and longer steps the
 * longer nothing is found. Fast rather than small.
 */
#pragma once
#include <stdint.h>

enum { LZ4_HASH_BITS = 12, LZ4_WINDOW = 65535, LZ4_LAST_LITERALS = 5, LZ4_LAST_MATCH = 12 };

struct lz4_table {
	uint32_t seen[1 << LZ4_HASH_BITS];
};

typedef uint32_t __attribute__((aligned(1), may_alias)) lz4_u32;
typedef uint64_t __attribute__((aligned(1), may_alias)) lz4_u64;

static uint32_t lz4_hash(const uint8_t *at)
{
	/* Five bytes: memory is full of pointers whose four bytes are alike. */
	return (uint32_t)(((*(const lz4_u64 *)at << 24) * 889523592379ull) >> (64 - LZ4_HASH_BITS));
}

/* A length beyond what the token holds. Returns 0 where there is no room. */
static uint8_t *lz4_put_length(uint8_t *to, const uint8_t *end, uint64_t length)
{
	for (; length >= 255; length -= 255) {
		if (to >= end)
			return 0;
		*to++ = 255;
	}
	if (to >= end)
		return 0;
	*to++ = (uint8_t)length;
	return to;
}

static uint8_t *lz4_put(uint8_t *to, const uint8_t *end, const uint8_t *literals, uint64_t count, uint64_t distance, uint64_t match)
{
	uint8_t *token = to++;
	uint64_t more = match ? match - 4 : 0;

	if (to >= end)
		return 0;
	*token = (uint8_t)((count < 15 ? count : 15) << 4 | (more < 15 ? more : 15));
	if (count >= 15 && !(to = lz4_put_length(to, end, count - 15)))
		return 0;
	if (count + 16 > (uint64_t)(end - to))
		return 0;
	for (uint64_t i = 0; i < count; i++)
		to[i] = literals[i];
	to += count;
	if (!match)
		return to;
	*to++ = (uint8_t)distance;
	*to++ = (uint8_t)(distance >> 8);
	return more >= 15 ? lz4_put_length(to, end, more - 15) : to;
}

/* Returns the bytes of the block, or 0 if it does not fit into `room`. */
static __attribute__((optimize("O2"))) uint64_t lz4_deflate(const uint8_t *from, uint64_t length, uint8_t *to, uint64_t room,
							    struct lz4_table *table)
{
	const uint8_t *at = from, *literals = from, *last = from + length - LZ4_LAST_MATCH;
	uint8_t *out = to;
	const uint8_t *end = to + room;

	for (int i = 0; i < 1 << LZ4_HASH_BITS; i++)
		table->seen[i] = 0;
	if (length > LZ4_LAST_MATCH)
		for (uint32_t misses = 64;; misses++) {
			uint32_t hash;
			const uint8_t *match, *limit = from + length - LZ4_LAST_LITERALS;
			uint64_t count;

			at += misses >> 6;
			if (at >= last)
				break;
			hash = lz4_hash(at);
			match = from + table->seen[hash];
			table->seen[hash] = (uint32_t)(at - from);
			if (match >= at || at - match > LZ4_WINDOW || *(const lz4_u32 *)match != *(const lz4_u32 *)at)
				continue;
			while (at > literals && match > from && at[-1] == match[-1]) {
				at--;
				match--;
			}
			count = 4;
			while (at + count + 8 <= limit) {
				uint64_t differs = *(const lz4_u64 *)(at + count) ^ *(const lz4_u64 *)(match + count);

				if (differs) {
					count += (uint64_t)__builtin_ctzl(differs) >> 3;
					goto counted;
				}
				count += 8;
			}
			while (at + count < limit && at[count] == match[count])
				count++;
counted:
			out = lz4_put(out, end, literals, (uint64_t)(at - literals), (uint64_t)(at - match), count);
			if (!out)
				return 0;
			at += count;
			literals = at;
			misses = 63;
			if (at >= last)
				break;
			table->seen[lz4_hash(at - 2)] = (uint32_t)(at - 2 - from);
		}
	out = lz4_put(out, end, literals, (uint64_t)(from + length - literals), 0, 0);
	return out ? (uint64_t)(out - to) : 0;
}
