// SPDX-License-Identifier: Apache-2.0
/** The mappings of a process from /proc/PID/smaps: the only place that tells VmFlags. Read as a stream. */
import { tableSpecs } from "../gen/table-specs.js";
import { close, errno, failed, open, openFlag, SysError, tryCall } from "../native/index.js";

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
  vmFlags: bigint;
  /** Bytes of its pages that are in memory and no file's. */
  anonymous: bigint;
  /** Bytes of such pages that other processes have too. */
  shared: bigint;
  /** KernelPageSize, bytes. */
  pageSize: number;
  /** Protection key. */
  pkey: number;
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

const header = /^([0-9a-f]+)-([0-9a-f]+) (.)(.)(.)(.) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+) *(.*)$/s;

const chunk = Buffer.allocUnsafeSlow(1 << 16);

/** Reads all mappings, ascending. Throws SysError when the process cannot be looked into. */
export function readMappings(pid: number): Mapping[] {
  const path = `/proc/${pid}/smaps`;
  const fd = open(path, openFlag.RDONLY);
  const mappings: Mapping[] = [];
  let rest = "";
  try {
    for (;;) {
      const got = tryCall("read", fd, chunk, chunk.length);
      if (got === -errno.EINTR) continue;
      if (failed(got)) throw new SysError("read", -got, path);
      if (got === 0) break;
      const lines = (rest + chunk.toString("latin1", 0, got)).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) takeLine(line, mappings);
    }
    return mappings;
  } finally {
    close(fd);
  }
}

function takeLine(line: string, mappings: Mapping[]): void {
  const first = line.charCodeAt(0);
  // Header lines begin with a lower-case hexadecimal digit; the counters with a capital.
  if ((first >= 48 && first <= 57) || (first >= 97 && first <= 102)) {
    const mapping = parseHeader(line);
    if (mapping) mappings.push(mapping);
    return;
  }
  const last = mappings.at(-1);
  if (!last) return;
  if (line.startsWith("Anonymous:")) last.anonymous = kibOf(line, 10);
  // Clean pages of a file are shared by whoever maps it.
  if (line.startsWith("Shared_Dirty:") || (line.startsWith("Shared_Clean:") && last.ino === 0n)) last.shared += kibOf(line, 13);
  if (line.startsWith("KernelPageSize:")) last.pageSize = parseInt(line.slice(15), 10) << 10;
  if (line.startsWith("ProtectionKey:")) last.pkey = parseInt(line.slice(14), 10);
  if (!line.startsWith("VmFlags:")) return;
  for (const word of line.slice(8).trim().split(" ")) if (!transientWords.has(word)) last.vmFlags |= vmFlag(word);
}

/** Bytes, of a counter in KiB behind its name. */
function kibOf(line: string, nameLength: number): bigint {
  return BigInt(parseInt(line.slice(nameLength), 10)) << 10n;
}

function parseHeader(line: string): Mapping | undefined {
  const match = header.exec(line);
  if (!match) return undefined;
  const [, start = "0", end = "0", r, w, x, s, offset = "0", major = "0", minor = "0", ino = "0", name = ""] = match;
  return {
    start: BigInt(`0x${start}`),
    end: BigInt(`0x${end}`),
    prot: (r === "r" ? 1 : 0) | (w === "w" ? 2 : 0) | (x === "x" ? 4 : 0),
    isShared: s === "s",
    offset: BigInt(`0x${offset}`),
    devMajor: parseInt(major, 16),
    devMinor: parseInt(minor, 16),
    ino: BigInt(ino),
    name: Buffer.from(name.replaceAll("\\012", "\n"), "latin1"),
    vmFlags: 0n,
    anonymous: 0n,
    shared: 0n,
    pageSize: 4096,
    pkey: 0,
  };
}
