// SPDX-License-Identifier: Apache-2.0
/**
 * Reading socket options (state/socket-options.ts). Only what differs from a fresh socket of the same kind is stored: the
 * rest needs no setting, and several options may be set by root alone.
 */
import { type Answers, close, failed, QuestionList, socketFlag, tryGetsockopt } from "../../native/index.js";
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

/** The options of sockets of one kind, and what a fresh one says of them. */
interface OptionsOfKind {
  readonly specs: readonly NamedSocketOption[];
  readonly list: QuestionList;
  readonly fresh: Answers | undefined;
  /** Empty where we may not make such a socket. */
  readonly freshValues: FreshValues;
}

/** Bytes of a value at most. */
const valueRoom = 256;

/** Reads the options of sockets, those of one in one go; what a fresh socket of each kind has is read once. */
export class OptionReader {
  readonly #kinds = new Map<string, OptionsOfKind>();

  /** Options that differ from a fresh socket's, in the order in which they are set again. */
  changed(fd: number, family: number, type: number, protocol: number): OptionValue[] {
    const { specs, list, fresh, freshValues } = this.#ofKind(family, type, protocol);
    const answers = list.ask(Int32Array.of(fd, 0));
    const values: OptionValue[] = [];
    const isAsFresh = fresh !== undefined && answers.allOf(0).equals(fresh.allOf(0));
    for (const [index, spec] of isAsFresh ? [] : specs.entries()) {
      const now = toldValue(answers, index);
      const isFresh = now !== undefined && freshValues.get(keyOf(spec.level, spec.option))?.equals(now) === true;
      // Setting IP_TOS sets the priority too.
      const mustFollow =
        spec.name === "SO_PRIORITY" &&
        values.some(({ level, option }) => level === levelOf("IP_TOS") && option === socketOptions.IP_TOS.option);
      if (now === undefined || (isFresh && !mustFollow) || isMeasuredSegment(spec, now)) continue;
      values.push({ level: spec.level, option: spec.option, value: settable(spec, now) });
    }
    return freshValues.size === 0 ? values : [...values, ...bufferSizes(fd, freshValues)];
  }

  #ofKind(family: number, type: number, protocol: number): OptionsOfKind {
    const key = `${family}:${type}:${protocol}`;
    let kind = this.#kinds.get(key);
    if (kind === undefined) {
      const specs = optionsFor(family, type, protocol);
      const list = new QuestionList(
        specs.map(({ level, option }) => ({
          call: "getsockopt",
          args: [{ id: 0 }, level, option, { room: valueRoom }, { counter: valueRoom }],
        })),
      );
      kind = { specs, list, ...freshOf(specs, list, tryCall("socket", family, type | socketFlag.CLOEXEC, protocol)) };
      this.#kinds.set(key, kind);
    }
    return kind;
  }
}

/** The value that a question told; undefined if there is none. A view. */
function toldValue(answers: Answers, index: number): Buffer | undefined {
  if (answers.result(0, index) !== 0) return undefined;
  return answers.stored(0, index).subarray(0, answers.stored(0, index, 1).readInt32LE(0));
}

/** What a fresh socket says, which is closed; `fd`: −errno where there is none. */
function freshOf(specs: readonly NamedSocketOption[], list: QuestionList, fd: number): Pick<OptionsOfKind, "fresh" | "freshValues"> {
  const freshValues = new Map<string, Buffer>();
  if (failed(fd)) return { fresh: undefined, freshValues };
  const fresh = list.ask(Int32Array.of(fd, 0));
  for (const [index, { level, option }] of specs.entries()) {
    const value = toldValue(fresh, index);
    if (value !== undefined) freshValues.set(keyOf(level, option), value);
  }
  for (const { option } of [SO_SNDBUF, SO_RCVBUF]) {
    const value = tryGetsockopt(fd, SOL_SOCKET, option);
    if (typeof value !== "number") freshValues.set(keyOf(SOL_SOCKET, option), value);
  }
  close(fd);
  return { fresh, freshValues };
}
