// SPDX-License-Identifier: Apache-2.0
/**
 * `--env NAME=VALUE`: another value for a variable that processes were started with. The array envp that the kernel made
 * stays where it is, for programs have its address: its pointers lead to strings in a mapping of their own, which /proc
 * shows as the environment from then on. Copies that a program made for itself (setenv, os.environ) are not known here.
 */
import { decodeText, encodeText } from "../../bytes/text.js";
import { CrimgError } from "../../errors/crimg-error.js";
import { vmaRow, vmaVmFlagsBits as vm } from "../../gen/tables.js";
import { findRoom, usedRanges } from "../../lower/address-space.js";
import { Checkpoint } from "../../model/checkpoint.js";
import { BufferPageSource } from "../../pages/buffer-source.js";
import { MemoryPatch } from "../../pages/memory-patch.js";
import { MemoryView } from "../../pages/memory-view.js";
import { badChange, pairOf, some } from "./pair.js";

/** As many as execve takes at most: a quarter of 8 MiB of stack, in pointers. */
const mostPointers = 1 << 18;
/** MAX_ARG_STRLEN of the kernel. */
const longestString = 128 << 10;
const pageSize = 4096n;
/** Where the mapping is sought: above what programs without PIE have. */
const roomFrom = 0x1_0000_0000n;

interface Environment {
  /** Address of envp, the array. */
  readonly envp: bigint;
  readonly strings: readonly string[];
}

/** The checkpoint with variables changed in every process that has them. @throws CrimgError `usage.change` */
export function changeEnvironment(checkpoint: Checkpoint, texts: readonly string[]): Checkpoint {
  const changes = new Map(texts.map((text) => namedValue(text)));
  const missing = new Set(changes.keys());
  const names: string[] = [];
  let changed = checkpoint;
  for (const { mm } of checkpoint.tables.tasks) {
    if (mm === null) continue;
    const memory = new MemoryView(changed, mm);
    try {
      const environment = environmentOf(changed, mm, memory);
      if (environment === undefined) continue;
      names.push(...environment.strings.map(nameIn));
      const strings = environment.strings.map((text) => {
        const value = changes.get(nameIn(text));
        if (value === undefined) return text;
        missing.delete(nameIn(text));
        return `${nameIn(text)}=${value}`;
      });
      if (strings.some((text, index) => text !== environment.strings[index]))
        changed = withStrings(changed, mm, memory, environment.envp, strings);
    } finally {
      memory.close();
    }
  }
  const [name] = missing;
  if (name !== undefined) {
    throw badChange(
      "--env",
      `${name}=${changes.get(name)}`,
      `no process of this checkpoint was started with ${name}`,
      undefined,
      `they have ${some(names)}`,
    );
  }
  return changed;
}

/** `NAME=VALUE`; the value may be empty. */
function namedValue(text: string): readonly [string, string] {
  const at = text.indexOf("=");
  if (at <= 0) return pairOf("--env", text, "NAME=VALUE");
  return [text.slice(0, at), text.slice(at + 1)];
}

const nameIn = (text: string): string => text.slice(0, Math.max(0, text.indexOf("=")));

/** What envp names, as the kernel laid it out at start_stack: argc, argv, 0, envp, 0. Undefined where that cannot be read. */
function environmentOf(checkpoint: Checkpoint, mm: number, memory: MemoryView): Environment | undefined {
  const start = checkpoint.tables.mms[mm]?.startStack ?? 0n;
  if (start === 0n) return undefined;
  try {
    const word = (address: bigint): bigint => Buffer.from(memory.read(address, 8)).readBigUInt64LE();
    const count = word(start);
    if (count > BigInt(mostPointers) || word(start + 8n * (count + 1n)) !== 0n) return undefined;
    const envp = start + 8n * (count + 2n);
    const strings: string[] = [];
    for (let index = 0n; index < BigInt(mostPointers); index++) {
      const pointer = word(envp + 8n * index);
      if (pointer === 0n) return { envp, strings };
      const text = stringAt(memory, pointer);
      if (text === undefined) return undefined;
      strings.push(text);
    }
    return undefined;
  } catch (error) {
    if (error instanceof CrimgError) return undefined;
    throw error;
  }
}

function stringAt(memory: MemoryView, address: bigint): string | undefined {
  for (let bytes = Buffer.alloc(0); bytes.length < longestString; ) {
    const at = address + BigInt(bytes.length);
    // Up to the end of a page: nothing may be behind it.
    const part = memory.read(at, Number(pageSize - (at % pageSize)));
    const end = part.indexOf(0);
    bytes = Buffer.concat([bytes, end < 0 ? part : part.subarray(0, end)]);
    if (end >= 0) return decodeText(bytes);
  }
  return undefined;
}

function withStrings(checkpoint: Checkpoint, mm: number, memory: MemoryView, envp: bigint, strings: readonly string[]): Checkpoint {
  const encoded = strings.map((text) => Buffer.concat([encodeText(text), Buffer.alloc(1)]));
  const length = encoded.reduce((sum, { length }) => sum + length, 0);
  const size = (BigInt(length) + pageSize - 1n) & ~(pageSize - 1n);
  const start = findRoom(usedRanges(checkpoint.tables.vmas), size, roomFrom);
  const pointers = Buffer.alloc(8 * encoded.length);
  let at = start;
  encoded.forEach((bytes, index) => {
    pointers.writeBigUInt64LE(at, 8 * index);
    at += BigInt(bytes.length);
  });
  const patch = new MemoryPatch(checkpoint, memory);
  patch.write(envp, pointers);
  const patched = patch.apply(mm, { envStart: start, envEnd: at });
  const content = Buffer.alloc(Number(size));
  Buffer.concat(encoded).copy(content);
  const row = vmaRow({
    mm,
    kind: "anon_private",
    start,
    end: start + size,
    prot: 3,
    vmFlags: vm.rd | vm.wr | vm.mr | vm.mw | vm.me | vm.ac,
  });
  const { tables } = patched;
  const extent = {
    ownerKind: "mm",
    owner: mm,
    address: start,
    length: size,
    fileOffset: 0n,
    source: patched.sources.length,
    reserved: 0,
  } as const;
  return new Checkpoint({
    tables: {
      ...tables,
      vmas: inserted(
        tables.vmas,
        row,
        (one) => one.mm === mm && one.start > start,
        (one) => one.mm === mm,
      ),
      extents: inserted(
        tables.extents,
        extent,
        (one) => one.ownerKind === "mm" && one.owner === mm && one.address > start,
        (one) => one.ownerKind === "mm" && one.owner === mm,
      ),
    },
    sources: [...patched.sources, new BufferPageSource("environment", content)],
    unknownTables: patched.unknownTables,
  });
}

/** Rows with one more: before the first that is to follow it, else behind the last of its kin. */
function inserted<Row extends object>(rows: readonly Row[], row: Row, follows: (one: Row) => boolean, isKin: (one: Row) => boolean): Row[] {
  const before = rows.findIndex(follows);
  const at = before >= 0 ? before : rows.findLastIndex(isKin) + 1;
  return [...rows.slice(0, at), row, ...rows.slice(at)];
}
