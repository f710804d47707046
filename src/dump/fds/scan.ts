// SPDX-License-Identifier: Apache-2.0
/** A scan of the descriptors of every task; each open file description is found once. */
import { openFlags } from "../../linux/open-flags.js";
import {
  check,
  close,
  type DescriptorLooks,
  type DescriptorOrder,
  fcntlCommand,
  kcmpType,
  lookAtDescriptors,
  QuestionList,
  SysError,
  tryFcntl,
  tryFstat,
  tryFstatfsType,
  tryKcmp,
  tryPidfdGetfd,
  tryPidfdOpen,
  tryReadlink,
  tryReadSmall,
} from "../../native/index.js";
import type { TaskRow } from "../../gen/tables.js";
import { peekQueue } from "../../kinds/socket/unix/dump-queue.js";
import type { DumpContext, DumpedProcess } from "../context.js";
import { refusal } from "../refusal.js";
import { type Description, type Holder, nameOf, type QueuedMessage, type Told } from "./context.js";
import { DescriptionIndex } from "./description-index.js";
import { decimalField } from "./fdinfo.js";
import { SeenThings } from "./seen.js";

/** The descriptions of all tasks, in the order of tasks and numbers. `release` closes our copies. */
export class DescriptorScan {
  readonly descriptions: Description[] = [];
  readonly #things = new SeenThings();
  readonly #copies = new Copies();
  /** Sockets in whose queues descriptors travel. */
  readonly #carriers: Description[] = [];
  #inFlight: InFlightIndex | undefined;

  constructor(context: DumpContext, order?: DescriptorOrder) {
    try {
      this.#scanProcesses(ownersOfTables(context), order);
      this.#scanQueues();
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** Closes the copies. */
  release(): void {
    this.#copies.close();
    this.descriptions.length = 0;
  }

  #scanProcesses(owners: readonly DumpedProcess[], order: DescriptorOrder | undefined): void {
    const looks = lookAtDescriptors(
      owners.map(({ pid }) => pid),
      order,
    );
    // Until then the rows are not ours alone.
    looks.awaitSame();
    const told: (SeenTold | undefined)[] = [];
    const known: Description[] = [];
    for (let row = 0; row < looks.count; row++) {
      const process = owners[looks.process(row)] as DumpedProcess;
      const alike = looks.alike(row);
      if (alike === row) told[row] = this.#tell(looks, row, process);
      const { seen, isCloexec } = told[alike] as SeenTold;
      const holder: Holder = { process, fd: looks.fd(row), isCloexec };
      const same = looks.same(row);
      if (same !== row) (known[same] as Description).holders.push(holder);
      else {
        const description = new Seen(seen, [holder], this.#copies);
        known[row] = description;
        this.#add(description);
      }
    }
  }

  #add(description: Description): void {
    this.descriptions.push(description);
    if ((description.told as CarryingTold).carries) this.#carriers.push(description);
  }

  /** What a row tells: by itself, or where something was not to be had in one go, asked anew. */
  #tell(looks: DescriptorLooks, row: number, process: DumpedProcess): SeenTold {
    const fd = looks.fd(row);
    const name = (): string => `fd ${fd} of ${process.pid} (${process.name})`;
    for (const [call, result] of [
      ["pidfd_getfd", looks.copied(row)],
      ["fstat", looks.statResult(row)],
      ["fcntl(F_GETFL)", Math.min(looks.flags(row), 0)],
    ] as const)
      if (result !== 0) throw new SysError(call, -result, name());
    const seen = tellSeen(looks, row, this.#things) ?? describe(this.#copies.make(process, fd), process.pid, fd, name(), this.#things);
    // O_CLOEXEC in fdinfo's flags is the descriptor's own flag.
    return { seen, isCloexec: (seen.info.flags & openFlags.CLOEXEC) !== 0 };
  }

  /** Descriptors that travel in messages are descriptions too; what travels in those, in turn, is found as well. */
  #scanQueues(): void {
    for (const socket of this.#carriers) {
      const name = `a descriptor in flight to ${nameOf(socket)}`;
      socket.queue = peekQueue(socket, (fd) => {
        this.#copies.keep(fd);
        this.#inFlight ??= new InFlightIndex(this.descriptions);
        const description = new Seen(describe(fd, "self", fd, name, this.#things), [], this.#copies, socket, fd);
        const found = this.#inFlight.findOrAdd(description);
        if (found === undefined) this.#add(description);
        return found ?? description;
      });
    }
  }
}

const closing = new QuestionList([{ call: "close", args: [{ id: 1 }] }]);

/** Our copies of descriptors: most kinds need one, plain files only for their samples. */
class Copies {
  readonly #pidfds = new Map<number, number>();
  readonly #made: number[] = [];

  /** A copy of number `fd` of a process, until all are closed. @throws SysError */
  make({ pid, name }: DumpedProcess, fd: number): number {
    let pidfd = this.#pidfds.get(pid);
    if (pidfd === undefined) {
      pidfd = check(tryPidfdOpen(pid), "pidfd_open", `process ${pid}`);
      this.#pidfds.set(pid, pidfd);
    }
    return this.keep(check(tryPidfdGetfd(pidfd, fd), "pidfd_getfd", `fd ${fd} of ${pid} (${name})`));
  }

  /** Takes over a descriptor that is there already. */
  keep(fd: number): number {
    this.#made.push(fd);
    return fd;
  }

  close(): void {
    closing.ask(Int32Array.from(this.#made.splice(0).flatMap((fd) => [0, fd])));
    for (const pidfd of this.#pidfds.values()) close(pidfd);
    this.#pidfds.clear();
  }
}

class Seen implements Description {
  queue: readonly QueuedMessage[] | undefined;
  row: number | undefined;
  private readonly first: Holder | undefined;

  constructor(
    readonly told: Told,
    readonly holders: Holder[],
    private readonly copies: Copies,
    readonly inFlightIn?: Description,
    private copy = -1,
  ) {
    this.first = holders[0];
  }

  get fd(): number {
    if (this.copy < 0 && this.first !== undefined) this.copy = this.copies.make(this.first.process, this.first.fd);
    return this.copy;
  }

  get stat(): Told["stat"] {
    return this.told.stat;
  }

  get link(): Told["link"] {
    return this.told.link;
  }

  get info(): Told["info"] {
    return this.told.info;
  }

  get flags(): Told["flags"] {
    return this.told.flags;
  }

  get fsMagic(): Told["fsMagic"] {
    return this.told.fsMagic;
  }

  get signals(): Told["signals"] {
    return this.told.signals;
  }
}

/** S_IFMT, S_IFSOCK */
const [modeType, modeSocket] = [0o170000, 0o140000];

/** Whether descriptors travel in its queue is seen at once. */
interface CarryingTold extends Told {
  readonly carries: boolean;
}

interface SeenTold {
  readonly seen: CarryingTold;
  readonly isCloexec: boolean;
}

function carrying(told: Told): CarryingTold {
  return { ...told, carries: (told.stat.mode & modeType) === modeSocket && decimalField(told.info, "scm_fds") > 0n };
}

/** What a row tells; undefined where something is missing. */
function tellSeen(looks: DescriptorLooks, row: number, things: SeenThings): CarryingTold | undefined {
  const infoText = looks.info(row);
  const linkText = looks.link(row);
  const magic = looks.magic(row);
  const info = infoText === undefined ? undefined : things.info(infoText);
  if (info === undefined || linkText === undefined || magic === undefined) return undefined;
  const [signal, owner] = [looks.signal(row), looks.owner(row)];
  return carrying({
    stat: things.stat(looks.stat(row)),
    link: things.link(linkText),
    info,
    flags: looks.flags(row),
    fsMagic: things.magic(...magic),
    signals: owner === undefined ? { signal } : { signal, owner },
  });
}

/** What our copy `fd` and /proc (`number` of `process`) tell. */
function describe(fd: number, process: number | "self", number: number, name: string, things: SeenThings): CarryingTold {
  const text = tryReadSmall(`/proc/${process}/fdinfo/${number}`)?.toString("latin1");
  const info = text === undefined ? undefined : things.info(text);
  const linkText = tryReadlink(`/proc/${process}/fd/${number}`)?.toString("latin1");
  if (info === undefined || linkText === undefined) throw refusal("fd.unreadable", `${name}: /proc does not tell what it is`);
  const stat = tryFstat(fd);
  if (typeof stat === "number") throw new SysError("fstat", -stat, name);
  const magic = tryFstatfsType(fd);
  const flags = check(tryFcntl(fd, fcntlCommand.GETFL), "fcntl(F_GETFL)", name);
  return carrying({ stat, link: things.link(linkText), info, flags, fsMagic: typeof magic === "number" ? 0n : magic });
}

/** Which description of the tree one that travels in a message is. Those of one inode are sorted when one of it is met. */
class InFlightIndex {
  readonly #index = new DescriptionIndex<Description>((left, right) => {
    const [a, b] = [placeOf(left), placeOf(right)];
    return check(tryKcmp(a.pid, b.pid, kcmpType.FILE, a.fd, b.fd), "kcmp", nameOf(left));
  });
  readonly #sorted = new Set<string>();

  constructor(private readonly descriptions: readonly Description[]) {}

  /** The same description, if it is known; else it is from now on. */
  findOrAdd(candidate: Description): Description | undefined {
    const key = keyOf(candidate);
    if (!this.#sorted.has(key)) {
      this.#sorted.add(key);
      for (const description of this.descriptions) if (keyOf(description) === key) this.#index.findOrAdd(key, description);
    }
    return this.#index.findOrAdd(key, candidate);
  }
}

const keyOf = ({ stat, info, flags }: Description): string => `${stat.dev}:${stat.ino}:${info.pos}:${flags}`;

/** Where kcmp finds it: in a process that has it, or with us. */
function placeOf(description: Description): { readonly pid: number; readonly fd: number } {
  const [holder] = description.holders;
  return holder === undefined ? { pid: process.pid, fd: description.fd } : { pid: holder.process.pid, fd: holder.fd };
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
