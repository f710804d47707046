// SPDX-License-Identifier: Apache-2.0
/* Blocks of LZ4 (lz4_Block_format.md). Damage is an error: nothing beside `to` is written, nothing beside `from` is read. */
#pragma once
#include "base.h"

struct lz4_word {
	uint64_t value;
} __attribute__((packed, may_alias));

/* Eight bytes at a time, up to seven too many. */
static inline __attribute__((always_inline)) void lz4_copy(uint8_t *to, const uint8_t *from, uint64_t length)
{
	for (uint64_t i = 0; i < length; i += 8) ((struct lz4_word *)(to + i))->value = ((const struct lz4_word *)(from + i))->value;
}

static inline __attribute__((always_inline)) int lz4_length(const uint8_t **from, const uint8_t *end, uint64_t *length)
{
	uint8_t byte = 255;
	if (*length != 15) return 1;
	while (byte == 255) {
		if (*from == end) return 0;
		byte = *(*from)++;
		*length += byte;
	}
	return 1;
}

/* Whether `from` holds a block of exactly `size` bytes. */
static __attribute__((noinline, optimize("O2"))) int lz4_inflate(const uint8_t *from, uint64_t stored, uint8_t *to, uint64_t size)
{
	const uint8_t *end = from + stored;
	uint8_t *out = to, *last = to + size;
	while (from < end) {
		uint8_t token = *from++;
		uint64_t literals = token >> 4, match = token & 15, distance;
		if (!lz4_length(&from, end, &literals)) return 0;
		if (literals > (uint64_t)(end - from) || literals > (uint64_t)(last - out)) return 0;
		if (literals + 8 <= (uint64_t)(end - from) && literals + 8 <= (uint64_t)(last - out)) lz4_copy(out, from, literals);
		else memcpy(out, from, literals);
		from += literals;
		out += literals;
		if (from == end) break; /* the last sequence is literals only */
		if (end - from < 2) return 0;
		distance = from[0] | (uint64_t)from[1] << 8;
		from += 2;
		if (!lz4_length(&from, end, &match)) return 0;
		match += 4;
		if (!distance || distance > (uint64_t)(out - to) || match > (uint64_t)(last - out)) return 0;
		if (distance >= 8 && match + 8 <= (uint64_t)(last - out)) lz4_copy(out, out - distance, match);
		else for (uint64_t i = 0; i < match; i++) out[i] = out[i - distance];
		out += match;
	}
	return out == last;
}
