/* SPDX-License-Identifier: Apache-2.0 */
/* Files of /proc that are long to make: read on another thread while this one goes on. Included by addon.c. */
#ifndef CRIMG_BACKGROUND_H
#define CRIMG_BACKGROUND_H

#include <linux/futex.h>
#include "async-job.h"

/* Words of its state. */
enum { BACKGROUND_DONE, BACKGROUND_RESULT, BACKGROUND_WORDS };

struct background {
	struct async_job job;
	uint8_t *bytes;
	int64_t length;
	int64_t *shared;
	char path[128];
};

/* Says that work is done, and what came of it. */
static void background_end(int64_t *shared, int64_t result)
{
	shared[BACKGROUND_RESULT] = result;
	__atomic_store_n((int32_t *)&shared[BACKGROUND_DONE], 1, __ATOMIC_RELEASE);
	call(__NR_futex, address_of(&shared[BACKGROUND_DONE]), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, 0);
}

/* Waits for that. */
static int64_t background_wait(int64_t *shared)
{
	while (!__atomic_load_n((int32_t *)&shared[BACKGROUND_DONE], __ATOMIC_ACQUIRE))
		call(__NR_futex, address_of(&shared[BACKGROUND_DONE]), FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, 0);
	return shared[BACKGROUND_RESULT];
}

static void background_run(void *job)
{
	struct background *read = job;

	background_end(read->shared, read_file(read->path, read->bytes, read->length, call));
}

/* readInBackground(path, into, state: BigInt64Array(2)): begins. `state` belongs to it until awaitBackground has returned. */
static napi_value js_read_in_background(napi_env env, napi_callback_info info)
{
	size_t count = 3, length, state_length, written;
	napi_value values[3];
	void *into, *state;
	struct background *read;
	int64_t place, fault;
	char path[128];

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 3 ||
	    napi_get_value_string_utf8(env, values[0], path, sizeof(path), &written) != napi_ok || written + 1 >= sizeof(path) ||
	    !buffer_address(env, values[1], &into, &length) || !buffer_address(env, values[2], &state, &state_length) ||
	    state_length < BACKGROUND_WORDS * 8)
		return throw_type(env, "readInBackground(path, into, BigInt64Array(2))");
	/* Counted here, so that tests meet the same call every time. */
	fault = count_call();
	place = fault ? -fault : async_map(sizeof(struct background));
	if (place < 0) {
		((int64_t *)state)[BACKGROUND_RESULT] = place;
		((int64_t *)state)[BACKGROUND_DONE] = 1;
		return NULL;
	}
	read = (struct background *)(uintptr_t)place;
	read->bytes = into;
	read->length = (int64_t)length;
	read->shared = state;
	copy_bytes(read->path, path, (int64_t)written + 1);
	read->shared[BACKGROUND_DONE] = 0;
	if (!async_start(env, &read->job, background_run, "crimg read", values + 1, 2))
		return throw_type(env, "readInBackground: cannot start");
	return NULL;
}

/* awaitBackground(state): waits for the end; bytes read, or -errno; -E2BIG if the file is longer than the room. */
static napi_value js_await_background(napi_env env, napi_callback_info info)
{
	size_t count = 1, length;
	napi_value state, value;
	void *words;

	if (napi_get_cb_info(env, info, &count, &state, NULL, NULL) != napi_ok || count < 1 || !buffer_address(env, state, &words, &length) ||
	    length < BACKGROUND_WORDS * 8)
		return throw_type(env, "awaitBackground(BigInt64Array(2))");
	return napi_create_int64(env, background_wait(words), &value) == napi_ok ? value : NULL;
}

#endif
