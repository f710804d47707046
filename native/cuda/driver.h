// SPDX-License-Identifier: Apache-2.0
/* The driver's library, opened at run time; its own words for what it refuses. */
#pragma once
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "interface.h"

struct driver {
	cuda_init_fn init;
	cuda_driver_version_fn version;
	cuda_error_text_fn error_name, error_text;
	cuda_device_count_fn device_count;
	cuda_device_get_fn device_get;
	cuda_device_name_fn device_name;
	cuda_device_uuid_fn device_uuid;
	cuda_device_memory_fn device_memory;
	cuda_device_bus_fn device_bus;
	cuda_process_state_fn state;
	cuda_process_thread_fn thread;
	cuda_process_lock_fn lock;
	cuda_process_plain_fn checkpoint, unlock;
	cuda_process_restore_fn restore;
	/* What went wrong, one line. */
	char problem[512];
};

/* Sets `problem` to the driver's own word: `cuCheckpointProcessLock: CUDA_ERROR_NOT_READY (600): device not ready`. */
static int driver_refused(struct driver *driver, const char *call, cuda_result result)
{
	const char *name = NULL, *text = NULL;
	if (result == 0) return 0;
	if (driver->error_name) driver->error_name(result, &name);
	if (driver->error_text) driver->error_text(result, &text);
	snprintf(driver->problem, sizeof driver->problem, "%s: %s (%d)%s%s", call, name ? name : "error", result, text ? ": " : "",
		text ? text : "");
	return -1;
}

/* Finds a symbol; the first that is missing is the problem. */
static void *driver_symbol(struct driver *driver, void *library, const char *name)
{
	void *symbol = dlsym(library, name);
	if (!symbol && !driver->problem[0])
		snprintf(driver->problem, sizeof driver->problem, "this driver lacks %s: driver 570 or later is needed", name);
	return symbol;
}

/* Opens libcuda.so.1 as the dynamic linker finds it, and initialises it. Returns 0, or -1 with `problem`. */
static int driver_open(struct driver *driver)
{
	memset(driver, 0, sizeof *driver);
	/* A choice of devices that whoever calls made for its own programs is none for us. */
	unsetenv("CUDA_VISIBLE_DEVICES");
	void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		snprintf(driver->problem, sizeof driver->problem, "there is no CUDA driver here (%s)", dlerror());
		return -1;
	}
	driver->init = (cuda_init_fn)driver_symbol(driver, library, "cuInit");
	driver->version = (cuda_driver_version_fn)driver_symbol(driver, library, "cuDriverGetVersion");
	driver->error_name = (cuda_error_text_fn)driver_symbol(driver, library, "cuGetErrorName");
	driver->error_text = (cuda_error_text_fn)driver_symbol(driver, library, "cuGetErrorString");
	driver->device_count = (cuda_device_count_fn)driver_symbol(driver, library, "cuDeviceGetCount");
	driver->device_get = (cuda_device_get_fn)driver_symbol(driver, library, "cuDeviceGet");
	driver->device_name = (cuda_device_name_fn)driver_symbol(driver, library, "cuDeviceGetName");
	driver->device_uuid = (cuda_device_uuid_fn)driver_symbol(driver, library, "cuDeviceGetUuid_v2");
	driver->device_memory = (cuda_device_memory_fn)driver_symbol(driver, library, "cuDeviceTotalMem_v2");
	driver->device_bus = (cuda_device_bus_fn)driver_symbol(driver, library, "cuDeviceGetPCIBusId");
	driver->state = (cuda_process_state_fn)driver_symbol(driver, library, "cuCheckpointProcessGetState");
	driver->thread = (cuda_process_thread_fn)driver_symbol(driver, library, "cuCheckpointProcessGetRestoreThreadId");
	driver->lock = (cuda_process_lock_fn)driver_symbol(driver, library, "cuCheckpointProcessLock");
	driver->checkpoint = (cuda_process_plain_fn)driver_symbol(driver, library, "cuCheckpointProcessCheckpoint");
	driver->restore = (cuda_process_restore_fn)driver_symbol(driver, library, "cuCheckpointProcessRestore");
	driver->unlock = (cuda_process_plain_fn)driver_symbol(driver, library, "cuCheckpointProcessUnlock");
	if (driver->problem[0]) return -1;
	return driver_refused(driver, "cuInit", driver->init(0));
}

static int driver_lock(struct driver *driver, int pid, unsigned int timeout_ms)
{
	struct cuda_lock_args args = { .timeout_ms = timeout_ms };
	return driver_refused(driver, "cuCheckpointProcessLock", driver->lock(pid, &args));
}

static int driver_checkpoint(struct driver *driver, int pid)
{
	uint64_t args[8] = { 0 };
	return driver_refused(driver, "cuCheckpointProcessCheckpoint", driver->checkpoint(pid, args));
}

static int driver_restore(struct driver *driver, int pid, struct cuda_gpu_pair *pairs, unsigned int num_pairs)
{
	struct cuda_restore_args args = { .pairs = num_pairs ? pairs : NULL, .num_pairs = num_pairs };
	return driver_refused(driver, "cuCheckpointProcessRestore", driver->restore(pid, &args));
}

static int driver_unlock(struct driver *driver, int pid)
{
	uint64_t args[8] = { 0 };
	return driver_refused(driver, "cuCheckpointProcessUnlock", driver->unlock(pid, args));
}

static int driver_state(struct driver *driver, int pid, int *state)
{
	return driver_refused(driver, "cuCheckpointProcessGetState", driver->state(pid, state));
}

static int driver_thread(struct driver *driver, int pid, int *tid)
{
	return driver_refused(driver, "cuCheckpointProcessGetRestoreThreadId", driver->thread(pid, tid));
}

/* `GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, as nvidia-smi -L has it. */
static void uuid_text(const struct cuda_uuid *uuid, char text[48])
{
	char *end = text + sprintf(text, "GPU-");
	for (int i = 0; i < 16; i++) end += sprintf(end, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid->bytes[i]);
}

/* Reads such a text up to `end`. Returns 0, or -1. */
static int uuid_parse(const char *text, const char *end, struct cuda_uuid *uuid)
{
	int digits = 0;
	if (end - text < 4 || strncmp(text, "GPU-", 4)) return -1;
	for (text += 4; text < end; text++) {
		if (*text == '-') continue;
		const char *all = "0123456789abcdefABCDEF", *found = strchr(all, *text);
		if (!*text || !found || digits == 32) return -1;
		int value = (int)(found - all);
		if (value > 15) value -= 6;
		unsigned char *byte = &uuid->bytes[digits / 2];
		*byte = (unsigned char)(digits % 2 ? *byte | value : value << 4);
		digits++;
	}
	return digits == 32 ? 0 : -1;
}

/* NVML tells what the driver tells only to those who hold a context: free memory, and the release by name. Optional. */
struct nvml {
	nvml_text_fn driver_version;
	nvml_by_uuid_fn by_uuid;
	nvml_memory_fn memory;
};

static int nvml_open(struct nvml *nvml)
{
	memset(nvml, 0, sizeof *nvml);
	void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
	if (!library) return -1;
	nvml_plain_fn init = (nvml_plain_fn)dlsym(library, "nvmlInit_v2");
	if (!init || init() != 0) return -1;
	nvml->driver_version = (nvml_text_fn)dlsym(library, "nvmlSystemGetDriverVersion");
	nvml->by_uuid = (nvml_by_uuid_fn)dlsym(library, "nvmlDeviceGetHandleByUUID");
	nvml->memory = (nvml_memory_fn)dlsym(library, "nvmlDeviceGetMemoryInfo");
	return nvml->driver_version && nvml->by_uuid && nvml->memory ? 0 : -1;
}

/* `580.159.04`, or nothing where NVML is not there. */
static void driver_release(struct nvml *nvml, char *text, unsigned int size)
{
	text[0] = 0;
	if (nvml->driver_version && nvml->driver_version(text, size) != 0) text[0] = 0;
}

/*
 * One line a device: `gpu UUID BUS TOTAL FREE NAME`, separated by tabs; FREE is - if unknown. Returns 0, or -1 with
 * `problem`.
 */
static int print_devices(struct driver *driver, struct nvml *nvml, FILE *out)
{
	int count = 0;
	if (driver_refused(driver, "cuDeviceGetCount", driver->device_count(&count))) return -1;
	for (int i = 0; i < count; i++) {
		cuda_device device;
		struct cuda_uuid uuid;
		char text[48], name[128] = "", bus[64] = "", available[24] = "-";
		size_t total = 0;
		if (driver_refused(driver, "cuDeviceGet", driver->device_get(&device, i))) return -1;
		if (driver_refused(driver, "cuDeviceGetUuid", driver->device_uuid(&uuid, device))) return -1;
		driver->device_name(name, sizeof name - 1, device);
		driver->device_bus(bus, sizeof bus - 1, device);
		driver->device_memory(&total, device);
		uuid_text(&uuid, text);
		void *handle;
		struct nvml_memory memory;
		if (nvml->by_uuid && nvml->by_uuid(text, &handle) == 0 && nvml->memory(handle, &memory) == 0)
			snprintf(available, sizeof available, "%llu", memory.free);
		for (char *at = name; *at; at++)
			if (*at == '\t' || *at == '\n') *at = ' ';
		fprintf(out, "gpu\t%s\t%s\t%zu\t%s\t%s\n", text, bus[0] ? bus : "-", total, available, name);
	}
	return 0;
}
