// SPDX-License-Identifier: Apache-2.0
/** Zstandard streams: whole ones, and what fzstd would read as if it were whole. */
import assert from "node:assert/strict";
import test from "node:test";
import { ZstdDecoder } from "../../src/bytes/zstd.js";

/** A frame (RFC 8878) of raw blocks, with the checksum of its content. */
const hello = Buffer.from("hello, checkpoint of a container\n");
const sumOfHello = [0x2e, 0xa9, 0xa9, 0xeb];

function frame(content: Buffer, sum: readonly number[]): Buffer {
  const header = [0x28, 0xb5, 0x2f, 0xfd, 0x24, content.length];
  const block = 1 | (content.length << 3);
  return Buffer.concat([Buffer.from([...header, block & 0xff, (block >> 8) & 0xff, block >> 16]), content, Buffer.from(sum)]);
}

async function decoded(bytes: Uint8Array, piece = bytes.length): Promise<string> {
  const parts: Buffer[] = [];
  const decoder = await ZstdDecoder.create((part) => parts.push(Buffer.from(part)));
  for (let at = 0; at < bytes.length; at += piece) decoder.push(bytes.subarray(at, at + piece));
  decoder.end();
  return Buffer.concat(parts).toString();
}

test("frames are decoded in pieces of any size, skippable ones passed over", async () => {
  const skipped = Buffer.from([0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
  const stream = Buffer.concat([frame(hello, sumOfHello), skipped, frame(hello, sumOfHello)]);
  for (const piece of [1, 3, 7, stream.length]) assert.equal(await decoded(stream, piece), `${hello}${hello}`);
});

test("a wrong checksum and a frame that is cut off are errors", async () => {
  const changed = frame(hello, sumOfHello);
  changed[12] = (changed[12] ?? 0) ^ 1;
  await assert.rejects(decoded(changed), /the checksum of a frame is wrong/);
  await assert.rejects(decoded(frame(hello, sumOfHello).subarray(0, 20)), /not whole/);
  await assert.rejects(decoded(Buffer.from("not zstd at all")), /does not begin/);
});
