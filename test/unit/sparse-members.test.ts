// SPDX-License-Identifier: Apache-2.0
/** Files with holes in the tars of tmpfs come out as they were packed. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { closeSync, openSync, readSync, writeFileSync, writeSync, ftruncateSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { dataOf, readTar } from "../../formats/criu/archive/tmpfs.js";
import { readSparseMap } from "../../formats/criu/archive/sparse-member.js";
import { temporaryDirectory } from "../support/processes.js";

const size = 3_000_001;
const parts = [
  { at: 8192, text: "first" },
  { at: 1_048_576 + 77, text: "second".repeat(1000) },
  { at: size - 3, text: "end" },
];

function pack(directory: string, ...options: string[]): string {
  const fd = openSync(join(directory, "holes"), "w");
  ftruncateSync(fd, size);
  for (const { at, text } of parts) writeSync(fd, text, at);
  closeSync(fd);
  writeFileSync(join(directory, "plain"), "plain");
  const tar = join(directory, "files.tar.gz");
  const { status, stderr } = spawnSync("tar", ["-C", directory, "-czf", tar, "--sparse", ...options, "holes", "plain"], {
    encoding: "utf8",
  });
  assert.equal(status, 0, stderr);
  return tar;
}

for (const version of ["1.0", "0.1"]) {
  test(`holes of PAX version ${version}`, async (t) => {
    const tar = pack(temporaryDirectory(t), "--format=posix", `--sparse-version=${version}`);
    const { members, fd } = await readTar(tar);
    t.after(() => closeSync(fd));
    const [holes, plain] = ["holes", "plain"].map((name) => members.find(({ path }) => path === name));
    assert.ok(holes && plain);
    assert.equal(holes.size, BigInt(size));
    const data = dataOf(holes);
    assert.ok(data.reduce((sum, { length }) => sum + length, 0n) < 100_000n, "holes are none of the content");
    const content = Buffer.alloc(size);
    for (const { offset, length } of data) {
      const count = Math.min(Number(length), size - Number(offset));
      assert.equal(readSync(fd, content, Number(offset), count, Number(holes.position + offset)), count);
    }
    const wanted = Buffer.alloc(size);
    for (const { at, text } of parts) wanted.write(text, at);
    assert.equal(Buffer.compare(content, wanted), 0);
    const bytes = Buffer.alloc(5);
    readSync(fd, bytes, 0, 5, Number(plain.position));
    assert.equal(bytes.toString(), "plain");
  });
}

test("a form that is not read is refused", async (t) => {
  await assert.rejects(readTar(pack(temporaryDirectory(t), "--format=gnu")), /holes is sparse, in a form of tar that crimg does not read/);
});

test("a map of holes is believed only if it is one", () => {
  assert.equal(readSparseMap(Buffer.from("1\n0\n"), 9n), undefined);
  assert.deepEqual(readSparseMap(Buffer.from("1\n0\n5\n".padEnd(512, "\0")), 9n), { parts: [{ offset: 0n, length: 5n }], end: 512 });
  for (const wrong of ["x\n", "2\n0\n5\n3\n1\n", "1\n0\n10\n", "99999999999\n", "1".repeat(40)]) {
    assert.throws(() => readSparseMap(Buffer.from(wrong.padEnd(512, "\0")), 9n), RangeError, wrong);
  }
});
