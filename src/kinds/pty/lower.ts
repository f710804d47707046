// SPDX-License-Identifier: Apache-2.0
/**
 * Pseudoterminals: the master and all slaves are made together, in the first process. Slaves are opened through the
 * master (TIOCGPTPEER), which needs no path and makes nothing the controlling terminal.
 */
import type { OpenFileRow, TerminalRow } from "../../gen/tables.js";
import type { FileLowering } from "../../lower/fds/kind.js";
import { AT_FDCWD, badReference, detailOf, type FileSlots, openFlags } from "../../lower/fds/shared.js";
import type { Slot } from "../../lower/operands.js";
import { openPath } from "../path/lower.js";
import { openMaster } from "./lower-master.js";
import { isCanonical, literalModes, termiosLength } from "../../linux/termios.js";

const TIOCEXCL = 0x540c;
const TIOCSWINSZ = 0x5414;
const TIOCPKT = 0x5420;
const TIOCGPTPEER = 0x5441;
const TIOCSLCKTRMIOS = 0x5457;
const TIOCSPTLCK = 0x40045431;
const TCSETS2 = 0x402c542b;
/** Bits of the column `flags`. */
const flag = { locked: 1, packet: 2, exclusive: 4, closed: 8 } as const;

/** By row of `terminals`: a slave that the leader of its session can make its controlling terminal. */
const slavesOf = new WeakMap<FileSlots, Map<number, Slot>>();

export const lowering: FileLowering = {
  open: (slots, members) => ({ slots: openTerminals(slots, members) }),
  late: { applies: isOwnTerminal, open: openOwnTerminal },
  controllingTerminal: (slots, session) => {
    const row = slots.context.checkpoint.tables.terminals.findIndex(
      ({ kind, session: own }) => (kind === "pty" || kind === "device") && own === session,
    );
    return row < 0 ? undefined : slavesOf.get(slots)?.get(row);
  },
};

/** A description made by opening /dev/tty, which a process of that session has to do again. Not if several hold it. */
function isOwnTerminal(slots: FileSlots, file: OpenFileRow): boolean {
  const { files, objects } = slots.context.checkpoint.tables;
  const object = file.object === null ? undefined : objects[file.object];
  return object?.rdevMajor === 5 && object.rdevMinor === 0 && slots.holdersOf(files.indexOf(file)).length === 1;
}

function openOwnTerminal({ context }: FileSlots, file: OpenFileRow, fd: number): Slot {
  const slot = context.builder.slot(`/dev/tty for fd ${fd}`);
  const flags = file.flags & (openFlags.ACCMODE | openFlags.NONBLOCK | openFlags.APPEND);
  const { builder } = context;
  // In a rehearsal no session takes the terminal of the caller.
  const path = builder.either(builder.string("/dev/tty"), builder.string("/dev/null"), "controlling terminal");
  builder.syscall("openat", [AT_FDCWD, path, flags | openFlags.CLOEXEC, 0], {
    store: slot,
    message: `open /dev/tty for fd ${fd}`,
  });
  return slot;
}

function openTerminals(slots: FileSlots, members: readonly number[]): Map<number, Slot> {
  const byTerminal = new Map<number, number[]>();
  const { terminals } = slots.context.checkpoint.tables;
  for (const index of members) {
    const { detail } = slots.file(index);
    if (detail === null || terminals[detail] === undefined) throw badReference(`terminals[${detail ?? "none"}]`);
    byTerminal.set(detail, [...(byTerminal.get(detail) ?? []), index]);
  }
  const opened = new Map<number, Slot>();
  const slaves = new Map<number, Slot>();
  slavesOf.set(slots, slaves);
  for (const [row, files] of byTerminal) {
    const isDevice = terminals[row]?.kind === "device";
    const slave = isDevice ? openDevice(slots, files, opened) : openTerminal(slots, files, opened);
    if (slave !== undefined) slaves.set(row, slave);
  }
  return opened;
}

/** Makes one pseudoterminal with all its files. Returns a slave. */
function openTerminal(slots: FileSlots, files: readonly number[], opened: Map<number, Slot>): Slot | undefined {
  const { context } = slots;
  const { builder: b } = context;
  const first = slots.file(files[0] as number);
  const terminal = detailOf(context.checkpoint.tables.terminals, first, "terminals");
  const masterFile = files.find((index) => index === terminal.master);
  const purpose = slots.purposeOf(files[0] as number);
  const message = (text: string): { message: string } => ({ message: `${text} of /dev/pts/${terminal.index} ${purpose}` });
  const master = openMaster(context, terminal.index, masterFile === undefined ? 0 : slots.file(masterFile).flags, purpose);
  b.syscall("ioctl", [master, TIOCSPTLCK, b.u4s(0)], message("unlock the slave"));
  const openSlave = (flags: number, why: string): Slot => {
    const slave = b.slot(`a slave of /dev/pts/${terminal.index}`);
    const kept = flags & (openFlags.ACCMODE | openFlags.NONBLOCK | openFlags.LARGEFILE | openFlags.APPEND);
    b.syscall("ioctl", [master, TIOCGPTPEER, kept | openFlags.NOCTTY | openFlags.CLOEXEC], {
      store: slave,
      message: `open /dev/pts/${terminal.index} ${why}`,
    });
    context.keepHigh(slave);
    return slave;
  };
  let slave: Slot | undefined;
  for (const index of files) {
    if (index === masterFile) continue;
    const { flags } = slots.file(index);
    const made = openSlave(flags, slots.purposeOf(index));
    opened.set(index, made);
    if ((flags & openFlags.ACCMODE) === openFlags.RDWR || slave === undefined) slave = made;
  }
  if (terminal.kind === "hung_up") {
    b.syscall("close", [master], message("close the master"));
    return undefined;
  }
  if (slave === undefined && (terminal.session !== 0 || terminal.output.length > 0)) slave = openSlave(openFlags.RDWR, purpose);
  if (masterFile === undefined) throw badReference(`terminals[${first.detail}].master`);
  fill(slots, terminal, master, slave, purpose);
  if (slave === undefined && (terminal.flags & flag.closed) !== 0) b.syscall("close", [openSlave(openFlags.RDWR, purpose)]);
  if ((terminal.flags & flag.locked) !== 0) b.syscall("ioctl", [master, TIOCSPTLCK, b.u4s(1)], message("lock the slave"));
  opened.set(masterFile, master);
  return slave;
}

/** Opens a terminal of the machine by its name, and sets its modes. The window is as large as it is. */
function openDevice(slots: FileSlots, files: readonly number[], opened: Map<number, Slot>): Slot | undefined {
  const { context } = slots;
  const { builder: b } = context;
  for (const index of files) opened.set(index, openPath(slots, index));
  const first = files[0] as number;
  const slot = opened.get(first) as Slot;
  const terminal = detailOf(context.checkpoint.tables.terminals, slots.file(first), "terminals");
  const message = (text: string): { message: string } => ({ message: `${text} of the terminal ${slots.purposeOf(first)}` });
  // Others may be looking at it: a rehearsal leaves it alone.
  const done = b.label("the modes are set");
  b.jumpIf(b.rehearsal, "ne", 0, done);
  if (terminal.termios.length === termiosLength) b.syscall("ioctl", [slot, TCSETS2, b.bytes(terminal.termios)], message("set the modes"));
  if (terminal.lockedTermios.length > 0) {
    b.syscall("ioctl", [slot, TIOCSLCKTRMIOS, b.bytes(terminal.lockedTermios)], message("lock modes"));
  }
  if ((terminal.flags & flag.exclusive) !== 0) b.syscall("ioctl", [slot, TIOCEXCL, 0], message("set exclusive mode"));
  b.place(done);
  return slot;
}

/** What is under way, then the modes: set first they would change it. */
function fill(slots: FileSlots, terminal: TerminalRow, master: Slot, slave: Slot | undefined, purpose: string): void {
  const { builder: b } = slots.context;
  const message = (text: string): { message: string } => ({ message: `${text} of /dev/pts/${terminal.index} ${purpose}` });
  const { termios, input, output } = terminal;
  const hasModes = termios.length === termiosLength;
  const put = (fd: Slot, bytes: Uint8Array, what: string): void => {
    if (bytes.length > 0) b.syscall("write", [fd, b.bytes(bytes, 1), bytes.length], { expect: bytes.length, ...message(what) });
  };
  if (slave !== undefined && input.length + output.length > 0) {
    const base = hasModes ? termios : new Uint8Array(termiosLength);
    b.syscall("ioctl", [master, TCSETS2, b.bytes(literalModes(base, isCanonical(base)))], message("set the modes"));
    put(master, input, "write what waits to be read");
    put(slave, output, "write the output");
  }
  if (hasModes) b.syscall("ioctl", [master, TCSETS2, b.bytes(termios)], message("set the modes"));
  if (terminal.lockedTermios.length > 0) {
    b.syscall("ioctl", [master, TIOCSLCKTRMIOS, b.bytes(terminal.lockedTermios)], {
      ...message("lock modes"),
      hint: "only root may lock modes of a terminal",
    });
  }
  b.syscall("ioctl", [master, TIOCSWINSZ, b.bytes(windowSize(terminal))], message("set the window size"));
  if ((terminal.flags & flag.packet) !== 0) b.syscall("ioctl", [master, TIOCPKT, b.u4s(1)], message("set packet mode"));
  if (slave === undefined) return;
  if ((terminal.flags & flag.exclusive) !== 0) b.syscall("ioctl", [slave, TIOCEXCL, 0], message("set exclusive mode"));
  if (terminal.mode !== 0) {
    // An ordinary user owns the node already and may not give it away.
    b.syscall("fchown", [slave, terminal.uid, terminal.gid], { expect: "any" });
    b.syscall("fchmod", [slave, terminal.mode & 0o7777], { expect: "any" });
  }
}

/** struct winsize. */
export function windowSize({ rows, columns, xPixels, yPixels }: TerminalRow): Uint8Array {
  return new Uint8Array(Uint16Array.of(rows, columns, xPixels, yPixels).buffer);
}
