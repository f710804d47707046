// SPDX-License-Identifier: Apache-2.0
/*
 * CRC-32C (Castagnoli, polynomial 0x1edc6f41, bits reflected, all ones before and after), the checksum of stored bytes.
 * The crc32 instruction of SSE 4.2 takes 8 bytes in a cycle but gives its result after three, so three parts are summed
 * side by side and put together by multiplication in the field: sum(AB) = sum(A) * x^(8 |B|) + sum(B). Where there are
 * carry-less multiplications of 512 bits (VPCLMULQDQ), 256 bytes are folded at once, which is twice as fast.
 */
#pragma once
#include <stdint.h>

/* What this processor has, and the last power of x that was needed: chunks are mostly of one length. */
struct crc32c {
	int has_words, has_blocks;
	uint32_t power;
	uint64_t power_bytes;
};

enum { CRC32C_POLYNOMIAL = 0x82f63b78, CRC32C_WORTH_PARTS = 1024, CRC32C_BLOCK = 256 };

static void crc32c_look(struct crc32c *state)
{
	uint32_t a = 1, b, c = 0, d, low, high;
	state->power_bytes = 0;
	state->power = 0;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	state->has_words = c >> 20 & 1; /* SSE 4.2 */
	state->has_blocks = 0;
	if (!(c >> 27 & 1)) return; /* no XGETBV */
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	a = 7;
	c = 0;
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	/* AVX-512F and VPCLMULQDQ, and a kernel that keeps their registers. */
	state->has_blocks = (low & 0xe6) == 0xe6 && b >> 16 & 1 && c >> 10 & 1;
}

/* a * b modulo the polynomial; bit 31 is x^0. */
static uint32_t crc32c_multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;
	for (int i = 0; i < 32; i++) {
		product ^= b & (0 - (a >> 31));
		a <<= 1;
		b = b >> 1 ^ (CRC32C_POLYNOMIAL & (0 - (b & 1)));
	}
	return product;
}

/* x^(8 bytes) */
static uint32_t crc32c_power(struct crc32c *state, uint64_t bytes)
{
	uint32_t power = 0x80000000, square = 0x00800000;
	if (state->power_bytes == bytes && bytes) return state->power;
	for (uint64_t rest = bytes; rest; rest >>= 1) {
		if (rest & 1) power = crc32c_multiply(power, square);
		square = crc32c_multiply(square, square);
	}
	state->power_bytes = bytes;
	state->power = power;
	return power;
}

static inline uint64_t crc32c_word(uint64_t sum, const uint8_t *at)
{
	__asm__("crc32q %1, %0" : "+r"(sum) : "m"(*(const uint64_t *)at));
	return sum;
}

typedef long long crc32c_wide __attribute__((vector_size(64), aligned(1), may_alias));

/*
 * Each 128 bits of `value`, moved on by some bytes: the low half, which is first in memory, times x^(8 bytes + 32), the high
 * half times x^(8 bytes - 32). Bits are reflected, so a product stands one place too low: constants are shifted by one.
 */
#define CRC32C_FOLD(value, constants) \
	((crc32c_wide)__builtin_ia32_vpclmulqdq_v8di((value), (constants), 0x00) ^ \
	 (crc32c_wide)__builtin_ia32_vpclmulqdq_v8di((value), (constants), 0x11))
#define CRC32C_CONSTANTS(low, high) { low, high, low, high, low, high, low, high }

/* As crc32c_words, for a multiple of 256 bytes. Needs AVX-512 and VPCLMULQDQ; leaves the vector registers zero. */
__attribute__((target("avx512f,vpclmulqdq,sse4.2"), noinline))
static uint32_t crc32c_blocks(uint32_t sum, const uint8_t *at, uint64_t length)
{
	const crc32c_wide by256 = CRC32C_CONSTANTS(0x0dcb17aa4, 0x0b9e02b86), by192 = CRC32C_CONSTANTS(0x0a87ab8a8, 0x0ab7aff2a),
			  by128 = CRC32C_CONSTANTS(0x06992cea2, 0x00d3b6092), by64 = CRC32C_CONSTANTS(0x0740eef02, 0x09e4addf8);
	const crc32c_wide *block = (const crc32c_wide *)at;
	crc32c_wide a = block[0], b = block[1], c = block[2], d = block[3];
	uint64_t rest[8];
	uint64_t result = 0;

	a ^= (crc32c_wide){ sum };
	for (length -= 256, block += 4; length; length -= 256, block += 4) {
		a = CRC32C_FOLD(a, by256) ^ block[0];
		b = CRC32C_FOLD(b, by256) ^ block[1];
		c = CRC32C_FOLD(c, by256) ^ block[2];
		d = CRC32C_FOLD(d, by256) ^ block[3];
	}
	*(crc32c_wide *)rest = CRC32C_FOLD(a, by192) ^ CRC32C_FOLD(b, by128) ^ CRC32C_FOLD(c, by64) ^ d;
	for (int i = 0; i < 8; i++) result = crc32c_word(result, (const uint8_t *)(rest + i));
	__asm__ volatile("vzeroall" : : : "memory");
	return (uint32_t)result;
}

/* Goes on with a sum (a CRC with all bits turned). Length is a multiple of 8. Needs `has_words`. */
static uint32_t crc32c_words(uint32_t sum, const uint8_t *at, uint64_t length, struct crc32c *state)
{
	if (state->has_blocks && length >= 2 * CRC32C_BLOCK) {
		uint64_t blocks = length & ~(uint64_t)(CRC32C_BLOCK - 1);
		sum = crc32c_blocks(sum, at, blocks);
		at += blocks;
		length -= blocks;
	}
	uint64_t first = sum;
	if (length >= CRC32C_WORTH_PARTS) {
		uint64_t part = length / 24 * 8, second = 0, third = 0;
		for (const uint8_t *end = at + part; at < end; at += 8) {
			first = crc32c_word(first, at);
			second = crc32c_word(second, at + part);
			third = crc32c_word(third, at + 2 * part);
		}
		uint32_t power = crc32c_power(state, part);
		first = crc32c_multiply((uint32_t)first, power) ^ second;
		first = crc32c_multiply((uint32_t)first, power) ^ third;
		at += 2 * part;
		length -= 3 * part;
	}
	for (; length; length -= 8, at += 8) first = crc32c_word(first, at);
	return (uint32_t)first;
}

/* A CRC as images have it: 0 stands for "none". */
static uint32_t crc32c_stored(uint32_t crc)
{
	return crc ? crc : 0xffffffff;
}
