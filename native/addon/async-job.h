/* SPDX-License-Identifier: Apache-2.0 */
/* Work that one of Node's helper threads does while this one goes on; it blocks signals. Included by addon.c. */
#ifndef CRIMG_ASYNC_JOB_H
#define CRIMG_ASYNC_JOB_H

#include "raw.h"

enum { ASYNC_MOST_KEPT = 25 };

/* The first member of a job, which is mapped by itself and unmapped when Node has seen its end. */
struct async_job {
	napi_async_work work;
	napi_deferred deferred; /* 0: there is no promise */
	void (*run)(void *job);
	int64_t size;
	napi_ref kept[ASYNC_MOST_KEPT]; /* keep arrays where they are */
	int kept_count;
};

static void async_execute(napi_env env, void *data)
{
	struct async_job *job = data;

	(void)env;
	job->run(job);
}

static void async_complete(napi_env env, napi_status status, void *data)
{
	struct async_job *job = data;
	napi_value nothing;

	(void)status;
	if (job->deferred) {
		napi_get_undefined(env, &nothing);
		napi_resolve_deferred(env, job->deferred, nothing);
	}
	for (int i = 0; i < job->kept_count; i++)
		napi_delete_reference(env, job->kept[i]);
	napi_delete_async_work(env, job->work);
	call(__NR_munmap, address_of(job), job->size, 0, 0);
}

/* Room for a job of `size` bytes, all zero but its size; or -errno. Callers count it, so that tests meet the same call every time. */
static int64_t async_map(int64_t size)
{
	const int64_t words[7] = { __NR_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0 };
	int64_t place = raw_syscall(words);

	if (place >= 0)
		((struct async_job *)(uintptr_t)place)->size = size;
	return place;
}

/*
 * Has another thread run a job, which uses `count` arrays. Returns 0 if it cannot: the job then stays mapped, a few words, once,
 * in a process that ends.
 */
static int async_start(napi_env env, struct async_job *job, void (*run)(void *job), const char *name, const napi_value *kept, int count)
{
	napi_value text;

	job->run = run;
	for (; job->kept_count < count; job->kept_count++)
		if (napi_create_reference(env, kept[job->kept_count], 1, &job->kept[job->kept_count]) != napi_ok)
			return 0;
	return napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &text) == napi_ok &&
	       napi_create_async_work(env, NULL, text, async_execute, async_complete, job, &job->work) == napi_ok &&
	       napi_queue_async_work(env, job->work) == napi_ok;
}

/* The same, with a promise that is resolved when the job is done; NULL if it cannot. */
static napi_value async_promise(napi_env env, struct async_job *job, void (*run)(void *job), const char *name, const napi_value *kept,
				int count)
{
	napi_value promise;

	return napi_create_promise(env, &job->deferred, &promise) == napi_ok && async_start(env, job, run, name, kept, count) ? promise : NULL;
}

#endif
