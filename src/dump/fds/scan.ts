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
  QuestionList,
  statLength,
  SysError,
  tryFcntl,
  tryFindFile,
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
import { decimalField } from "./fdinfo.js";
import { type SeenStat, SeenThings } from "./seen.js";

/** The descriptions of all tasks, in the order of tasks and numbers. `release` closes our copies. */
export class DescriptorScan {
  readonly descriptions: Description[] = [];
  readonly #seen = new SeenThings();
  readonly #index = new FileIndex();

  constructor(context: DumpContext) {
    try {
      for (const process of ownersOfTables(context)) this.#scanProcess(process);
      this.#scanQueues();
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** Closes the copies. */
  release(): void {
    closing.ask(Int32Array.from(this.descriptions.flatMap(({ fd }) => [0, fd])));
    this.descriptions.length = 0;
  }

  #scanProcess(process: DumpedProcess): void {
    const pidfd = check(tryPidfdOpen(process.pid), "pidfd_open", `process ${process.pid}`);
    try {
      const numbers = tryListDirectory(`/proc/${process.pid}/fd`);
      if (typeof numbers === "number") throw new SysError("open", -numbers, `/proc/${process.pid}/fd`);
      this.#scanNumbers(
        process,
        pidfd,
        numbers.map(Number).sort((a, b) => a - b),
      );
    } finally {
      close(pidfd);
    }
  }

  /** All numbers of one table, in parts: each has a copy of its own until it is known to be another's. */
  #scanNumbers(process: DumpedProcess, pidfd: number, numbers: readonly number[]): void {
    const questions = questionsThrough(pidfd);
    for (let from = 0; from < numbers.length; from += atOnce) {
      const part = numbers.slice(from, from + atOnce);
      const answers = questions.ask(Int32Array.from(part.flatMap((number) => [process.pid, number])), part.length * roomOfDescriptor);
      let done = 0;
      try {
        for (const number of part) this.#takeOne(process, answers, done++, number);
      } finally {
        for (let row = done; row < part.length; row++) if (!failed(answers.result(row, asked.copy))) close(answers.result(row, asked.copy));
      }
    }
  }

  #takeOne(process: DumpedProcess, answers: Answers, row: number, number: number): void {
    const copy = answers.result(row, asked.copy);
    if (failed(copy)) throw new SysError("pidfd_getfd", -copy, `fd ${number} of ${process.pid} (${process.name})`);
    const seen =
      describeAnswered(copy, answers, row, this.#seen) ??
      describe(copy, `/proc/${process.pid}`, number, `fd ${number} of ${process.pid} (${process.name})`, this.#seen);
    // O_CLOEXEC in fdinfo's flags is the descriptor's own flag.
    const holder: Holder = { process, fd: number, isCloexec: (seen.info.flags & openFlags.CLOEXEC) !== 0 };
    this.#keep(seen, [holder])?.holders.push(holder);
  }

  /** Adds a new description, or closes our copy of a known one and returns that. */
  #keep({ inode, linkText, ...seen }: Seen, holders: Holder[], inFlightIn?: Description): Description | undefined {
    const description: Description = { ...seen, holders, ...(inFlightIn === undefined ? {} : { inFlightIn }) };
    const known = this.#index.findOrAdd(`${inode}:${seen.info.pos}:${seen.flags}:${linkText}`, description);
    if (known) close(seen.fd);
    else this.descriptions.push(description);
    return known;
  }

  /** Descriptors that travel in messages are descriptions too; what travels in those, in turn, is found as well. */
  #scanQueues(): void {
    for (const socket of this.descriptions) {
      if ((socket.stat.mode & modeType) !== modeSocket || decimalField(socket.info, "scm_fds") <= 0n) continue;
      const name = `a descriptor in flight to ${nameOf(socket)}`;
      socket.queue = peekQueue(socket, (fd) => {
        const found = this.#keep(describe(fd, "/proc/self", fd, name, this.#seen), [], socket);
        return found ?? (this.descriptions.at(-1) as Description);
      });
    }
  }
}

/** Descriptors looked at in one go. */
const atOnce = 1024;
/** Bytes of fdinfo and of the link of one descriptor, usually; what does not fit is read by itself. */
const roomOfDescriptor = 1024;
/** Places of the questions about a descriptor: number `\u0002` of process `\u0001`. */
const asked = { copy: 0, info: 1, link: 2, stat: 3, statfs: 4, flags: 5, signal: 6, owner: 7 } as const;
const questionsThrough = (pidfd: number): QuestionList =>
  new QuestionList([
    { call: "pidfd_getfd", args: [pidfd, { id: 1 }, 0] },
    { file: "/proc/\u0001/fdinfo/\u0002" },
    { link: "/proc/\u0001/fd/\u0002" },
    { call: "fstat", args: [{ resultOf: 0 }, { room: statLength }] },
    { call: "fstatfs", args: [{ resultOf: 0 }, { room: 120 }] },
    { call: "fcntl", args: [{ resultOf: 0 }, fcntlCommand.GETFL, 0] },
    { call: "fcntl", args: [{ resultOf: 0 }, fcntlCommand.GETSIG, 0] },
    { call: "fcntl", args: [{ resultOf: 0 }, fcntlCommand.GETOWN_EX, { room: 8 }] },
  ]);

const closing = new QuestionList([{ call: "close", args: [{ id: 1 }] }]);

/** S_IFMT, S_IFSOCK */
const [modeType, modeSocket] = [0o170000, 0o140000];

/** What is known of a description, but for who has it. */
interface Seen extends Omit<Description, "holders" | "inFlightIn">, Pick<SeenStat, "inode"> {
  /** The link, one character a byte. */
  readonly linkText: string;
}

/** What a list of questions told of our copy `fd`; undefined where something is missing. */
function describeAnswered(fd: number, answers: Answers, row: number, things: SeenThings): Seen | undefined {
  const infoText = answers.text(row, asked.info);
  const linkText = answers.text(row, asked.link);
  const flags = answers.result(row, asked.flags);
  if (infoText === undefined || linkText === undefined || flags < 0) return undefined;
  if (answers.result(row, asked.stat) !== 0 || answers.result(row, asked.statfs) !== 0) return undefined;
  const info = things.info(infoText);
  if (info === undefined) return undefined;
  const hasOwner = answers.result(row, asked.owner) === 0;
  const signal = answers.result(row, asked.signal);
  return {
    fd,
    ...things.stat(answers.storedText(row, asked.stat)),
    link: things.link(linkText),
    linkText,
    info,
    flags,
    fsMagic: things.magic(answers.word(row, asked.statfs, 0), answers.word(row, asked.statfs, 1)),
    signals: hasOwner ? { signal, owner: [answers.word(row, asked.owner, 0), answers.word(row, asked.owner, 1)] } : { signal },
  };
}

/** What our copy `fd` and /proc (`number` of the process at `proc`) tell. Closes the copy when it fails. */
function describe(fd: number, proc: string, number: number, name: string, things: SeenThings): Seen {
  try {
    const text = tryReadSmall(`${proc}/fdinfo/${number}`)?.toString("latin1");
    const info = text === undefined ? undefined : things.info(text);
    const linkText = tryReadlink(`${proc}/fd/${number}`)?.toString("latin1");
    if (info === undefined || linkText === undefined) throw refusal("fd.unreadable", `${name}: /proc does not tell what it is`);
    const stat = tryFstat(fd);
    if (typeof stat === "number") throw new SysError("fstat", -stat, name);
    const magic = tryFstatfsType(fd);
    const flags = check(tryFcntl(fd, fcntlCommand.GETFL), "fcntl(F_GETFL)", name);
    const fsMagic = typeof magic === "number" ? 0n : magic;
    return { fd, stat, inode: `${stat.dev}:${stat.ino}`, link: things.link(linkText), linkText, info, flags, fsMagic };
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** The descriptions with one key, in the order of kcmp. */
interface Bucket {
  readonly members: Description[];
  fds: Int32Array;
}

/**
 * Which descriptions are known already. Our copies are the very same descriptions as the target's, so they are what is
 * compared; the key keeps the number of comparisons low.
 */
class FileIndex {
  readonly #buckets = new Map<string, Bucket>();

  /** The description that is the same as `candidate`; else remembers the candidate and returns undefined. */
  findOrAdd(key: string, candidate: Description): Description | undefined {
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      this.#buckets.set(key, { members: [candidate], fds: Int32Array.of(candidate.fd, 0, 0, 0) });
      return undefined;
    }
    const { members } = bucket;
    const found = tryFindFile(bucket.fds, members.length, candidate.fd);
    if (typeof found === "number") throw new SysError("kcmp", -found, nameOf(candidate));
    const { at, isSame } = found;
    if (isSame) return members[at];
    if (members.length === bucket.fds.length) {
      const longer = new Int32Array(bucket.fds.length * 2);
      longer.set(bucket.fds);
      bucket.fds = longer;
    }
    bucket.fds.copyWithin(at + 1, at, members.length);
    bucket.fds[at] = candidate.fd;
    members.splice(at, 0, candidate);
    return undefined;
  }
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
