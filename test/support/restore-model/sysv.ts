// SPDX-License-Identifier: Apache-2.0
/** System V IPC in the model: an IPC namespace in which nothing is but what the program makes. */
import type { Call } from "./kernel.js";
import type { Machine } from "./machine.js";
import type { Process } from "./process.js";

const error = { inval: -22n, noent: -2n, exist: -17n } as const;
const [IPC_RMID, IPC_STAT] = [0n, 2n];
const SHM_RDONLY = 0o10000n;

interface Namespace {
  /** By kind and id; of segments the bytes. */
  readonly objects: Map<string, bigint>;
  /** What was written to /proc/sys/kernel/KIND_next_id. */
  readonly next: Map<string, number>;
  /** Names of POSIX message queues. */
  readonly queues: Set<string>;
  /** Removed segments that are attached still. */
  readonly removed: Set<string>;
}

const namespaces = new WeakMap<Machine, Namespace>();

function namespaceOf(machine: Machine): Namespace {
  let found = namespaces.get(machine);
  if (found === undefined)
    namespaces.set(machine, (found = { objects: new Map(), next: new Map(), queues: new Set(), removed: new Set() }));
  return found;
}

const get =
  (kind: string, sizeAt?: number): Call =>
  (machine, _thread, args) => {
    const { objects, next } = namespaceOf(machine);
    let id = next.get(kind) ?? 0;
    next.delete(kind);
    while (objects.has(`${kind} ${id}`)) id++;
    objects.set(`${kind} ${id}`, sizeAt === undefined ? 0n : (args[sizeAt] ?? 0n));
    return BigInt(id);
  };

const control =
  (kind: string, commandAt: number): Call =>
  (machine, _thread, args) => {
    const { objects, removed } = namespaceOf(machine);
    const key = `${kind} ${args[0]}`;
    const command = args[commandAt];
    if (!objects.has(key)) return error.inval;
    // What is found must have been made by this very program: nothing was there before.
    if (command === IPC_STAT) return error.exist;
    if (command === IPC_RMID) {
      if (kind === "shm") removed.add(key);
      else objects.delete(key);
    }
    return 0n;
  };

export const systemVCalls: Readonly<Record<string, Call>> = {
  shmget: get("shm", 1),
  semget: get("sem"),
  msgget: get("msg"),
  shmctl: control("shm", 1),
  semctl: control("sem", 2),
  msgctl: control("msg", 1),
  shmat: (machine, { process }, [id, address = 0n, flags = 0n]) => {
    const size = namespaceOf(machine).objects.get(`shm ${id}`);
    if (size === undefined) return error.inval;
    const end = address + ((size + 4095n) & ~4095n);
    if (process.mappings.overlaps(address, end)) return error.inval;
    process.mappings.add({ start: address, end, prot: (flags & SHM_RDONLY) === 0n ? 3 : 1, isShared: true, file: "" });
    return address;
  },
};

/** What is written to a file that says which id is next. */
export function chooseNextId(machine: Machine, path: string, text: string): void {
  const kind = /^\/proc\/sys\/kernel\/(shm|sem|msg)_next_id$/.exec(path)?.[1];
  if (kind !== undefined) namespaceOf(machine).next.set(kind, Number(text));
}

const [O_CREAT, O_EXCL] = [0o100, 0o200];

/** mq_open: there is none at first but those that the program makes. */
export function openQueue(machine: Machine, process: Process, name: string, flags: number): bigint {
  const { queues } = namespaceOf(machine);
  if (!queues.has(name) && (flags & O_CREAT) === 0) return error.noent;
  if (queues.has(name) && (flags & O_EXCL) !== 0) return error.exist;
  queues.add(name);
  return BigInt(process.open("message queue", 0o2000000));
}
