// SPDX-License-Identifier: Apache-2.0
/* Stored bytes that are in frames (SPEC 7.2): read as if nothing were compressed. */
#pragma once
#include "failing.h"
#include "lz4.h"

enum { SYS_munmap = 11, EIO = 5, EBADMSG = 74, MAX_FRAME = 1 << 18 };

/* What it takes to inflate; `buffer` has room for a frame as it is stored, and behind it for its content. */
struct inflating {
	const struct restore_frame *frames;
	uint64_t num_frames;
	const struct restore_frame *last; /* the frame whose content is in the buffer */
	uint8_t *buffer;
	int32_t fd;
};

static int64_t begin_inflating(struct inflating *inflating, const struct context *context, int32_t fd)
{
	int64_t at = syscall6(SYS_mmap, 0, 2 * MAX_FRAME, 3, 0x22, (uint64_t)-1, 0);
	*inflating = (struct inflating){ context->frames, context->num_frames, 0, (uint8_t *)at, fd };
	return is_error(at) ? at : 0;
}

static void end_inflating(struct inflating *inflating)
{
	if (!is_error((int64_t)inflating->buffer)) sys(SYS_munmap, (uint64_t)inflating->buffer, 2 * MAX_FRAME, 0);
}

static int64_t read_all(int32_t fd, uint64_t offset, uint8_t *to, uint64_t length)
{
	for (uint64_t done = 0; done < length;) {
		int64_t got = syscall6(SYS_pread64, (uint64_t)fd, (uint64_t)(to + done), length - done, offset + done, 0, 0);
		if (got == 0) return -EIO;
		if (got < 0) return got;
		done += (uint64_t)got;
	}
	return 0;
}

static const struct restore_frame *find_frame(const struct inflating *inflating, uint64_t offset)
{
	uint64_t low = 0, high = inflating->num_frames;
	while (low < high) {
		uint64_t middle = (low + high) / 2;
		if (inflating->frames[middle].offset + inflating->frames[middle].length > offset) high = middle;
		else low = middle + 1;
	}
	return inflating->frames + low;
}

/* Content of one frame, from `skip` on. */
static int64_t read_frame(struct inflating *inflating, const struct restore_frame *frame, uint64_t skip, uint8_t *to, uint64_t length)
{
	uint8_t *content = inflating->buffer + MAX_FRAME;
	if (frame->stored == frame->length) return read_all(inflating->fd, frame->file_offset + skip, to, length);
	if (inflating->last != frame) {
		if (frame->length > MAX_FRAME || frame->stored > frame->length) return -EBADMSG;
		int64_t result = read_all(inflating->fd, frame->file_offset, inflating->buffer, frame->stored);
		if (result) return result;
		int is_whole = !skip && length == frame->length;
		if (!is_whole) inflating->last = 0;
		if (!lz4_inflate(inflating->buffer, frame->stored, is_whole ? to : content, frame->length)) return -EBADMSG;
		if (is_whole) return 0;
		inflating->last = frame;
	}
	memcpy(to, content + skip, length);
	return 0;
}

/* What lies before the first frame is not compressed. */
static int64_t read_stored(struct inflating *inflating, uint64_t offset, uint8_t *to, uint64_t length)
{
	if (!inflating->num_frames || offset < inflating->frames->offset) return read_all(inflating->fd, offset, to, length);
	for (uint64_t done = 0; done < length;) {
		const struct restore_frame *frame = find_frame(inflating, offset + done);
		if (frame == inflating->frames + inflating->num_frames) return -EIO;
		uint64_t skip = offset + done - frame->offset, count = frame->length - skip;
		if (count > length - done) count = length - done;
		int64_t result = read_frame(inflating, frame, skip, to + done, count);
		if (result) return result;
		done += count;
	}
	return 0;
}
