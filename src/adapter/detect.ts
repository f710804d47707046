// SPDX-License-Identifier: Apache-2.0
/** Which format something is in, told by its content and never by its name. */
import { closeSync, fstatSync, openSync, constants, readSync, readdirSync, statSync, type Stats } from "node:fs";
import { CrimgError } from "../errors/crimg-error.js";
import type { FormatAdapter, ProbeInput } from "./format.js";
import { looksLike } from "./looks-like.js";
import type { FormatRegistry } from "./registry.js";

const headBytes = 65536;
/** A directory with more names than this is no image set; listing stops being useful. */
const maxEntries = 100_000;

/** What the probes may see of a path. Throws CrimgError for what cannot be an image at all. */
export function probeInputOf(path: string): ProbeInput {
  let stat: Stats;
  try {
    stat = statSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw new CrimgError("input.missing", `${path} does not exist`, { source: path, hint: "check the name" });
    }
    throw error;
  }
  if (stat.isDirectory()) {
    const entries = readdirSync(path);
    if (entries.length === 0) {
      throw new CrimgError("input.empty", `${path} is an empty directory`, {
        source: path,
        hint: "name the directory that the image files are in",
      });
    }
    return { path, isDirectory: true, head: new Uint8Array(0), entries: entries.slice(0, maxEntries) };
  }
  if (!stat.isFile()) {
    throw new CrimgError("input.kind", `${path} is neither a file nor a directory`, { source: path });
  }
  // O_NONBLOCK: should the name have become a FIFO since the stat, the open must not hang.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    if (fstatSync(fd).size === 0) {
      throw new CrimgError("input.empty", `${path} is empty`, {
        source: path,
        hint: "was the dump interrupted, or the disk full?",
      });
    }
    const head = new Uint8Array(headBytes);
    let length = 0;
    while (length < headBytes) {
      const count = readSync(fd, head, length, headBytes - length, length);
      if (count === 0) break;
      length += count;
    }
    return { path, isDirectory: false, head: head.subarray(0, length), entries: [] };
  } finally {
    closeSync(fd);
  }
}

/** The format of a path, or undefined. */
export async function probeFormat(input: ProbeInput, registry: FormatRegistry): Promise<FormatAdapter | undefined> {
  for (const id of registry.ids) {
    const format = await registry.load(id);
    if (format.probe(input)) return format;
  }
  return undefined;
}

/** The format of a path. Throws CrimgError `input.unrecognised`. */
export async function detectFormat(path: string, registry: FormatRegistry): Promise<FormatAdapter> {
  const input = probeInputOf(path);
  const format = await probeFormat(input, registry);
  if (format !== undefined) return format;
  throw new CrimgError("input.unrecognised", `${path} is in no format that crimg reads: ${looksLike(input)}`, {
    source: path,
    hint: "crimg formats lists the formats; --from FORMAT skips detection",
  });
}
