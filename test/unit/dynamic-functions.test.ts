// SPDX-License-Identifier: Apache-2.0
/** The functions of this kernel's vDSO are found, and nothing is believed of bytes that are none. */
import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import test from "node:test";
import { dynamicFunctions } from "../../src/elf/dynamic-functions.js";

function vdso(): Buffer {
  const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) .* \[vdso\]$/m.exec(readFileSync("/proc/self/maps", "latin1")) ?? [];
  const start = BigInt(`0x${from}`);
  const bytes = Buffer.alloc(Number(BigInt(`0x${to}`) - start));
  const fd = openSync("/proc/self/mem", "r");
  readSync(fd, bytes, 0, bytes.length, start);
  closeSync(fd);
  return bytes;
}

test("the vDSO exports what programs look up in it", () => {
  const functions = dynamicFunctions(vdso()) ?? assert.fail("none");
  for (const call of ["clock_gettime", "gettimeofday", "time", "getcpu"]) {
    const one = functions.find(({ name }) => name === `__vdso_${call}`) ?? assert.fail(call);
    assert.ok(one.size > 14 && one.offset > 0, call);
  }
});

test("bytes that are wrong or cut off give nothing that lies outside", () => {
  const image = vdso();
  assert.equal(dynamicFunctions(new Uint8Array(0)), undefined);
  assert.equal(dynamicFunctions(Buffer.alloc(8192)), undefined);
  for (let length = 0; length < 4096; length += 61) dynamicFunctions(image.subarray(0, length));
  for (let at = 0; at < 2048; at++) {
    for (const value of [0, 0x7f, 0xff]) {
      const changed = Buffer.from(image);
      changed[at] = value;
      for (const { offset, size } of dynamicFunctions(changed) ?? [])
        assert.ok(offset >= 0 && offset + size <= image.length, `${at} ${value}`);
    }
  }
});
