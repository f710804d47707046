// SPDX-License-Identifier: Apache-2.0
/*
 * The native door of crimg: raw system calls for TypeScript, and the few things that a raw call cannot do
 * (the address of a buffer, CPUID, a bounded wait, calls on another thread). All policy is in src/native.
 *
 * Convention: every call returns what the kernel put into rax: a result, or -errno (-4095..-1). errno itself is
 * never used. `syscall` gives a double (exact up to 2^53), `syscallBig` a BigInt for results that may be larger.
 *
 * Freestanding: nothing of a C library is used, so that one file serves Node built with glibc of any age and with musl.
 */
#include <cpuid.h>
#include <linux/mman.h>
#include <node_api.h>
#include "async-job.h"
#include "crc32c.h"
#include "extents.h"
#include "gather.h"
#include "inject.h"
#include "inject-alone.h"
#include "fork-alone.h"
#include "smaps.h"
#include "mount-copy.h"
#include "trainee.h"

/* The compiler may call it, for an initialiser say. */
__attribute__((visibility("hidden"), used)) void *memset(void *to, int byte, size_t length)
{
	volatile uint8_t *bytes = to;

	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)byte;
	return to;
}

/* CRC-32C of bytes behind others whose CRC is `before`; of any length, on any processor. */
static uint32_t crc32c_of(uint32_t before, const uint8_t *bytes, uint64_t length, struct crc32c *state)
{
	uint32_t sum = ~before;

	if (state->has_words) {
		sum = crc32c_words(sum, bytes, length & ~7ull, state);
		bytes += length & ~7ull;
		length &= 7;
	}
	for (; length; length--, bytes++) {
		sum ^= *bytes;
		for (int bit = 0; bit < 8; bit++)
			sum = sum >> 1 ^ (CRC32C_POLYNOMIAL & (0 - (sum & 1)));
	}
	return ~sum;
}

static napi_value throw_type(napi_env env, const char *text)
{
	napi_throw_type_error(env, NULL, text);
	return NULL;
}

/* The address of the first byte of a TypedArray, DataView or ArrayBuffer. Returns 0 if it is none. */
static int buffer_address(napi_env env, napi_value value, void **address, size_t *length)
{
	bool is_it = false;

	if (napi_is_typedarray(env, value, &is_it) == napi_ok && is_it) {
		napi_typedarray_type type;
		size_t count;
		static const uint8_t width[] = { 1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8 };

		if (napi_get_typedarray_info(env, value, &type, &count, address, NULL, NULL) != napi_ok)
			return 0;
		*length = count * ((size_t)type < sizeof(width) ? width[type] : 1);
		return 1;
	}
	if (napi_is_dataview(env, value, &is_it) == napi_ok && is_it)
		return napi_get_dataview_info(env, value, length, address, NULL, NULL) == napi_ok;
	if (napi_is_arraybuffer(env, value, &is_it) == napi_ok && is_it)
		return napi_get_arraybuffer_info(env, value, address, length) == napi_ok;
	return 0;
}

/* number (exact integer), bigint (taken modulo 2^64), boolean, null and undefined (0), or a buffer (its address). */
static int argument(napi_env env, napi_value value, int64_t *out)
{
	napi_valuetype type;
	bool lossless, truth;
	double number;
	uint64_t word;
	void *address;
	size_t length;

	if (napi_typeof(env, value, &type) != napi_ok)
		return 0;
	switch (type) {
	case napi_number:
		if (napi_get_value_double(env, value, &number) != napi_ok)
			return 0;
		if (!(number >= -9223372036854775808.0 && number < 9223372036854775808.0) ||
		    (double)(int64_t)number != number)
			return 0;
		*out = (int64_t)number;
		return 1;
	case napi_bigint:
		/* Negative values come as their magnitude with a sign from the 64-bit getter: it wraps as wanted. */
		if (napi_get_value_bigint_uint64(env, value, &word, &lossless) != napi_ok)
			return 0;
		*out = (int64_t)word;
		return 1;
	case napi_boolean:
		if (napi_get_value_bool(env, value, &truth) != napi_ok)
			return 0;
		*out = truth;
		return 1;
	case napi_null:
	case napi_undefined:
		*out = 0;
		return 1;
	case napi_object:
		if (!buffer_address(env, value, &address, &length))
			return 0;
		*out = (int64_t)(uintptr_t)address;
		return 1;
	default:
		return 0;
	}
}

/* Collects the number of the call and up to six arguments, and runs it. */
static int run_syscall(napi_env env, napi_callback_info info, int64_t *result)
{
	size_t count = 7;
	napi_value values[7];
	int64_t words[7] = { 0 };
	int64_t fault;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok)
		return 0;
	if (count > 7)
		count = 7;
	for (size_t i = 0; i < count; i++) {
		if (!argument(env, values[i], &words[i])) {
			throw_type(env, "syscall: an argument is not an integer, buffer or null");
			return 0;
		}
	}
	fault = count_call();
	*result = fault ? -fault : raw_syscall(words);
	return 1;
}

static napi_value js_syscall(napi_env env, napi_callback_info info)
{
	int64_t result;
	napi_value value;

	if (!run_syscall(env, info, &result) || napi_create_int64(env, result, &value) != napi_ok)
		return NULL;
	return value;
}

static napi_value js_syscall_big(napi_env env, napi_callback_info info)
{
	int64_t result;
	napi_value value;

	if (!run_syscall(env, info, &result) || napi_create_bigint_int64(env, result, &value) != napi_ok)
		return NULL;
	return value;
}

/* addressOf(buffer): bigint. Valid as long as the buffer lives. */
static napi_value js_address_of(napi_env env, napi_callback_info info)
{
	size_t count = 1, length;
	napi_value value, result;
	void *address;

	if (napi_get_cb_info(env, info, &count, &value, NULL, NULL) != napi_ok || count < 1 ||
	    !buffer_address(env, value, &address, &length))
		return throw_type(env, "addressOf: not a buffer");
	if (napi_create_bigint_uint64(env, (uint64_t)(uintptr_t)address, &result) != napi_ok)
		return NULL;
	return result;
}

/* cpuid(leaf, subleaf, into: Uint32Array of 4): eax, ebx, ecx, edx. */
static napi_value js_cpuid(napi_env env, napi_callback_info info)
{
	size_t count = 3, length;
	napi_value values[3];
	uint32_t leaf, subleaf;
	void *address;
	uint32_t *out;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 3 ||
	    napi_get_value_uint32(env, values[0], &leaf) != napi_ok ||
	    napi_get_value_uint32(env, values[1], &subleaf) != napi_ok ||
	    !buffer_address(env, values[2], &address, &length) || length < 16)
		return throw_type(env, "cpuid(leaf, subleaf, Uint32Array(4))");
	out = address;
	__cpuid_count(leaf, subleaf, out[0], out[1], out[2], out[3]);
	return NULL;
}

/* programSum(buffer, before): number. The checksum of a restore program (SPEC 8), of whole words. */
static napi_value js_program_sum(napi_env env, napi_callback_info info)
{
	size_t count = 2, length;
	napi_value values[2], result;
	uint32_t sum = 0;
	void *address;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 2 ||
	    !buffer_address(env, values[0], &address, &length) || napi_get_value_uint32(env, values[1], &sum) != napi_ok)
		return throw_type(env, "programSum(buffer, number)");
	for (const uint8_t *at = address, *end = at + (length & ~3ull); at < end; at += 4) {
		sum = (sum ^ *(const uint32_t __attribute__((aligned(1), may_alias)) *)at) * 0x9e3779b1u;
		sum ^= sum >> 15;
	}
	if (napi_create_uint32(env, sum, &result) != napi_ok)
		return NULL;
	return result;
}

/* checksum(buffer, before = 0): number. CRC-32C of bytes behind others that have the CRC `before`. */
static napi_value js_checksum(napi_env env, napi_callback_info info)
{
	size_t count = 2, length;
	napi_value values[2], result;
	static struct crc32c state;
	static int has_looked;
	uint32_t before = 0;
	void *address;

	if (!has_looked)
		crc32c_look(&state);
	has_looked = 1;
	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 1 ||
	    !buffer_address(env, values[0], &address, &length) ||
	    (count > 1 && napi_get_value_uint32(env, values[1], &before) != napi_ok))
		return throw_type(env, "checksum(buffer, number)");
	if (napi_create_uint32(env, crc32c_of(before, address, length, &state), &result) != napi_ok)
		return NULL;
	return result;
}

/*
 * A call of a batch that is none of the kernel's: argument 2 runs of bytes follow each other from argument 1 on; their
 * lengths are the u4 at argument 3, and their checksums become the u4 at argument 4.
 */
#define BATCH_CHECKSUM (-1)

/* Words of a call in a batch: its number, six arguments, and the result it must have for the next one to be made. */
#define BATCH_WORDS 8

/* What both sides see of a batch while it runs (a BigInt64Array). */
enum { BATCH_DONE, BATCH_RESULT, BATCH_STOP, BATCH_STATE_WORDS };

struct batch {
	struct async_job job;
	const int64_t *words;
	int64_t *shared;
	int64_t count;
	int64_t fault_index; /* of the call that fails for a test; -1: none */
	int64_t fault_errno;
};

static void sum_runs(const uint8_t *bytes, int64_t count, const uint32_t *lengths, uint32_t *sums, struct crc32c *state)
{
	for (int64_t i = 0; i < count; bytes += lengths[i++])
		sums[i] = crc32c_stored(crc32c_of(0, bytes, lengths[i], state));
}

/* Makes the calls. */
static void batch_run(void *job)
{
	struct batch *batch = job;
	struct crc32c state;

	crc32c_look(&state);
	for (int64_t i = 0; i < batch->count; i++) {
		const int64_t *call = batch->words + i * BATCH_WORDS;
		int64_t result;

		if (__atomic_load_n(&batch->shared[BATCH_STOP], __ATOMIC_RELAXED))
			return;
		if (call[0] == BATCH_CHECKSUM) {
			sum_runs((const uint8_t *)call[1], call[2], (const uint32_t *)call[3], (uint32_t *)call[4], &state);
			result = 0;
		} else {
			result = i == batch->fault_index ? -batch->fault_errno : raw_syscall(call);
		}
		if (result != call[7]) {
			batch->shared[BATCH_RESULT] = result;
			return;
		}
		__atomic_store_n(&batch->shared[BATCH_DONE], i + 1, __ATOMIC_RELEASE);
	}
}

/*
 * runBatch(calls: BigInt64Array of 8 words a call, state: BigInt64Array(3)): Promise<void>. The calls are made in turn
 * until one has another result than its eighth word, or state[2] is set. state[0] counts those that went well, state[1]
 * then is the result that was not expected. What the arguments point to must stay until the promise is resolved.
 */
static napi_value js_run_batch(napi_env env, napi_callback_info info)
{
	size_t count = 2, length, state_length;
	napi_value values[2], promise;
	void *words, *shared;
	struct batch *batch;
	int64_t place;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 2 ||
	    !buffer_address(env, values[0], &words, &length) || length % (BATCH_WORDS * 8) ||
	    !buffer_address(env, values[1], &shared, &state_length) || state_length < BATCH_STATE_WORDS * 8)
		return throw_type(env, "runBatch(BigInt64Array(8 n), BigInt64Array(3))");
	place = async_map(sizeof(*batch));
	if (place < 0)
		return throw_type(env, "runBatch: out of memory");
	batch = (struct batch *)(uintptr_t)place;
	batch->words = words;
	batch->shared = shared;
	batch->count = (int64_t)(length / (BATCH_WORDS * 8));
	/* Counted here, in the order in which calls are asked for, so that tests meet the same one every time. */
	batch->fault_index = fault_at > calls_made && fault_at <= calls_made + batch->count ? fault_at - calls_made - 1 : -1;
	batch->fault_errno = fault_errno;
	calls_made += batch->count;
	promise = async_promise(env, &batch->job, batch_run, "crimg batch", values, 2);
	return promise ? promise : throw_type(env, "runBatch: cannot start");
}

#include "background.h"
#include "written.h"
#include "store.h"

/*
 * waitTimeout(pid, status: Int32Array(1), options, milliseconds): wait4 that gives up.
 * Returns the pid, 0 (WNOHANG), or -errno; -ETIMEDOUT when time is up.
 */
static napi_value js_wait_timeout(napi_env env, napi_callback_info info)
{
	size_t count = 4, length;
	napi_value values[4], value;
	int32_t pid, options;
	uint32_t milliseconds;
	void *status;
	int64_t result;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 4 ||
	    napi_get_value_int32(env, values[0], &pid) != napi_ok ||
	    !buffer_address(env, values[1], &status, &length) || length < 4 ||
	    napi_get_value_int32(env, values[2], &options) != napi_ok ||
	    napi_get_value_uint32(env, values[3], &milliseconds) != napi_ok)
		return throw_type(env, "waitTimeout(pid, Int32Array(1), options, milliseconds)");
	result = wait_bounded(pid, status, options, milliseconds);
	return napi_create_int64(env, result, &value) == napi_ok ? value : NULL;
}

/* Gets `count` buffers. Returns 0 if one is none. */
static int buffers(napi_env env, const napi_value *values, int count, void **addresses, size_t *lengths)
{
	for (int i = 0; i < count; i++)
		if (!buffer_address(env, values[i], &addresses[i], &lengths[i]))
			return 0;
	return 1;
}

/*
 * gather(questions, names, ids, rows, stride, arena, used): used. See gather.h; the buffers are as long as the ids say.
 */
static napi_value js_gather(napi_env env, napi_callback_info info)
{
	size_t count = 7, lengths[5];
	napi_value values[7], value;
	void *addresses[5];
	int64_t stride, used;
	struct gathering g;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 7 ||
	    !buffers(env, values, 4, addresses, lengths) ||
	    napi_get_value_int64(env, values[4], &stride) != napi_ok || !buffers(env, values + 5, 1, addresses + 4, lengths + 4) ||
	    napi_get_value_int64(env, values[6], &used) != napi_ok || stride <= 0 || used < 0)
		return throw_type(env, "gather(questions, names, ids, rows, stride, arena, used)");
	g = (struct gathering){
		.questions = addresses[0], .question_count = (int64_t)(lengths[0] / (GATHER_WORDS * 8)), .names = addresses[1],
		.names_length = (int64_t)lengths[1], .ids = addresses[2], .row_count = (int64_t)(lengths[2] / 8), .rows = addresses[3],
		.stride = stride, .arena = addresses[4], .arena_length = (int64_t)lengths[4], .arena_used = used,
	};
	if (g.row_count * stride > (int64_t)lengths[3])
		return throw_type(env, "gather: no room for the rows");
	gather(&g);
	return napi_create_int64(env, g.arena_used, &value) == napi_ok ? value : NULL;
}

/* readFile(path, into): bytes of a file that is read to its end, or -errno; -E2BIG if it does not fit. */
static napi_value js_read_file(napi_env env, napi_callback_info info)
{
	size_t count = 2, length, written;
	napi_value values[2], value;
	void *into;
	char path[4200];

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 2 ||
	    !buffer_address(env, values[1], &into, &length) ||
	    napi_get_value_string_utf8(env, values[0], path, sizeof(path), &written) != napi_ok)
		return throw_type(env, "readFile(path, into)");
	for (size_t i = 0; i < written; i++)
		if (!path[i])
			return throw_type(env, "readFile: NUL inside");
	return napi_create_int64(env, read_file(path, into, (int64_t)length, counted_call), &value) == napi_ok ? value : NULL;
}

#include "descriptors.h"
#include "map-file.h"
#include "gather-elsewhere.h"
#include "same-pages.h"

/* readSmaps(pid, bits, rows, names): number of mappings, or -errno. See smaps.h. */
static napi_value js_read_smaps(napi_env env, napi_callback_info info)
{
	size_t count = 4, lengths[3];
	napi_value values[4], value;
	void *addresses[3];
	static uint8_t buffer[SMAPS_BUFFER];
	int32_t pid;
	struct smaps s;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 4 ||
	    napi_get_value_int32(env, values[0], &pid) != napi_ok || !buffers(env, values + 1, 3, addresses, lengths) || lengths[0] < 26 * 26)
		return throw_type(env, "readSmaps(pid, bits, rows, names)");
	s = (struct smaps){
		.bits = addresses[0], .rows = addresses[1], .row_room = (int64_t)(lengths[1] / (SMAPS_WORDS * 8)), .names = addresses[2],
		.name_room = (int64_t)lengths[2], .buffer = buffer, .make = counted_call,
	};
	return napi_create_int64(env, read_smaps(&s, pid), &value) == napi_ok ? value : NULL;
}

/*
 * summarizeSmaps(rows, summary: BigInt64Array(6), code: Int32Array, others: Int32Array, writable: BigInt64Array(two a row)): the flags
 * that are unusual come in the first word of `summary`. See smaps.h.
 */
static napi_value js_summarize_smaps(napi_env env, napi_callback_info info)
{
	size_t count = 5, lengths[5];
	napi_value values[5];
	void *addresses[5];
	int64_t rows;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 5 || !buffers(env, values, 5, addresses, lengths))
		return throw_type(env, "summarizeSmaps(rows, summary, code, others, writable)");
	rows = (int64_t)(lengths[0] / (SMAPS_WORDS * 8));
	if (lengths[1] < sizeof(struct smaps_summary) || lengths[2] / 4 < (size_t)rows || lengths[3] / 4 < (size_t)rows ||
	    lengths[4] / 16 < (size_t)rows)
		return throw_type(env, "summarizeSmaps: no room");
	summarize_smaps(addresses[0], rows, *(int64_t *)addresses[1], addresses[1], addresses[2], addresses[3], addresses[4]);
	return NULL;
}

/*
 * sortMappings(rows, others: Int32Array, starts: Float64Array, ends: Float64Array, kinds, samples: Int32Array(255), alone: Int32Array,
 * counts: Int32Array(2)). See smaps.h.
 */
static napi_value js_sort_mappings(napi_env env, napi_callback_info info)
{
	size_t count = 8, lengths[8], rows;
	napi_value values[8];
	void *at[8];

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 8 || !buffers(env, values, 8, at, lengths))
		return throw_type(env, "sortMappings(rows, others, starts, ends, kinds, samples, alone, counts)");
	rows = lengths[0] / (SMAPS_WORDS * 8);
	if (lengths[2] / 8 < rows || lengths[3] / 8 < rows || lengths[4] < rows || lengths[5] / 4 < SMAPS_ALONE || lengths[6] / 4 < rows ||
	    lengths[7] < 8)
		return throw_type(env, "sortMappings: no room");
	sort_smaps(at[0], (int64_t)rows, at[1], (int64_t)(lengths[1] / 4), at[2], at[3], at[4], at[5], at[6], at[7]);
	return NULL;
}

/* encodeMappings(rows, kinds, template of a record, struct smaps_record, records). See smaps.h. */
static napi_value js_encode_mappings(napi_env env, napi_callback_info info)
{
	size_t count = 5, lengths[5], rows;
	napi_value values[5];
	void *at[5];
	const struct smaps_record *record;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 5 || !buffers(env, values, 5, at, lengths) ||
	    lengths[3] < sizeof(struct smaps_record))
		return throw_type(env, "encodeMappings(rows, kinds, template, record, records)");
	rows = lengths[0] / (SMAPS_WORDS * 8);
	record = at[3];
	if (record->length == 0 || record->length > 4096 || lengths[1] < rows || lengths[2] < record->length ||
	    lengths[4] / record->length < rows || record->start + 8 > record->length || record->end + 8 > record->length ||
	    record->flags + 8 > record->length || record->prot >= record->length || record->key >= record->length)
		return throw_type(env, "encodeMappings: no room");
	encode_smaps(at[0], (int64_t)rows, at[1], at[2], record, at[4]);
	return NULL;
}

/* areSameMappings(rows before, rows now): boolean. See smaps.h. */
static napi_value js_are_same_mappings(napi_env env, napi_callback_info info)
{
	size_t count = 2, lengths[2];
	napi_value values[2], value;
	void *addresses[2];
	int is_same;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 2 || !buffers(env, values, 2, addresses, lengths))
		return throw_type(env, "areSameMappings(before, now)");
	is_same = lengths[0] == lengths[1] && are_same_mappings(addresses[0], addresses[1], (int64_t)(lengths[0] / (SMAPS_WORDS * 8)));
	return napi_get_boolean(env, is_same, &value) == napi_ok ? value : NULL;
}

/*
 * findExtents(pagemap descriptor, rows of smaps.h, a kind each, runs: BigInt64Array, guards: BigInt64Array, counts: Int32Array(2)):
 * the number of runs, or -errno. See extents.h. `counts` tells how many runs there are, and how many guards.
 */
static napi_value js_find_extents(napi_env env, napi_callback_info info)
{
	size_t count = 6, lengths[5];
	napi_value values[6], value;
	void *addresses[5];
	int32_t fd;
	int64_t result;
	struct extents e;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 6 ||
	    napi_get_value_int32(env, values[0], &fd) != napi_ok || !buffers(env, values + 1, 5, addresses, lengths) ||
	    lengths[0] / (SMAPS_WORDS * 8) > lengths[1] || lengths[4] < 8)
		return throw_type(env, "findExtents(fd, rows, kinds, runs, guards, counts)");
	e = (struct extents){
		.fd = fd, .rows = addresses[0], .row_count = (int64_t)(lengths[0] / (SMAPS_WORDS * 8)), .kinds = addresses[1],
		.out = addresses[2], .room = (int64_t)(lengths[2] / 16), .guards = addresses[3], .guard_room = (int64_t)(lengths[3] / 16),
		.returned = PAGE_IS_GUARD,
	};
	result = find_extents(&e);
	((int32_t *)addresses[4])[0] = (int32_t)e.count;
	((int32_t *)addresses[4])[1] = (int32_t)e.guard_count;
	return napi_create_int64(env, result, &value) == napi_ok ? value : NULL;
}

/* awaitStops(ids: Int32Array(pid, tid each), stops: a stop_row each, milliseconds): waits for all of them. See stops.h. */
static napi_value js_await_stops(napi_env env, napi_callback_info info)
{
	size_t count = 3, lengths[2];
	napi_value values[3];
	void *addresses[2];
	uint32_t milliseconds;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 3 ||
	    !buffers(env, values, 2, addresses, lengths) ||
	    napi_get_value_uint32(env, values[2], &milliseconds) != napi_ok || lengths[0] / 8 * sizeof(struct stop_row) > lengths[1])
		return throw_type(env, "awaitStops(ids, stops, milliseconds)");
	for (size_t i = 0; i < lengths[0] / 8; i++) {
		const int32_t *ids = (const int32_t *)addresses[0] + i * 2;

		await_stop(ids[0], ids[1], (struct stop_row *)addresses[1] + i, milliseconds);
	}
	return NULL;
}

/* stubCode(): what the page of a process whose threads run lists holds. */
static napi_value js_stub_code(napi_env env, napi_callback_info info)
{
	napi_value value;
	void *data;

	(void)info;
	if (napi_create_buffer_copy(env, (size_t)(crimg_stub_end - crimg_stub_begin), crimg_stub_begin, &data, &value) != napi_ok)
		return NULL;
	return value;
}

/* injectLists(process, list, in, ranges, orders, stops, out, arena, used): used. See inject.h. */
static napi_value js_inject_lists(napi_env env, napi_callback_info info)
{
	size_t count = 9, lengths[8];
	napi_value values[9], value;
	void *addresses[8];
	struct injecting inject;
	int64_t used;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 9 ||
	    !buffers(env, values, 8, addresses, lengths) ||
	    napi_get_value_int64(env, values[8], &used) != napi_ok || lengths[0] < sizeof(struct inject_process))
		return throw_type(env, "injectLists(process, list, in, ranges, orders, stops, out, arena, used)");
	inject = (struct injecting){
		.process = addresses[0], .list = addresses[1], .in = addresses[2], .in_length = (int64_t)lengths[2], .ranges = addresses[3],
		.arena = addresses[7], .arena_length = (int64_t)lengths[7], .arena_used = used,
	};
	if (inject.process->entry_count * STUB_LIST * 8 > (int64_t)lengths[1] || inject.process->range_count * 16 > (int64_t)lengths[3])
		return throw_type(env, "injectLists: a list is too short");
	for (size_t i = 0; i < lengths[4] / sizeof(struct inject_order); i++) {
		uint64_t row = (uint64_t)(uint32_t)((const struct inject_order *)addresses[4])[i].row + 1;
		uint64_t stride = sizeof(struct inject_row) + (uint64_t)(inject.process->entry_count * 8 + inject.process->stored);

		if (row * sizeof(struct stop_row) > lengths[5] || row * stride > lengths[6])
			return throw_type(env, "injectLists: no room for the rows");
	}
	inject_lists(&inject, addresses[4], (int64_t)(lengths[4] / sizeof(struct inject_order)), addresses[5], addresses[6]);
	return napi_create_int64(env, inject.arena_used, &value) == napi_ok ? value : NULL;
}

/*
 * injectAlone(all, list, in, ranges, processes, stops, out, arena): see inject-alone.h; at most MOST_ALONE processes. Returns how
 * much of the arena is in use.
 */
static napi_value js_inject_alone(napi_env env, napi_callback_info info)
{
	size_t count = 8, lengths[8], processes;
	napi_value values[8], value;
	void *addresses[8];
	struct inject_process all;
	struct injecting inject;
	uint64_t stride;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 8 ||
	    !buffers(env, values, 8, addresses, lengths) || lengths[0] < sizeof(all))
		return throw_type(env, "injectAlone(all, list, in, ranges, processes, stops, out, arena)");
	copy_bytes(&all, addresses[0], sizeof(all));
	inject = (struct injecting){
		.list = addresses[1], .in = addresses[2], .in_length = (int64_t)lengths[2], .ranges = addresses[3],
		.arena = addresses[7], .arena_length = (int64_t)lengths[7],
	};
	processes = lengths[4] / sizeof(struct alone_process);
	stride = sizeof(struct inject_row) + (uint64_t)(all.entry_count * 8 + all.stored);
	if (processes > MOST_ALONE || all.entry_count * STUB_LIST * 8 > (int64_t)lengths[1] ||
	    processes * sizeof(struct stop_row) > lengths[5] || processes * stride > lengths[6])
		return throw_type(env, "injectAlone: no room for the rows");
	for (size_t i = 0; i < processes; i++) {
		const struct alone_process *one = (const struct alone_process *)addresses[4] + i;

		if (one->range_at < 0 || one->range_count < 0 || (one->range_at + one->range_count) * 16 > (int64_t)lengths[3])
			return throw_type(env, "injectAlone: a list is too short");
	}
	inject_alone(&all, &inject, addresses[4], (int64_t)processes, addresses[5], addresses[6]);
	return napi_create_int64(env, inject.arena_used, &value) == napi_ok ? value : NULL;
}

/* beginFork(job, stop, saved): see fork-alone.h. */
static napi_value js_begin_fork(napi_env env, napi_callback_info info)
{
	size_t count = 3, lengths[3];
	napi_value values[3];
	void *addresses[3];

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 3 || forking.job ||
	    !buffers(env, values, 3, addresses, lengths) || lengths[0] < sizeof(struct fork_job) || lengths[1] < sizeof(struct stop_row))
		return throw_type(env, "beginFork(job, stop, saved)");
	if (((struct fork_job *)addresses[0])->room > (int64_t)lengths[2])
		return throw_type(env, "beginFork: no room for what is borrowed");
	begin_fork_alone(addresses[0], addresses[1], addresses[2]);
	return NULL;
}

/* endFork(): see fork-alone.h. */
static napi_value js_end_fork(napi_env env, napi_callback_info info)
{
	(void)env;
	(void)info;
	end_fork();
	return NULL;
}

/* setFault(n, errno): the n-th call from now on fails; n = 0 switches it off. */
static napi_value js_set_fault(napi_env env, napi_callback_info info)
{
	size_t count = 2;
	napi_value values[2];
	int64_t nth, error;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 2 ||
	    napi_get_value_int64(env, values[0], &nth) != napi_ok ||
	    napi_get_value_int64(env, values[1], &error) != napi_ok)
		return throw_type(env, "setFault(n, errno)");
	fault_at = nth > 0 ? calls_made + nth : 0;
	fault_errno = error;
	return NULL;
}

/* copyMount(file of the mount namespace, of the user namespace or "", path, into: descriptor): 0 or -errno. See mount-copy.h. */
static napi_value js_copy_mount(napi_env env, napi_callback_info info)
{
	static char path[4096];
	size_t count = 4, lengths[3];
	napi_value values[4], value;
	struct mount_copy copy = { .path = path };
	int64_t fault;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 4 ||
	    napi_get_value_string_utf8(env, values[0], copy.mount_namespace, sizeof(copy.mount_namespace), &lengths[0]) != napi_ok ||
	    napi_get_value_string_utf8(env, values[1], copy.user_namespace, sizeof(copy.user_namespace), &lengths[1]) != napi_ok ||
	    napi_get_value_string_utf8(env, values[2], path, sizeof(path), &lengths[2]) != napi_ok || lengths[2] + 1 >= sizeof(path) ||
	    napi_get_value_int64(env, values[3], &copy.into) != napi_ok)
		return throw_type(env, "copyMount(mount namespace, user namespace, path, into)");
	fault = count_call();
	return napi_create_int64(env, fault ? -fault : copy_mount(&copy), &value) == napi_ok ? value : NULL;
}

/* startTrainee(): the pid of a child to practise on, or -errno. */
static napi_value js_start_trainee(napi_env env, napi_callback_info info)
{
	napi_value value;

	(void)info;
	return napi_create_int64(env, start_trainee(), &value) == napi_ok ? value : NULL;
}

/* endTrainee(pid) */
static napi_value js_end_trainee(napi_env env, napi_callback_info info)
{
	size_t count = 1;
	napi_value argument;
	int32_t pid;

	if (napi_get_cb_info(env, info, &count, &argument, NULL, NULL) != napi_ok || count < 1 ||
	    napi_get_value_int32(env, argument, &pid) != napi_ok || pid <= 0)
		return throw_type(env, "endTrainee(pid)");
	end_trainee(pid);
	return NULL;
}

/*
 * v8::V8::SetFlagsFromString(const char *), which Node exports to addons in C++. Node's own way to it, node:v8, takes 1.5 ms to load.
 * Where it is not there, V8 is left as it is.
 */
__attribute__((weak)) void v8_set_flags(const char *flags) __asm__("_ZN2v82V818SetFlagsFromStringEPKc");

/* setFlags(flags): of V8. */
static napi_value js_set_flags(napi_env env, napi_callback_info info)
{
	size_t count = 1, length;
	char flags[256];
	napi_value argument;

	if (napi_get_cb_info(env, info, &count, &argument, NULL, NULL) != napi_ok || count < 1 ||
	    napi_get_value_string_latin1(env, argument, flags, sizeof(flags), &length) != napi_ok || length == sizeof(flags) - 1)
		return throw_type(env, "setFlags(flags)");
	if (v8_set_flags)
		v8_set_flags(flags);
	return NULL;
}

/* pauseCounting(isPaused): calls are not counted, and none is made to fail. */
static napi_value js_pause_counting(napi_env env, napi_callback_info info)
{
	size_t count = 1;
	napi_value argument;
	bool is_paused;

	if (napi_get_cb_info(env, info, &count, &argument, NULL, NULL) != napi_ok || count < 1 ||
	    napi_get_value_bool(env, argument, &is_paused) != napi_ok)
		return throw_type(env, "pauseCounting(isPaused)");
	counting_paused = is_paused;
	return NULL;
}

/* callCount(): calls made so far. */
static napi_value js_call_count(napi_env env, napi_callback_info info)
{
	napi_value value;

	(void)info;
	return napi_create_int64(env, calls_made, &value) == napi_ok ? value : NULL;
}

static void export_function(napi_env env, napi_value exports, const char *name, napi_callback function)
{
	napi_value value;

	if (napi_create_function(env, name, NAPI_AUTO_LENGTH, function, NULL, &value) == napi_ok)
		napi_set_named_property(env, exports, name, value);
}

NAPI_MODULE_INIT()
{
	export_function(env, exports, "syscall", js_syscall);
	export_function(env, exports, "syscallBig", js_syscall_big);
	export_function(env, exports, "addressOf", js_address_of);
	export_function(env, exports, "checksum", js_checksum);
	export_function(env, exports, "programSum", js_program_sum);
	export_function(env, exports, "cpuid", js_cpuid);
	export_function(env, exports, "waitTimeout", js_wait_timeout);
	export_function(env, exports, "runBatch", js_run_batch);
	export_function(env, exports, "storePages", js_store_pages);
	export_function(env, exports, "gather", js_gather);
	export_function(env, exports, "readFile", js_read_file);
	export_function(env, exports, "readInBackground", js_read_in_background);
	export_function(env, exports, "awaitBackground", js_await_background);
	export_function(env, exports, "gatherElsewhere", js_gather_elsewhere);
	export_function(env, exports, "awaitRow", js_await_row);
	export_function(env, exports, "samePages", js_same_pages);
	export_function(env, exports, "lookAtDescriptors", js_look_at_descriptors);
	export_function(env, exports, "orderDescriptors", js_order_descriptors);
	export_function(env, exports, "beginLook", js_begin_look);
	export_function(env, exports, "readSmaps", js_read_smaps);
	export_function(env, exports, "summarizeSmaps", js_summarize_smaps);
	export_function(env, exports, "sortMappings", js_sort_mappings);
	export_function(env, exports, "encodeMappings", js_encode_mappings);
	export_function(env, exports, "areSameMappings", js_are_same_mappings);
	export_function(env, exports, "findExtents", js_find_extents);
	export_function(env, exports, "scanPages", js_scan_pages);
	export_function(env, exports, "awaitStops", js_await_stops);
	export_function(env, exports, "stubCode", js_stub_code);
	export_function(env, exports, "injectLists", js_inject_lists);
	export_function(env, exports, "copyMount", js_copy_mount);
	export_function(env, exports, "startTrainee", js_start_trainee);
	export_function(env, exports, "endTrainee", js_end_trainee);
	export_function(env, exports, "mapFile", js_map_file);
	export_function(env, exports, "setFlags", js_set_flags);
	export_function(env, exports, "pauseCounting", js_pause_counting);
	export_function(env, exports, "injectAlone", js_inject_alone);
	export_function(env, exports, "beginFork", js_begin_fork);
	export_function(env, exports, "endFork", js_end_fork);
	export_function(env, exports, "setFault", js_set_fault);
	export_function(env, exports, "callCount", js_call_count);
	return exports;
}
