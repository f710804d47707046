// SPDX-License-Identifier: Apache-2.0
/** Rules about cores as files (core(5), elf(5)). */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { FileBytes } from "../../bytes/random-bytes.js";
import { readElfHeader, readProgramHeaders } from "../../elf/headers.js";
import { type ProgramHeader, programHeaderSize, segmentTypeValues } from "../../gen/elf64.js";
import type { Problem, Rule } from "../finding.js";
import { hex, vsyscallStart } from "../model-context.js";

export interface CoreFile {
  readonly name: string;
  readonly size: bigint;
  readonly headersOffset: bigint;
  readonly segments: readonly ProgramHeader[];
}

/** The core, or the cores of a directory. The reader has accepted them already. Throws CrimgError. */
export function readCoreFiles(path: string): CoreFile[] {
  const paths = statSync(path).isDirectory()
    ? readdirSync(path)
        .filter((name) => /^core\.[0-9]+$/.test(name))
        .map((name) => join(path, name))
    : [path];
  return paths.map((name) => {
    const file = FileBytes.open(name);
    try {
      const header = readElfHeader(file);
      return { name, size: file.size, headersOffset: header.ePhoff, segments: readProgramHeaders(file, header) };
    } finally {
      file.close();
    }
  });
}

const flagBits = 7;

function place(file: CoreFile, index: number, field: string, offset: number): Problem["place"] {
  return {
    source: file.name,
    path: `program_headers[${index}].${field}`,
    offset: file.headersOffset + BigInt(index * programHeaderSize + offset),
  };
}

export const coreRules: readonly Rule<CoreFile>[] = [
  {
    code: "core.cut-off",
    severity: "error",
    profile: "format",
    spec: "core(5)",
    summary: "Every segment of a core lies in the file: else it was cut off, and memory is missing.",
    *check(file) {
      for (const [index, { pOffset, pFilesz, pVaddr }] of file.segments.entries()) {
        // The vsyscall page is the kernel's; minicoredumper always leaves it out.
        if (pFilesz === 0n || pVaddr === vsyscallStart || pOffset + pFilesz <= file.size) continue;
        yield {
          message: "the core was cut off: a segment goes beyond the end of the file",
          place: place(file, index, "p_filesz", 32),
          expected: `at most ${hex(file.size > pOffset ? file.size - pOffset : 0n)} bytes`,
          actual: hex(pFilesz),
          hint: "a limit on the size of cores (ulimit -c) or a full disk cuts them off",
        };
      }
    },
  },
  {
    code: "core.segment-flags",
    severity: "warning",
    profile: "format",
    spec: "elf(5)",
    summary: "The flags of loaded segments are read, write and execute.",
    *check(file) {
      for (const [index, { pType, pFlags }] of file.segments.entries()) {
        if (pType !== segmentTypeValues.load || (pFlags & ~flagBits) === 0) continue;
        yield {
          message: "a loaded segment has flags that memory cannot have",
          place: place(file, index, "p_flags", 4),
          expected: "0 to 7",
          actual: hex(pFlags >>> 0),
        };
      }
    },
  },
];
