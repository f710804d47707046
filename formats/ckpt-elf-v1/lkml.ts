// SPDX-License-Identifier: Apache-2.0
/**
 * What the kernel's loader of October 2011 (the patch set of the RFC) would do with an image, step by step up to the
 * first refusal. It is a replay of its rules over the file, not a reading of the image: what the loader never looked
 * at is not judged here. Before the point of no return a refusal is ENOEXEC; after it, the process is killed.
 */
import { ByteReader } from "../../src/bytes/byte-reader.js";
import type { RandomBytes } from "../../src/bytes/random-bytes.js";
import {
  type CoreEntry,
  type VmaEntry,
  coreArchX8664,
  coreEntrySize,
  coreVersion,
  pageBytes,
  pageEntrySize,
  pfUsedMath,
  readCoreEntry,
  readVmaEntry,
  vmaEntrySize,
  vmaEntryStatusBits,
} from "../../src/gen/ckpt-elf-v1.js";
import {
  type ProgramHeader,
  elfHeaderSize,
  elfTypeValues,
  emX8664,
  programHeaderSize,
  readElfHeader,
  readProgramHeader,
  segmentTypeValues,
} from "../../src/gen/elf64.js";

export type LkmlStepName = "headers" | "core" | "segments" | "special-areas" | "map" | "pages" | "finish";

/** A step that the loader got through. */
export interface LkmlStep {
  readonly step: LkmlStepName;
  /** In words, as `crimg explain` would print it. */
  readonly text: string;
  /** File offset that the step is about. */
  readonly offset: bigint;
  /** Path in structure. */
  readonly path: string;
  /** What the loader accepts although it is probably not intended: the image runs, but not as it was. */
  readonly remark?: string;
}

/** Why and where the loader stopped. */
export interface LkmlRefusal {
  readonly step: LkmlStepName;
  readonly offset: bigint;
  readonly path: string;
  readonly reason: string;
  /** What the caller of execve sees. */
  readonly outcome: "ENOEXEC" | "SIGKILL";
}

export interface LkmlReplay {
  readonly steps: readonly LkmlStep[];
  /** Absent: the process would run. */
  readonly refusal?: LkmlRefusal;
}

/** Most bytes of program headers that execve reads. */
const maxHeaderBytes = 65536;
const taskSize = 1n << 47n;

class Refused extends Error {
  constructor(readonly refusal: LkmlRefusal) {
    super(refusal.reason);
  }
}

/** Replays the loader over a file. Pure: reads `bytes` only, and throws nothing for any content. */
export function replayLkmlLoader(bytes: RandomBytes): LkmlReplay {
  const replay = new Replay(bytes);
  try {
    replay.run();
    return { steps: replay.steps };
  } catch (error) {
    if (error instanceof Refused) return { steps: replay.steps, refusal: error.refusal };
    throw error;
  }
}

class Replay {
  readonly steps: LkmlStep[] = [];
  #mapped: VmaEntry[] = [];

  constructor(private readonly bytes: RandomBytes) {}

  run(): void {
    const segments = this.#headers();
    const core = this.#core(segments);
    const vmas = this.#segments(segments);
    this.#specialAreas(vmas);
    this.#map(vmas);
    this.#pages(segments);
    this.#finish(core);
  }

  #done(step: LkmlStepName, text: string, offset: bigint, path: string, remark?: string): void {
    this.steps.push({ step, text, offset, path, remark });
  }

  #refuse(step: LkmlStepName, offset: bigint, path: string, reason: string): never {
    const outcome = step === "headers" || step === "core" || step === "segments" ? "ENOEXEC" : "SIGKILL";
    throw new Refused({ step, offset, path, reason, outcome });
  }

  /** Bytes that the loader reads with kernel_read: fewer than wanted are a refusal. */
  #read(step: LkmlStepName, offset: bigint, length: number, path: string): ByteReader {
    if (offset < 0n || offset + BigInt(length) > this.bytes.size) {
      this.#refuse(step, offset, path, `expected ${length} bytes at ${offset}, the file has ${this.bytes.size}`);
    }
    return new ByteReader(this.bytes.read(offset, length), { source: this.bytes.name, base: offset, path });
  }

  #headers(): ProgramHeader[] {
    const reader = this.#read("headers", 0n, elfHeaderSize, "elf_header");
    let elf: ReturnType<typeof readElfHeader>;
    try {
      elf = readElfHeader(reader);
    } catch {
      return this.#refuse("headers", 0n, "elf_header.e_ident", "it is no 64-bit little-endian ELF file");
    }
    if (elf.eType !== elfTypeValues.ckpt)
      this.#refuse("headers", 16n, "elf_header.e_type", `e_type must be ${elfTypeValues.ckpt}, found ${elf.eType}`);
    if (elf.eMachine !== emX8664)
      this.#refuse("headers", 18n, "elf_header.e_machine", `e_machine must be ${emX8664}, found ${elf.eMachine}`);
    if (elf.ePhentsize !== programHeaderSize) {
      this.#refuse("headers", 54n, "elf_header.e_phentsize", `e_phentsize must be ${programHeaderSize}, found ${elf.ePhentsize}`);
    }
    const length = elf.ePhnum * programHeaderSize;
    if (elf.ePhnum < 1 || length > maxHeaderBytes) {
      this.#refuse(
        "headers",
        56n,
        "elf_header.e_phnum",
        `e_phnum must be 1 to ${Math.floor(maxHeaderBytes / programHeaderSize)}, found ${elf.ePhnum}`,
      );
    }
    const table = this.#read("headers", elf.ePhoff, length, "program_headers");
    const segments = Array.from({ length: elf.ePhnum }, () => readProgramHeader(table));
    this.#done("headers", `ET_CKPT with ${elf.ePhnum} program headers`, elf.ePhoff, "program_headers");
    return segments;
  }

  #core(segments: readonly ProgramHeader[]): CoreEntry {
    const index = segments.findIndex((segment) => segment.pType === segmentTypeValues.ckpt_core);
    const segment = segments[index];
    if (!segment) return this.#refuse("core", BigInt(elfHeaderSize), "program_headers", "there is no PT_CKPT_CORE header");
    const core = readCoreEntry(this.#read("core", segment.pOffset, coreEntrySize, "core"));
    const { version, arch } = core.header;
    if (version !== coreVersion)
      this.#refuse("core", segment.pOffset, "core.header.version", `the version must be ${coreVersion}, found ${version}`);
    if (arch !== coreArchX8664)
      this.#refuse("core", segment.pOffset + 2n, "core.header.arch", `the architecture must be ${coreArchX8664}, found ${arch}`);
    this.#done("core", "version 1 for x86-64", segment.pOffset, "core");
    return core;
  }

  #segments(segments: readonly ProgramHeader[]): VmaEntry[] {
    const offsetOf = (index: number): bigint => BigInt(elfHeaderSize + index * programHeaderSize);
    const numVmas = segments.filter((segment) => segment.pType === segmentTypeValues.ckpt_vma).length;
    if (numVmas === 0) this.#refuse("segments", offsetOf(0), "program_headers", "there is no PT_CKPT_VMA header");
    if (!segments.some((segment) => segment.pType === segmentTypeValues.ckpt_pages)) {
      this.#refuse("segments", offsetOf(0), "program_headers", "there is no PT_CKPT_PAGES header");
    }
    const vmas: VmaEntry[] = [];
    for (const [index, segment] of segments.slice(0, numVmas).entries()) {
      const path = `program_headers[${index}]`;
      if (segment.pType !== segmentTypeValues.ckpt_vma) {
        // Areas are stored by header index and walked from 0, so that one behind another header is never seen.
        this.#refuse(
          "segments",
          offsetOf(index),
          path,
          `the ${numVmas} PT_CKPT_VMA headers must come first, found type 0x${segment.pType.toString(16)} at index ${index}`,
        );
      }
      vmas.push(readVmaEntry(this.#read("segments", segment.pOffset, vmaEntrySize, `vmas[${index}]`)));
    }
    this.#done("segments", `${numVmas} areas, a core and pages; the old program is gone from here on`, offsetOf(0), "program_headers");
    return vmas;
  }

  #specialAreas(vmas: readonly VmaEntry[]): void {
    for (const [bit, name] of [
      ["vdso", "VDSO"],
      ["stack", "STACK"],
    ] as const) {
      const area = vmas.find((vma) => vma.status & vmaEntryStatusBits[bit]);
      if (!area) this.#refuse("special-areas", BigInt(elfHeaderSize), "vmas", `no area has the ${name} bit in its status`);
      this.#done("special-areas", `${name} at ${hex(area.start)}`, BigInt(elfHeaderSize), `vmas[${vmas.indexOf(area)}]`);
    }
  }

  #map(vmas: readonly VmaEntry[]): void {
    for (const [index, vma] of vmas.entries()) {
      const path = `vmas[${index}]`;
      const offset = BigInt(elfHeaderSize + index * programHeaderSize);
      const range = `${hex(vma.start)}-${hex(vma.end)}`;
      if (!(vma.status & vmaEntryStatusBits.regular)) {
        this.#done("map", `${range} is left to the kernel`, offset, path);
        continue;
      }
      const isMappable = vma.start < vma.end && vma.start % 4096n === 0n && vma.end <= taskSize && vma.pgoff % 4096n === 0n;
      const hasOneKind = (vma.flags & 3) === 1 || (vma.flags & 3) === 2;
      if (!isMappable || !hasOneKind) {
        const reason = isMappable
          ? `flags must be MAP_SHARED or MAP_PRIVATE, found ${hex(BigInt(vma.flags))}`
          : `mmap would refuse ${range} at offset ${hex(vma.pgoff)}`;
        this.#refuse("map", offset, path, reason);
      }
      this.#mapped.push(vma);
      const isFile = (vma.status & (vmaEntryStatusBits.file_private | vmaEntryStatusBits.file_shared)) !== 0;
      const remark =
        isFile && vma.fd === -1n
          ? "a file mapping without a descriptor becomes anonymous memory"
          : vma.fd !== -1n
            ? `descriptor ${vma.fd} must be open in the caller`
            : undefined;
      this.#done("map", `${range} prot ${vma.prot}, ${vma.flags & 1 ? "shared" : "private"}, descriptor ${vma.fd}`, offset, path, remark);
    }
    this.#mapped.sort((a, b) => (a.start < b.start ? -1 : 1));
  }

  #pages(segments: readonly ProgramHeader[]): void {
    const segment = segments.find((one) => one.pType === segmentTypeValues.ckpt_pages);
    if (!segment) return;
    for (let count = 0, offset = segment.pOffset; ; count++, offset += BigInt(pageEntrySize)) {
      const path = `pages[${count}]`;
      const va = this.#read("pages", offset, 8, path).u8();
      if (va === 0n) {
        this.#done("pages", `${count} pages of ${pageBytes} bytes`, segment.pOffset, "pages");
        return;
      }
      if (!this.#isMapped(va)) this.#refuse("pages", offset, `${path}.va`, `the page at ${hex(va)} lies in no mapped area`);
      this.#read("pages", offset + 8n, pageBytes, `${path}.data`);
    }
  }

  #isMapped(va: bigint): boolean {
    let low = 0;
    let high = this.#mapped.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#mapped[middle]?.end ?? 0n) > va) high = middle;
      else low = middle + 1;
    }
    return (this.#mapped[low]?.start ?? taskSize) <= va;
  }

  #finish(core: CoreEntry): void {
    const usesFpu = (core.taskFlags & pfUsedMath) !== 0;
    const remark = usesFpu ? undefined : "task_flags lacks PF_USED_MATH: the FPU state is not put back";
    this.#done("finish", `name, mm fields, vDSO, registers (ip ${hex(core.gpregs.ip)}), TLS`, 0n, "core", remark);
  }
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
