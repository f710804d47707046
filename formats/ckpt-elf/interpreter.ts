// SPDX-License-Identifier: Apache-2.0
/** The interpreter that images carry: build/interp.bin, made by native/Makefile. */
import { CrimgError } from "../../src/errors/crimg-error.js";
import { checksum, sumNatively } from "../../src/lower/checksum.js";
import { nativeProgramSum } from "../../src/pages/checksum.js";
import { readResource, resourcePath } from "../../src/resources/resources.js";

/** Room for it in every image, so that images differ in little else when it changes. */
const interpreterSize = 24576;

export interface Interpreter {
  /** Padded to whole pages; the first byte is the entry. */
  readonly bytes: Uint8Array;
  /** Where in it a `syscall` instruction is. */
  readonly syscallOffset: number;
  /** Images hold it, so that the interpreter can tell whether it is whole. */
  readonly checksum: number;
}

const name = "build/interp.bin";

let loaded: Interpreter | undefined;

/** Throws CrimgError `build.interpreter` if it was not built. */
export function readInterpreter(): Interpreter {
  if (loaded !== undefined) return loaded;
  const path = resourcePath(name);
  let code: Buffer;
  try {
    code = Buffer.from(readResource(name));
  } catch (cause) {
    throw new CrimgError("build.interpreter", `the interpreter of images is missing: ${path}`, {
      source: path,
      cause,
      hint: "run: npm run build",
    });
  }
  const syscallOffset = code.indexOf(Buffer.from([0x0f, 0x05]));
  if (syscallOffset < 0 || code.length > interpreterSize) {
    throw new CrimgError("build.interpreter", `${path} is not the interpreter of this version`, {
      source: path,
      hint: "run: npm run build",
    });
  }
  const bytes = new Uint8Array(interpreterSize);
  bytes.set(code);
  sumNatively(nativeProgramSum());
  loaded = { bytes, syscallOffset, checksum: checksum(bytes) };
  return loaded;
}
