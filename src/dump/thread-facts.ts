// SPDX-License-Identifier: Apache-2.0
/** What /proc and calls from outside tell of every thread of a process: asked of all in one go, while they stand still. */
import type { SyscallName } from "../linux/syscall-numbers.js";
import { type Answers, type Question, QuestionList } from "../native/index.js";
import type { FrozenProcess, FrozenThread } from "./freeze.js";
import { parseStat, parseStatus, type ProcStat, type StatusFields } from "./procfs.js";
import type { QuestionRecorder } from "./questions.js";

/** Bytes of `status`, `stat` and the small files of one thread. */
const roomOfThread = 3072;

/** The questions about a thread, in this order: its files, then calls. */
export class ThreadQuestions {
  readonly list: QuestionList;
  readonly files: readonly string[];
  readonly calls: QuestionRecorder["outer"];

  constructor({ files, outer }: QuestionRecorder) {
    this.files = ["status", "stat", ...files];
    this.calls = outer;
    const questions: Question[] = [...this.files.map((name) => ({ file: `/proc/\u0001/task/\u0002/${name}` })), ...outer];
    this.list = new QuestionList(questions);
  }
}

/** The answers of all threads of a process. Rows are in the order of its threads. */
export class ThreadFacts {
  readonly #answers: Answers;
  readonly #rows = new Map<number, number>();

  constructor(
    process: FrozenProcess,
    private readonly questions: ThreadQuestions,
  ) {
    const ids = new Int32Array(process.threads.length * 2);
    process.threads.forEach(({ pid, tid }, row) => {
      ids[row * 2] = pid;
      ids[row * 2 + 1] = tid;
      this.#rows.set(tid, row);
    });
    this.#answers = questions.list.ask(ids, process.threads.length * roomOfThread);
  }

  /** Of one thread. */
  of({ tid }: Pick<FrozenThread, "tid">): FactsOfThread | undefined {
    const row = this.#rows.get(tid);
    return row === undefined ? undefined : new FactsOfThread(this.#answers, this.questions, row);
  }

  /** The processor that a thread ran on last; -1 if it is not known. */
  processorOf(thread: Pick<FrozenThread, "tid">): number {
    return Number(this.of(thread)?.stat?.field(39) ?? -1n);
  }
}

/** The answers of one thread. Calls are given out in the order in which they were asked, each once. */
export class FactsOfThread {
  #status: StatusFields | undefined;
  #next = 0;

  constructor(
    private readonly answers: Answers,
    private readonly questions: ThreadQuestions,
    private readonly row: number,
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
    const { calls, files } = this.questions;
    for (let index = this.#next; index < calls.length; index++) {
      const asked = calls[index];
      if (asked?.call !== name || asked.args.length !== args.length) continue;
      const isSame = asked.args.every((one, at) => {
        const argument = args[at] ?? 0;
        if (typeof one !== "object") return !(argument instanceof Uint8Array) && BigInt(one) === BigInt(argument);
        if ("id" in one) return argument === tid;
        return "room" in one && argument instanceof Uint8Array && argument.length === one.room;
      });
      if (!isSame) continue;
      this.#next = index + 1;
      const question = files.length + index;
      args
        .filter((argument) => argument instanceof Uint8Array)
        .forEach((room, which) => {
          room.set(this.answers.stored(this.row, question, which));
        });
      return this.answers.result(this.row, question);
    }
    return undefined;
  }
}
