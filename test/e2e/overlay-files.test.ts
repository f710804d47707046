// SPDX-License-Identifier: Apache-2.0
/** A file of a layer below that was removed of what overlayfs shows has a link left there, and is a removed file all the same. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { assertUnbroken, moreTicks } from "../support/cycle.js";
import { dumped, resume } from "../support/dump-and-resume.js";
import { start, temporaryDirectory } from "../support/processes.js";

const skip = process.getuid?.() !== 0 && "mounts overlayfs";

const program = `
import os, sys, time
log = open(sys.argv[2], "a")
os.chdir(sys.argv[1])
removed, changed = os.open("removed", os.O_RDONLY), os.open("changed", os.O_RDWR)
os.unlink("removed")
os.unlink("changed")
os.pwrite(changed, b"x", 0)
number = 0
while True:
    number += 1
    good = os.pread(removed, 99, 0) == b"one\\n" and os.pread(changed, 99, 0) == b"xwo\\n"
    print(f"tick {number}" if good else "broken", file=log, flush=True)
    time.sleep(0.02)
`;

test("files of a lower layer that were removed come back as removed files", { skip, timeout: 60_000 }, async (t) => {
  const mounted: string[] = [];
  // Before the directory goes that they are in.
  t.after(() => void spawnSync("umount", ["-l", ...mounted]));
  const directory = temporaryDirectory(t);
  const [lower, upper, work, merged, layers] = ["lower", "layers/upper", "layers/work", "merged", "layers"].map((name) =>
    join(directory, name),
  );
  assert.ok(lower && upper && work && merged && layers);
  for (const path of [lower, merged, layers]) mkdirSync(path, { recursive: true });
  mounted.push(merged, layers);
  assert.equal(spawnSync("mount", ["-t", "tmpfs", "none", layers]).status, 0);
  for (const path of [upper, work]) mkdirSync(path);
  writeFileSync(join(lower, "removed"), "one\n");
  writeFileSync(join(lower, "changed"), "two\n");
  const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
  if (spawnSync("mount", ["-t", "overlay", "overlay", "-o", options, merged]).status !== 0) return t.skip("no overlayfs here");

  const [log, image] = [join(directory, "log"), join(directory, "image.elf")];
  const { pid } = start(t, "python3", ["-c", program, merged, log], { cwd: directory });
  await moreTicks(log, 3);
  await dumped(pid, image);
  const again = resume(t, image, directory);
  await moreTicks(log, 5);
  assertUnbroken(log);
  assert.equal(readlinkSync(`/proc/${again}/fd/4`), `${merged}/removed (deleted)`);
});
