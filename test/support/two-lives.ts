// SPDX-License-Identifier: Apache-2.0
/** A real program through two images: dumped, gone, resumed by `./image.elf`, looked at, and all of that again. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { waitNow, waitOption } from "../../src/native/index.js";
import { findInner, innerPid } from "./namespaced.js";
import { endTree, run, spawned, treeOf, until } from "./processes.js";
import { crimgCommand } from "./project.js";
import { assertSecondOpinion } from "./restore-model/second-opinion.js";
import type { User } from "./users.js";

/** False if all of the commands are installed, else the reason to skip. */
export function missing(...commands: string[]): string | false {
  const absent = commands.filter((command) => spawnSync("sh", ["-c", `command -v ${command}`]).status !== 0);
  return absent.length === 0 ? false : `${absent.join(", ")} ${absent.length === 1 ? "is" : "are"} not installed`;
}

export interface TwoLives {
  /** Of the root of the tree. */
  readonly pid: number;
  /** Where images go. */
  readonly directory: string;
  readonly user: User;
  /** Looks at the resumed program; `round` is 1 or 2. */
  readonly check: (round: number, pid: number) => Promise<void> | void;
  /** More options for the dump. */
  readonly options?: readonly string[];
}

/** Returns the pid of the second life's root, as seen from here. */
export async function twoLives(t: TestContext, { pid: first, directory, user, check, options = [] }: TwoLives): Promise<number> {
  const own = innerPid(first) ?? assert.fail("the program has ended");
  const [command, ...words] = user.words;
  let pid = first;
  for (const round of [1, 2]) {
    const image = join(directory, `life-${round}.elf`);
    const tree = treeOf(pid);
    const dumped = run(command, [...words, crimgCommand, "dump", String(pid), "-o", image, ...options]);
    assert.equal(dumped.status, 0, dumped.stderr);
    assertSecondOpinion(image);
    await until("the program is gone", () => {
      // One that was left behind by its parent may have come to this process.
      for (const member of tree) if (!spawned.has(member)) waitNow(member, waitOption.WALL);
      return tree.every((member) => !existsSync(`/proc/${member}`));
    });
    const waiter = spawn(command, [...words, image], { cwd: directory, stdio: ["ignore", "ignore", "pipe"] });
    const waiting = waiter.pid ?? assert.fail("cannot execute the image");
    spawned.add(waiting);
    let complaints = "";
    waiter.stderr?.on("data", (chunk) => (complaints += String(chunk)));
    t.after(() => endTree(waiting));
    pid = await until("the program is resumed", () => {
      assert.equal(waiter.exitCode ?? waiter.signalCode, null, `${image} ended: ${complaints}`);
      return findInner(waiting, own);
    });
    try {
      await check(round, pid);
    } finally {
      assert.equal(waiter.exitCode ?? waiter.signalCode, null, `${image} ended: ${complaints}`);
    }
    // A helper of the resume may have had its id for a moment.
    pid = findInner(waiting, own) ?? assert.fail("the program has ended");
  }
  return pid;
}
