// SPDX-License-Identifier: Apache-2.0
/** What CRIU says of its own time: `stats-dump` in the folder of its images (images/stats.proto; MIT). */

/** Milliseconds from the freeze to the thaw. The file: two magic words and a length, 4 bytes each, then the message. */
export function frozenOf(file: Uint8Array): number {
  const dump = fieldsOf(file.subarray(12)).get(1);
  const frozen = dump instanceof Uint8Array ? fieldsOf(dump).get(2) : undefined;
  if (typeof frozen !== "number") throw new Error("stats-dump has no frozen_time");
  return frozen / 1000;
}

/** Varints and byte strings of a protobuf message, by number. */
function fieldsOf(bytes: Uint8Array): Map<number, number | Uint8Array> {
  const fields = new Map<number, number | Uint8Array>();
  let at = 0;
  const varint = (): number => {
    let [value, shift] = [0, 1];
    for (;;) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 0x7f) * shift;
      if (byte < 0x80) return value;
      shift *= 128;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    if ((key & 7) === 0) fields.set(key >> 3, varint());
    else if ((key & 7) === 2) {
      const length = varint();
      fields.set(key >> 3, bytes.subarray(at, at + length));
      at += length;
    } else throw new Error(`field ${key >> 3}: wire type ${key & 7}`);
  }
  return fields;
}
