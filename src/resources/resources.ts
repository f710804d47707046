// SPDX-License-Identifier: Apache-2.0
/**
 * Files that belong to crimg itself: beside its code, or inside the single executable, whose entry (tools/package/single.cjs)
 * leaves a function for them.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Gives the bytes of a file by its path in the checkout or package, such as `build/interp.bin`. */
type Assets = (name: string) => Uint8Array;

function assets(): Assets | undefined {
  const found: unknown = Reflect.get(globalThis, Symbol.for("crimg.assets"));
  return typeof found === "function" ? (found as Assets) : undefined;
}

/** True in the single executable: nothing lies beside it. */
export function isSingleExecutable(): boolean {
  return assets() !== undefined;
}

/** Where a file of the checkout or package is; modules are three folders deep in it (dist/src/resources, dist/bundle/cli). */
export function resourcePath(name: string): string {
  return join(import.meta.dirname, "../../..", name);
}

/** The bytes of a file of crimg's own. Throws as readFileSync does. */
export function readResource(name: string): Uint8Array {
  return assets()?.(name) ?? readFileSync(resourcePath(name));
}
