// SPDX-License-Identifier: Apache-2.0
/** Images made by DMTCP: the memory is the program's, and what cannot be done with them is refused in words. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { convert, CrimgError, open } from "../../src/index.js";
import { fixtures } from "../support/project.js";

interface Truth {
  readonly processes: readonly {
    readonly cmdline: readonly string[];
    readonly environ: readonly string[];
    readonly vmas: readonly {
      readonly start: string;
      readonly end: string;
      readonly prot_bits: number;
      readonly file: string | null;
      readonly sha256?: string;
    }[];
    readonly memory: readonly { readonly name: string; readonly start: string; readonly length: number; readonly sha256: string }[];
  }[];
}

for (const name of ["plain", "gzip"]) {
  const folder = join(fixtures, "dmtcp", name);
  const image = join(folder, readdirSync(folder).find((file) => file.endsWith(".dmtcp")) ?? "");

  test(`${name}: mappings and memory equal truth.json`, async () => {
    const truth = (JSON.parse(readFileSync(join(folder, "truth.json"), "utf8")) as Truth).processes[0];
    assert.ok(truth);
    const checkpoint = await open(image);
    try {
      assert.equal(checkpoint.format.id, "dmtcp");
      const task = checkpoint.task(40000);
      assert.equal(task.name, "dm");
      // From the stack, as the kernel laid it out.
      assert.deepEqual(task.arguments, truth.cmdline);
      assert.deepEqual(task.environment, truth.environ);
      // Not in the image: [vsyscall], which no process can be without, and two areas that DMTCP makes anew on restart, its
      // reserve of addresses and the file that its processes share.
      const own = /^\[vsyscall\]$|\/dmtcpSharedArea|^\/dev\/zero \(deleted\)$/;
      const expected = truth.vmas
        .filter(({ file, prot_bits: bits }) => !(own.test(file ?? "") && (bits !== 3 || file?.includes("dmtcpSharedArea"))))
        .map(({ start, end, prot_bits: bits }) => `${BigInt(start)}-${BigInt(end)} ${bits}`);
      const found = checkpoint.model.tables.vmas.map(({ start, end, prot }) => `${start}-${end} ${prot}`);
      assert.deepEqual(
        expected.filter((area) => !found.includes(area)),
        [],
      );
      // The other way round, what its library mapped to write the image.
      assert.ok(found.length - expected.length <= 1);
      for (const range of truth.memory) {
        if (range.name === "fileshared" || range.name === "fileprivate") continue;
        const hash = createHash("sha256")
          .update(task.memory.read(BigInt(range.start), range.length))
          .digest("hex");
        assert.equal(hash, range.sha256, range.name);
      }
      const stack = truth.vmas.find(({ file }) => file === "[stack]");
      assert.ok(stack?.sha256);
      assert.ok(checkpoint.losses.some(({ code }) => code === "dmtcp.registers"));
    } finally {
      checkpoint.close();
    }
  });

  test(`${name}: converts to core and JSON, and to an executable only in words`, async () => {
    const directory = mkdtempSync(join(tmpdir(), "crimg-dmtcp-"));
    try {
      await convert(image, join(directory, "core.1"));
      await convert(image, join(directory, "image.json"));
      const again = await open(join(directory, "image.json"));
      assert.equal(again.task(40000).memory.read(0x3c000000n, 4)[0], 0x6f);
      again.close();
      const refusal = await convert(image, join(directory, "image.elf")).catch((error: unknown) => error);
      assert.ok(refusal instanceof CrimgError);
      assert.equal(refusal.code, "model.registers");
      assert.match(refusal.message, /no registers/);
      assert.match(refusal.hint ?? "", /dmtcp_restart/);
      assert.ok(!existsSync(join(directory, "image.elf")));
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  test(`${name}: damaged images are refused with a place, quickly`, async () => {
    const directory = mkdtempSync(join(tmpdir(), "crimg-dmtcp-"));
    const bytes = readFileSync(image);
    const path = join(directory, "bad");
    try {
      for (let round = 0; round < 60; round++) {
        const damaged = Buffer.from(bytes.subarray(0, round % 3 === 0 ? Math.floor((bytes.length * round) / 60) : bytes.length));
        // Headers are damaged more often than pages: that is where the decisions are.
        for (let count = 0; count < 4 && damaged.length > 0; count++) {
          damaged[(round * 7919 + count * 104729) % Math.min(damaged.length, 60000)] = (round * 31 + count) & 0xff;
        }
        writeFileSync(path, damaged);
        try {
          const checkpoint = await open(path, { from: "dmtcp" });
          for (const task of checkpoint.tasks) [task.maps, task.threads, task.descriptors];
          checkpoint.close();
        } catch (error) {
          assert.ok(error instanceof CrimgError, String(error));
        }
      }
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
}
