/** Looking at every descriptor of every task, each open file description once. */
import {
  check,
  close,
  errno,
  failed,
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
import type { DumpContext, DumpedProcess } from "../context.js";
import { refusal } from "../refusal.js";
import type { Description, Holder } from "./context.js";
import { DescriptionIndex } from "./description-index.js";
import { parseFdInfo } from "./fdinfo.js";

/** O_CLOEXEC in fdinfo's flags is the descriptor's own flag. */
const O_CLOEXEC = 0o2000000;

/** The descriptions of all tasks, in the order of tasks and numbers. `release` closes our copies. */
export class Look {
  readonly descriptions: Description[] = [];

  constructor(context: DumpContext) {
    try {
      refuseSharedTables(context);
      const index = new DescriptionIndex<Description>(sameFile);
      for (const process of context.processes) {
        if (!process.frozen.isZombie) this.#lookAt(process, index);
      }
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

  #lookAt(process: DumpedProcess, index: DescriptionIndex<Description>): void {
    const pidfd = check(tryPidfdOpen(process.pid), "pidfd_open", `process ${process.pid}`);
    try {
      const numbers = tryListDirectory(`/proc/${process.pid}/fd`);
      if (typeof numbers === "number") throw new SysError("open", -numbers, `/proc/${process.pid}/fd`);
      for (const number of numbers.map(Number).sort((a, b) => a - b)) this.#lookAtOne(process, pidfd, number, index);
    } finally {
      close(pidfd);
    }
  }

  #lookAtOne(process: DumpedProcess, pidfd: number, number: number, index: DescriptionIndex<Description>): void {
    const name = `fd ${number} of ${process.pid} (${process.name})`;
    const text = tryReadSmall(`/proc/${process.pid}/fdinfo/${number}`)?.toString("latin1");
    const info = text === undefined ? undefined : parseFdInfo(text);
    const link = tryReadlink(`/proc/${process.pid}/fd/${number}`);
    if (info === undefined || link === undefined) {
      throw refusal("fd.unreadable", `${name}: /proc does not tell what it is`);
    }
    const fd = check(tryPidfdGetfd(pidfd, number), "pidfd_getfd", name);
    let isKept = false;
    try {
      const stat = tryFstat(fd);
      if (typeof stat === "number") throw new SysError("fstat", -stat, name);
      const magic = tryFstatfsType(fd);
      const holder: Holder = { process, fd: number, isCloexec: (info.flags & O_CLOEXEC) !== 0 };
      const description: Description = {
        holders: [holder],
        fd,
        stat,
        link,
        info,
        flags: check(tryFcntl(fd, fcntlCommand.GETFL), "fcntl(F_GETFL)", name),
        fsMagic: typeof magic === "number" ? 0n : magic,
      };
      const key = `${stat.dev}:${stat.ino}:${info.pos}:${description.flags}:${link.toString("latin1")}`;
      const known = index.findOrAdd(key, description);
      if (known) {
        known.holders.push(holder);
      } else {
        this.descriptions.push(description);
        isKept = true;
      }
    } finally {
      if (!isKept) close(fd);
    }
  }
}

function sameFile(left: Description, right: Description): number {
  const a = left.holders[0] as Holder;
  const b = right.holders[0] as Holder;
  return check(tryKcmp(a.process.pid, b.process.pid, kcmpType.FILE, a.fd, b.fd), "kcmp", `fd ${a.fd} of ${a.process.pid}`);
}

/** Tasks that share one descriptor table (CLONE_FILES without CLONE_THREAD) cannot be made again yet. */
function refuseSharedTables(context: DumpContext): void {
  const index = new DescriptionIndex<DumpedProcess>((left, right) => {
    const order = tryKcmp(left.pid, right.pid, kcmpType.FILES);
    return failed(order) && order === -errno.ESRCH ? 1 : check(order, "kcmp", `process ${left.pid}`);
  });
  for (const process of context.processes) {
    if (process.frozen.isZombie) continue;
    const other = index.findOrAdd("", process);
    if (other) {
      throw refusal("fd.shared_table", `processes ${other.pid} and ${process.pid} (${process.name}) share one table of descriptors (CLONE_FILES)`);
    }
    for (const thread of process.frozen.threads.slice(1)) {
      const order = tryKcmp(process.pid, thread.tid, kcmpType.FILES);
      if (order === 1 || order === 2) {
        throw refusal("fd.unshared_table", `thread ${thread.tid} of ${process.pid} (${process.name}) has a table of descriptors of its own`);
      }
    }
  }
}
