// SPDX-License-Identifier: Apache-2.0
/** The mappings of a process from /proc/PID/smaps: the only place that tells VmFlags. */
import { lazyRows } from "../model/lazy-rows.js";
import { vmaVmFlagsBits } from "../gen/tables.js";
import { readSmaps, type SmapsSummary, smapsRow, summarizeSmaps, SysError } from "../native/index.js";

/** The mappings of one address space as the addon read them. */
export interface MappingTable {
  /** Rows of native/addon/smaps.h. */
  readonly rows: Buffer;
  readonly names: Buffer;
  readonly summary: SmapsSummary;
  /** The rows as words of 8 and of 4 bytes. */
  readonly words: BigUint64Array;
  readonly halves: Uint32Array;
}

/** One mapping as the kernel shows it: a view of its row, since there may be many thousands. */
export class Mapping {
  #text: string | undefined;

  constructor(
    readonly table: MappingTable,
    /** Its row in the table. */
    readonly index: number,
  ) {}

  #word(offset: number): bigint {
    return this.table.words[(this.index * smapsRow.length + offset) >> 3] as bigint;
  }

  #number(offset: number): number {
    return this.table.halves[(this.index * smapsRow.length + offset) >> 2] as number;
  }

  get start(): bigint {
    return this.#word(smapsRow.start);
  }

  get end(): bigint {
    return this.#word(smapsRow.end);
  }

  /** PROT_* bits. */
  get prot(): number {
    return this.#number(smapsRow.how) & 7;
  }

  get isShared(): boolean {
    return (this.#number(smapsRow.how) & 8) !== 0;
  }

  get isReadable(): boolean {
    return (this.#number(smapsRow.how) & 1) !== 0;
  }

  get isWritable(): boolean {
    return (this.#number(smapsRow.how) & 2) !== 0;
  }

  get isExecutable(): boolean {
    return (this.#number(smapsRow.how) & 4) !== 0;
  }

  get offset(): bigint {
    return this.#word(smapsRow.offset);
  }

  get devMajor(): number {
    return this.#number(smapsRow.major);
  }

  get devMinor(): number {
    return this.#number(smapsRow.minor);
  }

  get ino(): bigint {
    return this.#word(smapsRow.ino);
  }

  /** Whether nothing is mapped that has a name or an inode. */
  get isNameless(): boolean {
    return this.#number(smapsRow.nameLength) === 0 && this.#number(smapsRow.ino) === 0 && this.#number(smapsRow.ino + 4) === 0;
  }

  /** Path, "[heap]" and so on, or empty; newlines unescaped, " (deleted)" kept. */
  get name(): Buffer {
    return this.#number(smapsRow.nameLength) === 0 ? noName : Buffer.from(this.text, "latin1");
  }

  /** The name, one character a byte. */
  get text(): string {
    return (this.#text ??= this.#readText());
  }

  #readText(): string {
    const length = this.#number(smapsRow.nameLength);
    if (length === 0) return "";
    const at = this.#number(smapsRow.name);
    // The kernel writes newlines in names as `\\012`.
    return this.table.names.toString("latin1", at, at + length).replaceAll("\\012", "\n");
  }

  /** Bits as in the spec's vm_flags. */
  get vmFlags(): bigint {
    return this.#word(smapsRow.flags);
  }

  /** Bytes of its pages that are in memory and no file's. */
  get anonymous(): bigint {
    return this.#word(smapsRow.anonymous);
  }

  /** Bytes of such pages that other processes have too. */
  get shared(): bigint {
    return this.#word(smapsRow.shared);
  }

  /** KernelPageSize, bytes. */
  get pageSize(): number {
    return this.#number(smapsRow.pageSize);
  }

  /** Protection key. */
  get pkey(): number {
    return this.#number(smapsRow.how) >>> 8;
  }
}

/** Bit of each VmFlags word, from the spec. */
const flagBits: ReadonlyMap<string, bigint> = new Map(Object.entries(vmaVmFlagsBits));

/** The bit of a VmFlags word; 0n for one that the spec does not know. */
export function vmFlag(name: string): bigint {
  return flagBits.get(name) ?? 0n;
}

/** The bits of several. */
export function vmFlags(...names: readonly string[]): bigint {
  return names.reduce((bits, name) => bits | vmFlag(name), 0n);
}

/** Words that describe what the kernel did, not what the program asked for. */
const transientWords: ReadonlySet<string> = new Set(["sd", "??"]);

/** By two letters, the number of the bit of a VmFlags word + 1. */
export const bitNumbers = new Uint8Array(26 * 26);
for (const [word, bit] of flagBits) {
  if (!transientWords.has(word)) bitNumbers[(word.charCodeAt(0) - 97) * 26 + word.charCodeAt(1) - 97] = Math.log2(Number(bit)) + 1;
}

const noName = Buffer.alloc(0);

/** Memory of devices, of a userfaultfd, of huge pages, shadow stacks: flags that make a mapping more than anonymous memory. */
const unusualFlags = vmFlags("io", "pf", "um", "uw", "ui", "ss", "ht");

/** What crimg itself has registered with a userfaultfd, by process: start and end each. */
const tracked = new Map<number, BigInt64Array>();

/** From now on mappings in these ranges of a process do not show that they are registered with a userfaultfd: it is crimg's. */
export function noteTracked(pid: number, ranges: BigInt64Array): void {
  tracked.set(pid, ranges);
}

export function leaveTracked(pid: number): void {
  tracked.delete(pid);
}

/** Elsewhere the program may have a userfaultfd of its own, which another process holds. */
function forgetProtection(words: BigUint64Array, ranges: BigInt64Array): void {
  const protection = vmFlag("uw");
  let next = 0;
  for (let at = 0; at < words.length; at += smapsRow.length >> 3) {
    const start = words[at + (smapsRow.start >> 3)] as bigint;
    while (next < ranges.length && (ranges[next + 1] as bigint) <= start) next += 2;
    if (next === ranges.length) return;
    const flags = at + (smapsRow.flags >> 3);
    // A stack may have grown since.
    if ((ranges[next] as bigint) < (words[at + (smapsRow.end >> 3)] as bigint)) words[flags] = (words[flags] as bigint) & ~protection;
  }
}

/** The first mapping of that name, without a look at each of thousands that have none. */
export function findNamed(mappings: readonly Mapping[], name: string): Mapping | undefined {
  for (const index of mappings[0]?.table.summary.others ?? []) if (mappings[index]?.text === name) return mappings[index];
  return undefined;
}

/** Mappings as the addon read them: rows, and their names one after another. */
export interface MappingsRead {
  readonly rows: Buffer;
  readonly names: Buffer;
}

/** Reads rows of all mappings, ascending. Throws SysError when the process cannot be looked into. */
export function readMappingRows(pid: number): MappingsRead {
  const read = readSmaps(pid, bitNumbers);
  if (typeof read === "number") throw new SysError("read", -read, `/proc/${pid}/smaps`);
  return read;
}

/** Mappings from which on most are not looked at. */
const many = 256;

/** Reads all mappings, ascending, or takes those that were read already. Throws SysError when the process cannot be looked into. */
export function readMappings(pid: number, there?: MappingsRead): Mapping[] {
  const read = there ?? readMappingRows(pid);
  const { buffer, byteOffset, length } = read.rows;
  const words = new BigUint64Array(buffer, byteOffset, length >> 3);
  const ours = tracked.get(pid);
  if (ours !== undefined) forgetProtection(words, ours);
  const table: MappingTable = {
    ...read,
    summary: summarizeSmaps(read.rows, unusualFlags),
    words,
    halves: new Uint32Array(buffer, byteOffset, length >> 2),
  };
  const count = length / smapsRow.length;
  const make = (index: number): Mapping => new Mapping(table, index);
  return count < many ? Array.from({ length: count }, (_, index) => make(index)) : lazyRows(count, make);
}
