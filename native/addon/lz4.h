// SPDX-License-Identifier: Apache-2.0
/*
 * Makes blocks of LZ4 (lz4_Block_format.md): greedy, with one table of where five bytes were seen last, and longer steps the
 * longer nothing is found. Fast rather than small. What programs keep in memory lies at multiples of four, so only there is
 * looked for something seen before; what is found may begin earlier.
 */
#pragma once
#include <stdint.h>

enum {
	LZ4_HASH_BITS = 12,
	LZ4_WINDOW = 65535,
	LZ4_LAST_LITERALS = 5,
	/* Where the last match begins at the latest, from the end: 12 by the format; 16, so that literals may be read in sixteens. */
	LZ4_LAST_MATCH = 16,
	LZ4_ALIGNMENT = 4,
	LZ4_PIECE = 16,
};

struct lz4_table {
	uint32_t seen[1 << LZ4_HASH_BITS];
};

typedef uint16_t __attribute__((aligned(1), may_alias)) lz4_u16;
typedef uint32_t __attribute__((aligned(1), may_alias)) lz4_u32;
typedef uint64_t __attribute__((aligned(1), may_alias)) lz4_u64;
typedef struct {
	uint64_t low, high;
} __attribute__((packed, may_alias)) lz4_piece;

static inline uint32_t lz4_hash(uint64_t word)
{
	/* Five bytes: memory is full of pointers whose four bytes are alike. */
	return (uint32_t)(((word << 24) * 889523592379ull) >> (64 - LZ4_HASH_BITS));
}

/* A length beyond what the token holds. */
static inline uint8_t *lz4_put_length(uint8_t *to, uint64_t length)
{
	for (; length >= 255; length -= 255)
		*to++ = 255;
	*to++ = (uint8_t)length;
	return to;
}

/* Bytes that a token, its literals and a distance take at most: written in sixteens, so up to 15 beyond. */
static inline uint64_t lz4_room_for(uint64_t literals)
{
	return 1 + literals / 255 + 1 + literals + LZ4_PIECE + 2;
}

/* A token with its literals. Reads and writes sixteen bytes at once: at least one piece, and up to 15 bytes too many. */
static inline uint8_t *lz4_put_literals(uint8_t *to, const uint8_t *literals, uint64_t count)
{
	uint8_t *token = to++, *end;

	*token = (uint8_t)((count < 15 ? count : 15) << 4);
	if (count >= 15)
		to = lz4_put_length(to, count - 15);
	end = to + count;
	do {
		*(lz4_piece *)to = *(const lz4_piece *)literals;
		to += LZ4_PIECE;
		literals += LZ4_PIECE;
	} while (to < end);
	return end;
}

/* How many bytes are alike, of which the first four are, up to `limit`. */
static inline uint64_t lz4_count(const uint8_t *at, const uint8_t *match, const uint8_t *limit)
{
	uint64_t count = 4;

	for (; at + count + 8 <= limit; count += 8) {
		uint64_t differs = *(const lz4_u64 *)(at + count) ^ *(const lz4_u64 *)(match + count);

		if (differs)
			return count + ((uint64_t)__builtin_ctzl(differs) >> 3);
	}
	while (at + count < limit && at[count] == match[count])
		count++;
	return count;
}

/* Notes a place, and returns where its five bytes were seen before, if it seems so: four are to be compared. */
static inline const uint8_t *lz4_seen(struct lz4_table *table, const uint8_t *from, const uint8_t *at, uint64_t word)
{
	uint32_t *slot = &table->seen[lz4_hash(word)];
	const uint8_t *match = from + *slot;

	*slot = (uint32_t)(at - from);
	return match;
}

static inline int lz4_is_match(const uint8_t *at, const uint8_t *match, uint64_t word)
{
	return *(const lz4_u32 *)match == (uint32_t)word && at - match <= LZ4_WINDOW;
}

/* The next place to look at. */
static inline const uint8_t *lz4_align(const uint8_t *from, const uint8_t *at)
{
	return from + (((uint64_t)(at - from) + LZ4_ALIGNMENT) & ~(uint64_t)(LZ4_ALIGNMENT - 1));
}

/* Returns the bytes of the block, or 0 if it does not fit into `room`. */
static __attribute__((optimize("O2"))) uint64_t lz4_deflate(const uint8_t *from, uint64_t length, uint8_t *to, uint64_t room,
							    struct lz4_table *table)
{
	const uint8_t *at = lz4_align(from, from), *literals = from;
	const uint8_t *last = from + length - LZ4_LAST_MATCH, *limit = from + length - LZ4_LAST_LITERALS;
	uint8_t *out = to, *end = to + room;
	uint64_t rest;

	__builtin_memset(table->seen, 0, sizeof(table->seen));
	if (length > LZ4_LAST_MATCH)
		for (uint32_t misses = 64; at < last;) {
			uint64_t word = *(const lz4_u64 *)at, count;
			const uint8_t *match = lz4_seen(table, from, at, word);
			uint8_t *token;

			if (!lz4_is_match(at, match, word)) {
				at += LZ4_ALIGNMENT * (misses++ >> 6);
				continue;
			}
			while (at > literals && match > from && at[-1] == match[-1]) {
				at--;
				match--;
			}
			/* What follows a match is often one, too, wherever it lies. */
			do {
				if ((uint64_t)(end - out) < lz4_room_for((uint64_t)(at - literals)))
					return 0;
				token = out;
				out = lz4_put_literals(out, literals, (uint64_t)(at - literals));
				*(lz4_u16 *)out = (uint16_t)(at - match);
				out += 2;
				count = lz4_count(at, match, limit) - 4;
				if (count < 15) {
					*token |= (uint8_t)count;
				} else {
					if ((uint64_t)(end - out) < count / 255 + 1)
						return 0;
					*token |= 15;
					out = lz4_put_length(out, count - 15);
				}
				at += count + 4;
				literals = at;
				if (at >= last)
					break;
				lz4_seen(table, from, at - 2, *(const lz4_u64 *)(at - 2));
				word = *(const lz4_u64 *)at;
				match = lz4_seen(table, from, at, word);
			} while (lz4_is_match(at, match, word));
			at = lz4_align(from, at);
			misses = 64;
		}
	rest = (uint64_t)(from + length - literals);
	if ((uint64_t)(end - out) < lz4_room_for(rest))
		return 0;
	*out = (uint8_t)((rest < 15 ? rest : 15) << 4);
	out = rest < 15 ? out + 1 : lz4_put_length(out + 1, rest - 15);
	__builtin_memcpy(out, literals, rest);
	return (uint64_t)(out + rest - to);
}
