// SPDX-License-Identifier: Apache-2.0
/* Stored bytes: read from the image and summed while the processor still has them in its cache. */
#pragma once
#include "fill.h"
#include "stored.h"
#include "../common/crc32c.h"

enum {
	SYS_preadv = 295,
	/* Bytes of one read, less than half of a core's second cache, and pieces of one: both readers' stacks hold vectors. */
	LOAD_BYTES = 1 << 18, LOAD_PIECES = 64,
	/* op.nr */
	LOAD_TOUCHES = 1,
};

struct vector {
	uint64_t address, length;
};

static int are_sums_right(const struct restore_piece *pieces, uint64_t count, uint64_t base, struct crc32c *state)
{
	for (uint64_t i = 0; i < count; i++) {
		uint32_t sum = pieces[i].sum;
		if (!sum || pieces[i].length % 8) continue;
		if (crc32c_stored(~crc32c_words(0xffffffff, (const uint8_t *)(pieces[i].address + base), pieces[i].length, state)) != sum)
			return 0;
	}
	return 1;
}

/* The same for pieces that are in frames. */
static int64_t load_frames(struct context *context, int32_t fd, const struct restore_piece *pieces, uint64_t count, uint64_t offset,
	uint64_t base, struct crc32c *summing)
{
	struct inflating inflating;
	int64_t total = 0, result = begin_inflating(&inflating, context, fd);
	for (uint64_t i = 0; i < count && !result; i++) {
		result = read_stored(&inflating, offset + (uint64_t)total, (uint8_t *)(pieces[i].address + base), pieces[i].length);
		if (!result && summing && !are_sums_right(pieces + i, 1, base, summing)) result = -EBADMSG;
		total += pieces[i].length;
	}
	end_inflating(&inflating);
	return result ? result : total;
}

/* The same where pages come by a userfaultfd. */
static int64_t load_filling(struct context *context, int32_t fd, const struct restore_piece *pieces, uint64_t count, uint64_t offset,
	uint64_t base, struct crc32c *summing)
{
	struct inflating inflating;
	int64_t total = 0, result = begin_inflating(&inflating, context, fd);
	int64_t buffer = syscall6(SYS_mmap, 0, LOAD_BYTES, 3, 0x22, (uint64_t)-1, 0);
	if (!result && is_error(buffer)) result = buffer;
	while (count && !result) {
		uint64_t taken = 0, length = 0;
		while (taken < count && length + pieces[taken].length <= LOAD_BYTES) length += pieces[taken++].length;
		if (!taken) result = -EINVAL; /* no chunk is so long */
		else result = read_stored(&inflating, offset + (uint64_t)total, (uint8_t *)buffer, length);
		const uint8_t *from = (const uint8_t *)buffer;
		for (uint64_t i = 0; i < taken && !result; from += pieces[i++].length) {
			struct restore_piece piece = { .address = (uint64_t)from, .length = pieces[i].length, .sum = pieces[i].sum };
			if (summing && !are_sums_right(&piece, 1, 0, summing)) result = -EBADMSG;
			else result = fill(context->filler - 1, pieces[i].address + base, from, pieces[i].length);
		}
		total += (int64_t)length;
		pieces += taken;
		count -= taken;
	}
	if (!is_error(buffer)) sys(SYS_munmap, (uint64_t)buffer, LOAD_BYTES, 0);
	end_inflating(&inflating);
	return result ? result : total;
}

/* A fault here takes the lock of a mapping, one in a read that of the whole address space, which whoever changes mappings holds. */
static void touch(const struct vector *vector)
{
	for (uint64_t at = 0; at < vector->length; at += PAGE) *(volatile uint8_t *)(vector->address + at) = 0;
}

/* See the op load in restore_program.ksy. */
static int64_t load(struct context *context, int32_t fd, const struct restore_piece *pieces, uint64_t count, uint64_t offset,
	uint64_t base, uint64_t no_verify, uint32_t how)
{
	struct vector vectors[LOAD_PIECES];
	struct crc32c state;
	int64_t total = 0;
	crc32c_look(&state);
	int is_summed = !no_verify && state.has_words;
	if (fd >= 0 && context->filler) return load_filling(context, fd, pieces, count, offset, base, is_summed ? &state : 0);
	if (fd >= 0 && context->num_frames && offset >= context->frames->offset)
		return load_frames(context, fd, pieces, count, offset, base, is_summed ? &state : 0);
	while (count) {
		uint64_t taken = 0, length = 0;
		while (taken < count && taken < LOAD_PIECES && (!taken || length + pieces[taken].length <= LOAD_BYTES)) {
			vectors[taken].address = pieces[taken].address + base;
			vectors[taken].length = pieces[taken].length;
			if (how == LOAD_TOUCHES) touch(vectors + taken);
			length += pieces[taken++].length;
		}
		if (fd >= 0) {
			int64_t got = syscall6(SYS_preadv, (uint64_t)fd, (uint64_t)vectors, taken, offset, 0, 0);
			if (is_error(got)) return got;
			if ((uint64_t)got != length) return total + got;
		}
		if (is_summed && !are_sums_right(pieces, taken, base, &state)) return -EBADMSG;
		total += (int64_t)length;
		offset += length;
		pieces += taken;
		count -= taken;
	}
	return total;
}
