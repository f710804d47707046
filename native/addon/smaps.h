/* SPDX-License-Identifier: Apache-2.0 */
/* The mappings of a process from /proc/PID/smaps (proc_pid_smaps(5)), a row of twelve words each. */
#ifndef CRIMG_SMAPS_H
#define CRIMG_SMAPS_H

#include "gather.h"

/* SMAPS_HOW: PROT_* bits, 8 if shared, the protection key from bit 8 on. SMAPS_DEVICE: major number << 32 | minor number. */
enum { SMAPS_START, SMAPS_END, SMAPS_HOW, SMAPS_OFFSET, SMAPS_DEVICE, SMAPS_INODE, SMAPS_FLAGS, SMAPS_ANONYMOUS,
       SMAPS_NAME, SMAPS_NAME_LENGTH, SMAPS_SHARED, SMAPS_PAGE_SIZE, SMAPS_WORDS };

struct smaps {
	const uint8_t *bits; /* of VmFlags words `xy`: [(x - 'a') * 26 + (y - 'a')] is the number of the bit + 1; 0: not to be told */
	int64_t *rows;
	int64_t row_room, row_count;
	uint8_t *names;
	int64_t name_room, names_used;
	uint8_t *buffer; /* of SMAPS_BUFFER bytes */
	call_maker *make;
};

enum { SMAPS_BUFFER = 1 << 16 };

static uint64_t read_number(const uint8_t **at, const uint8_t *end, uint32_t radix)
{
	uint64_t number = 0;

	for (; *at < end; (*at)++) {
		uint8_t byte = **at;
		uint32_t digit =
			byte >= '0' && byte <= '9' ? (uint32_t)byte - '0' : byte >= 'a' && byte <= 'f' ? (uint32_t)byte - 'a' + 10 : 99;

		if (digit >= radix)
			break;
		number = number * radix + digit;
	}
	return number;
}

static int begins_with(const uint8_t *at, const uint8_t *end, const char *word)
{
	for (; *word; word++, at++)
		if (at >= end || *at != (uint8_t)*word)
			return 0;
	return 1;
}

static void skip(const uint8_t **at, const uint8_t *end, uint8_t byte)
{
	while (*at < end && **at == byte)
		(*at)++;
}

static uint64_t number_behind(const uint8_t *at, const uint8_t *end)
{
	skip(&at, end, ' ');
	return read_number(&at, end, 10);
}

/* `7f00-7f01 r-xp 00000000 08:01 1234     /path`. Returns 0 or -E2BIG. */
static int64_t smaps_header(struct smaps *s, const uint8_t *at, const uint8_t *end)
{
	int64_t *row = s->rows + s->row_count * SMAPS_WORDS;

	if (s->row_count >= s->row_room || s->names_used + (end - at) > s->name_room)
		return -E2BIG;
	clear_bytes(row, SMAPS_WORDS * 8);
	row[SMAPS_START] = (int64_t)read_number(&at, end, 16);
	skip(&at, end, '-');
	row[SMAPS_END] = (int64_t)read_number(&at, end, 16);
	skip(&at, end, ' ');
	if (end - at > 4) {
		row[SMAPS_HOW] = (at[0] == 'r') | (at[1] == 'w') << 1 | (at[2] == 'x') << 2 | (at[3] == 's') << 3;
		at += 4;
	}
	skip(&at, end, ' ');
	row[SMAPS_OFFSET] = (int64_t)read_number(&at, end, 16);
	skip(&at, end, ' ');
	row[SMAPS_DEVICE] = (int64_t)(read_number(&at, end, 16) << 32);
	skip(&at, end, ':');
	row[SMAPS_DEVICE] |= (int64_t)read_number(&at, end, 16);
	skip(&at, end, ' ');
	row[SMAPS_INODE] = (int64_t)read_number(&at, end, 10);
	skip(&at, end, ' ');
	row[SMAPS_NAME] = s->names_used;
	row[SMAPS_NAME_LENGTH] = end - at;
	copy_bytes(s->names + s->names_used, at, end - at);
	s->names_used += end - at;
	s->row_count++;
	return 0;
}

static int64_t smaps_line(struct smaps *s, const uint8_t *at, const uint8_t *end)
{
	int64_t *row;

	/* Headers begin with a lower-case hexadecimal digit; the counters with a capital. */
	if (at < end && ((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'f')))
		return smaps_header(s, at, end);
	if (s->row_count == 0)
		return 0;
	row = s->rows + (s->row_count - 1) * SMAPS_WORDS;
	if (begins_with(at, end, "Anonymous:")) {
		row[SMAPS_ANONYMOUS] = (int64_t)(number_behind(at + 10, end) << 10);
	} else if (begins_with(at, end, "Shared_Dirty:") || (begins_with(at, end, "Shared_Clean:") && row[SMAPS_INODE] == 0)) {
		/* Clean pages of a file are shared by whoever maps it. */
		row[SMAPS_SHARED] += (int64_t)(number_behind(at + 13, end) << 10);
	} else if (begins_with(at, end, "KernelPageSize:")) {
		row[SMAPS_PAGE_SIZE] = (int64_t)(number_behind(at + 15, end) << 10);
	} else if (begins_with(at, end, "ProtectionKey:")) {
		row[SMAPS_HOW] |= (int64_t)(number_behind(at + 14, end) << 8);
	} else if (begins_with(at, end, "VmFlags:")) {
		for (at += 8; at + 2 < end; at += 3) {
			uint8_t x = at[1], y = at[2], bit;

			if (x < 'a' || x > 'z' || y < 'a' || y > 'z')
				continue;
			bit = s->bits[(x - 'a') * 26 + (y - 'a')];
			if (bit)
				row[SMAPS_FLAGS] |= (int64_t)(1ull << (bit - 1));
		}
	}
	return 0;
}

typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef int64_t words2 __attribute__((vector_size(16)));

/* The next newline, or the end: sixteen bytes at a time, since ten thousand mappings take seven MB. */
static const uint8_t *end_of_line(const uint8_t *at, const uint8_t *end)
{
	for (; end - at >= 16; at += 16) {
		words2 found;
		bytes16 bytes;

		__builtin_memcpy(&bytes, at, 16);
		found = (words2)(bytes == '\n');
		if (found[0])
			return at + (__builtin_ctzll((uint64_t)found[0]) >> 3);
		if (found[1])
			return at + 8 + (__builtin_ctzll((uint64_t)found[1]) >> 3);
	}
	while (at < end && *at != '\n')
		at++;
	return at;
}

/* Reads it all. Returns the number of mappings, or -errno; -E2BIG where there is no room for them. */
static int64_t read_smaps(struct smaps *s, int32_t pid)
{
	uint8_t *buffer = s->buffer;
	const int32_t ids[2] = { pid, pid };
	const struct gathering name = { .names = (const uint8_t *)"/proc/\1/smaps", .names_length = 14 };
	char path[PATH_ROOM];
	int64_t fd, got, kept = 0, result = 0;

	if (!make_path(&name, 0, ids, path))
		return -ENAMETOOLONG;
	fd = s->make(__NR_openat, -100, address_of(path), O_CLOEXEC_FLAG, 0);
	if (fd < 0)
		return fd;
	for (;;) {
		const uint8_t *line = buffer, *end;

		if (kept == SMAPS_BUFFER) {
			result = -ENAMETOOLONG;
			break;
		}
		got = s->make(__NR_read, fd, address_of(buffer + kept), SMAPS_BUFFER - kept, 0);
		if (got == -EINTR)
			continue;
		if (got <= 0) {
			result = got;
			break;
		}
		end = buffer + kept + got;
		for (const uint8_t *at = buffer + kept; result == 0 && (at = end_of_line(at, end)) < end; line = ++at)
			result = smaps_line(s, line, at);
		if (result < 0)
			break;
		kept = end - line;
		copy_bytes(buffer, line, kept);
	}
	call(__NR_close, fd, 0, 0, 0);
	return result < 0 ? result : s->row_count;
}

/* What all mappings have in common, so that nobody needs to look at each of many thousands. */
struct smaps_summary {
	int64_t flags; /* of any of them */
	int64_t shared; /* bytes of private mappings that other processes have too */
	int64_t keys; /* bits of protection keys */
	int64_t code_count, writable_count, other_count;
};

/*
 * `code`: numbers of mappings that can be read and executed; `others`: of those that have a name, an inode, or one of the flags
 * `unusual`; `writable`: start and end of what can be read and written, joined.
 */
static void summarize_smaps(const int64_t *rows, int64_t count, int64_t unusual, struct smaps_summary *all, int32_t *code,
			    int32_t *others, int64_t *writable)
{
	*all = (struct smaps_summary){ 0 };
	for (int64_t index = 0; index < count; index++) {
		const int64_t *row = rows + index * SMAPS_WORDS;
		int64_t how = row[SMAPS_HOW];

		all->flags |= row[SMAPS_FLAGS];
		all->keys |= 1ll << (how >> 8 & 63);
		if (!(how & 8))
			all->shared += row[SMAPS_SHARED];
		if ((how & 5) == 5)
			code[all->code_count++] = (int32_t)index;
		if (row[SMAPS_NAME_LENGTH] || row[SMAPS_INODE] || (row[SMAPS_FLAGS] & unusual))
			others[all->other_count++] = (int32_t)index;
		if ((how & 3) != 3)
			continue;
		if (all->writable_count && writable[all->writable_count * 2 - 1] == row[SMAPS_START]) {
			writable[all->writable_count * 2 - 1] = row[SMAPS_END];
		} else {
			writable[all->writable_count * 2] = row[SMAPS_START];
			writable[all->writable_count * 2 + 1] = row[SMAPS_END];
			all->writable_count++;
		}
	}
}

/* What `sort_smaps` says of a mapping that is not like others, and how many kinds it tells apart. */
enum { SMAPS_ALONE = 255 };

/*
 * Mappings as columns: `starts`, `ends` (exact: they are multiples of a page) and `kinds`, the number of a mapping (in `samples`)
 * that differs in its place only; SMAPS_ALONE for `others` (ascending) and what else is like none of the first kinds, which `alone`
 * tells. `counts`: of samples, of those alone.
 */
static void sort_smaps(const int64_t *rows, int64_t count, const int32_t *others, int64_t other_count, double *starts, double *ends,
		       uint8_t *kinds, int32_t *samples, int32_t *alone, int32_t *counts)
{
	int32_t sample_count = 0, alone_count = 0, last = 0;
	int64_t next = 0;

	for (int64_t index = 0; index < count; index++) {
		const int64_t *row = rows + index * SMAPS_WORDS;
		int is_other = next < other_count && others[next] == index;
		int32_t kind = SMAPS_ALONE;

		next += is_other;
		starts[index] = (double)(uint64_t)row[SMAPS_START];
		ends[index] = (double)(uint64_t)row[SMAPS_END];
		/* Most are like the one before the last. */
		for (int32_t tried = 0; !is_other && row[SMAPS_OFFSET] == 0 && tried < sample_count; tried++) {
			int32_t place = (last + tried) % sample_count;
			const int64_t *sample = rows + (int64_t)samples[place] * SMAPS_WORDS;

			if (sample[SMAPS_HOW] != row[SMAPS_HOW] || sample[SMAPS_FLAGS] != row[SMAPS_FLAGS])
				continue;
			kind = place;
			last = place + 1;
			break;
		}
		if (kind == SMAPS_ALONE && !is_other && row[SMAPS_OFFSET] == 0 && sample_count < SMAPS_ALONE) {
			kind = sample_count;
			samples[sample_count++] = (int32_t)index;
		}
		if (kind == SMAPS_ALONE)
			alone[alone_count++] = (int32_t)index;
		kinds[index] = (uint8_t)kind;
	}
	counts[0] = sample_count;
	counts[1] = alone_count;
}

/* Where in a record of `length` bytes is what of a mapping. */
struct smaps_record {
	uint32_t length, start, end, flags, prot, key;
};

/* Records of mappings that are not alone, each from a template; the others' are left as they are. */
static void encode_smaps(const int64_t *rows, int64_t count, const uint8_t *kinds, const uint8_t *template,
			 const struct smaps_record *record, uint8_t *out)
{
	for (int64_t index = 0; index < count; index++, rows += SMAPS_WORDS, out += record->length) {
		if (kinds[index] == SMAPS_ALONE)
			continue;
		copy_bytes(out, template, record->length);
		__builtin_memcpy(out + record->start, &rows[SMAPS_START], 8);
		__builtin_memcpy(out + record->end, &rows[SMAPS_END], 8);
		__builtin_memcpy(out + record->flags, &rows[SMAPS_FLAGS], 8);
		out[record->prot] = rows[SMAPS_HOW] & 7;
		out[record->key] = (uint8_t)(rows[SMAPS_HOW] >> 8);
	}
}

/*
 * Whether mappings that were read before are the same now. Of one that was full, nothing more has been asked: it must be full still.
 * All else that counts pages may differ.
 */
static int are_same_mappings(const int64_t *before, const int64_t *after, int64_t count)
{
	for (const int64_t *end = before + count * SMAPS_WORDS; before < end; before += SMAPS_WORDS, after += SMAPS_WORDS) {
		int64_t size = before[SMAPS_END] - before[SMAPS_START];

		for (int word = 0; word < SMAPS_WORDS; word++)
			if (word != SMAPS_ANONYMOUS && word != SMAPS_SHARED && before[word] != after[word])
				return 0;
		if (before[SMAPS_ANONYMOUS] == size && after[SMAPS_ANONYMOUS] != size)
			return 0;
	}
	return 1;
}

#endif
