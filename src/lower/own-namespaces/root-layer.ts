// SPDX-License-Identifier: Apache-2.0
/**
 * A root directory under a writable layer in memory (overlayfs), as container engines have one over an image: the directory
 * stays as it is, whatever the program writes. What the layer held at the dump is put there first. Entries that are
 * character devices 0:0 stand for what the container removed.
 */
import { AT, O } from "../constants.js";
import type { Lowering } from "../lowering.js";
import type { Slot } from "../operands.js";
import { fillTmpfs } from "./tmpfs.js";

const FSCONFIG = { setFlag: 0, setString: 1, create: 6 } as const;
const FSMOUNT_CLOEXEC = 1;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
/** struct stat: st_mode, st_uid, st_gid, u4 each. */
const statSize = 144;
const [modeAt, uidAt, gidAt] = [24, 28, 32];

/**
 * Ops: mounts it at `scratch`/root, an empty tmpfs being mounted at `scratch`, and enters it.
 * @param directory path of the directory below
 */
export function mountLayered(l: Lowering, mount: number, directory: Slot, scratch: string): void {
  const b = l.builder;
  const [upper, work, root] = ["upper", "work", "root"].map((name) => `${scratch}/${name}`) as [string, string, string];
  const below = b.slot("fd of the directory below the layer");
  const hint = "give the directory with the files of the container: --rootfs DIR";
  for (const path of [upper, work, root]) b.syscall("mkdirat", [AT.fdcwd, b.string(path), 0o755], { message: `make ${path}` });
  b.syscall("openat", [AT.fdcwd, directory, O.path | O.directory | O.cloexec, 0], {
    store: below,
    message: "open the root directory",
    hint,
  });
  const entries = l.checkpoint.tables.mountEntries.filter((row) => row.mount === mount);
  const known = new Set(entries.map(({ path }) => path));
  likeBelow(l, below, "", upper);
  fillTmpfs(l, mount, upper, ({ path }) => {
    // Directories that the layer shows only parts of have owners and modes as below.
    const parts = path.split("/");
    for (let depth = 1; depth < parts.length; depth++) {
      const parent = parts.slice(0, depth).join("/");
      if (known.has(parent)) continue;
      known.add(parent);
      b.syscall("mkdirat", [AT.fdcwd, b.string(`${upper}/${parent}`), 0o755], { message: `make ${parent} in the layer` });
      likeBelow(l, below, parent, `${upper}/${parent}`);
    }
  });
  b.syscall("close", [below]);
  const [fs, fd] = [b.slot("fd of the overlay"), b.slot("fd of its mount")];
  const message = "mount a writable layer over the root directory";
  const overlayHint = "it needs overlayfs; in a user namespace Linux 5.11";
  b.syscall("fsopen", [b.string("overlay"), 1], { store: fs, message, hint: overlayHint });
  const set = (key: string, value: string): void =>
    b.syscall("fsconfig", [fs, FSCONFIG.setString, b.string(key), b.string(value), 0], { message });
  set("source", "overlay");
  // Since Linux 6.8; before that a path with a colon does not do.
  const [old, isSet] = [b.label("without lowerdir+"), b.label("the directory below is set")];
  b.syscall("fsconfig", [fs, FSCONFIG.setString, b.string("lowerdir+"), directory, 0], { orElse: old });
  b.jump(isSet);
  b.place(old);
  b.syscall("fsconfig", [fs, FSCONFIG.setString, b.string("lowerdir"), directory, 0], { message });
  b.place(isSet);
  set("upperdir", upper);
  set("workdir", work);
  // Whoever is root in a user namespace only may not use trusted.*.
  const isRoot = b.label("attributes may be trusted");
  if (l.callersUser !== undefined) b.jumpIf(l.callersUser, "eq", 0, isRoot);
  b.syscall("fsconfig", [fs, FSCONFIG.setFlag, b.string("userxattr"), 0, 0], { expect: "any" });
  b.place(isRoot);
  b.syscall("fsconfig", [fs, FSCONFIG.create, 0, 0, 0], { message, hint: overlayHint });
  b.syscall("fsmount", [fs, FSMOUNT_CLOEXEC, 0], { store: fd, message });
  b.syscall("move_mount", [fd, b.string(""), AT.fdcwd, b.string(root), MOVE_MOUNT_F_EMPTY_PATH], { message });
  b.syscall("close", [fd]);
  b.syscall("close", [fs]);
  b.syscall("chdir", [b.string(root)], { message: "enter the root directory" });
}

/** Owner and mode of a directory of the layer, as it is below, if it is there. */
function likeBelow(l: Lowering, below: Slot, path: string, name: string): void {
  const b = l.builder;
  const stat = b.buffer(statSize);
  const mode = b.slot("mode");
  const absent = b.label("it is not there");
  b.syscall("newfstatat", [below, b.string(path), stat, path === "" ? AT.emptyPath : 0], { orElse: absent });
  b.syscall("fchownat", [AT.fdcwd, b.string(name), stat.at(uidAt).u4, stat.at(gidAt).u4, 0], { expect: "any" });
  b.compute(mode, "and", stat.at(modeAt).u4, 0o7777);
  b.syscall("fchmodat", [AT.fdcwd, b.string(name), mode], { message: `set the mode of ${name}` });
  b.place(absent);
}
