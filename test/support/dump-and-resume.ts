// SPDX-License-Identifier: Apache-2.0
/** The two steps of most end-to-end tests. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { crimg, endTree, run, until } from "./processes.js";

/** Dumps a program to an image, and waits until it is gone. */
export async function dumped(pid: number, image: string, ...options: string[]): Promise<void> {
  const { status, stderr } = crimg("dump", String(pid), "-o", image, ...options);
  assert.equal(status, 0, stderr);
  await until("the program is gone", () => !existsSync(`/proc/${pid}`));
}

/** Resumes an image in the background; returns the id of its root, which the test ends. */
export function resume(t: TestContext, image: string, directory: string): number {
  const pidfile = join(directory, "pid");
  const resumed = run(image, ["--detach", "--pidfile", pidfile]);
  assert.equal(resumed.status, 0, resumed.stderr);
  const root = Number(readFileSync(pidfile, "utf8"));
  t.after(() => endTree(root));
  return root;
}
