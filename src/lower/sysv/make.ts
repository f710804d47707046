// SPDX-License-Identifier: Apache-2.0
/** Making an object of System V IPC under its old id: /proc/sys/kernel/*_next_id says which id the kernel gives next. */
import { IPC, ipcOffset, ipcStructSize } from "../../linux/sysv-ipc.js";
import type { SystemVRow } from "../../model/system-v.js";
import { AT, O } from "../constants.js";
import type { LowerContext } from "../context.js";
import type { Arg, DataRef, Label, Slot } from "../operands.js";

const calls = { shm: "shmctl", sem: "semctl", msg: "msgctl" } as const;
type Kind = keyof typeof calls;

const privateOne = "or resume in an IPC namespace of its own (unshare --ipc IMAGE)";

/** The call `shmctl(id, command, buffer)` of a kind. */
export function control(kind: Kind, id: Arg, command: number, buffer: Arg): readonly ["shmctl" | "semctl" | "msgctl", readonly Arg[]] {
  return [calls[kind], kind === "sem" ? [id, 0, command, buffer] : [id, command, buffer]];
}

/**
 * Ops: jumps to `absent` if there is no object of that id, fails if it is another one than at the dump, and goes on with
 * what IPC_STAT says of it.
 */
export function findObject(
  { builder: b }: LowerContext,
  kind: Kind,
  { id, key }: SystemVRow,
  name: string,
  same: readonly { readonly at: number; readonly value: bigint }[],
  absent: Label,
): DataRef {
  const stat = b.buffer(ipcStructSize);
  const other = b.label(`${name} is another`);
  const found = b.label(`${name} is there`);
  const [call, args] = control(kind, id, IPC.stat, stat);
  b.syscall(call, args, { orElse: absent });
  b.jumpIf(stat.at(ipcOffset.key).u4, "ne", key, other);
  for (const { at, value } of same) b.jumpIf(stat.at(at).u8, "ne", value, other);
  b.jump(found);
  b.place(other);
  b.fail(`${name}: its id belongs to another one now`, `remove that if nobody needs it (ipcrm), ${privateOne}`);
  b.place(found);
  return stat;
}

/** Ops: makes the object by `get`, which returns the slot of the id that the kernel gave. */
export function makeObject(
  context: LowerContext,
  kind: Kind,
  row: SystemVRow,
  name: string,
  creator: number,
  get: (flags: number) => Slot,
): void {
  const b = context.builder;
  const fd = b.slot(`fd of ${kind}_next_id`);
  const [line, length] = [b.buffer(16), b.slot("length of an id")];
  const unset = b.label("the kernel chooses an id");
  const isRight = b.label(`${name} has its id`);
  // An ordinary user may not choose: the id may be right all the same.
  b.syscall("openat", [AT.fdcwd, b.string(`/proc/sys/kernel/${kind}_next_id`), O.wronly | O.cloexec, 0], { store: fd, orElse: unset });
  b.format(line, "", row.id, "", { store: length });
  b.syscall("write", [fd, line, length], { expect: "any" });
  b.syscall("close", [fd]);
  b.place(unset);
  const got = b.slot(`id of ${name}`);
  context.runAs({ pid: creator, uid: row.creatorUid, gid: row.creatorGid, groups: undefined }, () => {
    b.compute(got, "move", get(IPC.creat | IPC.excl | row.mode));
  });
  b.jumpIf(got, "eq", row.id, isRight);
  const [call, args] = control(kind, got, IPC.rmid, 0);
  b.syscall(call, args, { expect: "any" });
  b.fail(`${name}: the kernel gave it another id`, "only root may choose ids, and another object may be in its place: ipcs lists them");
  b.place(isRight);
}

/** Ops: owner and permissions; what IPC_SET sets besides is taken from `stat`, which IPC_STAT filled or the caller did. */
export function setOwner({ builder: b }: LowerContext, kind: Kind, row: SystemVRow, name: string, stat: DataRef, hint?: string): void {
  b.store4(stat.at(ipcOffset.uid), row.uid);
  b.store4(stat.at(ipcOffset.gid), row.gid);
  b.store4(stat.at(ipcOffset.mode), row.mode);
  const [call, args] = control(kind, row.id, IPC.set, stat);
  b.syscall(call, args, { message: `set owner and permissions of ${name}`, hint });
}

/** `shared memory segment 5 (key 0x0052e2c1)`. */
export function systemVName(what: string, { id, key }: { readonly id: number; readonly key: number }): string {
  return key === 0 ? `${what} ${id}` : `${what} ${id} (key 0x${key.toString(16).padStart(8, "0")})`;
}
