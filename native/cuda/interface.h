// SPDX-License-Identifier: Apache-2.0
/*
 * The part of the CUDA driver's interface and of NVML that crimg calls, as the CUDA Driver API's page "CUDA
 * Checkpointing" (driver 570 and later) and NVML's reference document it. Nothing is linked: names are looked up in the
 * driver's own library at run time. tools/gpu/check-interface.c holds it against the vendor's headers.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef int cuda_result; /* CUresult; 0 is CUDA_SUCCESS */
typedef int cuda_device; /* CUdevice */

enum cuda_process_state { CUDA_RUNNING = 0, CUDA_LOCKED = 1, CUDA_CHECKPOINTED = 2, CUDA_FAILED = 3 };

struct cuda_uuid {
	unsigned char bytes[16];
};

struct cuda_lock_args {
	unsigned int timeout_ms; /* 0: no limit */
	unsigned int reserved0;
	uint64_t reserved1[7];
};

struct cuda_gpu_pair {
	struct cuda_uuid from, to;
};

struct cuda_restore_args {
	struct cuda_gpu_pair *pairs;
	unsigned int num_pairs;
	char reserved[64 - sizeof(struct cuda_gpu_pair *) - sizeof(unsigned int)];
};

_Static_assert(sizeof(struct cuda_lock_args) == 64, "CUcheckpointLockArgs");
_Static_assert(sizeof(struct cuda_restore_args) == 64, "CUcheckpointRestoreArgs");

struct nvml_memory {
	unsigned long long total, free, used;
};

typedef cuda_result (*cuda_init_fn)(unsigned int flags);
typedef cuda_result (*cuda_driver_version_fn)(int *version);
typedef cuda_result (*cuda_error_text_fn)(cuda_result error, const char **text);
typedef cuda_result (*cuda_device_count_fn)(int *count);
typedef cuda_result (*cuda_device_get_fn)(cuda_device *device, int ordinal);
typedef cuda_result (*cuda_device_name_fn)(char *name, int size, cuda_device device);
typedef cuda_result (*cuda_device_uuid_fn)(struct cuda_uuid *uuid, cuda_device device);
typedef cuda_result (*cuda_device_memory_fn)(size_t *bytes, cuda_device device);
typedef cuda_result (*cuda_device_bus_fn)(char *text, int size, cuda_device device);
typedef cuda_result (*cuda_process_state_fn)(int pid, int *state);
typedef cuda_result (*cuda_process_thread_fn)(int pid, int *tid);
typedef cuda_result (*cuda_process_lock_fn)(int pid, struct cuda_lock_args *args);
typedef cuda_result (*cuda_process_restore_fn)(int pid, struct cuda_restore_args *args);
typedef cuda_result (*cuda_process_plain_fn)(int pid, void *args); /* Checkpoint, Unlock */

typedef int (*nvml_plain_fn)(void);
typedef int (*nvml_text_fn)(char *text, unsigned int size);
typedef int (*nvml_by_uuid_fn)(const char *uuid, void **device);
typedef int (*nvml_memory_fn)(void *device, struct nvml_memory *memory);
