// SPDX-License-Identifier: Apache-2.0
/**
 * Images that are damaged, and restore programs in which something fails, executed where they can do no harm: one clear
 * message, and nothing half-alive. `npm run trust` does the same with every op and thousands of images.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before } from "node:test";
import { argModeValues, expectValues, opKindValues } from "../../src/gen/restore-program.js";
import { failEveryOp } from "../../tools/trust/op-faults.js";
import { runHostile } from "../../tools/trust/hostile-images.js";
import { Jail, type Verdict } from "../../tools/trust/jail.js";
import { type Resumable, makeResumable, mendChecksum, opOffset, textOf, withImage } from "../../tools/trust/resumable.js";
import { Random } from "../../tools/fuzz/random.js";
import { projectRoot } from "../support/project.js";

const skip = process.getuid?.() !== 0 && "only root may make the namespaces that keep such images in";
const patience = 10_000;
let directory = "";
let jail: Jail;
let image: Resumable;

before(async () => {
  if (skip !== false) return;
  directory = mkdtempSync(join(tmpdir(), "crimg-test-"));
  jail = new Jail(join(projectRoot, "tools/trust/jail.c"), directory);
  image = await makeResumable(join(projectRoot, "tools/trust/tree.c"), directory);
});
after(() => rmSync(directory, { recursive: true, force: true }));

/** Executes a changed copy of the image. */
function execute(change: (bytes: Buffer) => Buffer | void, rights: "root" | "nobody" = "root"): Promise<Verdict> {
  const bytes = Buffer.from(image.bytes);
  return withImage(directory, "changed.elf", change(bytes) ?? bytes, (path) => jail.run(path, rights, patience));
}

function assertEnded(verdict: Verdict, status: number, message: RegExp): void {
  assert.match(verdict.stderr, message);
  assert.deepEqual([verdict.how, verdict.number, verdict.survivors], ["exit", status, 0], verdict.stderr);
}

/** Replaces the first op of a task whose message is `message` by one that writes to address 0. */
function faultAt(message: RegExp, subject: RegExp): (bytes: Buffer) => void {
  return (bytes) => {
    const index = image.ops.findIndex((_, at) => message.test(textOf(image, at, "message")) && subject.test(textOf(image, at, "subject")));
    assert.ok(index >= 0, `no op ${message}`);
    const at = opOffset(image, index);
    bytes.writeUInt8(opKindValues.store8, at);
    bytes.writeUInt8(expectValues.any, at + 1);
    bytes.fill(argModeValues.imm, at + 8, at + 14);
    bytes.writeBigUInt64LE(0n, at + 16);
    mendChecksum(bytes, image);
  };
}

test("the unchanged image resumes here", { skip }, async () => {
  for (const rights of ["root", "nobody"] as const)
    assert.deepEqual(await execute(() => undefined, rights), { how: "exit", number: 42, survivors: 0, stderr: "" });
});

test("a flipped bit in the restore program is told before anything is done", { skip }, async () => {
  for (const at of [image.program.start + 200, Math.floor((image.program.start + image.program.end) / 2), image.program.end - 1]) {
    const verdict = await execute((bytes) => void bytes.writeUInt8((bytes[at] ?? 0) ^ 1, at));
    assertEnded(verdict, 127, /^crimg: this image is damaged: the checksum of its restore program is wrong\n$/);
  }
});

test("a flipped bit in code of the interpreter that has not run is told", { skip }, async () => {
  // The padding behind the code is summed up as well.
  assertEnded(await execute((bytes) => void bytes.writeUInt8(1, image.pages.start - 1)), 127, /damaged: the checksum/);
});

test("a cut is told, wherever it is", { skip }, async () => {
  const places = [image.pages.start + 4096, image.pages.end, image.program.start + 64, image.program.end - 1];
  for (const at of places) assertEnded(await execute((bytes) => bytes.subarray(0, at)), 127, /^crimg: the image is truncated/);
});

test("pages that are cut short while the program is whole are named", { skip }, async () => {
  const index = image.ops.findIndex((_, at) => /bytes of .* from the image/.test(textOf(image, at, "message")));
  assert.ok(index >= 0);
  // The first read begins at the end of the file.
  const verdict = await execute((bytes) => {
    bytes.writeBigUInt64LE(BigInt(bytes.length - 5), opOffset(image, index) + 16 + 3 * 8);
    mendChecksum(bytes, image);
  });
  assertEnded(verdict, 125, /read \d+ bytes of .* from the image[\s\S]*truncated/);
});

test("an op that refers to what is not there is told before anything is done", { skip }, async () => {
  const spoil: Readonly<Record<string, (bytes: Buffer, at: number) => unknown>> = {
    kind: (bytes, at) => bytes.writeUInt8(99, at),
    expectation: (bytes, at) => bytes.writeUInt8(9, at + 1),
    mode: (bytes, at) => bytes.writeUInt8(77, at + 8),
    slot: (bytes, at) => bytes.writeUInt8(argModeValues.slot, at + 8) && bytes.writeUInt32LE(image.header.numSlots, at + 16),
    data: (bytes, at) => bytes.writeUInt8(argModeValues.mem8, at + 8) && bytes.writeBigUInt64LE(image.header.lenMemory, at + 16),
    store: (bytes, at) => bytes.writeUInt32LE(0xffff_fffe, at + 80),
    target: (bytes, at) => bytes.writeUInt32LE(image.ops.length, at + 84),
    message: (bytes, at) => bytes.writeUInt32LE(0xffff_fff0, at + 92),
    rows: (bytes, at) => {
      bytes.writeUInt8(opKindValues.each, at);
      bytes.fill(0, at + 8, at + 14);
      bytes.writeUInt8(argModeValues.data, at + 8);
      [image.header.lenData - 7n, 2n, 4n].forEach((value, index) => bytes.writeBigUInt64LE(value, at + 16 + 8 * index));
    },
  };
  for (const [what, change] of Object.entries(spoil)) {
    const verdict = await execute((bytes) => {
      change(bytes, opOffset(image, 7));
      mendChecksum(bytes, image);
    });
    assertEnded(verdict, 127, /^crimg: this image is damaged: op 7 of its restore program refers to what is not there\n$/);
    assert.ok(what);
  }
});

test("an op that asks its row for what that does not have fails, and so does one without a row", { skip }, async () => {
  const none = (bytes: Buffer): void => {
    const at = opOffset(image, image.header.entry);
    bytes.writeUInt8(0x40, at + 8);
    mendChecksum(bytes, image);
  };
  assertEnded(await execute(none), 125, /^crimg: block signals: Invalid argument\n$/);
  const beyond = (bytes: Buffer): void => {
    const index = image.ops.findIndex(({ modes }) => modes.some((mode) => (mode & 0x40) !== 0));
    const at = opOffset(image, index);
    const place = image.ops[index]?.modes.findIndex((mode) => (mode & 0x40) !== 0) ?? 0;
    bytes.writeBigUInt64LE(4094n, at + 16 + 8 * place);
    mendChecksum(bytes, image);
  };
  assertEnded(await execute(beyond), 125, /^crimg: [^\n]*: Invalid argument\n/);
});

test("a process that a fault kills while the tree is made is named, and all end", { skip }, async () => {
  for (const rights of ["root", "nobody"] as const) {
    for (const message of [/^set the umask$/, /^make thread/]) {
      const verdict = await execute(faultAt(message, /^task/), rights);
      assertEnded(verdict, 125, /^crimg: process \d+ was ended by signal 11 before the tree ran\n$/);
    }
  }
});

test("if the first process of a new namespace is killed, the one before it says so", { skip }, async () => {
  const verdict = await execute(faultAt(/^take hold of/, /^$/), "nobody");
  assertEnded(verdict, 125, /^crimg: the first process of the new pid namespace was killed before the tree ran/);
});

test("if the first process dies by a fault, nothing is left", { skip }, async () => {
  const verdict = await execute(faultAt(/^take hold of/, /^$/), "root");
  assert.deepEqual([verdict.how, verdict.number, verdict.survivors], ["signal", 11, 0]);
});

test("ops that fail are named, and nothing is left", { skip }, async () => {
  const result = await failEveryOp(image, jail, directory, [12], 24);
  assert.deepEqual(result.wrong, []);
  assert.ok(result.named > 20 && result.resumed > 0, JSON.stringify(result));
});

test("damaged images end in a message or a proper resume", { skip }, async () => {
  for (const [kind, count] of [
    ["damage", 40],
    ["cut", 20],
  ] as const) {
    const { examples, survivors } = await runHostile(image, jail, directory, kind, count, new Random(3));
    assert.deepEqual(examples, []);
    assert.equal(survivors, 0);
  }
});

test("a restore program made to do harm leaves nothing behind", { skip }, async () => {
  const { survivors } = await runHostile(image, jail, directory, "program", 30, new Random(4));
  assert.equal(survivors, 0);
});
