// SPDX-License-Identifier: Apache-2.0
/** Byte strings that are kept once, however often they occur: extended registers of thousands of threads. */

/** The whole words of 4 bytes; a copy of them where they do not lie as words do. */
function wordsOf(bytes: Uint8Array): Uint32Array {
  const whole = bytes.length & ~3;
  if (bytes.byteOffset % 4 === 0) return new Uint32Array(bytes.buffer, bytes.byteOffset, whole / 4);
  return new Uint32Array(bytes.slice(0, whole).buffer, 0, whole / 4);
}

/** A hash of the length and the bytes, but for up to three at the end. */
function hashOf(bytes: Uint8Array): number {
  let hash = bytes.length;
  for (const word of wordsOf(bytes)) hash = Math.imul(hash ^ word, 0x9e3779b1) ^ (hash >>> 15);
  return hash >>> 0;
}

/** Whether two byte strings are the same. */
export function areEqual(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false;
  const [words, others] = [wordsOf(one), wordsOf(other)];
  for (let index = 0; index < words.length; index++) if (words[index] !== others[index]) return false;
  for (let index = one.length & ~3; index < one.length; index++) if (one[index] !== other[index]) return false;
  return true;
}

/** Values by byte strings, of which equal ones are one key. */
export class BytesMap<Value> {
  readonly #known = new Map<number, { readonly bytes: Uint8Array; readonly value: Value }[]>();

  /** The value of equal bytes; where there is none, `make` gives one and the bytes that are its key (unchanged from then on). */
  getOrMake(bytes: Uint8Array, make: () => { readonly bytes: Uint8Array; readonly value: Value }): Value {
    const hash = hashOf(bytes);
    const alike = this.#known.get(hash);
    const known = alike?.find((one) => areEqual(one.bytes, bytes));
    if (known !== undefined) return known.value;
    const made = make();
    if (alike === undefined) this.#known.set(hash, [made]);
    else alike.push(made);
    return made.value;
  }
}

export class InternedBytes {
  readonly #known = new BytesMap<Uint8Array>();

  /** Bytes that are equal, the same for all that are: a copy, so that what they are a view of can go. */
  of(bytes: Uint8Array): Uint8Array {
    return this.#known.getOrMake(bytes, () => {
      const copy = Uint8Array.from(bytes);
      return { bytes: copy, value: copy };
    });
  }
}
