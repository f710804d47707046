// SPDX-License-Identifier: Apache-2.0
/**
 * Pseudoterminals whose master is in the tree: modes, size, locks, and what is under way in both directions. A slave
 * whose master is outside is the caller's terminal (kind tty), unless it hangs: then nobody has the master any more.
 */
import { type Collecting, type Description, nameOf, refuseDescription, stdioNumber } from "../../dump/fds/context.js";
import { type DescriptorFacts, inodeType } from "../../dump/fds/facts.js";
import { reopen } from "../../dump/fds/files.js";
import type { FileCollector, FileDump, FileFields } from "../../dump/fds/kind.js";
import { readStat, procPath } from "../../dump/procfs.js";
import { type TerminalRow, terminalRow } from "../../gen/tables.js";
import { close, failed, openFlag, tryListDirectory, tryReadlink } from "../../native/index.js";
import { checkDevice, deviceOf, isExclusive, isHungUp, ptyIndexOf, readModes, splitDevice } from "./dump-modes.js";
import { takeQueues } from "./dump-queues.js";

export const dump: FileDump = { recognises: isMaster, collector: (collecting) => ptysOf(collecting) };

/** /dev/ptmx, or the ptmx of a devpts instance: character device 5:2. */
function isMaster(facts: DescriptorFacts): boolean {
  return inodeType(facts) === "char_device" && !facts.isPath && facts.rdevMajor === 5 && facts.rdevMinor === 2;
}

/** Bits of the column `flags`. */
const exclusiveFlag = 4;
const closedFlag = 8;
/** /dev/console is 5:1; 5:0 is the terminal of whoever opens it, 5:2 makes pseudoterminals. */
const consoleMinor = 1;

const collectors = new WeakMap<Collecting, PtyCollector>();

/** The one collector of a dump: the kind tty hands it the slaves. */
export function ptysOf(collecting: Collecting): PtyCollector {
  let found = collectors.get(collecting);
  if (found === undefined) collectors.set(collecting, (found = new PtyCollector(collecting)));
  return found;
}

/** N of /dev/pts/N from a slave's device number: eight majors from 136 with 256 minors each. */
function ptyIndex({ major, minor }: { readonly major: number; readonly minor: number }): number | undefined {
  return major >= 136 && major <= 143 ? (major - 136) * 256 + minor : undefined;
}

/** N of the pseudoterminal that a description is a slave of, also one opened as /dev/tty; undefined for other terminals. */
function slaveIndex({ fd, stat }: Description): number | undefined {
  return ptyIndex({ major: stat.rdevMajor, minor: stat.rdevMinor }) ?? ptyIndex(deviceOf(fd) ?? { major: 0, minor: 0 });
}

class PtyCollector implements FileCollector {
  readonly #masters = new Map<number, Description>();
  readonly #slaves = new Map<number, Description[]>();
  readonly #rows = new Map<number, number>();
  /** Rows of terminals that are devices of the machine, by device number. */
  readonly #devices = new Map<string, number>();

  constructor(private readonly collecting: Collecting) {}

  note(master: Description): void {
    this.#masters.set(ptyIndexOf(master.fd, nameOf(master)), master);
  }

  /** A description of a terminal that may be a slave of the tree's own. */
  noteSlave(slave: Description): void {
    const index = slaveIndex(slave);
    if (index === undefined) return;
    this.#slaves.set(index, [...(this.#slaves.get(index) ?? []), slave]);
  }

  collect(master: Description): FileFields {
    const index = ptyIndexOf(master.fd, nameOf(master));
    return { kind: "pty", detail: this.#row(index), object: this.#object(master) };
  }

  /** The row of a slave; undefined if its master is outside the tree. */
  collectSlave(slave: Description): FileFields | undefined {
    const index = slaveIndex(slave);
    if (index === undefined) return undefined;
    if (!this.#masters.has(index) && !isHungUp(slave.fd)) return undefined;
    return { kind: "pty", detail: this.#row(index), object: this.#object(slave) };
  }

  /** The node, for those who look at names. That of a terminal that hangs is gone from devpts, which harms nobody. */
  #object(description: Description): number {
    const { stat, link, fsMagic } = description;
    return this.collecting.context.objects.add({ stat, link, fsMagic, holder: nameOf(description), fields: { nlink: 1 } });
  }

  /** The terminal of the caller: its modes, under the number of the standard stream that leads to it. */
  noteOutside(description: Description): void {
    const number = stdioNumber(description);
    const { terminals } = this.collecting.context.tables;
    if (number === undefined || terminals.some(({ kind }) => kind === "outside")) return;
    const modes = readModes(description.fd, nameOf(description));
    terminals.push(
      terminalRow({
        kind: "outside",
        index: number,
        session: sessionOfPty(this.collecting, slaveIndex(description)),
        ...modes.size,
        termios: modes.termios,
      }),
    );
  }

  /** A console, a virtual terminal, or a serial line: opened again by its name. Undefined for others. */
  collectDevice(description: Description, object: number): FileFields | undefined {
    const { rdevMajor: major, rdevMinor: minor } = description.stat;
    if (slaveIndex(description) !== undefined || (major === 5 && minor !== consoleMinor)) return undefined;
    checkDevice(description);
    const key = `${major}:${minor}`;
    let detail = this.#devices.get(key);
    if (detail === undefined) {
      const { termios, lockedTermios, size } = readModes(description.fd, nameOf(description));
      const own = deviceOf(description.fd);
      const session = sessionOn(this.collecting, (device) => device.major === own?.major && device.minor === own.minor);
      const flags = isExclusive(description.fd) ? exclusiveFlag : 0;
      const row = terminalRow({ kind: "device", session, flags, ...size, termios, lockedTermios });
      this.#devices.set(key, (detail = this.collecting.context.tables.terminals.push(row) - 1));
    }
    return { kind: "pty", detail, object };
  }

  finish(): void {
    const { terminals } = this.collecting.context.tables;
    for (const [index, master] of this.#masters) {
      const row = this.#rows.get(index);
      if (row !== undefined) terminals[row] = { ...(terminals[row] as TerminalRow), master: master.row ?? null };
    }
  }

  #row(index: number): number {
    let row = this.#rows.get(index);
    if (row === undefined) {
      row = this.collecting.context.tables.terminals.push(this.#read(index)) - 1;
      this.#rows.set(index, row);
    }
    return row;
  }

  #read(index: number): TerminalRow {
    const slaves = this.#slaves.get(index) ?? [];
    const master = this.#masters.get(index);
    if (master === undefined) return terminalRow({ kind: "hung_up", index });
    const modes = readModes(master.fd, nameOf(master));
    const slave = slaves[0];
    if (slave === undefined) {
      const outside = modes.isClosed ? undefined : holderOutside(index);
      if (outside !== undefined) {
        refuseDescription(
          master,
          "outside_slave",
          `the master of /dev/pts/${index}, which process ${outside} outside the tree has open`,
          "Dump the tree that holds both ends.",
        );
      }
    }
    const own = slave === undefined ? undefined : reopen(slave.fd, openFlag.RDWR);
    const isOpened = own !== undefined && !failed(own);
    // In exclusive mode only root may open it anew. Our copy of the program's descriptor serves: raw reads do not wait.
    const looking = isOpened ? own : slaves.find(({ flags }) => (flags & 3) === 2)?.fd;
    if (slave !== undefined && looking === undefined) {
      refuseDescription(slave, "terminal", `the terminal /dev/pts/${index}, which may not be opened to look into it`);
    }
    try {
      const queues = takeQueues(master.fd, looking, modes, nameOf(master));
      const node = slave?.stat;
      return terminalRow({
        kind: "pty",
        index,
        session: sessionOfPty(this.collecting, index),
        flags: modes.flags | (modes.isClosed ? closedFlag : 0) | (slave !== undefined && isExclusive(slave.fd) ? exclusiveFlag : 0),
        mode: node?.mode ?? 0,
        uid: node?.uid ?? 0,
        gid: node?.gid ?? 0,
        ...modes.size,
        termios: modes.termios,
        lockedTermios: modes.lockedTermios,
        ...queues,
      });
    } finally {
      if (isOpened) close(own);
    }
  }
}

/** The session of the tree whose controlling terminal is /dev/pts/`index`, 0 for none. */
function sessionOfPty(collecting: Collecting, index: number | undefined): number {
  return index === undefined ? 0 : sessionOn(collecting, (device) => ptyIndex(device) === index);
}

/** The session of the tree whose controlling terminal is a device, 0 for none. */
function sessionOn({ context }: Collecting, isIt: (device: ReturnType<typeof splitDevice>) => boolean): number {
  for (const { pid, row } of context.processes) {
    const task = context.tables.tasks[row];
    if (task === undefined || task.sid !== task.pid) continue;
    const device = Number(readStat(procPath(pid))?.field(7) ?? 0n);
    // tty_nr of proc_pid_stat(5)
    if (device !== 0 && isIt(splitDevice(device))) return task.sid;
  }
  return 0;
}

/** A process that has /dev/pts/`index` open. Looked for only where no process of the tree has it. */
function holderOutside(index: number): number | undefined {
  const wanted = `/dev/pts/${index}`;
  const pids = tryListDirectory("/proc");
  for (const name of typeof pids === "number" ? [] : pids) {
    if (!/^\d+$/.test(name)) continue;
    const fds = tryListDirectory(`/proc/${name}/fd`);
    if (typeof fds === "number") continue;
    if (fds.some((fd) => tryReadlink(`/proc/${name}/fd/${fd}`)?.toString("latin1") === wanted)) return Number(name);
  }
  return undefined;
}
