// SPDX-License-Identifier: Apache-2.0
/** A scan of the descriptors of every task; each open file description is found once. */
import { openFlags } from "../../linux/open-flags.js";
import {
  type Answers,
  check,
  close,
  failed,
  fcntlCommand,
  kcmpType,
  parseFileStat,
  QuestionList,
  statLength,
  SysError,
  tryFcntl,
  tryFstat,
  tryFstatfsType,
  tryKcmp,
  tryListDirectory,
  tryPidfdOpen,
  tryReadlink,
  tryReadSmall,
} from "../../native/index.js";
import type { TaskRow } from "../../gen/tables.js";
import { peekQueue } from "../../kinds/socket/unix/dump-queue.js";
import type { DumpContext, DumpedProcess } from "../context.js";
import { refusal } from "../refusal.js";
import { type Description, type Holder, nameOf } from "./context.js";
import { DescriptionIndex } from "./description-index.js";
import { decimalField, parseFdInfo } from "./fdinfo.js";

/** The descriptions of all tasks, in the order of tasks and numbers. `release` closes our copies. */
export class DescriptorScan {
  readonly descriptions: Description[] = [];

  constructor(context: DumpContext) {
    try {
      const index = new DescriptionIndex<Description>(sameFile);
      for (const process of ownersOfTables(context)) this.#scanProcess(process, index);
      this.#scanQueues(index);
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** Closes the copies. */
  release(): void {
    for (const { fd } of this.descriptions) close(fd);
    this.descriptions.length = 0;
  }

  #scanProcess(process: DumpedProcess, index: DescriptionIndex<Description>): void {
    const pidfd = check(tryPidfdOpen(process.pid), "pidfd_open", `process ${process.pid}`);
    try {
      const numbers = tryListDirectory(`/proc/${process.pid}/fd`);
      if (typeof numbers === "number") throw new SysError("open", -numbers, `/proc/${process.pid}/fd`);
      this.#scanNumbers(
        process,
        pidfd,
        numbers.map(Number).sort((a, b) => a - b),
        index,
      );
    } finally {
      close(pidfd);
    }
  }

  /** All numbers of one table, in parts: each has a copy of its own until it is known to be another's. */
  #scanNumbers(process: DumpedProcess, pidfd: number, numbers: readonly number[], index: DescriptionIndex<Description>): void {
    const questions = questionsThrough(pidfd);
    for (let from = 0; from < numbers.length; from += atOnce) {
      const part = numbers.slice(from, from + atOnce);
      const answers = questions.ask(Int32Array.from(part.flatMap((number) => [process.pid, number])), part.length * roomOfDescriptor);
      let done = 0;
      try {
        for (const number of part) this.#takeOne(process, answers, done++, number, index);
      } finally {
        for (let row = done; row < part.length; row++) if (!failed(answers.result(row, asked.copy))) close(answers.result(row, asked.copy));
      }
    }
  }

  #takeOne(process: DumpedProcess, answers: Answers, row: number, number: number, index: DescriptionIndex<Description>): void {
    const name = `fd ${number} of ${process.pid} (${process.name})`;
    const fd = check(answers.result(row, asked.copy), "pidfd_getfd", name);
    const seen = describe(fd, `/proc/${process.pid}`, number, name, { answers, row });
    // O_CLOEXEC in fdinfo's flags is the descriptor's own flag.
    const holder: Holder = { process, fd: number, isCloexec: (seen.info.flags & openFlags.CLOEXEC) !== 0 };
    this.#keep({ ...seen, holders: [holder] }, index)?.holders.push(holder);
  }

  /** Adds a new description, or closes our copy of a known one and returns that. */
  #keep(description: Description, index: DescriptionIndex<Description>): Description | undefined {
    const { stat, info, flags, link, fd } = description;
    const known = index.findOrAdd(`${stat.dev}:${stat.ino}:${info.pos}:${flags}:${link.toString("latin1")}`, description);
    if (known) close(fd);
    else this.descriptions.push(description);
    return known;
  }

  /** Descriptors that travel in messages are descriptions too; what travels in those, in turn, is found as well. */
  #scanQueues(index: DescriptionIndex<Description>): void {
    for (const socket of this.descriptions) {
      if (decimalField(socket.info, "scm_fds") <= 0n) continue;
      const name = `a descriptor in flight to ${nameOf(socket)}`;
      socket.queue = peekQueue(socket, (fd) => {
        const description: Description = { ...describe(fd, "/proc/self", fd, name), holders: [], inFlightIn: socket };
        return this.#keep(description, index) ?? description;
      });
    }
  }
}

/** Descriptors looked at in one go. */
const atOnce = 1024;
/** Bytes of fdinfo and of the link of one descriptor, usually; what does not fit is read by itself. */
const roomOfDescriptor = 1024;
/** Places of the questions about a descriptor: number `\u0002` of process `\u0001`. */
const asked = { copy: 0, info: 1, link: 2, stat: 3, statfs: 4, flags: 5 } as const;
const questionsThrough = (pidfd: number): QuestionList =>
  new QuestionList([
    { call: "pidfd_getfd", args: [pidfd, { id: 1 }, 0] },
    { file: "/proc/\u0001/fdinfo/\u0002" },
    { link: "/proc/\u0001/fd/\u0002" },
    { call: "fstat", args: [{ resultOf: 0 }, { room: statLength }] },
    { call: "fstatfs", args: [{ resultOf: 0 }, { room: 120 }] },
    { call: "fcntl", args: [{ resultOf: 0 }, fcntlCommand.GETFL, 0] },
  ]);

/** What was answered about a descriptor. */
interface Answered {
  readonly answers: Answers;
  readonly row: number;
}

/** What our copy `fd` and /proc (`number` of the process at `proc`) tell. Closes the copy when it fails. */
function describe(fd: number, proc: string, number: number, name: string, known?: Answered): Omit<Description, "holders"> {
  try {
    const bytes = known?.answers.bytes(known.row, asked.info) ?? tryReadSmall(`${proc}/fdinfo/${number}`);
    const text = bytes?.toString("latin1");
    const info = text === undefined ? undefined : parseFdInfo(text);
    const told = known?.answers.bytes(known.row, asked.link);
    const link = told === undefined ? tryReadlink(`${proc}/fd/${number}`) : Buffer.from(told);
    if (info === undefined || link === undefined) throw refusal("fd.unreadable", `${name}: /proc does not tell what it is`);
    if (known !== undefined && known.answers.result(known.row, asked.flags) >= 0) {
      const { answers, row } = known;
      if (answers.result(row, asked.stat) === 0 && answers.result(row, asked.statfs) === 0) {
        const [stat, fsMagic] = [parseFileStat(answers.stored(row, asked.stat)), answers.stored(row, asked.statfs).readBigUInt64LE(0)];
        return { fd, stat, link, info, flags: answers.result(row, asked.flags), fsMagic };
      }
    }
    const stat = tryFstat(fd);
    if (typeof stat === "number") throw new SysError("fstat", -stat, name);
    const magic = tryFstatfsType(fd);
    const flags = check(tryFcntl(fd, fcntlCommand.GETFL), "fcntl(F_GETFL)", name);
    return { fd, stat, link, info, flags, fsMagic: typeof magic === "number" ? 0n : magic };
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** Our copies are the very same descriptions as the target's, so they are what is compared. */
function sameFile(left: Description, right: Description): number {
  return check(tryKcmp(process.pid, process.pid, kcmpType.FILE, left.fd, right.fd), "kcmp", nameOf(left));
}

/**
 * Processes with a descriptor table of their own. Those that share one (CLONE_FILES without CLONE_THREAD) get a reference
 * to the first that has it. A resume makes them by clone(2) from one that has the table, so the parent must be one.
 */
function ownersOfTables(context: DumpContext): DumpedProcess[] {
  const { tasks } = context.tables;
  const owners: DumpedProcess[] = [];
  const index = new DescriptionIndex<DumpedProcess>((left, right) => {
    return check(tryKcmp(left.pid, right.pid, kcmpType.FILES), "kcmp", `process ${left.pid}`);
  });
  for (const process of context.processes) {
    if (process.frozen.isZombie) continue;
    const owner = index.findOrAdd("", process);
    if (!owner) {
      owners.push(process);
      continue;
    }
    const row = tasks[process.row] as TaskRow;
    const isFromSharer = row.parent === owner.row || (row.parent !== null && tasks[row.parent]?.descriptorTable === owner.row);
    if (!isFromSharer) {
      throw refusal(
        "fd.shared_table",
        `processes ${owner.pid} (${owner.name}) and ${process.pid} (${process.name}) share their descriptor table (CLONE_FILES), ` +
          `but the parent of the latter does not`,
      );
    }
    tasks[process.row] = { ...row, descriptorTable: owner.row };
  }
  return owners;
}
