// SPDX-License-Identifier: Apache-2.0
/** A scan of the descriptors of every task; each open file description is found once. */
import {
  check,
  close,
  fcntlCommand,
  kcmpType,
  SysError,
  tryFcntl,
  tryFstat,
  tryFstatfsType,
  tryKcmp,
  tryListDirectory,
  tryPidfdGetfd,
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

/** O_CLOEXEC in fdinfo's flags is the descriptor's own flag. */
const O_CLOEXEC = 0o2000000;

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
      for (const number of numbers.map(Number).sort((a, b) => a - b)) this.#scanOne(process, pidfd, number, index);
    } finally {
      close(pidfd);
    }
  }

  #scanOne(process: DumpedProcess, pidfd: number, number: number, index: DescriptionIndex<Description>): void {
    const name = `fd ${number} of ${process.pid} (${process.name})`;
    const fd = check(tryPidfdGetfd(pidfd, number), "pidfd_getfd", name);
    const seen = describe(fd, `/proc/${process.pid}`, number, name);
    const holder: Holder = { process, fd: number, isCloexec: (seen.info.flags & O_CLOEXEC) !== 0 };
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

/** What our copy `fd` and /proc (`number` of the process at `proc`) tell. Closes the copy when it fails. */
function describe(fd: number, proc: string, number: number, name: string): Omit<Description, "holders"> {
  try {
    const text = tryReadSmall(`${proc}/fdinfo/${number}`)?.toString("latin1");
    const info = text === undefined ? undefined : parseFdInfo(text);
    const link = tryReadlink(`${proc}/fd/${number}`);
    if (info === undefined || link === undefined) throw refusal("fd.unreadable", `${name}: /proc does not tell what it is`);
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
