// SPDX-License-Identifier: Apache-2.0
/**
 * Calls whose maker the kernel remembers. SO_PEERCRED of a unix socket names whoever called connect, listen or
 * socketpair: so these calls are made by a process with that id, user and groups. The tree is not there yet, and its ids
 * are free.
 */
import type { Identity } from "./context.js";
import { PR, WAIT } from "./constants.js";
import type { ProcessMaker } from "./process.js";
import type { ProgramBuilder } from "./program-builder.js";

/** Ops of the first process. What `build` stores in slots and buffers is there afterwards: memory is shared. */
export function runAs(b: ProgramBuilder, processes: ProcessMaker, { pid, uid, gid, groups }: Identity, build: () => void): void {
  const work = b.label(`as process ${pid}`);
  const plain = b.label("without its users");
  const done = b.label(`process ${pid} is gone again`);
  const status = b.buffer(8);
  const helper = processes.helper(pid, work);
  // Never negative for the helper itself, which runs on into the same ops.
  b.jumpIf(helper, "lt", 0, work);
  b.syscall("wait4", [helper, status, WAIT.wall, 0], { message: `see the process that stands for ${pid} end` });
  b.jumpIf(status.u4, "eq", 0, done);
  b.fail(`the process that stands for ${pid} was killed`, "there may not be enough memory");
  b.place(work);
  b.jumpIf(helper, "lt", 0, plain);
  // An ordinary user keeps what it is.
  if (groups !== undefined) b.syscall("setgroups", [groups.length / 4, groups.length > 0 ? b.bytes(groups, 4) : 0], { expect: "any" });
  if (gid !== 0) b.syscall("setresgid", [-1, gid, -1], { expect: "any" });
  if (uid !== 0) b.syscall("setresuid", [-1, uid, -1], { expect: "any" });
  // What it may reach is another matter: the program that called may have had other rights then.
  if (uid !== 0) b.syscall("setfsuid", [0], { expect: "any" });
  b.place(plain);
  build();
  b.jumpIf(helper, "lt", 0, done);
  b.syscall("exit", [0]);
  b.place(done);
  // The memory is that of the helper, whose change of users has put its files in /proc out of reach of a user namespace's root.
  if (uid !== 0 || gid !== 0) b.syscall("prctl", [PR.setDumpable, 1, 0, 0, 0], { expect: "any" });
}
