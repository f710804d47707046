/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of questions (gather.h) asked on another thread, one list after another, while this one goes on. Included by addon.c. */
#ifndef CRIMG_GATHER_ELSEWHERE_H
#define CRIMG_GATHER_ELSEWHERE_H

#include "async-job.h"
#include "smaps.h"

enum { MOST_LISTS = 4, WORDS_OF_LIST = 7, BUFFERS_OF_LIST = 6, MAPPINGS_ROOM = 1 << 17, NAMES_ROOM = 1 << 23 };

_Static_assert(MOST_LISTS * BUFFERS_OF_LIST + 1 <= ASYNC_MOST_KEPT, "all arrays are kept");

struct elsewhere {
	struct async_job job;
	int list_count;
	struct gathering lists[MOST_LISTS];
	const uint8_t *bits;
	struct smaps smaps;
};

/* Mappings into the arena: rows, and their names behind. Their number, or -errno. */
static int64_t gather_mappings(struct gathering *g, int32_t pid)
{
	struct smaps *s = g->smaps;
	int64_t count, length;
	uint8_t *into = g->arena + g->arena_used;

	if (!s)
		return -ENOMEM;
	s->row_count = s->names_used = 0;
	count = read_smaps(s, pid);
	if (count < 0)
		return count;
	length = count * SMAPS_WORDS * 8;
	if (g->arena_used + length + s->names_used > g->arena_length)
		return -E2BIG;
	copy_bytes(into, s->rows, length);
	copy_bytes(into + length, s->names, s->names_used);
	g->arena_used += length + s->names_used;
	return count;
}

static void elsewhere_run(void *data)
{
	struct elsewhere *job = data;
	int64_t room = MAPPINGS_ROOM * SMAPS_WORDS * 8 + NAMES_ROOM + SMAPS_BUFFER;
	const int64_t words[7] = { __NR_mmap, 0, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0 };
	int64_t place = raw_syscall(words);
	uint8_t *bytes = (uint8_t *)(uintptr_t)place;

	/* Only what is written to takes memory. */
	job->smaps = (struct smaps){ .bits = job->bits, .make = call, .row_room = place < 0 ? 0 : MAPPINGS_ROOM, .name_room = NAMES_ROOM };
	if (place >= 0) {
		job->smaps.rows = (int64_t *)(void *)bytes;
		job->smaps.names = bytes + MAPPINGS_ROOM * SMAPS_WORDS * 8;
		job->smaps.buffer = job->smaps.names + NAMES_ROOM;
	}
	for (int i = 0; i < job->list_count; i++) {
		job->lists[i].smaps = place < 0 ? NULL : &job->smaps;
		gather(&job->lists[i]);
	}
	if (place >= 0)
		call(__NR_munmap, place, room, 0, 0);
}

/*
 * gatherElsewhere(bits, questions, names, ids, rows, stride, arena, ready: Int32Array(1), questions, …): begins; returns 0, or -errno.
 * The arrays belong to it until all rows are ready.
 */
static napi_value js_gather_elsewhere(napi_env env, napi_callback_info info)
{
	size_t count = 1 + MOST_LISTS * WORDS_OF_LIST, length;
	napi_value values[1 + MOST_LISTS * WORDS_OF_LIST], kept[ASYNC_MOST_KEPT], value;
	struct elsewhere *job;
	int kept_count = 0;
	int64_t place, fault;
	void *bits;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 1 + WORDS_OF_LIST ||
	    count > 1 + MOST_LISTS * WORDS_OF_LIST || (count - 1) % WORDS_OF_LIST || !buffer_address(env, values[0], &bits, &length) ||
	    length < 26 * 26)
		return throw_type(env, "gatherElsewhere(bits, questions, names, ids, rows, stride, arena, ready, ...)");
	/* Counted here, so that tests meet the same call every time. */
	fault = count_call();
	place = fault ? -fault : async_map(sizeof(*job));
	if (place < 0)
		return napi_create_int64(env, place, &value) == napi_ok ? value : NULL;
	job = (struct elsewhere *)(uintptr_t)place;
	job->bits = bits;
	job->list_count = (int)((count - 1) / WORDS_OF_LIST);
	for (int i = 0; i < job->list_count; i++) {
		const napi_value *given = values + 1 + i * WORDS_OF_LIST;
		struct gathering *g = &job->lists[i];
		void *addresses[6];
		size_t lengths[6];
		int64_t stride;

		if (!buffers(env, given, 4, addresses, lengths) || napi_get_value_int64(env, given[4], &stride) != napi_ok ||
		    !buffers(env, given + 5, 2, addresses + 4, lengths + 4) || lengths[5] < 4 || stride <= 0 ||
		    (int64_t)(lengths[2] / 8) * stride > (int64_t)lengths[3])
			return throw_type(env, "gatherElsewhere: a list is not whole");
		*g = (struct gathering){
			.questions = addresses[0], .question_count = (int64_t)(lengths[0] / (GATHER_WORDS * 8)), .names = addresses[1],
			.names_length = (int64_t)lengths[1], .ids = addresses[2], .row_count = (int64_t)(lengths[2] / 8),
			.rows = addresses[3], .stride = stride, .arena = addresses[4], .arena_length = (int64_t)lengths[4],
			.ready = addresses[5], .read_mappings = gather_mappings,
		};
		for (int j = 0; j < WORDS_OF_LIST; j++)
			if (j != 4)
				kept[kept_count++] = given[j];
	}
	kept[kept_count++] = values[0];
	if (!async_start(env, &job->job, elsewhere_run, "crimg gather", kept, kept_count))
		return throw_type(env, "gatherElsewhere: cannot start");
	return napi_create_int64(env, 0, &value) == napi_ok ? value : NULL;
}

/* awaitRow(ready: Int32Array(1), count): waits until so many rows are there. */
static napi_value js_await_row(napi_env env, napi_callback_info info)
{
	size_t count = 2, length;
	napi_value values[2];
	void *words;
	int32_t wanted, seen;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 2 ||
	    !buffer_address(env, values[0], &words, &length) || length < 4 || napi_get_value_int32(env, values[1], &wanted) != napi_ok)
		return throw_type(env, "awaitRow(Int32Array(1), count)");
	while ((seen = __atomic_load_n((int32_t *)words, __ATOMIC_ACQUIRE)) < wanted)
		call(__NR_futex, address_of(words), FUTEX_WAIT | FUTEX_PRIVATE_FLAG, seen, 0);
	return NULL;
}

#endif
