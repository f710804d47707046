// SPDX-License-Identifier: Apache-2.0
/** The vDSO of the running kernel. Checkpoints name it by its build-id and do not hold it. */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";

/** Larger than any vDSO. */
const maxBytes = 1 << 18;
let own: Uint8Array | undefined;

/** The bytes of this kernel's vDSO if it has this build-id, else undefined. */
export function ownVdso(buildId: Uint8Array): Uint8Array | undefined {
  own ??= readOwn();
  // The build-id stands in a note of the vDSO itself: nothing else in it holds these 20 bytes.
  return buildId.length >= 8 && Buffer.from(own.buffer, own.byteOffset, own.length).includes(Buffer.from(buildId)) ? own : undefined;
}

function readOwn(): Uint8Array {
  const none = new Uint8Array(0);
  try {
    const [, from, to] = /^([0-9a-f]+)-([0-9a-f]+) .* \[vdso\]$/m.exec(readFileSync("/proc/self/maps", "latin1")) ?? [];
    const start = BigInt(`0x${from}`);
    const length = Number(BigInt(`0x${to}`) - start);
    if (length > maxBytes) return none;
    const bytes = new Uint8Array(length);
    const fd = openSync("/proc/self/mem", "r");
    try {
      return readSync(fd, bytes, 0, length, start) === length ? bytes : none;
    } finally {
      closeSync(fd);
    }
  } catch {
    return none;
  }
}
