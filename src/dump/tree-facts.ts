// SPDX-License-Identifier: Apache-2.0
/**
 * What /proc tells of the processes of a tree, read by another thread as soon as they stand still. This one goes on meanwhile, and
 * waits only for what it wants next. For few of them, which are read before another thread has woken up, and where each call is
 * to be logged, it is read by this thread. What there was no room for is read by whoever wants it.
 */
import { type Answers, askElsewhere, type AskedList, begunElsewhere, errno, QuestionList, tryReadSmall } from "../native/index.js";
import { linkQuestions, roomOfLinks } from "./namespaces/links.js";
import type { DumpPlan } from "./plan.js";
import { parseStat, parseStatus, procPath, type ProcStat, type StatusFields } from "./procfs.js";
import { bitNumbers, type MappingsRead, readMappingRows } from "./smaps.js";
import { type AskedProcess, roomOfThread } from "./thread-facts.js";

/** Bytes of mappings, `status` and `stat` of a process, usually; of the other files that are asked for. */
const [roomOfProcess, roomOfFiles] = [24 << 10, 3072];
/** What the largest of them may have more: that of a hundred thousand mappings. Only what is written to takes memory. */
const roomOfLargest = 8 << 20;
const wanted = { status: 0, stat: 1, mappings: 2 } as const;
const numaMapsFile = "/proc/\u0001/numa_maps";
const numaMaps = new QuestionList([{ file: numaMapsFile }]);

/** Processes and threads from which on another thread reads. */
const [manyProcesses, manyThreads] = [4, 32];

/** The answers of one process. Files are those of /proc/PID. */
export class FactsOfProcess {
  #status: StatusFields | undefined;
  #stat: ProcStat | undefined;

  constructor(
    private readonly common: Answers,
    private readonly files: Answers,
    private readonly names: readonly string[],
    private readonly row: number,
    /** Its row in `common`. */
    private readonly commonRow: number,
    private readonly hasMappings: boolean,
  ) {}

  /** undefined if they were not asked for, or could not be read. */
  mappings(): MappingsRead | undefined {
    if (!this.hasMappings) return undefined;
    this.common.awaitRow(this.commonRow);
    const read = this.common.mappings(this.commonRow, wanted.mappings);
    return typeof read === "number" ? undefined : read;
  }

  get status(): StatusFields | undefined {
    this.common.awaitRow(this.commonRow);
    return (this.#status ??= parseStatus(this.common.bytes(this.commonRow, wanted.status)));
  }

  get stat(): ProcStat | undefined {
    this.common.awaitRow(this.commonRow);
    return (this.#stat ??= parseStat(this.common.bytes(this.commonRow, wanted.stat)));
  }

  /** undefined if it was not asked for, or could not be read. */
  file(name: string): Buffer | undefined {
    const question = this.names.indexOf(name);
    if (question < 0) return undefined;
    this.files.awaitRow(this.row);
    return this.files.bytes(this.row, question);
  }

  /** The limit that is at this place in `rlimitResourceNames`: soft and hard, 8 bytes each; undefined if it was not to be had. */
  limit(place: number): Buffer | undefined {
    this.files.awaitRow(this.row);
    const question = this.names.length + place;
    return this.files.result(this.row, question) === 0 ? this.files.stored(this.row, question) : undefined;
  }

  /** Nothing was called from outside for a process as a whole. */
  outside(): undefined {
    return undefined;
  }
}

/** Answers, and the row of the first thread of each process in them. */
interface ByThread {
  readonly answers: Answers;
  readonly rows: ReadonlyMap<AskedProcess, number>;
}

export class TreeFacts {
  readonly #processes: ReadonlyMap<AskedProcess, FactsOfProcess>;

  private constructor(
    processes: readonly AskedProcess[],
    [common, threads, links, files]: readonly [Answers, Answers, Answers, Answers],
    { processFiles }: DumpPlan,
    hasMappings: boolean,
  ) {
    const rows = new Map<AskedProcess, number>();
    let row = 0;
    for (const process of processes) {
      rows.set(process, row);
      row += process.threads.length;
    }
    // What was asked of first threads is not asked of processes again.
    const rowOf = (process: AskedProcess, index: number): number => (common === threads ? (rows.get(process) ?? 0) : index);
    this.#processes = new Map(
      processes.map((process, index) => [
        process,
        new FactsOfProcess(common, files, processFiles.names, index, rowOf(process, index), hasMappings),
      ]),
    );
    this.threads = { answers: threads, rows };
    this.links = links;
  }

  /** Answers to the questions of the plan about every thread. */
  readonly threads: ByThread;
  /** Answers to those about namespaces, of all threads in the order of processes. */
  readonly links: Answers;

  /** Begins. `readsMappings`: they are not known yet. */
  static begin(processes: readonly AskedProcess[], plan: DumpPlan, readsMappings: boolean): TreeFacts {
    const ofProcesses = Int32Array.from(processes.flatMap(({ pid }) => [pid, pid]));
    const ofThreads = Int32Array.from(processes.flatMap(({ threads }) => threads.flatMap(({ pid, tid }) => [pid, tid])));
    const [processCount, threadCount] = [processes.length, ofThreads.length >> 1];
    const lists = (list: QuestionList, roomOfMappings: number): AskedList[] => [
      { list, ids: ofProcesses, room: processCount * roomOfProcess + roomOfMappings },
      { list: plan.threads.list, ids: ofThreads, room: threadCount * roomOfThread },
      { list: linkQuestions, ids: ofThreads, room: roomOfLinks(threadCount) },
      { list: plan.processFiles.list, ids: ofProcesses, room: processCount * roomOfFiles },
    ];
    type All = readonly [Answers, Answers, Answers, Answers];
    const isLarge = processCount >= manyProcesses || threadCount >= manyThreads;
    const elsewhere = isLarge
      ? askElsewhere(bitNumbers, readsMappings ? lists(common, roomOfLargest) : lists(withoutMappings, 0))
      : undefined;
    if (elsewhere !== undefined) return new TreeFacts(processes, elsewhere as unknown as All, plan, readsMappings);
    const [ofProcess, ofThread, ...others] = lists(withoutMappings, 0).map(
      ({ list, ids, room }) =>
        (): Answers =>
          list.ask(ids, room),
    );
    const told = ofThread?.();
    const areAlive = processes.every(({ threads }) => threads.length > 0);
    const here = [areAlive ? told : ofProcess?.(), told, ...others.map((ask) => ask())];
    return new TreeFacts(processes, here as unknown as All, plan, false);
  }

  of(process: AskedProcess): FactsOfProcess | undefined {
    return this.#processes.get(process);
  }
}

const questions = [{ file: "/proc/\u0001/status" }, { file: "/proc/\u0001/stat" }];
const common = new QuestionList([...questions, { mappings: true }]);
const onlyMappings = new QuestionList([{ mappings: true }]);
const withoutMappings = new QuestionList(questions);

/** Begins to read numa_maps of some processes, which takes the kernel a while. `room`: bytes that all have together. */
export function beginNumaMaps(pids: readonly number[], room: number): ((index: number) => Buffer | undefined) | undefined {
  if (pids.length < manyProcesses) return undefined;
  const [answers] = askElsewhere(bitNumbers, [{ list: numaMaps, ids: Int32Array.from(pids.flatMap((pid) => [pid, pid])), room }]) ?? [];
  if (answers === undefined) return undefined;
  return (index) => {
    answers.awaitRow(index);
    return answers.bytes(index, 0);
  };
}

/** What a look at the address space of a process told. */
export interface SpaceLook {
  readonly mappings: MappingsRead;
  /** numa_maps; undefined without NUMA. */
  readonly numaMaps: Buffer | undefined;
}

/** Looks at the address space of a process. @throws SysError if it cannot be looked into */
export function lookAtSpace(pid: number): SpaceLook {
  return { mappings: readMappingRows(pid), numaMaps: tryReadSmall(`${procPath(pid)}/numa_maps`) };
}

/** A look at the address space of a process that others are having. */
export interface PendingLook {
  /** Whether it is over. */
  isOver(): boolean;
  /** Waits for it. @throws SysError if the process cannot be looked into */
  wait(): SpaceLook;
}

/**
 * Begins to, by two other threads: the kernel takes 3 µs for what smaps says of a mapping, and 1 for what numa_maps does.
 * @param length bytes of its maps, about
 * @param hasPolicies whether numa_maps is read
 * @param isFirst it will do what smaps has said since this process began
 */
export function beginLookAtSpace(pid: number, length: number, hasPolicies = true, isFirst = false): PendingLook {
  // A line of maps has some 50 bytes, one of numa_maps up to 190; a row of mappings has 96, and the name.
  const ids = Int32Array.of(pid, pid);
  const room = 4 * length + roomOfProcess;
  const begun = isFirst ? begunElsewhere(onlyMappings, pid, room) : undefined;
  const [mappings] = begun === undefined ? (askElsewhere(bitNumbers, [{ list: onlyMappings, ids, room }]) ?? []) : [begun];
  const [policies] = (hasPolicies ? askElsewhere(bitNumbers, [{ list: numaMaps, ids, room }]) : undefined) ?? [];
  const isOver = (): boolean => mappings?.isThere(0) === true && (!hasPolicies || policies?.isThere(0) === true);
  const wait = (): SpaceLook => {
    mappings?.awaitRow(0);
    policies?.awaitRow(0);
    const read = mappings?.mappings(0, 0);
    const told = policies?.result(0, 0) ?? 0;
    // Without NUMA there is no such file; what else there was no room for is read here.
    const isThere = read !== undefined && typeof read !== "number" && (told >= 0 || told === -errno.ENOENT);
    if (isThere && !hasPolicies) return { mappings: read, numaMaps: undefined };
    if (!isThere || policies === undefined) return lookAtSpace(pid);
    return { mappings: read, numaMaps: policies.bytes(0, 0) };
  };
  return { isOver, wait };
}
