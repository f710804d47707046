// SPDX-License-Identifier: Apache-2.0
/*
 * Storing pages: from a process or a file, through a buffer that stays in the processor's cache, one behind the other into a
 * file. Pages of zeros are left out, and pages that another file (the parent of an incremental image) has at a given place.
 * Any number of threads work on one job; each takes the next piece, and writes it where the pieces before it end. That is known
 * when those have been read; until then a thread goes on with other pieces, as far as it has buffers, and does not sleep: on
 * a busy machine it would wait for a processor each time, and so would whoever then waits for it.
 *
 * The job is an array of words that both sides see; the addresses in it stay valid until every thread is done.
 */
#pragma once
#include <linux/futex.h>
#include <linux/uio.h>
#include "lz4.h"

/* Words of a job (src/native/store.ts has the same list). */
enum {
	STORE_PARTS,       /* address of struct store_part[] */
	STORE_PIECES,      /* address of uint32_t[count + 1]: the first part of each piece, and the end */
	STORE_COUNT,       /* pieces */
	STORE_KINDS,       /* address of uint8_t[]: by page of all parts, what became of it */
	STORE_SUMS,        /* address of uint32_t[]: by page, the checksum of the run of stored pages that begins with it */
	STORE_SOURCE_FD,   /* read at the positions of the parts */
	STORE_SOURCE_PID,  /* or, if not 0, tried first: process_vm_readv */
	STORE_TARGET_FD,   /* -1: only look; -2: look and sum */
	STORE_POSITION,    /* where the next piece goes */
	STORE_NEXT,        /* next piece that nobody has taken */
	STORE_TICKET,      /* piece whose place is decided next; the low half is a futex */
	STORE_FAILED,      /* the first piece that did not go well; count: none */
	STORE_ERROR,       /* its errno */
	STORE_STOP,        /* set by the owner to end early */
	STORE_DONE,        /* bytes read, for progress */
	STORE_FAULT_PIECE, /* piece that fails for a test; -1: none */
	STORE_WAITING,     /* threads that wait for the ticket */
	STORE_FRAMES,      /* address of int64_t[2 * count]: by piece, where its frame is in the file, and its bytes; 0: nothing is compressed */
	STORE_FRAME_NEXT,  /* where the next frame goes; STORE_POSITION counts what it holds */
	STORE_IN_PLACE,    /* parts go to their targets, pages of zeros become holes; nothing moves together */
	STORE_LENGTHS,     /* address of int64_t[2 * count]: by piece, 1 + the bytes that it holds (0: not known), and those of its frame */
	STORE_PLACES,      /* address of int64_t[count]: by piece before the ticket, where it goes */
	STORE_LOCK,        /* 1: a thread is deciding places */
	STORE_WRITER,      /* 1: a thread is writing */
	STORE_ALIGNED,     /* where a piece was last moved to a multiple of its length; -1: none is */
	STORE_WORDS
};

/* STORE_MOVE: a whole piece goes to a multiple of its length so many bytes after the last one that had to be moved there. */
enum { STORE_BUFFER = 1 << 18, STORE_PAGE = 4096, STORE_SLOTS = 8, STORE_MOVE = 8 << 20 };

/* What became of a page. */
enum { STORE_ZERO, STORE_KEPT, STORE_IN_BASE };

/* Bytes that are read together; they lie within one chunk (SPEC 7.1). */
struct store_part {
	uint64_t position;
	uint64_t base_offset;  /* where the other file has the bytes that may be the same */
	int32_t base_fd;       /* -1: there is none */
	uint32_t length;       /* what it lacks to whole pages is filled up with zeros */
	uint32_t keep;         /* pages from the first on that are stored even if all pages of the part are zero */
	uint32_t expected;     /* checksum of the bytes; 0: not known */
	uint32_t first_page;   /* index in KINDS and SUMS */
	uint32_t uniform;      /* set: 1 + what became of all its pages; 0: not the same of all */
	uint64_t target;       /* where it goes if parts go to places of their own; else, if set: 1 + what its place is modulo 256 KiB */
};
_Static_assert(sizeof(struct store_part) == 48, "store_part");

/* A piece that has been read. */
struct store_slot {
	int64_t piece; /* -1: none */
	int64_t written;
	const uint8_t *bytes; /* in one of the two */
	uint8_t *buffer, *frame;
};

/* What one thread works with. */
struct store_lane {
	int64_t *job;
	uint8_t *buffer, *other; /* of the piece that is being read; for what another file has */
	uint8_t *frame;          /* compressed */
	struct lz4_table *table;
	struct store_slot slots[STORE_SLOTS];
	struct crc32c crc;
};

static void store_copy(uint8_t *to, const uint8_t *from, uint64_t length)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
}

/* The compiler may call it too. */
__attribute__((visibility("hidden"), used)) void *memcpy(void *to, const void *from, size_t length)
{
	store_copy(to, from, length);
	return to;
}

static int is_zero_page(const uint8_t *page)
{
	const uint64_t *words = (const uint64_t *)page;

	for (int i = 0; i < STORE_PAGE / 8; i += 8)
		if (words[i] | words[i + 1] | words[i + 2] | words[i + 3] | words[i + 4] | words[i + 5] | words[i + 6] | words[i + 7])
			return 0;
	return 1;
}

static int is_same_page(const uint8_t *a, const uint8_t *b)
{
	const uint64_t *left = (const uint64_t *)a, *right = (const uint64_t *)b;

	for (int i = 0; i < STORE_PAGE / 8; i += 4)
		if ((left[i] ^ right[i]) | (left[i + 1] ^ right[i + 1]) | (left[i + 2] ^ right[i + 2]) | (left[i + 3] ^ right[i + 3]))
			return 0;
	return 1;
}

static uint32_t whole_pages(uint32_t length)
{
	return (length + STORE_PAGE - 1) / STORE_PAGE;
}

static int64_t read_at(int64_t fd, uint8_t *to, uint64_t length, uint64_t position)
{
	return call(__NR_pread64, fd, (int64_t)(uintptr_t)to, (int64_t)length, (int64_t)position);
}

/* Fills the buffer with the parts, each in whole pages. Returns 0 or -errno. */
static int64_t store_read(struct store_lane *lane, const struct store_part *part, const struct store_part *end)
{
	int64_t *job = lane->job;
	struct iovec to[STORE_BUFFER / STORE_PAGE], from[STORE_BUFFER / STORE_PAGE];
	uint8_t *at = lane->buffer;
	int64_t total = 0, count = 0, result;

	for (const struct store_part *p = part; p < end; p++, count++) {
		uint32_t room = whole_pages(p->length) * STORE_PAGE;

		to[count].iov_base = at;
		from[count].iov_base = (void *)(uintptr_t)p->position;
		to[count].iov_len = from[count].iov_len = p->length;
		total += p->length;
		if (room > p->length)
			memset(at + p->length, 0, room - p->length);
		at += room;
	}
	if (job[STORE_SOURCE_PID]) {
		const int64_t words[7] = { __NR_process_vm_readv, job[STORE_SOURCE_PID], (int64_t)(uintptr_t)to, count,
					   (int64_t)(uintptr_t)from, count, 0 };

		if (raw_syscall(words) == total)
			return 0;
		/* What protection hides only /proc/PID/mem gives. */
	}
	for (int64_t i = 0; i < count; i++) {
		for (uint64_t done = 0; done < to[i].iov_len; done += (uint64_t)result) {
			result = read_at(job[STORE_SOURCE_FD], (uint8_t *)to[i].iov_base + done, to[i].iov_len - done,
					 (uint64_t)(uintptr_t)from[i].iov_base + done);
			if (result == -EINTR)
				result = 0;
			else if (result <= 0)
				return result ? result : -EIO;
		}
	}
	return 0;
}

/* Which pages of a part are stored. The other file is read only where it may have them. */
static void store_judge(struct store_lane *lane, struct store_part *part, const uint8_t *bytes, uint8_t *kinds)
{
	uint32_t pages = whole_pages(part->length);
	int has_other = part->base_fd >= 0 &&
			read_at(part->base_fd, lane->other, (uint64_t)pages * STORE_PAGE, part->base_offset) == (int64_t)pages * STORE_PAGE;
	int looks = part->keep < pages;

	for (uint32_t i = 0; i < pages; i++, bytes += STORE_PAGE) {
		if (has_other && is_same_page(bytes, lane->other + (uint64_t)i * STORE_PAGE))
			kinds[i] = STORE_IN_BASE;
		else
			kinds[i] = looks && is_zero_page(bytes) ? STORE_ZERO : STORE_KEPT;
		part->uniform = !i || part->uniform == 1u + kinds[i] ? 1u + kinds[i] : 0;
	}
	if (part->uniform != 1u + STORE_ZERO || !part->keep)
		return;
	memset(kinds, STORE_KEPT, part->keep);
	part->uniform = 0;
}

/* Judges, moves together and sums what was read. Returns the bytes to be stored, or -errno. */
static int64_t store_pack(struct store_lane *lane, struct store_part *part, const struct store_part *end)
{
	int64_t *job = lane->job;
	const uint8_t *from = lane->buffer;
	uint8_t *to = lane->buffer;

	for (; part < end; part++) {
		uint8_t *kinds = (uint8_t *)(uintptr_t)job[STORE_KINDS] + part->first_page;
		uint32_t *sums = (uint32_t *)(uintptr_t)job[STORE_SUMS] + part->first_page;
		uint32_t pages = whole_pages(part->length), sum = 0;

		if (part->expected) {
			sum = crc32c_stored(crc32c_of(0, from, (uint64_t)pages * STORE_PAGE, &lane->crc));
			if (sum != part->expected)
				return -EBADMSG;
		}
		store_judge(lane, part, from, kinds);
		for (uint32_t i = 0; i < pages;) {
			const uint8_t *run = from + (uint64_t)i * STORE_PAGE;
			uint32_t first = i;
			uint64_t length;

			while (i < pages && kinds[i] == kinds[first])
				i++;
			length = (uint64_t)(i - first) * STORE_PAGE;
			if (kinds[first] == STORE_ZERO)
				continue;
			if (job[STORE_TARGET_FD] != -1)
				sums[first] = sum && i - first == pages ? sum : crc32c_stored(crc32c_of(0, run, length, &lane->crc));
			if (kinds[first] != STORE_KEPT)
				continue;
			if (to != run)
				store_copy(to, run, length);
			to += length;
		}
		from += (uint64_t)pages * STORE_PAGE;
	}
	return to - lane->buffer;
}

static int64_t write_all(int64_t fd, const uint8_t *bytes, uint64_t length, uint64_t position)
{
	for (uint64_t done = 0; done < length;) {
		int64_t result = call(__NR_pwrite64, fd, (int64_t)(uintptr_t)(bytes + done), (int64_t)(length - done),
				      (int64_t)(position + done));

		if (result == -EINTR)
			continue;
		if (result <= 0)
			return result ? result : -EIO;
		done += (uint64_t)result;
	}
	return 0;
}

/* Writes what is not zero of what was read to the targets of the parts; neighbours together. Returns 0 or -errno. */
static int64_t store_in_place(struct store_lane *lane, struct store_part *part, const struct store_part *end)
{
	const uint8_t *bytes = lane->buffer, *from = bytes;
	uint64_t length = 0, target = 0;

	for (; part < end; part++) {
		uint8_t *kinds = (uint8_t *)(uintptr_t)lane->job[STORE_KINDS] + part->first_page;
		uint32_t pages = whole_pages(part->length);

		if (part->expected &&
		    crc32c_stored(crc32c_of(0, bytes, (uint64_t)pages * STORE_PAGE, &lane->crc)) != part->expected)
			return -EBADMSG;
		store_judge(lane, part, bytes, kinds);
		for (uint32_t i = 0; i < pages; i++, bytes += STORE_PAGE) {
			uint32_t left = part->length - i * STORE_PAGE, room = left < STORE_PAGE ? left : STORE_PAGE;
			uint64_t at = part->target + (uint64_t)i * STORE_PAGE;

			if (kinds[i] != STORE_KEPT || lane->job[STORE_TARGET_FD] < 0)
				continue;
			if (from + length != bytes || target + length != at) {
				int64_t result = write_all(lane->job[STORE_TARGET_FD], from, length, target);

				if (result)
					return result;
				from = bytes;
				target = at;
				length = 0;
			}
			length += room;
		}
	}
	return write_all(lane->job[STORE_TARGET_FD], from, length, target);
}

static int64_t load_word(const int64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

/* Records a failure; the first piece counts. Whoever waits for a later one gives up. */
static void store_fail(int64_t *job, int64_t piece, int64_t error)
{
	int64_t known = load_word(&job[STORE_FAILED]);

	while (piece < known)
		if (__atomic_compare_exchange_n(&job[STORE_FAILED], &known, piece, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
			job[STORE_ERROR] = -error;
			break;
		}
	call(__NR_futex, (int64_t)(uintptr_t)&job[STORE_TICKET], FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT32_MAX, 0);
}

static void store_wake(int64_t *job)
{
	if (__atomic_load_n(&job[STORE_WAITING], __ATOMIC_SEQ_CST))
		call(__NR_futex, (int64_t)(uintptr_t)&job[STORE_TICKET], FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT32_MAX, 0);
}

/*
 * Moves the place of the next piece so that whole chunks begin at multiples of their length: the page cache then takes each as one
 * block, not as eight, which is a quarter of the time of writing it. That is done before the first piece of much memory, and again
 * where pages of zeros that were left out have brought a whole piece out of step: every 8 MiB, so that at most 3 % are lost.
 * src/pages/store-pages.ts counts likewise.
 */
static void store_align(int64_t *job, int64_t piece, int64_t length)
{
	const uint32_t *pieces = (const uint32_t *)(uintptr_t)job[STORE_PIECES];
	const struct store_part *part = (const struct store_part *)(uintptr_t)job[STORE_PARTS] + pieces[piece];
	int64_t at = job[STORE_POSITION], gap = 0;

	/* Nothing lies before the very first. */
	if (job[STORE_ALIGNED] < 0 || job[STORE_ALIGNED] == at || job[STORE_IN_PLACE] || !length)
		return;
	if (part->target)
		gap = ((int64_t)part->target - 1 - at) & (STORE_BUFFER - 1);
	else if (length == STORE_BUFFER && pieces[piece + 1] - pieces[piece] == 1 && at - job[STORE_ALIGNED] >= STORE_MOVE)
		gap = -at & (STORE_BUFFER - 1);
	if (gap)
		job[STORE_POSITION] = job[STORE_ALIGNED] = at + gap;
}

/* Places of the pieces that are next and whose lengths are known. */
static void store_place(int64_t *job, const int64_t *lengths)
{
	int64_t *places = (int64_t *)(uintptr_t)job[STORE_PLACES], *frames = (int64_t *)(uintptr_t)job[STORE_FRAMES];
	int64_t piece = job[STORE_TICKET], length;

	for (; piece < job[STORE_COUNT] && (length = __atomic_load_n(&lengths[2 * piece], __ATOMIC_SEQ_CST)); piece++) {
		int64_t written = lengths[2 * piece + 1];

		store_align(job, piece, length - 1);
		places[piece] = job[STORE_POSITION];
		job[STORE_POSITION] += length - 1;
		if (!frames)
			continue;
		places[piece] = frames[2 * piece] = job[STORE_FRAME_NEXT];
		frames[2 * piece + 1] = written;
		/* Each begins with a page, so that what is not compressed can be mapped. */
		job[STORE_FRAME_NEXT] += (written + STORE_PAGE - 1) / STORE_PAGE * STORE_PAGE;
	}
	__atomic_store_n(&job[STORE_TICKET], piece, __ATOMIC_SEQ_CST);
}

/* Says how long a piece is. Whoever holds the lock looks again when it has let it go. */
static void store_publish(int64_t *job, int64_t piece, int64_t length, int64_t written)
{
	int64_t *lengths = (int64_t *)(uintptr_t)job[STORE_LENGTHS], next = piece;

	lengths[2 * piece + 1] = written;
	__atomic_store_n(&lengths[2 * piece], length + 1, __ATOMIC_SEQ_CST);
	while (next < job[STORE_COUNT] && __atomic_load_n(&lengths[2 * next], __ATOMIC_SEQ_CST)) {
		int64_t nobody = 0;

		if (!__atomic_compare_exchange_n(&job[STORE_LOCK], &nobody, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return;
		store_place(job, lengths);
		next = job[STORE_TICKET];
		__atomic_store_n(&job[STORE_LOCK], 0, __ATOMIC_SEQ_CST);
		store_wake(job);
	}
}

/* Waits until the place of a piece is known, or it is in vain. */
static void store_wait(int64_t *job, int64_t piece)
{
	static const struct __kernel_timespec soon = { 0, 5000000 };
	int64_t now = __atomic_load_n(&job[STORE_TICKET], __ATOMIC_SEQ_CST);
	const int64_t words[7] = { __NR_futex, (int64_t)(uintptr_t)&job[STORE_TICKET], FUTEX_WAIT | FUTEX_PRIVATE_FLAG,
				   (int32_t)now, (int64_t)(uintptr_t)&soon, 0, 0 };

	if (now > piece)
		return;
	__atomic_fetch_add(&job[STORE_WAITING], 1, __ATOMIC_SEQ_CST);
	raw_syscall(words);
	__atomic_fetch_sub(&job[STORE_WAITING], 1, __ATOMIC_SEQ_CST);
}

/* Compresses what was packed, where that saves a page. Returns the bytes to be written from `*bytes`. */
static int64_t store_compress(struct store_lane *lane, int64_t length, const uint8_t **bytes)
{
	int64_t stored = 0;

	if (length > STORE_PAGE)
		stored = (int64_t)lz4_deflate(lane->buffer, (uint64_t)length, lane->frame, (uint64_t)length - STORE_PAGE, lane->table);

	if (!stored)
		return length;
	*bytes = lane->frame;
	return stored;
}

/* Reads a piece into a slot, and says how long it is. */
static void store_take(struct store_lane *lane, struct store_slot *slot, int64_t piece)
{
	int64_t *job = lane->job;
	const uint32_t *pieces = (const uint32_t *)(uintptr_t)job[STORE_PIECES];
	struct store_part *parts = (struct store_part *)(uintptr_t)job[STORE_PARTS];
	struct store_part *part = parts + pieces[piece], *end = parts + pieces[piece + 1];
	int64_t result, written;

	lane->buffer = slot->buffer;
	lane->frame = slot->frame;
	result = piece == job[STORE_FAULT_PIECE] ? -EIO : store_read(lane, part, end);
	if (!result)
		result = job[STORE_IN_PLACE] ? store_in_place(lane, part, end) : store_pack(lane, part, end);
	if (result < 0) {
		store_fail(job, piece, result);
		return;
	}
	slot->bytes = slot->buffer;
	written = result;
	if (job[STORE_FRAMES])
		written = store_compress(lane, result, &slot->bytes);
	slot->piece = piece;
	slot->written = result ? written : 0;
	store_publish(job, piece, result, written);
}

/* Writes a piece whose place is known; the slot is free again. */
static void store_write(struct store_lane *lane, struct store_slot *slot)
{
	int64_t *job = lane->job, piece = slot->piece;
	const uint32_t *pieces = (const uint32_t *)(uintptr_t)job[STORE_PIECES];
	const struct store_part *parts = (const struct store_part *)(uintptr_t)job[STORE_PARTS];
	int64_t looked = 0, result = 0;

	slot->piece = -1;
	if (job[STORE_TARGET_FD] >= 0 && slot->written && !job[STORE_IN_PLACE])
		result = write_all(job[STORE_TARGET_FD], slot->bytes, (uint64_t)slot->written,
				   (uint64_t)((const int64_t *)(uintptr_t)job[STORE_PLACES])[piece]);
	/* The places of later pieces are right all the same: whoever mends this one writes it to the same place. */
	if (result < 0)
		store_fail(job, piece, result);
	for (uint32_t part = pieces[piece]; part < pieces[piece + 1]; part++) looked += whole_pages(parts[part].length) * STORE_PAGE;
	__atomic_fetch_add(&job[STORE_DONE], looked, __ATOMIC_RELAXED);
}

/* Reads and writes until no piece is left, or those that are left are in vain. */
static void store_work_off(struct store_lane *lane)
{
	int64_t *job = lane->job;
	int is_last = 0, must_write = 0;

	for (;;) {
		int64_t ticket = __atomic_load_n(&job[STORE_TICKET], __ATOMIC_SEQ_CST), first = INT64_MAX, piece;
		struct store_slot *room = 0;
		int64_t nobody = 0;
		/* Writes into one file exclude each other: who finds another at it reads on as long as there is room. */
		int may_write = __atomic_compare_exchange_n(&job[STORE_WRITER], &nobody, 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);

		if (load_word(&job[STORE_STOP]))
			return;
		for (struct store_slot *slot = lane->slots; slot < lane->slots + STORE_SLOTS; slot++) {
			if (slot->piece >= 0 && slot->piece < ticket && (may_write || must_write))
				store_write(lane, slot);
			else if (slot->piece > load_word(&job[STORE_FAILED]))
				slot->piece = -1;
			if (slot->piece < 0)
				room = room ? room : slot;
			else if (slot->piece < first)
				first = slot->piece;
		}
		if (may_write)
			__atomic_store_n(&job[STORE_WRITER], 0, __ATOMIC_RELEASE);
		must_write = !room || is_last;
		if (room && !is_last) {
			piece = __atomic_fetch_add(&job[STORE_NEXT], 1, __ATOMIC_ACQ_REL);
			is_last = piece >= job[STORE_COUNT] || load_word(&job[STORE_FAILED]) < piece;
			if (!is_last)
				store_take(lane, room, piece);
		} else if (first == INT64_MAX) {
			return;
		} else if (first >= ticket) {
			store_wait(job, first);
		}
	}
}

/* A thread's part in a job, until no piece is left. Returns 0 or -errno if there is no memory. */
static int64_t store_run(int64_t *job)
{
	const int64_t of_slot = job[STORE_FRAMES] ? 2 * STORE_BUFFER : STORE_BUFFER;
	const int64_t size = STORE_BUFFER + STORE_SLOTS * of_slot + (job[STORE_FRAMES] ? (int64_t)sizeof(struct lz4_table) : 0);
	/* Most of the time one buffer is enough: the others are made when they are needed. */
	const int64_t words[7] = { __NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0 };
	int64_t memory = raw_syscall(words);
	struct store_lane lane;

	if (memory < 0)
		return memory;
	lane.job = job;
	lane.other = (uint8_t *)(uintptr_t)memory;
	for (int i = 0; i < STORE_SLOTS; i++) {
		lane.slots[i].piece = -1;
		lane.slots[i].buffer = lane.other + STORE_BUFFER + i * of_slot;
		lane.slots[i].frame = lane.slots[i].buffer + STORE_BUFFER;
	}
	lane.table = (struct lz4_table *)(void *)(lane.other + STORE_BUFFER + STORE_SLOTS * of_slot);
	crc32c_look(&lane.crc);
	store_work_off(&lane);
	call(__NR_munmap, memory, size, 0, 0);
	return 0;
}

struct store_work {
	struct async_job async;
	int64_t *job;
};

static void store_work_run(void *data)
{
	struct store_work *work = data;

	store_run(work->job);
}

/*
 * storePages(job: BigInt64Array(STORE_WORDS)): Promise<void>. One more thread works on the job, until no piece is left or one
 * has failed.
 */
static napi_value js_store_pages(napi_env env, napi_callback_info info)
{
	size_t count = 1, length;
	napi_value value, promise;
	struct store_work *work;
	int64_t memory;
	void *job;

	if (napi_get_cb_info(env, info, &count, &value, NULL, NULL) != napi_ok || count < 1 ||
	    !buffer_address(env, value, &job, &length) || length < STORE_WORDS * 8)
		return throw_type(env, "storePages(BigInt64Array)");
	memory = async_map(sizeof(*work));
	if (memory < 0)
		return throw_type(env, "storePages: out of memory");
	work = (struct store_work *)(uintptr_t)memory;
	work->job = job;
	/* Counted as two calls a piece when the first thread is asked for, so that tests meet the same one every time. */
	if (!work->job[STORE_NEXT] && work->job[STORE_FAULT_PIECE] < -1) {
		int64_t pieces = work->job[STORE_COUNT], calls = 2 * pieces;

		work->job[STORE_FAULT_PIECE] = fault_at > calls_made && fault_at <= calls_made + calls ? (fault_at - calls_made - 1) / 2 : -1;
		calls_made += calls;
	}
	promise = async_promise(env, &work->async, store_work_run, "crimg store", &value, 1);
	return promise ? promise : throw_type(env, "storePages: cannot start");
}
