// SPDX-License-Identifier: Apache-2.0
// Three processes with one thread each. Each holds values in all registers and in the red zone, now computing, now in a system
// call, and counts its rounds in a word of the file PROGRESS, which must have 3 words. What differs it tells on stderr, and ends.
// usage: alone PROGRESS
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

// Registers hold `seed` and what is made of it; spins, or waits for a millisecond, and then looks at them. Returns 0 if all hold.
static long round_trip(uint64_t seed, long waits)
{
    static const struct { long seconds, nanoseconds; } moment = { 0, 1000000 };
    static double one = 1;
    uint64_t wrong;
    __asm__ volatile(
        "movq %[seed], %%xmm3\n movq %[seed], %%xmm15\n punpcklqdq %%xmm15, %%xmm15\n fldl %[one]\n"
        "mov %[seed], -8(%%rsp)\n mov %[seed], -120(%%rsp)\n"
        "mov %[seed], %%rbx\n mov %[seed], %%r9\n mov %[seed], %%r12\n mov %[seed], %%r13\n mov %[seed], %%r14\n mov %[seed], %%r15\n"
        "test %[waits], %[waits]\n jz 1f\n"
        "mov $35, %%eax\n lea %[moment], %%rdi\n xor %%esi, %%esi\n syscall\n mov %%rax, %[wrong]\n jmp 3f\n"
        "1: mov $2000000, %%ecx\n 2: dec %%ecx\n jnz 2b\n xor %[wrong], %[wrong]\n"
        "3: movq %%xmm3, %%rdi\n xor %[seed], %%rdi\n or %%rdi, %[wrong]\n"
        "pextrq $1, %%xmm15, %%rdi\n xor %[seed], %%rdi\n or %%rdi, %[wrong]\n"
        "fsubl %[one]\n fstpl -16(%%rsp)\n or -16(%%rsp), %[wrong]\n"
        "mov -8(%%rsp), %%rdi\n xor %[seed], %%rdi\n or %%rdi, %[wrong]\n"
        "mov -120(%%rsp), %%rdi\n xor %[seed], %%rdi\n or %%rdi, %[wrong]\n"
        "xor %[seed], %%rbx\n or %%rbx, %[wrong]\n xor %[seed], %%r9\n or %%r9, %[wrong]\n xor %[seed], %%r12\n or %%r12, %[wrong]\n"
        "xor %[seed], %%r13\n or %%r13, %[wrong]\n xor %[seed], %%r14\n or %%r14, %[wrong]\n xor %[seed], %%r15\n or %%r15, %[wrong]\n"
        : [wrong] "=&r"(wrong)
        : [seed] "r"(seed), [waits] "r"(waits), [moment] "m"(moment), [one] "m"(one)
        : "rax", "rbx", "rcx", "rdi", "rsi", "r9", "r11", "r12", "r13", "r14", "r15", "xmm3", "xmm15", "memory", "cc");
    return wrong != 0;
}

int main(int count, char **words)
{
    int fd = count > 1 ? open(words[1], O_RDWR) : -1;
    volatile uint64_t *rounds = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int which = 0;
    if (fd < 0 || rounds == MAP_FAILED)
        return 2;
    for (int child = 1; child < 3; child++) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            which = child;
            break;
        }
    }
    for (uint64_t round = 1;; round++) {
        if (round_trip(round * 0x9e3779b97f4a7c15ull ^ (uint64_t)which, (long)(round & 1))) {
            dprintf(2, "process %d: a register changed in round %lu\n", which, (unsigned long)round);
            exit(1);
        }
        rounds[which] = round;
    }
}
