// SPDX-License-Identifier: Apache-2.0
/** A tree comes back into its control groups, which are made again with their settings as --manage-cgroups says. */
import assert from "node:assert/strict";
import { chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { waitNow, waitOption } from "../../src/native/index.js";
import { crimg, endTree, list, run, start, temporaryDirectory, until } from "../support/processes.js";
import { dumped } from "../support/dump-and-resume.js";

/** The hierarchy of the pids controller, version 1. */
const hierarchy = "/sys/fs/cgroup/pids";
const skip =
  process.getuid?.() !== 0 ? "needs root" : existsSync(`${hierarchy}/tasks`) ? false : "there is no pids hierarchy of version 1 here";
const timeout = 60_000;

interface Started {
  readonly pid: number;
  readonly directory: string;
  readonly image: string;
  /** The group of the program, and one below it. */
  readonly group: string;
  readonly below: string;
}

/** Removes a group once everybody has left it. */
function removeGroup(path: string): void {
  for (let tries = 0; tries < 200 && existsSync(path); tries++) {
    try {
      rmdirSync(path);
    } catch {
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    }
  }
}

/** A program with a thread that is in a group below that of its process. */
async function startProgram(t: TestContext): Promise<Started> {
  const directory = temporaryDirectory(t);
  const group = mkdtempSync(join(hierarchy, "crimg-test-"));
  const below = join(group, "below");
  t.after(() => {
    removeGroup(below);
    removeGroup(group);
  });
  mkdirSync(below);
  writeFileSync(join(group, "pids.max"), "77");
  writeFileSync(join(below, "pids.max"), "11");
  chownSync(join(below, "tasks"), 1234, 1234);
  const script = [
    "import threading, time",
    "def other():",
    `  with open('${below}/tasks', 'w') as file: file.write('0')`,
    "  open('ready', 'w').close()",
    "  time.sleep(600)",
    `with open('${group}/cgroup.procs', 'w') as file: file.write('0')`,
    "threading.Thread(target=other).start()",
    "time.sleep(600)",
  ];
  const { pid } = start(t, "python3", ["-c", script.join("\n")], { cwd: directory });
  await until("the program is ready", () => existsSync(join(directory, "ready")));
  return { pid, directory, image: join(directory, "image.elf"), group, below };
}

/** The group of each thread of a process in the hierarchy. */
function groupsOf(pid: number): string[] {
  return list(`/proc/${pid}/task`).map(
    (tid) => /^\d+:pids:(.*)$/m.exec(readFileSync(`/proc/${pid}/task/${tid}/cgroup`, "utf8"))?.[1] ?? "",
  );
}

interface Resumed {
  /** 0 if it was not. */
  readonly pid: number;
  readonly stderr: string;
}

function resumed(t: TestContext, image: string, directory: string, ...options: string[]): Resumed {
  const pidfile = join(directory, "pid");
  const words = ["--detach", "--pidfile", pidfile];
  const { status, stderr } = options.length === 0 ? run(image, words) : crimg("exec", image, ...words, ...options);
  if (status !== 0) return { pid: 0, stderr };
  const pid = Number(readFileSync(pidfile, "utf8"));
  t.after(() => endTree(pid));
  return { pid, stderr };
}

test("groups that are gone are made again with settings and owners; threads are in theirs", { skip, timeout }, async (t) => {
  const { pid, directory, image, group, below } = await startProgram(t);
  const before = groupsOf(pid);
  assert.equal(new Set(before).size, 2);
  await dumped(pid, image, "--rehearse");
  removeGroup(below);
  removeGroup(group);
  assert.match(crimg("show", image, "state").stdout, /control group +pids:\/crimg-test-\w+\/below +thread/);
  assert.match(crimg("validate", image).stdout, /nothing wrong/);
  const { pid: second, stderr } = resumed(t, image, directory);
  assert.notEqual(second, 0, stderr);
  assert.deepEqual(groupsOf(second), before);
  assert.equal(readFileSync(join(group, "pids.max"), "utf8"), "77\n");
  assert.equal(readFileSync(join(below, "pids.max"), "utf8"), "11\n");
  assert.equal(statSync(join(below, "tasks")).uid, 1234);
  endTree(second);
});

test("modes: soft leaves what exists, full sets it, strict and none refuse, ignore stays out", { skip, timeout }, async (t) => {
  const { pid, directory, image, group, below } = await startProgram(t);
  const before = groupsOf(pid);
  await dumped(pid, image, "--manage-cgroups");
  const end = async (root: number): Promise<void> => {
    process.kill(root, "SIGKILL");
    await until("the program is gone", () => {
      // It may have become a child of this process.
      waitNow(root, waitOption.WALL);
      return !existsSync(`/proc/${root}`);
    });
  };
  writeFileSync(join(group, "pids.max"), "55");
  const soft = resumed(t, image, directory);
  assert.notEqual(soft.pid, 0, soft.stderr);
  assert.deepEqual(groupsOf(soft.pid), before);
  assert.equal(readFileSync(join(group, "pids.max"), "utf8"), "55\n");
  await end(soft.pid);
  const full = resumed(t, image, directory, "--manage-cgroups=full");
  assert.notEqual(full.pid, 0, full.stderr);
  assert.equal(readFileSync(join(group, "pids.max"), "utf8"), "77\n");
  await end(full.pid);
  const strict = resumed(t, image, directory, "--manage-cgroups=strict");
  assert.equal(strict.pid, 0);
  assert.match(strict.stderr, /make control group pids:\/crimg-test-\w+: File exists/);
  removeGroup(below);
  removeGroup(group);
  const none = resumed(t, image, directory, "--manage-cgroups=none");
  assert.equal(none.pid, 0);
  assert.match(none.stderr, /open control group pids:\/crimg-test-\w+: No such file or directory/);
  const ignored = resumed(t, image, directory, "--manage-cgroups=ignore");
  assert.deepEqual(new Set(groupsOf(ignored.pid)), new Set(groupsOf(process.pid)));
});

test("--cgroup-root puts the tree elsewhere", { skip, timeout }, async (t) => {
  const { pid, directory, image, group } = await startProgram(t);
  const name = group.slice(hierarchy.length);
  await dumped(pid, image, "--manage-cgroups=soft");
  const { pid: second, stderr } = resumed(t, image, directory, "--cgroup-root", `pids:${name}/elsewhere`);
  assert.notEqual(second, 0, stderr);
  assert.deepEqual(groupsOf(second), [`${name}/elsewhere${name}`, `${name}/elsewhere${name}/below`]);
  endTree(second);
  for (const path of [`${name}/below`, name, ""]) removeGroup(`${group}/elsewhere${path}`);
});
