// SPDX-License-Identifier: Apache-2.0
/** Names of unix sockets: paths (absolute, relative, deleted) and abstract ones. */
import { posix } from "node:path";
import { decodeText } from "../../../bytes/text.js";
import { CrimgError } from "../../../errors/crimg-error.js";
import type { SocketRow } from "../../../gen/tables.js";
import type { LowerContext } from "../../../lower/context.js";
import type { DataRef, Slot } from "../../../lower/operands.js";
import { withParents } from "../../../lower/fds/removed.js";
import { AT_FDCWD, errno, openFlags } from "../../../lower/fds/shared.js";

const AF_UNIX = 1;
const AT_SYMLINK_NOFOLLOW = 0x100;
const S_IFMT = 0o170000;
const S_IFSOCK = 0o140000;

/** A socket's name, and where relative ones count from. */
export interface UnixName {
  readonly address: Uint8Array;
  /** Absolute path of the socket file; undefined for abstract names. */
  readonly path?: string;
  /** For relative names: the directory they count from. */
  readonly base?: string;
  /** Absolute path at which it is bound; `path` if it still has that name, or another name of the same directory. */
  readonly boundAt?: string;
}

/** The name of a socket row; undefined if it is not bound. */
export function nameOfSocket(context: LowerContext, index: number, row: SocketRow): UnixName | undefined {
  if (row.localAddress.length <= 2) return undefined;
  if (row.localAddress[2] === 0) return { address: row.localAddress };
  const end = row.localAddress.indexOf(0, 2);
  const written = decodeText(row.localAddress.subarray(2, end < 0 ? row.localAddress.length : end));
  const path = row.object === null ? undefined : context.checkpoint.tables.objects[row.object]?.path;
  if (written.startsWith("/")) return { address: row.localAddress, path: path ?? written, boundAt: posix.normalize(written) };
  // Where a name was that is gone makes no difference to anybody: it goes again at once.
  if (path === undefined && row.isDeleted !== 0) {
    const base = firstDirectory(context);
    return { address: row.localAddress, path: posix.join(base, written), base, boundAt: posix.join(base, written) };
  }
  const base = path === undefined ? undefined : baseOf(context, written, path);
  if (base === undefined) {
    throw new CrimgError("lower.unix_name", `socket ${index} is bound to the relative path ${written}, and nothing says where that was`, {
      path: `sockets[${index}]`,
    });
  }
  return { address: row.localAddress, path: path as string, base, boundAt: posix.resolve(base, written) };
}

/** The current directory of the first task that has one. */
function firstDirectory({ checkpoint }: LowerContext): string {
  const { tasks, objects } = checkpoint.tables;
  for (const { cwd } of tasks) {
    const object = cwd === null ? undefined : objects[cwd];
    if (object !== undefined && object.nlink > 0) return object.path;
  }
  return "/tmp";
}

/** The directory from which `written` leads to `path`. */
function baseOf({ checkpoint }: LowerContext, written: string, path: string): string | undefined {
  const normal = posix.normalize(written);
  if (path.endsWith(`/${normal}`)) return path.slice(0, path.length - normal.length);
  const { tasks, objects } = checkpoint.tables;
  const cwd = tasks
    .map((task) => (task.cwd === null ? undefined : objects[task.cwd]?.path))
    .find((cwd) => cwd !== undefined && posix.resolve(cwd, written) === path);
  // A plain name that is another now was most likely renamed where it was.
  return cwd ?? (normal.includes("/") ? undefined : posix.dirname(path));
}

/** Runs `build` with the current directory at the base of a relative name. */
function atBase(context: LowerContext, name: UnixName, build: () => void): void {
  if (name.base === undefined) {
    build();
    return;
  }
  const { builder } = context;
  const before = builder.slot("directory before");
  // In a rehearsal the directory stays the private one.
  builder.syscall("openat", [AT_FDCWD, builder.string("."), openFlags.PATH | openFlags.DIRECTORY | openFlags.CLOEXEC, 0], {
    store: before,
    message: "remember the current directory",
  });
  builder.outside(() => builder.syscall("chdir", [builder.string(name.base ?? ".")], { message: `go to ${name.base}` }));
  build();
  builder.syscall("fchdir", [before], { message: "go back to the directory before" });
  builder.syscall("close", [before]);
}

/** An address by which a socket can be reached, whatever has become of its name. */
export interface ReachableAddress {
  readonly address: DataRef;
  readonly length: number;
}

/** The address as it was given. */
export function plainAddress({ builder }: LowerContext, address: Uint8Array): ReachableAddress {
  return { address: builder.bytes(address), length: address.length };
}

/**
 * Binds a socket to its name. A socket file left behind is replaced if nobody answers on it any more. A deleted name is
 * gone again afterwards, and what has that name now is untouched. Several sockets may have had one name, one after the
 * other; so the address leads through a descriptor of the socket file: connect(2) and sendto(2) find the socket by inode.
 */
export function bindName(context: LowerContext, slot: Slot, name: UnixName, row: SocketRow, purpose: string): ReachableAddress {
  const { builder } = context;
  const { path } = name;
  const isDeleted = row.isDeleted !== 0;
  const bind = (): void => {
    const [address, length] = addressToBind(context, name);
    builder.syscall("bind", [slot, address, length], {
      message: `bind a unix socket to ${printable(name)} ${purpose}`,
      hint: path === undefined ? "is another program using that name?" : "the directory must exist and be writable, as it was at the dump",
    });
  };
  if (path === undefined) {
    bind();
    return plainAddress(context, name.address);
  }
  const { boundAt = path } = name;
  let address: ReachableAddress | undefined;
  const bindAtPath = (): void => {
    const aside = isDeleted ? moveAside(context, path, purpose) : undefined;
    if (!isDeleted) builder.outside(() => replaceStale(context, name, path, row, purpose));
    if (boundAt === path) atBase(context, name, bind);
    else bindAndRename(context, name, boundAt, path, purpose, bind);
    if (row.object !== null) setOwner(context, path, row.object);
    address = openAddress(context, path, purpose);
    if (aside) {
      builder.syscall("unlinkat", [AT_FDCWD, builder.nameToMake(path), 0], { message: `remove ${path} again` });
      putBack(context, path, aside);
    }
  };
  if (isDeleted) withParents(context, path, bindAtPath);
  else bindAtPath();
  return address as unknown as ReachableAddress;
}

/**
 * A socket whose file was renamed after bind: what has the first name now is untouched. Where both are one file (the name
 * leads over a symbolic link) the renaming does nothing.
 */
function bindAndRename(context: LowerContext, name: UnixName, boundAt: string, path: string, purpose: string, bind: () => void): void {
  const { builder } = context;
  withParents(context, boundAt, () => {
    const aside = moveAside(context, boundAt, purpose);
    atBase(context, name, bind);
    // In a rehearsal it was bound under the name that stands for the last one.
    builder.outside(() => {
      builder.syscall("renameat", [AT_FDCWD, builder.string(boundAt), AT_FDCWD, builder.string(path)], {
        message: `rename the unix socket ${boundAt} to ${path} ${purpose}`,
      });
    });
    putBack(context, boundAt, aside);
  });
}

/** The address to bind to, and its length. */
function addressToBind({ builder }: LowerContext, { address, path }: UnixName): readonly [Slot, Slot] {
  const rehearsed = path === undefined ? address : Uint8Array.from([AF_UNIX, 0, ...Buffer.from(builder.rehearsedName(path)), 0]);
  return [
    builder.either(builder.bytes(address), builder.bytes(rehearsed), "address to bind to"),
    builder.either(address.length, rehearsed.length, "length of the address"),
  ];
}

/** A sockaddr_un of /proc/self/fd/N, N being an O_PATH descriptor of the socket file. */
function openAddress(context: LowerContext, path: string, purpose: string): ReachableAddress {
  const { builder } = context;
  const file = builder.slot(`socket file ${path}`);
  builder.syscall("openat", [AT_FDCWD, builder.nameToMake(path), openFlags.PATH | openFlags.NOFOLLOW | openFlags.CLOEXEC, 0], {
    store: file,
    message: `open the socket file ${path} ${purpose}`,
  });
  context.keepHigh(file);
  const length = 48;
  const address = builder.buffer(length);
  builder.store4(address, AF_UNIX);
  builder.format(address.at(2), "/proc/self/fd/", file);
  return { address, length };
}

/** `@name` for abstract names. */
export function printable(name: UnixName): string {
  return name.path ?? `@${decodeText(name.address.subarray(3))}`;
}

/** The same of a socket that is not of the tree. */
export function outsideName(address: Uint8Array): string {
  if (address[2] === 0) return printable({ address });
  const end = address.indexOf(0, 2);
  return decodeText(address.subarray(2, end < 0 ? undefined : end));
}

interface Aside {
  readonly path: string;
  /** 0 if there was a file of that name. */
  readonly moved: Slot;
}

function moveAside({ builder }: LowerContext, path: string, purpose: string): Aside {
  const aside = `${path}.crimg-aside`;
  const moved = builder.slot(`moved ${path} aside`);
  builder.compute(moved, "move", -errno.ENOENT);
  builder.outside(() => {
    builder.syscall("renameat", [AT_FDCWD, builder.string(path), AT_FDCWD, builder.string(aside)], {
      store: moved,
      expect: [0, -errno.ENOENT],
      message: `move ${path} aside ${purpose}`,
    });
  });
  return { path: aside, moved };
}

function putBack({ builder }: LowerContext, path: string, aside: Aside): void {
  const done = builder.label("nothing was there");
  builder.jumpIf(aside.moved, "ne", 0, done);
  builder.syscall("renameat", [AT_FDCWD, builder.string(aside.path), AT_FDCWD, builder.string(path)], { message: `put ${path} back` });
  builder.place(done);
}

/** Removes a socket file that the dumped process left, unless somebody answers on it. */
function replaceStale(context: LowerContext, name: UnixName, path: string, row: SocketRow, purpose: string): void {
  const { builder } = context;
  const stat: DataRef = builder.buffer(144);
  const result = builder.slot(`stat of ${path}`);
  const free = builder.label("name is free");
  const stale = builder.label("nobody listens");
  const isSocket = builder.label("it is a socket");
  builder.syscall("newfstatat", [AT_FDCWD, builder.string(path), stat, AT_SYMLINK_NOFOLLOW], { store: result, orElse: free });
  const type = builder.slot("file type");
  builder.compute(type, "and", stat.at(24).u4, S_IFMT);
  builder.jumpIf(type, "eq", S_IFSOCK, isSocket);
  builder.fail(`${path} ${purpose} is now another file, not a socket`, "move it away");
  builder.place(isSocket);
  const probe = builder.slot("probe");
  builder.syscall("socket", [1, row.type | openFlags.CLOEXEC | openFlags.NONBLOCK, 0], { store: probe, message: "make a socket" });
  const answer = builder.slot("answer");
  const connect = (to: ReachableAddress): void => {
    builder.syscall("connect", [probe, to.address, to.length], { store: answer, expect: "any" });
  };
  if (name.boundAt === undefined || name.boundAt === path) atBase(context, name, () => connect(plainAddress(context, name.address)));
  else connect(openAddress(context, path, purpose));
  builder.syscall("close", [probe]);
  builder.jumpIf(answer, "eq", -errno.ECONNREFUSED, stale);
  builder.fail(`another program is using the unix socket ${path} ${purpose}`, "stop it first", answer);
  builder.place(stale);
  builder.syscall("unlinkat", [AT_FDCWD, builder.string(path), 0], { message: `remove the stale socket ${path} ${purpose}` });
  builder.place(free);
}

/** Mode and owner of the socket file. An ordinary user may not give files away. */
function setOwner({ builder, checkpoint }: LowerContext, path: string, object: number): void {
  const row = checkpoint.tables.objects[object];
  if (row === undefined) return;
  const name = builder.nameToMake(path);
  builder.syscall("fchownat", [AT_FDCWD, name, row.uid, row.gid, AT_SYMLINK_NOFOLLOW], { expect: "any" });
  builder.syscall("fchmodat", [AT_FDCWD, name, row.mode & 0o7777], { message: `set the mode of ${path}` });
}
