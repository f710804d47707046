// SPDX-License-Identifier: Apache-2.0
/** Attributes of processes and threads that one asks from outside, and the placement of crimg itself. */
import { call, failed, tryCall } from "./sys.js";

/** struct sched_attr as sched_getattr(2) gives it (56 bytes). */
export interface SchedAttributes {
  readonly policy: number;
  readonly flags: number;
  readonly nice: number;
  readonly priority: number;
  readonly runtimeNs: bigint;
  readonly deadlineNs: bigint;
  readonly periodNs: bigint;
}

/** Scheduling attributes of a thread. Throws SysError. */
export function schedGetattr(tid: number): SchedAttributes {
  const attr = Buffer.alloc(56);
  call("sched_getattr", tid, attr, attr.length, 0);
  return {
    policy: attr.readUInt32LE(4),
    flags: Number(attr.readBigUInt64LE(8)),
    nice: attr.readInt32LE(16),
    priority: attr.readUInt32LE(20),
    runtimeNs: attr.readBigUInt64LE(24),
    deadlineNs: attr.readBigUInt64LE(32),
    periodNs: attr.readBigUInt64LE(40),
  };
}

/** CPU mask of a thread (0: the caller), as long as the kernel's own mask is, trailing zero bytes kept. */
export function schedGetaffinity(tid: number): Buffer {
  const mask = Buffer.alloc(1024);
  const length = call("sched_getaffinity", tid, mask.length, mask);
  return Buffer.from(mask.subarray(0, length));
}

/** How many CPUs the calling thread may run on. */
export function usableCpus(): number {
  let count = 0;
  for (const byte of schedGetaffinity(0)) for (let bits = byte; bits !== 0; bits &= bits - 1) count++;
  return Math.max(count, 1);
}

/** Restricts a thread (0: the caller) to the CPUs of a mask. Returns −errno when refused. */
export function trySchedSetaffinity(tid: number, mask: Uint8Array): number {
  return tryCall("sched_setaffinity", tid, mask.length, mask);
}

/** I/O priority of a thread as ioprio_get(IOPRIO_WHO_PROCESS) gives it. */
export function ioprioGet(tid: number): number {
  return call("ioprio_get", 1, tid);
}

/** Head and length of the robust futex list of a thread. */
export function getRobustList(tid: number): { head: bigint; length: bigint } {
  const out = new BigUint64Array(2);
  call("get_robust_list", tid, out.subarray(0, 1), out.subarray(1, 2));
  return { head: out[0] ?? 0n, length: out[1] ?? 0n };
}

/** A resource limit of a process, or −errno. */
export function tryPrlimit(pid: number, resource: number): { soft: bigint; hard: bigint } | number {
  const out = new BigUint64Array(2);
  const result = tryCall("prlimit64", pid, resource, null, out);
  return failed(result) ? result : { soft: out[0] ?? 0n, hard: out[1] ?? 0n };
}

/** kill(2). Returns 0 or −errno. */
export function tryKill(pid: number, signal: number): number {
  return tryCall("kill", pid, signal);
}

/** clock_gettime in nanoseconds. CLOCK_REALTIME 0, MONOTONIC 1, BOOTTIME 7. */
export function clockNs(clock: number): bigint {
  const spec = new BigInt64Array(2);
  call("clock_gettime", clock, spec);
  return (spec[0] ?? 0n) * 1_000_000_000n + (spec[1] ?? 0n);
}

export interface SystemName {
  readonly node: string;
  readonly release: string;
  readonly machine: string;
}

/** uname(2). */
export function uname(): SystemName {
  const data = Buffer.alloc(6 * 65);
  call("uname", data);
  const field = (index: number): string => {
    const start = index * 65;
    return data.toString("latin1", start, data.indexOf(0, start));
  };
  return { node: field(1), release: field(2), machine: field(4) };
}
