// SPDX-License-Identifier: Apache-2.0
/** A program comes back on a kernel with another vDSO: what it looked up in the old one goes on working. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { Image } from "../support/restore-model/image.js";
import { Machine } from "../support/restore-model/machine.js";
import { assertUnbroken, moreTicks } from "../support/cycle.js";
import { dumped, resume } from "../support/dump-and-resume.js";
import { compile, crimg, run, start, temporaryDirectory } from "../support/processes.js";

interface Document {
  tables: {
    checkpoint: { vdso_build_id: string }[];
    vdso_images: { image: string }[];
    vmas: { kind: string; start: string; end: string; mm: number }[];
    threads: { regs: { ip: string } }[];
  };
}

/** The image as if another kernel had made it. */
function ofAnotherKernel(image: string, directory: string, change: (document: Document) => void = () => {}): string {
  const [json, other] = [join(directory, "image.json"), join(directory, "other.elf")];
  const written = crimg("convert", image, json, "-f");
  assert.equal(written.status, 0, written.stderr);
  const document = JSON.parse(readFileSync(json, "utf8")) as Document;
  const [row] = document.tables.checkpoint;
  assert.ok(row !== undefined && Buffer.from(row.vdso_build_id, "base64").length === 20, "the build-id is known");
  row.vdso_build_id = Buffer.alloc(20, 0xab).toString("base64");
  change(document);
  writeFileSync(json, JSON.stringify(document));
  const read = crimg("convert", json, other, "-f");
  assert.equal(read.status, 0, read.stderr);
  return other;
}

test("another vDSO: calls go on, and after a second dump, here and on a third kernel", { timeout: 120_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const [log, image] = [join(directory, "log"), join(directory, "image.elf")];
  let { pid } = start(t, compile("calls-vdso.c", directory), [log], { cwd: directory });
  await moreTicks(log, 3);
  await dumped(pid, image);
  // Once elsewhere, once here again, and on a third kernel.
  for (const isOther of [true, false, true]) {
    const next = isOther ? ofAnotherKernel(image, directory) : image;
    pid = resume(t, next, directory);
    await moreTicks(log, 10);
    assert.match(readFileSync(`/proc/${pid}/maps`, "latin1"), /\[vdso\]/);
    await dumped(pid, image, "-f");
  }
  assertUnbroken(log);
});

test("another vDSO: validate tells, and what cannot be done is refused", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const [log, image] = [join(directory, "log"), join(directory, "image.elf")];
  const { pid } = start(t, compile("calls-vdso.c", directory), [log], { cwd: directory });
  await moreTicks(log, 2);
  await dumped(pid, image);
  assert.doesNotMatch(crimg("validate", "--profile", "host", image).stdout, /vdso/);
  assert.match(crimg("validate", "--profile", "host", ofAnotherKernel(image, directory)).stdout, /note.*host\.vdso-redirected/);
  const without = ofAnotherKernel(image, directory, ({ tables }) => void (tables.vdso_images = []));
  assert.match(crimg("validate", "--profile", "host", without).stdout, /error.*host\.vdso\b/);
  const refused = run(without, []);
  assert.equal(refused.status, 125);
  assert.match(refused.stderr, /vDSO is another than at the dump, whose code is not in the image/);
  const inside = ofAnotherKernel(image, directory, ({ tables }) => {
    const [vdso] = tables.vmas.filter(({ kind }) => kind === "vdso");
    const [thread] = tables.threads;
    assert.ok(vdso && thread);
    thread.regs.ip = vdso.start;
  });
  const stood = run(inside, []);
  assert.equal(stood.status, 125);
  assert.match(stood.stderr, /thread \d+ stood in its code\n.*resume on the kernel build/s);
});

test("another vDSO: the second interpreter maps both, with jumps and calls", { timeout: 60_000 }, async (t) => {
  const directory = temporaryDirectory(t);
  const [log, image] = [join(directory, "log"), join(directory, "image.elf")];
  const { pid } = start(t, compile("calls-vdso.c", directory), [log], { cwd: directory });
  await moreTicks(log, 2);
  await dumped(pid, image);
  const program = new Image(image);
  t.after(() => program.close());
  const machine = new Machine(program, { otherVdso: ["__vdso_clock_gettime"] });
  machine.run();
  const [process] = machine.processes.filter((one) => one.pid === pid);
  assert.ok(process);
  const [kernels] = process.mappings.list.filter(({ file }) => file === "[vdso]");
  assert.ok(kernels, "the running kernel's is there");
  const [[start_, code] = []] = [...process.written];
  assert.ok(start_ !== undefined && code !== undefined, "the old one is there");
  assert.equal(process.mappings.at(start_)?.prot, 5);
  const bytes = Buffer.from(code);
  // The one function that this kernel has is in its code, behind six pages of data; for the others the call is made.
  const target = Buffer.alloc(14);
  target.write("ff2500000000", "hex");
  target.writeBigUInt64LE(kernels.start + 0x6000n + 0x100n, 6);
  assert.notEqual(bytes.indexOf(target), -1, "a jump");
  for (const call of ["60000000", "c9000000", "35010000", "e5000000"])
    assert.notEqual(bytes.indexOf(`b8${call}0f05c3`, 0, "hex"), -1, call);
});
