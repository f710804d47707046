// SPDX-License-Identifier: Apache-2.0
/** What /proc and calls from outside tell of every thread of a process: asked of all in one go, while they stand still. */
import type { SyscallName } from "../linux/syscall-numbers.js";
import { type Answers, type Question, QuestionList } from "../native/index.js";
import type { FrozenProcess, FrozenThread } from "./freeze.js";
import { parseStat, parseStatus, type ProcStat, type StatusFields } from "./procfs.js";
import type { QuestionRecorder } from "./questions.js";

/** A process that is asked from outside, whether it stands still or not. */
export type AskedProcess = Pick<FrozenProcess, "pid"> & { readonly threads: readonly Pick<FrozenThread, "pid" | "tid">[] };

/** Bytes of `status`, `stat` and the small files of one thread. */
export const roomOfThread = 4096;

/** The questions about a thread, in this order: its files, then calls; and calls that only its tracer can make. */
export class ThreadQuestions {
  readonly list: QuestionList;
  readonly files: readonly string[];
  readonly calls: QuestionRecorder["outer"];
  readonly tracersList: QuestionList;
  readonly tracersCalls: QuestionRecorder["outer"];

  constructor({ files, outer }: QuestionRecorder) {
    // The first two as of processes: see tree-facts.ts.
    this.files = ["status", "stat", "cgroup", ...files];
    this.calls = outer.filter(({ call }) => call !== "ptrace");
    this.tracersCalls = outer.filter(({ call }) => call === "ptrace");
    this.tracersList = new QuestionList(this.tracersCalls);
    const questions: Question[] = [...this.files.map((name) => ({ file: `/proc/\u0001/task/\u0002/${name}` })), ...this.calls];
    this.list = new QuestionList(questions);
  }
}

/** The answers of all threads of a process. Rows are in the order of its threads. */
export class ThreadFacts {
  readonly #answers: Answers;
  readonly #ofTracer: Answers;
  readonly #first: number;
  readonly #rows = new Map<number, number>();

  /** `asked`: the answers of all threads of the tree, if they have been asked already. */
  constructor(
    process: FrozenProcess,
    private readonly questions: ThreadQuestions,
    asked?: { readonly answers: Answers; readonly rows: ReadonlyMap<AskedProcess, number> },
  ) {
    this.#first = asked?.rows.get(process) ?? 0;
    process.threads.forEach(({ tid }, row) => this.#rows.set(tid, row));
    const ids = Int32Array.from(process.threads.flatMap(({ pid, tid }) => [pid, tid]));
    this.#ofTracer = questions.tracersList.ask(ids);
    this.#answers = asked?.answers ?? questions.list.ask(ids, process.threads.length * roomOfThread);
  }

  /** Of one thread. */
  of({ tid }: Pick<FrozenThread, "tid">): FactsOfThread | undefined {
    const row = this.#rows.get(tid);
    if (row === undefined) return undefined;
    this.#answers.awaitRow(this.#first + row);
    return new FactsOfThread(this.#answers, this.#first + row, this.#ofTracer, row, this.questions);
  }

  /** The processor that a thread ran on last; -1 if it is not known. */
  processorOf(thread: Pick<FrozenThread, "tid">): number {
    return Number(this.of(thread)?.stat?.field(39) ?? -1n);
  }
}

/** The answers of one thread. Calls are given out in the order in which they were asked, each once. */
export class FactsOfThread {
  #status: StatusFields | undefined;
  readonly #next = { others: 0, tracers: 0 };

  constructor(
    private readonly answers: Answers,
    private readonly row: number,
    private readonly ofTracer: Answers,
    private readonly rowOfTracer: number,
    private readonly questions: ThreadQuestions,
  ) {}

  /** A file of /proc/PID/task/TID; undefined if it was not asked for, or could not be read. */
  file(name: string): Buffer | undefined {
    const question = this.questions.files.indexOf(name);
    return question < 0 ? undefined : this.answers.bytes(this.row, question);
  }

  get status(): StatusFields | undefined {
    return (this.#status ??= parseStatus(this.file("status")));
  }

  get stat(): ProcStat | undefined {
    return parseStat(this.file("stat"));
  }

  /** The result of a call about the thread `tid`, with what it stored put where it is wanted; undefined if it was not made. */
  outside(tid: number, name: SyscallName, args: readonly (number | bigint | Uint8Array | null)[]): number | undefined {
    const { calls, files, tracersCalls } = this.questions;
    const isTracers = name === "ptrace";
    const [list, which] = isTracers ? ([tracersCalls, "tracers"] as const) : ([calls, "others"] as const);
    const [answers, row, before] = isTracers ? [this.ofTracer, this.rowOfTracer, 0] : [this.answers, this.row, files.length];
    for (let index = this.#next[which]; index < list.length; index++) {
      const asked = list[index];
      if (asked?.call !== name || asked.args.length !== args.length) continue;
      const isSame = asked.args.every((one, at) => {
        const argument = args[at] ?? 0;
        if (typeof one !== "object") return !(argument instanceof Uint8Array) && BigInt(one) === BigInt(argument);
        if ("id" in one) return argument === tid;
        return "room" in one && argument instanceof Uint8Array && argument.length === one.room;
      });
      if (!isSame) continue;
      this.#next[which] = index + 1;
      const question = before + index;
      args
        .filter((argument) => argument instanceof Uint8Array)
        .forEach((room, at) => {
          room.set(answers.stored(row, question, at));
        });
      return answers.result(row, question);
    }
    return undefined;
  }
}
