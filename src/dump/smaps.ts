// SPDX-License-Identifier: Apache-2.0
/** The mappings of a process from /proc/PID/smaps: the only place that tells VmFlags. */
import { tableSpecs } from "../gen/table-specs.js";
import { readSmaps, smapsRow, SysError } from "../native/index.js";

/** One mapping as the kernel shows it. */
export interface Mapping {
  readonly start: bigint;
  readonly end: bigint;
  /** PROT_* bits. */
  readonly prot: number;
  readonly isShared: boolean;
  readonly offset: bigint;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly ino: bigint;
  /** Path, "[heap]" and so on, or empty; newlines unescaped, " (deleted)" kept. */
  readonly name: Buffer;
  /** Bits as in the spec's vm_flags. */
  readonly vmFlags: bigint;
  /** Bytes of its pages that are in memory and no file's. */
  readonly anonymous: bigint;
  /** Bytes of such pages that other processes have too. */
  readonly shared: bigint;
  /** KernelPageSize, bytes. */
  readonly pageSize: number;
  /** Protection key. */
  readonly pkey: number;
}

/** Bit of each VmFlags word, from the spec. */
const flagBits: ReadonlyMap<string, bigint> = new Map(
  Object.entries(tableSpecs.find((table) => table.id === "vma")?.fields.find((field) => field.id === "vm_flags")?.flags ?? {}).map(
    ([name, bit]) => [name, 1n << BigInt(bit)],
  ),
);

/** The bit of a VmFlags word; 0n for one that the spec does not know. */
export function vmFlag(name: string): bigint {
  return flagBits.get(name) ?? 0n;
}

/** Words that describe what the kernel did, not what the program asked for. */
const transientWords: ReadonlySet<string> = new Set(["sd", "??"]);

/** By two letters, the number of the bit of a VmFlags word + 1. */
const bitNumbers = new Uint8Array(26 * 26);
for (const [word, bit] of flagBits) {
  if (!transientWords.has(word)) bitNumbers[(word.charCodeAt(0) - 97) * 26 + word.charCodeAt(1) - 97] = Math.log2(Number(bit)) + 1;
}

const noName = Buffer.alloc(0);

/** Reads all mappings, ascending. Throws SysError when the process cannot be looked into. */
export function readMappings(pid: number): Mapping[] {
  const read = readSmaps(pid, bitNumbers);
  if (typeof read === "number") throw new SysError("read", -read, `/proc/${pid}/smaps`);
  const { rows, names } = read;
  const mappings: Mapping[] = [];
  for (let at = 0; at < rows.length; at += smapsRow.length) {
    const how = rows.readUInt32LE(at + smapsRow.how);
    const [name, nameLength] = [rows.readUInt32LE(at + smapsRow.name), rows.readUInt32LE(at + smapsRow.nameLength)];
    mappings.push({
      start: rows.readBigUInt64LE(at + smapsRow.start),
      end: rows.readBigUInt64LE(at + smapsRow.end),
      prot: how & 7,
      isShared: (how & 8) !== 0,
      offset: rows.readBigUInt64LE(at + smapsRow.offset),
      devMajor: rows.readUInt32LE(at + smapsRow.major),
      devMinor: rows.readUInt32LE(at + smapsRow.minor),
      ino: rows.readBigUInt64LE(at + smapsRow.ino),
      name: nameLength === 0 ? noName : withNewlines(names.subarray(name, name + nameLength)),
      vmFlags: rows.readBigUInt64LE(at + smapsRow.flags),
      anonymous: rows.readBigUInt64LE(at + smapsRow.anonymous),
      shared: rows.readBigUInt64LE(at + smapsRow.shared),
      pageSize: rows.readUInt32LE(at + smapsRow.pageSize),
      pkey: how >>> 8,
    });
  }
  return mappings;
}

/** The kernel writes newlines in names as `\\012`. The bytes are copied: what they are a view of is large. */
function withNewlines(name: Buffer): Buffer {
  return name.includes("\\012") ? Buffer.from(name.toString("latin1").replaceAll("\\012", "\n"), "latin1") : Buffer.from(name);
}
