// SPDX-License-Identifier: Apache-2.0
/** Loads build/addon.node, the only native code that crimg's own process runs (native/addon/addon.c). */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CrimgError } from "../errors/crimg-error.js";
import { isSingleExecutable, readResource, resourcePath } from "../resources/resources.js";

/** What a raw argument may be: an integer, the address of a buffer, or null (0). */
export type RawArgument = number | bigint | boolean | ArrayBufferView | ArrayBuffer | null | undefined;

export interface Addon {
  syscall(number: number, ...args: RawArgument[]): number;
  syscallBig(number: number, ...args: RawArgument[]): bigint;
  addressOf(buffer: ArrayBufferView | ArrayBuffer): bigint;
  checksum(buffer: ArrayBufferView | ArrayBuffer, before?: number): number;
  programSum(buffer: ArrayBufferView | ArrayBuffer, before: number): number;
  cpuid(leaf: number, subleaf: number, into: Uint32Array): void;
  waitTimeout(pid: number, status: Int32Array, options: number, milliseconds: number): number;
  runBatch(calls: BigInt64Array, state: BigInt64Array): Promise<void>;
  storePages(job: BigInt64Array): Promise<void>;
  gather(
    questions: BigInt64Array,
    names: Uint8Array,
    ids: Int32Array,
    rows: Uint8Array,
    stride: number,
    arena: Uint8Array,
    used: number,
  ): number;
  gatherElsewhere(bits: Uint8Array, ...lists: (BigInt64Array | Uint8Array | Int32Array | number)[]): number;
  samePages(first: number, second: number, ranges: BigInt64Array, runs: BigInt64Array): number;
  awaitRow(ready: Int32Array, count: number): void;
  readFile(path: string, into: Uint8Array): number;
  readInBackground(path: string, into: Uint8Array, state: BigInt64Array): void;
  awaitBackground(state: BigInt64Array): number;
  lookAtDescriptors(
    pids: Int32Array,
    rows: Uint8Array,
    scratch: Int32Array,
    arena: Uint8Array,
    failure: Int32Array,
    state: BigInt64Array,
    ranks: Int32Array,
    asked: BigInt64Array,
    ranked: number,
  ): number;
  beginLook(pid: Int32Array, rows: Uint8Array, scratch: Int32Array, arena: Uint8Array, asked: BigInt64Array, ranks: Int32Array): void;
  orderDescriptors(pid: Int32Array, rows: Uint8Array, scratch: Int32Array, ranks: Int32Array, state: BigInt64Array): void;
  readSmaps(pid: number, bits: Uint8Array, rows: Uint8Array, names: Uint8Array): number;
  areSameMappings(before: Uint8Array, now: Uint8Array): boolean;
  summarizeSmaps(rows: Uint8Array, summary: BigInt64Array, code: Int32Array, others: Int32Array, writable: BigInt64Array): void;
  sortMappings(
    rows: Uint8Array,
    others: Int32Array,
    starts: Float64Array,
    ends: Float64Array,
    kinds: Uint8Array,
    samples: Int32Array,
    alone: Int32Array,
    counts: Int32Array,
  ): void;
  encodeMappings(rows: Uint8Array, kinds: Uint8Array, template: Uint8Array, record: Uint32Array, records: Uint8Array): void;
  findExtents(pagemap: number, rows: Uint8Array, kinds: Uint8Array, runs: BigInt64Array, guards: BigInt64Array, counts: Int32Array): number;
  scanPages(pagemap: number, protects: boolean, ranges: BigInt64Array, out: BigInt64Array, state?: BigInt64Array): number | undefined;
  awaitStops(ids: Int32Array, stops: Uint8Array, milliseconds: number): void;
  stubCode(): Buffer;
  injectLists(
    process: BigInt64Array,
    list: BigInt64Array,
    ins: Uint8Array,
    ranges: BigInt64Array,
    orders: Int32Array,
    stops: Uint8Array,
    out: Uint8Array,
    arena: Uint8Array,
    used: number,
  ): number;
  copyMount(mountNamespace: string, userNamespace: string, path: string, into: number): number;
  startTrainee(): number;
  endTrainee(pid: number): void;
  pauseCounting(isPaused: boolean): void;
  setFlags(flags: string): void;
  injectAlone(
    all: BigInt64Array,
    list: BigInt64Array,
    ins: Uint8Array,
    ranges: BigInt64Array,
    processes: BigInt64Array,
    stops: Uint8Array,
    out: Uint8Array,
    arena: Uint8Array,
  ): number;
  beginFork(job: BigInt64Array, stop: Uint8Array, saved: Uint8Array): void;
  endFork(): void;
  setFault(nth: number, errno: number): void;
  callCount(): number;
}

const name = "build/addon.node";

/** dlopen wants a file: one in a private folder, gone again before anybody else could look. */
function loadFromMemory(): Addon {
  const folder = mkdtempSync(join(tmpdir(), "crimg-"));
  try {
    const path = join(folder, "addon.node");
    writeFileSync(path, readResource(name), { mode: 0o500 });
    const module = { exports: {} };
    process.dlopen(module, path);
    return module.exports as Addon;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function load(): Addon {
  const path = resourcePath(name);
  try {
    if (isSingleExecutable()) return loadFromMemory();
    return createRequire(path)(path) as Addon;
  } catch (cause) {
    throw new CrimgError("native.addon", `the native part of crimg cannot be loaded: ${path}`, {
      cause,
      hint: "Run `npm run build` (it needs cc and make).",
    });
  }
}

let loaded: Addon | undefined;

/** The addon, loaded at its first use, so that reading and converting images needs no native code. */
export function addon(): Addon {
  return (loaded ??= withFault(load()));
}

/** Puts something between crimg and the addon, from here on. */
export function wrapAddon(wrap: (addon: Addon) => Addon): void {
  loaded = wrap(addon());
}

/** Tests of whole commands: CRIMG_FAULT=N:ERRNO makes the N-th system call fail with ERRNO (EIO if absent). */
function withFault(fresh: Addon): Addon {
  const match = /^(\d+)(?::(\d+))?$/.exec(process.env["CRIMG_FAULT"] ?? "");
  if (match !== null) fresh.setFault(Number(match[1]), Number(match[2] ?? "5"));
  return fresh;
}
