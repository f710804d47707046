// SPDX-License-Identifier: Apache-2.0
/*
 * The native door of crimg: raw system calls for TypeScript, and the few things that a raw call cannot do
 * (the address of a buffer, CPUID, a bounded wait, calls on another thread). All policy is in src/native.
 *
 * Convention: every call returns what the kernel put into rax: a result, or -errno (-4095..-1). errno itself is
 * never used. `syscall` gives a double (exact up to 2^53), `syscallBig` a BigInt for results that may be larger.
 *
 * Fault injection for tests: after setFault(n, e) the n-th following call (1 = the next) does not happen and
 * returns -e.
 *
 * Freestanding: nothing of a C library is used, so that one file serves Node built with glibc of any age and with musl.
 */
#include <cpuid.h>
#include <linux/errno.h>
#include <linux/mman.h>
#include <linux/time.h>
#include <node_api.h>
#include <asm/unistd.h>
#include <stdint.h>
#include "crc32c.h"

/* The compiler may call it, for an initialiser say. */
__attribute__((visibility("hidden"), used)) void *memset(void *to, int byte, size_t length)
{
	volatile uint8_t *bytes = to;

	for (size_t i = 0; i < length; i++)
		bytes[i] = (uint8_t)byte;
	return to;
}

static int64_t calls_made;
static int64_t fault_at; /* number of the call that fails; 0: none */
static int64_t fault_errno;

/* Counts a call; returns the errno it must fail with, or 0. */
static int64_t count_call(void)
{
	calls_made++;
	return calls_made == fault_at ? fault_errno : 0;
}

static int64_t raw_syscall(const int64_t a[7])
{
	register int64_t r10 __asm__("r10") = a[4];
	register int64_t r8 __asm__("r8") = a[5];
	register int64_t r9 __asm__("r9") = a[6];
	int64_t result = a[0];

	__asm__ volatile("syscall"
			 : "+a"(result)
			 : "D"(a[1]), "S"(a[2]), "d"(a[3]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
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

static int64_t call(int64_t number, int64_t a, int64_t b, int64_t c, int64_t d)
{
	const int64_t words[7] = { number, a, b, c, d };

	return raw_syscall(words);
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
	napi_async_work work;
	napi_deferred deferred;
	napi_ref calls, state; /* keep both arrays where they are */
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

/* Zeroed memory for a batch; NULL if there is none. */
static struct batch *map_batch(void)
{
	const int64_t words[7] = { __NR_mmap, 0, sizeof(struct batch), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0 };
	int64_t result = raw_syscall(words);

	return result < 0 ? NULL : (struct batch *)(uintptr_t)result;
}

/* Makes the calls, on a thread of libuv's pool (which blocks signals). */
static void batch_execute(napi_env env, void *data)
{
	struct batch *batch = data;
	struct crc32c state;

	(void)env;
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

static void batch_complete(napi_env env, napi_status status, void *data)
{
	struct batch *batch = data;
	napi_value nothing;

	(void)status;
	napi_get_undefined(env, &nothing);
	napi_resolve_deferred(env, batch->deferred, nothing);
	napi_delete_reference(env, batch->calls);
	napi_delete_reference(env, batch->state);
	napi_delete_async_work(env, batch->work);
	call(__NR_munmap, (int64_t)(uintptr_t)batch, sizeof(*batch), 0, 0);
}

/*
 * runBatch(calls: BigInt64Array of 8 words a call, state: BigInt64Array(3)): Promise<void>. The calls are made in turn
 * until one has another result than its eighth word, or state[2] is set. state[0] counts those that went well, state[1]
 * then is the result that was not expected. What the arguments point to must stay until the promise is resolved.
 */
static napi_value js_run_batch(napi_env env, napi_callback_info info)
{
	size_t count = 2, length, state_length;
	napi_value values[2], name, promise;
	void *words, *shared;
	struct batch *batch;

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 2 ||
	    !buffer_address(env, values[0], &words, &length) || length % (BATCH_WORDS * 8) ||
	    !buffer_address(env, values[1], &shared, &state_length) || state_length < BATCH_STATE_WORDS * 8)
		return throw_type(env, "runBatch(BigInt64Array(8 n), BigInt64Array(3))");
	batch = map_batch();
	if (!batch)
		return throw_type(env, "runBatch: out of memory");
	batch->words = words;
	batch->shared = shared;
	batch->count = (int64_t)(length / (BATCH_WORDS * 8));
	/* Counted here, in the order in which calls are asked for, so that tests meet the same one every time. */
	batch->fault_index = fault_at > calls_made && fault_at <= calls_made + batch->count ? fault_at - calls_made - 1 : -1;
	batch->fault_errno = fault_errno;
	calls_made += batch->count;
	if (napi_create_reference(env, values[0], 1, &batch->calls) != napi_ok ||
	    napi_create_reference(env, values[1], 1, &batch->state) != napi_ok ||
	    napi_create_string_utf8(env, "crimg batch", NAPI_AUTO_LENGTH, &name) != napi_ok ||
	    napi_create_promise(env, &batch->deferred, &promise) != napi_ok ||
	    napi_create_async_work(env, NULL, name, batch_execute, batch_complete, batch, &batch->work) != napi_ok ||
	    napi_queue_async_work(env, batch->work) != napi_ok)
		return throw_type(env, "runBatch: cannot start"); /* leaks a few words, once, in a process that ends */
	return promise;
}

#include "store.h"

static void on_tick(int signal)
{
	(void)signal; /* Its only use is that a blocking wait4 returns EINTR. */
}

/* Where a signal handler returns to; the C library's own is not ours to use. */
extern void return_from_signal(void) __attribute__((visibility("hidden")));
__asm__(".text\n"
	".type return_from_signal, @function\n"
	"	nop\n" /* unwinders look at the byte before */
	"return_from_signal:\n"
	"	mov $15, %eax\n" /* rt_sigreturn */
	"	syscall\n");

/* The kernel's structures (asm/signal.h, asm-generic/siginfo.h), which differ from those of C libraries. */
struct kernel_sigaction {
	void (*handler)(int);
	uint64_t flags;
	void (*restorer)(void);
	uint64_t mask;
};
struct kernel_sigevent {
	uint64_t value;
	int32_t signo, notify, tid, padding[11];
};
_Static_assert(sizeof(struct kernel_sigevent) == 64, "sigevent");

enum { TICK_SIGNAL = 61, SA_RESTORER_FLAG = 0x04000000, NOTIFY_THREAD_ID = 4, MONOTONIC = 1 };

/* A timer that signals this very thread. Returns 0 or -errno. */
static int64_t make_timer(int32_t *timer)
{
	struct kernel_sigaction action = { .handler = on_tick, .flags = SA_RESTORER_FLAG, .restorer = return_from_signal };
	struct kernel_sigevent event = { .signo = TICK_SIGNAL, .notify = NOTIFY_THREAD_ID };
	int64_t result = call(__NR_rt_sigaction, TICK_SIGNAL, (int64_t)(uintptr_t)&action, 0, 8);

	if (result < 0)
		return result;
	event.tid = (int32_t)call(__NR_gettid, 0, 0, 0, 0);
	return call(__NR_timer_create, MONOTONIC, (int64_t)(uintptr_t)&event, (int64_t)(uintptr_t)timer, 0);
}

static void set_timer(int32_t timer, const struct __kernel_itimerspec *period)
{
	call(__NR_timer_settime, timer, 0, (int64_t)(uintptr_t)period, 0);
}

static void look_at_clock(struct __kernel_timespec *now)
{
	call(__NR_clock_gettime, MONOTONIC, (int64_t)(uintptr_t)now, 0, 0);
}

/*
 * waitTimeout(pid, status: Int32Array(1), options, milliseconds): wait4 that gives up.
 * Returns the pid, 0 (WNOHANG), or -errno; -ETIMEDOUT when time is up. A timer signal to this very thread breaks
 * the wait; it repeats, so that one that comes just before wait4 sleeps is not the only one.
 */
static napi_value js_wait_timeout(napi_env env, napi_callback_info info)
{
	static int32_t timer;
	static int have_timer;
	size_t count = 4, length;
	napi_value values[4], value;
	int32_t pid, options;
	uint32_t milliseconds;
	void *status;
	int64_t result, fault;
	struct __kernel_timespec now, end;
	struct __kernel_itimerspec period = { 0 };

	if (napi_get_cb_info(env, info, &count, values, NULL, NULL) != napi_ok || count < 4 ||
	    napi_get_value_int32(env, values[0], &pid) != napi_ok ||
	    !buffer_address(env, values[1], &status, &length) || length < 4 ||
	    napi_get_value_int32(env, values[2], &options) != napi_ok ||
	    napi_get_value_uint32(env, values[3], &milliseconds) != napi_ok)
		return throw_type(env, "waitTimeout(pid, Int32Array(1), options, milliseconds)");

	fault = count_call();
	if (fault) {
		result = -fault;
		goto out;
	}
	if (!have_timer) {
		result = make_timer(&timer);
		if (result < 0)
			goto out;
		have_timer = 1;
	}
	look_at_clock(&end);
	end.tv_sec += milliseconds / 1000;
	end.tv_nsec += (long)(milliseconds % 1000) * 1000000;
	if (end.tv_nsec >= 1000000000) {
		end.tv_nsec -= 1000000000;
		end.tv_sec++;
	}
	period.it_interval.tv_nsec = 20000000;
	period.it_value.tv_nsec = milliseconds < 20 ? (long)milliseconds * 1000000 + 1 : 20000000;
	set_timer(timer, &period);
	for (;;) {
		result = call(__NR_wait4, pid, (int64_t)(uintptr_t)status, options, 0);
		if (result != -EINTR)
			break;
		look_at_clock(&now);
		if (now.tv_sec > end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec >= end.tv_nsec)) {
			result = -ETIMEDOUT;
			break;
		}
	}
	period = (struct __kernel_itimerspec){ 0 };
	set_timer(timer, &period);
out:
	return napi_create_int64(env, result, &value) == napi_ok ? value : NULL;
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
	export_function(env, exports, "cpuid", js_cpuid);
	export_function(env, exports, "waitTimeout", js_wait_timeout);
	export_function(env, exports, "runBatch", js_run_batch);
	export_function(env, exports, "storePages", js_store_pages);
	export_function(env, exports, "setFault", js_set_fault);
	export_function(env, exports, "callCount", js_call_count);
	return exports;
}
