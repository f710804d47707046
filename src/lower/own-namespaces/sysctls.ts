// SPDX-License-Identifier: Apache-2.0
/** Settings of a new namespace. */
import { AT, O } from "../constants.js";
import type { Lowering } from "../lowering.js";

/** Ops of a process in the namespace, whose /proc is the machine's. */
export function setSysctls(l: Lowering, namespace: number): void {
  const b = l.builder;
  for (const { namespace: where, path, value } of l.checkpoint.tables.sysctls) {
    if (where !== namespace || path.split("/").includes("..")) continue;
    const fd = b.slot(`fd of ${path}`);
    const [absent, refused, done] = [b.label("there is no such setting"), b.label("it cannot be set"), b.label("it is set")];
    const text = b.string(value);
    b.syscall("openat", [AT.fdcwd, b.string(`/proc/sys/${path}`), O.wronly | O.cloexec, 0], { store: fd, orElse: absent });
    b.syscall("write", [fd, text, text.size - 1], { orElse: refused });
    b.syscall("close", [fd]);
    b.jump(done);
    b.place(refused);
    b.syscall("close", [fd]);
    b.place(absent);
    b.print(`the setting ${path.replaceAll("/", ".")} of the tree's own namespace cannot be set to "${value}" here`);
    b.place(done);
  }
}
