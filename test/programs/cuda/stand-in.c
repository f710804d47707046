// SPDX-License-Identifier: Apache-2.0
/*
 * A stand-in for libcuda.so.1 and libnvidia-ml.so.1 where there is no GPU: as much of the documented interface as crimg
 * and the programs of these tests call. Linked by nobody; found as the real ones are, by the dynamic linker.
 *
 * In a program that uses it: device memory is a System V shared memory segment, and a character device is open
 * (CUDA_STANDIN_DEVICE), so that neither can be dumped while the device is in use. Checkpointing copies the memory to
 * private anonymous memory and puts an eventfd over the descriptor, as driver 580 does. All that is done by a thread that
 * the library starts in the program, whose id cuCheckpointProcessGetRestoreThreadId gives; it is asked through
 * process_vm_writev by whoever calls for this pid.
 *
 * Settings, from the environment of whoever loads it:
 *   CUDA_STANDIN_GPUS     UUID:NAME:MIB,… (default: one); empty: no GPU
 *   CUDA_STANDIN_DRIVER   release that NVML tells
 *   CUDA_STANDIN_FAIL     CALL=ERROR,… such as Checkpoint=2
 *   CUDA_STANDIN_SLOW     CALL=MILLISECONDS,… : CALL takes so long
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum {
	SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101,
	ILLEGAL_STATE = 401, NOT_READY = 600
};
enum { RUNNING, LOCKED, CHECKPOINTED, FAILED };
enum { NOTHING, LOCK, CHECKPOINT, RESTORE, UNLOCK };
/* Device memory is told by its odd mode: a segment that will go with its last user has no key any more. */
enum { DEVICE_MEMORY_MODE = 0642, MAX_BUFFERS = 16, MAX_GPUS = 8 };

struct gpu {
	unsigned char uuid[16];
	char name[64];
	size_t mib;
};

struct buffer {
	void *address;
	size_t size;
	int shm;
	void *kept;
};

/* What the driver knows of a program; others reach it by its address. */
static struct {
	int own_pid, restore_tid, state, device;
	unsigned char gpu[16];
	struct buffer buffers[MAX_BUFFERS];
	/* One question at a time: `asked` is raised last, `answered` follows. */
	int question, timeout_ms;
	unsigned char to_gpu[16];
	_Atomic unsigned int asked, answered;
	int result;
} process = { .device = -1 };

static pthread_mutex_t calls = PTHREAD_MUTEX_INITIALIZER;
static int is_initialized;

static void pause_ms(int milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000L };
	while (nanosleep(&time, &time) && errno == EINTR) {}
}

/* The number of `name` in a list `NAME=N,…`, or `absent`. */
static int setting(const char *variable, const char *name, int absent)
{
	const char *at = getenv(variable);
	size_t length = strlen(name);
	for (; at && *at; at = strchr(at, ','), at = at ? at + 1 : NULL)
		if (!strncmp(at, name, length) && at[length] == '=') return atoi(at + length + 1);
	return absent;
}

static int begin(const char *name)
{
	pause_ms(setting("CUDA_STANDIN_SLOW", name, 0));
	return setting("CUDA_STANDIN_FAIL", name, SUCCESS);
}

static int gpus(struct gpu *list)
{
	const char *at = getenv("CUDA_STANDIN_GPUS");
	int count = 0;
	if (!at) at = "GPU-00112233-4455-6677-8899-aabbccddeeff:Stand-in:1024";
	while (*at && count < MAX_GPUS) {
		struct gpu *gpu = &list[count++];
		int digits = 0;
		memset(gpu, 0, sizeof *gpu);
		for (at += 4; *at && *at != ':'; at++) {
			if (*at == '-') continue;
			int value = *at <= '9' ? *at - '0' : *at - 'a' + 10;
			gpu->uuid[digits / 2] |= (unsigned char)(digits % 2 ? value : value << 4);
			digits++;
		}
		size_t name = *at ? strcspn(++at, ":") : 0;
		snprintf(gpu->name, sizeof gpu->name, "%.*s", (int)name, at);
		at += name;
		if (*at == ':') gpu->mib = strtoul(at + 1, (char **)&at, 10);
		if (*at == ',') at++;
	}
	return count;
}

/* Bytes of device memory in use by everybody. */
static size_t used_bytes(void)
{
	FILE *file = fopen("/proc/sysvipc/shm", "r");
	char line[512];
	size_t sum = 0;
	while (file && fgets(line, sizeof line, file)) {
		int key;
		unsigned long id, size;
		unsigned int mode;
		if (sscanf(line, "%d %lu %o %lu", &key, &id, &mode, &size) == 4 && (mode & 0777) == DEVICE_MEMORY_MODE) sum += size;
	}
	if (file) fclose(file);
	return sum;
}

/* --- The thread that the library starts in a program --- */

static int attach(struct buffer *buffer)
{
	buffer->shm = shmget(IPC_PRIVATE, buffer->size, DEVICE_MEMORY_MODE);
	if (buffer->shm < 0) return OUT_OF_MEMORY;
	void *address = shmat(buffer->shm, buffer->address, buffer->address ? SHM_REMAP : 0);
	/* It lives as long as it is attached. */
	shmctl(buffer->shm, IPC_RMID, NULL);
	if (address == (void *)-1) return OUT_OF_MEMORY;
	buffer->address = address;
	return SUCCESS;
}

static void open_device(void)
{
	const char *path = getenv("CUDA_STANDIN_DEVICE");
	if (!path) return;
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (process.device < 0) {
		process.device = fd;
	} else if (fd >= 0) {
		dup3(fd, process.device, O_CLOEXEC);
		close(fd);
	}
}

static int do_lock(int timeout_ms)
{
	struct timespec end;
	if (process.state != RUNNING) return ILLEGAL_STATE;
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += timeout_ms / 1000;
	end.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (end.tv_nsec >= 1000000000L) end.tv_sec++, end.tv_nsec -= 1000000000L;
	if (timeout_ms ? pthread_mutex_timedlock(&calls, &end) : pthread_mutex_lock(&calls)) return NOT_READY;
	process.state = LOCKED;
	return SUCCESS;
}

static int do_checkpoint(void)
{
	if (process.state != LOCKED) return ILLEGAL_STATE;
	for (struct buffer *buffer = process.buffers; buffer < process.buffers + MAX_BUFFERS; buffer++) {
		if (!buffer->size) continue;
		buffer->kept = mmap(NULL, buffer->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (buffer->kept == MAP_FAILED) return OUT_OF_MEMORY;
		memcpy(buffer->kept, buffer->address, buffer->size);
		shmdt(buffer->address);
		/* The driver keeps its addresses reserved. */
		mmap(buffer->address, buffer->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
	}
	if (process.device >= 0) {
		int fd = eventfd(0, EFD_CLOEXEC);
		dup3(fd, process.device, O_CLOEXEC);
		close(fd);
	}
	process.state = CHECKPOINTED;
	return SUCCESS;
}

static int do_restore(void)
{
	if (process.state != CHECKPOINTED) return ILLEGAL_STATE;
	open_device();
	for (struct buffer *buffer = process.buffers; buffer < process.buffers + MAX_BUFFERS; buffer++) {
		if (!buffer->size) continue;
		if (attach(buffer)) return OUT_OF_MEMORY;
		memcpy(buffer->address, buffer->kept, buffer->size);
		munmap(buffer->kept, buffer->size);
	}
	memcpy(process.gpu, process.to_gpu, sizeof process.gpu);
	process.state = LOCKED;
	return SUCCESS;
}

static int do_unlock(void)
{
	if (process.state != LOCKED) return ILLEGAL_STATE;
	/* Seen with driver 580: under another pid than before the restore comes back and this does not. */
	while (getpid() != process.own_pid) pause_ms(100);
	process.state = RUNNING;
	pthread_mutex_unlock(&calls);
	return SUCCESS;
}

static void *answer_questions(void *unused)
{
	(void)unused;
	prctl(PR_SET_NAME, "cuda-EvtHandlr");
	process.restore_tid = gettid();
	for (;;) {
		unsigned int asked = atomic_load(&process.asked);
		if (asked == atomic_load(&process.answered)) {
			pause_ms(1);
			continue;
		}
		switch (process.question) {
		case LOCK: process.result = do_lock(process.timeout_ms); break;
		case CHECKPOINT: process.result = do_checkpoint(); break;
		case RESTORE: process.result = do_restore(); break;
		case UNLOCK: process.result = do_unlock(); break;
		default: process.result = INVALID_VALUE;
		}
		atomic_store(&process.answered, asked);
	}
	return NULL;
}

/* --- What programs call --- */

EXPORT int cuInit(unsigned int flags)
{
	struct gpu list[MAX_GPUS];
	int failure = begin("Init");
	if (failure) return failure;
	if (flags) return INVALID_VALUE;
	if (gpus(list) == 0) return NO_DEVICE;
	is_initialized = 1;
	return SUCCESS;
}

EXPORT int cuMemAlloc_v2(uint64_t *address, size_t size)
{
	struct gpu list[MAX_GPUS];
	if (!is_initialized) return NOT_INITIALIZED;
	pthread_mutex_lock(&calls);
	if (!process.own_pid) {
		pthread_t thread;
		gpus(list);
		memcpy(process.gpu, list[0].uuid, sizeof process.gpu);
		process.own_pid = getpid();
		open_device();
		pthread_create(&thread, NULL, answer_questions, NULL);
		while (!*(volatile int *)&process.restore_tid) pause_ms(1);
	}
	int result = OUT_OF_MEMORY;
	for (struct buffer *buffer = process.buffers; buffer < process.buffers + MAX_BUFFERS; buffer++) {
		if (buffer->size) continue;
		buffer->size = size;
		result = attach(buffer);
		*address = (uint64_t)buffer->address;
		break;
	}
	pthread_mutex_unlock(&calls);
	return result;
}

static int transfer(void *to, const void *from, size_t size)
{
	pthread_mutex_lock(&calls);
	pause_ms(setting("CUDA_STANDIN_SLOW", "Memcpy", 0));
	memcpy(to, from, size);
	pthread_mutex_unlock(&calls);
	return SUCCESS;
}

EXPORT int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t size)
{
	return transfer((void *)to, from, size);
}

EXPORT int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size)
{
	return transfer(to, (const void *)from, size);
}

/* --- What anybody may ask --- */

EXPORT int cuDriverGetVersion(int *version)
{
	*version = 13000;
	return SUCCESS;
}

EXPORT int cuDeviceGetCount(int *count)
{
	struct gpu list[MAX_GPUS];
	if (!is_initialized) return NOT_INITIALIZED;
	*count = gpus(list);
	return SUCCESS;
}

EXPORT int cuDeviceGet(int *device, int ordinal)
{
	int count;
	int result = cuDeviceGetCount(&count);
	if (result) return result;
	*device = ordinal;
	return ordinal >= 0 && ordinal < count ? SUCCESS : INVALID_DEVICE;
}

EXPORT int cuDeviceGetName(char *name, int size, int device)
{
	struct gpu list[MAX_GPUS];
	if (device < 0 || device >= gpus(list)) return INVALID_DEVICE;
	snprintf(name, (size_t)size, "%s", list[device].name);
	return SUCCESS;
}

EXPORT int cuDeviceGetUuid_v2(unsigned char *uuid, int device)
{
	struct gpu list[MAX_GPUS];
	if (device < 0 || device >= gpus(list)) return INVALID_DEVICE;
	memcpy(uuid, list[device].uuid, 16);
	return SUCCESS;
}

EXPORT int cuDeviceTotalMem_v2(size_t *bytes, int device)
{
	struct gpu list[MAX_GPUS];
	if (device < 0 || device >= gpus(list)) return INVALID_DEVICE;
	*bytes = list[device].mib << 20;
	return SUCCESS;
}

EXPORT int cuDeviceGetPCIBusId(char *text, int size, int device)
{
	snprintf(text, (size_t)size, "0000:%02x:00.0", device + 1);
	return SUCCESS;
}

static const struct {
	int code;
	const char *name, *text;
} errors[] = {
	{ SUCCESS, "CUDA_SUCCESS", "no error" },
	{ INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument" },
	{ OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory" },
	{ NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error" },
	{ NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected" },
	{ INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal" },
	{ ILLEGAL_STATE, "CUDA_ERROR_ILLEGAL_STATE", "the operation cannot be performed in the present state" },
	{ NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready" },
};

EXPORT int cuGetErrorName(int error, const char **text)
{
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		if (errors[i].code == error) return *text = errors[i].name, SUCCESS;
	*text = NULL;
	return INVALID_VALUE;
}

EXPORT int cuGetErrorString(int error, const char **text)
{
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
		if (errors[i].code == error) return *text = errors[i].text, SUCCESS;
	*text = NULL;
	return INVALID_VALUE;
}

/* --- Checkpointing of other processes --- */

/* Where `process` is in another process that has loaded this very file; 0 if it has not. */
static uint64_t address_in(int pid)
{
	Dl_info info;
	char path[64], line[4352], name[4096];
	uint64_t found = 0;
	if (!dladdr(&process, &info)) return 0;
	char *own = realpath(info.dli_fname, NULL);
	snprintf(path, sizeof path, "/proc/%d/maps", pid);
	FILE *maps = fopen(path, "r");
	while (own && maps && !found && fgets(line, sizeof line, maps)) {
		unsigned long start, offset;
		name[0] = 0;
		if (sscanf(line, "%lx-%*x %*s %lx %*s %*s %4095[^\n]", &start, &offset, name) == 3 && offset == 0 && !strcmp(name, own))
			found = start + (uint64_t)((char *)&process - (char *)info.dli_fbase);
	}
	if (maps) fclose(maps);
	free(own);
	return found;
}

static int copy_from(int pid, uint64_t base, size_t offset, void *to, size_t size)
{
	struct iovec here = { to, size }, there = { (void *)(base + offset), size };
	return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)size ? 0 : -1;
}

static int copy_to(int pid, uint64_t base, size_t offset, const void *from, size_t size)
{
	struct iovec here = { (void *)from, size }, there = { (void *)(base + offset), size };
	return process_vm_writev(pid, &here, 1, &there, 1, 0) == (ssize_t)size ? 0 : -1;
}

#define AT(field) offsetof(__typeof__(process), field)

/* Asks the thread in the process, and waits for its answer. */
static int ask(int pid, int question, int timeout_ms, const unsigned char *gpu)
{
	unsigned int asked, answered;
	int result;
	if (!is_initialized) return NOT_INITIALIZED;
	uint64_t base = address_in(pid);
	if (!base || copy_from(pid, base, AT(restore_tid), &result, sizeof result) || result == 0) return INVALID_VALUE;
	if (copy_from(pid, base, AT(answered), &answered, sizeof answered)) return INVALID_VALUE;
	asked = answered + 1;
	if (gpu && copy_to(pid, base, AT(to_gpu), gpu, 16)) return INVALID_VALUE;
	if (copy_to(pid, base, AT(question), &question, sizeof question)) return INVALID_VALUE;
	if (copy_to(pid, base, AT(timeout_ms), &timeout_ms, sizeof timeout_ms)) return INVALID_VALUE;
	if (copy_to(pid, base, AT(asked), &asked, sizeof asked)) return INVALID_VALUE;
	do {
		pause_ms(1);
		if (copy_from(pid, base, AT(answered), &answered, sizeof answered)) return INVALID_VALUE;
	} while (answered != asked);
	return copy_from(pid, base, AT(result), &result, sizeof result) ? INVALID_VALUE : result;
}

static int peek(int pid, size_t offset, int *value)
{
	uint64_t base = address_in(pid);
	int tid;
	if (!is_initialized) return NOT_INITIALIZED;
	if (!base || copy_from(pid, base, AT(restore_tid), &tid, sizeof tid) || tid == 0) return INVALID_VALUE;
	return copy_from(pid, base, offset, value, sizeof *value) ? INVALID_VALUE : SUCCESS;
}

EXPORT int cuCheckpointProcessGetState(int pid, int *state)
{
	int failure = begin("GetState");
	return failure ? failure : peek(pid, AT(state), state);
}

EXPORT int cuCheckpointProcessGetRestoreThreadId(int pid, int *tid)
{
	int failure = begin("GetRestoreThreadId");
	return failure ? failure : peek(pid, AT(restore_tid), tid);
}

EXPORT int cuCheckpointProcessLock(int pid, const unsigned int *args)
{
	int failure = begin("Lock");
	return failure ? failure : ask(pid, LOCK, args ? (int)args[0] : 0, NULL);
}

EXPORT int cuCheckpointProcessCheckpoint(int pid, void *args)
{
	(void)args;
	int failure = begin("Checkpoint");
	return failure ? failure : ask(pid, CHECKPOINT, 0, NULL);
}

struct restore_args {
	const struct {
		unsigned char from[16], to[16];
	} *pairs;
	unsigned int num_pairs;
	char reserved[64 - sizeof(void *) - sizeof(unsigned int)];
};

EXPORT int cuCheckpointProcessRestore(int pid, const struct restore_args *args)
{
	struct gpu list[MAX_GPUS];
	struct buffer buffers[MAX_BUFFERS];
	unsigned char gpu[16];
	size_t needed = 0;
	int failure = begin("Restore");
	if (failure) return failure;
	uint64_t base = address_in(pid);
	if (!base || copy_from(pid, base, AT(gpu), gpu, 16) || copy_from(pid, base, AT(buffers), buffers, sizeof buffers)) return INVALID_VALUE;
	for (unsigned int i = 0; args && i < args->num_pairs; i++) {
		if (memcmp(args->pairs[i].from, gpu, 16)) continue;
		memcpy(gpu, args->pairs[i].to, 16);
		break;
	}
	for (int i = 0; i < MAX_BUFFERS; i++) needed += buffers[i].size;
	int count = gpus(list);
	for (int i = 0; i < count; i++) {
		if (memcmp(list[i].uuid, gpu, 16)) continue;
		return needed + used_bytes() > list[i].mib << 20 ? OUT_OF_MEMORY : ask(pid, RESTORE, 0, gpu);
	}
	return INVALID_DEVICE;
}

EXPORT int cuCheckpointProcessUnlock(int pid, void *args)
{
	(void)args;
	int failure = begin("Unlock");
	return failure ? failure : ask(pid, UNLOCK, 0, NULL);
}

/* --- NVML --- */

EXPORT int nvmlInit_v2(void)
{
	return begin("Nvml");
}

EXPORT int nvmlSystemGetDriverVersion(char *text, unsigned int size)
{
	const char *release = getenv("CUDA_STANDIN_DRIVER");
	snprintf(text, size, "%s", release ? release : "580.0");
	return 0;
}

EXPORT int nvmlDeviceGetHandleByUUID(const char *uuid, void **device)
{
	struct gpu list[MAX_GPUS];
	int count = gpus(list);
	for (int i = 0; i < count; i++) {
		char text[48], *end = text + sprintf(text, "GPU-");
		for (int b = 0; b < 16; b++) end += sprintf(end, b == 4 || b == 6 || b == 8 || b == 10 ? "-%02x" : "%02x", list[i].uuid[b]);
		if (strcmp(text, uuid)) continue;
		*device = (void *)(intptr_t)(i + 1);
		return 0;
	}
	return 6;
}

EXPORT int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *memory)
{
	struct gpu list[MAX_GPUS];
	gpus(list);
	memory[0] = list[(intptr_t)device - 1].mib << 20;
	memory[2] = used_bytes();
	memory[1] = memory[0] - memory[2];
	return 0;
}
