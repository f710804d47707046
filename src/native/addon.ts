// SPDX-License-Identifier: Apache-2.0
/** Loads build/addon.node, the only native code that crimg's own process runs (native/addon/addon.c). */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { CrimgError } from "../errors/crimg-error.js";

/** What a raw argument may be: an integer, the address of a buffer, or null (0). */
export type RawArgument = number | bigint | boolean | ArrayBufferView | ArrayBuffer | null | undefined;

interface Addon {
  syscall(number: number, ...args: RawArgument[]): number;
  syscallBig(number: number, ...args: RawArgument[]): bigint;
  addressOf(buffer: ArrayBufferView | ArrayBuffer): bigint;
  checksum(buffer: ArrayBufferView | ArrayBuffer, before?: number): number;
  cpuid(leaf: number, subleaf: number, into: Uint32Array): void;
  waitTimeout(pid: number, status: Int32Array, options: number, milliseconds: number): number;
  runBatch(calls: BigInt64Array, state: BigInt64Array): Promise<void>;
  setFault(nth: number, errno: number): void;
  callCount(): number;
}

function load(): Addon {
  const path = fileURLToPath(new URL("../../../build/addon.node", import.meta.url));
  try {
    return createRequire(import.meta.url)(path) as Addon;
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
  return (loaded ??= load());
}
