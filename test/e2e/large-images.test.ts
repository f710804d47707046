// SPDX-License-Identifier: Apache-2.0
/** Conversions stream: memory does not grow with the image, and looking at one reads no pages. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { registry } from "../../formats/registry.js";
import { projectRoot } from "../support/project.js";
import { crimg } from "../support/processes.js";
import { writeJsonImage } from "../support/json-image.js";

const gib = 1n << 30n;
const directory = mkdtempSync(join(tmpdir(), "crimg-large-"));
test.after(() => rmSync(directory, { recursive: true, force: true }));

/** Runs a script that has the library as `crimg`; what it prints is JSON. */
function run(script: string): Record<string, number> {
  const library = JSON.stringify(join(projectRoot, "dist/src/index.js"));
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--input-type=module", "-e", `import * as crimg from ${library};\n${script}`],
    {
      encoding: "utf8",
      timeout: 240_000,
      cwd: directory,
    },
  );
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout) as Record<string, number>;
}

const large = join(directory, "large.json");

test("20 GiB of memory, most of it zero, convert within 150 MB, and no zeros are stored", async (t) => {
  writeJsonImage(large, { memoryBytes: 20n * gib, dataBytes: 64 << 20 });
  for (const to of ["core", "ckpt-elf", "json", "criu"].filter((id) => registry.ids.includes(id))) {
    await t.test(to, () => {
      const output = join(directory, `out.${to}`);
      const { maxRSS } = run(`
        await crimg.convert(${JSON.stringify(large)}, ${JSON.stringify(output)}, { to: ${JSON.stringify(to)} });
        console.log(JSON.stringify({ maxRSS: process.resourceUsage().maxRSS }));`);
      assert.ok((maxRSS ?? Infinity) < 150 * 1024, `${maxRSS} KiB`);
      const pages = [`${output}.pages`, join(output, "pages-1.img")].find((path) => existsSync(path)) ?? output;
      // Formats that say which memory is there leave the rest out, the others have holes.
      const isShort = to === "ckpt-elf" || to === "criu";
      assert.ok(isShort ? statSync(pages).size < 128 << 20 : statSync(pages).size >= Number(20n * gib), `${statSync(pages).size} bytes`);
      assert.ok(statSync(pages).blocks * 512 < 256 << 20, "holes were filled");
    });
  }
});

test("opening an image of 1 GiB and looking at it reads less than 2 MB", async (t) => {
  const source = join(directory, "gib.json");
  writeJsonImage(source, { memoryBytes: gib, dataBytes: 0 });
  for (const to of ["core", "ckpt-elf"].filter((id) => registry.ids.includes(id))) {
    await t.test(to, () => {
      const image = join(directory, `gib.${to}`);
      const { read } = run(`
        import { readFileSync } from "node:fs";
        await crimg.convert(${JSON.stringify(source)}, ${JSON.stringify(image)}, { to: ${JSON.stringify(to)} });
        const readSoFar = () => Number(/rchar: ([0-9]+)/.exec(readFileSync("/proc/self/io", "latin1"))[1]);
        const before = readSoFar();
        const checkpoint = await crimg.open(${JSON.stringify(image)});
        const task = checkpoint.task(4711);
        [task.maps, task.threads, task.descriptors, [...task.memory.runs(0n, 1n << 47n)]];
        task.memory.read(0x20000000n, 4096);
        checkpoint.close();
        console.log(JSON.stringify({ read: readSoFar() - before }));`);
      assert.ok((read ?? Infinity) < 2_000_000, `${read} bytes`);
    });
  }
});

test("the command reads less than 2 MB to show an image of 1 GiB, its own start included", async (t) => {
  const source = join(directory, "shown.json");
  writeJsonImage(source, { memoryBytes: gib, dataBytes: 0 });
  // The kernel counts what the command has read until it ends.
  const counter = join(directory, "count.cjs");
  writeFileSync(
    counter,
    `process.on("exit", () => require("fs").writeFileSync(process.env.COUNT, require("fs").readFileSync("/proc/self/io")));\n`,
  );
  const count = join(directory, "count");
  for (const to of ["ckpt-elf", "core", "json", "criu"].filter((id) => registry.ids.includes(id))) {
    await t.test(to, () => {
      const image = join(directory, `shown-as.${to}`);
      assert.equal(crimg("convert", source, image, "--to", to).status, 0);
      const { status, stderr } = spawnSync(join(projectRoot, "bin/crimg"), ["show", image], {
        encoding: "utf8",
        // A file of certificates that Node reads at its start where the caller's environment names one is not crimg's.
        env: { ...process.env, NODE_EXTRA_CA_CERTS: undefined, NODE_OPTIONS: `--require=${counter}`, COUNT: count },
      });
      assert.equal(status, 0, stderr);
      const read = Number(/rchar: ([0-9]+)/.exec(readFileSync(count, "latin1"))?.[1]);
      assert.ok(read < 2_000_000, `${read} bytes`);
    });
  }
});

test("reading memory loads what is asked for", () => {
  const { read } = run(`
    import { readFileSync } from "node:fs";
    const readSoFar = () => Number(/rchar: ([0-9]+)/.exec(readFileSync("/proc/self/io", "latin1"))[1]);
    const checkpoint = await crimg.open(${JSON.stringify(large)});
    const { memory } = checkpoint.task(4711);
    memory.read(0x10000000n, 16);
    const before = readSoFar();
    memory.read(0x10000000n + 4090n, 100);
    console.log(JSON.stringify({ read: readSoFar() - before }));
    checkpoint.close();`);
  // The look at /proc/self/io itself is a read of some hundred bytes.
  assert.ok((read ?? Infinity) < 1000, `${read} bytes`);
});
