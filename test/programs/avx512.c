// SPDX-License-Identifier: Apache-2.0
// Holds a pattern in all 32 zmm and 8 mask registers (or 16 ymm without AVX-512) across a spin, over and over, and
// says "tick N" to the file in argv[1] when they are still what they were. "broken" is the last word if not.
#include <fcntl.h>
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static uint8_t in[32][64] __attribute__((aligned(64))), out[32][64] __attribute__((aligned(64)));
static uint64_t masks_in[8], masks_out[8];

#define Z(n, p) "vmovdqa64 " #n "*64(%" #p "), %%zmm" #n "\n"
#define S(n, p) "vmovdqa64 %%zmm" #n ", " #n "*64(%" #p ")\n"
#define K(n, p) "kmovq " #n "*8(%" #p "), %%k" #n "\n"
#define L(n, p) "kmovq %%k" #n ", " #n "*8(%" #p ")\n"
#define ALL32(X, p) X(0,p) X(1,p) X(2,p) X(3,p) X(4,p) X(5,p) X(6,p) X(7,p) X(8,p) X(9,p) X(10,p) X(11,p) X(12,p) X(13,p) X(14,p) X(15,p) \
    X(16,p) X(17,p) X(18,p) X(19,p) X(20,p) X(21,p) X(22,p) X(23,p) X(24,p) X(25,p) X(26,p) X(27,p) X(28,p) X(29,p) X(30,p) X(31,p)
#define ALL8(X, p) X(0,p) X(1,p) X(2,p) X(3,p) X(4,p) X(5,p) X(6,p) X(7,p)

__attribute__((target("avx512f,avx512bw"), noinline)) static void hold(uint64_t spins)
{
    __asm__ volatile(ALL32(Z, 1) ALL8(K, 3) "1: pause\n dec %0\n jnz 1b\n" ALL32(S, 2) ALL8(L, 4)
                     : "+r"(spins)
                     : "r"(in), "r"(out), "r"(masks_in), "r"(masks_out)
                     : "memory", "cc");
}

int main(int argc, char **argv)
{
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (argc < 2 || fd < 0)
        return 1;
    if (!__builtin_cpu_supports("avx512bw")) {
        dprintf(fd, "no AVX-512 here\n");
        return 0;
    }
    for (unsigned tick = 1;; tick++) {
        for (int r = 0; r < 32; r++)
            memset(in[r], (r * 7 + tick) & 255, 64);
        for (int k = 0; k < 8; k++)
            masks_in[k] = 0x0123456789abcdefull * (k + tick);
        hold(3000000);
        int ok = !memcmp(in, out, sizeof in) && !memcmp(masks_in, masks_out, sizeof masks_in);
        dprintf(fd, ok ? "tick %u\n" : "broken at %u\n", tick);
        if (!ok)
            return 1;
    }
}
