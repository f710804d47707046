// SPDX-License-Identifier: Apache-2.0
/** Outputs get their name only when they are whole, and leave nothing otherwise. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { openOutput } from "../../src/ops/output.js";
import { temporaryDirectory } from "../support/processes.js";

test("a file is there whole after commit, with its mode, whatever the umask", (t) => {
  const directory = temporaryDirectory(t);
  const old = process.umask(0o777);
  t.after(() => process.umask(old));
  for (const [name, isExecutable, mode] of [
    ["a", true, 0o700],
    ["b", false, 0o600],
  ] as const) {
    const output = openOutput(join(directory, name), { shape: "file", isExecutable });
    writeSync(output.file().fd, "content");
    assert.ok(!existsSync(join(directory, name)));
    output.commit({ sync: true });
    output.discard();
    assert.equal(readFileSync(join(directory, name), "utf8"), "content");
    assert.equal(statSync(join(directory, name)).mode & 0o777, mode);
  }
  assert.deepEqual(readdirSync(directory).sort(), ["a", "b"]);
});

test("discard leaves nothing", (t) => {
  const directory = temporaryDirectory(t);
  for (const shape of ["file", "directory"] as const) {
    const output = openOutput(join(directory, shape), { shape });
    if (shape === "file") writeSync(output.file().fd, "content");
    else writeSync(output.create("one").fd, "content");
    output.discard();
  }
  assert.deepEqual(readdirSync(directory), []);
});

test("what exists is refused at once, and what appears meanwhile at commit", (t) => {
  const path = join(temporaryDirectory(t), "out");
  const output = openOutput(path, { shape: "file" });
  writeFileSync(path, "mine");
  assert.throws(() => output.commit(), { code: "output.exists" });
  output.discard();
  assert.throws(() => openOutput(path, { shape: "file" }), { code: "output.exists" });
  assert.equal(readFileSync(path, "utf8"), "mine");
});

test("force replaces a file in one step", (t) => {
  const path = join(temporaryDirectory(t), "out");
  writeFileSync(path, "old");
  const output = openOutput(path, { shape: "file", force: true });
  writeSync(output.file().fd, "new");
  assert.equal(readFileSync(path, "utf8"), "old");
  output.commit();
  assert.equal(readFileSync(path, "utf8"), "new");
});

test("an empty directory is filled, an image set replaced, anything else kept", (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, "set");
  mkdirSync(path);
  const first = openOutput(path, { shape: "directory" });
  writeSync(first.create("one").fd, "1");
  first.commit();
  assert.deepEqual(readdirSync(path), ["one"]);
  assert.throws(() => openOutput(path, { shape: "directory" }), { code: "output.exists" });
  assert.throws(() => openOutput(path, { shape: "directory", force: true, isReplaceable: () => false }), { code: "output.not-an-image" });
  const second = openOutput(path, { shape: "directory", force: true, isReplaceable: () => true });
  writeSync(second.create("two").fd, "2");
  second.commit();
  assert.deepEqual(readdirSync(path), ["two"]);
  assert.equal(statSync(path).mode & 0o777, 0o700);
  assert.deepEqual(readdirSync(directory), ["set"]);
});

test("names of files in a directory are one component", (t) => {
  const output = openOutput(join(temporaryDirectory(t), "set"), { shape: "directory" });
  for (const name of ["", ".", "..", "a/b", "../x", "a\0b"]) assert.throws(() => output.create(name), /not one path component/);
  output.discard();
});

test("a missing folder is named", (t) => {
  const path = join(temporaryDirectory(t), "no/such/out");
  assert.throws(() => openOutput(path, { shape: "file" }), { code: "output.no-folder" });
  assert.throws(() => openOutput(path, { shape: "directory" }), { code: "output.no-folder" });
  assert.throws(() => openOutput("-", { shape: "directory" }), { code: "output.not-a-stream" });
});
