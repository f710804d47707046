// SPDX-License-Identifier: Apache-2.0
/** Headers of an ET_CKPT file: which segments there are, judged before anything of theirs is read. */
import type { RandomBytes } from "../../src/bytes/random-bytes.js";
import { assertSegment, readElfHeader, readProgramHeaders } from "../../src/elf/headers.js";
import { CrimgError } from "../../src/errors/crimg-error.js";
import { coreEntrySize, maxVmas, pageEntrySize, vmaEntrySize } from "../../src/gen/ckpt-elf-v1.js";
import { type ElfHeader, type ProgramHeader, elfTypeValues, emX8664, segmentTypeValues } from "../../src/gen/elf64.js";

export const formatId = "ckpt-elf-v1";

/** A segment and where its header is. */
export interface PlacedSegment {
  readonly header: ProgramHeader;
  /** Index in the program headers. */
  readonly index: number;
  readonly path: string;
}

export interface CkptHeaders {
  readonly elf: ElfHeader;
  readonly vmas: readonly PlacedSegment[];
  readonly core: PlacedSegment;
  readonly pages: PlacedSegment;
}

/** Most headers that the kernel takes: 65536 bytes of them. */
const maxSegments = maxVmas + 1;

/** Reads the headers. @throws CrimgError `v1.type`, `v1.machine`, `v1.segments`, `v1.order`, `v1.size`, `elf.*`, `bytes.*` */
export function readCkptHeaders(bytes: RandomBytes): CkptHeaders {
  const elf = readElfHeader(bytes, formatId);
  const place = { source: bytes.name, format: formatId };
  if (elf.eType !== elfTypeValues.ckpt) {
    const message = `e_type must be ${elfTypeValues.ckpt} (ET_CKPT), found ${elf.eType}`;
    throw new CrimgError("v1.type", message, { ...place, offset: 16n, path: "elf_header.e_type" });
  }
  if (elf.eMachine !== emX8664) {
    const message = `e_machine must be ${emX8664} (x86-64), found ${elf.eMachine}`;
    throw new CrimgError("v1.machine", message, { ...place, offset: 18n, path: "elf_header.e_machine" });
  }
  if (elf.ePhnum > maxSegments) {
    const message = `there must be at most ${maxSegments} program headers, found ${elf.ePhnum}`;
    throw new CrimgError("v1.segments", message, { ...place, offset: 56n, path: "elf_header.e_phnum" });
  }
  const segments = readProgramHeaders(bytes, elf).map((header, index) => ({ header, index, path: `program_headers[${index}]` }));
  const ofType = (type: number): PlacedSegment[] => segments.filter(({ header }) => header.pType === type);
  const vmas = ofType(segmentTypeValues.ckpt_vma);
  const core = single(ofType(segmentTypeValues.ckpt_core), "PT_CKPT_CORE");
  const pages = single(ofType(segmentTypeValues.ckpt_pages), "PT_CKPT_PAGES");
  if (vmas.length === 0)
    throw new CrimgError("v1.segments", "there is no PT_CKPT_VMA header: a process has memory", { ...place, path: "program_headers" });
  const misplaced = vmas.find(({ index }, order) => index !== order);
  if (misplaced) {
    throw new CrimgError("v1.order", "the PT_CKPT_VMA headers must come before all others: the loader of 2011 walks them from the first", {
      ...place,
      offset: headerOffset(elf, misplaced),
      path: misplaced.path,
    });
  }
  for (const vma of vmas) assertSize(vma, BigInt(vmaEntrySize));
  assertSize(core, BigInt(coreEntrySize));
  if (pages.header.pFilesz < BigInt(pageEntrySize)) {
    throw new CrimgError(
      "v1.size",
      `the pages need at least ${pageEntrySize} bytes for the entry that ends them, found ${pages.header.pFilesz}`,
      {
        ...place,
        offset: headerOffset(elf, pages) + 32n,
        path: `${pages.path}.p_filesz`,
      },
    );
  }
  for (const { header, path } of [...vmas, core, pages]) assertSegment(bytes, header, path);
  return { elf, vmas, core, pages };

  function single(found: readonly PlacedSegment[], name: string): PlacedSegment {
    const [first, second] = found;
    if (first && !second) return first;
    if (!first) throw new CrimgError("v1.segments", `there is no ${name} header`, { ...place, path: "program_headers" });
    throw new CrimgError("v1.segments", `there must be one ${name} header, found ${found.length}`, {
      ...place,
      offset: second && headerOffset(elf, second),
      path: second?.path,
    });
  }

  function assertSize(segment: PlacedSegment, expected: bigint): void {
    if (segment.header.pFilesz === expected) return;
    throw new CrimgError("v1.size", `p_filesz must be ${expected}, found ${segment.header.pFilesz}`, {
      ...place,
      offset: headerOffset(elf, segment) + 32n,
      path: `${segment.path}.p_filesz`,
    });
  }
}

/** File offset of a program header. */
export function headerOffset(elf: ElfHeader, { index }: { readonly index: number }): bigint {
  return elf.ePhoff + BigInt(index) * BigInt(elf.ePhentsize);
}
