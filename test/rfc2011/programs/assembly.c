// SPDX-License-Identifier: Apache-2.0
/* Memory filled by assembly, and values in every general register and in SSE and x87 registers, checked by assembly in
 * a loop that makes no system call: a dump meets it anywhere in the loop. */
#include "status.h"

static uint64_t pool[8192];

int main(void)
{
	status_open();
	asm volatile("cld; rep stosq" : : "D"(pool), "a"(0x0123456789abcdefull), "c"(8192ull) : "memory");
	status_ready();
	asm volatile(
		"mov $0x1111111111111111, %%r8\n\t"
		"mov $0x2222222222222222, %%r9\n\t"
		"mov $0x3333333333333333, %%r10\n\t"
		"mov $0x4444444444444444, %%r11\n\t"
		"mov $0x5555555555555555, %%r12\n\t"
		"mov $0x6666666666666666, %%r13\n\t"
		"movq %%r8, %%xmm5\n\t"
		"movq %%r13, %%xmm15\n\t"
		"fldpi\n\t"
		"mov %0, %%rbx\n\t"
		"mov %1, %%rsi\n"
		"1:\n\t"
		"mov %%rsi, %%rdi\n\t"
		"mov $8192, %%ecx\n\t"
		"mov $0x0123456789abcdef, %%rax\n\t"
		"repe scasq\n\t"
		"jne 2f\n\t"
		"mov $0x1111111111111111, %%rdx\n\t"
		"cmp %%rdx, %%r8\n\t"
		"jne 2f\n\t"
		"movq %%xmm5, %%rax\n\t"
		"cmp %%rdx, %%rax\n\t"
		"jne 2f\n\t"
		"lea (%%r8, %%r9), %%rdx\n\t"
		"cmp %%rdx, %%r10\n\t"
		"jne 2f\n\t"
		"lea (%%r8, %%r10), %%rdx\n\t"
		"cmp %%rdx, %%r11\n\t"
		"jne 2f\n\t"
		"lea (%%r9, %%r10), %%rdx\n\t"
		"cmp %%rdx, %%r12\n\t"
		"jne 2f\n\t"
		"movq %%xmm15, %%rdx\n\t"
		"cmp %%rdx, %%r13\n\t"
		"jne 2f\n\t"
		"fldpi\n\t"
		"fcomip %%st(1), %%st\n\t"
		"jne 2f\n\t"
		"jp 2f\n\t"
		"jmp 3f\n"
		"2:\n\t"
		"incq 16(%%rbx)\n"
		"3:\n\t"
		"incq 8(%%rbx)\n\t"
		"jmp 1b"
		: : "r"(STATUS), "r"(pool)
		: "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "xmm5", "xmm15", "memory", "cc");
	return 0;
}
