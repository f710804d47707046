// SPDX-License-Identifier: Apache-2.0
/** Damaged and odd cores: a model or a located error, never anything else, and never much memory. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { convert, CrimgError, open } from "../../src/index.js";
import { fixtures } from "../support/project.js";

const directory = mkdtempSync(join(tmpdir(), "crimg-core-hostile-"));
test.after(() => rmSync(directory, { recursive: true, force: true }));

/** Opens and touches everything; returns the error, if one was thrown. */
async function look(path: string): Promise<CrimgError | undefined> {
  try {
    const checkpoint = await open(path, { from: "core" });
    try {
      for (const task of checkpoint.tasks) [task.maps, task.threads, task.descriptors, [...task.memory.runs(0n, 1n << 64n)]];
    } finally {
      checkpoint.close();
    }
    return undefined;
  } catch (error) {
    assert.ok(error instanceof CrimgError, error instanceof Error ? error.stack : String(error));
    return error;
  }
}

for (const name of ["gcore-single/core.739", "kernel-segv/core"]) {
  test(`${name} with bytes changed`, async () => {
    const bytes = readFileSync(join(fixtures, "core", name));
    const path = join(directory, "core");
    const notes = Number(bytes.readBigUInt64LE(64 + 8));
    for (let round = 0; round < 400; round++) {
      const damaged = Buffer.from(bytes);
      // Headers and notes are where the decisions are.
      const [from, length] = round % 2 === 0 ? [0, 64 + 14 * 56] : [notes, 4096];
      for (let count = 0; count < 3; count++)
        damaged[from + ((round * 7919 + count * 104729) % length)] = [0, 0xff, 0x80, round & 0xff][(round + count) % 4] ?? 0;
      writeFileSync(path, damaged);
      await look(path);
    }
  });

  test(`${name} cut off`, async () => {
    const bytes = readFileSync(join(fixtures, "core", name));
    const path = join(directory, "core");
    for (let length = 1; length < bytes.length; length += Math.ceil(bytes.length / 97)) {
      writeFileSync(path, bytes.subarray(0, length));
      const error = await look(path);
      if (error) assert.ok(error.source !== undefined || error.path !== undefined, error.message);
    }
  });
}

test("a core cut off in its memory says how many bytes are missing", async () => {
  const bytes = readFileSync(join(fixtures, "core/kernel-segv/core"));
  const path = join(directory, "short");
  writeFileSync(path, bytes.subarray(0, 0x1b000));
  const checkpoint = await open(path);
  const loss = checkpoint.losses.find(({ code }) => code === "core.truncated");
  assert.equal(loss?.count, bytes.length - 0x1b000);
  checkpoint.close();
});

test("a promise of 2^32 program headers is refused before anything is allocated", async () => {
  const head = Buffer.alloc(64 + 64);
  head.write("\x7fELF\x02\x01\x01", "latin1");
  head.writeUInt16LE(4, 16);
  head.writeUInt16LE(62, 18);
  head.writeUInt32LE(1, 20);
  head.writeBigUInt64LE(64n, 32);
  head.writeBigUInt64LE(64n, 40);
  head.writeUInt16LE(64, 52);
  head.writeUInt16LE(56, 54);
  head.writeUInt16LE(0xffff, 56);
  head.writeUInt16LE(64, 58);
  head.writeUInt16LE(1, 60);
  head.writeUInt32LE(0xffff_fff0, 64 + 44);
  const path = join(directory, "many");
  writeFileSync(path, head);
  const error = await look(path);
  assert.match(error?.code ?? "", /^(elf|bytes|core)\./);
});

test("more than 65,535 mappings use PN_XNUM, and come back", async () => {
  const count = 66_000;
  const hex = (value: number) => `0x${value.toString(16)}`;
  const vmas = Array.from({ length: count }, (_none, index) => ({
    mm: 0,
    kind: "anon_private",
    start: hex(0x10000000 + index * 0x2000),
    end: hex(0x10001000 + index * 0x2000),
    prot: index % 2 ? ["read"] : ["read", "write"],
  }));
  const document = {
    format: "crimg-json",
    version: [2, 0],
    tables: {
      checkpoint: [{ root_task: 0, page_size: 4096 }],
      tasks: [{ pid: 7, state: "running", mm: 0 }],
      threads: [{ task: 0, tid: 7, regs: { cs: "0x33" } }],
      mms: [{}],
      vmas,
    },
  };
  const source = join(directory, "many.json");
  const core = join(directory, "core.7");
  writeFileSync(source, JSON.stringify(document));
  await convert(source, core);
  const head = readFileSync(core).subarray(0, 64);
  assert.equal(head.readUInt16LE(56), 0xffff);
  const checkpoint = await open(core);
  assert.equal(checkpoint.task(7).maps.length, count);
  checkpoint.close();
  const readelf = spawnSync("readelf", ["-h", core], { encoding: "utf8" });
  if (!readelf.error) assert.match(readelf.stdout, /65535 \(66001\)/);
});
