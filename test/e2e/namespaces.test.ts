// SPDX-License-Identifier: Apache-2.0
/** A tree in several namespaces of a kind is refused by name, all in one message, and runs on. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { crimg, endTree, start, temporaryDirectory, until } from "../support/processes.js";
import { differences, treeState } from "../support/tree-state.js";

const skip = process.getuid?.() !== 0 && "only root may make all kinds of namespaces";

/** CLONE_NEW* by the kind that the message names. */
const flags = {
  user: 0x1000_0000,
  mount: 0x0002_0000,
  pid: 0x2000_0000,
  network: 0x4000_0000,
  ipc: 0x0800_0000,
  uts: 0x0400_0000,
  cgroup: 0x0200_0000,
  time: 0x80,
} as const;

/** A program that enters new namespaces: the process itself, one thread of it, or its child. */
async function inNamespaces(
  t: TestContext,
  who: "process" | "thread" | "child",
  flag: number,
): Promise<{ directory: string; pid: number }> {
  const directory = temporaryDirectory(t);
  const script = `
import ctypes, os, threading, time
libc = ctypes.CDLL(None, use_errno=True)
def enter():
    if libc.unshare(${flag}) != 0: os._exit(ctypes.get_errno())
    open(${JSON.stringify(join(directory, "making"))}, "w").close()
    os.rename(${JSON.stringify(join(directory, "making"))}, ${JSON.stringify(join(directory, "ready"))})
    time.sleep(600)
who = "${who}"
if who == "thread": threading.Thread(target=enter).start()
elif who == "child" and os.fork() == 0: enter()
elif who == "process": enter()
time.sleep(600)
`;
  const { pid } = start(t, "python3", ["-c", script]);
  await until(`the ${who} is in its namespace`, () => existsSync(join(directory, "ready")));
  return { directory, pid };
}

/** Refused with these words, no file, and everything as before. */
function assertRefused(pid: number, directory: string, message: RegExp): void {
  const before = treeState(pid);
  const { status, stderr } = crimg("dump", String(pid), "-o", join(directory, "image.elf"));
  assert.match(stderr, message);
  assert.equal(status, 4, stderr);
  assert.deepEqual(readdirSync(directory), ["ready"]);
  assert.deepEqual(differences(before, treeState(pid)), []);
}

for (const [kind, flag] of Object.entries(flags)) {
  const ofChildren = kind === "pid" || kind === "time";
  // Others are kept (own-namespaces.test.ts).
  if (ofChildren || kind === "user") {
    test(`a process in its own ${kind} namespace`, { skip }, async (t) => {
      const { directory, pid } = await inNamespaces(t, "process", flag);
      const message = ofChildren
        ? new RegExp(`thread ${pid} of process ${pid} \\(python3\\) has another ${kind} namespace for its children than for itself`)
        : new RegExp(`process ${pid} \\(python3\\): its user namespace has no map of ids yet`);
      assertRefused(pid, directory, message);
    });
  }

  test(`a child in its own ${kind} namespace`, { skip }, async (t) => {
    const { directory, pid } = await inNamespaces(t, "child", flag);
    assertRefused(
      pid,
      directory,
      ofChildren
        ? new RegExp(`of process \\d+ \\(python3\\) has another ${kind} namespace for its children`)
        : new RegExp(`process ${pid} \\(python3\\) and process \\d+ \\(python3\\) live in different ${kind} namespaces`),
    );
  });

  // A thread cannot enter a user or mount namespace of its own: it shares its directories with the others.
  if (kind === "user" || kind === "mount") continue;
  test(`a thread with its own ${kind} namespace`, { skip }, async (t) => {
    const { directory, pid } = await inNamespaces(t, "thread", flag);
    assertRefused(
      pid,
      directory,
      ofChildren
        ? new RegExp(`thread \\d+ of process ${pid} \\(python3\\) has another ${kind} namespace for its children`)
        : new RegExp(`thread \\d+ of process ${pid} \\(python3\\) has its own ${kind} namespace`),
    );
  });
}

test("several at once are named in one message", { skip }, async (t) => {
  const { directory, pid } = await inNamespaces(t, "child", flags.mount | flags.network | flags.uts);
  assertRefused(pid, directory, /different mount namespaces.*different network namespaces.*different uts namespaces/s);
});

test("what harms nobody can be left out, and is told", { skip }, async (t) => {
  const { directory, pid } = await inNamespaces(t, "process", flags.uts | flags.cgroup);
  const image = join(directory, "image.elf");
  const whole = crimg("dump", String(pid), "-o", image, "--leave-running", "--ignore", "uts-namespace", "--ignore", "cgroup-namespace");
  assert.equal(whole.status, 0, whole.stderr);
  assert.match(whole.stderr, /lost: process \d+ \(python3\) lives in another uts namespace/);
});

test("capabilities in a user namespace that is left out are left out", { skip }, async (t) => {
  const { directory, pid } = await inNamespaces(t, "process", flags.user);
  const capabilities = (process: number): string => /^CapEff:\t(\w+)$/m.exec(readFileSync(`/proc/${process}/status`, "utf8"))?.[1] ?? "";
  assert.notEqual(capabilities(pid), "0000000000000000", "it has some inside");
  const image = join(directory, "image.elf");
  const dumped = crimg("dump", String(pid), "-o", image, "--ignore", "user-namespace");
  assert.equal(dumped.status, 0, dumped.stderr);
  assert.match(dumped.stderr, /without the capabilities that it has inside/);
  const resumed = start(t, image, []);
  t.after(() => endTree(resumed.pid));
  const status = (): string => readFileSync(`/proc/${pid}/status`, "utf8");
  await until("it is back", () => existsSync(`/proc/${pid}/status`) && /^Name:\tpython3$/m.test(status()));
  await until("it runs without capabilities", () => capabilities(pid) === "0000000000000000");
});
