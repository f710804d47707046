// SPDX-License-Identifier: Apache-2.0
/** Puts into a tmpfs what was in it. */
import { CrimgError } from "../../errors/crimg-error.js";
import type { MountEntryRow } from "../../gen/tables.js";
import { AT, ERRNO, O } from "../constants.js";
import type { Lowering } from "../lowering.js";

const S_IFMT = 0o170000;
const [S_IFDIR, S_IFREG, S_IFLNK, S_IFCHR] = [0o040000, 0o100000, 0o120000, 0o020000];
const AT_SYMLINK_NOFOLLOW = 0x100;
const second = 1_000_000_000n;

/** Ops of the first process in the mount namespace. `base` is the path of the mount; `before` adds ops before those of an entry. */
export function fillTmpfs(l: Lowering, mount: number, base: string, before?: (entry: MountEntryRow) => void): void {
  const b = l.builder;
  const entries = l.checkpoint.tables.mountEntries.filter((row) => row.mount === mount);
  for (const entry of entries) {
    b.about(`${base}/${entry.path}`, () => {
      before?.(entry);
      makeEntry(l, entry, base);
    });
  }
  // Children change the times of their directories.
  for (const entry of [...entries].reverse()) if ((entry.mode & S_IFMT) === S_IFDIR) setTimes(l, entry, pathOf(base, entry.path));
}

/** A single file is an entry for the root that is no directory. */
const pathOf = (base: string, path: string): string => (path === "" ? base : `${base === "/" ? "" : base}/${path}`);

function makeEntry(l: Lowering, entry: MountEntryRow, base: string): void {
  if (entry.path.startsWith("/") || entry.path.split("/").includes("..")) {
    throw new CrimgError("lower.mount-entry", `the file ${entry.path} does not lie in the filesystem mounted at ${base}`, {
      path: "mountEntries",
    });
  }
  const b = l.builder;
  const path = pathOf(base, entry.path);
  const name = b.string(path);
  const type = entry.mode & S_IFMT;
  const mode = entry.mode & 0o7777;
  const message = `make ${path} again`;
  if (type !== S_IFLNK && entry.target !== "") {
    b.syscall("linkat", [AT.fdcwd, b.string(pathOf(base, entry.target)), AT.fdcwd, name, 0], { message });
    return;
  }
  switch (type) {
    case S_IFDIR:
      if (entry.path !== "") b.syscall("mkdirat", [AT.fdcwd, name, mode], { message });
      break;
    case S_IFLNK:
      b.syscall("symlinkat", [b.string(entry.target), AT.fdcwd, name], { message });
      break;
    case S_IFREG: {
      const fd = b.slot(`fd of ${path}`);
      b.syscall("openat", [AT.fdcwd, name, O.rdwr | O.creat | O.excl | O.cloexec | O.nofollow, 0o600], { store: fd, message });
      if (entry.object !== null) l.objects.fillFile(entry.object, fd, "in its filesystem");
      b.syscall("close", [fd]);
      break;
    }
    default:
      makeNode(l, entry, path);
  }
  b.syscall("fchownat", [AT.fdcwd, name, entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW], { expect: "any" });
  // A device may be the machine's.
  if (type === S_IFCHR) {
    b.syscall("fchmodat", [AT.fdcwd, name, mode], { expect: "any" });
    return;
  }
  if (type !== S_IFLNK) b.syscall("fchmodat", [AT.fdcwd, name, mode], { message: `set the mode of ${path}` });
  if (type !== S_IFDIR) setTimes(l, entry, path);
}

function setTimes(l: Lowering, { mtimeNs }: MountEntryRow, path: string): void {
  const b = l.builder;
  const times = b.u8s(mtimeNs / second, mtimeNs % second, mtimeNs / second, mtimeNs % second);
  b.syscall("utimensat", [AT.fdcwd, b.string(path), times, AT_SYMLINK_NOFOLLOW], { message: `set the times of ${path}` });
}

/** FIFOs, and devices: to make those takes a privilege that a user namespace does not give. There the machine's are shown instead. */
function makeNode(l: Lowering, entry: MountEntryRow, path: string): void {
  const b = l.builder;
  const name = b.string(path);
  const message = `make ${path} again`;
  const onMachine = machineDevices.get(`${entry.rdevMajor}:${entry.rdevMinor}`);
  const args = [AT.fdcwd, name, entry.mode, deviceNumber(entry)];
  if ((entry.mode & S_IFMT) !== S_IFCHR || onMachine === undefined) {
    b.syscall("mknodat", args, { message, hint: "resume as root" });
    return;
  }
  const result = b.slot(`result of making ${path}`);
  const fd = b.slot(`fd of ${path}`);
  const [denied, isOther, done] = [b.label("devices may not be made"), b.label("other trouble"), b.label("device is there")];
  b.syscall("mknodat", args, { store: result, orElse: denied });
  b.jump(done);
  b.place(denied);
  b.jumpIf(result, "ne", -ERRNO.perm, isOther);
  b.syscall("openat", [AT.fdcwd, name, O.rdonly | O.creat | O.excl | O.cloexec, 0o644], { store: fd, message });
  b.syscall("close", [fd]);
  b.syscall("mount", [b.string(onMachine), name, 0, MS_BIND, 0], { message: `show the machine's ${onMachine} at ${path}` });
  b.jump(done);
  b.place(isOther);
  b.fail(message, undefined, result);
  b.place(done);
}

const MS_BIND = 0x1000;
/** Devices without state, by number (Documentation/admin-guide/devices.txt). */
const machineDevices: ReadonlyMap<string, string> = new Map([
  ["1:3", "/dev/null"],
  ["1:5", "/dev/zero"],
  ["1:7", "/dev/full"],
  ["1:8", "/dev/random"],
  ["1:9", "/dev/urandom"],
  ["5:0", "/dev/tty"],
]);

/** The kernel's huge encoding of dev_t for system calls (new_encode_dev). */
function deviceNumber({ rdevMajor, rdevMinor }: MountEntryRow): number {
  return (rdevMinor & 0xff) | (rdevMajor << 8) | ((rdevMinor & ~0xff) << 12);
}
