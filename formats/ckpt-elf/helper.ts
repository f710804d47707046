// SPDX-License-Identifier: Apache-2.0
/** The helper that images of programs with GPUs carry: build/crimg-cuda, made by native/Makefile. */
import { CrimgError } from "../../src/errors/crimg-error.js";
import type { Checkpoint } from "../../src/model/checkpoint.js";
import { readResource, resourcePath } from "../../src/resources/resources.js";
import { pageSize } from "./image-header.js";
import { readInterpreter } from "./interpreter.js";

export interface Helper {
  /** An executable for the dynamic linker of the GNU C library. */
  readonly bytes: Uint8Array;
  /** Its place in the image: behind the interpreter. */
  readonly fileOffset: bigint;
}

/** The helper, if this checkpoint needs it. Throws CrimgError `build.helper` if it was not built. */
export function helperFor({ tables }: Checkpoint): Helper | undefined {
  if (tables.cudaProcesses.length === 0) return undefined;
  const name = "build/crimg-cuda";
  const path = resourcePath(name);
  try {
    return { bytes: readResource(name), fileOffset: pageSize + BigInt(readInterpreter().bytes.length) };
  } catch (cause) {
    throw new CrimgError("build.helper", `the helper for programs with GPUs is missing: ${path}`, {
      source: path,
      cause,
      hint: "run: npm run build",
    });
  }
}
