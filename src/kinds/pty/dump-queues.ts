// SPDX-License-Identifier: Apache-2.0
/**
 * Bytes under way in a pseudoterminal. The kernel has no way to look at them: they are read and written back, under
 * modes that change nothing, while every process of the tree stands still.
 */
import { failed, SysError, tryCall, tryIoctl } from "../../native/index.js";
import { isCanonical, literalModes, rawModes } from "../../linux/termios.js";
import { POLLIN, pollOf, type TerminalModes } from "./dump-modes.js";

const TCSETS2 = 0x402c542b;
const TIOCPKT = 0x5420;

export interface TerminalQueues {
  /** To the slave. */
  readonly input: Uint8Array;
  /** To the master. */
  readonly output: Uint8Array;
}

/**
 * What is under way, which is there again afterwards. `slave` is a non-blocking descriptor of crimg's own; without one
 * (no slave is open) only what the master could still read is looked at, and nothing is.
 */
export function takeQueues(master: number, slave: number | undefined, modes: TerminalModes, subject: string): TerminalQueues {
  const empty = { input: new Uint8Array(0), output: new Uint8Array(0) };
  if (slave === undefined) return empty;
  const isPacket = (modes.flags & 2) !== 0;
  const setModes = (termios: Uint8Array): void => check("ioctl(TCSETS2)", tryIoctl(slave, TCSETS2, termios), subject);
  const setPacket = (on: number): void => check("ioctl(TIOCPKT)", tryIoctl(master, TIOCPKT, new Int32Array([on])), subject);
  if (isPacket) setPacket(0);
  try {
    // In canonical mode a line that is only begun cannot be seen.
    setModes(rawModes(modes.termios));
    const input = drain(slave, subject);
    const output = drain(master, subject);
    setModes(literalModes(modes.termios, isCanonical(modes.termios)));
    putBack(master, input, subject);
    putBack(slave, output, subject);
    return { input, output };
  } finally {
    setModes(modes.termios);
    if (isPacket) setPacket(1);
  }
}

function check(call: string, result: number, subject: string): void {
  if (failed(result)) throw new SysError(call, -result, subject);
}

/** Everything that can be read without waiting. */
function drain(fd: number, subject: string): Uint8Array {
  const parts: Buffer[] = [];
  const room = Buffer.alloc(4096);
  while ((pollOf(fd) & POLLIN) !== 0) {
    const length = tryCall("read", fd, room, room.length);
    check("read", length, subject);
    if (length === 0) break;
    parts.push(Buffer.from(room.subarray(0, length)));
  }
  return Buffer.concat(parts);
}

function putBack(fd: number, bytes: Uint8Array, subject: string): void {
  for (let at = 0; at < bytes.length; ) {
    const written = tryCall("write", fd, bytes.subarray(at), bytes.length - at);
    check("write", written, subject);
    at += written;
  }
}
