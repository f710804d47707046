// SPDX-License-Identifier: Apache-2.0
/** Extended registers of a processor of another maker, which keeps them elsewhere: the image puts them where they belong. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { amdLayout, endOf, intelLayout, type XstateLayout, xstateLayout } from "../../src/model/xstate-layout.js";
import { cpuid } from "../../src/native/index.js";
import { assertUnbroken, moreTicks, ticks } from "../support/cycle.js";
import { compile, crimg, start, temporaryDirectory, until } from "../support/processes.js";

interface Document {
  readonly tables: { readonly threads: { xstate: string }[]; readonly checkpoint: { xfeatures: string }[] };
}

/** x87, SSE, AVX, AVX-512 and PKRU: what processors of either maker have. */
const common = 0x2e7n;

/**
 * The same components where `to` has them, as if no others were known there (Intel's MPX, AMX, APX …): XCR0 and
 * XSTATE_BV say so too. Components that were in use and stay behind must be in their initial state, all zeros.
 */
function moved(xstate: Uint8Array, from: XstateLayout, to: XstateLayout): Buffer {
  const source = Buffer.from(xstate);
  const inUse = source.readBigUInt64LE(512);
  for (const [component, { offset, size }] of from) {
    if (((inUse & ~common) >> BigInt(component)) & 1n)
      assert.ok(
        xstate.subarray(offset, offset + size).every((byte) => byte === 0),
        `component ${component} is in use`,
      );
  }
  const area = Buffer.alloc(endOf(to, inUse & common));
  area.set(xstate.subarray(0, 576));
  area.writeBigUInt64LE(source.readBigUInt64LE(464) & common, 464);
  area.writeBigUInt64LE(inUse & common, 512);
  for (const [component, { offset, size }] of to) {
    if (((inUse & common) >> BigInt(component)) & 1n) {
      const place = from.get(component)?.offset ?? assert.fail(`component ${component}`);
      area.set(xstate.subarray(place, place + size), offset);
    }
  }
  return area;
}

for (const [from, to] of [
  [intelLayout, amdLayout],
  [amdLayout, intelLayout],
] as const) {
  test(`an area of ${from === intelLayout ? "an Intel processor with MPX and AMX" : "an AMD processor"} is moved`, () => {
    const features = from === intelLayout ? 0x602ffn : common;
    const area = Buffer.alloc(endOf(from, features));
    area.writeBigUInt64LE(features, 464);
    // AMX counts as in use as soon as somebody looked at it, with nothing in it.
    area.writeBigUInt64LE(features & ~(1n << 18n), 512);
    for (const [component, { offset, size }] of from) if ((common >> BigInt(component)) & 1n) area.fill(component, offset, offset + size);
    assert.equal(xstateLayout(area), from);
    const there = moved(area, from, to);
    assert.equal(xstateLayout(there), to);
    for (const [component, { offset, size }] of to)
      if ((common >> BigInt(component)) & 1n) assert.ok(there.subarray(offset, offset + size).every((byte) => byte === component));
  });
}

test("AVX-512 registers of the other maker", { timeout: 120_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const [log, image, json, other] = ["log", "image.elf", "image.json", "other.elf"].map((name) => join(directory, name)) as [
    string,
    string,
    string,
    string,
  ];
  const { pid } = start(t, compile("avx512.c", directory), [log], { cwd: directory });
  await until("it has begun", () => existsSync(log) && readFileSync(log, "utf8").length > 0);
  if (!ticks(log).length) return t.skip("this CPU has no AVX-512");
  await moreTicks(log, 3);
  assert.equal(crimg("dump", String(pid), "-o", image).status, 0);
  assert.equal(crimg("convert", image, json, "--to", "json").status, 0);
  const document = JSON.parse(readFileSync(json, "utf8")) as Document;
  const here = cpuid(0xd, 6)[1] === amdLayout.get(6)?.offset ? amdLayout : intelLayout;
  const there = here === amdLayout ? intelLayout : amdLayout;
  for (const thread of document.tables.threads) {
    const xstate = moved(Buffer.from(thread.xstate, "base64"), here, there);
    assert.equal(xstateLayout(xstate), there);
    thread.xstate = xstate.toString("base64");
  }
  for (const row of document.tables.checkpoint) row.xfeatures = `0x${(BigInt(row.xfeatures) & common).toString(16)}`;
  writeFileSync(json, JSON.stringify(document));
  const converted = crimg("convert", json, other);
  assert.equal(converted.status, 0, converted.stderr);
  start(t, other, [], { cwd: directory });
  await moreTicks(log, 3);
  assertUnbroken(log);
});
