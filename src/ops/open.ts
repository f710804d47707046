// SPDX-License-Identifier: Apache-2.0
/** A checkpoint in any format, for programs: tasks, threads, mappings, descriptors, and memory by address. */
import type { Loss } from "../adapter/format.js";
import { formatInfo, type FormatInfo } from "../adapter/format-info.js";
import type { FormatRegistry } from "../adapter/registry.js";
import { decodeText } from "../bytes/text.js";
import { CrimgError } from "../errors/crimg-error.js";
import type {
  DescriptorRow,
  FileKind,
  Gpregs,
  MmRow,
  ObjectRow,
  OpenFileRow,
  TaskRow,
  TaskState,
  ThreadRow,
  VmaKind,
  VmaRow,
} from "../gen/tables.js";
import type { Checkpoint } from "../model/checkpoint.js";
import { MappedFiles } from "../pages/mapped-files.js";
import { MemoryView, type MemoryRun } from "../pages/memory-view.js";
import { readCheckpoint } from "./convert.js";
import { resolveInput, type Input } from "./input.js";

/** What {@link open} takes beside the path. */
export interface OpenOptions {
  /** Format id; by content if absent. */
  readonly from?: string;
  /** Only this process, where a format can hold several. */
  readonly pid?: number;
}

/** A thread of a task. */
export interface ThreadInfo {
  /** Thread id, as the program sees it. */
  readonly tid: number;
  /** /proc/PID/task/TID/comm, at most 15 bytes. */
  readonly name: string;
  /** As PTRACE_GETREGS gives them; see spec/SPEC.md for threads inside a system call. */
  readonly registers: Gpregs;
  /** Bit N − 1 is signal N. */
  readonly blockedSignals: bigint;
}

/** A mapping of a task's address space. */
export interface MappingInfo {
  /** The first address. */
  readonly start: bigint;
  /** First address after it. */
  readonly end: bigint;
  /** What backs it, and whether it is shared. */
  readonly kind: VmaKind;
  /** Such as "r-x". */
  readonly protection: string;
  /** Offset in the mapped file, bytes. */
  readonly offset: bigint;
  /** The mapped file, or a name such as "[heap]"; empty for plain anonymous memory. */
  readonly name: string;
}

/** A descriptor of a task. */
export interface DescriptorInfo {
  /** Its number. */
  readonly fd: number;
  /** What kind of open file it leads to. */
  readonly kind: FileKind;
  /** For files that have one. */
  readonly path?: string;
  /** Status flags of the open file, as F_GETFL gives them. */
  readonly flags: number;
  /** File offset, bytes. */
  readonly position: bigint;
  /** FD_CLOEXEC. */
  readonly closeOnExec: boolean;
}

/** Memory of a task. Nothing is loaded but what is asked for. */
export interface TaskMemory {
  /**
   * Bytes at an address: those the checkpoint stores, zero for untouched anonymous memory, and the mapped file's for clean
   * pages while that file is there unchanged.
   * @param length bytes, at most 1 GiB
   * @throws CrimgError `memory.unmapped`, `memory.absent` (the file is gone or changed, or it is the kernel's), `memory.length`
   */
  read(address: bigint, length: number): Uint8Array;
  /** Where the bytes of [start, end) are, in ascending order, without reading them. */
  runs(start: bigint, end: bigint): Iterable<MemoryRun>;
}

/**
 * A process of a checkpoint.
 * @hideconstructor
 */
export class Task {
  constructor(
    private readonly checkpoint: Checkpoint,
    /** Row in `tables.tasks`. */
    readonly index: number,
    private readonly files: MappedFiles,
  ) {}

  /** Its row in `tables.tasks`. */
  get row(): TaskRow {
    return this.checkpoint.tables.tasks[this.index] as TaskRow;
  }

  /** Process id, as the program sees it. */
  get pid(): number {
    return this.row.pid;
  }

  /** Whether it runs, is stopped, or is a zombie. */
  get state(): TaskState {
    return this.row.state;
  }

  /** Name of the leader. */
  get name(): string {
    return this.threads[0]?.name ?? "";
  }

  /** The process it was a child of, if that is in the checkpoint. */
  get parent(): Task | undefined {
    return this.row.parent === null ? undefined : new Task(this.checkpoint, this.row.parent, this.files);
  }

  /** In the order of the table. */
  get children(): readonly Task[] {
    return this.checkpoint.childrenOf(this.index).map((index) => new Task(this.checkpoint, index, this.files));
  }

  /** Leader first. */
  get threads(): readonly ThreadInfo[] {
    return this.checkpoint.threadsOf(this.index).map((index) => {
      const { tid, comm, regs, sigMask } = this.checkpoint.tables.threads[index] as ThreadRow;
      return { tid, name: comm, registers: regs, blockedSignals: sigMask };
    });
  }

  /** Ascending; empty for a zombie. */
  get maps(): readonly MappingInfo[] {
    return this.checkpoint.vmasOf(this.row.mm ?? -1).map((index) => this.#mapping(this.checkpoint.tables.vmas[index] as VmaRow));
  }

  /** In the order of the table. */
  get descriptors(): readonly DescriptorInfo[] {
    const { tables } = this.checkpoint;
    return this.checkpoint.descriptorsOf(this.index).map((index) => {
      const { fd, file, flags } = tables.descriptors[index] as DescriptorRow;
      const open = tables.files[file] as OpenFileRow;
      const object = open.object === null ? undefined : tables.objects[open.object];
      return { fd, kind: open.kind, path: object?.path, flags: open.flags, position: open.pos, closeOnExec: (flags & 1) !== 0 };
    });
  }

  /** The command line, from the memory. Throws as `memory.read`. */
  get arguments(): readonly string[] {
    const { argStart, argEnd } = this.#mm;
    return this.#strings(argStart, argEnd);
  }

  /** The environment the process was started with, from the memory. Throws as `memory.read`. */
  get environment(): readonly string[] {
    const { envStart, envEnd } = this.#mm;
    return this.#strings(envStart, envEnd);
  }

  /** Its memory by address. Throws CrimgError `task.memory` for a zombie. */
  get memory(): TaskMemory {
    return new MemoryView(this.checkpoint, this.#mmIndex, this.files);
  }

  get #mmIndex(): number {
    const { mm, pid } = this.row;
    if (mm === null) throw new CrimgError("task.memory", `process ${pid} is a zombie: it has no memory`);
    return mm;
  }

  get #mm(): MmRow {
    return this.checkpoint.tables.mms[this.#mmIndex] as MmRow;
  }

  #strings(start: bigint, end: bigint): readonly string[] {
    if (end <= start) return [];
    const strings = decodeText(this.memory.read(start, Number(end - start))).split("\0");
    while (strings.at(-1) === "") strings.pop();
    return strings;
  }

  #mapping({ start, end, kind, prot, offset, object, name, isHeap, isStack }: VmaRow): MappingInfo {
    const file: ObjectRow | undefined = object === null ? undefined : this.checkpoint.tables.objects[object];
    const special = isHeap === 1 ? "[heap]" : isStack === 1 ? "[stack]" : name;
    const protection = `${(prot & 1) === 0 ? "-" : "r"}${(prot & 2) === 0 ? "-" : "w"}${(prot & 4) === 0 ? "-" : "x"}`;
    return { start, end, kind, protection, offset, name: file?.path || special };
  }
}

/**
 * An open checkpoint. Close it: it holds the file with the pages.
 * @hideconstructor
 */
export class OpenedCheckpoint {
  readonly #files: MappedFiles;

  constructor(
    /** The rows, for what this class does not offer. */
    readonly model: Checkpoint,
    /** Its format. */
    readonly format: FormatInfo,
    /** What the format did not hold, and what was assumed instead. */
    readonly losses: readonly Loss[],
    private readonly input: Input,
  ) {
    this.#files = new MappedFiles(model.tables);
  }

  /** Parents before children. */
  get tasks(): readonly Task[] {
    return this.model.tables.tasks.map((_row, index) => new Task(this.model, index, this.#files));
  }

  /** The process with a pid (as the program sees it). Throws CrimgError `task.pid`. */
  task(pid: number): Task {
    const index = this.model.taskIndexOf(pid);
    if (index !== undefined) return new Task(this.model, index, this.#files);
    const pids = this.model.tables.tasks.slice(0, 10).map((row) => row.pid);
    throw new CrimgError("task.pid", `there is no process ${pid} in ${this.input.name}`, {
      source: this.input.name,
      hint: `its processes are ${pids.join(", ")}`,
    });
  }

  /** Releases files and pages; tasks of it are of no use then. */
  close(): void {
    this.#files.close();
    this.model.close();
    this.input.close();
  }
}

/** Opens a checkpoint of any format. Only what is described is read, never page payload. Throws CrimgError. */
export async function openCheckpoint(
  path: string,
  options: OpenOptions & { readonly registry: FormatRegistry },
): Promise<OpenedCheckpoint> {
  const input = resolveInput(path);
  try {
    const losses: Loss[] = [];
    const { checkpoint, format } = await readCheckpoint(input, { ...options, onLoss: (loss) => losses.push(loss) });
    return new OpenedCheckpoint(checkpoint, formatInfo(format), losses, input);
  } catch (error) {
    input.close();
    throw error;
  }
}
