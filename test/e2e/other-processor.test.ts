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

/** The same components where `to` has them. */
function moved(xstate: Uint8Array, from: XstateLayout, to: XstateLayout): Buffer {
  const inUse = Buffer.from(xstate).readBigUInt64LE(512);
  const area = Buffer.alloc(endOf(to, inUse));
  area.set(xstate.subarray(0, 576));
  for (const [component, { offset, size }] of to) {
    if (((inUse >> BigInt(component)) & 1n) === 0n) continue;
    const place = from.get(component)?.offset ?? assert.fail(`component ${component}`);
    area.set(xstate.subarray(place, place + size), offset);
  }
  return area;
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
  writeFileSync(json, JSON.stringify(document));
  const converted = crimg("convert", json, other);
  assert.equal(converted.status, 0, converted.stderr);
  start(t, other, [], { cwd: directory });
  await moreTicks(log, 3);
  assertUnbroken(log);
});
