// SPDX-License-Identifier: Apache-2.0
/** The table of inodes: files, directories, shared memory … that tasks map, open or stand in. */
import { decodeText } from "../bytes/text.js";
import type { MutableTables, ObjectKind, ObjectRow } from "../gen/tables.js";
import { objectRow } from "../gen/tables.js";
import type { PageSource } from "../model/page-source.js";
import { failed, type FileStat, trySeekData, trySeekHole, tryReadlink, tryStat, tryStatfsType, SysError, errno } from "../native/index.js";
import { FilePageSource } from "../pages/file-source.js";
import { inodeFlagsOf, xattrsOf } from "./attributes.js";
import type { MountSpace, TreeView } from "./namespaces/view.js";
import type { Questioned } from "./context.js";
import { overlayFileSystem } from "../linux/file-systems.js";
import { findOtherName } from "./other-name.js";
import { refusal } from "./refusal.js";

const deletedSuffix = Buffer.from(" (deleted)");
const memfdPrefix = Buffer.from("/memfd:");
const S_IFMT = 0o170000;
const sharedMemoryMode = 0o100777;
/** PROC_SUPER_MAGIC of linux/magic.h. */
const procFileSystem = 0x9fa0n;
/** SECRETMEM_MAGIC (linux/magic.h) */
const secretMemory = 0x5345434dn;

/** What is below /proc/PID of a process that is gone, but for its threads. An open file keeps its name as if nothing had happened. */
export function isOfEndedProcess(link: Buffer, fsMagic: bigint): boolean {
  if (fsMagic !== procFileSystem) return false;
  const [, pid, , suffix] = /^\/proc\/(\d+)(\/(?!task\/).*?)?( \(deleted\))?$/.exec(link.toString("latin1")) ?? [];
  return pid !== undefined && (suffix !== undefined || typeof tryStat(`/proc/${pid}`) === "number");
}

/** st_mode's type to the model's kind. */
const kindByMode: ReadonlyMap<number, ObjectKind> = new Map([
  [0o100000, "file"],
  [0o040000, "directory"],
  [0o020000, "char_device"],
  [0o060000, "block_device"],
  [0o010000, "fifo"],
  [0o140000, "unix_socket"],
  [0o120000, "symlink"],
]);

export interface ObjectSource {
  readonly stat: FileStat;
  /** The name as a /proc link shows it: " (deleted)" included. */
  readonly link: Buffer;
  readonly fsMagic: bigint;
  /** Fields that the caller knows better (memfd seals, build-id …). */
  readonly fields?: Partial<ObjectRow>;
  /** What holds it, for messages: "fd 7 of 4711". */
  readonly holder: string;
  /** The mount namespace that the name is of; that of the root of the tree if absent. */
  readonly space?: MountSpace | undefined;
}

/** Anonymous shared memory, opened through /proc/PID/map_files: shmem_zero_setup (mm/shmem.c) names it so, with all permissions. */
function isSharedMemory({ stat, link }: ObjectSource): boolean {
  return stat.nlink === 0 && stat.mode === sharedMemoryMode && link.toString("latin1") === "/dev/zero (deleted)";
}

/** Builds the objects table; one row an inode and name. */
export class ObjectTable {
  readonly #tables: MutableTables;
  readonly #index = new Map<string, number>();
  readonly #sources: PageSource[];
  readonly #stored = new Set<number>();
  readonly #segments = new Map<number, number>();

  constructor(
    tables: MutableTables,
    sources: PageSource[],
    private readonly view: TreeView,
  ) {
    this.#tables = tables;
    this.#sources = sources;
  }

  /** The row of an object, made at its first use. Unlinked files become ghosts whose content must be stored. */
  add(source: ObjectSource): number {
    const { stat, link } = source;
    const isDeleted = link.subarray(-deletedSuffix.length).equals(deletedSuffix);
    if (source.fsMagic === secretMemory)
      throw refusal("secret-memory", `${source.holder}: secret memory (memfd_secret), which only the program can read`);
    const isEnded = isOfEndedProcess(link, source.fsMagic);
    if (isDeleted && source.fsMagic === procFileSystem && !isEnded) {
      throw refusal("ended-process", `${source.holder}: ${decodeText(link)} told of a process or thread that is gone`, {
        hint: "Let the program close or leave it, and dump again.",
      });
    }
    if (isSharedMemory(source)) {
      return this.addSharedMemory(stat.devMajor, stat.devMinor, stat.ino, stat.size);
    }
    const isMemfd = isDeleted && link.subarray(0, memfdPrefix.length).equals(memfdPrefix);
    let name = isDeleted ? link.subarray(0, -deletedSuffix.length) : link;
    let linkTarget = "";
    // A file of a layer below keeps its links there, whatever is removed of what overlayfs shows.
    const numLinks = isDeleted && source.fsMagic === overlayFileSystem ? 0 : stat.nlink;
    let kind = kindByMode.get(stat.mode & S_IFMT) ?? "other";
    if (isMemfd) {
      kind = "memfd";
      name = name.subarray(memfdPrefix.length);
    } else if (isDeleted && !isEnded && kind === "file") {
      const otherName = stat.nlink > 0 ? findOtherName(name, stat, this.view, source.space) : undefined;
      if (numLinks > 0 && otherName === undefined) {
        throw refusal("renamed", `${source.holder}: ${decodeText(name)} was removed, but the file lives on under another name`, {
          hint: "Close it, or put the name back, and dump again.",
        });
      }
      if (otherName !== undefined) linkTarget = decodeText(otherName);
      else kind = "ghost";
    }
    const space = this.view.isOther(source.space) && kind !== "memfd" ? source.space.namespace : undefined;
    const place = space === undefined ? "" : `${space}:`;
    const isNameless = kind === "ghost" || kind === "memfd";
    const key = `${stat.devMajor}:${stat.devMinor}:${stat.ino}:${isNameless ? "" : place + name.toString("latin1")}`;
    const known = this.#index.get(key);
    if (known !== undefined) {
      if (source.fields) this.update(known, source.fields);
      return known;
    }
    const row = objectRow({
      kind,
      mode: stat.mode,
      path: decodeText(name),
      devMajor: stat.devMajor,
      devMinor: stat.devMinor,
      rdevMajor: stat.rdevMajor,
      rdevMinor: stat.rdevMinor,
      uid: stat.uid,
      gid: stat.gid,
      nlink: kind === "ghost" ? numLinks : stat.nlink,
      ino: stat.ino,
      size: stat.size,
      mtimeNs: stat.mtimeNs,
      atimeNs: stat.atimeNs,
      fsMagic: source.fsMagic,
      linkTarget,
      isEnded: isEnded ? 1 : 0,
      ...source.fields,
    });
    const index = this.#push(key, row);
    if (space !== undefined) this.#tables.objectNamespaces.push({ object: index, namespace: space });
    return index;
  }

  /** The object behind a magic link of /proc (fd/N, cwd, root, exe, map_files/…) of a process. Throws SysError. */
  addLink(path: string, holder: string, fields?: Partial<ObjectRow>, process?: Questioned): number {
    const stat = tryStat(path);
    if (typeof stat === "number") throw new SysError("stat", -stat, `${holder} (${path})`);
    const link = tryReadlink(path);
    if (link === undefined) throw new SysError("readlink", errno.ENOENT, `${holder} (${path})`);
    const magic = tryStatfsType(path);
    const isDirectory = (stat.mode & S_IFMT) === 0o040000;
    const space = process && (isDirectory ? this.view.spaceOfTask(process) : this.view.spaceOfFile(process, link, stat));
    return this.add({
      stat,
      link,
      fsMagic: typeof magic === "number" ? 0n : magic,
      fields,
      holder,
      space,
    });
  }

  /** Anonymous shared memory, known by the kernel's device and inode numbers of it. */
  addSharedMemory(devMajor: number, devMinor: number, ino: bigint, size: bigint): number {
    const key = `${devMajor}:${devMinor}:${ino}:`;
    const known = this.#index.get(key);
    if (known !== undefined) {
      if (this.row(known).size < size) this.update(known, { size });
      return known;
    }
    return this.#push(key, objectRow({ kind: "shared_memory", mode: sharedMemoryMode, devMajor, devMinor, ino, size }));
  }

  /** A System V segment, which the kernel numbers apart from all other memory; `size` in bytes, as far as it is known. */
  addSegment(id: number, size: bigint): number {
    const known = this.#segments.get(id);
    if (known !== undefined) {
      if (this.row(known).size < size) this.update(known, { size });
      return known;
    }
    const index = this.#push(`sysv:${id}`, objectRow({ kind: "shared_memory", mode: 0o100777, ino: BigInt(id), size }));
    this.#segments.set(id, index);
    return index;
  }

  /** A descriptor that is mapped and has no name by which it could be opened: a packet socket, an io_uring. */
  addMappedDescriptor(ino: bigint, name: string): number {
    const key = `${name}:${ino}`;
    const mode = name.startsWith("socket:") ? 0o140777 : 0o600;
    return this.#index.get(key) ?? this.#push(key, objectRow({ kind: "other", mode, path: name, ino }));
  }

  /** Rows of System V segments by id. */
  get segments(): ReadonlyMap<number, number> {
    return this.#segments;
  }

  /** Whether something without a name (a ghost, a memfd) is in the table already. */
  isKnown(devMajor: number, devMinor: number, ino: bigint): boolean {
    return this.#index.has(`${devMajor}:${devMinor}:${ino}:`);
  }

  #push(key: string, row: ObjectRow): number {
    const index = this.#tables.objects.push(row) - 1;
    this.#index.set(key, index);
    return index;
  }

  row(index: number): ObjectRow {
    const row = this.#tables.objects[index];
    if (row === undefined) throw new RangeError(`no object ${index}`);
    return row;
  }

  update(index: number, fields: Partial<ObjectRow>): void {
    this.#tables.objects[index] = { ...this.row(index), ...fields };
  }

  /** Whether the content of this object must be in the image: it exists nowhere else. */
  needsContents(index: number): boolean {
    const { kind } = this.row(index);
    return (kind === "ghost" || kind === "memfd" || kind === "shared_memory") && !this.#stored.has(index);
  }

  /** Adds a page source; extents refer to it by the number returned. */
  addSource(source: PageSource): number {
    return this.#sources.push(source) - 1;
  }

  /** Marks the contents of an object as stored by extents that the caller adds. */
  markStored(index: number): void {
    this.#stored.add(index);
  }

  /**
   * Stores the contents through a descriptor of crimg's own, which this takes over: extents are the data between
   * holes. The file offset of `fd` must not be shared with the target (reopen it through /proc/self/fd).
   */
  storeContents(index: number, fd: number, size: bigint): void {
    const { kind } = this.row(index);
    if (kind === "ghost" || kind === "memfd") {
      this.update(index, { inodeFlags: inodeFlagsOf(fd) });
      for (const { name, value } of xattrsOf(fd)) this.#tables.xattrs.push({ object: index, name, value });
    }
    const source = this.addSource(new FilePageSource(this.row(index).path || `shared memory ${this.row(index).ino}`, fd));
    this.#stored.add(index);
    const page = 4096n;
    let at = 0n;
    while (at < size) {
      const data = trySeekData(fd, at);
      if (data === BigInt(-errno.ENXIO)) break;
      // A file system without SEEK_DATA: all of it is data.
      const start = failed(Number(data)) ? at : data;
      const hole = failed(Number(data)) ? size : trySeekHole(fd, start);
      const end = hole < 0n || hole > size ? size : hole;
      const from = start & ~(page - 1n);
      if (end > from) {
        this.#tables.extents.push({
          ownerKind: "object",
          owner: index,
          address: from,
          length: end - from,
          fileOffset: from,
          source,
        });
      }
      at = end > at ? end : size;
    }
  }
}
