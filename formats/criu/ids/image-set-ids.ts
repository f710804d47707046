// SPDX-License-Identifier: Apache-2.0
/**
 * The identifiers that tie images together: file entries, shared memory, pipes, sockets, address spaces.
 * What a set said before is kept in foreign rows and used again; what is new gets numbers that are free.
 */
import type { FileKind, NamespaceKind, Tables } from "../../../src/gen/tables.js";
import type { FileMapping } from "../map/kind.js";
import { isRemoved } from "../map/removed.js";
import type { Anchor, ForeignReader } from "../foreign/foreign.js";

/** Behind the numbers that CRIU itself gives consoles and serial lines; from 2,177 it takes none. */
const deviceInfoBase = 2022;

/** Namespace identifiers as a dump without namespaces has them: the tasks live where the dumper lived. */
export const hostNamespaces = {
  pidNsId: 1,
  netNsId: 2,
  ipcNsId: 3,
  utsNsId: 4,
  timeNsId: 5,
  mntNsId: 6,
  userNsId: 7,
  cgroupNsId: 8,
} as const;

/** Numbers of the namespaces that a task lives in. */
export type NamespaceNumbers = { readonly [Key in keyof typeof hostNamespaces]: number };

/** Which number tells of a kind of namespace; user namespaces come first, as they own the others. */
export const namespaceKeys: Readonly<Record<NamespaceKind, keyof NamespaceNumbers>> = {
  user: "userNsId",
  mount: "mntNsId",
  pid: "pidNsId",
  network: "netNsId",
  ipc: "ipcNsId",
  uts: "utsNsId",
  cgroup: "cgroupNsId",
};

export function u32Bytes(...values: readonly number[]): Uint8Array {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => bytes.writeUInt32LE(value >>> 0, index * 4));
  return bytes;
}

export function u32Values(bytes: Uint8Array | undefined): number[] {
  if (!bytes) return [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: Math.floor(bytes.length / 4) }, (_, index) => view.getUint32(index * 4, true));
}

/** Pipes of the caller's are numbered from here, above the inodes that a machine usually has. */
const firstOutsidePipe = 0x7000_0000;

/** Hands out numbers from 1 up that nobody has. */
class Numbers {
  readonly #used = new Set<number>();
  #next = 1;

  take(number: number): void {
    this.#used.add(number);
  }

  fresh(): number {
    while (this.#used.has(this.#next)) this.#next++;
    this.#used.add(this.#next);
    return this.#next;
  }
}

export interface SharedMemoryIds {
  /** MemfdInode.inode_id; undefined for shared memory that is mapped without a memory file. */
  readonly inodeId: number | undefined;
  /** Number in pagemap-shmem-N.img. */
  readonly shmid: number;
}

export class ImageSetIds {
  readonly #files: number[] = [];
  readonly #objects = new Map<number, number[]>();
  readonly #regf = new Map<number, number>();
  readonly #sharedMemory = new Map<number, SharedMemoryIds>();
  readonly #ghosts = new Map<number, number>();
  readonly #pipes: number[] = [];
  readonly #sockets: number[] = [];
  readonly #mms: number[] = [];
  readonly #taskIds: { filesId: number; fsId: number; sighandId: number }[] = [];
  readonly #namespaces: number[] = [];
  readonly #namespacesOfTasks = new Map<number, NamespaceNumbers>();
  /** Objects that are the content of a file in a tmpfs, which has an image of its own. */
  readonly #tmpfsObjects: ReadonlySet<number>;
  /** Entry of "/" for tasks whose root is the dumper's. */
  readonly rootDirectoryId: number;

  constructor(
    readonly tables: Tables,
    readonly foreign: ForeignReader,
    private readonly kinds: Readonly<Record<FileKind, FileMapping>>,
    /** Mount points at which the engine of a container binds something of its own. */
    readonly enginePoints: ReadonlySet<string> = new Set(),
  ) {
    this.#tmpfsObjects = new Set(tables.mountEntries.flatMap(({ object }) => (object === null ? [] : [object])));
    this.#fileEntries();
    this.#shared();
    this.#inodes();
    this.#perTask();
    this.#perNamespace();
    this.rootDirectoryId = this.#rootDirectory();
  }

  fileId(row: number): number {
    return at(this.#files, row);
  }

  /** The entry with the path of an open FIFO or terminal. */
  pathFileId(row: number): number {
    return this.#regf.get(row) ?? 0;
  }

  /** Entries of an object that is mapped, a working directory or an executable; the first is the usual one. */
  objectFileIds(row: number): readonly number[] {
    return this.#objects.get(row) ?? [];
  }

  objectFileId(row: number | null): number {
    return row === null ? 0 : (this.objectFileIds(row)[0] ?? 0);
  }

  objectsWithFiles(): IterableIterator<number> {
    return this.#objects.keys();
  }

  sharedMemory(object: number): SharedMemoryIds {
    return this.#sharedMemory.get(object) ?? { inodeId: undefined, shmid: 0 };
  }

  /** Memory files, and shared memory that came as one. */
  isMemoryFile(object: number | null): boolean {
    return object !== null && this.sharedMemory(object).inodeId !== undefined;
  }

  /** Entry of the other name of a file that lost its own, as a set had it. */
  linkTargetId(object: number): number | undefined {
    return this.#kept({ table: "objects", row: object }, "link-id")[0];
  }

  ghostId(object: number): number {
    return this.#ghosts.get(object) ?? 0;
  }

  /** Rows of objects that have an image of their own, as nothing else has their content. */
  get ghosts(): IterableIterator<number> {
    return this.#ghosts.keys();
  }

  /** Number of a namespace of the tree's own, as in the names of its images. */
  namespaceId(row: number): number {
    return at(this.#namespaces, row);
  }

  /** Those of the tree's own, and of others the dumper's. */
  namespacesOf(task: number): NamespaceNumbers {
    return this.#namespacesOfTasks.get(task) ?? hostNamespaces;
  }

  /** Rows of the threads of a task, the leader first. */
  threadsOf(task: number): readonly number[] {
    if (!this.#threads) {
      this.#threads = new Map();
      for (const [row, thread] of this.tables.threads.entries()) {
        const rows = this.#threads.get(thread.task);
        if (rows) rows.push(row);
        else this.#threads.set(thread.task, [row]);
      }
    }
    return this.#threads.get(task) ?? [];
  }
  #threads: Map<number, number[]> | undefined;

  /** Terminals, the caller's among them; other descriptors of the caller are none. */
  isTerminal(row: number): boolean {
    const file = this.tables.files[row];
    if (!file || (file.kind !== "tty" && file.kind !== "inherited") || file.object === null) return false;
    return this.tables.objects[file.object]?.kind === "char_device";
  }

  /**
   * tty-info.img's number of an open terminal. CRIU finds the ends of a pseudoterminal by it: even for the slave, one
   * more for the master.
   */
  ttyInfoId(row: number): number {
    const file = this.tables.files[row];
    const terminal = file?.kind === "pty" && file.detail !== null ? this.tables.terminals[file.detail] : undefined;
    if (terminal?.kind === "device") return this.#kept({ table: "files", row }, "tty-info-id")[0] ?? deviceInfoBase + (file?.detail ?? 0);
    const path = file?.object == null ? undefined : this.tables.objects[file.object]?.path;
    const slave = terminal?.index ?? (/\/pts\/(\d{1,4})$/.exec(path ?? "")?.[1] as string | undefined);
    const own = slave === undefined ? undefined : Number(slave) * 2 + (terminal?.master === row ? 1 : 0);
    return this.#kept({ table: "files", row }, "tty-info-id")[0] ?? own ?? this.#files[row] ?? 0;
  }

  pipeId(row: number): number {
    return at(this.#pipes, row);
  }

  /** Number of a pipe whose other end is the caller's, by its row in `files`. */
  outsidePipeId(row: number): number {
    let id = firstOutsidePipe + row;
    while (this.#pipes.includes(id)) id += this.tables.files.length;
    return id;
  }

  socketInode(row: number): number {
    return at(this.#sockets, row);
  }

  vmId(mm: number): number {
    return at(this.#mms, mm);
  }

  task(row: number): { readonly filesId: number; readonly fsId: number; readonly sighandId: number } {
    return at(this.#taskIds, row);
  }

  #kept(anchor: Anchor, key: string): number[] {
    return u32Values(this.foreign.get(anchor, key));
  }

  /** Ids of files.img: of open files, and of objects that are used otherwise. */
  #fileEntries(): void {
    const { tables } = this;
    const numbers = new Numbers();
    for (const { value } of this.foreign.whole("file-id")) for (const id of u32Values(value)) numbers.take(id);
    tables.objects.forEach((_, row) => {
      const id = this.linkTargetId(row);
      if (id !== undefined) numbers.take(id);
    });
    const kept = tables.files.map((_, row) => this.#kept({ table: "files", row }, "id")[0]);
    const keptPath = tables.files.map((_, row) => this.#kept({ table: "files", row }, "path-id")[0]);
    const keptObjects = tables.objects.map((_, row) => this.#kept({ table: "objects", row }, "ids"));
    for (const id of [...kept, ...keptPath, ...keptObjects.flat()]) if (id !== undefined) numbers.take(id);
    const used = this.#usedObjects();
    tables.objects.forEach((_, row) => {
      const ids = keptObjects[row] ?? [];
      if (ids.length > 0) this.#objects.set(row, ids);
      else if (used.has(row)) this.#objects.set(row, [numbers.fresh()]);
    });
    tables.files.forEach((file, row) => {
      this.#files.push(kept[row] ?? numbers.fresh());
      if (this.kinds[file.kind].hasPathEntry?.(this, row)) this.#regf.set(row, keptPath[row] ?? numbers.fresh());
    });
    this.#rootNumber = () => numbers.fresh();
  }
  #rootNumber: () => number = () => 0;

  #rootDirectory(): number {
    const row = this.tables.objects.findIndex((object) => object.kind === "directory" && object.path === "/");
    const known = row < 0 ? undefined : this.objectFileIds(row)[0];
    return known ?? this.#rootNumber();
  }

  /** Objects that need an entry of their own: mapped files, executables, directories. */
  #usedObjects(): Set<number> {
    const { tables } = this;
    const used = new Set<number>();
    const use = (object: number | null): void => {
      if (object !== null) used.add(object);
    };
    for (const task of tables.tasks) {
      use(task.cwd);
      use(task.root);
    }
    for (const mm of tables.mms) use(mm.exe);
    for (const vma of tables.vmas) {
      if (vma.object === null) continue;
      const isPlainShared =
        tables.objects[vma.object]?.kind === "shared_memory" &&
        this.foreign.get({ table: "objects", row: vma.object }, "memfd") === undefined;
      if (!isPlainShared) use(vma.object);
    }
    return used;
  }

  #shared(): void {
    const inodeNumbers = new Numbers();
    const memoryNumbers = new Numbers();
    const { objects } = this.tables;
    const kept = objects.map((_, row) => {
      const [inodeId, shmid] = this.#kept({ table: "objects", row }, "memfd");
      const plain = this.#kept({ table: "objects", row }, "shmid")[0];
      if (inodeId !== undefined) inodeNumbers.take(inodeId);
      for (const number of [shmid, plain]) if (number !== undefined) memoryNumbers.take(number);
      return { inodeId, shmid: shmid ?? plain };
    });
    // In an IPC namespace of the tree's own, System V segments are known by their ids.
    const segments = new Map(this.#ownSegments().map(({ object, id }) => [object, id]));
    for (const id of segments.values()) memoryNumbers.take(id);
    objects.forEach((object, row) => {
      if (object.kind !== "memfd" && object.kind !== "shared_memory") return;
      const known = kept[row];
      const shmid = segments.get(row) ?? known?.shmid ?? memoryNumbers.fresh();
      const inodeId = known?.inodeId ?? (object.kind === "memfd" ? inodeNumbers.fresh() : undefined);
      this.#sharedMemory.set(row, { inodeId, shmid });
    });
  }

  #ownSegments(): Tables["sysvSegments"] {
    const { namespaces, sysvSegments } = this.tables;
    return namespaces.some(({ kind }) => kind === "ipc") ? sysvSegments : [];
  }

  /** True for a System V segment that a set in an IPC namespace of its own has as one. */
  isSegment(object: number | null): boolean {
    return object !== null && this.#ownSegments().some((segment) => segment.object === object);
  }

  /** Ghosts, pipes and sockets. Inode numbers serve where they fit into 32 bits and are unique. */
  #inodes(): void {
    const { objects, pipes, sockets } = this.tables;
    const ghosts = new Numbers();
    const keptGhosts = objects.map((_, row) => this.#kept({ table: "objects", row }, "ghost-id")[0]);
    for (const id of keptGhosts) if (id !== undefined) ghosts.take(id);
    objects.forEach((object, row) => {
      if (isRemoved(object) && !this.#tmpfsObjects.has(row)) this.#ghosts.set(row, keptGhosts[row] ?? ghosts.fresh());
    });
    this.#pipes.push(...uniqueInodes(pipes.map((pipe) => pipe.ino)));
    this.#sockets.push(...uniqueInodes(sockets.map((socket) => socket.ino)));
  }

  #perNamespace(): void {
    const { namespaces, taskNamespaces } = this.tables;
    const numbers = new Numbers();
    for (const number of Object.values(hostNamespaces)) numbers.take(number);
    const kept = namespaces.map((_, row) => this.#kept({ table: "namespaces", row }, "id")[0]);
    for (const number of kept) if (number !== undefined) numbers.take(number);
    for (const row of namespaces.keys()) this.#namespaces.push(kept[row] ?? numbers.fresh());
    for (const { task, namespace } of taskNamespaces) {
      const kind = namespaces[namespace]?.kind;
      if (kind === undefined) continue;
      this.#namespacesOfTasks.set(task, { ...this.namespacesOf(task), [namespaceKeys[kind]]: this.namespaceId(namespace) });
    }
  }

  #perTask(): void {
    const { tables } = this;
    const spaces = new Numbers();
    const tasks = new Numbers();
    const keptSpaces = tables.mms.map((_, row) => this.#kept({ table: "mms", row }, "vm-id")[0]);
    const keptTasks = tables.tasks.map((_, row) => this.#kept({ table: "tasks", row }, "ids"));
    // 1 is the dumper's own in each kind.
    spaces.take(1);
    tasks.take(1);
    for (const id of keptSpaces) if (id !== undefined) spaces.take(id);
    for (const id of keptTasks.flat()) tasks.take(id);
    tables.mms.forEach((_, row) => this.#mms.push(keptSpaces[row] ?? spaces.fresh()));
    tables.tasks.forEach((task, row) => {
      const [filesId, fsId, sighandId] = keptTasks[row] ?? [];
      const fresh = filesId === undefined || fsId === undefined || sighandId === undefined ? tasks.fresh() : 0;
      const shared = task.descriptorTable === null ? undefined : this.#taskIds[task.descriptorTable]?.filesId;
      this.#taskIds.push({ filesId: shared ?? filesId ?? fresh, fsId: fsId ?? fresh, sighandId: sighandId ?? fresh });
    });
  }
}

function uniqueInodes(inodes: readonly bigint[]): number[] {
  const numbers = new Numbers();
  const counts = new Map<bigint, number>();
  for (const ino of inodes) counts.set(ino, (counts.get(ino) ?? 0) + 1);
  const fits = inodes.map((ino) => ino > 0n && ino <= 0xffffffffn && counts.get(ino) === 1);
  inodes.forEach((ino, index) => {
    if (fits[index] === true) numbers.take(Number(ino));
  });
  return inodes.map((ino, index) => (fits[index] === true ? Number(ino) : numbers.fresh()));
}

function at<Value>(list: readonly Value[], row: number): Value {
  const value = list[row];
  if (value === undefined) throw new RangeError(`no row ${row}`);
  return value;
}
