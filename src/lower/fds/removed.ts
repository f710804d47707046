// SPDX-License-Identifier: Apache-2.0
/**
 * Inodes other than regular files whose name is gone: directories, devices, FIFOs, links and socket files are made again
 * under their name, opened, and removed. Where the name is taken now, one beside it is used: then only the name differs.
 */
import { posix } from "node:path";
import { CrimgError } from "../../errors/crimg-error.js";
import type { ObjectKind, ObjectRow } from "../../gen/tables.js";
import type { LowerContext } from "../context.js";
import type { Label, Slot } from "../operands.js";
import { AT_FDCWD, errno, openFlags } from "./shared.js";

const AT_REMOVEDIR = 0x200;
const AT_SYMLINK_NOFOLLOW = 0x100;
const statLength = 144;

/** What making inodes needs of the lowering. */
export type Making = Pick<LowerContext, "builder" | "keepHigh">;

const makeable: ReadonlySet<ObjectKind> = new Set(["directory", "char_device", "block_device", "fifo", "unix_socket", "symlink"]);

/** True for what `makeRemoved` makes. (Regular files that are gone are of kind `ghost`.) */
export function isRemoved(object: ObjectRow): boolean {
  return object.nlink === 0 && makeable.has(object.kind);
}

/** dev_t as mknod takes it. */
export function deviceNumber(major: number, minor: number): bigint {
  const [a, b] = [BigInt(major), BigInt(minor)];
  return ((a & 0xfffn) << 8n) | ((a & ~0xfffn) << 32n) | (b & 0xffn) | ((b & ~0xffn) << 12n);
}

/**
 * Runs `build` with the directory above `path` present: missing ones are made for the moment and removed again, as they
 * were removed at the dump.
 */
export function withParents({ builder }: Making, path: string, build: () => void): void {
  const present = builder.label("parents are there");
  const missing = builder.label("parents are missing");
  const made: { readonly directory: string; readonly result: Slot }[] = [];
  for (let directory = posix.dirname(path); directory !== "/" && directory !== "."; directory = posix.dirname(directory)) {
    made.unshift({ directory, result: builder.slot(`result of making ${directory}`) });
  }
  const parent = made.at(-1);
  if (parent === undefined) {
    build();
    return;
  }
  for (const { result } of made) builder.compute(result, "move", -errno.EEXIST);
  builder.jumpIf(builder.rehearsal, "ne", 0, present);
  builder.syscall("newfstatat", [AT_FDCWD, builder.string(parent.directory), builder.buffer(statLength), 0], { orElse: missing });
  builder.jump(present);
  builder.place(missing);
  for (const { directory, result } of made) {
    builder.syscall("mkdirat", [AT_FDCWD, builder.string(directory), 0o700], { store: result, expect: "any" });
  }
  builder.place(present);
  build();
  for (const { directory, result } of made.reverse()) {
    const keep = builder.label("was there before");
    builder.jumpIf(result, "ne", 0, keep);
    builder.syscall("unlinkat", [AT_FDCWD, builder.string(directory), AT_REMOVEDIR], { expect: "any" });
    builder.place(keep);
  }
}

/** Makes, opens and removes the inode. Returns the high descriptor. */
export function makeRemoved(making: Making, object: ObjectRow, flags: number, purpose: string): Slot {
  if (!object.path.startsWith("/")) throw new CrimgError("lower.path", `expected an absolute path, found ${object.path}`);
  const { builder } = making;
  const slot = builder.slot(`fd of ${object.path} (deleted)`);
  const result = builder.slot("result of making it");
  withParents(making, object.path, () => {
    const made = builder.label("made");
    const taken = builder.label("name is taken");
    const trouble = builder.label("other trouble");
    makeAt(making, object, object.path, result, taken);
    openAndRemove(making, object, object.path, flags, slot, purpose);
    builder.jump(made);
    builder.place(taken);
    const other = `${object.path}.crimg-made`;
    builder.jumpIf(result, "ne", -errno.EEXIST, trouble);
    makeAt(making, object, other, result, trouble);
    openAndRemove(making, object, other, flags, slot, purpose);
    builder.jump(made);
    builder.place(trouble);
    builder.fail(`make ${object.path} again ${purpose}`, "its directory must be writable, as it was at the dump", result);
    builder.place(made);
  });
  return slot;
}

function makeAt({ builder }: Making, object: ObjectRow, path: string, result: Slot, orElse: Label): void {
  const name = builder.nameToMake(path);
  if (object.kind === "directory") {
    builder.syscall("mkdirat", [AT_FDCWD, name, object.mode & 0o7777], { store: result, orElse });
    return;
  }
  if (object.kind === "symlink") {
    builder.syscall("symlinkat", [builder.string(object.linkTarget), AT_FDCWD, name], { store: result, orElse });
    return;
  }
  const device = object.kind === "char_device" || object.kind === "block_device" ? deviceNumber(object.rdevMajor, object.rdevMinor) : 0n;
  builder.syscall("mknodat", [AT_FDCWD, name, object.mode, device], { store: result, orElse });
}

function openAndRemove(making: Making, object: ObjectRow, path: string, flags: number, slot: Slot, purpose: string): void {
  const { builder } = making;
  const name = builder.nameToMake(path);
  // An ordinary user owns what it makes, and may not give it away.
  builder.syscall("fchownat", [AT_FDCWD, name, object.uid, object.gid, AT_SYMLINK_NOFOLLOW], { expect: "any" });
  if (object.kind !== "symlink")
    builder.syscall("fchmodat", [AT_FDCWD, name, object.mode & 0o7777], { message: `set the mode of ${path}` });
  builder.syscall(
    "openat",
    [AT_FDCWD, name, flags | openFlags.CLOEXEC | openFlags.NOCTTY | (object.kind === "fifo" ? openFlags.NONBLOCK : 0), 0],
    {
      store: slot,
      message: `open ${path} ${purpose}`,
    },
  );
  making.keepHigh(slot);
  const isDirectory = object.kind === "directory";
  builder.syscall("unlinkat", [AT_FDCWD, name, isDirectory ? AT_REMOVEDIR : 0], { message: `remove ${path} again` });
}
