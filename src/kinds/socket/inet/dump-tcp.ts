// SPDX-License-Identifier: Apache-2.0
/**
 * A TCP connection as TCP_REPAIR tells it (linux/tcp.h). A socket under repair is silent when it is closed, and gives its
 * send queue and sequence numbers; it is under repair only while it is looked at, so that nothing of it is left should crimg
 * end in the middle.
 */
import { type TcpConnectionRow, tcpConnectionRow, type TcpState, tcpStateValues } from "../../../gen/tables.js";
import { errno, failed, messageFlag, SysError, tryCall, tryGetsockopt, tryIoctl, tryReceive } from "../../../native/index.js";
import { type Description, refuseDescription } from "../../../dump/fds/context.js";
import { SOL_SOCKET } from "../../../dump/fds/socket-options.js";
import { socketOptions } from "../../../state/socket-options.js";
import { hasReceivedFin, hasSentFin } from "../../../state/tcp.js";
import { pollEvent, polls } from "../dump-poll.js";

const SOL_TCP = 6;
const tcp = { MAXSEG: 2, INFO: 11, REPAIR: 19, REPAIR_QUEUE: 20, QUEUE_SEQ: 21, TIMESTAMP: 24, REPAIR_WINDOW: 29, ULP: 31 } as const;
/** −1 leaves the repair without a probe of the peer's window. */
const repair = { on: 1, off: -1 } as const;
const queue = { none: 0, receive: 1, send: 2 } as const;
const [SIOCINQ, SIOCOUTQ, SIOCOUTQNSD] = [0x541b, 0x5411, 0x894b];
const SO_SNDBUF = socketOptions.SO_SNDBUF.option;
const SO_RCVBUF = socketOptions.SO_RCVBUF.option;
const SO_PEEK_OFF = socketOptions.SO_PEEK_OFF.option;
const SO_REUSEADDR = socketOptions.SO_REUSEADDR.option;
/** TCPI_OPT_TIMESTAMPS and TCPI_OPT_WSCALE of tcpi_options. */
const agreed = { timestamps: 1, wscale: 4 } as const;
/** Room for what comes while a queue is being read. */
const slack = 1 << 16;
/** Looks at a queue until nothing came meanwhile. */
const mostLooks = 100;

const stateNames: ReadonlyMap<number, TcpState> = new Map(
  Object.entries(tcpStateValues).map(([name, value]) => [Number(value), name as TcpState]),
);

/** The state by its number in tcp_states.h; undefined for those of no connection. */
export const tcpStateOf = (number: number): TcpState | undefined => stateNames.get(number);

/** Runs with the socket under repair. It leaves SO_REUSEADDR changed, so that is put back. */
function underRepair<Result>(description: Description, run: () => Result): Result {
  const { fd } = description;
  const reuse = tryGetsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 4);
  const entered = setInt(fd, tcp.REPAIR, repair.on);
  if (entered === -errno.EPERM) {
    refuseDescription(
      description,
      "tcp_privilege",
      "a TCP connection, which only a holder of CAP_NET_ADMIN can keep",
      "Dump and resume as root, or give --tcp-close: then the program finds it closed.",
    );
  }
  if (failed(entered)) refuseDescription(description, "tcp_repair", "a TCP connection that the kernel does not tell about (TCP_REPAIR)");
  try {
    return run();
  } finally {
    leaveRepair(fd, reuse);
  }
}

/** Nothing can go wrong with it; tried again all the same, as the target would be left under repair. */
function leaveRepair(fd: number, reuse: Buffer | number): void {
  for (let attempt = 0; attempt < 4 && failed(setInt(fd, tcp.REPAIR, repair.off)); attempt++);
  if (typeof reuse === "number") return;
  for (let attempt = 0; attempt < 4 && failed(tryCall("setsockopt", fd, SOL_SOCKET, SO_REUSEADDR, reuse, 4)); attempt++);
}

/** Puts a socket under repair for good: its close is silent then. Returns what takes it back. */
export function silence(fd: number): () => void {
  const reuse = tryGetsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 4);
  const result = setInt(fd, tcp.REPAIR, repair.on);
  if (failed(result)) throw new SysError("setsockopt(TCP_REPAIR)", -result);
  return () => leaveRepair(fd, reuse);
}

/** What concerns sending; the other half comes from `receiving`. Where both ends are looked at, all are read before any of that. */
export function sending(description: Description, tcpState: TcpState): Partial<TcpConnectionRow> {
  const { fd } = description;
  const ulp = tryGetsockopt(fd, SOL_TCP, tcp.ULP, 16);
  if (typeof ulp !== "number" && ulp.length > 0 && ulp[0] !== 0) {
    const name = ulp.subarray(0, ulp.indexOf(0) < 0 ? undefined : ulp.indexOf(0)).toString("latin1");
    refuseDescription(description, "tcp_ulp", `a TCP connection with ${name} in the kernel (TCP_ULP)`, "--tcp-close gives it up.");
  }
  return underRepair(description, () => {
    const info = read(description, tcp.INFO, 8);
    const options = info.readUInt8(5);
    const scales = (options & agreed.wscale) === 0 ? 0 : info.readUInt8(6);
    const fin = hasSentFin(tcpState) ? 1 : 0;
    const { bytes, sequence } = sendQueue(description, tcpState, fin);
    const unsent = Math.max(ioctlNumber(fd, SIOCOUTQNSD) - fin, 0);
    return {
      tcpState,
      options,
      mssClamp: read(description, tcp.MAXSEG, 4).readUInt32LE(0),
      sndWscale: scales & 15,
      rcvWscale: scales >> 4,
      timestamp: (options & agreed.timestamps) === 0 ? 0 : read(description, tcp.TIMESTAMP, 4).readUInt32LE(0),
      sendSeq: sequence,
      sendQueue: bytes,
      numUnsent: Math.min(unsent, bytes.length),
      sendBuffer: sizeOf(fd, SO_SNDBUF),
      receiveBuffer: sizeOf(fd, SO_RCVBUF),
    };
  });
}

/** The rest of the row. */
export function receiving(description: Description, half: Partial<TcpConnectionRow>): TcpConnectionRow {
  if (polls(description.fd, pollEvent.PRI)) refuseDescription(description, "tcp_urgent", "a TCP connection with urgent data waiting");
  return underRepair(description, () => {
    const { bytes, sequence } = withoutPeekOffset(description.fd, () => receiveQueue(description, half.tcpState ?? "established"));
    const window = tryGetsockopt(description.fd, SOL_TCP, tcp.REPAIR_WINDOW, 20);
    const hasWindow = typeof window !== "number" && window.length >= 20;
    const word = (index: number): number => (hasWindow ? window.readUInt32LE(index * 4) : 0);
    return tcpConnectionRow({
      ...half,
      receiveSeq: sequence,
      receiveQueue: bytes,
      hasWindow: hasWindow ? 1 : 0,
      sndWl1: word(0),
      sndWnd: word(1),
      maxWindow: word(2),
      rcvWnd: word(3),
      rcvWup: word(4),
    });
  });
}

/** The program stands still: its end of the queue does not move, the other one may while it is acknowledged. */
function sendQueue(description: Description, state: TcpState, fin: number): QueueContent {
  const { fd } = description;
  selectQueue(description, queue.send);
  try {
    const sequence = read(description, tcp.QUEUE_SEQ, 4).readUInt32LE(0);
    const length = ioctlNumber(fd, SIOCOUTQ);
    // What a connection that is over has not sent is of no use to anybody.
    if (length <= fin || state === "ended" || state === "syn_sent") return { bytes: new Uint8Array(0), sequence };
    return { bytes: peek(description, length + slack), sequence };
  } finally {
    selectQueue(description, queue.none);
  }
}

interface QueueContent {
  readonly bytes: Uint8Array;
  readonly sequence: number;
}

function receiveQueue(description: Description, state: TcpState): QueueContent {
  selectQueue(description, queue.receive);
  try {
    for (let look = 0; look < mostLooks; look++) {
      const sequence = read(description, tcp.QUEUE_SEQ, 4).readUInt32LE(0);
      const length = ioctlNumber(description.fd, SIOCINQ);
      const bytes = length === 0 ? new Uint8Array(0) : peek(description, length + slack);
      if (bytes.length === length && read(description, tcp.QUEUE_SEQ, 4).readUInt32LE(0) === sequence) return { bytes, sequence };
    }
  } finally {
    selectQueue(description, queue.none);
  }
  const what = hasReceivedFin(state) ? "the end of what came cannot be read" : "more comes than can be read";
  refuseDescription(description, "tcp_queue", `a TCP connection: ${what}`, "Dump again in a moment.");
}

function selectQueue(description: Description, which: number): void {
  const result = setInt(description.fd, tcp.REPAIR_QUEUE, which);
  if (failed(result)) throw new SysError("setsockopt(TCP_REPAIR_QUEUE)", -result);
}

function peek(description: Description, room: number): Uint8Array {
  const buffer = Buffer.alloc(room);
  const got = tryReceive(description.fd, buffer, messageFlag.PEEK | messageFlag.DONTWAIT);
  if (got === -errno.EAGAIN) return new Uint8Array(0);
  if (failed(got)) throw new SysError("recvfrom(MSG_PEEK)", -got);
  return Uint8Array.from(buffer.subarray(0, got));
}

/** Where a peek begins is the program's to say. */
function withoutPeekOffset<Result>(fd: number, run: () => Result): Result {
  const before = tryGetsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, 4);
  if (typeof before === "number" || before.readInt32LE(0) < 0) return run();
  tryCall("setsockopt", fd, SOL_SOCKET, SO_PEEK_OFF, Int32Array.of(-1), 4);
  try {
    return run();
  } finally {
    tryCall("setsockopt", fd, SOL_SOCKET, SO_PEEK_OFF, before, 4);
  }
}

function read(description: Description, option: number, length: number): Buffer {
  const value = tryGetsockopt(description.fd, SOL_TCP, option, length);
  if (typeof value === "number") throw new SysError(`getsockopt(TCP option ${option})`, -value);
  return value;
}

function setInt(fd: number, option: number, value: number): number {
  return tryCall("setsockopt", fd, SOL_TCP, option, Int32Array.of(value), 4);
}

function ioctlNumber(fd: number, request: number): number {
  const value = new Int32Array(1);
  return failed(tryIoctl(fd, request, value)) ? 0 : Math.max(value[0] ?? 0, 0);
}

function sizeOf(fd: number, option: number): number {
  const value = tryGetsockopt(fd, SOL_SOCKET, option, 4);
  return typeof value === "number" ? 0 : value.readUInt32LE(0);
}
