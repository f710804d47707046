// SPDX-License-Identifier: Apache-2.0
/** Files of a tree with a root of its own are looked for in that root, never at the same path of the machine. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { emptyTables, mountEntryRow, mountRow, namespaceRow, objectRow } from "../../src/gen/tables.js";
import { placeOf } from "../../src/model/root-files.js";
import { MappedFiles } from "../../src/pages/mapped-files.js";
import { temporaryDirectory } from "../support/processes.js";

function contained(source: string): ReturnType<typeof emptyTables> {
  const tables = emptyTables();
  tables.namespaces.push(namespaceRow({ kind: "mount" }));
  tables.mounts.push(
    mountRow({ namespace: 0, parent: null, origin: "rootfs", point: "/", fsType: "overlay", source }),
    mountRow({ namespace: 0, parent: 0, origin: "external", point: "/data", fsType: "ext4", source: "/srv/volume" }),
    mountRow({ namespace: 0, parent: 0, origin: "made", point: "/dev", fsType: "tmpfs", source: "tmpfs" }),
    mountRow({ namespace: 0, parent: 2, origin: "bind", sameAs: 2, point: "/proc/keys", root: "/null", source: "/dev/null" }),
  );
  tables.mountEntries.push(mountEntryRow({ mount: 0, path: "etc/changed", mode: 0o100644 }));
  return tables;
}

test("paths of a tree with a root of its own", () => {
  const tables = contained("/srv/root");
  const places = ["/bin/sh", "/data/x/y", "/data", "/dev/shm/a", "/proc/keys", "/etc/changed", "/"].map((path) => placeOf(tables, path));
  assert.deepEqual(places, ["/srv/root/bin/sh", "/srv/volume/x/y", "/srv/volume", undefined, undefined, undefined, "/srv/root"]);
  assert.equal(placeOf(contained(""), "/bin/sh"), undefined);
  assert.equal(placeOf(emptyTables(), "/bin/sh"), "/bin/sh");
});

test("a mapped file is that of the root, or none", (t) => {
  const directory = temporaryDirectory(t);
  mkdirSync(join(directory, "bin"));
  writeFileSync(join(directory, "bin/sh"), "of the container");
  const ofRoot = contained(directory);
  ofRoot.objects.push(objectRow({ kind: "file", path: "/bin/sh", size: 16n }));
  const files = new MappedFiles(ofRoot);
  t.after(() => files.close());
  const into = new Uint8Array(16);
  files.read(0, 0n, into);
  assert.equal(Buffer.from(into).toString(), "of the container");

  // The machine has a /bin/sh as well.
  const unknown = contained("");
  unknown.objects.push(objectRow({ kind: "file", path: "/bin/sh" }));
  const file = new MappedFiles(unknown).get(0);
  assert.match("refusal" in file ? file.refusal : "", /\/bin\/sh lies in the tree's own root directory, which is not known here/);
});
