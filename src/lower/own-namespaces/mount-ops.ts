// SPDX-License-Identifier: Apache-2.0
/** What all ops that make mounts share. */
import { CrimgError } from "../../errors/crimg-error.js";
import { type MountRow, mountFlagsBits } from "../../gen/tables.js";
import { isOptionalMount } from "../../model/own-namespaces.js";
import type { Lowering } from "../lowering.js";
import type { Arg, Label, Slot } from "../operands.js";
import type { OpOptions } from "../program-builder.js";

export const MS = {
  rdonly: 1,
  remount: 0x20,
  bind: 0x1000,
  rec: 0x4000,
  strictatime: 1 << 24,
  unbindable: 1 << 17,
  private: 1 << 18,
  slave: 1 << 19,
  shared: 1 << 20,
} as const;
export const MNT_DETACH = 2;
/** MOUNT_ATTR_* of mount_setattr(2) by MS_* flag. */
const attributeOf: readonly (readonly [flag: number, attribute: number])[] = [
  [mountFlagsBits.read_only, 0x1],
  [mountFlagsBits.nosuid, 0x2],
  [mountFlagsBits.nodev, 0x4],
  [mountFlagsBits.noexec, 0x8],
  [mountFlagsBits.nodiratime, 0x80],
  [mountFlagsBits.nosymfollow, 0x200000],
];
const MOUNT_ATTR_NOATIME = 0x10;
const MOUNT_ATTR_STRICTATIME = 0x20;
const MOUNT_ATTR__ATIME = 0x70;
/** A row of `mounts` with its number. */
export interface Indexed {
  readonly row: MountRow;
  readonly index: number;
}

/** A directory that every /proc has. */
export const scratch = "/proc/fs";

export function holdsContent(l: Lowering, index: number): boolean {
  return l.checkpoint.tables.mountEntries.some(({ mount }) => mount === index);
}

/** In a user namespace of one user there may be no group "tty" (gid=5): its terminals are that user's then. */
function withoutOwners(options: string): string {
  return options
    .split(",")
    .filter((option) => !/^[ug]id=/.test(option))
    .join(",");
}

const strictAtime = (row: MountRow): number => (isStrictAtime(row) ? MS.strictatime : 0);

/**
 * Ops that mount a filesystem anew at a path; one with content becomes read-only later. They jump to `skip` where the machine has
 * no such hierarchy of control groups. `store`: the result.
 */
export function mountAnew(l: Lowering, { row, index }: Indexed, path: string, skip: Label, store?: Slot): void {
  const b = l.builder;
  const flags = (row.flags & (holdsContent(l, index) ? ~MS.rdonly : ~0)) | strictAtime(row);
  const message = `mount ${row.point} (${row.fsType})`;
  const [asOthers, mounted] = [b.label("owners have no number here"), b.label("mounted")];
  const mountWith = (options: string, otherwise: OpOptions): void =>
    b.syscall("mount", [b.string(row.source), b.string(path), b.string(row.fsType), flags, b.string(options)], {
      ...(store === undefined ? {} : { store }),
      ...otherwise,
    });
  const withoutIds = withoutOwners(row.options);
  mountWith(
    row.options,
    row.fsType.startsWith("cgroup") ? { orElse: skip } : withoutIds !== row.options ? { orElse: asOthers } : { message },
  );
  if (withoutIds !== row.options) {
    b.jump(mounted);
    b.place(asOthers);
    mountWith(withoutIds, { message });
  }
  b.place(mounted);
}

/** Ops that make what `mountAnew` has mounted read-only. */
export function remountReadOnly(l: Lowering, row: MountRow, path: string): void {
  const b = l.builder;
  b.syscall("mount", [0, b.string(path), 0, MS.remount | row.flags | MS.rdonly | strictAtime(row), b.string(row.options)], {
    message: `make ${row.point} read-only`,
  });
}

/** What is mounted from outside; undefined where a resume can do without. @throws CrimgError `lower.mount` */
export function externalSource(row: MountRow, index: number): string | undefined {
  if (row.source !== "") return row.source;
  if (isOptionalMount(row)) return undefined;
  throw new CrimgError("lower.mount", `nobody says what is to be mounted at ${row.point}`, {
    path: `mounts[${index}].source`,
    hint: `--mount ${row.name || row.point}=PATH`,
  });
}

/** The same of a mount that a descriptor or a path names: the first three arguments of mount_setattr(2). */
export function setAttributes(l: Lowering, which: readonly [Arg, Arg, number], row: Pick<MountRow, "flags">, name: string): void {
  const b = l.builder;
  const set = attributeOf.reduce((all, [flag, attribute]) => ((row.flags & flag) !== 0 ? all | attribute : all), 0);
  const isNoAtime = (row.flags & mountFlagsBits.noatime) !== 0;
  const clear = attributeOf.reduce((all, [flag, attribute]) => ((row.flags & flag) === 0 ? all | attribute : all), 0);
  if (set !== 0 || isNoAtime) {
    const attributes = b.u8s(set | (isNoAtime ? MOUNT_ATTR_NOATIME : 0), isNoAtime ? MOUNT_ATTR__ATIME : 0, 0, 0);
    b.syscall("mount_setattr", [...which, attributes, 32], { message: `set the flags of the mount at ${name}` });
  }
  b.syscall("mount_setattr", [...which, b.u8s(0, clear, 0, 0), 32], { expect: "any" });
  if (isNoAtime) return;
  const atime = b.u8s(isStrictAtime(row) ? MOUNT_ATTR_STRICTATIME : 0, MOUNT_ATTR__ATIME, 0, 0);
  b.syscall("mount_setattr", [...which, atime, 32], { expect: "any" });
}

/** Times of access are always noted; to note them where that is due is what a mount begins with. */
function isStrictAtime({ flags }: Pick<MountRow, "flags">): boolean {
  return (flags & (mountFlagsBits.noatime | mountFlagsBits.relatime)) === 0;
}
