// SPDX-License-Identifier: Apache-2.0
/**
 * What the files of this host add to a core: size and time, segments where the core does not show the ELF headers,
 * and the build-id, by which a file is told from a later one of the same name.
 */
import { closeSync, constants, fstatSync, openSync } from "node:fs";
import { FileBytes } from "../../src/bytes/random-bytes.js";
import type { ProgramHeader } from "../../src/gen/elf64.js";
import { buildIdOf, readSegments } from "./elf-facts.js";

export interface HostFile {
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly mode: number;
  /** Of an ELF file. */
  readonly segments?: readonly ProgramHeader[];
  readonly buildId?: Uint8Array;
}

/** Looks each path up once. */
export class HostFiles {
  readonly #files = new Map<string, HostFile | undefined>();

  /** The regular file of that name, or undefined. */
  get(path: string): HostFile | undefined {
    if (!this.#files.has(path)) this.#files.set(path, lookUp(path));
    return this.#files.get(path);
  }
}

function lookUp(path: string): HostFile | undefined {
  if (!path.startsWith("/")) return undefined;
  let fd: number;
  try {
    // The name comes from an untrusted core: O_NONBLOCK, so that a FIFO or a device cannot make this wait.
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch {
    return undefined;
  }
  try {
    const stat = fstatSync(fd, { bigint: true });
    if (!stat.isFile()) return undefined;
    const bytes = new FileBytes(path, fd, false);
    const read = (position: bigint, length: number) =>
      position >= 0n && position + BigInt(length) <= bytes.size ? bytes.read(position, length) : undefined;
    const segments = readSegments(read);
    return {
      size: stat.size,
      mtimeNs: stat.mtimeNs,
      mode: Number(stat.mode),
      segments,
      buildId: segments && buildIdOf(read, segments, ({ pOffset }) => pOffset),
    };
  } finally {
    closeSync(fd);
  }
}
