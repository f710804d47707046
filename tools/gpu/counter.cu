// SPDX-License-Identifier: Apache-2.0
// counter LOG MIB: adds 1 to every word of MIB mebibytes of device memory a step, sums them up on the device, and logs
// "tick STEP SUM SECONDS"; the sum must be words * STEP, and what it was before the step, or it logs "broken".
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <unistd.h>

__global__ void increment(uint32_t *words, size_t count)
{
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < count; i += (size_t)gridDim.x * blockDim.x) words[i]++;
}

__global__ void add_up(const uint32_t *words, size_t count, unsigned long long *sum)
{
	unsigned long long own = 0;
	for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < count; i += (size_t)gridDim.x * blockDim.x) own += words[i];
	atomicAdd(sum, own);
}

static void check(cudaError_t error, const char *what)
{
	if (error == cudaSuccess) return;
	fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
	exit(3);
}

int main(int argc, char **argv)
{
	size_t count = (size_t)(argc > 2 ? atoi(argv[2]) : 256) << 18;
	FILE *log = fopen(argc > 1 ? argv[1] : "log", "w");
	uint32_t *words;
	unsigned long long *sum, found;
	if (!log) return 2;
	check(cudaMalloc(&words, count * sizeof *words), "cudaMalloc");
	check(cudaMalloc(&sum, sizeof *sum), "cudaMalloc");
	check(cudaMemset(words, 0, count * sizeof *words), "cudaMemset");
	for (unsigned long long step = 1;; step++) {
		increment<<<1024, 256>>>(words, count);
		check(cudaMemset(sum, 0, sizeof *sum), "cudaMemset");
		add_up<<<1024, 256>>>(words, count, sum);
		check(cudaMemcpy(&found, sum, sizeof found, cudaMemcpyDeviceToHost), "cudaMemcpy");
		timespec now;
		clock_gettime(CLOCK_REALTIME, &now);
		fprintf(log, "%s %llu %llu %lld.%06ld\n", found == count * step ? "tick" : "broken", step, found, (long long)now.tv_sec, now.tv_nsec / 1000);
		fflush(log);
		usleep(5000);
	}
}
