// SPDX-License-Identifier: Apache-2.0
/**
 * Reading socket options (state/socket-options.ts). Only what differs from a fresh socket of the same kind is stored: the
 * rest needs no setting, and several options may be set by root alone.
 */
import { close, failed, socketFlag, tryGetsockopt } from "../../native/index.js";
import { call, tryCall } from "../../native/sys.js";
import { levelOf, type NamedSocketOption, optionsFor, socketOptions } from "../../state/socket-options.js";

export interface OptionValue {
  readonly level: number;
  readonly option: number;
  readonly value: Buffer;
}

export const SOL_SOCKET = 1;
const { SO_ATTACH_FILTER, SO_BUF_LOCK, SO_RCVBUF, SO_SNDBUF } = socketOptions;

/** Bytes that setsockopt takes for what getsockopt gave. */
function settable({ how }: NamedSocketOption, value: Buffer): Buffer {
  if (how !== "text") return Buffer.from(value);
  const end = value.indexOf(0);
  return Buffer.concat([value.subarray(0, end < 0 ? value.length : end), Buffer.alloc(1)]);
}

/**
 * Sizes of the queues that the program has set (SO_BUF_LOCK says which); others the kernel adapts by itself. The kernel
 * doubles what it is given. Setting a size locks it, so the lock comes last.
 */
function bufferSizes(fd: number, fresh: FreshValues): OptionValue[] {
  const lock = tryGetsockopt(fd, SOL_SOCKET, SO_BUF_LOCK.option, 4);
  const locked = typeof lock === "number" ? undefined : lock.readInt32LE(0);
  const values: OptionValue[] = [];
  for (const [option, bit] of [
    [SO_SNDBUF.option, 1],
    [SO_RCVBUF.option, 2],
  ] as const) {
    const now = tryGetsockopt(fd, SOL_SOCKET, option, 4);
    const isSame = typeof now === "number" || fresh.get(keyOf(SOL_SOCKET, option))?.equals(now) === true;
    if (isSame || (locked !== undefined && (locked & bit) === 0)) continue;
    const half = Buffer.alloc(4);
    half.writeInt32LE(now.readInt32LE(0) >> 1);
    values.push({ level: SOL_SOCKET, option, value: half });
  }
  if (typeof lock !== "number" && locked !== 0) values.push({ level: SOL_SOCKET, option: SO_BUF_LOCK.option, value: Buffer.from(lock) });
  return values;
}

/** The classic BPF filter as struct sock_filter (8 bytes each); empty for none; undefined if it is eBPF. */
export function socketFilter(fd: number): Buffer | undefined {
  // here the length is a number of instructions, not of bytes
  const length = new Int32Array([0]);
  const count = tryCall("getsockopt", fd, SOL_SOCKET, SO_ATTACH_FILTER.option, null, length);
  if (count === -13) return undefined;
  const instructions = length[0] ?? 0;
  if (failed(count) || instructions === 0) return Buffer.alloc(0);
  const filter = Buffer.alloc(instructions * 8);
  call("getsockopt", fd, SOL_SOCKET, SO_ATTACH_FILTER.option, filter, length);
  return filter;
}

/** Values of options by level and number. */
type FreshValues = ReadonlyMap<string, Buffer>;

const keyOf = (level: number, option: number): string => `${level}:${option}`;

/** TCP_MAXSEG of a socket that was connected is what the route allowed; beyond these bounds it cannot have been set. */
function isMeasuredSegment({ name }: NamedSocketOption, value: Buffer): boolean {
  return name === "TCP_MAXSEG" && value.length >= 4 && (value.readInt32LE(0) < 88 || value.readInt32LE(0) > 32767);
}

/** Reads the options of sockets; what a fresh socket of each kind has is read once. */
export class OptionReader {
  readonly #fresh = new Map<string, FreshValues>();

  /** Options that differ from a fresh socket's, in the order in which they are set again. */
  changed(fd: number, family: number, type: number, protocol: number): OptionValue[] {
    const fresh = this.#freshValues(family, type, protocol);
    const values: OptionValue[] = [];
    for (const spec of optionsFor(family, type, protocol)) {
      const now = tryGetsockopt(fd, spec.level, spec.option);
      const isFresh = typeof now !== "number" && fresh.get(keyOf(spec.level, spec.option))?.equals(now) === true;
      // Setting IP_TOS sets the priority too.
      const mustFollow =
        spec.name === "SO_PRIORITY" &&
        values.some(({ level, option }) => level === levelOf("IP_TOS") && option === socketOptions.IP_TOS.option);
      if (typeof now === "number" || (isFresh && !mustFollow) || isMeasuredSegment(spec, now)) continue;
      values.push({ level: spec.level, option: spec.option, value: settable(spec, now) });
    }
    return fresh.size === 0 ? values : [...values, ...bufferSizes(fd, fresh)];
  }

  /** Empty where we may not make such a socket. */
  #freshValues(family: number, type: number, protocol: number): FreshValues {
    const key = `${family}:${type}:${protocol}`;
    const known = this.#fresh.get(key);
    if (known) return known;
    const values = new Map<string, Buffer>();
    const fd = tryCall("socket", family, type | socketFlag.CLOEXEC, protocol);
    if (!failed(fd)) {
      const sizes = [SO_SNDBUF, SO_RCVBUF].map(({ option }) => ({ level: SOL_SOCKET, option }));
      for (const { level, option } of [...optionsFor(family, type, protocol), ...sizes]) {
        const value = tryGetsockopt(fd, level, option);
        if (typeof value !== "number") values.set(keyOf(level, option), Buffer.from(value));
      }
      close(fd);
    }
    this.#fresh.set(key, values);
    return values;
  }
}
