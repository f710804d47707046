// SPDX-License-Identifier: Apache-2.0
/**
 * One file of an image set, judged by itself: what kind it is is told by its first bytes, never by its name. What only
 * the whole set can say (does the process of this core exist?) is not judged.
 */
import { FileBytes } from "../../bytes/random-bytes.js";
import type { ProbeInput } from "../../adapter/format.js";

export interface SingleFile {
  /** Format id of the set that it belongs to. */
  readonly format: "crtools" | "criu";
  /** Kind of image, such as `pagemap`. */
  readonly kind: string;
  /** Reads all of it, page payload excepted. Throws located CrimgErrors. */
  check(): Promise<void>;
}

/** The first eight bytes are enough for every kind. */
const magicBytes = 8;
const elfMagic = 0x464c457f;

/** What a file is by itself, or undefined. */
export async function singleFileOf(input: ProbeInput): Promise<SingleFile | undefined> {
  if (input.isDirectory || input.head.length < 4) return undefined;
  const view = Buffer.from(input.head.subarray(0, magicBytes));
  const first = view.readUInt32LE(0);
  // The usual image is an ELF file: nothing of what follows needs loading for it.
  if (first === elfMagic) return undefined;
  const second = view.length >= magicBytes ? view.readUInt32LE(4) : undefined;
  const [{ crtoolsKind, checkCrtoolsFile }, { criuKind, checkCriuFile }] = await Promise.all([import("./crtools.js"), import("./criu.js")]);
  const criu = criuKind(first, second);
  if (criu !== undefined) return { format: "criu", kind: criu, check: async () => checkCriuFile(input.path, criu) };
  const crtools = crtoolsKind(first);
  if (crtools === undefined) return undefined;
  return {
    format: "crtools",
    kind: crtools,
    check: async () => {
      const bytes = FileBytes.open(input.path);
      try {
        checkCrtoolsFile(bytes, crtools);
      } finally {
        bytes.close();
      }
    },
  };
}
