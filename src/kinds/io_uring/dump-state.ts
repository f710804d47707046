// SPDX-License-Identifier: Apache-2.0
/** /proc/PID/fdinfo of a ring (Linux 5.19 and later; io_uring/fdinfo.c). */
import { tryReadSmall } from "../../native/index.js";

export interface RegisteredBuffer {
  readonly index: number;
  readonly address: bigint;
  readonly length: bigint;
}

export interface RingState {
  readonly sqEntries: number;
  readonly cqEntries: number;
  /** Requests that the kernel has taken, modulo 2^32. */
  readonly taken: number;
  /** Where the program has come to in the submission queue. */
  readonly submitted: number;
  /** Completions given, modulo 2^32. */
  readonly given: number;
  /** Armed polls: requests that wait until a file is ready. */
  readonly polls: number;
  /** Completions for which the queue has no room. */
  readonly overflown: number;
  /** The kernel's thread of IORING_SETUP_SQPOLL, -1 for none. */
  readonly sqThread: number;
  readonly files: number;
  readonly buffers: readonly RegisteredBuffer[];
  readonly hasPersonalities: boolean;
}

/** Parses fdinfo; undefined if it does not tell (another thread is busy with the ring, or the kernel is older). */
export function parseRing(text: string): RingState | undefined {
  const fields = new Map<string, string>();
  const counts = new Map<string, number>();
  const buffers: RegisteredBuffer[] = [];
  let section = "";
  for (const line of text.split("\n")) {
    const field = /^(\w+):\s*(.*)$/.exec(line);
    if (field) {
      section = field[1] ?? "";
      fields.set(section, field[2] ?? "");
      continue;
    }
    if (line === "") continue;
    counts.set(section, (counts.get(section) ?? 0) + 1);
    const buffer = section === "UserBufs" ? /^\s*(\d+): (?:0x([0-9a-f]+)\/(\d+)|<none>)$/.exec(line) : null;
    if (buffer) buffers.push({ index: Number(buffer[1]), address: BigInt(`0x${buffer[2] ?? "0"}`), length: BigInt(buffer[3] ?? "0") });
  }
  const number = (name: string): number => Number(fields.get(name) ?? Number.NaN);
  const state: RingState = {
    sqEntries: number("SqMask") + 1,
    cqEntries: number("CqMask") + 1,
    taken: number("CachedSqHead"),
    submitted: number("SqTail"),
    given: number("CachedCqTail"),
    polls: counts.get("PollList") ?? 0,
    overflown: counts.get("CqOverflowList") ?? 0,
    sqThread: number("SqThread"),
    files: number("UserFiles"),
    buffers,
    hasPersonalities: fields.has("Personalities"),
  };
  const numbers = Object.values(state).filter((value) => typeof value === "number");
  return numbers.every((value) => Number.isInteger(value)) && buffers.length === number("UserBufs") ? state : undefined;
}

/** Looks at a ring through a descriptor of crimg's own. */
export function readRing(fd: number): RingState | undefined {
  for (let attempt = 0; attempt < 50; attempt++) {
    const state = parseRing(tryReadSmall(`/proc/self/fdinfo/${fd}`)?.toString("latin1") ?? "");
    if (state !== undefined) return state;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
  }
  return undefined;
}
