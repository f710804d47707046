// SPDX-License-Identifier: Apache-2.0
/* Compiled where the vendor's cuda.h is: what native/cuda/interface.h says of the interface is what that says. */
#include <cuda.h>
#include <stddef.h>
#include "../../native/cuda/interface.h"

#define SAME(what) _Static_assert(what, #what)
SAME(CUDA_RUNNING == CU_PROCESS_STATE_RUNNING && CUDA_LOCKED == CU_PROCESS_STATE_LOCKED);
SAME(CUDA_CHECKPOINTED == CU_PROCESS_STATE_CHECKPOINTED && CUDA_FAILED == CU_PROCESS_STATE_FAILED);
SAME(sizeof(struct cuda_lock_args) == sizeof(CUcheckpointLockArgs));
SAME(offsetof(struct cuda_lock_args, timeout_ms) == offsetof(CUcheckpointLockArgs, timeoutMs));
SAME(sizeof(CUcheckpointCheckpointArgs) == 64 && sizeof(CUcheckpointUnlockArgs) == 64);
SAME(sizeof(struct cuda_restore_args) == sizeof(CUcheckpointRestoreArgs));
#if CUDA_VERSION >= 13000
SAME(offsetof(struct cuda_restore_args, pairs) == offsetof(CUcheckpointRestoreArgs, gpuPairs));
SAME(offsetof(struct cuda_restore_args, num_pairs) == offsetof(CUcheckpointRestoreArgs, gpuPairsCount));
SAME(sizeof(struct cuda_gpu_pair) == sizeof(CUcheckpointGpuPair));
SAME(offsetof(struct cuda_gpu_pair, to) == offsetof(CUcheckpointGpuPair, newUuid));
#endif
