// SPDX-License-Identifier: Apache-2.0
/** A flipped bit anywhere in an image is found by validate, and stops a conversion. */
import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import fc from "fast-check";
import { registry } from "../../../formats/registry.js";
import { convert } from "../../../src/ops/convert.js";
import { validate } from "../../../src/ops/validate.js";
import { smallImage } from "../../support/images.js";
import { temporaryDirectory } from "../../support/processes.js";

/** Places where parts of an image begin and end: the edges of its sections and headers. */
function edges(image: Buffer): number[] {
  const places = [0, 7, 15, 16, 63, 64, 64 + 5 * 56, 4095, 4096];
  const sections = Number(image.readBigUInt64LE(40));
  for (let at = sections; at + 64 <= image.length; at += 64) {
    const [start, length] = [Number(image.readBigUInt64LE(at + 24)), Number(image.readBigUInt64LE(at + 32))];
    places.push(at, at + 63, start, start + length - 1, start + length);
  }
  return [...new Set(places)].filter((place) => place >= 0 && place < image.length);
}

test("validate finds every flipped bit", { timeout: 240_000 }, async (t) => {
  const image = await smallImage(temporaryDirectory(t));
  const bytes = readFileSync(image);
  const isFound = async (at: number, bit: number): Promise<void> => {
    const fd = openSync(image, "r+");
    try {
      writeSync(fd, Uint8Array.of((bytes[at] ?? 0) ^ (1 << bit)), 0, 1, at);
      const { findings, unjudged } = await validate(image, { registry, profile: "format" });
      const isSeen = unjudged !== undefined || findings.some(({ severity }) => severity === "error");
      assert.ok(isSeen, `bit ${bit} of byte ${at} (0x${at.toString(16)})`);
    } finally {
      writeSync(fd, bytes.subarray(at, at + 1), 0, 1, at);
      closeSync(fd);
    }
  };
  for (const at of edges(bytes)) await isFound(at, at % 8);
  await fc.assert(fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(7), isFound), { numRuns: 250 });
  assert.deepEqual((await validate(image, { registry, profile: "format" })).findings, []);
});

test("a conversion stops at damage, unless it is told not to look", async (t) => {
  const directory = temporaryDirectory(t);
  const image = await smallImage(directory);
  const bytes = readFileSync(image);
  const pages = Number(bytes.readBigUInt64LE(64 + 56 + 8));
  for (const [name, at, code] of [
    ["headers", 4000, "ckpt-elf.checksum"],
    ["pages", pages + 77, "pages.checksum"],
    ["tables", Number(bytes.readBigUInt64LE(64 + 2 * 56 + 8)) + 8, undefined],
  ] as const) {
    const path = join(directory, `${name}.elf`);
    const changed = Buffer.from(bytes);
    changed.writeUInt8((changed[at] ?? 0) ^ 4, at);
    writeFileSync(path, changed);
    await assert.rejects(convert(path, join(directory, `${name}.json`), { registry }), code === undefined ? Error : { code });
    if (code !== undefined) await convert(path, join(directory, `${name}.json`), { registry, verify: false });
  }
});
