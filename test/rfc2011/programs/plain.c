// SPDX-License-Identifier: Apache-2.0
/* One process, static: data, bss, heap, stack, an area that was never touched, one of zeros, one that is read-only. */
#include "status.h"

static unsigned char data[6000] = { 1 };
static unsigned char bss[9000];

int main(void)
{
	unsigned char stack[3000];
	unsigned char *heap = malloc(50000);
	unsigned char *readonly = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char *untouched = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(heap && readonly != MAP_FAILED && untouched != MAP_FAILED);
	status_open();
	fill(data, sizeof data, 1);
	fill(bss, sizeof bss, 2);
	fill(stack, sizeof stack, 3);
	fill(heap, 50000, 4);
	fill(readonly, 8192, 5);
	need(!mprotect(readonly, 8192, PROT_READ));
	double sum = 0.5;
	status_ready();
	for (double round = 1;; round++) {
		/* Exact in binary, and in a register or on the stack across the dump. */
		sum += 0.25;
		int is_sound = holds(data, sizeof data, 1) && holds(bss, sizeof bss, 2) && holds(stack, sizeof stack, 3) &&
			       holds(heap, 50000, 4) && holds(readonly, 8192, 5);
		status_round(is_sound && !untouched[0] && !untouched[8191] && sum == 0.5 + 0.25 * round);
	}
}
