// SPDX-License-Identifier: Apache-2.0
/** Hundreds of anonymous mappings side by side: every boundary, flag and byte is back, in the program and in its child. */
import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { dumped, resume } from "../support/dump-and-resume.js";
import { compile, start, temporaryDirectory, until } from "../support/processes.js";

/** Mappings as smaps shows them: addresses, protection, name, flags. */
function mappingsOf(pid: number): string[] {
  const mappings: string[] = [];
  for (const line of readFileSync(`/proc/${pid}/smaps`, "utf8").split("\n")) {
    if (/^[0-9a-f]+-/.test(line)) mappings.push(line);
    // What was written to since a reset is not state of the program; see tree-state.ts for "ac".
    else if (line.startsWith("VmFlags:")) mappings.push(`${mappings.pop()} ${line.replaceAll(/ (sd|ac)\b/g, "").trim()}`);
  }
  return mappings.filter((line) => !/\[(stack|vvar|vdso)/.test(line));
}

/** Bytes, whatever their protection; zeros where nothing is mapped. */
function memoryOf(pid: number, address: bigint, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const fd = openSync(`/proc/${pid}/mem`, "r");
  try {
    for (let at = 0; at < length; at += 4096) {
      try {
        readSync(fd, bytes, at, 4096, address + BigInt(at));
      } catch {
        // A child has nothing where its parent has memory of MADV_DONTFORK.
      }
    }
  } finally {
    closeSync(fd);
  }
  return bytes;
}

const childOf = (pid: number): number => Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ")[0]);

for (const seed of [1, 2, 3]) {
  test(`neighbours of seed ${seed}`, { timeout: 60_000 }, async (t) => {
    const directory = temporaryDirectory(t);
    const child = start(t, compile("neighbours.c", directory), [String(seed)], { cwd: directory, stdio: ["ignore", "pipe", "ignore"] });
    let said = "";
    child.stdout?.on("data", (data) => (said += String(data)));
    await until("the arena is there", () => said.endsWith("\n"));
    child.stdout?.destroy();
    const [, address = "", length = ""] = /^ready 0x([0-9a-f]+) (\d+)\n$/.exec(said) ?? assert.fail(said);
    const [start_, size] = [BigInt(`0x${address}`), Number(length)];
    const lookAt = (pid: number) =>
      [pid, childOf(pid)].map((one) => ({ mappings: mappingsOf(one), memory: memoryOf(one, start_, size).toString("latin1") }));
    const { pid } = child;
    const before = lookAt(pid);
    assert.ok((before[0]?.mappings.length ?? 0) > 400, "there are many");
    const image = join(directory, "image.elf");
    await dumped(pid, image);
    const after = lookAt(resume(t, image, directory));
    before.forEach((one, index) => {
      assert.deepEqual(after[index]?.mappings, one.mappings);
      assert.ok(after[index]?.memory === one.memory, "every byte is back");
    });
  });
}
