// SPDX-License-Identifier: Apache-2.0
/** What ioctls tell of a terminal (ioctl_tty(2)). Asked of a master, modes and size are those of its slave. */
import { type Description, refuseDescription } from "../../dump/fds/context.js";
import { decodeText } from "../../bytes/text.js";
import { errno, SysError, failed, tryCall, tryIoctl } from "../../native/index.js";
import { termiosLength } from "../../linux/termios.js";

const TIOCGWINSZ = 0x5413;
const FIONREAD = 0x541b;
const KDGETMODE = 0x4b3b;
const VT_GETMODE = 0x5601;
const TCGETS2 = 0x802c542a;
const TIOCGLCKTRMIOS = 0x5456;
const TIOCGPTN = 0x80045430;
const TIOCGDEV = 0x80045432;
const TIOCGPKT = 0x80045438;
const TIOCGPTLCK = 0x80045439;
const TIOCGEXCL = 0x80045440;
/** struct termios of the kernel: four flag words, the line discipline, 19 control characters. */
const lockedLength = 36;

export interface TerminalModes {
  /** struct termios2. */
  readonly termios: Uint8Array;
  /** struct termios with the bits that may not be changed; empty if there are none. */
  readonly lockedTermios: Uint8Array;
  readonly size: { readonly rows: number; readonly columns: number; readonly xPixels: number; readonly yPixels: number };
  /** Bits of the column `flags` that a master tells: locked 1, packet 2. */
  readonly flags: number;
  /** Masters: slaves were open once and none is now. */
  readonly isClosed: boolean;
}

/** N of /dev/pts/N, from its master. Throws SysError. */
export function ptyIndexOf(master: number, subject: string): number {
  const number = new Uint32Array(1);
  const result = tryIoctl(master, TIOCGPTN, number);
  if (failed(result)) throw new SysError("ioctl(TIOCGPTN)", -result, subject);
  return number[0] ?? 0;
}

/** The device number behind a terminal's descriptor, also one opened as /dev/tty; undefined if it does not tell. */
export function deviceOf(fd: number): { readonly major: number; readonly minor: number } | undefined {
  const number = new Uint32Array(1);
  return failed(tryIoctl(fd, TIOCGDEV, number)) ? undefined : splitDevice(number[0] ?? 0);
}

/** The kernel's 32-bit form of a device number: minor in bits 0 to 7 and 20 to 31, major in bits 8 to 19. */
export function splitDevice(device: number): { readonly major: number; readonly minor: number } {
  return { major: (device >>> 8) & 0xfff, minor: (device & 0xff) | ((device >>> 20) << 8) };
}

/** True for a slave whose master is gone: every call on it ends with EIO. */
export function isHungUp(slave: number): boolean {
  return tryIoctl(slave, TCGETS2, new Uint8Array(termiosLength)) === -errno.EIO;
}

/** TIOCEXCL was called on this end. */
export const isExclusive = (fd: number): boolean => isOn(fd, TIOCGEXCL);

function isOn(fd: number, command: number): boolean {
  const value = new Int32Array(1);
  return !failed(tryIoctl(fd, command, value)) && value[0] !== 0;
}

/** Modes of a terminal. Throws SysError. */
export function readModes(fd: number, subject: string): TerminalModes {
  const get = (name: string, command: number, into: Uint8Array): Uint8Array => {
    const result = tryIoctl(fd, command, into);
    if (failed(result)) throw new SysError(`ioctl(${name})`, -result, subject);
    return into;
  };
  const isSet = (command: number): boolean => isOn(fd, command);
  const size = get("TIOCGWINSZ", TIOCGWINSZ, new Uint8Array(8));
  const shorts = new DataView(size.buffer);
  const locked = new Uint8Array(lockedLength);
  const areLocksKnown = !failed(tryIoctl(fd, TIOCGLCKTRMIOS, locked));
  return {
    termios: get("TCGETS2", TCGETS2, new Uint8Array(termiosLength)),
    lockedTermios: areLocksKnown && locked.some((byte) => byte !== 0) ? locked : new Uint8Array(0),
    size: {
      rows: shorts.getUint16(0, true),
      columns: shorts.getUint16(2, true),
      xPixels: shorts.getUint16(4, true),
      yPixels: shorts.getUint16(6, true),
    },
    flags: (isSet(TIOCGPTLCK) ? 1 : 0) | (isSet(TIOCGPKT) ? 2 : 0),
    isClosed: (pollOf(fd) & POLLHUP) !== 0,
  };
}

const POLLHUP = 0x10;
export const POLLIN = 1;

/** What poll(2) says of a descriptor at once. */
export function pollOf(fd: number): number {
  const entry = new Int32Array([fd, POLLIN]);
  return failed(tryCall("poll", entry, 1, 0)) ? 0 : (entry[1] ?? 0) >>> 16;
}

/** Refuses a terminal of the machine in a state that opening it again does not give: graphics, or input that waits. */
export function checkDevice(description: Description): void {
  const name = `the terminal ${decodeText(description.link)}`;
  const refuse = (text: string, hint: string): never => refuseDescription(description, "terminal", `${name}, ${text}`, hint);
  const mode = new Uint8Array(8);
  const isSwitching = !failed(tryIoctl(description.fd, VT_GETMODE, mode)) && mode[0] !== 0;
  if (isOn(description.fd, KDGETMODE) || isSwitching) refuse("in graphics mode", "End the program that draws on it, and dump again.");
  const waiting = new Int32Array(1);
  if (!failed(tryIoctl(description.fd, FIONREAD, waiting)) && (waiting[0] ?? 0) > 0) {
    refuse(`with ${waiting[0]} bytes that nobody has read`, "Dump again when the program has read them.");
  }
}
