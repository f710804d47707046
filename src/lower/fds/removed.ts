/**
 * Inodes other than regular files whose name is gone: directories, devices, FIFOs and socket files are made again under
 * their name, opened, and removed. Where the name is taken now, one beside it is used: then only the name differs.
 */
import { CrimgError } from "../../errors/crimg-error.js";
import type { ObjectRow } from "../../gen/tables.js";
import type { LowerContext } from "../context.js";
import type { Slot } from "../operands.js";
import { AT_FDCWD, errno, openFlags } from "./shared.js";

const AT_REMOVEDIR = 0x200;

/** True for what `makeRemoved` makes. (Regular files that are gone are of kind `ghost`.) */
export function isRemoved(object: ObjectRow): boolean {
  return object.nlink === 0 && (object.kind === "directory" || object.kind === "char_device" || object.kind === "block_device" || object.kind === "fifo" || object.kind === "unix_socket" || object.kind === "symlink");
}

/** dev_t as mknod takes it. */
export function deviceNumber(major: number, minor: number): bigint {
  const [a, b] = [BigInt(major), BigInt(minor)];
  return ((a & 0xfffn) << 8n) | ((a & ~0xfffn) << 32n) | (b & 0xffn) | ((b & ~0xffn) << 12n);
}

/** Makes, opens and removes the inode; `whileNamed` runs in between. Returns the high descriptor. */
export function makeRemoved(context: LowerContext, object: ObjectRow, flags: number, purpose: string, whileNamed?: (slot: Slot) => void): Slot {
  if (!object.path.startsWith("/")) throw new CrimgError("lower.path", `expected an absolute path, found ${object.path}`);
  const { builder } = context;
  const slot = builder.slot(`fd of ${object.path} (deleted)`);
  const made = builder.label("made");
  const taken = builder.label("name is taken");
  const result = builder.slot("result of making it");
  const message = `make ${object.path} again ${purpose}`;
  makeAt(context, object, object.path, result, taken);
  openAndRemove(context, object, object.path, flags, slot, purpose, whileNamed);
  builder.jump(made);
  builder.place(taken);
  const other = `${object.path}.crimg-made`;
  const trouble = builder.label("other trouble");
  builder.jumpIf(result, "ne", -errno.EEXIST, trouble);
  makeAt(context, object, other, result, trouble);
  openAndRemove(context, object, other, flags, slot, purpose, whileNamed);
  builder.jump(made);
  builder.place(trouble);
  builder.fail(message, "the directory above it must exist and be writable, as it was at the dump", result);
  builder.place(made);
  return slot;
}

function makeAt({ builder }: LowerContext, object: ObjectRow, path: string, result: Slot, orElse: ReturnType<LowerContext["builder"]["label"]>): void {
  if (object.kind === "directory") {
    builder.syscall("mkdirat", [AT_FDCWD, builder.string(path), object.mode & 0o7777], { store: result, orElse });
    return;
  }
  if (object.kind === "symlink") {
    builder.syscall("symlinkat", [builder.string(object.linkTarget), AT_FDCWD, builder.string(path)], { store: result, orElse });
    return;
  }
  const device = object.kind === "char_device" || object.kind === "block_device" ? deviceNumber(object.rdevMajor, object.rdevMinor) : 0n;
  builder.syscall("mknodat", [AT_FDCWD, builder.string(path), object.mode, device], { store: result, orElse });
}

function openAndRemove(
  context: LowerContext,
  object: ObjectRow,
  path: string,
  flags: number,
  slot: Slot,
  purpose: string,
  whileNamed?: (slot: Slot) => void,
): void {
  const { builder } = context;
  const name = builder.string(path);
  // An ordinary user owns what it makes, and may not give it away.
  builder.syscall("fchownat", [AT_FDCWD, name, object.uid, object.gid, 0x100], { expect: "any" });
  if (object.kind !== "symlink") builder.syscall("fchmodat", [AT_FDCWD, name, object.mode & 0o7777], { message: `set the mode of ${path}` });
  builder.syscall("openat", [AT_FDCWD, name, flags | openFlags.CLOEXEC | openFlags.NOCTTY | (object.kind === "fifo" ? openFlags.NONBLOCK : 0), 0], {
    store: slot,
    message: `open ${path} ${purpose}`,
  });
  context.keepHigh(slot);
  whileNamed?.(slot);
  const isDirectory = object.kind === "directory";
  builder.syscall("unlinkat", [AT_FDCWD, name, isDirectory ? AT_REMOVEDIR : 0], { message: `remove ${path} again` });
}
