// SPDX-License-Identifier: Apache-2.0
/**
 * Text as the kernel has it: usually UTF-8, but any bytes without NUL. Bytes that are not valid UTF-8 become the
 * lone surrogates U+DC80…U+DCFF (byte 0x80 + n ↔ U+DC80 + n), as Python's "surrogateescape" does, so that decoding
 * and encoding lose nothing and JSON can carry the result.
 */
import { CrimgError } from "../errors/crimg-error.js";

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** With the u flag, a class of surrogates matches lone ones only. */
const loneSurrogate = /[\ud800-\udfff]/u;
const encoder = new TextEncoder();

/** Text of bytes; `encodeText` gives the same bytes back. */
export function decodeText(bytes: Uint8Array): string {
  let text = "";
  let isAscii = bytes.length < 64;
  for (let index = 0; isAscii && index < bytes.length; index++) {
    const byte = bytes[index] ?? 0;
    if (byte < 0x80) text += String.fromCharCode(byte);
    else isAscii = false;
  }
  if (isAscii) return text;
  try {
    return strict.decode(bytes);
  } catch {
    return decodeEscaped(bytes);
  }
}

/** Decodes character by character; whatever is not one is escaped. */
function decodeEscaped(bytes: Uint8Array): string {
  const parts: string[] = [];
  let index = 0;
  while (index < bytes.length) {
    const length = sequenceLength(bytes[index] ?? 0);
    let character: string | undefined;
    if (length > 0 && index + length <= bytes.length) {
      try {
        character = strict.decode(bytes.subarray(index, index + length));
      } catch {
        character = undefined;
      }
    }
    parts.push(character ?? String.fromCharCode(0xdc00 + (bytes[index] ?? 0)));
    index += character === undefined ? 1 : length;
  }
  return parts.join("");
}

/** Bytes of the UTF-8 sequence that a byte starts; 0 if it starts none. */
function sequenceLength(lead: number): number {
  if (lead < 0x80) return 1;
  if (lead < 0xc2) return 0;
  if (lead < 0xe0) return 2;
  if (lead < 0xf0) return 3;
  return lead < 0xf5 ? 4 : 0;
}

/** Whether `encodeText` has to look at each character. */
export function hasLoneSurrogate(text: string): boolean {
  return loneSurrogate.test(text);
}

/**
 * Bytes of text.
 * @throws CrimgError `text.surrogate` for a lone surrogate that stands for no byte.
 */
export function encodeText(text: string): Uint8Array {
  if (!loneSurrogate.test(text)) return encoder.encode(text);
  const parts: Uint8Array[] = [];
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (code < 0xd800 || code > 0xdfff) parts.push(encoder.encode(character));
    else if (code >= 0xdc80 && code <= 0xdcff) parts.push(Uint8Array.of(code - 0xdc00));
    else throw new CrimgError("text.surrogate", `expected text, found the lone surrogate U+${code.toString(16).toUpperCase()}`);
  }
  return Buffer.concat(parts);
}
