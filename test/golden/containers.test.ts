// SPDX-License-Identifier: Apache-2.0
/** A checkpoint that Podman and runc made: namespaces, mounts, contents of tmpfs and streams of the engine come into the model. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { readImage } from "../../formats/ckpt-elf/read.js";
import { namespacesOf } from "../../src/model/own-namespaces.js";
import { crimgCommand, projectRoot } from "../support/project.js";
import { run, temporaryDirectory } from "../support/processes.js";

const archive = join(projectRoot, "test/fixtures/containers/counter-volume.tar.gz");

test("a container without its root is refused, with it made executable", (t) => {
  const directory = temporaryDirectory(t);
  const root = join(directory, "root");
  mkdirSync(root);
  const image = join(directory, "image.elf");
  const convert = (...words: string[]) => run(crimgCommand, ["convert", archive, image, ...words]);

  const bare = convert();
  assert.equal(bare.status, 2, bare.stderr);
  assert.match(bare.stderr, /root directory of its own.*\n.*--rootfs DIR.*--here .* less confined/s);
  const halved = convert("--rootfs", root);
  assert.match(halved.stderr, /mounted from outside at \/data\n.*--mount \/data=PATH/);
  assert.ok(!existsSync(image));
  const wrong = convert("--rootfs", root, "--mount", "/nothing=/tmp");
  assert.match(wrong.stderr, /nothing of that name is mounted/);

  const whole = convert("--rootfs", root, "--mount", "/data=/tmp");
  assert.equal(whole.status, 0, whole.stderr);
  const checkpoint = readImage(image, {});
  t.after(() => checkpoint.close());
  const { tables } = checkpoint;
  const own = namespacesOf(tables, 0);
  assert.deepEqual(Object.keys(own).sort(), ["ipc", "mount", "network", "pid", "uts"]);
  assert.equal(tables.namespaces[own.uts ?? -1]?.hostName, "demo");
  const mounts = new Map(tables.mounts.map((row) => [row.point, row]));
  assert.equal(mounts.get("/")?.source, root);
  assert.equal(mounts.get("/data")?.source, "/tmp");
  assert.equal(mounts.get("/proc/keys")?.sameAs, tables.mounts.indexOf(mounts.get("/dev") ?? assert.fail("no /dev")));
  assert.match(mounts.get("/cache")?.options ?? "", /size=1024k/);
  // Every mount comes behind what it is mounted on.
  for (const [index, { parent }] of tables.mounts.entries()) assert.ok(parent === null ? index === 0 : parent < index);

  const cache = tables.mounts.indexOf(mounts.get("/cache") ?? assert.fail("no /cache"));
  const held = tables.mountEntries.find(({ mount, path }) => mount === cache && path === "held.dat") ?? assert.fail("no held.dat");
  const [extent] = checkpoint.extentsOf({ object: held.object ?? -1 });
  assert.ok((extent?.length ?? 0n) > 0n);
  const names = tables.mountEntries.filter(({ mount }) => tables.mounts[mount]?.point === "/dev").map(({ path }) => path);
  for (const name of ["", "null", "zero", "pts", "shm", "fd"]) assert.ok(names.includes(name), name);

  // What the engine reads is the caller's, the pipe inside is not.
  const kindOf = (fd: number): string | undefined => {
    const row = tables.descriptors.find((descriptor) => descriptor.task === 0 && descriptor.fd === fd)?.file;
    return tables.files[row ?? -1]?.kind;
  };
  assert.deepEqual([1, 2, 6].map(kindOf), ["inherited", "inherited", "pipe"]);

  const here = convert("--here", "--force");
  assert.equal(here.status, 0, here.stderr);
  assert.match(here.stderr, /less confined than it was: .*processes of this machine/);
  const back = run(crimgCommand, ["convert", archive, join(directory, "again"), "--to", "criu"]);
  assert.equal(back.status, 0, back.stderr);
  assert.doesNotMatch(back.stderr, /tree\.namespaces/);
  for (const name of ["mountpoints-13.img", "utsns-12.img", "descriptors.json"])
    assert.ok(existsSync(join(directory, "again", name)), name);
});
