// SPDX-License-Identifier: Apache-2.0
/**
 * An ordinary user may not choose process ids, except in a pid namespace that belongs to a user namespace of its own.
 * There an init (pid 1) takes the part of the first process: it makes the tree, lets it go, and reaps.
 */
import { AT, CLONE, O, PR, SIG } from "./constants.js";
import type { Lowering } from "./lowering.js";
import { enterRehearsal } from "./rehearsal.js";
import { type Label, type Slot, supervisor } from "./operands.js";

const MS_REC = 0x4000;
const MS_PRIVATE = 0x40000;

/**
 * Ops of the first process: makes the init, which continues at `init`; the first process goes on behind these ops.
 * Returns the slot of the init's pid.
 */
export function lowerNamespaces(l: Lowering, euid: Slot, init: Label): Slot {
  const b = l.builder;
  const { tasks, creds } = l.checkpoint.tables;
  const leader = l.checkpoint.threadsOf(tasks.findIndex((row) => row.parent === null))[0];
  const owner = leader === undefined ? undefined : creds[l.thread(leader).creds ?? -1];
  const egid = b.slot("effective group");
  const pid = b.slot("pid of the init");
  const asRoot = b.label("without a user namespace");
  const child = b.label("init");
  const after = b.label("init is made");
  const args = b.u8s(CLONE.newpid | CLONE.newns | CLONE.newuser, 0, 0, 0, SIG.chld, 0, 0, 0, 0, 0, 0);
  b.syscall("getegid", [], { store: egid });
  b.jumpIf(euid, "ne", 0, asRoot);
  b.store8(args, CLONE.newpid | CLONE.newns);
  b.place(asRoot);
  const isReal = b.label("no rehearsal");
  const flags = b.slot("namespaces of a rehearsal");
  b.jumpIf(b.rehearsal, "eq", 0, isReal);
  b.compute(flags, "or", args.u8, CLONE.newnet | CLONE.newipc | CLONE.newuts);
  b.store8(args, flags);
  b.place(isReal);
  b.syscall("clone3", [args, 88], {
    store: pid,
    message: "make a pid namespace",
    hint: "user namespaces may be forbidden here (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone); --pid any needs none",
  });
  b.jumpIf(pid, "ne", 0, after);

  b.place(child);
  b.about("init of the new pid namespace", () => {
    const rootAlready = b.label("ids are mapped");
    b.syscall("prctl", [PR.setPdeathsig, SIG.kill, 0, 0, 0], { message: "ask to die with the parent" });
    b.store4(supervisor, 1);
    b.compute(l.isNamespaced, "move", 1);
    b.jumpIf(euid, "eq", 0, rootAlready);
    const line = b.buffer(64);
    const length = b.slot("length of the map");
    writeFile(l, "/proc/self/setgroups", () => ({ text: b.string("deny"), length: 4 }));
    // "INSIDE OUTSIDE 1"; a format without credentials leaves the caller's ids as they are.
    const map = (inside: number | undefined, outside: Slot) => () => {
      const end = b.slot("end of the map");
      const rest = b.slot("length of the rest");
      b.format(line, "", inside ?? outside, " ", { store: length });
      b.compute(end, "add", line, length);
      b.format(end, "", outside, " 1", { store: rest });
      b.compute(length, "add", length, rest);
      return { text: line, length };
    };
    writeFile(l, "/proc/self/uid_map", map(owner?.euid, euid));
    writeFile(l, "/proc/self/gid_map", map(owner?.egid, egid));
    b.place(rootAlready);
    b.compute(l.isPrivileged, "move", 1);
    // /proc must show the new namespace; where it may not be mounted (containers mask parts of it), the old one stays.
    b.syscall("mount", [0, b.string("/"), 0, MS_REC | MS_PRIVATE, 0], { expect: "any" });
    b.syscall("mount", [b.string("proc"), b.string("/proc"), b.string("proc"), 0, 0], { expect: "any" });
    enterRehearsal(l);
    b.jump(init);
  });
  b.place(after);
  return pid;
}

function writeFile(
  l: Lowering,
  path: string,
  content: () => { readonly text: Parameters<typeof l.builder.syscall>[1][number]; readonly length: number | Slot },
): void {
  const b = l.builder;
  const fd = b.slot(`fd of ${path}`);
  const { text, length } = content();
  b.syscall("openat", [AT.fdcwd, b.string(path), O.wronly | O.cloexec, 0], { store: fd, message: `open ${path}` });
  b.syscall("write", [fd, text, length], { message: `write ${path}` });
  b.syscall("close", [fd]);
}
